"""``ddaudio info``: what is in a recording or a model."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from .speech import say_json

if TYPE_CHECKING:
    from ddaudio.audio import Recording
    from ddaudio.models import FramedNetwork, Network

STRONGEST = 10
"""Parts that a model's table shows."""


def info(file: Path, /, *, json: Annotated[bool, Parameter(negative="", show_default=False)] = False) -> None:
    """Say what is in a recording or in a model.

    Args:
        file: A sound file, a fit's folder, or its model.safetensors.
        json: Print JSON in place of tables.
    """
    is_model = file.suffix == ".safetensors" or (file.is_dir() and (file / "model.safetensors").exists())
    facts = model_facts(file) if is_model else recording_facts(file)
    if json:
        say_json(facts)
    else:
        _show(facts)


def recording_facts(path: Path) -> dict[str, Any]:
    """Return what is known of a recording; levels are None for silence."""
    import soundfile  # type: ignore[import-untyped]  # noqa: PLC0415

    from ddaudio import audio  # noqa: PLC0415

    recording: Recording = audio.read(path)
    head = soundfile.info(os.fsencode(path) if os.name == "posix" else str(path))
    rms = math.sqrt(recording.energy / (recording.n_channels * recording.n_samples))
    return {
        "kind": "recording",
        "file": str(path),
        "format": head.format_info,
        "encoding": head.subtype_info,
        "duration_s": recording.duration_s,
        "sample_rate": recording.sample_rate,
        "channels": recording.n_channels,
        "samples": recording.n_samples,
        "declared_samples": recording.declared_samples,
        "cut_short": recording.truncated,
        "clipped_samples": recording.clipped_samples,
        "peak_dbfs": _decibels(recording.peak),
        "rms_dbfs": _decibels(rms),
        "sha256": recording.content_hash,
    }


def model_facts(path: Path) -> dict[str, Any]:
    """Return what is known of a model, its strongest parts included."""
    from ddaudio import model_file, tables  # noqa: PLC0415 - imports torch, which takes its time

    network: Network = model_file.load_model(path)
    channels, samples = network.shape
    columns = tables.table_columns(network)
    amplitude = columns["amplitude"]
    strongest = sorted(range(len(amplitude)), key=lambda place: -abs(amplitude[place]))[:STRONGEST]
    terms = [_term_facts(term) for term in network.terms]
    return {
        "kind": "model",
        "file": str(path),
        "model": network.title,
        "numbers": network.numbers(),
        "numbers_per_sample": network.numbers() / (samples * channels),
        "parts": network.parts(),
        **(terms[0] if len(terms) == 1 else {"terms": terms}),
        "duration_s": samples / network.sample_rate,
        "sample_rate": network.sample_rate,
        "channels": channels,
        "samples": samples,
        "strongest": [{name: column[place] for name, column in columns.items()} for place in strongest],
    }


def _term_facts(term: "FramedNetwork") -> dict[str, Any]:
    """Return what is known of one network of a model."""
    from ddaudio.models import NETWORKS  # noqa: PLC0415 - imports torch, which takes its time

    grid = term.grid
    return {
        "network": term.name,
        NETWORKS[term.name].parts: term.parts(),
        "frames": grid.n_frames,
        "shortest_frame_s": int(grid.cells.length.min()) / grid.sample_rate,
        "longest_frame_s": int(grid.cells.length.max()) / grid.sample_rate,
        "window": grid.window,
        **({"settings": term.settings()} if term.settings() else {}),
    }


def _decibels(level: float) -> float | None:
    return 20 * math.log10(level) if level > 0 else None


def _show(facts: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    strongest = facts.get("strongest", [])
    listing = Table(show_header=False, box=None, pad_edge=False)
    listing.add_column()
    listing.add_column(overflow="fold")
    for name, value in facts.items():
        if name in ("strongest", "sha256"):
            continue
        if name == "terms":
            for term in value:
                rest = {key: one for key, one in term.items() if key != "network"}
                listing.add_row(f"network {term['network']}", Text(_in_words("", rest)))
            continue
        listing.add_row(_label(name), Text(_in_words(name, value)))
    console.print(listing)
    if strongest:
        table = Table(title=f"strongest {len(strongest)} of {facts['parts']} parts", title_justify="left", box=None)
        for name in strongest[0]:
            table.add_column(name, justify="right", overflow="fold")
        for row in strongest:
            table.add_row(*("" if one is None else f"{one:.4f}" if isinstance(one, float) else str(one) for one in row.values()))
        console.print(table)


def _label(name: str) -> str:
    return name.removesuffix("_s").removesuffix("_dbfs").replace("_", " ")


def _in_words(name: str, value: Any) -> str:
    units = {
        "duration_s": " s",
        "shortest_frame_s": " s",
        "longest_frame_s": " s",
        "sample_rate": " Hz",
        "peak_dbfs": " dBFS",
        "rms_dbfs": " dBFS",
    }
    if value is None:
        return "none: digital silence"
    if isinstance(value, dict):
        return ", ".join(f"{_label(key)} {_in_words(key, one)}" for key, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return (f"{value:.4g}" if isinstance(value, float) else str(value)) + units.get(name, "")
