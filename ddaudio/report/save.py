"""A fit's folder: everything in it appears whole or not at all."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from ddaudio import report
from ddaudio.errors import OutputError
from ddaudio.fitting.plan import FitPlan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit, plan_fit
from ddaudio.io.wav import write_wav
from ddaudio.models.file import model_bytes
from ddaudio.options import FitOptions
from ddaudio.report.page import PAGE
from ddaudio.results.read import REPORT, FitAudio
from ddaudio.results.record import FitRecord
from ddaudio.training import checkpoints
from ddaudio.training.history import ProgressCallback

FILES = ("resynth.wav", "residual.wav", "model.safetensors", "fit.toml", "report.html", "report.json")
"""What a fit's folder holds, in the order of writing: the report comes last and marks the fit as complete."""


def default_folder(source: str) -> Path:
    """Return where the fit of the file ``source`` goes unless told otherwise: ``NAME-fit`` in the current folder."""
    return Path(f"{Path(source).stem}-fit")


def check_folder(folder: str | os.PathLike[str], source: str, *, force: bool) -> None:
    """Raise `OutputError` if a fit of ``source`` cannot go to ``folder``: call it before the work.

    Refused are a folder that already contains a fit (unless ``force``), one that cannot be made or written to, and one
    where writing would replace the recording itself.
    """
    folder = Path(folder)
    if Path(source).exists() and any((folder / name).resolve() == Path(source).resolve() for name in FILES):
        raise OutputError(f"{str(folder)!r} contains the recording itself, {Path(source).name!r}", hint="choose another {out}")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{str(folder)!r} is a file, not a folder", hint="choose another {out}")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise OutputError(
            f"{str(folder)!r} already contains a fit ({there[-1]})",
            hint="choose another {out}, or overwrite it with {force=True}",
        )
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise OutputError(f"{str(folder)!r} cannot be made: {str(above)!r} cannot be written to", hint="choose another {out}")


