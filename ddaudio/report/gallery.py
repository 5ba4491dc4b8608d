"""Galleries: a page over many fits, with a sortable table, thumbnails, players and links to the reports."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import quote

from ddaudio.errors import DdaudioError, OptionError, OutputError, ReportError
from ddaudio.io.atomic import whole_file
from ddaudio.io.fit_files import PAGE, REPORT, RESIDUAL, RESYNTHESIS
from ddaudio.metrics.registry import requested
from ddaudio.report import plot_data, text
from ddaudio.report.model_page import write_model_page
from ddaudio.report.page import array, asset, environment, plotly_script, write_page
from ddaudio.report.scores import add_scores
from ddaudio.results.model_report import is_model
from ddaudio.results.read import original_file, read_report
from ddaudio.results.record import FitRecord

SMALL_COLUMNS, SMALL_ROWS = 96, 40
"""Number of columns and rows of a thumbnail spectrogram."""


@dataclass(frozen=True)
class Outcome:
    """Result for one folder."""

    folder: Path
    page: Path | None
    """The page that was written; None on failure."""
    error: DdaudioError | None
    """Reason of the failure."""


def write_pages(
    folders: Sequence[str | os.PathLike[str]],
    *,
    gallery: str | os.PathLike[str] | None = None,
    share_script: bool = False,
    quality: str | None = None,
) -> list[Outcome]:
    """Write the pages of fits, and optionally a gallery over them; incomplete folders do not affect the others.

    Args:
        folders: one or more folders of fits; for a folder that is not a fit, all fits below it are used.
        gallery: path of the gallery's page.
        share_script: whether pages share one copy of plotly's script next to the gallery instead of each containing their own:
            saves 2 MB per page, but the pages are no longer self-contained.
        quality: perceptual scores to compute first and to add to the reports, such as ``zimtohrli,visqol`` (default: none).

    Returns:
        An `Outcome` for each fit, in order.

    Raises `OutputError` if the gallery or the script cannot be written, `OptionError` for ``share_script`` without a gallery or
    an unknown score, `PluginError` if the package of a score is missing.
    """
    requested(quality)
    if share_script and gallery is None:
        raise OptionError("pages can share a script only beside a gallery", hint="give {gallery} as well")
    script = None
    fits = list(_fits(folders))
    if gallery is not None:
        _check_gallery(Path(gallery), fits)
        script = _write_script(Path(gallery).parent) if share_script else None
    outcomes, rows = [], []
    for folder in fits:
        try:
            if is_model(read_report(folder)):
                # Without a recording there is nothing to list in a gallery.
                outcomes.append(Outcome(folder, write_model_page(folder), None))
                continue
            evidence = FitRecord.read(folder)
            if quality is not None:
                evidence = add_scores(folder, evidence, quality)
            page = write_page(folder, evidence, script=None if script is None else _address(script, folder))
            if gallery is not None:
                rows.append(row(evidence, folder, Path(gallery).parent))
            outcomes.append(Outcome(folder, page, None))
        except DdaudioError as error:
            outcomes.append(Outcome(folder, None, error))
        except Exception as error:  # no content of a folder may prevent the pages of others
            problem = f"{str(folder)!r} is damaged: its page cannot be made ({type(error).__name__}: {error})"
            outcomes.append(Outcome(folder, None, ReportError(problem, hint="fit the recording again")))
    if gallery is not None and rows:
        with whole_file(gallery) as stream:
            stream.write(page_over(rows).encode("utf-8", "backslashreplace"))
    return outcomes


def _fits(folders: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    """Yield the folders of fits; a folder without any fit in or below it is yielded itself, and refused by `FitRecord.read`."""
    for folder in map(Path, folders):
        below = [] if (folder / REPORT).exists() else sorted(_reports_below(folder))
        yield from below or [folder]


def _reports_below(home: Path) -> Iterator[Path]:
    """Yield the folders with a report, except in hidden folders such as those of fits that are being written."""
    for folder, below, files in os.walk(home):
        below[:] = [name for name in below if not name.startswith(".")]
        if REPORT in files:
            yield Path(folder)


def _check_gallery(path: Path, fits: Sequence[Path]) -> None:
    """Raise `OutputError`, before any work is done, if the gallery would replace another file."""
    if path.is_dir():
        raise OutputError(
            f"cannot write the gallery {str(path)!r}: it is a folder", hint="give the path of a file, such as index.html"
        )
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"cannot write the gallery {str(path)!r}: a gallery is a page", hint="give a name that ends in .html")
    if not path.parent.is_dir():
        raise OutputError(
            f"cannot write the gallery {str(path)!r}: there is no folder {str(path.parent)!r}", hint="create it first"
        )
    if any(path.resolve() == (folder / PAGE).resolve() for folder in fits):
        raise OutputError(f"cannot write the gallery {str(path)!r}: it is the page of a fit", hint="name another file")
    try:
        with path.open("rb") as stream:
            is_gallery = MARK.encode() in stream.read(2000)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"cannot write the gallery {str(path)!r}: {error.strerror or error}", hint="name another file"
        ) from None
    if not is_gallery:
        raise OutputError(f"{str(path)!r} exists and is not a gallery of ddaudio", hint="name another file")


MARK = '<meta name="generator" content="ddaudio gallery'
"""Start of the tag that identifies a gallery; other pages are never replaced."""


def _write_script(folder: Path) -> Path:
    path = folder / f"plotly-{version('plotly')}.min.js"
    with whole_file(path) as stream:
        stream.write(plotly_script())
    return path


def _address(file: Path, folder: Path) -> str:
    """Return the URL of a file, relative to a page in ``folder``."""
    return quote(Path(os.path.relpath(file, folder)).as_posix())


def row(evidence: FitRecord, folder: Path, home: Path) -> dict[str, Any]:
    """Return the row of the fit in ``folder`` for a gallery in the folder ``home``."""
    report, rate = evidence.report, evidence.sounds.sample_rate
    verdict, metrics = text.verdict(report), report["metrics"]
    ours, theirs = metrics["snr_db"]["value"], report["baseline"]["snr_db"]
    spectra = [
        plot_data.spectrogram(sound, rate, SMALL_COLUMNS, SMALL_ROWS)
        for sound in (evidence.sounds.original, evidence.sounds.resynthesis)
    ]
    return {
        "name": Path(report["recording"]["source"]).name,
        "folder": Path(os.path.relpath(folder, home)).as_posix(),
        "page": _address(folder / PAGE, home),
        "sounds": dict(_sounds(folder, original_file(report), home)),
        "rating": verdict.rating,
        "headline": verdict.headline,
        "warnings": report["warnings"] or ([verdict.trust] if verdict.rating == "doubtful" else []),
        "model": report["model"]["name"],
        "snr_db": ours,
        "gain_db": None if ours is None or theirs is None else round(ours - theirs, 1) + 0.0,  # not -0.0
        "erb_db": metrics["erb_db"]["value"],
        "standing": _standing(metrics["erb_db"]["value"]),
        "dead_bands": metrics["dead_bands"]["value"],
        "scores": text.score_rows(report),
        "parameters_per_sample": report["model"]["parameters_per_sample"],
        "duration_s": report["recording"]["duration_s"],
        "seconds": report["seconds"]["reading"] + report["seconds"]["fitting"] + report["seconds"]["measuring"],
        "pictures": [array(one.levels_db.max(axis=0)) for one in spectra],
    }


def _standing(distance_db: float | None) -> str:
    """Return the class of an ERB distance, which colours it."""
    if distance_db is None:
        return ""
    return "good" if distance_db <= text.NEAR_ERB_DB else "doubtful" if distance_db <= text.FAR_ERB_DB else "bad"


def _sounds(folder: Path, original: Path | None, home: Path) -> Iterator[tuple[str, str]]:
    """Yield name and URL of each existing sound."""
    if original is not None:
        yield "original", _address(original, home)
    yield "resynthesis", _address(folder / RESYNTHESIS, home)
    yield "residual", _address(folder / RESIDUAL, home)


def page_over(rows: Sequence[dict[str, Any]], template: str = "gallery.html.jinja", **more: Any) -> str:
    """Return the gallery of `row`s as HTML, those with the largest ERB distance first.

    ``template`` may extend the default one, and ``more`` are its variables.
    """
    rows = sorted(rows, key=lambda one: -1.0 if one["erb_db"] is None else one["erb_db"], reverse=True)
    known, distances = ([one[name] for one in rows if one[name] is not None] for name in ("snr_db", "erb_db"))
    ratings = {standing: sum(one["rating"] == standing for one in rows) for standing in ("good", "doubtful", "bad")}
    return (
        environment()
        .get_template(template)
        .render(
            rows=rows,
            version=version("ddaudio"),
            ratings=ratings,
            median_db=median(known) if known else None,
            median_erb_db=median(distances) if distances else None,
            sound_s=sum(one["duration_s"] for one in rows),
            pictures=[one["pictures"] for one in rows],
            magma=asset("colours.json"),
            **more,
        )
    )
