"""``ddaudio report``: write the pages of fits again, and a gallery of many."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .console import print_message, print_result
from .refusals import in_flags


def report(
    folders: list[Path],
    /,
    *,
    gallery: Path | None = None,
    share_script: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    quality: str | None = None,
) -> int:
    """Write report.html of fits again, and a gallery of them: a sortable table with small plots and players.

    Incomplete folders are reported as errors; the pages of the others are written all the same, and the exit code is 1.

    Args:
        folders: Folders of fits; a folder that is not a fit stands for all fits below it.
        gallery: Page with all fits to write, such as index.html.
        share_script: Keep one copy of the plotting script next to the gallery instead of one in each page: saves 2 MB a page.
        quality: Perceptual scores to compute and to add to the reports: zimtohrli, visqol, or both with a comma between them;
            they need the extra quality.
    """
    from ddaudio.report import write_pages  # noqa: PLC0415 - imports torch, which takes its time

    outcomes = write_pages(folders, gallery=gallery, share_script=share_script, quality=quality)
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(outcomes) == len(failed) == 1:
        raise failed[0]
    for error in failed:
        print_message("error", in_flags(error))
    pages = [outcome.page for outcome in outcomes if outcome.page is not None]
    for page in pages if gallery is None or not pages else [*pages, gallery]:
        print_result(str(page))
    return 1 if failed else 0
