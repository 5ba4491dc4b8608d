"""Export of models: their tracks, and the noise beside them, in the formats of other programs."""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ddaudio.analysis.pitch import pitch_of_partials
from ddaudio.editing.editable import editable
from ddaudio.editing.exchange.noise_bands import noise_bands
from ddaudio.editing.exchange.track_data import PitchLine, TrackData, curves_at, extents, from_knots, on_frames
from ddaudio.editing.formats import FORMATS, FormatSpec
from ddaudio.errors import ExchangeError, OptionError
from ddaudio.io.atomic import whole_file
from ddaudio.io.output_files import check_made_from
from ddaudio.models import Network, SumNetwork
from ddaudio.models.file import load_model, model_parts, read_parts
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.models.sine import SineNetwork
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.options.registry import load

PITCH_STEP_S = 0.01
"""Interval at which tracks are taken for their pitch."""


class Exported(NamedTuple):
    """Contents of a file, and what they lack."""

    data: bytes
    notes: tuple[str, ...]


def tracks_of_model(network: Network) -> TrackData:
    """Return the tracks of a network; those of partials in cells differ from them by -50 dB.

    Raises:
        ExchangeError: the model has no waves.
        OptionError: a network of the model has no tracks, such as a tree.

    """
    if all(term.is_noise for term in network.terms):
        raise ExchangeError(f"the model {network.title} has no tracks", hint="give a model with waves")
    sound = editable(_linear(network))
    data, notes = from_knots(sound.knots, sound.signal, sound.sample_rate, sound.shape), list[str]()
    if any(isinstance(term, TracksNetwork) and term.is_log for term in network.terms):
        notes.append("levels that are linear in dB between knots are linear in amplitude in the file")
    if network.drift is not None:
        notes.append("what the model has below 20 Hz is no track and was left out")
    return replace(data, notes=tuple(notes))


def _linear(network: Network) -> Network:
    """Return a network with the same knots, between which all amplitudes are linear."""
    terms = [
        TracksNetwork(term.signals, tracks=term.tracks, step=term.step) if isinstance(term, TracksNetwork) else term
        for term in network.terms
    ]
    return terms[0] if len(terms) == 1 else SumNetwork(terms)


def pitch_of_model(network: Network, data: TrackData, channel: int | None = None) -> PitchLine:
    """Return the pitch of a channel, or of all: from its partials, where they are in cells, or else from its tracks ``data``."""
    terms = [term for term in network.terms if not term.is_noise]
    in_cells = all(isinstance(term, SineNetwork) for term in terms)
    tables = [{name: column.numpy() for name, column in term.describe().items()} for term in terms] if in_cells else [_rows(data)]
    table = {name: np.concatenate([one[name] for one in tables]) for name in tables[0]}
    if channel is not None and in_cells:
        own = table["signal"] == channel
        table = {name: column[own] for name, column in table.items()}
    curve = pitch_of_partials(table, network.shape[1] / network.sample_rate, network.sample_rate)
    return PitchLine(curve.time_s, curve.f0_hz)


def _rows(data: TrackData) -> dict[str, Any]:
    """Return a table of the values of tracks every `PITCH_STEP_S`, as partials that fade from one to the next."""
    times_s = np.arange(math.ceil(data.duration_s / PITCH_STEP_S) + 1, dtype=np.float64) * PITCH_STEP_S
    frame, track = on_frames(*extents(data), times_s)
    values, at = curves_at(data, track, times_s[frame]), times_s[frame]
    fades = np.full(len(frame), PITCH_STEP_S)
    return {
        "signal": data.signal[track],
        "time_s": at,
        "frequency_hz": values.frequency_hz,
        "amplitude": values.amplitude,
        "phase_rad": values.phase_rad,
        "start_s": at - PITCH_STEP_S / 2,
        "end_s": at + PITCH_STEP_S / 2,
        "fade_in_s": fades,
        "fade_out_s": fades,
    }


def export_model(network: Network, file_format: str, *, channel: int | None = None) -> Exported:
    """Return a model as a file of another program.

    Args:
        network: the model.
        file_format: name of one of the `FORMATS` of tracks, or of whole models.
        channel: the only channel to export, from 0; needed by formats with a single channel for models with more.

    Raises:
        OptionError: there is no such format or channel.
        ExchangeError: the format cannot hold the model.
        PluginError: the format is another package's, and broken.

    """
    spec = FORMATS.look_up(file_format, "format", verb="is")
    write: Callable[..., bytes] = load(spec)
    if spec.content == "model":
        return Exported(write(*model_parts(network)), ())
    if spec.content != "tracks":
        allowed = ", ".join(name for name, row in FORMATS.items() if row.content != "components")
        raise OptionError("a table of components", setting="format", value=file_format, allowed=allowed)
    data = _of_channel(tracks_of_model(network), spec, channel)
    if spec.pitch:
        data = replace(data, pitch=pitch_of_model(network, data, channel))
    layers = [term for term in network.terms if isinstance(term, NoiseNetwork)]
    if layers and spec.noise:
        data = replace(data, noise=noise_bands(layers[0], channel or 0))
    notes = (*data.notes, *(("the format has no noise: that of the model was left out",) if layers and not spec.noise else ()))
    return Exported(write(data), notes)


def _of_channel(data: TrackData, spec: FormatSpec, channel: int | None) -> TrackData:
    """Return the tracks of one channel as those of a sound with one channel, or all."""
    if channel is not None and not 0 <= channel < data.n_signals:
        raise OptionError(setting="channel", value=channel, allowed=f"0 to {data.n_signals - 1}")
    if channel is None and spec.mono and data.n_signals > 1:
        problem = f"the format {spec.name} has one channel, the model {data.n_signals}"
        raise ExchangeError(problem, hint="choose one with {channel}")
    if channel is None:
        return data
    kept = data.keep(data.signal == channel)
    return replace(kept, signal=np.zeros_like(kept.signal), n_signals=1)


def export_file(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    file_format: str,
    *,
    channel: int | None = None,
    force: bool = False,
) -> tuple[str, ...]:
    """Export a saved model to a file and return notes about what the file lacks.

    Args:
        model: folder of a fit, or its ``model.safetensors``.
        out: file to write.
        file_format: as `export_model` takes it.
        channel: as `export_model` takes it.
        force: overwrite the file if it exists.

    Raises:
        OutputError: the file exists, is that of the model, or cannot be written.
        ModelError: the model cannot be read.
        OptionError, ExchangeError, PluginError: as `export_model` does.

    """
    check_made_from(Path(out), Path(model), force=force)
    spec = FORMATS.look_up(file_format, "format", verb="is")
    network = load_model(model)
    if spec.content == "model":
        # From the file, since the values of a network that was read may be rounded once more.
        exported = Exported(load(spec)(*read_parts(model)), ())
    else:
        exported = export_model(network, file_format, channel=channel)
    with whole_file(out) as stream:
        stream.write(exported.data)
    return exported.notes
