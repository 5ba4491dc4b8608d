"""The noise layer: power over time and frequency for what waves leave over."""
