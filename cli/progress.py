"""Progress on stderr: a bar in a terminal."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from ddaudio.batching import BatchProgress
    from ddaudio.comparing import CompareProgress
    from ddaudio.training.history import Progress, ProgressCallback

LINE_S = 5.0
"""Interval between two lines of the progress of many fits without a terminal."""


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator["ProgressCallback | None"]:
    """Show a bar with the stage, the loss and the SNR; yield the callback, or None where nothing is shown.

    A recording of one block has a bar per stage, one of several blocks a single bar.
    """
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415 - not needed without a terminal
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}")
    with Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None, state="")
        furthest = 0.0

        def tell(progress: "Progress") -> None:
            """Show one report of progress."""
            nonlocal furthest
            total, completed = (progress.steps or None), float(progress.step)
            if progress.blocks > 1:
                # A block is trained several times over; the bar waits meanwhile.
                furthest = max(furthest, share_done(progress))
                total, completed = 1, furthest
            bar.update(
                task, description=stage_in_words(progress), total=total, completed=completed, state=state_in_words(progress)
            )

        yield tell


def share_done(progress: "Progress") -> float:
    """Return the share of all blocks that is done, 0 to 1."""
    return (progress.block + progress.step / max(1, progress.steps)) / progress.blocks


def stage_in_words(progress: "Progress") -> str:
    """Return the stage, with the block being fitted where there are several, such as ``training, block 3/76``."""
    return progress.stage if progress.blocks == 1 else f"{progress.stage}, block {progress.block + 1}/{progress.blocks}"


def state_in_words(progress: "Progress") -> str:
    """Return step, loss and SNR as far as they are known, such as ``step 20/80  loss 0.0031  SNR 24.9 dB``."""
    parts = [f"step {progress.step}/{progress.steps}"] if progress.steps else []
    parts += [f"loss {progress.loss:.3g}"] if math.isfinite(progress.loss) else []
    parts += [f"SNR {progress.snr_db:.2f} dB"] if math.isfinite(progress.snr_db) else []
    return "  ".join(parts)


class OfMany(Protocol):
    """Progress of many fits."""

    @property
    def stage(self) -> str:
        """Name of the stage."""

    @property
    def total(self) -> int:
        """Number of fits to make."""

    @property
    def done(self) -> int:
        """Number of finished fits."""

    @property
    def dashboard(self) -> str | None:
        """URL of the Dask dashboard, if there is one."""


Many = TypeVar("Many", bound=OfMany)


def batch_progress(*, quiet: bool) -> "AbstractContextManager[Callable[[BatchProgress], None] | None]":
    """Show the progress of a batch, as a bar or without a terminal as a line every few seconds; yield the callback, or None."""
    return _progress_of_many(batch_in_words, "looking", quiet=quiet)


def compare_progress(*, quiet: bool) -> "AbstractContextManager[Callable[[CompareProgress], None] | None]":
    """Show the progress of a comparison, like `batch_progress`."""
    return _progress_of_many(compare_in_words, "reading", quiet=quiet)


@contextlib.contextmanager
def _progress_of_many(in_words: Callable[[Many], str], begin: str, *, quiet: bool) -> Iterator[Callable[[Many], None] | None]:
    if quiet:
        yield None
        return
    if not sys.stderr.isatty():
        yield _lines(in_words)
        return
    from rich.console import Console  # noqa: PLC0415 - not needed without a terminal
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}")
    with Bar(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(begin, total=None, state="")
        shown: list[str] = []

        def show(progress: Many) -> None:
            """Show one report of progress; the URL of the dashboard stays above the bar."""
            if progress.dashboard and not shown:
                shown.append(progress.dashboard)
                bar.console.print(f"dashboard {progress.dashboard}", markup=False, highlight=False)
            known = progress.total or None
            bar.update(task, description=progress.stage, total=known, completed=progress.done, state=in_words(progress))

        yield show


def _lines(in_words: Callable[[Many], str]) -> Callable[[Many], None]:
    """Return a callback that prints a line every few seconds, at the start of each stage, and at the end."""
    last, stage = -math.inf, ""

    def show(progress: Many) -> None:
        """Print one report of progress, unless the last one is recent."""
        nonlocal last, stage
        now = time.monotonic()
        if progress.stage == stage and now - last < LINE_S:
            return
        where = f"; dashboard {progress.dashboard}" if progress.dashboard and progress.stage != stage else ""
        last, stage = now, progress.stage
        words = in_words(progress)
        with contextlib.suppress(OSError):  # a full stderr must not end a batch
            print(f"ddaudio: {progress.stage}{': ' * bool(words)}{words}{where}", file=sys.stderr, flush=True)  # noqa: T201

    return show


def compare_in_words(progress: "CompareProgress") -> str:
    """Format the progress of a comparison, such as ``12/48 fits, 70 s left, 1 failed``."""
    if not progress.total:
        return ""
    parts = [f"{progress.done}/{progress.total} fits"]
    parts += [f"{progress.left_s:.0f} s left"] if progress.left_s is not None else []
    parts += [f"{progress.failed} failed"] if progress.failed else []
    return ", ".join(parts)


def batch_in_words(progress: "BatchProgress") -> str:
    """Format the progress of a batch, such as ``12/100 files, 6.2 s of sound, 3.1 s per second, 10 s left, 1 failed``."""
    if not progress.total:
        return ""
    parts = [f"{progress.done}/{progress.total} files", f"{progress.sound_s:.1f} s of sound"]
    parts += [f"{progress.sound_s / progress.seconds:.2f} s per second"] if progress.seconds and progress.sound_s else []
    parts += [f"{progress.left_s:.0f} s left"] if progress.left_s is not None and progress.stage == "fitting" else []
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += ["waiting for workers"] if not progress.workers else []
    return ", ".join(parts)
