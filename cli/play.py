"""``ddaudio play``: sounds through the sound device, switched by keys."""

import contextlib
import os
import re
import select
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from .console import print_message

if TYPE_CHECKING:
    from threading import Event

    from ddaudio.report.playback import Player

STEP_S = 1.0
"""Step of the arrow keys in seconds."""
POLL_S = 0.1
"""Interval in seconds at which the status line is updated and the end is detected."""
KEYS = "digits choose a sound, space pauses, arrows go 1 s, l loops, m matches levels, q quits"

Presses = Callable[[float], list[str]]
"""Waits for keys for a number of seconds; returns those pressed, arrows by name, and ``q`` at the end of input."""


def play(
    source: Path,
    /,
    *,
    which: Literal["original", "resynthesis", "residual", "waves", "noise"] | None = None,
    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Play the sounds of a fit (original, resynthesis, residual, waves, noise), or a single model or sound file.

    In a terminal, digits switch between the sounds while they play, space pauses, and the arrow keys move by a second.

    Also, l loops, m makes the residual as loud as the original, and q quits.

    Without a terminal, one sound is played to its end.

    Needs a sound device and an extra: pip install 'ddaudio[play]'.

    Args:
        source: The folder of a fit, a model.safetensors, or a sound file.
        which: Sound of a fit to start with (default: resynthesis).
        quiet: Print no status line.
    """
    from ddaudio.report import playback  # noqa: PLC0415 - imports torch, which takes its time

    sources = playback.read_sources(source)
    first = which or (playback.RESYNTHESIS if playback.RESYNTHESIS in sources.sounds else None)
    has_keys = sys.stdin is not None and sys.stdin.isatty()
    with playback.sounding(sources, first, to_the_end=not has_keys) as (player, stopped):
        if player.sample_rate != sources.sample_rate:
            print_message("note", f"the sound device refuses {sources.sample_rate} Hz: resampled to {player.sample_rate} Hz")
        if has_keys:
            _obey(player, stopped, quiet=quiet)
        else:
            # With a time to wait, so that Ctrl-C is noticed on Windows, too.
            while not stopped.wait(POLL_S):
                pass
    if player.clipped_samples:
        print_message("note", f"{player.clipped_samples} samples exceeded full scale and were clipped")


def _obey(player: "Player", stopped: "Event", *, quiet: bool) -> None:
    """Handle keys until ``q`` is pressed or the device stops."""
    actions: dict[str, Callable[[], None]] = {
        " ": player.toggle_pause,
        "left": partial(player.seek, -STEP_S),
        "right": partial(player.seek, STEP_S),
        "l": player.toggle_loop,
        "m": player.toggle_match,
        **{str(place): partial(player.switch, name) for place, name in enumerate(player.names, 1)},
    }
    with _keyboard() as presses, _status_line(quiet=quiet) as show:
        while not stopped.is_set():
            show(status(player))
            for key in presses(POLL_S):
                if key == "q":
                    return
                actions.get(key, lambda: None)()


def status(player: "Player") -> str:
    """Return the status of a player, such as ``0:01.5 / 1:02.0  1 original [2 residual]  looped``."""
    place, end = (_clock(samples / player.sample_rate) for samples in (player.position, player.n_samples))
    names = {name: f"{number} {name}" if len(player.names) > 1 else name for number, name in enumerate(player.names, 1)}
    sounds = " ".join(f"[{label}]" if name == player.heard else label for name, label in names.items())
    words = ["at the end"] if player.ended else ["paused"] * player.paused
    words += ["looped"] * player.looping + ["level-matched"] * player.matched
    return f"{place} / {end}  {sounds}  {', '.join(words)}"


def _clock(seconds: float) -> str:
    """Return minutes and seconds, such as ``1:02.5``; tenths are truncated, since rounding could give 60.0 seconds."""
    tenths = int(seconds * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"


@contextlib.contextmanager
def _status_line(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Print the keys; yield a function that replaces the status line on stderr. Prints nothing without a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    print(KEYS, file=sys.stderr)  # noqa: T201

    def show(text: str) -> None:
        """Show text, truncated to one line."""
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{text[:width]:{width}}", end="", file=sys.stderr, flush=True)  # noqa: T201

    try:
        yield show
    finally:
        print(file=sys.stderr)  # noqa: T201


if sys.platform == "win32":
    import msvcrt
    import time

    @contextlib.contextmanager
    def _keyboard() -> Iterator[Presses]:
        """Yield a function that returns keys, read without Enter and without echo."""
        arrows = {"K": "left", "M": "right"}

        def presses(seconds: float) -> list[str]:
            """Poll for keys."""
            time.sleep(0 if msvcrt.kbhit() else seconds)
            keys = []
            while msvcrt.kbhit():
                key = msvcrt.getwch()
                keys.append(arrows.get(msvcrt.getwch(), "") if key in "\0\xe0" else key)
            return keys

        yield presses

else:
    import termios
    import tty

    @contextlib.contextmanager
    def _keyboard() -> Iterator[Presses]:
        """Yield a function that returns keys, read without Enter and without echo; the terminal is restored afterwards."""
        arrows = {b"D": "left", b"C": "right"}
        terminal = sys.stdin.fileno()

        def presses(seconds: float) -> list[str]:
            """Wait for keys; an arrow is a sequence of bytes."""
            if not select.select([terminal], [], [], seconds)[0]:
                return []
            keys = re.findall(rb"\x1b[\[O][0-9;]*[A-Za-z~]|.", os.read(terminal, 1024), re.DOTALL)
            return [arrows.get(key[-1:], "") if len(key) > 1 else key.decode("latin-1") for key in keys] or ["q"]

        def end(number: int, _frame: object) -> None:
            """Exit through all cleanup handlers."""
            sys.exit(128 + number)

        before = termios.tcgetattr(terminal)
        handlers = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
        # After Ctrl-Z, the shell resumes the process with a line-buffered terminal.
        handlers[signal.SIGCONT] = signal.signal(signal.SIGCONT, lambda *_: tty.setcbreak(terminal))
        try:
            tty.setcbreak(terminal)  # not raw, so that Ctrl-C remains a signal
            yield presses
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
