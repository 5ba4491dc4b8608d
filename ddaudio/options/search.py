"""Settings of a search, and the ranges from which it draws. Imports no slow packages."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from random import Random
from typing import Any, Literal, get_args, get_type_hints

from ddaudio.errors import OptionError, nearest
from ddaudio.options import FitOptions, is_setting_of, option_tables, setting_groups
from ddaudio.options.checks import LARGEST_WHOLE, check_choice, check_whole, is_whole, read_toml
from ddaudio.options.compare import CompareOptions, ManyFitsOptions, Variant

MOST_TRIALS = 1000
MOST_ATTEMPTS = 100
"""Draws per trial: ranges with few values may have fewer different draws than there are trials."""
Scale = Literal["log", "linear", "choice"]
MeasureName = Literal["erb", "snr"]
FORM = "give a setting with log, linear or choice, as in learning_rate = {{ log = [0.001, 0.3] }"
"""Hint of errors about files of ranges."""


@dataclass(frozen=True)
class SearchOptions(ManyFitsOptions):
    """Ranges of settings, and how many draws from them are fitted."""

    ranges: str | None = None
    """TOML file with a range for each setting that is searched, such as learning_rate = { log = [0.001, 0.3] }, or with linear or
    choice in place of log."""
    trials: int = 20
    """Draws from the ranges, 1 to 1000; fewer if the ranges have fewer different values."""
    draw_seed: int = 0
    """Seed of the draws, 0 to 2147483647; the first draws are the same for any number of trials."""
    measure: MeasureName = "erb"
    """Order of the table, best first: by ERB distance (erb) or by SNR (snr)."""
    seeds: int = 1
    """Fits of each draw, with the seeds 0, 1, ..., 1 to 1000."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, "trials", 1, MOST_TRIALS)
        check_whole(self, "draw_seed", 0, 2**31 - 1)
        check_choice(self, "measure", get_args(MeasureName))

    @property
    def metric(self) -> str:
        """Name of the metric of ``measure``."""
        return f"{self.measure}_db"

    @property
    def comparison(self) -> CompareOptions:
        """Settings of the comparison of the draws."""
        same = {member.name: getattr(self, member.name) for member in fields(ManyFitsOptions)}
        return CompareOptions(**same, variants=self.ranges)

    def read_ranges(self) -> dict[str, "Range"]:
        """Read the ranges; raises `OptionError` as `read_ranges` does, and without a file."""
        if self.ranges is None:
            raise OptionError("no ranges", hint="give a TOML file with {ranges}")
        return read_ranges(self.ranges)

    def entries(self, settings: Mapping[str, Any]) -> tuple[list[Variant], dict[str, dict[str, Any]]]:
        """Return a variant for each draw, and the drawn settings by the variant's name.

        A setting of one network is drawn for that network only, where the network is searched.
        Raises `OptionError` for settings and ranges that are unknown, out of range or in conflict.
        """
        if "seed" in settings:
            raise OptionError("but a search sets it itself", setting="seed", value=settings["seed"], hint="give {seeds}")
        ranges = self.read_ranges()
        default = FitOptions().flat()
        own = {name: settings.get(name, default[name]) for name in ("model", "losses")}
        for name, value in own.items():
            FitOptions().with_settings({name: value})
        shared = {name: value for name, value in settings.items() if name not in own}
        _check_of_models(ranges, ranges["model"].values if "model" in ranges else (own["model"],), str(self.ranges))
        draws = {f"trial {place}": draw for place, draw in enumerate(self._draws(ranges, own["model"]), 1)}
        variants = {name: {**own, **draw} for name, draw in draws.items()}
        for name, changes in _ends(ranges, list(variants.values())):
            _check_end(self.comparison, shared, name, changes)
        return self.comparison.entries(shared, variants), draws

    def _draws(self, ranges: Mapping[str, "Range"], model: str) -> list[dict[str, Any]]:
        """Return different draws."""
        random, found = Random(self.draw_seed), dict[str, dict[str, Any]]()
        for _ in range(MOST_ATTEMPTS * self.trials):
            draw = {name: one.draw(random) for name, one in ranges.items()}
            draw = {name: value for name, value in draw.items() if is_setting_of(name, draw.get("model", model))}
            found.setdefault(repr(draw), draw)
            if len(found) == self.trials:
                break
        return list(found.values())


