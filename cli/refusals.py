"""Formatting of the library's errors for the command line, with settings as flags."""

from collections.abc import Sequence

from cyclopts import CycloptsError, UnknownOptionError, UnusedCliTokensError

from ddaudio.errors import DdaudioError, Spelling

UNITS = {"_s": "s", "_db": "dB", "_hz": "Hz"}
"""Suffixes of setting names that are units."""


def flag(name: str) -> str:
    """Return the flag of a setting, without its unit.

    >>> flag("target_snr_db"), flag("frame_s"), flag("seed")
    ('--target-snr', '--frame', '--seed')
    """
    suffix = next((suffix for suffix in UNITS if name.endswith(suffix)), "")
    return "--" + name.removesuffix(suffix).replace("_", "-")


class FlagSpelling(Spelling):
    """Settings as flags: ``--frame``, ``--force``, ``--optimiser adam``."""

    def name(self, setting: str) -> str:
        """Return the flag of a setting."""
        return flag(setting)

    def assignment(self, setting: str, value: str) -> str:
        """Return a flag with its value; for a switch the flag alone."""
        switches = {"True": flag(setting), "False": "--no-" + flag(setting).removeprefix("--")}
        return switches.get(value, f"{flag(setting)} {value}")

    def statement(self, setting: str, verb: str, value: object) -> str:
        """Return a statement about the value of a flag, or that a switch is given."""
        if isinstance(value, bool):
            return f"{self.assignment(setting, str(value))} is given"
        return super().statement(setting, verb, value)


def in_flags(error: DdaudioError) -> str:
    """Return an error's sentence with settings written as flags.

    >>> in_flags(DdaudioError(setting="budget", value=3, allowed="4 or more"))
    '--budget is 3; allowed: 4 or more'
    >>> in_flags(DdaudioError("'x-fit' holds a fit", hint="choose another {out}, or overwrite it with {force=True}"))
    "'x-fit' holds a fit; choose another --out, or overwrite it with --force"
    """
    return error.sentence(FlagSpelling())


def usage_problem(error: CycloptsError, arguments: Sequence[str]) -> str:
    """Describe an error in a command line, with a remedy that cyclopts does not give."""
    behind = arguments[list(arguments).index("--") + 1 :] if "--" in arguments else []
    if isinstance(error, UnknownOptionError):
        given = error.token.keyword or error.token.value
        if given == "-":
            return "standard input cannot be read; give the path of a file"
        if given in behind:
            return f"{given!r} is after --, where only paths are expected; give flags before --"
    if isinstance(error, UnusedCliTokensError):
        unused = ", ".join(map(repr, error.unused_tokens or []))
        way_out = "; fit several recordings with ddaudio batch" if arguments[:1] == ["fit"] else ""
        return f"unexpected arguments: {unused}{way_out}"
    return str(error)
