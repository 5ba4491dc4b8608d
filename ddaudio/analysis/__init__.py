"""Analysis: partials of a recording, found by matching pursuit or by descent."""
