"""The gallery over a batch: ``index.html``. Its rows are made where the fits were."""

import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from ddaudio.batching.up_to_date import PAGE
from ddaudio.errors import DdaudioError
from ddaudio.io.storage import REPORT, Storage, is_remote

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

    output = shown.output
    with nullcontext(output.address) if output.is_local else tempfile.TemporaryDirectory() as home:
        folder = Path(home, shown.folder)
        try:
            if not output.is_local:
                folder.mkdir(parents=True)
                output.download(shown.folder, folder)
            row = gallery.row(FitRecord.read(folder), folder, Path(home))
        except (DdaudioError, OSError):
            return None
        page = folder / (PAGE if (folder / PAGE).exists() else REPORT)
        row["page"] = gallery._address(page, Path(home))
    if is_remote(shown.place):
        row["sounds"].pop("original", None)
    return row


def gallery_page(rows: list[dict[str, Any]]) -> bytes:
    """Return the gallery of some rows."""
    from ddaudio.report.gallery import page_over  # noqa: PLC0415 - imports torch

    return page_over(rows).encode("utf-8", "backslashreplace")
