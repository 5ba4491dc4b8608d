"""``ddaudio search``: draw settings from ranges, and sort the fits with them."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .compare import finish, settings_of_file
from .flags import SEARCHED, SearchedSettings, SearchSettings
from .progress import compare_progress


def search(
    recordings: list[Path],
    /,
    *,
    out: Path | None = None,
    how: Annotated[SearchSettings | None, Parameter(name="*")] = None,
    config: Path | None = None,
    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    settings: Annotated[SearchedSettings | None, Parameter(name="*")] = None,
) -> int:
    """Fit recordings with settings drawn at random from ranges, and sort the draws by ERB distance or SNR.

    All fits have the same size (0.06 parameters per sample, unless a goal is given) and the same time.

    A second run makes only the missing fits; more trials continue the draws.

    Args:
        recordings: Sound files.
        out: Folder for the table, the figure search.png, the page index.html and the fits (default: NAME-search,
            by the first recording).
        how: Settings of the search.
        config: TOML file with settings of all fits, such as the fit.toml of an earlier fit; flags and ranges take
            precedence.
        quiet: Print no progress and no results, only errors and warnings.
        json: Print the table, the draws and the runs as JSON.
        settings: Settings of all fits.
    """
    from ddaudio import comparing  # noqa: PLC0415 - not needed for the other commands

    flags = settings or {}
    given = {**settings_of_file(config, flags, SEARCHED), **flags}
    options = comparing.SearchOptions(**(how or {}))
    place = Path(f"{recordings[0].stem}-search") if out is None else out
    with compare_progress(quiet=quiet) as show:
        found = comparing.search(recordings, place, options, progress=show, **given)
    return finish(found, quiet=quiet, json=json)
