"""A trained model as the start of a fit: its components, in the cells that both divisions of time have."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.fitting.segmentation import LEVELS, cell_sizes
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.models import Budget, FramedNetwork
from ddaudio.models.batched import extend_many
from ddaudio.models.file import load_model
from ddaudio.models.registry import make_network
from ddaudio.options import NETWORKS, NetworkOptions

MOST_EXTENSIONS = 8
"""Largest number of extensions of the starting model, until it has its goal or size."""


def starting_terms(
    recording: Recording, path: str | None, networks: Sequence[tuple[str, NetworkOptions]]
) -> list[FramedNetwork | None]:
    """Return the trained network that each of ``networks``, by name and settings, starts from; None without a model.

    Noise in the model is left out: it is fitted in closed form.

    Raises:
        ModelError: the model cannot be read.
        OptionError: its networks, their settings, its sample rate, channels or length are not those of the fit.

    """
    if path is None:
        return [None] * len(networks)
    model = load_model(path)
    terms = [term for term in model.terms if not NETWORKS[term.name].is_noise]
    names, found = "+".join(name for name, _ in networks), "+".join(term.name for term in terms)
    if names != found:
        raise _unfit(path, f"which is a model of {found or 'noise alone'}", f"models of {names}")
    if not all(isinstance(term, FramedNetwork) for term in terms):
        raise _unfit(path, "which has tracks", "models of networks in cells")
    starts: list[FramedNetwork | None] = [term for term in terms if isinstance(term, FramedNetwork)]
    for term, (name, own) in zip(starts, networks, strict=True):
        if term is not None and make_network(name, term.grid, own).settings() != term.settings():
            given = ", ".join(f"{setting}={value}" for setting, value in term.settings().items())
            raise _unfit(path, f"whose {name} network has other settings than the fit", given)
    (channels, samples), rate = model.shape, model.sample_rate
    if (channels, rate) != (recording.n_channels, recording.sample_rate) or samples > recording.n_samples:
        raise _unfit(
            path,
            f"which has {channels} channels of {samples} samples at {rate} Hz",
            f"models of {recording.n_channels} channels of up to {recording.n_samples} samples at {recording.sample_rate} Hz",
        )
    return starts


def check_division(
    term: FramedNetwork | None, path: str | None, n_samples: int, *, root: int | None, fade: int | None, n_blocks: int
) -> None:
    """Raise `OptionError` if the cells of a starting network cannot be cells of a fit of ``n_samples``, in one block.

    Args:
        term: the starting network; None for none.
        path: its file, for the error.
        n_samples: length of the recording.
        root: samples of the equal cells of the fit; None for cells of adaptive length.
        fade: bound on half the length of its fades; None for half of the shorter cell.
        n_blocks: number of its blocks.

    """
    if term is None or path is None:
        return
    if n_blocks > 1:
        raise _unfit(path, f"but the recording has {n_blocks} blocks", "recordings of one block, about 24 s of mono at 44100 Hz")
    cells, longer = term.grid.cells, n_samples > term.grid.n_samples
    sizes = set(cells.size.tolist())
    if root is None:
        known = cell_sizes(term.sample_rate, n_samples)
        fits = sizes <= {known[0] << level for level in range(LEVELS)} and not (longer and not bool(cells.pre_roll.any()))
    else:
        fits = sizes == {root} and int(cells.pre_roll.max()) == (fade or 0)
    if not fits:
        wanted = "several cells of adaptive length" if root is None else f"equal cells of {root} samples with the same overlap"
        counted = f"{min(sizes)} to {max(sizes)}" if len(sizes) > 1 else f"{min(sizes)}"
        raise _unfit(path, f"whose cells have {counted} samples", f"models of {wanted}", "give its {frame_s} and {overlap}")
    if longer and not term.n_prunable():
        problem = f"which has {term.grid.n_samples} samples, and {term.name} adds no components in further cells"
        raise _unfit(path, problem, f"models of {n_samples} samples")


def first_sizes(term: FramedNetwork, n_samples: int) -> list[list[int]]:
    """Return the sizes of the first cells of each signal of a recording: those of the network, filled up to whole root cells."""
    known, cells = cell_sizes(term.sample_rate, n_samples), term.grid.cells
    rows = []
    for signal in range(term.grid.n_signals):
        row = cells.size[cells.signal == signal].tolist()
        while (units := sum(row) // known[0]) % (known[-1] // known[0]):
            if sum(row) >= n_samples:
                break
            row.append(known[0] * (units & -units))  # the largest dyadic cell that begins here
        rows.append(row)
    return rows


def placed(term: FramedNetwork, silent: FramedNetwork) -> FramedNetwork:
    """Return a silent network with the components of a starting one, in the cells whose frames are the same in both."""
    there = {key: place for place, key in enumerate(_keys(silent.grid))}
    places = torch.tensor([there.get(key, -1) for key in _keys(term.grid)], dtype=torch.int64)
    return silent.regridded(silent.grid, [(term, places)])


def _keys(grid: TimeGrid) -> list[tuple[int, ...]]:
    """Return what a cell and its frame are, for each cell; fades may differ."""
    cells = grid.cells
    columns = (cells.signal, cells.first, cells.size, cells.pre_roll, cells.length)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def extended(networks: Sequence[FramedNetwork], targets: Sequence[Tensor], sizes: Sequence[Budget]) -> list[FramedNetwork]:
    """Return starting networks pruned to their sizes, with further components for what they leave of the targets ``[B, T]``."""
    pairs = zip(networks, sizes, strict=True)
    fitted = [one.pruned(size.most) if one.n_prunable() > size.most else one for one, size in pairs]
    for _ in range(MOST_EXTENSIONS):
        if not any(extend_many(fitted, targets, [replace(size, least_gain=0.0) for size in sizes])):
            break
    return fitted


def _unfit(path: str, problem: str, allowed: str, hint: str = "") -> OptionError:
    return OptionError(problem, setting="from_model", value=path, allowed=allowed, hint=hint)
