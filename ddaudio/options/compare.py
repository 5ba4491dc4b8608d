"""Settings of a comparison and its variants: networks times losses, or named variants. Imports no slow packages."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ddaudio.errors import OptionError, nearest
from ddaudio.options import GOALS, FitOptions, is_setting_of, parse_terms, setting_groups
from ddaudio.options.batch import cores
from ddaudio.options.checks import check_one_of, check_range, check_whole, read_toml

MOST_SEEDS, MOST_WORKERS, MOST_ENTRIES = 1000, 1024, 1000
MODELS, LOSSES = "sine,double-dutch", "mse,mse+mss"
"""Default networks and losses."""
PARAMETERS_PER_SAMPLE = 0.06
"""Default size of each model: networks are compared at equal size."""
EVEN = {"optimiser": "adam", "exchanges": 0, "tolerance": 0.0}
"""Default settings that make fits comparable: the same optimiser, no exchanges, and no early stop."""
OWN = ("model", "losses", "seed")
"""Settings of a fit that are determined by the comparison."""


@dataclass(frozen=True)
class ManyFitsOptions:
    """Seeds, time and excerpts of the fits of a comparison or a search, and where they run."""

    seeds: int = 3
    """Fits of each variant, with the seeds 0, 1, ..., 1 to 1000."""
    time_s: float = 20.0
    """Time of each fit on one thread, initialisation included, 0.1 to 86400 s; a short trial finds how many steps that is. Unused
    where `steps` is given: then all fits take as many steps."""
    stretch_s: float = 1.0
    """Length of the loudest excerpt of each recording, which is fitted, 0.01 to 86400 s."""
    whole: bool = False
    """Fit whole recordings instead of excerpts."""
    workers: int | None = None
    """Processes, 1 to 1024 (default: one per core)."""
    scheduler: str | None = None
    """Address of a running Dask scheduler to use instead, such as tcp://127.0.0.1:8786; the output must be a folder that its
    workers share."""
    html: bool = False
    """Write report.html for each fit as well."""
    force: bool = False
    """Repeat all fits, even those that are up to date."""

    def __post_init__(self) -> None:
        check_whole(self, "seeds", 1, MOST_SEEDS)
        check_whole(self, "workers", 1, MOST_WORKERS)
        check_range(self, "time_s", 0.1, 86400, "s")
        check_range(self, "stretch_s", 0.01, 86400, "s")
        check_one_of(self, "workers", "scheduler", "which has its own workers")

    @property
    def n_workers(self) -> int:
        """Number of processes of a local cluster."""
        return self.workers or cores()


@dataclass(frozen=True)
class CompareOptions(ManyFitsOptions):
    """Networks, losses and seeds to compare, and the time of each fit."""

    models: str | None = None
    """Networks, separated by commas, as in sine,cascade,sine+double-dutch (default: sine,double-dutch)."""
    losses: str | None = None
    """Losses, separated by commas, with terms joined by +, as in mse,mse+pdl=0.5,mss:ddsp (default: mse,mse+mss)."""
    variants: str | None = None
    """TOML file in which each table is a named variant, such as [late], with settings of its fits, such as schedule = "rise";
    without model or losses a variant is fitted with each of those given."""

    def entries(self, settings: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]] | None = None) -> list["Variant"]:
        """Return all variants, in order; settings of a variant take precedence over ``settings`` of all fits.

        ``variants`` are named variants that were drawn from the file, in place of those that the file contains.
        Raises `OptionError` for settings that are unknown, out of range or in conflict, and for repeated variants.
        """
        mine = [name for name in OWN if name in settings]
        if mine:
            problem, hint = "but a comparison sets it itself", "give {models}, {losses} and {seeds}"
            raise OptionError(problem, setting=mine[0], value=settings[mine[0]], hint=hint)
        if variants is None:
            variants = {"": {}} if self.variants is None else read_variants(self.variants)
        entries = [entry for name, changes in variants.items() for entry in self._of_variant(name, settings, changes)]
        kinds = [entry.kind for entry in entries]
        for place, entry in enumerate(entries):
            if entry.kind in kinds[:place]:
                raise OptionError(f"the comparison has {entry.name!r} twice", hint="give each network, loss and variant once")
        if len(entries) > MOST_ENTRIES:
            raise OptionError(f"the comparison has {len(entries)} kinds of fits", allowed=f"up to {MOST_ENTRIES}")
        return entries

    def _of_variant(self, name: str, settings: Mapping[str, Any], changes: Mapping[str, Any]) -> Iterator["Variant"]:
        defaults = FitOptions().flat() if self.variants else {"model": MODELS, "losses": LOSSES}
        models = [changes["model"]] if "model" in changes else _parts("models", self.models or defaults["model"])
        losses = [changes["losses"]] if "losses" in changes else _parts("losses", self.losses or defaults["losses"])
        goal = any(key in changes for key in GOALS)
        shared = {key: value for key, value in settings.items() if not (goal and key in GOALS)}
        # A setting of one network applies to the fits of that network; if there are none, it is an error.
        elsewhere = {key for key in shared if any(is_setting_of(key, model) for model in models)}
        for model in models:
            for loss in losses:
                own = {key: value for key, value in shared.items() if key not in elsewhere or is_setting_of(key, model)}
                asked = {**EVEN, **own, **changes, "model": model, "losses": loss}
                try:
                    options = FitOptions().with_settings(asked)
                except OptionError as error:
                    plural = "models" if error.setting == "model" else error.setting
                    facts = {"source": f"{self.variants!r}, variant {name!r}"} if name else {"setting": plural}
                    raise error.with_facts(**facts) from None
                has_goal, has_steps = any(asked.get(key) is not None for key in GOALS), options.training.steps is not None
                yield Variant(name, model, loss, options, has_goal, has_steps, asked)


@dataclass(frozen=True)
class Variant:
    """A configuration: one row of the table per recording."""

    variant: str
    """Name; empty without named variants."""
    model: str
    losses: str
    options: FitOptions
    """Settings as given; budget, steps and seed are set later."""
    has_goal: bool
    """Whether the size of the model was given."""
    has_steps: bool
    """Whether steps were given instead of time."""
    asked: Mapping[str, Any]
    """The settings that were given, by name."""

    def facts(self) -> dict[str, Any]:
        """Return the description stored in ``compare.json``."""
        return {"variant": self.variant, "model": self.model, "losses": self.losses, "settings": dict(self.asked)}

    @property
    def kind(self) -> tuple[FitOptions, dict[str, float]]:
        """Normal form, independent of the spelling of losses."""
        training = replace(self.options.training, losses="mse")
        return replace(self.options, training=training), parse_terms(self.losses)

    @property
    def name(self) -> str:
        """Name in messages and curves."""
        return ", ".join(filter(None, (self.variant, self.model, self.losses)))


def read_variants(path: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """Read named variants, each a table of settings, such as ``[late]`` with ``schedule = "rise"``.

    Raises `OptionError` if the file cannot be read, has no variant, or contains an unknown or forbidden setting.
    """
    tables = read_toml(path, "file of variants", 'give a TOML file with a table for each, as in [late] with schedule = "rise"')
    loose = [name for name, table in tables.items() if not isinstance(table, dict)]
    if loose or not tables:
        what = f"has {loose[0]!r} outside of any table" if loose else "has no variant"
        hint = 'give a table for each variant, as in [late] with schedule = "rise"'
        raise OptionError(f"{str(path)!r} {what}", hint=hint)
    known = [name for name in setting_groups() if name != "seed"]
    for variant, table in tables.items():
        for name in table:
            if name not in known:
                hint = "seeds are those of the comparison" if name == "seed" else nearest(name, known)
                raise OptionError(f"{str(path)!r} has {name!r} in variant {variant!r}, which is not a setting of it", hint=hint)
    return tables


def _parts(setting: str, text: str) -> list[str]:
    """Split a comma-separated list."""
    parts = [part.strip() for part in str(text).split(",")]
    if not all(parts):
        raise OptionError(setting=setting, value=text, allowed="names separated by commas")
    repeated = [part for place, part in enumerate(parts) if part in parts[:place]]
    if repeated:
        raise OptionError("twice", setting=setting, value=repeated[0], verb="names", hint="give each once")
    return parts
