"""Resolution of a tree's options for windows of a given length, checked before any work."""

from dataclasses import replace

from ddaudio.errors import OptionError
from ddaudio.models.double_dutch.path_tree import check_states
from ddaudio.models.double_dutch.trees import can_fold, ladder_of
from ddaudio.options import DoubleDutchOptions

LEVELS_OF_WINDOW = 2
"""Parameters of a window for the reading ``binary``, besides cutoffs."""
LEAST_BINARY = 3
"""Parameters of the smallest such tree: two levels and a cutoff."""


def resolved(options: DoubleDutchOptions, window_samples: int, n_windows: int, n_parameters: int) -> DoubleDutchOptions:
    """Return tree options with depth and cutoffs filled in.

    Args:
        options: options as given.
        window_samples: samples in a tree's window, ``T``.
        n_windows: number of windows evaluated at once.
        n_parameters: largest number of parameters of each window.

    Raises `OptionError` for an invalid ladder, more cells than samples, or a tree that needs too much memory or, with
    shared amplitudes, too many parameters.

    """
    options = options.filled()
    depth = options.depth
    if depth is None and options.denominators is None:
        depth = window_samples.bit_length() - 1
        while options.is_full and depth > 1 and _full_size(options, depth) > n_parameters:
            depth -= 1
    options = replace(options, depth=depth)
    ladder = ladder_of(options, window_samples)
    options.transitions_s(ladder.depth)
    if options.is_full and _full_size(options, ladder.depth) > n_parameters:
        raise OptionError(
            f"which takes {_full_size(options, ladder.depth)} parameters in each frame",
            setting="depth",
            allowed=f"{n_parameters} parameters in a frame",
            value=ladder.depth,
            others={"reading": options.reading} if options.is_binary else {"pair": options.pair},
            hint="use a smaller {depth}, a longer {frame_s} or a larger {budget}",
        )
    if options.gating == "beam" or not can_fold(options, ladder, window_samples):
        siblings = options.gating == "hard" and options.learns_cutoffs
        hard = 1 if not siblings else ladder.depth
        paths = {"hard": hard, "soft": 2**ladder.depth}.get(str(options.gating), options.beam)
        check_states(ladder.depth, paths, window_samples * n_windows)
    return options


def _full_size(options: DoubleDutchOptions, depth: int) -> int:
    """Return the number of parameters of a tree in which all ropes share amplitudes."""
    amplitudes = {"binary": LEVELS_OF_WINDOW, "gates": 0, "leaf": 1}.get(options.reading, depth)
    if options.cutoffs == "learned":
        return amplitudes + int(2**depth - 1)
    return amplitudes + int(options.cutoffs == "shared")
