"""The gallery of a batch, ``index.html``; its rows are made by the workers."""

from typing import Any, NamedTuple

from ddaudio.errors import DdaudioError
from ddaudio.io.fit_files import PAGE, REPORT
from ddaudio.io.storage import Storage, is_remote

GALLERY = "index.html"
"""File name of the gallery in the output."""
MOST_ROWS = 500
"""Largest number of fits in a gallery: those with the largest ERB distance are shown."""


class Shown(NamedTuple):
    """A fit shown in the gallery."""

    output: Storage
    folder: str
    place: str
    """Path or URL of its recording."""


def gallery_row(shown: Shown) -> dict[str, Any] | None:
    """Return the row of a fit, with links relative to the output; None if the fit is incomplete."""
    from ddaudio.report import gallery  # noqa: PLC0415 - imports torch, which the main process does not need
    from ddaudio.results.record import FitRecord  # noqa: PLC0415

    try:
        with shown.output.fetched(shown.folder) as folder:
            home = folder.parents[shown.folder.count("/")]
            row = gallery.row(FitRecord.read(folder), folder, home)
            row["page"] = gallery._address(folder / (PAGE if (folder / PAGE).exists() else REPORT), home)
    except (DdaudioError, OSError):
        return None
    if is_remote(shown.place):
        row["sounds"].pop("original", None)
    return row


def gallery_page(rows: list[dict[str, Any]]) -> bytes:
    """Return the gallery page for the rows."""
    from ddaudio.report.gallery import page_over  # noqa: PLC0415 - imports torch

    return page_over(rows).encode("utf-8", "backslashreplace")
