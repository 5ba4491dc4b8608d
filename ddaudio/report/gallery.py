"""One page over many fits: a table to sort and filter, with small pictures and players, each row leading to its report."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from ddaudio.errors import DdaudioError, OptionError, OutputError
from ddaudio.report import pictures, words
from ddaudio.report.evidence import Evidence
from ddaudio.report.page import PAGE, array, asset, environment, plotly_script, write_page
from ddaudio.saved import REPORT
from ddaudio.wav import whole_file

SMALL_COLUMNS, SMALL_ROWS = 96, 40
"""Cells of a small spectrogram."""


@dataclass(frozen=True)
class Outcome:
    """What became of one folder of a list."""

    folder: Path
    page: Path | None
    """The page that was made; None where it could not be."""
    error: DdaudioError | None
    """Why there is none."""


def write_pages(
    folders: Sequence[str | os.PathLike[str]], *, gallery: str | os.PathLike[str] | None = None, share_script: bool = False
) -> list[Outcome]:
    """Make the pages of fits anew, and a gallery over them if asked for; a folder that is not whole does not keep the others.

    Args:
        folders: folders of fits, one or more; one that is no fit itself stands for all fits below it.
        gallery: path of the gallery's page.
        share_script: whether pages share one copy of plotly's script, which then lies beside the gallery, in place of each
            holding its own: 2 MB less a page, but the pages no longer stand alone.

    Returns:
        An `Outcome` for each fit, in order.

    Raises `OutputError` when the gallery or the script cannot be written, `OptionError` for ``share_script`` without a gallery.
    """
    if share_script and gallery is None:
        raise OptionError("pages can share a script only beside a gallery; name one with --gallery")
    script = None
    if gallery is not None:
        _check_gallery(Path(gallery))
        script = _write_script(Path(gallery).parent) if share_script else None
    outcomes, rows = [], []
    for folder in _fits(folders):
        try:
            evidence = Evidence.read(folder)
            page = write_page(folder, evidence, script=None if script is None else _address(script, folder))
            if gallery is not None:
                rows.append(row(evidence, folder, Path(gallery).parent))
            outcomes.append(Outcome(folder, page, None))
        except DdaudioError as error:
            outcomes.append(Outcome(folder, None, error))
    if gallery is not None:
        with whole_file(gallery) as stream:
            stream.write(page_over(rows).encode("utf-8", "backslashreplace"))
    return outcomes


def _fits(folders: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    """Yield the folders of fits that are meant; one without any fit in or below it is left for `Evidence.read` to refuse."""
    for folder in map(Path, folders):
        below = [] if (folder / REPORT).exists() else sorted(path.parent for path in folder.rglob(REPORT))
        yield from below or [folder]


def _check_gallery(path: Path) -> None:
    """Refuse a gallery that would replace something else, before any work is done."""
    if path.is_dir():
        raise OutputError(f"cannot write the gallery {str(path)!r}: it is a folder; give the path of a file, such as index.html")
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"cannot write the gallery {str(path)!r}: it is a page; give a name that ends in .html")
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace")[:2000]:
        raise OutputError(f"{str(path)!r} exists and is no gallery of ddaudio; name another file")


MARK = '<meta name="generator" content="ddaudio gallery'
"""What tells a gallery from other pages, which are never replaced."""


def _write_script(folder: Path) -> Path:
    path = folder / f"plotly-{version('plotly')}.min.js"
    with whole_file(path) as stream:
        stream.write(plotly_script())
    return path


def _address(file: Path, folder: Path) -> str:
    """Return the address of a file for a page in a folder."""
    return quote(Path(os.path.relpath(file, folder)).as_posix())


def row(evidence: Evidence, folder: Path, home: Path) -> dict[str, Any]:
    """Return what the gallery in the folder ``home`` says of a fit in ``folder``."""
    report, rate = evidence.report, evidence.sounds.sample_rate
    source = Path(report["recording"]["source"])
    verdict, metrics = words.verdict(report), report["metrics"]
    ours, theirs = metrics["snr_db"]["value"], report["baseline"]["snr_db"]
    spectra = [
        pictures.spectrogram(sound, rate, SMALL_COLUMNS, SMALL_ROWS)
        for sound in (evidence.sounds.original, evidence.sounds.residual)
    ]
    return {
        "name": source.name,
        "folder": Path(os.path.relpath(folder, home)).as_posix(),
        "page": _address(folder / PAGE, home),
        "sounds": dict(_sounds(folder, source, home)),
        "standing": verdict.standing,
        "headline": verdict.headline,
        "doubts": report["doubts"],
        "model": report["model"]["name"],
        "snr_db": ours,
        "gain_db": None if ours is None or theirs is None else round(ours - theirs, 1) + 0.0,  # not -0.0
        "lsd_db": metrics["lsd_db"]["value"],
        "numbers_per_sample": report["model"]["numbers_per_sample"],
        "duration_s": report["recording"]["duration_s"],
        "seconds": report["seconds"]["reading"] + report["seconds"]["fitting"] + report["seconds"]["measuring"],
        "pictures": [array(one.levels_db.max(axis=0)) for one in spectra],
    }


def _sounds(folder: Path, source: Path, home: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and address of each sound that there is: the recording itself only where it still lies."""
    if source.is_file():
        yield "original", _address(source, home)
    yield "resynthesis", _address(folder / "resynth.wav", home)
    yield "residual", _address(folder / "residual.wav", home)


def page_over(rows: Sequence[dict[str, Any]]) -> str:
    """Return the gallery of some `row`s as HTML."""
    known = [one["snr_db"] for one in rows if one["snr_db"] is not None]
    standings = {standing: sum(one["standing"] == standing for one in rows) for standing in ("good", "doubtful", "bad")}
    return (
        environment()
        .get_template("gallery.html.jinja")
        .render(
            rows=rows,
            version=version("ddaudio"),
            standings=standings,
            median_db=median(known) if known else None,
            sound_s=sum(one["duration_s"] for one in rows),
            pictures=[one["pictures"] for one in rows],
            magma=asset("colours.json"),
        )
    )
