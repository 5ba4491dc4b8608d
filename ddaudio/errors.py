"""Errors that a user can cause and correct. They carry facts, and their text is made from the facts.

A setting is named by its field, such as ``target_snr_db``. `DdaudioError.sentence` writes the same facts with other
names, as the command line does with its flags.

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
"""Characters of a value that an error shows."""


class Spelling:
    """How settings and values are written in an error's sentence: this class as in Python, a subclass in its own way."""

    def name(self, setting: str) -> str:
        """Return the name of a setting."""
        return setting

    def value(self, value: object) -> str:
        """Return a value, cut to `LONGEST_VALUE` characters."""
        text = repr(value)
        return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."

    def assignment(self, setting: str, value: str) -> str:
        """Return how a setting is given a value, such as ``force=True``."""
        bare = value in ("True", "False") or value.replace(".", "", 1).isdigit()
        return f"{setting}={value if bare else repr(value)}"

    def statement(self, setting: str, verb: str, value: object) -> str:
        """Return which value a setting has, such as ``budget is 3``."""
        return f"{self.name(setting)} {verb} {self.value(value)}"

    def hint(self, template: str) -> str:
        """Return a hint with ``{setting}`` and ``{setting=value}`` written out; ``{{`` is a brace, other braces stay."""
        return re.sub(
            r"\{\{|\{(\w+)(?:=([^{}]*))?\}",
            lambda found: "{" if not found[1] else self.name(found[1]) if found[2] is None else self.assignment(*found.groups()),
            template,
        )


class DdaudioError(Exception):
    """Base of all errors that a user can cause and correct; all facts are optional."""

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
        """Keep the facts; they are attributes of the same names.

        Args:
            problem: What is wrong, in words that name no setting. With a setting it continues ``setting is value, ...``.
            setting: Name of the setting that is wrong.
            value: Its value.
            verb: What joins setting and value: ``is``, or such as ``names`` where ``value`` is one of several.
            others: Settings that contradict it, with their values.
            allowed: Values that are allowed, such as ``4 or more``.
            hint: What to do. ``{name}`` stands for a setting, ``{name=value}`` for giving it a value, ``{{`` for a brace.
            source: File that settings or samples belong to, as it is shown; settings then keep their names, as in the file.
        """
        super().__init__(problem)
        self.problem, self.allowed, self.hint, self.source = problem, allowed, hint, source
        self.setting, self.value, self.verb, self.others = setting, value, verb, dict(others or {})

    def __str__(self) -> str:
        return self.sentence(Spelling())

    def sentence(self, spelling: Spelling) -> str:
        """Return the facts as one sentence, with settings and values written by ``spelling``."""
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
    """A setting is unknown, out of range, or contradicts another one."""


class PluginError(DdaudioError):
    """A network, loss, metric or format that an installed package registers cannot be used."""


class ModelError(DdaudioError):
    """A model file is damaged, not of ddaudio, or of another version."""


class CheckpointError(DdaudioError):
    """A checkpoint is damaged, belongs to another fit, or prevents a new one."""


class ReportError(DdaudioError):
    """A report or a sound in the folder of a fit is missing, damaged, or of another version."""


class OutputError(DdaudioError):
    """A result cannot be written."""


class BatchError(DdaudioError):
    """A batch cannot start: no input, an output that overlaps the input, storage or a scheduler that cannot be reached."""


class PlaybackError(DdaudioError):
    """A sound cannot be played: a library or a sound device is missing."""


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return a hint that names the known word closest to ``word``; None where none is close."""
    found = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else None


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a hint that names the known word closest to ``word``, or all of them where none is close."""
    known = sorted(known)
    return closest(word, known) or f"known: {', '.join(known)}"
