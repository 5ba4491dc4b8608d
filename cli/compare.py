"""``ddaudio compare``: compare networks, losses and seeds on the same recordings."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ddaudio.io.paths import visible
from ddaudio.options import GOALS, read_settings

from .console import print_json, print_message, print_result
from .flags import SHARED, CompareSettings, SharedSettings
from .progress import compare_progress

if TYPE_CHECKING:
    from ddaudio.comparing import Comparison

WIDE = 200
"""Width in columns of a table that is not printed to a terminal."""


def compare(
    recordings: list[Path],
    /,
    *,
    out: Path | None = None,
    how: Annotated[CompareSettings | None, Parameter(name="*")] = None,
    config: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    settings: Annotated[SharedSettings | None, Parameter(name="*")] = None,
) -> int:
    """Fit recordings with several networks and losses, and several seeds each, and compare the results.

    All fits have the same size (0.06 parameters per sample, unless a goal is given) and the same time.

    A second run makes only the missing fits. The table has medians and, in brackets, ranges over seeds.

    Args:
        recordings: Sound files.
        out: Folder for the table, curves, the page index.html and the fits (default: NAME-compare,
            by the first recording).
        how: Settings of the comparison.
        config: TOML file with settings of all fits, such as the fit.toml of an earlier fit; flags take precedence.
        quiet: Print no progress and no results, only errors and warnings.
        json: Print the table and the runs as JSON.
        settings: Settings of all fits.
    """
    from ddaudio import comparing  # noqa: PLC0415 - not needed for the other commands

    flags = settings or {}
    given = {**settings_of_file(config, flags, SHARED), **flags}
    options = comparing.CompareOptions(**(how or {}))
    place = Path(f"{recordings[0].stem}-compare") if out is None else out
    with compare_progress(quiet=quiet) as show:
        found = comparing.compare(recordings, place, options, progress=show, **given)
    return finish(found, quiet=quiet, json=json)


def finish(found: "Comparison", *, quiet: bool, json: bool) -> int:
    """Print the results and the failures of a comparison or search, and return the exit code."""
    if json:
        print_json(found.contents())
    elif not quiet:
        show_table(found)
    for warning in found.warnings if quiet or json else ():  # the caption of the table names them, too
        print_message("warning", warning)
    for run in found.runs:
        if run.status == "failed" and not found.stopped:
            print_message("error", f"{', '.join(filter(None, run.kind))}, seed {run.seed}: {run.reason}")
    return 130 if found.stopped else 1 if found.failed else 0


def settings_of_file(config: Path | None, flags: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the settings of a file that are among ``known``, without a goal replaced by flags."""
    if config is None:
        return {}
    goals = GOALS if any(name in flags for name in GOALS) else ()
    return {
        name: value for name, value in read_settings(config).items() if name.rpartition(".")[2] in known and name not in goals
    }


def show_table(found: "Comparison") -> None:
    """Print the table; without a terminal it is never wrapped."""
    from rich.console import Console  # noqa: PLC0415 - not needed by the other commands
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    heads, cells = found.table()
    table = Table(caption=found.in_words(), caption_justify="left")
    for place, head in enumerate(heads):
        table.add_column(head, justify="left" if place < found.n_words or not head else "right")
    for row in cells:
        table.add_row(*(escape(visible(cell)) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    console.print(table, highlight=False)
    files = f"compare.json, table.csv, runs.csv, curves.csv, table.md, {found.picture[0]}, index.html, fits"
    print_result(f"wrote {found.output}: {files}")
