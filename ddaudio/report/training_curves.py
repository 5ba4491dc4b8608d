"""Training curves: stages and their runs in sequence, blocks on top of each other."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

PANELS = ("SNR (dB)", "loss", "gradient norm")
"""Panels of the figure, the last two with logarithmic scales."""
Curves = dict[tuple[str, str], tuple[list[float], list[float]]]


def curves(passes: Sequence[Mapping[str, Any]]) -> tuple[Curves, list[int]]:
    """Return steps and values of evaluations by panel and name, NaN between runs, and the first step of each stage.

    Panels are in the order of `PANELS`, gradients in that of the numbers in their names, since trees differ in levels.
    """
    found: Curves = {}
    begins, end = [], 0
    for one in passes:
        begins.append(end)
        for runs in one["blocks"]:
            at = begins[-1]
            for run in runs:
                for look in run["evaluations"]:
                    for key, value in _values(look).items():
                        steps, values = found.setdefault(key, ([], []))
                        steps.append(at + look["step"])
                        values.append(value)
                for steps, values in found.values():
                    steps.append(math.nan)
                    values.append(math.nan)
                at += run["evaluations"][-1]["step"] if run["evaluations"] else 0
            end = max(end, at)
    order = sorted(found, key=lambda key: (PANELS.index(key[0]), by_number(key[1]) if key[0] == PANELS[2] else []))
    return {key: found[key] for key in order}, begins


def by_number(name: str) -> list[str | int]:
    """Return the key of natural sorting: ``level 2`` before ``level 10``."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]


def _values(look: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return the values of an evaluation, by panel and name."""
    named = {PANELS[0]: {"SNR": look["snr_db"]}, PANELS[1]: look["terms"], PANELS[2]: look.get("gradients") or {}}
    return {(panel, name): value for panel, row in named.items() for name, value in row.items() if value is not None}
