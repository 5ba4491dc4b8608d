"""Flags of the settings of a fit, generated from the dataclasses in `ddaudio.options`, whose docstrings are the help."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_args, get_type_hints

from cyclopts import Group, Parameter, Token

from ddaudio import options
from ddaudio.errors import OptionError
from ddaudio.options import GOALS, NETWORKS, FitOptions, option_tables, setting_groups
from ddaudio.options.batch import BatchOptions
from ddaudio.options.compare import OWN, CompareOptions
from ddaudio.options.fit import field_docs
from ddaudio.options.search import SearchOptions

from .help import COMMON, COMPLETE, LABORATORY
from .refusals import UNITS, flag

SHARED = [name for name in setting_groups() if name not in (*OWN, *(member.name for member in fields(CompareOptions)))]
"""Settings of all fits of a comparison; ``whole`` is a setting of the comparison, and for single variants one of the fit."""
SEARCHED = [name for name in setting_groups() if name not in ("seed", *(member.name for member in fields(SearchOptions)))]
"""Settings of all fits of a search."""
PANELS = {
    name: Group(f"{name.capitalize()} settings", sort_key=place, help_formatter=LABORATORY)
    for place, name in enumerate(option_tables(), 3)
}
"""Panels of the help for less common settings, by table."""
FIRST = Group("Settings", sort_key=2)
"""Panel of the most common settings."""
FILES = Group("Output", sort_key=1)
"""Panel of the output."""
LABORATORY_HINT = f"{COMPLETE} lists all settings."


def _in_flags(text: str) -> str:
    """Return the docstring of a field with settings in backticks replaced by flags."""
    known = {
        *setting_groups(),
        *(member.name for owner in (BatchOptions, CompareOptions, SearchOptions) for member in fields(owner)),
    }
    return re.sub(r"`+(\w+)`+", lambda found: flag(found[1]) if found[1] in known else found[1], text)


def _shown(name: str, value: object) -> str | bool:
    """Return a default with its unit for the help; False for None."""
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    return False if value is None else f"{value:g} {unit}".strip() if isinstance(value, float) else str(value)


def _annotations(without: Collection[str] = ()) -> dict[str, Any]:
    docs, tables, groups = options.setting_docs(), option_tables(), setting_groups()
    found = {}
    for name in set(groups).difference(without):
        group = groups[name][0]
        owner = tables[group]
        default = next(member.default for member in fields(owner) if member.name == name)
        hint = get_type_hints(owner)[name]
        parameter = Parameter(
            name=flag(name),
            help=_in_flags(docs[name]) + _listed(name),
            show_default=_shown(name, default),
            group=FIRST if name in COMMON else PANELS[group],
            **_reading(hint, name),
        )
        found[name] = Annotated[hint, parameter]
    return {name: found[name] for name in groups if name in found}


def _listed(name: str) -> str:
    """Return the networks, one per line, for the help of the setting ``model``."""
    return "".join(f"\n{network}: {spec.summary}" for network, spec in NETWORKS.items()) if name == "model" else ""


def whole_number(_: type, tokens: Sequence[Token]) -> int:
    """Parse an integer; fractions are refused."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"{tokens[0].value!r} is not a whole number") from None


Whole = Annotated[int, Parameter(converter=whole_number)]
"""Type of integer flags."""


def _reading(hint: Any, name: str) -> dict[str, Any]:
    """Return parameters for parsing a flag, where the default of cyclopts does not suffice."""
    if int in (hint, *get_args(hint)):
        return {"converter": whole_number}
    return {"allow_leading_hyphen": True} if name in ("span", "cut") else {}


def _own_annotations(owner: type, panel: str) -> dict[str, Any]:
    """Return the flags of the settings of a batch, comparison or search, like `_annotations` for those of a fit."""
    hints, docs = get_type_hints(owner), field_docs(owner)
    inherited = {member for base in owner.__mro__[1:] for member in vars(base).get("__annotations__", ())}
    members = {member.name: member.default for member in sorted(fields(owner), key=lambda member: member.name in inherited)}
    return {
        name: Annotated[
            hints[name],
            Parameter(
                name=flag(name),
                help=_in_flags(docs[name]),
                show_default=False if default is False else _shown(name, default),
                **_reading(hints[name], name),
                negative="",
                group=Group(panel, sort_key=1),
            ),
        ]
        for name, default in members.items()
    }


if TYPE_CHECKING:
    BatchSettings = dict[str, Any]
    CompareSettings = dict[str, Any]
    SearchSettings = dict[str, Any]
    Settings = dict[str, Any]
    SearchedSettings = dict[str, Any]
    SharedSettings = dict[str, Any]
else:
    BatchSettings = TypedDict("BatchSettings", _own_annotations(BatchOptions, "Batch settings"), total=False)
    BatchSettings.__doc__ = "The settings of a batch that were given as flags, by name; the others are absent."
    CompareSettings = TypedDict("CompareSettings", _own_annotations(CompareOptions, "Settings of the comparison"), total=False)
    CompareSettings.__doc__ = "The settings of a comparison that were given as flags, by name; the others are absent."
    SearchSettings = TypedDict("SearchSettings", _own_annotations(SearchOptions, "Settings of the search"), total=False)
    SearchSettings.__doc__ = "The settings of a search that were given as flags, by name; the others are absent."
    Settings = TypedDict("Settings", _annotations(), total=False)
    Settings.__doc__ = "The settings that were given as flags, by name; the others are absent."
    SharedSettings = TypedDict("SharedSettings", _annotations(set(setting_groups()).difference(SHARED)), total=False)
    SearchedSettings = TypedDict("SearchedSettings", _annotations(set(setting_groups()).difference(SEARCHED)), total=False)
    SearchedSettings.__doc__ = "The settings of all fits of a search that were given as flags, by name; the others are absent."
    SharedSettings.__doc__ = "The settings of all fits of a comparison that were given as flags, by name; the others are absent."


def resolve(given: Mapping[str, Any], config: Path | None) -> FitOptions:
    """Return the options given by flags and a TOML file; flags take precedence over the file.

    A goal given as a flag replaces that of the file. Raises `OptionError` as `FitOptions.with_settings` does, with the file as
    source if the flags on their own are valid.
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
        raise error.with_facts(source=repr(str(config))) from None
