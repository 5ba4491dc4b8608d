"""Errors that a user can cause and correct, as structured facts from which their text is generated.

A setting is named by its field, such as ``target_snr_db``. `DdaudioError.sentence` formats the same facts with other names, such
as the flags of the command line.

>>> error = OptionError(setting="overlap", value=0.3, problem="but frame lengths are adaptive", hint="give {frame_s} as well")
>>> str(error)
'overlap is 0.3, but frame lengths are adaptive; give frame_s as well'
>>> str(OptionError(setting="budget", value=3, allowed="4 or more"))
'budget is 3; allowed: 4 or more'
"""

import copy
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

LONGEST_VALUE = 200
"""Largest number of characters of a value in an error."""


class Spelling:
    """Formatting of settings and values in the text of an error: as in Python, unless overridden."""

    def name(self, setting: str) -> str:
        """Return the name of a setting."""
        return setting

    def value(self, value: object) -> str:
        """Return a value, truncated to `LONGEST_VALUE` characters."""
        text = repr(value)
        return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."

    def assignment(self, setting: str, value: str) -> str:
        """Return the assignment of a value to a setting, such as ``force=True``."""
        bare = value in ("True", "False") or value.replace(".", "", 1).isdigit()
        return f"{setting}={value if bare else repr(value)}"

    def statement(self, setting: str, verb: str, value: object) -> str:
        """Return a statement about a setting, such as ``budget is 3``."""
        return f"{self.name(setting)} {verb} {self.value(value)}"

    def hint(self, template: str) -> str:
        """Return a hint with ``{setting}`` and ``{setting=value}`` replaced; ``{{`` is a brace, other braces are kept."""
        return re.sub(
            r"\{\{|\{(\w+)(?:=([^{}]*))?\}",
            lambda found: "{" if not found[1] else self.name(found[1]) if found[2] is None else self.assignment(*found.groups()),
            template,
        )


class DdaudioError(Exception):
    """Base class of all errors that a user can cause and correct; all facts are optional."""

    def __init__(
        self,
        problem: str = "",
        *,
        setting: str | None = None,
        value: object = None,
        verb: str = "is",
        others: Mapping[str, object] | None = None,
        allowed: str | None = None,
        hint: str | None = None,
        source: str | None = None,
    ) -> None:
        """Store the facts as attributes of the same names.

        Args:
            problem: Description of the problem without names of settings. With a setting it continues ``setting is value, ...``.
            setting: Name of the invalid setting.
            value: Its value.
            verb: Verb between setting and value: ``is``, or for example ``names`` if ``value`` is one of several.
            others: Settings in conflict with it, with their values.
            allowed: Values that are allowed, such as ``4 or more``.
            hint: Remedy. ``{name}`` stands for a setting, ``{name=value}`` for an assignment, ``{{`` for a brace.
            source: File of the settings or samples, as displayed; settings then keep the names that they have in the file.
        """
        super().__init__(problem)
        self.problem, self.allowed, self.hint, self.source = problem, allowed, hint, source
        self.setting, self.value, self.verb, self.others = setting, value, verb, dict(others or {})

    def __str__(self) -> str:
        return self.sentence(Spelling())

    def sentence(self, spelling: Spelling) -> str:
        """Return the facts as one sentence, with settings and values formatted by ``spelling``."""
        spelling = spelling if self.source is None else Spelling()
        given = {} if self.setting is None else {self.setting: (self.verb, self.value)}
        given |= {name: ("is", value) for name, value in self.others.items()}
        statement = " and ".join(spelling.statement(name, verb, value) for name, (verb, value) in given.items())
        parts = [", ".join(filter(None, (statement, self.problem)))]
        parts += [f"allowed: {self.allowed}"] if self.allowed else []
        parts += [spelling.hint(self.hint)] if self.hint else []
        return (f"{self.source}: " if self.source else "") + "; ".join(filter(None, parts))

    def with_facts(self, **facts: object) -> "DdaudioError":
        """Return a copy with some facts replaced, such as ``source``."""
        other = copy.copy(self)
        for name, fact in facts.items():
            setattr(other, name, fact)
        return other


class RecordingError(DdaudioError):
    """A recording cannot be read or cannot be fitted."""


class OptionError(DdaudioError, ValueError):
    """A setting is unknown, out of range, or in conflict with another."""


class PluginError(DdaudioError):
    """A network, loss, metric or format that an installed package registers cannot be used."""


class ModelError(DdaudioError):
    """A model file is damaged, not of ddaudio, or of another version."""


class CheckpointError(DdaudioError):
    """A checkpoint is damaged, belongs to another fit, or prevents a new one."""


class ReportError(DdaudioError):
    """A report or a sound in the folder of a fit is missing, damaged, or of another version."""


class ExchangeError(DdaudioError):
    """A file of another program is damaged or of no known format, or a format cannot hold a model."""


class OutputError(DdaudioError):
    """A result cannot be written."""


class BatchError(DdaudioError):
    """A batch cannot start: no input, an output that overlaps the input, storage or a scheduler that cannot be reached."""


class PlaybackError(DdaudioError):
    """A sound cannot be played: a library or a sound device is missing."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return a hint with the known word closest to ``word``; None if none is close."""
    found = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else None


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint with the known word closest to ``word``, or with all of them if none is close."""
    known = sorted(known)
    return closest(word, known) or f"known: {', '.join(known)}"