@dataclass(frozen=True)
class Range:
    """The range of a setting: both ends of an interval, or all choices."""

    scale: Scale
    values: tuple[Any, ...]
    whole: bool = False
    """Whether draws are whole numbers."""

    def draw(self, random: Random) -> Any:
        """Draw a value: uniform, log-uniform, or one of the choices; fractions have four significant digits.

        Whole numbers k have the probability of the interval from k to k + 1.
        """
        share = random.random()
        if self.scale == "choice":
            return self.values[int(share * len(self.values))]
        low, high = self.values
        end = high + 1 if self.whole else high
        value = math.exp(math.log(low) + share * math.log(end / low)) if self.scale == "log" else low + share * (end - low)
        drawn = math.floor(value) if self.whole else float(f"{value:.4g}")
        return min(max(drawn, low), high)


def read_ranges(path: str | os.PathLike[str]) -> dict[str, Range]:
    """Read the ranges of settings, such as ``learning_rate = { log = [0.001, 0.3] }``, by name.

    Raises `OptionError` if the file cannot be read, has no range, or contains an unknown setting or an impossible range.
    """
    tables = read_toml(path, "file of ranges", FORM)
    if not tables:
        raise OptionError(f"{str(path)!r} has no ranges", hint=FORM)
    known = [name for name in setting_groups() if name != "seed"]
    for name in tables:
        if name not in known:
            hint = "seeds are those of the search" if name == "seed" else nearest(name, known)
            raise OptionError(f"{str(path)!r} has {name!r}, which is not a setting of a fit", hint=hint)
    return {name: _range(str(path), name, table) for name, table in tables.items()}


def _range(path: str, name: str, table: object) -> Range:
    def refused(problem: str, hint: str) -> OptionError:
        """Return an error about the range."""
        return OptionError(f"the range of {name!r} {problem}", source=repr(path), hint=hint)

    if not isinstance(table, dict) or len(table) != 1 or not set(table) <= set(get_args(Scale)):
        raise refused("has another form", FORM)
    ((scale, values),) = table.items()
    if not isinstance(values, list) or not values:
        raise refused(f"is {scale} = {values!r}", FORM)
    if scale == "choice":
        if any(value in values[:place] for place, value in enumerate(values)):
            raise refused("has a choice twice", "give each once")
        return Range("choice", tuple(values))
    types = _types_of(name)
    if not types & {int, float}:
        raise refused(f"is {scale}, but the setting is not a number", 'give choice, as in choice = ["a", "b"]')
    whole = float not in types
    numbers = all(is_whole(value) or (isinstance(value, float) and not whole) for value in values)
    numbers = numbers and all(abs(value) <= LARGEST_WHOLE for value in values)  # not so for infinity and NaN
    if len(values) != 2 or not numbers:
        raise refused(f"is {values!r}", f"give two {'whole ' * whole}numbers, the lowest and the highest")
    low, high = values
    if not low < high:
        raise refused(f"is from {low!r} to {high!r}", "give the lower end first")
    if scale == "log" and low <= 0:
        raise refused(f"is log from {low!r}", "give ends above 0, or linear")
    return Range(scale, (low, high) if whole else (float(low), float(high)), whole)


def _types_of(name: str) -> set[object]:
    """Return the types of a setting's values."""
    hints = [get_type_hints(option_tables()[group])[name] for group in setting_groups()[name]]
    return {kind for hint in hints for kind in (hint, *get_args(hint))}


def _check_of_models(ranges: Mapping[str, Range], models: tuple[str, ...], path: str) -> None:
    """Raise `OptionError` for a range of a setting that belongs to no network of any model."""
    for name in ranges:
        if not any(is_setting_of(name, str(model)) for model in models):
            owners = " or ".join(setting_groups()[name])
            problem = f"the range of {name!r} has no effect, since the model is {' or '.join(map(str, models))}"
            raise OptionError(problem, source=repr(path), hint=f"it is a setting of {owners}")


def _ends(ranges: Mapping[str, Range], variants: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each end of each range with the other settings of some variant that has the setting."""
    for name, one in ranges.items():
        for changes in [variant for variant in variants if name in variant][:1]:
            yield from ((name, {**changes, name: value}) for value in one.values)


def _check_end(how: CompareOptions, shared: Mapping[str, Any], name: str, changes: Mapping[str, Any]) -> None:
    """Raise `OptionError` if an end of a range is not allowed, whatever the other settings."""
    try:
        how.entries(shared, {f"{name} = {changes[name]}": changes})
    except OptionError as error:
        if error.setting == name and not error.others:
            raise error.with_facts(source=repr(how.variants)) from None
