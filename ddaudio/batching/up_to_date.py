"""Up-to-date checks: a fit is current if its report has the hashes of the same samples and the same settings.

Since reading every recording takes long, reports also store hashes of the file and of the settings as given; if both are equal,
samples and resolved settings are too. Otherwise a worker, which has to read the recording anyway, compares the hashes of samples
and resolved settings, and fits only if one of them differs.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ddaudio.batching.inputs import Input
from ddaudio.batching.results_table import Row
from ddaudio.errors import ReportError
from ddaudio.io.fit_files import PAGE, REPORT
from ddaudio.io.storage import Storage
from ddaudio.options import FitOptions
from ddaudio.results.report_file import parse_report


@dataclass(frozen=True)
class BatchJob:
    """The work to do for each recording of a batch."""

    output: Storage
    options: FitOptions
    """Settings of the fits, as given."""
    html: bool
    """Whether an HTML page is written for each fit."""
    force: bool
    """Whether current fits are repeated."""

    @property
    def asked_sha256(self) -> str:
        """Hash of the settings as given and of the version, since versions may resolve them differently."""
        text = json.dumps([version("ddaudio"), self.options.flat()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hex; raises OSError."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_existing_report(job: BatchJob, item: Input) -> dict[str, Any] | None:
    """Return the report of an existing fit; None if it is missing or unreadable, or if all fits are repeated.

    Raises OSError or the errors of the storage.
    """
    name = f"{item.folder}/{REPORT}"
    content = None if job.force else job.output.read(name)
    try:
        return None if content is None else parse_report(content, job.output.path(name))
    except ReportError:
        return None


def is_same(report: Mapping[str, Any], item: Input, asked_sha256: str, get_hash: Callable[[], str] | None) -> bool:
    """Return whether a report was made from the same file with the same settings as given.

    Args:
        report: content of the fit's ``report.json``.
        item: the recording.
        asked_sha256: see `Job`.
        get_hash: returns the hash of the file's bytes, if available; called only if nothing else decides.

    """
    noted = report.get("batch")
    if not isinstance(noted, dict) or noted.get("asked_sha256") != asked_sha256:
        return False
    if item.mark and noted.get("mark") == item.mark:
        return True
    return get_hash is not None and noted.get("file_sha256") == get_hash()


def reusable_row(job: BatchJob, item: Input, asked_sha256: str) -> Row | None:
    """Return the row of a current fit, as far as this can be decided without fetching the recording; else None."""
    report = read_existing_report(job, item)
    try:
        if report is None or not is_same(report, item, asked_sha256, _hash_here(item)) or lacks_page(job, item):
            return None
        return Row.of_report(item.place, item.folder, "kept", report)
    except (KeyError, TypeError, OSError):
        return None


def lacks_page(job: BatchJob, item: Input) -> bool:
    """Return whether the page of a fit is missing."""
    return job.html and not job.output.exists(f"{item.folder}/{PAGE}")


def _hash_here(item: Input) -> Callable[[], str] | None:
    return (lambda: file_hash(item.place)) if item.is_local and Path(item.place).is_file() else None
