"""Sums of sinusoids, fast."""
