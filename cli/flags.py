"""The settings of a fit as flags: made from the dataclasses in `ddaudio.options`, whose field docs become the help."""

import ast
import inspect
import re
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

from cyclopts import Group, Parameter

from ddaudio import options
from ddaudio.errors import OptionError
from ddaudio.options import GOALS, FitOptions, setting_groups
from ddaudio.options.batch import BatchOptions
from ddaudio.options.compare import OWN, CompareOptions

UNITS = {"_s": "s", "_db": "dB", "_hz": "Hz"}
"""Suffixes of setting names that are units."""
_OWN_NAMES = [member.name for owner in (BatchOptions, CompareOptions) for member in fields(owner)]
"""Settings of what makes many fits."""
WORDS = ("local", "phase", "positive", "span", *(name for name in _OWN_NAMES if "_" not in name))
"""Settings whose names messages about others use as words."""
SHARED = [name for name in setting_groups() if name not in (*OWN, *CompareOptions.__annotations__)]
"""Settings that all fits of a comparison can be given; ``whole`` is the comparison's own, and that of a fit one of variants."""
PANELS = {
    name: Group(f"{name.capitalize()} settings", sort_key=place)
    for place, name in enumerate((member.name for member in fields(FitOptions)), 2)
}
"""Panels of the help, by group of settings."""


def flag(name: str) -> str:
    """Return the flag of a setting, without its unit.

    >>> flag("target_snr_db"), flag("frame_s"), flag("seed")
    ('--target-snr', '--frame', '--seed')
    """
    suffix = next((suffix for suffix in UNITS if name.endswith(suffix)), "")
    return "--" + name.removesuffix(suffix).replace("_", "-")


def refusal_in_flags(message: str) -> str:
    """Return the library's refusal of a value with settings named as flags; other messages, and what is quoted, stay.

    A refusal of a value begins with the setting's name; one that is about a settings file begins with the file's. `WORDS` are
    names where it says what they are, or to give them.

    >>> refusal_in_flags("overlap is 0.3, but frames are as long as the sound asks for; give frame_s as well")
    '--overlap is 0.3, but frames are as long as the sound asks for; give --frame as well'
    >>> refusal_in_flags("steps is 0.5; it must be a whole number")
    '--steps is 0.5; it must be a whole number'
    """
    names = [*setting_groups(), *_OWN_NAMES]
    return _in_flags(message, names) if message.split(" ", 1)[0] in names else message


def _in_flags(text: str, names: Collection[str]) -> str:
    every, sure = "|".join(names), "|".join(name for name in names if name not in WORDS)
    named = rf"\b(?:{sure})\b|^(?:{every})\b|\b(?:{every})(?= is )|(?<=give )(?:{every})\b"
    words = re.compile(rf"(?<!\w)'[^']*'|({named})")
    return words.sub(lambda found: flag(found[1]) if found[1] else found[0], text)


def _docs() -> dict[str, str]:
    """Return what each setting means, by its name; with flags for settings."""
    names = [name for name in setting_groups() if "_" in name]  # the others are words as well
    return {name: _in_flags(doc, names) for name, doc in options.setting_docs().items()}


def _shown(name: str, value: object) -> str | bool:
    """Return a default with its unit, as the help shows it; nothing for None."""
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    return False if value is None else f"{value:g} {unit}".strip() if isinstance(value, float) else str(value)


def _annotations(without: Collection[str] = ()) -> dict[str, Any]:
    docs, hints, defaults = _docs(), get_type_hints(FitOptions), FitOptions().flat()
    return {
        member.name: Annotated[
            get_type_hints(hints[group])[member.name],
            Parameter(
                name=flag(member.name),
                help=docs[member.name],
                show_default=_shown(member.name, defaults[member.name]),
                group=panel,
            ),
        ]
        for group, panel in PANELS.items()
        for member in fields(hints[group])
        if member.name not in without
    }


def _own_annotations(owner: type, panel: str) -> dict[str, Any]:
    """Return the flags of the settings of something that makes several fits, as `_annotations` does those of a fit."""
    hints = get_type_hints(owner)
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    docs = {
        ast.unparse(line.target): " ".join(str(ast.literal_eval(doc.value)).split())
        for line, doc in pairwise(found.body if isinstance(found, ast.ClassDef) else [])
        if isinstance(line, ast.AnnAssign) and isinstance(doc, ast.Expr)
    }
    members = {member.name: member.default for member in fields(owner)}
    return {
        name: Annotated[
            hints[name],
            Parameter(
                name=flag(name),
                help=_in_flags(docs[name], {name for name in docs if "_" in name}),
                show_default=False if default is False else _shown(name, default),
                negative="",
                group=Group(panel, sort_key=1),
            ),
        ]
        for name, default in members.items()
    }


if TYPE_CHECKING:
    BatchSettings = dict[str, Any]
    CompareSettings = dict[str, Any]
    Settings = dict[str, Any]
    SharedSettings = dict[str, Any]
else:
    BatchSettings = TypedDict("BatchSettings", _own_annotations(BatchOptions, "Batch settings"), total=False)
    BatchSettings.__doc__ = "The settings of a batch that were given as flags, by name; the others are absent."
    CompareSettings = TypedDict("CompareSettings", _own_annotations(CompareOptions, "Settings of the comparison"), total=False)
    CompareSettings.__doc__ = "The settings of a comparison that were given as flags, by name; the others are absent."
    Settings = TypedDict("Settings", _annotations(), total=False)
    Settings.__doc__ = "The settings that were given as flags, by name; the others are absent."
    SharedSettings = TypedDict("SharedSettings", _annotations(set(setting_groups()).difference(SHARED)), total=False)
    SharedSettings.__doc__ = "The settings of all fits of a comparison that were given as flags, by name; the others are absent."


def resolve(given: Mapping[str, Any], config: Path | None) -> FitOptions:
    """Return the options that flags and a TOML file ask for: flags win over the file, the file over the defaults.

    A goal given as a flag replaces whatever goal the file has. Raises `OptionError` as `FitOptions.with_settings` does;
    where the flags alone are in order, it names the file.
    """
    if config is None:
        return FitOptions().with_settings(given)
    settings = options.read_settings(config)
    if any(name in given for name in GOALS):
        settings = {name: value for name, value in settings.items() if name not in GOALS}
    try:
        return FitOptions().with_settings({**settings, **given})
    except OptionError as error:
        FitOptions().with_settings(given)
        raise OptionError(f"{str(config)!r}: {error}") from None
