"""``ddaudio batch``: every recording of a folder, a list or a bucket."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .console import print_json, print_message, print_result
from .flags import PANELS, BatchSettings, Settings, resolve
from .progress import batch_progress


def batch(
    inputs: list[str],
    /,
    *,
    out: Annotated[str, Parameter(group=PANELS["output"])],
    how: Annotated[BatchSettings | None, Parameter(name="*")] = None,
    config: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> int:
    """Fit every recording of a folder, a list or a bucket that is not fitted yet, each into a folder of its own.

    A second run does only what is missing or has changed. What fails is a row in results.csv, ends nothing, and makes the
    exit code 1.

    Args:
        inputs: A folder, a list file (.txt, .m3u: a path or address a line), an address such as s3://bucket/sounds, or several
            recordings.
        out: Folder or address for the fits, results.csv, results.parquet, summary.json and the gallery index.html.
        how: Settings of the batch.
        config: TOML file with settings, such as the fit.toml of an earlier fit; flags win over it.
        quiet: Show no progress and no result; only the files, errors and warnings.
        json: Print the summary as JSON.
        settings: Single settings of the fits.
    """
    options = resolve(settings or {}, config)
    from ddaudio import batching  # noqa: PLC0415 - not needed for the other commands

    with batch_progress(quiet=quiet) as show:
        result = batching.batch(inputs, out, options, progress=show, **(how or {}))
    if json:
        print_json(result.contents | ({} if result.planned_sound_s is None else {"planned_sound_s": result.planned_sound_s}))
    elif not quiet:
        print_result("\n".join(batching.in_words(result)))
    if result.problem is not None:
        print_message("error", result.problem)
    if result.failed and quiet:
        print_message("error", f"{result.failed} recordings failed; see {result.output}/results.csv")
    return 130 if result.stopped else 1 if result.failed or result.problem else 0
