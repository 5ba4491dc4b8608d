"""All settings of a fit, and the file that they are kept in."""

import ast
import inspect
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

from ddaudio.errors import OptionError, nearest
from ddaudio.options.double_dutch import TreeOptions
from ddaudio.options.model import WITHOUT_TANGENT, LayerOptions, ModelOptions
from ddaudio.options.recording import GridOptions, InputOptions, OutputOptions
from ddaudio.options.training import TrainingOptions, check_rateless

GOALS = ("target_snr_db", "budget", "partials")
"""Settings that say how large a model gets: only one of them may be asked for."""


@dataclass(frozen=True)
class FitOptions:
    """All settings of a fit, in groups."""

    input: InputOptions = field(default_factory=InputOptions)
    grid: GridOptions = field(default_factory=GridOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    tree: TreeOptions = field(default_factory=TreeOptions)
    layers: LayerOptions = field(default_factory=LayerOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    output: OutputOptions = field(default_factory=OutputOptions)

    def __post_init__(self) -> None:
        training = self.training
        if training.optimiser is None and training.least_squares and any(map(self.has_tangent, self.model.terms)):
            check_rateless(training, "the default for mse alone, ")

    def has_tangent(self, name: str) -> bool:
        """Return whether a network, with these settings, has a tangent, by which Gauss-Newton steps are taken."""
        plain = self.layers.activation == "none" and not self.layers.local
        return name not in WITHOUT_TANGENT and (name != "cascade" or plain)

    def with_settings(self, settings: Mapping[str, Any]) -> "FitOptions":
        """Return these options with some settings replaced, each by its field's name, such as ``target_snr_db``.

        A goal that is given replaces whatever goal these options have.
        Raises `OptionError` on an unknown name (the nearest known one is given) or a value out of range.
        """
        homes = setting_groups()
        asked = [name for name in GOALS if settings.get(name) is not None]
        if len(asked) > 1:
            others = {asked[1]: settings[asked[1]]}
            raise OptionError(setting=asked[0], value=settings[asked[0]], others=others, hint="give only one of the two")
        if asked:
            settings = {"budget": None, "partials": None, **settings}
        for name in settings:
            if name not in homes:
                raise OptionError(f"there is no setting {name!r}", hint=nearest(name, homes))
        changes = {
            group: replace(getattr(self, group), **{n: v for n, v in settings.items() if homes[n] == group})
            for group in {homes[name] for name in settings}
        }
        return replace(self, **changes)

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the settings as nested tables, as TOML holds them, without those that have no value or no effect."""
        sized = self.model.budget is not None or self.model.partials is not None
        idle = {"target_snr_db"} if sized else set()
        return {
            group: {name: value for name, value in table.items() if value is not None and name not in idle}
            for group, table in asdict(self).items()
        }

    def flat(self) -> dict[str, Any]:
        """Return every setting by its name, groups left out."""
        return {name: value for table in asdict(self).values() for name, value in table.items()}


def setting_groups() -> dict[str, str]:
    """Return the group of each setting, by the setting's name; names are unique over all groups."""
    hints = get_type_hints(FitOptions)
    return {member.name: group.name for group in fields(FitOptions) for member in fields(hints[group.name])}


def setting_docs() -> dict[str, str]:
    """Return what each setting means, by its name: the line below its field in its class's source."""
    owners = [
        node
        for group in get_type_hints(FitOptions).values()
        for node in ast.parse(inspect.getsource(group)).body
        if isinstance(node, ast.ClassDef)
    ]
    return {
        line.target.id: " ".join(str(ast.literal_eval(doc.value)).split())
        for owner in owners
        for line, doc in pairwise(owner.body)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(doc, ast.Expr)
    }


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read the settings of a TOML file such as ``fit.toml`` into one flat mapping for `FitOptions.with_settings`.

    The table ``[recording]``, which ``fit.toml`` adds to say what was fitted, is passed over. Raises `OptionError` when
    the file cannot be read, is not TOML, or names an unknown table or setting.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptionError(f"there is no settings file {str(path)!r}", hint="give a TOML file such as fit.toml of a fit") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{str(path)!r} cannot be read as TOML: {error}") from None
    groups, homes = [member.name for member in fields(FitOptions)], setting_groups()
    settings: dict[str, Any] = {}
    for group, table in tables.items():
        if group == "recording":
            continue
        if group not in groups or not isinstance(table, dict):
            problem = f"{str(path)!r} has {group!r} at the top level, which is not a table of settings"
            raise OptionError(problem, hint=nearest(group, groups))
        for name, value in table.items():
            if homes.get(name) != group:
                known = [n for n, home in homes.items() if home == group]
                raise OptionError(f"[{group}] in {str(path)!r} has no setting {name!r}", hint=nearest(name, known))
            settings[name] = value
    return settings
