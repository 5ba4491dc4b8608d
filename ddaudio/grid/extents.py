"""Times of frames in seconds, for tables that describe a model completely."""

from torch import Tensor

from ddaudio.grid.time_grid import TimeGrid

EXTENTS = ("start_s", "end_s", "fade_in_s", "fade_out_s")
"""Columns of `extents`, in their order."""


def extents(grid: TimeGrid, frame: Tensor) -> dict[str, Tensor]:
    """Return the cells of some frames and the fades between cells, in seconds, ``[P]`` float64 each.

    Sample ``n`` occupies the time from ``n`` to ``n + 1`` sample periods. A cell lasts from ``start_s`` to ``end_s``, within the
    sound; a fade of ``fade_in_s`` is centred on ``start_s``, one of ``fade_out_s`` on ``end_s``, and 0 is a hard edge.

    Args:
        grid: the time grid.
        frame: index of each frame, ``[P]`` int64.

    """
    cells = grid.frames.keep(frame)
    samples = cells.first, cells.first + grid.n_valid[frame], 2 * cells.half_fade_in, 2 * cells.half_fade_out
    return {name: column.double() / grid.sample_rate for name, column in zip(EXTENTS, samples, strict=True)}


def reference_times(grid: TimeGrid, frame: Tensor) -> Tensor:
    """Return the middle of some frames, or the last sample of the sound for those whose middle is beyond it, ``[P]`` float64.

    In samples: sample ``n`` is at ``n``.
    """
    middle = grid.start[frame].double() + (grid.frames.length[frame].double() - 1) / 2
    last = grid.frames.first[frame] + grid.n_valid[frame] - 1
    return middle.minimum(last.double())
