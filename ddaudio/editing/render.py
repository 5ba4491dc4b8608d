"""Rendering of trained networks at any sample rate, with all or only the strongest components."""

import os
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from ddaudio.errors import OptionError, OutputError
from ddaudio.io.checks import check_rate
from ddaudio.io.output_files import check_made_from
from ddaudio.io.samples import Samples, Total, added, collect
from ddaudio.io.wav import write_wav
from ddaudio.models import Network, Term
from ddaudio.models.file import load_model
from ddaudio.models.framed import ceil_at
from ddaudio.options import Encoding

PartName = Literal["waves", "noise"]
MOST_SEED = 2**31 - 1
"""Largest seed of the noise."""
LONGEST_SAMPLES = 1 << 29
"""Largest number of samples over all channels that are rendered unasked: 2.1 GB, 3.4 h of mono at 44.1 kHz."""


def render(
    network: Network,
    sample_rate: int | None = None,
    partials: int | None = None,
    *,
    seed: int = 0,
    only: PartName | None = None,
    force: bool = False,
) -> Samples:
    """Return the network's sound, ``[B, T]`` float32: a tensor unless it is long, see `ddaudio.io.samples`.

    Args:
        network: a trained network, for example from `ddaudio.load_model`.
        sample_rate: Hz (default: that of the recording it was trained on). The model is evaluated at the new sample times,
            not resampled; waves at or above the new Nyquist frequency are omitted. The length becomes
            ``ceil(T * sample_rate / own rate)``.
        partials: number of strongest partials (or ropes of trees) over all frames to keep (default: all).
        seed: seed of the noise, 0 to 2147483647; models without noise ignore it.
        only: ``waves`` or ``noise`` (default: both).
        force: render more than `LONGEST_SAMPLES`.

    Raises:
        OptionError: the rate or the seed is out of range, ``partials`` is below 0, the model has no such part, or the sound is
            longer than `LONGEST_SAMPLES` and ``force`` is not given.

    """
    terms = _part(network, only, partials)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MOST_SEED:
        raise OptionError(setting="seed", value=seed, allowed=f"whole numbers from 0 to {MOST_SEED}")
    rate = network.sample_rate if sample_rate is None else sample_rate
    if rate != network.sample_rate:
        check_rate(rate)
    _check_length(network, rate, force=force)
    sounds = [collect(term.pieces(rate, seed)) for term in terms]
    sound = sounds[0] if len(sounds) == 1 else Total(sounds)
    return sound if only == "noise" or network.drift is None else added(sound, network.drift.at_rate(rate))


def _check_length(network: Network, rate: int, *, force: bool) -> None:
    """Raise `OptionError` for a sound of more than `LONGEST_SAMPLES` at a sample rate, unless it is forced."""
    n_signals, n_samples = network.shape
    count = n_signals * ceil_at(n_samples, rate, network.sample_rate)
    if count > LONGEST_SAMPLES and not force:
        hours = n_samples / network.sample_rate / 3600
        problem = f"the sound has {hours:.1f} h in {n_signals} channels, {4 * count / 1e9:.1f} GB of samples"
        raise OptionError(problem, hint="give {force=True} to render it anyway")


def _part(network: Network, only: PartName | None, partials: int | None) -> list[Term]:
    """Return the terms that are rendered, pruned; raises `OptionError` for another part, or ``partials`` below 0."""
    if partials is not None:
        if isinstance(partials, bool) or not isinstance(partials, int) or partials < 0:
            raise OptionError(setting="partials", value=partials, allowed="whole numbers, 0 or more")
        network = network.pruned(min(partials, network.n_prunable()))
    if only not in (None, *get_args(PartName)):
        raise OptionError(setting="only", value=only, allowed=", ".join(get_args(PartName)))
    terms = [term for term in network.terms if only is None or term.is_noise == (only == "noise")]
    if not terms:
        raise OptionError(f"but the model {network.title} has no {only}", setting="only", value=only)
    return terms


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
    seed: int = 0,
    only: PartName | None = None,
    encoding: Encoding = "float32",
    force: bool = False,
) -> RenderedFile:
    """Render a saved model to a WAV file.

    Args:
        model: folder of a fit, or its ``model.safetensors``.
        out: file to write; its name ends in ``.wav`` or has no suffix.
        sample_rate: as `render` takes it.
        partials: as `render` takes it.
        seed: as `render` takes it.
        only: as `render` takes it.
        encoding: sample format of the file.
        force: overwrite the file if it exists, and render more than `LONGEST_SAMPLES`.

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
    samples = render(network, rate, partials, seed=seed, only=only, force=force)
    gain = write_wav(out, samples, rate, encoding)
    terms = _part(network, only, partials)
    hz = torch.cat([term.describe()["frequency_hz"] for term in terms])
    omitted = int((hz >= rate / 2).sum()) if rate < network.sample_rate else 0
    channels, n_samples = samples.shape
    return RenderedFile(rate, (channels, n_samples), sum(term.n_components() for term in terms) - omitted, omitted, gain)
