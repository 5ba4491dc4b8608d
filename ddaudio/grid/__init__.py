"""The time grid: how a recording is cut into frames, and frames are added up again."""

from ddaudio.grid.cells import Cells, Group
from ddaudio.grid.time_grid import TimeGrid

__all__ = ["Cells", "Group", "TimeGrid"]
