"""Metrics: how far an estimate is from its target, and what a codec of equal size reaches."""
