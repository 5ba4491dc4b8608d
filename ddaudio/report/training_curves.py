"""Training over its steps, as curves: passes and their runs one after the other, blocks on top of each other."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

PANELS = ("SNR (dB)", "loss", "gradient norm")
"""What is drawn of training, the last two on logarithmic scales."""
Curves = dict[tuple[str, str], tuple[list[float], list[float]]]


def curves(passes: Sequence[Mapping[str, Any]]) -> tuple[Curves, list[int]]:
    """Return steps and values that the judge saw by panel and name, NaN between runs, and the step where each pass begins.

    Panels are in the order of `PANELS`; gradients in that of the numbers in their names, since levels of trees come and go.
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
    """Return what sorts names as people do: ``level 2`` before ``level 10``."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", name))]


def _values(look: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return what there is to draw of a look, by panel and name."""
    named = {PANELS[0]: {"SNR": look["snr_db"]}, PANELS[1]: look["terms"], PANELS[2]: look.get("gradients") or {}}
    return {(panel, name): value for panel, row in named.items() for name, value in row.items() if value is not None}
