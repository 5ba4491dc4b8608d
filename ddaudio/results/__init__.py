"""Results of fits: what is stored of them, read again, and summarised."""
