"""Parsing of losses and penalties in settings, such as ``mse=1,pdl:all-pairs=0.5``.

A name is the name of a row and, after colons, variants in any order: options of the row's choices, or numbers. The name defines
the loss completely, in settings, tables and plots.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from ddaudio.errors import OptionError, nearest
from ddaudio.options.loss_specs import LOSSES, PENALTIES, LossSpec

LONGEST_LAG = 10**9


@dataclass(frozen=True)
class Choice:
    """A parsed loss or penalty."""

    kind: str
    """Its row in `LOSSES` or `PENALTIES`."""
    variants: Mapping[str, str] = field(default_factory=dict)
    """The option of each choice, given or default."""
    values: tuple[float, ...] = ()
    """Numbers in the name, in ascending order: lags of pdl in samples, delta of huber, width of zero."""


def parse_loss(name: str) -> Choice:
    """Parse the name of a loss, such as ``mse``, ``pdl:far-to-near:huber``, ``pdl:1:44``, ``huber:0.2`` or ``auraloss:ESRLoss``.

    Raises `OptionError` for parts that are unknown (with the nearest known one), given twice, or cannot be combined.
    """
    kind, *parts = name.split(":")
    if kind not in LOSSES:
        raise _refusal(name, "which is unknown", hint=nearest(kind, LOSSES))
    spec = LOSSES[kind]
    chosen, numbers = _sorted_parts(name, spec, parts)
    if spec.required and spec.required not in chosen:
        raise _refusal(name, f"without a {spec.required}", hint=nearest("", spec.variants[spec.required]))
    if spec.numbers == "lags":
        _check_lags(name, chosen, numbers)
    elif spec.numbers == "one":
        _check_one("losses", name, numbers, spec.example)
    choice = Choice(kind, {what: known[0] for what, known in spec.variants.items()} | chosen, tuple(sorted(numbers)))
    if numbers and spec.numbers == "lags":
        return replace(choice, variants={**choice.variants, "lags": "given"})
    _check_combination(name, spec, choice)
    return choice


def has_curvature(name: str) -> bool:
    """Return whether a loss has a curvature, which Gauss-Newton steps need; raises the errors of `parse_loss`."""
    choice = parse_loss(name)
    spec, words = LOSSES[choice.kind], set(choice.variants.values())
    return spec.has_curvature and not any(excluded <= words for excluded in spec.without_curvature)


def parse_terms(text: str) -> dict[str, float]:
    """Parse named, weighted losses such as ``mse=1,pdl:all-pairs=0.5`` or ``mse+mss`` (weight 1 each), in the order given.

    Raises the errors of `parse_loss`, and `OptionError` for a repeated loss or a weight that is not positive and finite.
    """
    return _parse_weighted("losses", text, parse_loss, "mse=1,pdl=0.5")


def parse_penalties(text: str | None) -> dict[str, float]:
    """Parse named, weighted penalties such as ``zero=0.01`` or, with a width, ``zero:0.05=0.01``; errors as in `parse_terms`."""
    return {} if text is None else _parse_weighted("penalties", text, parse_penalty, "zero=0.01")


def parse_penalty(name: str) -> Choice:
    """Parse the name of a penalty, such as ``zero`` or ``zero:0.05``; raises `OptionError` if it is unknown."""
    kind, *parts = name.split(":")
    if kind not in PENALTIES:
        raise _refusal(name, "which is unknown", hint=nearest(kind, PENALTIES), setting="penalties")
    numbers = [_number(part) for part in parts]
    _check_one("penalties", name, numbers, "zero:0.1")
    return Choice(kind, {}, tuple(numbers))


def check_lags(losses: str, n_samples: int) -> None:
    """Raise `OptionError` if ``losses`` contains a lag without any pair within ``n_samples``."""
    for name in parse_terms(losses):
        choice = parse_loss(name)
        if LOSSES[choice.kind].numbers == "lags" and choice.values and choice.values[-1] >= n_samples:
            raise _refusal(
                name,
                f"but only {n_samples} samples are fitted at a time",
                allowed=f"lags below {n_samples}",
                hint="give shorter lags, or pdl:near, which skips those that are too long",
            )


def _sorted_parts(name: str, spec: LossSpec, parts: list[str]) -> tuple[dict[str, str], list[float]]:
    """Return the options in a name, by choice, and the numbers."""
    chosen: dict[str, str] = {}
    numbers: list[float] = []
    for part in parts:
        what = next((what for what, words in spec.variants.items() if part in words), None)
        if what is None and spec.numbers != "none" and not math.isnan(_number(part)):
            numbers.append(_number(part))
        elif what is None:
            raise _refusal(name, f"with the unknown variant {part!r}", hint=_hint(spec, part))
        elif what in chosen:
            raise _refusal(name, f"with two choices of {what}", hint=f"give {chosen[what]} or {part}")
        else:
            chosen[what] = part
    return chosen, numbers


def _hint(spec: LossSpec, part: str) -> str:
    """Return a hint about an unknown variant."""
    if part in spec.unfit:
        return spec.unfit[part]
    if spec.words:
        return nearest(part, spec.words)
    return f"{spec.name} has none" if spec.numbers == "none" else f"give a number, as in {spec.example}"


def _number(text: str) -> float:
    """Parse a number; NaN if it is not one."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _refusal(
    name: str, problem: str, *, allowed: str | None = None, hint: str | None = None, setting: str = "losses"
) -> OptionError:
    """Create the error about one of several names in a setting."""
    return OptionError(problem, setting=setting, value=name, verb="names", allowed=allowed, hint=hint)


