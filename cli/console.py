"""What the command says: results to stdout, messages to stderr."""

import json
import sys
from typing import Any


def print_result(text: str) -> None:
    """Print a result."""
    print(text)  # noqa: T201


def print_json(content: Any) -> None:
    """Print a result as JSON, in ASCII, so that it survives every terminal and pipe."""
    print_result(json.dumps(content, indent=1, allow_nan=False))


def print_message(kind: str, text: str) -> None:
    """Print a message in one line, such as ``ddaudio: error: ...``."""
    print(f"ddaudio: {kind}: {' '.join(text.split())}", file=sys.stderr)  # noqa: T201


def print_gain(name: str, gain: float, encoding: str) -> None:
    """Say so if a WAV file had to be scaled down to fit its encoding by more than a step."""
    if gain < 0.999:
        from math import log10  # noqa: PLC0415

        change = 20 * log10(gain)
        print_message(
            "note",
            f"{name} went beyond full scale: it was scaled by {change:.1f} dB to fit {encoding}; float32 keeps it",
        )


def print_stopped(checkpoint: str) -> None:
    """Say how a fit that the user stopped can be gone on with."""
    print_message("note", f"{checkpoint} holds how far training was; --resume --force goes on with it, --force starts afresh")
