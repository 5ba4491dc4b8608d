"""The time grid: framing of recordings, and overlap-add."""

from ddaudio.grid.cells import Cells, Group
from ddaudio.grid.time_grid import TimeGrid

__all__ = ["Cells", "Group", "TimeGrid"]