def _check_one(setting: str, name: str, numbers: list[float], example: str) -> None:
    """Raise `OptionError` for more than one number, or one that is not positive and finite."""
    if len(numbers) > 1 or not all(0 < number < math.inf for number in numbers):
        raise _refusal(name, "", allowed=f"one number above 0, as in {example}", setting=setting)


def _check_lags(name: str, chosen: Mapping[str, str], numbers: list[float]) -> None:
    """Raise `OptionError` for lags that are not positive whole numbers, or given twice."""
    if numbers and "lags" in chosen:
        raise _refusal(name, "with two choices of lags", hint=f"give {chosen['lags']} or lags in samples")
    if not all(1 <= number <= LONGEST_LAG and number == int(number) for number in numbers):
        raise _refusal(name, "", allowed=f"lags of 1 to {LONGEST_LAG} samples, whole numbers")
    if len(set(numbers)) < len(numbers):
        raise _refusal(name, "with a lag twice", hint="give each lag once")


def _check_combination(name: str, spec: LossSpec, choice: Choice) -> None:
    """Raise `OptionError` for options that cannot be combined."""
    words = set(choice.variants.values())
    for excluded in spec.excluded:
        if excluded <= words:
            together = ", ".join(word for word in spec.words if word in excluded)
            raise _refusal(name, f"but {together} cannot be combined", hint="leave one of them out")


def _parse_weighted(setting: str, text: str, parse: Callable[[str], Choice], example: str) -> dict[str, float]:
    if not isinstance(text, str):
        raise OptionError(setting=setting, value=text, allowed=f"text such as {example!r}")
    terms: dict[str, float] = {}
    choices: list[Choice] = []
    for part in re.split(r",|\+(?=\s*[a-z])", text):
        name, _, number = (piece.strip() for piece in part.partition("="))
        choice = parse(name)
        if choice in choices:
            raise _refusal(name, "twice", hint=f"give each once, as in {example}", setting=setting)
        try:
            weight = float(number or 1)
        except ValueError:
            problem, allowed = f"with the weight {number!r}", f"numbers above 0, as in {name}=0.5"
            raise _refusal(name, problem, allowed=allowed, setting=setting) from None
        if not 0 < weight < math.inf:
            raise _refusal(name, f"with the weight {weight:g}", allowed="finite weights above 0", setting=setting)
        terms[name] = weight
        choices.append(choice)
    return terms
