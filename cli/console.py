"""Output: results to stdout, messages to stderr."""

import contextlib
import json
import sys
from typing import Any

from ddaudio.io.paths import visible


def print_result(text: str) -> None:
    """Print a result."""
    print(visible(text))  # noqa: T201


def print_json(content: Any) -> None:
    """Print a result as JSON in ASCII, which is valid in every encoding."""
    print_result(json.dumps(content, indent=1, allow_nan=False))


def print_message(kind: str, text: str) -> None:
    """Print a message in one line, such as ``ddaudio: error: ...``."""
    with contextlib.suppress(OSError):  # a full stderr must not end a fit
        print(f"ddaudio: {kind}: {visible(' '.join(text.split()))}", file=sys.stderr)  # noqa: T201


def print_gain(name: str, gain: float, encoding: str) -> None:
    """Print a note if a WAV file was scaled down to fit its encoding by more than a step."""
    if gain < 0.999:
        from math import log10  # noqa: PLC0415

        change = 20 * log10(gain)
        print_message(
            "note",
            f"{name} exceeded full scale and was scaled by {change:.1f} dB to fit {encoding}; float32 needs no scaling",
        )


def print_stopped(checkpoint: str) -> None:
    """Print how to resume a fit that the user stopped."""
    print_message("note", f"checkpoint saved in {checkpoint}; resume with --resume --force, or start again with --force")
