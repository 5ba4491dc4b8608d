"""All settings of a fit, and the file that they are kept in."""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

from ddaudio.errors import OptionError, nearest
from ddaudio.options.checks import read_toml
from ddaudio.options.loss_specs import LOSSES, PENALTIES
from ddaudio.options.model import ModelOptions
from ddaudio.options.network import NetworkOptions
from ddaudio.options.networks import NETWORKS, NetworkSpec
from ddaudio.options.recording import GridOptions, InputOptions, OutputOptions
from ddaudio.options.training import TrainingOptions, check_rateless

GOALS = ("target_snr_db", "budget", "partials")
"""Settings that determine the size of a model, of which only one may be given."""


@dataclass(frozen=True)
class FitOptions:
    """All settings of a fit, in groups."""

    input: InputOptions = field(default_factory=InputOptions)
    grid: GridOptions = field(default_factory=GridOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    output: OutputOptions = field(default_factory=OutputOptions)
    networks: Mapping[str, NetworkOptions] = field(default_factory=dict)
    """Settings of networks that differ from the defaults, by the network's name."""

    def __post_init__(self) -> None:
        given = {name: own for name, own in self.networks.items() if own != NETWORKS[name].options()}
        object.__setattr__(self, "networks", given)
        for name, own in given.items():
            _check_of_model(self.model.model, {f"{name}.{setting}": value for setting, value in own.changes().items()})
        for name in self.model.wave_terms:
            self.network(name).check_start(self.model.initialisation)
            self.network(name).check_optimiser(self.training.optimiser)
        if not self.model.wave_terms and self.model.initialisation != "peaks":
            others = {"model": self.model.model}
            problem = "but noise has no frequencies"
            raise OptionError(problem, setting="initialisation", value=self.model.initialisation, others=others)
        if self.grid.whole and not any(NETWORKS[name].takes_whole for name in self.model.terms):
            having = " or ".join(name for name, spec in NETWORKS.items() if spec.takes_whole)
            others = {"model": self.model.model}
            raise OptionError(f"but it is a setting of {having}", setting="whole", value=True, others=others)
        if self.grid.whole and self.grid.frame_s is not None and len(self.model.wave_terms) == 1:
            other: dict[str, object] = {"frame_s": self.grid.frame_s}
            raise OptionError(setting="whole", value=True, others=other, hint="give only one of the two")
        waves = self.model.wave_terms
        if self.grid.frame_s is not None and waves and all(NETWORKS[name].frames == "none" for name in waves):
            others = {"model": self.model.model}
            raise OptionError("but tracks have no frames", setting="frame_s", value=self.grid.frame_s, others=others)
        self._check_rateless()

    def _check_rateless(self) -> None:
        """Raise `OptionError` for settings of training that are not used because the optimiser is Gauss-Newton."""
        training, noise = self.training, self.model.noise_term
        waves = list(map(self.second_order, self.model.wave_terms))
        with_noise = noise is not None and self.network(noise).changes().get("noise_waves", False)
        if training.optimiser == "gauss-newton":
            check_rateless(training, rate=not with_noise)
        elif training.optimiser is None and training.has_curvature and any(waves):
            check_rateless(training, "the default for these losses, ", rate=all(waves) and not with_noise)

    def network(self, name: str) -> Any:
        """Return the settings of a network: an instance of its option class."""
        return self.networks.get(name) or NETWORKS[name].options()

    def second_order(self, name: str) -> bool:
        """Return whether Gauss-Newton is the default optimiser of a network with these settings."""
        far = NETWORKS[name].travels and self.model.starting_point != "peaks"
        return NETWORKS[name].second_order and bool(self.network(name).second_order) and not far

    def with_settings(self, settings: Mapping[str, Any]) -> "FitOptions":
        """Return these options with some settings replaced, each by its field's name, such as ``target_snr_db``.

        A goal replaces the previous goal of any type.
        Raises `OptionError` for an unknown name (with the nearest known one) or a value out of range.
        """
        asked = [name for name in GOALS if settings.get(name) is not None]
        if len(asked) > 1:
            others = {asked[1]: settings[asked[1]]}
            raise OptionError(setting=asked[0], value=settings[asked[0]], others=others, hint="give only one of the two")
        if asked:
            settings = {"budget": None, "partials": None, **settings}
        model = settings.get("model", self.model.model)
        _check_of_model(model, {name: value for name, value in settings.items() if "." not in name and value is not None})
        changes: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            for group in _homes(name, model):
                changes.setdefault(group, {})[name.rpartition(".")[2]] = value
        tables = option_tables()
        core = {group: replace(getattr(self, group), **own) for group, own in changes.items() if tables[group] in _CORE.values()}
        networks = {group: replace(self.network(group), **own) for group, own in changes.items() if group not in core}
        return replace(self, **core, networks={**self.networks, **networks})

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the settings as nested TOML tables, without those that have no value or no effect."""
        sized = self.model.budget is not None or self.model.partials is not None
        idle = {"target_snr_db", "max_parameters_per_sample"} if sized else set()
        found = {
            group: {name: value for name, value in table.items() if value is not None and name not in idle}
            for group, table in self._every_table().items()
        }
        return {group: table for group, table in found.items() if table}

    def _every_table(self) -> dict[str, dict[str, Any]]:
        own = {name: asdict(self.network(name)) for name in dict.fromkeys(self.model.terms) if NETWORKS[name].has_settings}
        return {name: asdict(getattr(self, name)) for name in _CORE} | own

    def flat(self) -> dict[str, Any]:
        """Return every setting by its name, those of the model's networks as ``network.name``."""
        return {
            name if group in _CORE else f"{group}.{name}": value
            for group, table in self._every_table().items()
            for name, value in table.items()
        }


_CORE: dict[str, type] = {name: hint for name, hint in get_type_hints(FitOptions).items() if name != "networks"}
"""Option classes of all fits, by group."""
RESERVED = frozenset(
    [
        "out",
        "force",
        "resume",
        "html",
        "to",
        "config",
        "quiet",
        "json",
        "settings",
        "help",
        "help_all",
        "version",
        "dry_run",
        "pattern",
        "workers",
        "scheduler",
        "retries",
        "limit",
        "stack",
        "retry_failed",
        "models",
        "variants",
        "seeds",
        "time_s",
        "stretch_s",
        "ranges",
        "trials",
        "draw_seed",
        "measure",
        "whole",
        "losses",
    ]
)
"""Names reserved for the command line, which no setting of a network can have."""


def _check_names(spec: NetworkSpec, _: Mapping[str, NetworkSpec]) -> None:
    """Raise ValueError for a network of another package whose name or settings are taken."""
    core = {member.name for owner in _CORE.values() for member in fields(owner)}
    taken = [member.name for member in fields(spec.options) if member.name in core | RESERVED]
    if taken:
        raise ValueError(f"its setting {taken[0]!r} has the name of one of ddaudio's own")
    if spec.name in {*_CORE, "networks", "recording"}:
        raise ValueError("a table of settings has this name")


NETWORKS.add_check(_check_names)


def _terms(model: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in str(model).split("+"))


def option_tables() -> dict[str, type]:
    """Return the option class of each table of settings, by the table's name: groups of all fits, then networks."""
    return _CORE | {name: spec.options for name, spec in NETWORKS.items() if spec.has_settings}


def setting_groups() -> dict[str, tuple[str, ...]]:
    """Return the groups of each setting, by its name: one, or the networks that share it."""
    groups: dict[str, tuple[str, ...]] = {}
    for group, owner in option_tables().items():
        for member in fields(owner):
            groups[member.name] = (*groups.get(member.name, ()), group)
    return groups


def _homes(name: str, model: str) -> Iterable[str]:
    """Return the groups that a setting belongs to: without a prefix, all networks of the model that have it."""
    groups = setting_groups()
    table, _, plain = name.rpartition(".")
    if plain not in groups or (table and table not in groups[plain]):
        raise OptionError(f"there is no setting {name!r}", hint=nearest(plain, groups))
    return (table,) if table else [group for group in groups[plain] if group in _CORE or group in _terms(model)]


def is_setting_of(name: str, model: str) -> bool:
    """Return whether a setting belongs to all fits or to one of the networks of a model such as ``sine+double-dutch``."""
    table, _, plain = name.rpartition(".")
    owners = (table,) if table else setting_groups().get(plain, ())
    return not owners or any(owner in _CORE or owner in _terms(model) for owner in owners)


def _check_of_model(model: str, given: Mapping[str, Any]) -> None:
    """Raise `OptionError` for a setting of a network that is not part of the model."""
    for name, value in given.items():
        if not is_setting_of(name, model):
            table, _, plain = name.rpartition(".")
            problem = f"but it is a setting of {table or ' or '.join(setting_groups()[plain])}"
            raise OptionError(problem, setting=plain, value=value, others={"model": model})


def setting_docs() -> dict[str, str]:
    """Return the documentation of each setting, by name: the docstring of its field.

    Descriptions of a setting by several networks are joined; ``{losses}`` and ``{penalties}`` are replaced by their names.
    """
    lists = {
        "losses": ", ".join(LOSSES),
        "penalties": ", ".join(PENALTIES),
    }
    found: dict[str, list[str]] = {}
    for table, owner in option_tables().items():
        own = field_docs(owner)
        for member in fields(owner):
            text = own.get(member.name, f"Setting of {table}.")
            found.setdefault(member.name, []).append(text)
    texts = {name: " ".join(dict.fromkeys(each)) for name, each in found.items()}
    for what, words in lists.items():
        texts = {name: text.replace(f"{{{what}}}", words) for name, text in texts.items()}
    return texts


def field_docs(owner: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, including inherited ones, by name."""
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__[:-1]):
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        for line, doc in pairwise(node.body if isinstance(node, ast.ClassDef) else []):
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(doc, ast.Expr):
                found[line.target.id] = " ".join(str(ast.literal_eval(doc.value)).split())
    return found


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read the settings of a TOML file such as ``fit.toml`` into one flat mapping for `FitOptions.with_settings`.

    The table ``[recording]`` of ``fit.toml``, which describes the recording, is ignored. Raises `OptionError` if the file cannot
    be read, is not TOML, or contains an unknown table or setting.
    """
    tables = read_toml(path, "settings file", "give a TOML file such as fit.toml of a fit")
    groups, tables_known = option_tables(), setting_groups()
    settings: dict[str, Any] = {}
    for group, table in tables.items():
        if group == "recording":
            continue
        if group not in groups or not isinstance(table, dict):
            problem = f"{str(path)!r} has {group!r} at the top level, which is not a table of settings"
            raise OptionError(problem, hint=nearest(group, groups))
        for name, value in table.items():
            if group not in tables_known.get(name, ()):
                known = [each for each, homes in tables_known.items() if group in homes]
                raise OptionError(f"[{group}] in {str(path)!r} has no setting {name!r}", hint=nearest(name, known))
            settings[name if group in _CORE else f"{group}.{name}"] = value
    return settings
