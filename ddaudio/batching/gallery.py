"""The gallery over a batch: ``index.html``. Its rows are made where the fits were."""

from typing import Any, NamedTuple

from ddaudio.errors import DdaudioError
from ddaudio.io.fit_files import PAGE, REPORT
from ddaudio.io.storage import Storage, is_remote

GALLERY = "index.html"
"""Name of the gallery in the output."""
MOST_ROWS = 500
"""Fits that a gallery shows: of more, those with the lowest SNR."""


class Shown(NamedTuple):
    """A fit that the gallery shows."""

    output: Storage
    folder: str
    place: str
    """Path or address of its recording."""


def gallery_row(shown: Shown) -> dict[str, Any] | None:
    """Return the row of a fit, with addresses as a page in the output has them; None where the fit is not whole."""
    from ddaudio.report import gallery  # noqa: PLC0415 - imports torch, which the process that steers does without
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
    """Return the gallery of some rows."""
    from ddaudio.report.gallery import page_over  # noqa: PLC0415 - imports torch

    return page_over(rows).encode("utf-8", "backslashreplace")
