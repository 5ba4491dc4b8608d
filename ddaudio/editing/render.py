"""Rendering of trained networks at any sample rate, with all or only the strongest components."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.errors import OptionError, OutputError
from ddaudio.io.checks import check_rate
from ddaudio.io.output_files import check_made_from
from ddaudio.io.samples import Samples, Total, collect, shifted
from ddaudio.io.wav import write_wav
from ddaudio.models import FramedNetwork, Network
from ddaudio.models.file import load_model
from ddaudio.options import Encoding

PIECE_SAMPLES = 1 << 21
"""Number of samples over all signals computed at once."""


def render(network: Network, sample_rate: int | None = None, partials: int | None = None) -> Samples:
    """Return the signals of a network, ``[B, T]`` float32: a tensor unless they are long, see `ddaudio.io.samples`.

    Args:
        network: a trained network, for example from `ddaudio.load_model`.
        sample_rate: Hz (default: that of the recording it was trained on). The model is evaluated at the new sample times,
            not resampled; waves at or above the new Nyquist frequency are omitted. The length becomes
            ``ceil(T * sample_rate / own rate)``.
        partials: number of strongest partials (or ropes of trees) over all frames to keep (default: all).

    Raises:
        OptionError: the rate is out of range, or ``partials`` is below 0.

    """
    if partials is not None:
        if isinstance(partials, bool) or not isinstance(partials, int) or partials < 0:
            raise OptionError(setting="partials", value=partials, allowed="whole numbers, 0 or more")
        network, offset = network.pruned(min(partials, network.n_prunable())), network.offset
        network.offset = offset
    rate = network.sample_rate if sample_rate is None else sample_rate
    if rate != network.sample_rate:
        check_rate(rate)
    sounds = [collect(_pieces(term, rate)) for term in network.terms]
    return shifted(sounds[0] if len(sounds) == 1 else Total(sounds), network.offset)


class RenderedFile(NamedTuple):
    """A WAV file that was rendered from a model."""

    sample_rate: int
    """Samples per second."""
    shape: tuple[int, int]
    """Channels and samples."""
    n_components: int
    """Components that were rendered."""
    n_omitted: int
    """Components that were omitted, since their frequencies are at or above the Nyquist frequency."""
    gain: float
    """Factor by which the samples were scaled to avoid clipping, 1 if they were not."""


def render_file(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    sample_rate: int | None = None,
    partials: int | None = None,
    encoding: Encoding = "float32",
    force: bool = False,
) -> RenderedFile:
    """Render a saved model to a WAV file.

    Args:
        model: folder of a fit, or its ``model.safetensors``.
        out: file to write; its name ends in ``.wav`` or has no suffix.
        sample_rate: as `render` takes it.
        partials: as `render` takes it.
        encoding: sample format of the file.
        force: overwrite the file if it exists.

    Raises:
        OutputError: the file exists, is no WAV by its name, is that of the model, or cannot be written.
        ModelError: the model cannot be read.
        OptionError: as `render` does.

    """
    out, model = Path(out), Path(model)
    if out.suffix.lower() not in (".wav", ".wave", ""):
        raise OutputError(f"cannot write {str(out)!r}: only WAV is written", hint="give {out} a name that ends in .wav")
    check_made_from(out, model, force=force)
    network = load_model(model)
    rate = network.sample_rate if sample_rate is None else sample_rate
    samples = render(network, rate, partials)
    gain = write_wav(out, samples, rate, encoding)
    kept = network if partials is None else network.pruned(min(partials, network.n_prunable()))
    omitted = int((kept.describe()["frequency_hz"] >= rate / 2).sum()) if rate < network.sample_rate else 0
    channels, n_samples = samples.shape
    return RenderedFile(rate, (channels, n_samples), kept.n_components() - omitted, omitted, gain)


def _ceil_at(samples: int, rate: int, own_rate: int) -> int:
    """Return ``ceil(samples * rate / own_rate)``, in integers: a product of floats is a sample too long at many lengths."""
    return -(-samples * rate // own_rate)


@torch.no_grad()
def _pieces(network: FramedNetwork, rate: int) -> Iterator[Tensor]:
    """Yield the sound ``[B, n]`` piece by piece, at a sample rate in Hz."""
    grid = network.grid
    own_rate = grid.sample_rate
    root = int(grid.cells.size.max())
    length = root * max(1, PIECE_SAMPLES // (grid.n_signals * root))
    tail = torch.zeros(grid.n_signals, 0)
    for first in range(0, grid.n_samples, length):
        last = min(first + length, grid.n_samples)
        # Fades extend half a cell into the neighbours, plus half a sample: they begin and end between samples.
        reach = root // 2 + 1
        begin, end = max(0, first - reach), min(grid.n_samples, last + reach)
        done = end if last == grid.n_samples else last - reach
        part = network
        if length < grid.n_samples:
            own = (grid.cells.first >= first) & (grid.cells.first < last)
            part = network.regridded(grid.part(own, begin, end - begin), [(network, torch.where(own, own.cumsum(0) - 1, -1))])
        sound = part.estimate() if rate == own_rate else _at_rate(part, begin, rate)
        sound[:, : tail.shape[1]] += tail
        finished = _ceil_at(done, rate, own_rate) - _ceil_at(begin, rate, own_rate)
        yield sound[:, :finished]
        tail = sound[:, finished:]


def _at_rate(network: FramedNetwork, begin: int, rate: int) -> Tensor:
    """Evaluate frames and windows at the sample times of another rate, and add them up.

    The network's first sample is sample ``begin`` of the recording. A frame whose first old sample is ``s`` begins half
    a sample before that, between two new ones: its first is ``j = ceil((s - 1/2) r)`` with ``r`` the ratio of the rates,
    and new sample ``j + i`` sits at ``(j + i) / r - s + 1/2`` old samples inside it.
    """
    grid = network.grid
    own_rate, ratio = grid.sample_rate, rate / grid.sample_rate
    origin = _ceil_at(begin, rate, own_rate)
    n_samples = _ceil_at(begin + grid.n_samples, rate, own_rate) - origin
    total = torch.zeros(grid.n_signals * n_samples)
    for index, group in enumerate(grid.groups):
        begins, length = (grid.start[group.frames] + begin).long(), _ceil_at(group.length, rate, own_rate) + 1
        first, starts = -(-(2 * begins - 1) * rate // (2 * own_rate)), begins.double()
        new = first[:, None] + torch.arange(length)
        inside = new.double() / ratio + 0.5 - starts[:, None]
        # If the signal ends without a fade, times between the last old sample and the end still belong to the frame.
        frame = grid.frames.keep(torch.arange(grid.n_frames)[group.frames])
        ends = frame.pre_roll + grid.n_valid[group.frames] - 0.25
        last = (frame.half_fade_out == 0) & (frame.first + frame.size >= grid.n_samples)
        inside = torch.where(last[:, None], torch.minimum(inside, ends[:, None]), inside)
        window = grid.window_at(group.frames, inside) * ((inside > 0) & (inside < group.length + 1))
        frames = network.frames_at_rate(index, first.double() - starts * ratio, length, ratio) * window.float()
        seen = (new >= origin) & (new < origin + n_samples)
        place = new - origin + grid.frames.signal[group.frames, None] * n_samples
        total.index_add_(0, place[seen], frames[seen])
    return total.reshape(grid.n_signals, n_samples)
