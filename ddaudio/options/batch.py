"""Settings of a batch, in addition to those of its fits. Imports no slow packages."""

import os
from dataclasses import dataclass

from ddaudio.errors import OptionError
from ddaudio.options.checks import LARGEST_WHOLE, allowed_whole, check_one_of, is_whole

MOST_WORKERS, MOST_RETRIES = 1024, 100
STACKS_PER_WORKER = 4
"""Smallest number of stacks per worker, if there are enough files, so that no worker waits long for the last one."""


@dataclass(frozen=True)
class BatchOptions:
    """Selection of recordings, and workers."""

    pattern: str | None = None
    """Names of recordings, as a shell pattern such as *.wav; with a slash it is matched with paths below the input (default: the
    usual suffixes of sound files)."""
    workers: int | None = None
    """Processes of the local cluster, 1 to 1024 (default: one per core)."""
    scheduler: str | None = None
    """Address of a running Dask scheduler to use instead, such as tcp://127.0.0.1:8786."""
    retries: int = 2
    """How often a recording is retried after its worker was killed or storage failed, 0 to 100."""
    limit: int | None = None
    """Fit at most this many recordings, 1 or more."""
    stack: int = 32
    """Short recordings that a worker fits together, 1 to 1024; with 1 each fit is identical, to the bit, to a single one."""
    html: bool = False
    """Write report.html for each fit as well."""
    force: bool = False
    """Fit all recordings again, even those that are up to date."""
    retry_failed: bool = False
    """Fit only the recordings that failed in the last batch into this output."""
    dry_run: bool = False
    """List what would be fitted, with its duration, without fitting."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("workers", 1, MOST_WORKERS),
            ("retries", 0, MOST_RETRIES),
            ("limit", 1, LARGEST_WHOLE),
            ("stack", 1, 1024),
        ):
            value = getattr(self, name)
            if value is None and name in ("workers", "limit"):
                continue
            if not is_whole(value) or not low <= value <= high:
                raise OptionError(setting=name, value=value, allowed=allowed_whole(value, low, high))
        check_one_of(self, "workers", "scheduler", "which has its own workers")
        if self.force and self.retry_failed:
            raise OptionError(setting="force", value=True, others={"retry_failed": True}, hint="give only one of the two")

    @property
    def n_workers(self) -> int:
        """Number of processes of a local cluster: by default one per core available to this process."""
        return self.workers or cores()


def cores() -> int:
    """Return the number of processor cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
