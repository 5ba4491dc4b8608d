"""A progress bar on stderr, for people: a pipe or a log file gets none."""

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddaudio.training import Progress, ProgressCallback


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator["ProgressCallback | None"]:
    """Show a bar with the stage, the loss and the SNR; give what to tell, or None when nobody is watching.

    A recording that is fitted in one go has a bar for each stage, one of several blocks a bar for all of it.
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
    """Return how much of all blocks is done, 0 to 1."""
    return (progress.block + progress.step / max(1, progress.steps)) / progress.blocks


def stage_in_words(progress: "Progress") -> str:
    """Return the stage, with the block being fitted where there are several, such as ``training, block 3/76``."""
    return progress.stage if progress.blocks == 1 else f"{progress.stage}, block {progress.block + 1}/{progress.blocks}"


def state_in_words(progress: "Progress") -> str:
    """Return the step, loss and SNR that are known, such as ``step 20/80  loss 0.0031  SNR 24.9 dB``."""
    parts = [f"step {progress.step}/{progress.steps}"] if progress.steps else []
    parts += [f"loss {progress.loss:.3g}"] if math.isfinite(progress.loss) else []
    parts += [f"SNR {progress.snr_db:.2f} dB"] if math.isfinite(progress.snr_db) else []
    return "  ".join(parts)
