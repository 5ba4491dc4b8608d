"""``ddaudio info``: facts about a recording or a model."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from ddaudio.io.paths import visible
from ddaudio.results.inspect import model_facts, recording_facts

from .console import print_json


def info(file: Path, /, *, json: Annotated[bool, Parameter(negative="", show_default=False)] = False) -> None:
    """Print facts about a recording or a model.

    Args:
        file: A sound file, the folder of a fit, or its model.safetensors.
        json: Print JSON instead of tables.
    """
    is_model = file.suffix == ".safetensors" or (file.is_dir() and (file / "model.safetensors").exists())
    facts = model_facts(file) if is_model else recording_facts(file)
    if json:
        print_json(facts)
    else:
        _show(facts)


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
        if name == "warnings":
            for warning in value:
                listing.add_row("warning", Text(warning))
            continue
        if name == "terms":
            for term in value:
                rest = {key: one for key, one in term.items() if key != "network"}
                listing.add_row(f"network {term['network']}", Text(visible(_in_words("", rest))))
            continue
        listing.add_row(_label(name), Text(visible(_in_words(name, value))))
    console.print(listing)
    if strongest:
        table = Table(title=f"strongest {len(strongest)} components", title_justify="left", box=None)
        for name in strongest[0]:
            table.add_column(name, justify="right", overflow="fold")
        for row in strongest:
            table.add_row(*("" if one is None else f"{one:.5g}" if isinstance(one, float) else str(one) for one in row.values()))
        console.print(table)


def _label(name: str) -> str:
    return name.removeprefix("n_").removesuffix("_s").removesuffix("_dbfs").replace("_", " ")


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
