"""``ddaudio fit``: fit a recording, write resynthesis, model and report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .console import print_gain, print_json, print_result, print_stopped
from .flags import FILES, Settings, resolve
from .progress import progress_bar


def _output(text: str, **more: Any) -> Parameter:
    return Parameter(help=text, group=FILES, **more)


@dataclass(frozen=True)
class Destination:
    """Where results are written."""

    out: Annotated[Path | None, _output("Folder for the results (default: NAME-fit in the current folder).")] = None
    force: Annotated[bool, _output("Overwrite an earlier fit, or an unfinished one.", negative="", show_default=False)] = False
    resume: Annotated[
        bool,
        _output(
            "Resume an interrupted fit; without a checkpoint, start a new one.",
            negative="",
            show_default=False,
        ),
    ] = False
    html: Annotated[bool, _output("Write report.html, a page with plots and players.")] = True


def fit(
    recording: Path,
    /,
    *,
    to: Annotated[Destination | None, Parameter(name="*")] = None,
    config: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> int:
    """Fit a small model of waves to a recording, and write a WAV file, the model and a report to a folder.

    Ctrl-C during training saves the best model so far; a second Ctrl-C stops at once.

    A checkpoint is kept in NAME-fit.checkpoint, next to the results, until the fit is complete.

    Args:
        recording: A WAV, FLAC, OGG, MP3 or AIFF file.
        to: Where results are written.
        config: TOML file with settings, such as the fit.toml of an earlier fit; flags take precedence.
        quiet: Print no progress and no results, only errors and warnings.
        json: Print the report as JSON.
        settings: Single settings.
    """
    options, to = resolve(settings or {}, config), to or Destination()
    with progress_bar(quiet=quiet) as tell:
        from ddaudio import report  # noqa: PLC0415 - imports torch, which takes its time
        from ddaudio.fitting import run as fitting_run  # noqa: PLC0415 - imports torch, which takes its time
        from ddaudio.report import save as saving  # noqa: PLC0415 - imports torch, which takes its time
        from ddaudio.training import checkpoints  # noqa: PLC0415 - imports torch, which takes its time

        folder = saving.default_folder(str(recording)) if to.out is None else to.out
        saving.check_folder(folder, str(recording), force=to.force)
        checkpoint = checkpoints.folder_beside(folder)
        # With both, the earlier fit may be overwritten, and its checkpoint is resumed.
        afresh = to.force and not to.resume
        result = fitting_run.fit(recording, options, progress=tell, checkpoint=checkpoint, resume=to.resume, force=afresh)
        contents = saving.save_fit(result, folder, force=to.force, html=to.html)
        if not result.stopped:
            checkpoints.discard(checkpoint)
    for name, gain in contents["wav"]["gains"].items():
        print_gain(name, gain, contents["wav"]["encoding"])
    if json:
        print_json(contents)
    elif not quiet:
        print_result("\n".join([*report.summary(result), f"files    {folder}: {', '.join(contents['files'])}"]))
    if result.stopped and checkpoints.exists(checkpoint):
        print_stopped(str(checkpoint))
    return 130 if result.stopped else 0
