"""Exchange of tracks with other programs: one module for each file format."""
