"""Saving of fits: the files of a folder are written atomically."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from ddaudio import report
from ddaudio.errors import OutputError
from ddaudio.fitting.plan import FitPlan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit, plan_fit
from ddaudio.io.atomic import SCRATCH, clear_leftovers, exclusive, install, is_inside_only, scratch_folder
from ddaudio.io.fit_files import ENDING, FILES, MODEL, NOISE, REPORT, RESIDUAL, RESYNTHESIS, SETTINGS, WAVES, fit_files
from ddaudio.io.paths import quoted, short_name
from ddaudio.io.wav import write_wav
from ddaudio.models.file import model_bytes
from ddaudio.options import FitOptions
from ddaudio.results.record import FitRecord, audio_of
from ddaudio.results.report_json import to_text
from ddaudio.training import checkpoint_files
from ddaudio.training.history import ProgressCallback


def default_folder(source: str) -> Path:
    """Return the default folder for the fit of the file ``source``: ``NAME-fit`` in the current folder."""
    return Path(short_name(Path(source).stem, ENDING))


def check_folder(folder: str | os.PathLike[str], source: str, *, force: bool) -> None:
    """Raise `OutputError` if a fit of ``source`` cannot be saved to ``folder``, before any work is done.

    Refused are a folder that already contains a fit (unless ``force``), one that cannot be made or written to, and one
    where writing would replace the recording itself.
    """
    folder = Path(folder)
    if os.path.exists(source) and any(os.path.realpath(folder / name) == os.path.realpath(source) for name in FILES):  # noqa: PTH110
        raise OutputError(f"{str(folder)!r} contains the recording itself, {Path(source).name!r}", hint="choose another {out}")
    if os.path.lexists(folder) and not os.path.isdir(folder):  # noqa: PTH112 - no error where it cannot be looked at
        what = "is a link that leads nowhere" if folder.is_symlink() else "is a file, not a folder"
        raise OutputError(f"{str(folder)!r} {what}", hint="choose another {out}")
    there = [name for name in FILES if os.path.lexists(folder / name)]
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
    """Write a fit to ``folder`` and return its report, the contents of ``report.json``; without its page if not ``html``.

    ``batch`` are the hashes that a batch stores in the report for its up-to-date checks. All files are first written to a
    temporary folder and then moved, the report last. On any failure the folder is unchanged.
    Raises `OutputError` if the folder contains a fit and ``force`` is not given, or if it cannot be written.
    """
    folder = Path(folder)
    _clear_leftovers(folder)
    check_folder(folder, result.recording.source, force=force)
    try:
        # Inside an existing folder, since it may be a mount point or its parent may not be writable.
        folder.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(folder if folder.exists() else folder.parent) as new:
            contents = write_fit(result, new, html=html, batch=batch, home=os.path.relpath(folder))
            install(new, folder, FILES)
    except OSError as error:
        raise OutputError(
            f"cannot write to {str(folder)!r}: {error.strerror or error}", hint="free some space, or choose another {out}"
        ) from error
    return contents


class SavedFit(NamedTuple):
    """A fit and the folder that it was saved in."""

    result: FitResult
    report: dict[str, Any]
    """Contents of ``report.json``."""
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
        OutputError: the folder contains a fit and ``force`` is not given, it cannot be written, or another fit to it is running.
        RecordingError, OptionError, CheckpointError: as `ddaudio.fit` does.

    """
    folder = _folder_of(recording, out)
    with exclusive(_lock_beside(folder), f"another fit to {quoted(folder)} is running"):
        _clear_leftovers(folder)
        check_folder(folder, os.fspath(recording), force=force)
        checkpoint = checkpoint_files.folder_beside(folder)
        # With both, the earlier fit may be overwritten and the checkpoint is used.
        afresh = force and not resume
        result = fit(recording, options, progress=progress, checkpoint=checkpoint, resume=resume, force=afresh, **settings)
        report = save_fit(result, folder, force=force, html=html)
        if not result.stopped:
            checkpoint_files.discard(checkpoint)
        return SavedFit(result, report, folder, checkpoint if checkpoint_files.exists(checkpoint) else None)


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
    """Return the plan of `fit_to_folder` with the same arguments; raises the same errors, and writes nothing."""
    folder = _folder_of(recording, out)
    check_folder(folder, os.fspath(recording), force=force)
    checkpoint = checkpoint_files.folder_beside(folder)
    plan = plan_fit(recording, options, checkpoint=checkpoint, resume=resume, force=force and not resume, **settings)
    return FolderPlan(plan, folder, fit_files(html=html, noise=plan.noise is not None))


def _folder_of(recording: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> Path:
    return default_folder(os.fspath(recording)) if out is None else Path(out)


def _lock_beside(folder: Path) -> Path:
    """Return the lock file for the folder of a fit: next to it, or inside it if that is impossible."""
    folder = folder.absolute()
    if is_inside_only(folder):
        return folder / f"{SCRATCH}lock"
    return folder.parent / f"{SCRATCH}lock-{hashlib.sha256(os.fsencode(folder.name)).hexdigest()[:16]}"


def _clear_leftovers(folder: Path) -> None:
    """Remove temporary files of killed fits in and next to a folder; complete interrupted installations."""
    for place in (folder, folder.absolute().parent):
        clear_leftovers(place)


def write_fit(
    result: FitResult, folder: Path, *, html: bool = True, batch: Mapping[str, str] | None = None, home: str = "."
) -> dict[str, Any]:
    """Write a fit directly into an empty folder and return its report; ``home`` is the path shown on the page.

    Raises OSError or `OutputError`; use `save_fit` to write atomically.
    """
    encoding, sample_rate = result.options.output.encoding, result.recording.sample_rate
    written = {RESYNTHESIS: result.estimate, RESIDUAL: result.residual}
    if result.noise is not None:
        written |= {WAVES: result.waves, NOISE: result.noise}
    gains = {name: write_wav(folder / name, samples, sample_rate, encoding) for name, samples in written.items()}
    (folder / MODEL).write_bytes(model_bytes(result.network))
    recording = {"source": result.recording.source, "sha256": result.recording.content_hash}
    (folder / SETTINGS).write_text(tomli_w.dumps({"recording": recording, **result.options.tables()}), encoding="utf-8")
    names = fit_files(html=html, noise=result.noise is not None)
    contents = report.build(result) | {"files": list(names), "wav": {"encoding": encoding, "gains": gains}}
    if batch is not None:
        contents["batch"] = dict(batch)
    (folder / REPORT).write_text(to_text(contents), encoding="utf-8")
    if html:
        report.write_page(folder, FitRecord(contents, audio_of(result), result.network), home=home)
    return contents
