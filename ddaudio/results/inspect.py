"""Facts about recordings and models."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddaudio.io.audio import Recording
    from ddaudio.models import Network, Term

STRONGEST = 10
"""Number of components in the table of a model."""


def recording_facts(path: Path) -> dict[str, Any]:
    """Return facts about a recording; levels are None for silence."""
    from ddaudio.io import audio  # noqa: PLC0415

    recording: Recording = audio.read(path)
    rms = math.sqrt(recording.energy / (recording.n_channels * recording.n_samples))
    return {
        "kind": "recording",
        "file": str(path),
        "format": recording.file_format,
        "encoding": recording.encoding,
        "duration_s": recording.duration_s,
        "sample_rate": recording.sample_rate,
        "channels": recording.n_channels,
        "samples": recording.n_samples,
        "declared_samples": recording.declared_samples,
        "cut_short": recording.truncated,
        "warnings": list(recording.warnings),
        "clipped_samples": recording.clipped_samples,
        "peak_dbfs": _decibels(recording.peak),
        "rms_dbfs": _decibels(rms),
        "sha256": recording.content_hash,
    }


def model_facts(path: Path) -> dict[str, Any]:
    """Return facts about a model, including its strongest components."""
    from ddaudio.editing import tables  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.grid.extents import EXTENTS  # noqa: PLC0415
    from ddaudio.models import file as model_file  # noqa: PLC0415 - imports torch, which takes its time

    network: Network = model_file.load_model(path)
    channels, samples = network.shape
    columns = {name: column for name, column in tables.table_columns(network).items() if name not in EXTENTS}
    amplitude = columns["amplitude"]
    strongest = sorted(range(len(amplitude)), key=lambda place: -abs(amplitude[place]))[:STRONGEST]
    terms = [_term_facts(term) for term in network.terms]
    return {
        "kind": "model",
        "file": str(path),
        "model": network.title,
        "n_parameters": network.n_parameters(),
        "parameters_per_sample": network.n_parameters() / (samples * channels),
        "n_components": network.n_components(),
        **(terms[0] if len(terms) == 1 else {"terms": terms}),
        "duration_s": samples / network.sample_rate,
        "sample_rate": network.sample_rate,
        "channels": channels,
        "samples": samples,
        "strongest": [{name: column[place] for name, column in columns.items()} for place in strongest],
    }


def _term_facts(term: "Term") -> dict[str, Any]:
    """Return facts about one network of a model."""
    from ddaudio.options import NETWORKS  # noqa: PLC0415 - imports torch, which takes its time

    return {
        "network": term.name,
        NETWORKS[term.name].component_name: term.n_components(),
        **{name: fact for name, fact in term.facts().items() if name != "cell_samples"},
        **({"settings": term.settings()} if term.settings() else {}),
    }


def _decibels(level: float) -> float | None:
    return 20 * math.log10(level) if level > 0 else None
