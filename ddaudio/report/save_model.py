"""Saving of models that were not fitted, as folders like those of fits."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ddaudio.errors import OutputError, ReportError
from ddaudio.io.atomic import clear_leftovers, install, scratch_folder
from ddaudio.io.fit_files import FILES, MODEL, NOISE, PAGE, REPORT, RESYNTHESIS, WAVES
from ddaudio.io.samples import Samples, Total, added, blocks, collect
from ddaudio.io.wav import write_wav
from ddaudio.models import Network
from ddaudio.models.file import model_bytes
from ddaudio.options import Encoding
from ddaudio.report.model_page import model_page
from ddaudio.report.save import check_folder
from ddaudio.results.model_report import Origin, build_model, is_model
from ddaudio.results.read import read_report
from ddaudio.results.report_json import to_text


def save_model(
    network: Network,
    folder: str | os.PathLike[str],
    origin: Origin,
    *,
    force: bool = False,
    html: bool = True,
    encoding: Encoding = "float32",
    model: bytes | None = None,
) -> dict[str, Any]:
    """Write a model that was not fitted to ``folder`` and return its report, the contents of ``report.json``.

    The folder has ``resynth.wav``, ``waves.wav`` and ``noise.wav`` of a model with noise, ``model.safetensors``, ``report.html``
    and ``report.json``: what a fit has but for what needs a recording. All files appear at once, or none on any failure.

    Args:
        network: the model.
        folder: where to write.
        origin: what it was made of; the steps of a source that was not fitted itself come before.
        force: overwrite a fit or a model that is there.
        html: write the page.
        encoding: sample format of the sounds.
        model: contents of ``model.safetensors`` (default: those of the network, whose values may be rounded once more).

    Raises:
        OutputError: the folder contains a fit or a model and ``force`` is not given, it is that of a source, or it cannot be
            written.

    """
    folder = Path(folder)
    check_model_folder(folder, origin.sources, force=force)
    for place in (folder, folder.absolute().parent):
        clear_leftovers(place)
    try:
        # Inside an existing folder, since it may be a mount point or its parent may not be writable.
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder if folder.exists() else folder.parent) as new:
            (new / MODEL).write_bytes(model_bytes(network) if model is None else model)
            contents = _write(network, new, _history(origin), html=html, encoding=encoding, name=folder.absolute().name)
            install(new, folder, FILES)
    except OSError as error:
        raise OutputError(
            f"cannot write to {str(folder)!r}: {error.strerror or error}", hint="free some space, or choose another {out}"
        ) from error
    return contents


def check_model_folder(folder: str | os.PathLike[str], sources: Sequence[str], *, force: bool) -> None:
    """Raise `OutputError` if a model made of ``sources`` cannot be saved to ``folder``, before any work is done."""
    folder = Path(folder)
    for source in sources:
        home = Path(source) if Path(source).is_dir() else Path(source).parent
        if folder.resolve() == home.resolve():
            raise OutputError(f"{str(folder)!r} is the folder of the model itself", hint="choose another {out}")
    check_folder(folder, str(folder / "no recording"), force=force)


def _history(origin: Origin) -> list[dict[str, Any]]:
    """Return the steps by which a model was made, with those of its first source before."""
    earlier: list[dict[str, Any]] = []
    for source in origin.sources[:1]:
        home = Path(source) if Path(source).is_dir() else Path(source).parent
        # The report of a source is not needed for its edit.
        with contextlib.suppress(ReportError):
            report = read_report(home)
            earlier = list(report["origin"]) if is_model(report) else []
    return [*earlier, origin.as_row()]


def _write(
    network: Network, folder: Path, history: Sequence[Mapping[str, Any]], *, html: bool, encoding: Encoding, name: str
) -> dict[str, Any]:
    """Write all files but the model into a folder and return the report."""
    sounds = model_sounds(network)
    files = {"resynthesis": RESYNTHESIS, "waves": WAVES, "noise": NOISE}
    peak = max((float(block.abs().max()) for block in blocks(sounds["resynthesis"]) if block.numel()), default=0.0)
    gains = {files[part]: write_wav(folder / files[part], sound, network.sample_rate, encoding) for part, sound in sounds.items()}
    names = [*gains, MODEL, *([PAGE] if html else []), REPORT]
    contents = build_model(network, history, peak) | {"files": names, "wav": {"encoding": encoding, "gains": gains}}
    (folder / REPORT).write_text(to_text(contents), encoding="utf-8")
    if html:
        (folder / PAGE).write_text(model_page(contents, sounds, name), encoding="utf-8", errors="backslashreplace")
    return contents


@torch.no_grad()
def model_sounds(network: Network) -> dict[str, Samples]:
    """Return the sounds of a model by name: resynthesis, and waves and noise of a model with both."""
    waves = [collect(term.pieces(network.sample_rate)) for term in network.terms if not term.is_noise]
    noise = [collect(term.pieces(network.sample_rate)) for term in network.terms if term.is_noise]
    total = _total([*waves, *noise])
    whole = total if network.drift is None else added(total, network.drift.at_rate(network.sample_rate))
    return {"resynthesis": whole} | ({"waves": _total(waves), "noise": _total(noise)} if waves and noise else {})


def _total(sounds: Sequence[Samples]) -> Samples:
    return sounds[0] if len(sounds) == 1 else Total(list(sounds))
