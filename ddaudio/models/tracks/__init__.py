"""The network ``tracks``: partials followed over time."""
