"""Figure of a wave above the Nyquist frequency, its samples, and the alias that has the same samples."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ddaudio.comparing.landscape_figure import CURVE, SMALL_PT, TEXT_PT, TRUTH
from ddaudio.errors import OptionError
from ddaudio.io.checks import check_rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_RATES = 8
"""Largest frequency, in sample rates."""
FEWEST, MOST = 8, 40
"""Range of the number of sample periods drawn."""
POINTS = 24
"""Points of a curve per period of the wave."""


def alias_hz(hz: float, sample_rate: int) -> float:
    """Return the frequency from 0 to Nyquist whose cosine has the same samples.

    >>> alias_hz(7000.0, 8000)
    1000.0
    """
    return abs(hz - sample_rate * round(hz / sample_rate))


def aliasing_figure(hz: float, sample_rate: int) -> "Figure":
    """Plot ``cos(2 pi hz t)``, its samples, and its alias, over about two periods of the alias (8 to 40 samples).

    Raises `OptionError` if the frequency is not above Nyquist, or above 8 sample rates.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    check_rate(sample_rate)
    nyquist_hz = sample_rate / 2
    if not nyquist_hz < hz <= MOST_RATES * sample_rate:
        allowed = f"above {nyquist_hz:g} Hz, half the sample rate, up to {MOST_RATES * sample_rate} Hz"
        raise OptionError(setting="tone", value=hz, allowed=allowed)
    alias = alias_hz(hz, sample_rate)
    periods = min(max(math.ceil(2 * sample_rate / alias), FEWEST), MOST) if alias else FEWEST
    end_s = periods / sample_rate
    time_s = np.linspace(0, end_s, math.ceil(POINTS * hz * end_s) + 1)
    samples_s = np.arange(periods + 1) / sample_rate
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    axis = figure.subplots()
    for one, colour, name in ((hz, CURVE, "wave"), (alias, TRUTH, "alias")):
        style = {"linewidth": 1.6, "linestyle": "--"} if name == "alias" else {"linewidth": 0.9}
        axis.plot(1000 * time_s, np.cos(2 * np.pi * one * time_s), color=colour, label=f"{name}: {one:.6g} Hz", **style)
    axis.plot(1000 * samples_s, np.cos(2 * np.pi * hz * samples_s), "o", color="black", markersize=4, label="samples")
    axis.set(xlim=(0, 1000 * end_s), ylim=(-1.1, 1.1))
    axis.set_xlabel("time (ms)", fontsize=TEXT_PT)
    axis.set_ylabel("amplitude", fontsize=TEXT_PT)
    axis.set_title(f"{sample_rate} samples a second: Nyquist is {nyquist_hz:g} Hz", fontsize=TEXT_PT, loc="right")
    axis.tick_params(labelsize=SMALL_PT, width=0.6, length=2.5)
    axis.legend(fontsize=SMALL_PT, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return figure