def save_fit(
    result: FitResult,
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    html: bool = True,
    batch: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write a fit to ``folder`` and return its report, as it stands in ``report.json``; without its page if not ``html``.

    ``batch`` is what a batch notes in the report, to know later that nothing has changed. All files are first written beside
    the folder, then moved in, the report last. On any failure the folder is as it was.
    Raises `OutputError` when the folder holds a fit and ``force`` is not given, or when it cannot be written.
    """
    folder = Path(folder)
    check_folder(folder, result.recording.source, force=force)
    try:
        # Inside the folder where there is one: it may be mounted, or its parent closed to us.
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = folder if folder.exists() else folder.parent
        with tempfile.TemporaryDirectory(prefix=f".{folder.name[:100]}.tmp-", dir=place) as beside:
            contents = _write_all(result, Path(beside), folder, html, batch)
            _move_in(Path(beside), folder)
    except OSError as error:
        raise OutputError(
            f"cannot write to {str(folder)!r}: {error.strerror or error}", hint="free some space, or choose another {out}"
        ) from error
    return contents


class SavedFit(NamedTuple):
    """A fit and the folder that it was saved in."""

    result: FitResult
    report: dict[str, Any]
    """The contents of ``report.json``."""
    folder: Path
    checkpoint: Path | None
    """Checkpoint from which a fit that the user stopped can be resumed; None if there is none."""


class FolderPlan(NamedTuple):
    """The plan of a fit and of its folder."""

    plan: FitPlan
    folder: Path
    files: tuple[str, ...]
    """Names of the files that would be written."""


def fit_to_folder(
    recording: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    options: FitOptions | None = None,
    *,
    force: bool = False,
    resume: bool = False,
    html: bool = True,
    progress: ProgressCallback | None = None,
    **settings: Any,
) -> SavedFit:
    """Fit a recording, with a checkpoint next to the results' folder, and save the result; then discard the checkpoint.

    The checkpoint of a fit that the user stopped is kept.

    Args:
        recording: path of a file to read.
        out: folder of the results (default: ``NAME-fit`` in the current folder).
        options: all settings (default: ``FitOptions()``).
        force: overwrite an earlier fit; without ``resume`` ignore its checkpoint, too.
        resume: resume an interrupted fit; without a checkpoint, start a new one.
        html: write the page ``report.html``.
        progress: called with the progress.
        **settings: single settings by name; they replace those in ``options``.

    Raises:
        OutputError: the folder contains a fit and ``force`` is not given, or it cannot be written.
        RecordingError, OptionError, CheckpointError: as `ddaudio.fit` does.

    """
    folder = _free_folder(recording, out, force=force)
    checkpoint = checkpoints.folder_beside(folder)
    # With both, the earlier fit is what may be overwritten: its checkpoint is used.
    afresh = force and not resume
    result = fit(recording, options, progress=progress, checkpoint=checkpoint, resume=resume, force=afresh, **settings)
    report = save_fit(result, folder, force=force, html=html)
    if not result.stopped:
        checkpoints.discard(checkpoint)
    return SavedFit(result, report, folder, checkpoint if checkpoints.exists(checkpoint) else None)


def plan_to_folder(
    recording: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    options: FitOptions | None = None,
    *,
    force: bool = False,
    resume: bool = False,
    html: bool = True,
    **settings: Any,
) -> FolderPlan:
    """Return what `fit_to_folder` would do with the same arguments, and raise what it would refuse; nothing is written."""
    folder = _free_folder(recording, out, force=force)
    checkpoint = checkpoints.folder_beside(folder)
    plan = plan_fit(recording, options, checkpoint=checkpoint, resume=resume, force=force and not resume, **settings)
    return FolderPlan(plan, folder, _files(html=html))


def _free_folder(recording: str | os.PathLike[str], out: str | os.PathLike[str] | None, *, force: bool) -> Path:
    folder = default_folder(os.fspath(recording)) if out is None else Path(out)
    check_folder(folder, os.fspath(recording), force=force)
    return folder


def _files(*, html: bool) -> tuple[str, ...]:
    return tuple(name for name in FILES if html or name != PAGE)


def _move_in(beside: Path, folder: Path) -> None:
    """Move `FILES` from ``beside`` into ``folder``, the report last; whatever stops it, ``folder`` is as it was."""
    old, is_new, done = beside / "old", not folder.exists(), False
    folder.mkdir(exist_ok=True)
    old.mkdir()
    there = [name for name in FILES if (folder / name).exists()]
    try:
        for name in reversed(there):
            (folder / name).replace(old / name)
        for name in FILES:
            if (beside / name).exists():
                (beside / name).replace(folder / name)
        done = True
    finally:
        for name in () if done else FILES:
            if (old / name).exists():
                (old / name).replace(folder / name)
            elif name not in there:
                (folder / name).unlink(missing_ok=True)
        if is_new and not done:
            folder.rmdir()


def _write_all(result: FitResult, beside: Path, folder: Path, html: bool, batch: Mapping[str, str] | None) -> dict[str, Any]:
    encoding, sample_rate = result.options.output.encoding, result.recording.sample_rate
    gains = {
        name: write_wav(beside / name, samples, sample_rate, encoding)
        for name, samples in (("resynth.wav", result.estimate), ("residual.wav", result.residual))
    }
    (beside / "model.safetensors").write_bytes(model_bytes(result.network))
    recording = {"source": result.recording.source, "sha256": result.recording.content_hash}
    (beside / "fit.toml").write_text(tomli_w.dumps({"recording": recording, **result.options.tables()}), encoding="utf-8")
    contents = report.build(result) | {"files": list(_files(html=html)), "wav": {"encoding": encoding, "gains": gains}}
    if batch is not None:
        contents["batch"] = dict(batch)
    text = json.dumps(contents, indent=1, allow_nan=False, ensure_ascii=False)
    (beside / REPORT).write_text(text + "\n", encoding="utf-8")
    if html:
        sounds = FitAudio(result.recording.samples, result.estimate, result.residual, sample_rate)
        # A batch's folder may lie where no path leads: its page speaks of the folder itself.
        home = "." if batch is not None else os.path.relpath(folder)
        report.write_page(beside, FitRecord(contents, sounds, result.network), home=home)
    return contents
