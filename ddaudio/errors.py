"""Everything that ddaudio refuses, as exceptions whose message is one line: what was given, what is allowed, what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class DdaudioError(Exception):
    """Base of all errors that a user can cause and mend; the command line prints its message and exits with 2."""


class RecordingError(DdaudioError):
    """A recording cannot be read or cannot be fitted."""


class OptionError(DdaudioError, ValueError):
    """An option is unknown, out of range, or contradicts another one."""


class ModelError(DdaudioError):
    """A model file is damaged, foreign, or of another version."""


class CheckpointError(DdaudioError):
    """A checkpoint is damaged, belongs to another fit, or is in the way of a new one."""


class ReportError(DdaudioError):
    """A fit's folder cannot be reported on: its report or a sound is missing, damaged, or of another version."""


class OutputError(DdaudioError):
    """A result cannot be written where it was asked for."""


class BatchError(DdaudioError):
    """A batch cannot begin: nothing to fit, an output that would harm the input, storage or a scheduler out of reach."""


class PlaybackError(DdaudioError):
    """A sound cannot be played here: a library or a sound device is missing; the message names the files that hold it."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the known word nearest to ``word``, or all of them when none is near."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are: {', '.join(known)}"
