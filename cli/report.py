"""``ddaudio report``: the pages of fits, made again from what their folders hold, and a gallery over many."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .console import print_message, print_result


def report(
    folders: list[Path],
    /,
    *,
    gallery: Path | None = None,
    share_script: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> int:
    """Make report.html of fits again, and a gallery over them: a table to sort, with small pictures and players.

    Folders that are not whole are told; the pages of the others are made all the same, and the exit code is 1.

    Args:
        folders: Folders of fits; one that is no fit itself stands for all fits below it.
        gallery: Page to make over all of them, such as index.html.
        share_script: Keep one copy of the pictures' script beside the gallery, not one in each page: saves 2 MB a page.
    """
    from ddaudio.report import write_pages  # noqa: PLC0415 - imports torch, which takes its time

    outcomes = write_pages(folders, gallery=gallery, share_script=share_script)
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if len(outcomes) == len(failed) == 1:
        raise failed[0]
    for error in failed:
        print_message("error", str(error))
    pages = [outcome.page for outcome in outcomes if outcome.page is not None]
    for page in pages if gallery is None or not pages else [*pages, gallery]:
        print_result(str(page))
    return 1 if failed else 0
