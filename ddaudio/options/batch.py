"""Settings of a batch, beside those of its fits. Imports nothing that is slow."""

import os
from dataclasses import dataclass

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_one_of

MOST_WORKERS, MOST_RETRIES = 1024, 100
STACKS_PER_WORKER = 4
"""Stacks that each worker gets at least, where there are files enough: then none waits long for another one's last."""


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is done."""

    pattern: str | None = None
    """Names of recordings, as a shell pattern such as *.wav; of paths below the input if it has a slash (default: names that end
    as those of sound files do)."""
    workers: int | None = None
    """Processes of the local cluster, 1 to 1024 (default: one for each core)."""
    scheduler: str | None = None
    """Address of a running Dask scheduler to use instead, such as tcp://127.0.0.1:8786."""
    retries: int = 2
    """How often a recording is tried again whose worker was killed, or where storage failed, 0 to 100."""
    limit: int | None = None
    """Fit no more recordings than this, 1 or more."""
    stack: int = 32
    """Short recordings that a worker fits side by side, 1 to 1024; with 1 each fit is to the bit what it is alone."""
    html: bool = False
    """Make the page of each fit, report.html, as well."""
    force: bool = False
    """Fit everything again, whatever is done already."""
    retry_failed: bool = False
    """Fit only what failed in the last batch into this output."""
    dry_run: bool = False
    """Tell what would be done, in how many seconds of sound, and do nothing."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("workers", 1, MOST_WORKERS),
            ("retries", 0, MOST_RETRIES),
            ("limit", 1, 10**12),
            ("stack", 1, 1024),
        ):
            value = getattr(self, name)
            if value is None and name in ("workers", "limit"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise OptionError(setting=name, value=value, allowed=f"whole numbers from {low} to {high}")
        check_one_of(self, "workers", "scheduler", "which has its own workers")
        if self.force and self.retry_failed:
            raise OptionError(setting="force", value=True, others={"retry_failed": True}, hint="give only one of the two")

    @property
    def n_workers(self) -> int:
        """Processes of a local cluster: by default one for each core that this process may use."""
        return self.workers or cores()


def cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
