"""Import of files of other programs as models."""

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ddaudio.editing.editable import Editable, network_of
from ddaudio.editing.exchange.noise_bands import noise_of_bands
from ddaudio.editing.exchange.track_data import TrackData, to_knots
from ddaudio.editing.formats import FORMATS, FormatSpec
from ddaudio.editing.render import LONGEST_SAMPLES
from ddaudio.errors import ExchangeError, OptionError
from ddaudio.io.checks import check_rate
from ddaudio.io.paths import quoted
from ddaudio.models import Network
from ddaudio.models.file import build_model, parts_bytes
from ddaudio.options.registry import Registry, load

DEFAULT_RATE = 44_100
"""Sample rate of models from files that have none, in Hz."""
MOST_BYTES = 1 << 28
"""Size of the largest file that is read."""


class Imported(NamedTuple):
    """A model that was read from a file."""

    network: Network
    file_format: str
    """Name of the format of the file."""
    notes: tuple[str, ...]
    """What was skipped or assumed."""
    model: bytes | None = None
    """Contents of ``model.safetensors`` with all bits of the file; None for those of the network."""


def format_of(data: bytes, formats: Registry[FormatSpec] = FORMATS) -> FormatSpec:
    """Return the format of a file by how it begins.

    Raises:
        ExchangeError: it is of no format that is read.

    """
    found = next((spec for spec in formats.values() if data.startswith(spec.begins)), None)
    if found is None:
        known = ", ".join(name for name, spec in formats.items() if spec.begins)
        raise ExchangeError("it is of no known format", allowed=known)
    return found


def import_model(data: bytes, *, sample_rate: int | None = None) -> Imported:
    """Return the model of a file: tracks, noise where the file has it, or the whole model of JSON.

    Args:
        data: contents of the file; its format is that which it begins with.
        sample_rate: in Hz (default: that of the file, or `DEFAULT_RATE`); not for whole models, which have their own.

    Raises:
        ExchangeError: the format is unknown, the file is damaged, or has no tracks or a sound that is too long.
        ModelError: the file is a whole model that fits no network.
        OptionError: the sample rate is out of range, or that of a whole model.

    """
    spec = format_of(data)
    if sample_rate is not None:
        check_rate(sample_rate)
        if spec.content == "model":
            raise OptionError("but a whole model has its own", setting="sample_rate", value=sample_rate)
    found = load(FormatSpec(spec.name, spec.summary, spec.reader))(data)
    if spec.content != "model":
        return _model_of(found, spec.name, sample_rate)
    return Imported(build_model("the JSON", *found), spec.name, (), parts_bytes(*found))


@torch.no_grad()
def _model_of(data: TrackData, file_format: str, sample_rate: int | None) -> Imported:
    """Return the model of tracks and noise."""
    if sample_rate is None and data.sample_rate is None:
        data = replace(data, notes=(*data.notes, f"the file has no sample rate: {DEFAULT_RATE} Hz"))
    rate = sample_rate or data.sample_rate or DEFAULT_RATE
    check_rate(rate)
    data = _below_nyquist(data, rate)
    if not len(data.counts) and data.noise is None:
        raise ExchangeError("it has no tracks", hint="choose another file")
    n_samples = max(1, math.ceil(data.duration_s * rate - 1e-6) + (data.n_samples is None))
    if n_samples * data.n_signals > LONGEST_SAMPLES:
        what = f"its sound has {n_samples / rate / 3600:.1f} h in {data.n_signals} channels"
        raise ExchangeError(what, allowed=f"{LONGEST_SAMPLES} samples in all")
    knots, signal = to_knots(data, rate)
    notes = data.notes
    if data.bandwidth.any():
        notes = (*notes, "bandwidths are left out: amplitudes are those of the sinusoidal parts")
    noise = None if data.noise is None else noise_of_bands(data.noise, n_samples, rate)
    sound = Editable(knots, signal, noise, rate, (data.n_signals, n_samples))
    return Imported(network_of(sound), file_format, notes)


def _below_nyquist(data: TrackData, rate: int) -> TrackData:
    """Return the tracks that stay below the Nyquist frequency, with a note if others are left out."""
    owner, high = data.owner, data.frequency_hz >= rate / 2
    fine = np.ones(len(data.counts), dtype=bool)
    fine[owner[high]] = False
    if fine.all():
        return data
    note = f"skipped {int((~fine).sum())} tracks that reach {rate / 2:g} Hz or more"
    return replace(data.keep(fine), notes=(*data.notes, note))


def import_file(path: str | os.PathLike[str], *, sample_rate: int | None = None) -> Imported:
    """Return the model of a file, see `import_model`, whose errors then have the path."""
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ExchangeError(f"{quoted(path)} has {size / 1e6:.0f} MB", allowed=f"up to {MOST_BYTES / 1e6:.0f} MB")
        data = path.read_bytes()
    except OSError as error:
        raise ExchangeError(f"{quoted(path)} cannot be read: {error.strerror or error}", hint="check the path") from None
    try:
        return import_model(data, sample_rate=sample_rate)
    except ExchangeError as error:
        raise error.with_facts(problem=f"{quoted(path)} cannot be imported: {error.problem}") from None
