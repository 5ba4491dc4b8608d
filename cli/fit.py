"""``ddaudio fit``: from a recording to a folder with its resynthesis, its model and a report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .console import print_gain, print_json, print_result, print_stopped
from .flags import PANELS, Settings, resolve
from .progress import progress_bar


def _output(text: str, **more: Any) -> Parameter:
    return Parameter(help=text, group=PANELS["output"], **more)


@dataclass(frozen=True)
class Destination:
    """Where results go, and what may be there already."""

    out: Annotated[
        Path | None, _output("Folder for the results (default: the recording's name with -fit, in the current folder).")
    ] = None
    force: Annotated[bool, _output("Overwrite an earlier fit, or one that is under way.", negative="", show_default=False)] = (
        False
    )
    resume: Annotated[
        bool,
        _output(
            "Go on with a fit that was stopped or killed; without a checkpoint it begins at the beginning.",
            negative="",
            show_default=False,
        ),
    ] = False
    html: Annotated[bool, _output("Write report.html, the page to look at and listen to.")] = True


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
    """Fit a recording with a network of sinusoids: a WAV to listen to, the model, and a report of how far off it is.

    Ctrl-C while it trains keeps the best so far; a second one ends at once. How far training is, is kept beside the results'
    folder, in NAME-fit.checkpoint, until the fit is complete.

    Args:
        recording: WAV, FLAC, OGG, MP3 or AIFF file.
        to: Where results go.
        config: TOML file with settings, such as the fit.toml of an earlier fit; flags win over it.
        quiet: Show no progress and no result; only the files, errors and warnings.
        json: Print the report as JSON in place of the five lines.
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
        # With both, the earlier fit is what may be overwritten: its checkpoint is gone on with.
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
