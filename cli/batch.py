"""``ddaudio batch``: every recording of a folder, a list or a bucket."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .console import print_json, print_message, print_result
from .flags import FILES, BatchSettings, Settings, resolve
from .progress import batch_progress


def batch(
    inputs: list[str],
    /,
    *,
    out: Annotated[str, Parameter(group=FILES)],
    how: Annotated[BatchSettings | None, Parameter(name="*")] = None,
    config: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> int:
    """Fit all recordings of a folder, a list or a bucket, each into a folder of its own.

    A second run fits only what is missing or has changed. Failures become rows of results.csv; the exit code is then 1.

    Args:
        inputs: A folder, a list file (.txt or .m3u, one path or address per line), an address such as s3://bucket/sounds, or
            recordings.
        out: Folder or address for the fits, results.csv, results.parquet, summary.json and the gallery index.html.
        how: Settings of the batch.
        config: TOML file with settings, such as the fit.toml of an earlier fit; flags take precedence.
        quiet: Print no progress and no results, only errors and warnings.
        json: Print the summary as JSON.
        settings: Settings of the fits.
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
