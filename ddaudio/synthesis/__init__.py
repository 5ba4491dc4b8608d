"""Synthesis of sums of sinusoids and of noise."""
