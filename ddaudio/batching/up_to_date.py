"""What is done already. A recording is when its report is there and tells of the same sound and the same settings.

Reading every recording to find that out would take long, so a batch notes in the report what the file and the settings
were like as they were given. Where these are the same, so are sound and settings. Where they are not, a worker, which
has to read the recording anyway, compares hash of the samples and settings as resolved, and fits only if one differs.
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
    """What is to be done with each recording of a batch."""

    output: Storage
    options: FitOptions
    """Settings of the fits, as they were given."""
    html: bool
    """Whether each fit gets its page."""
    force: bool
    """Whether what is done is done again."""

    @property
    def asked_sha256(self) -> str:
        """Hash of the settings as given, and of the version: another one may resolve them differently."""
        text = json.dumps([version("ddaudio"), self.options.flat()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hex; raises OSError."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_existing_report(job: BatchJob, item: Input) -> dict[str, Any] | None:
    """Return the report of a recording's fit; None where there is none, or none that can be read, or all is done again.

    Raises OSError, or what the storage raises.
    """
    name = f"{item.folder}/{REPORT}"
    content = None if job.force else job.output.read(name)
    try:
        return None if content is None else parse_report(content, job.output.path(name))
    except ReportError:
        return None


def is_same(report: Mapping[str, Any], item: Input, asked_sha256: str, get_hash: Callable[[], str] | None) -> bool:
    """Return whether a report tells of the same file and the same settings as given.

    Args:
        report: what stands in the fit's folder.
        item: the recording.
        asked_sha256: see `Job`.
        get_hash: gives the hash of the file's bytes, if they are at hand; asked only where nothing else tells.

    """
    noted = report.get("batch")
    if not isinstance(noted, dict) or noted.get("asked_sha256") != asked_sha256:
        return False
    if item.mark and noted.get("mark") == item.mark:
        return True
    return get_hash is not None and noted.get("file_sha256") == get_hash()


def reusable_row(job: BatchJob, item: Input, asked_sha256: str) -> Row | None:
    """Return the row of a recording that is done already, as far as can be told without fetching it; else None."""
    report = read_existing_report(job, item)
    try:
        if report is None or not is_same(report, item, asked_sha256, _hash_here(item)) or lacks_page(job, item):
            return None
        return Row.of_report(item.place, item.folder, "kept", report)
    except (KeyError, TypeError, OSError):
        return None


def lacks_page(job: BatchJob, item: Input) -> bool:
    """Return whether a fit should have a page and has none."""
    return job.html and not job.output.exists(f"{item.folder}/{PAGE}")


def _hash_here(item: Input) -> Callable[[], str] | None:
    return (lambda: file_hash(item.place)) if item.is_local and Path(item.place).is_file() else None
