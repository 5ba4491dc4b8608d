"""The settings of a fit as flags: made from the dataclasses in `ddaudio.options`, whose field docs become the help."""

import ast
import inspect
from collections.abc import Mapping
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict, get_type_hints

from cyclopts import Group, Parameter

from ddaudio import options
from ddaudio.options import FitOptions

UNITS = {"_s": "s", "_db": "dB", "_hz": "Hz"}
"""Suffixes of setting names that are units."""
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


def _docs() -> dict[tuple[str, str], str]:
    """Return the line below each field in the source of `ddaudio.options`, by class and field."""
    module = ast.parse(inspect.getsource(options))
    return {
        (owner.name, line.target.id): str(ast.literal_eval(doc.value)).replace("``", "")
        for owner in module.body
        if isinstance(owner, ast.ClassDef)
        for line, doc in pairwise(owner.body)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(doc, ast.Expr)
    }


def _shown(name: str, value: object) -> str | bool:
    """Return a default with its unit, as the help shows it; nothing for None."""
    unit = next((unit for suffix, unit in UNITS.items() if name.endswith(suffix)), "")
    return False if value is None else f"{value:g} {unit}".strip() if isinstance(value, float) else str(value)


def _annotations() -> dict[str, Any]:
    docs, hints, defaults = _docs(), get_type_hints(FitOptions), FitOptions().flat()
    return {
        member.name: Annotated[
            get_type_hints(hints[group])[member.name],
            Parameter(
                name=flag(member.name),
                help=docs[hints[group].__name__, member.name],
                show_default=_shown(member.name, defaults[member.name]),
                group=panel,
            ),
        ]
        for group, panel in PANELS.items()
        for member in fields(hints[group])
    }


if TYPE_CHECKING:
    Settings = dict[str, Any]
else:
    Settings = TypedDict("Settings", _annotations(), total=False)
    Settings.__doc__ = "The settings that were given as flags, by name; the others are absent."


def resolve(given: Mapping[str, Any], config: Path | None) -> FitOptions:
    """Return the options that flags and a TOML file ask for: flags win over the file, the file over the defaults.

    A goal given as a flag replaces whatever goal the file has. Raises `OptionError` as `FitOptions.with_settings` does.
    """
    settings = options.read_settings(config) if config is not None else {}
    return FitOptions().with_settings(settings).with_settings(given)
