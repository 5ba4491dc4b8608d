"""``ddaudio fit``: from a recording to a folder with its resynthesis, its model and a report."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .progress import progress_bar
from .settings import PANELS, Settings, resolve
from .speech import say, say_json, tell_gain


def fit(
    recording: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(group=PANELS["output"])] = None,
    force: Annotated[bool, Parameter(negative="", show_default=False, group=PANELS["output"])] = False,
    html: Annotated[bool, Parameter(group=PANELS["output"])] = True,
    config: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> int:
    """Fit a recording with a network of sinusoids: a WAV to listen to, the model, and a report of how far off it is.

    Ctrl-C while it trains keeps the best so far; a second one ends at once.

    Args:
        recording: WAV, FLAC, OGG, MP3 or AIFF file.
        out: Folder for the results (default: the recording's name with -fit, in the current folder).
        force: Overwrite an earlier fit.
        html: Write report.html, the page to look at and listen to.
        config: TOML file with settings, such as the fit.toml of an earlier fit; flags win over it.
        quiet: Show no progress and no result; only the files, errors and warnings.
        json: Print the report as JSON in place of the five lines.
        settings: Single settings.
    """
    options = resolve(settings or {}, config)
    with progress_bar(quiet=quiet) as tell:
        from ddaudio import export, fitting, report  # noqa: PLC0415 - imports torch, which takes its time

        folder = export.default_folder(str(recording)) if out is None else out
        export.check_folder(folder, str(recording), force=force)
        result = fitting.fit(recording, options, progress=tell)
        contents = export.save_fit(result, folder, force=force, html=html)
    for name, gain in contents["wav"]["gains"].items():
        tell_gain(name, gain, contents["wav"]["encoding"])
    if json:
        say_json(contents)
    elif not quiet:
        say("\n".join([*report.summary(result), f"files    {folder}: {', '.join(contents['files'])}"]))
    return 130 if result.stopped else 0
