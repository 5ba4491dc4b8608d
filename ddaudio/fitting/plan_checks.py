"""Checks of the options of a fit, before any work."""

import re

from ddaudio.errors import OptionError, nearest
from ddaudio.io.audio import Recording
from ddaudio.losses import make_loss
from ddaudio.metrics.registry import METRICS, requested
from ddaudio.models import network_class
from ddaudio.options import MAX_WHOLE_S, NETWORKS, FitOptions, parse_terms


def check_options(options: FitOptions, recording: Recording) -> None:
    """Raise `OptionError` for options in conflict with each other or the recording, and `PluginError` for broken packages."""
    METRICS.check()
    requested(options.output.quality)
    for name in options.model.terms:
        network_class(name)
        options.network(name).check_sample_rate(recording.sample_rate)
    for name in parse_terms(options.training.losses):
        make_loss(name, recording.sample_rate)
    _check_rates(options)
    if options.grid.whole and recording.duration_s > MAX_WHOLE_S:
        raise OptionError(
            f"but the recording lasts {recording.duration_s:.1f} s",
            setting="whole",
            value=True,
            allowed=f"recordings of up to {MAX_WHOLE_S:g} s",
            hint="give {frame_s} in place of {whole=True}",
        )


def _check_rates(options: FitOptions) -> None:
    """Raise `OptionError` for factors of the learning rate of parameters that no network has."""
    without = [name for name in options.model.wave_terms if not NETWORKS[name].has_frequencies]
    for setting, what in (("rate_tilt", "frequency"), ("amplitude_tilt", "amplitude")):
        if (tilt := getattr(options.training, setting)) and without:
            problem = f"but parameters of {without[0]} have no {what}"
            raise OptionError(problem, setting=setting, value=tilt, hint=f"use {{{setting}=0}}")
    names = [options.network(name).fitted_as or name for name in options.model.wave_terms]
    kinds = {kind for name in names for kind in NETWORKS[name].kinds}
    numbered = {own for name in names if (own := NETWORKS[name].numbered) is not None}
    for name in options.training.parsed_rates:
        number = re.fullmatch(r"(\w+) (\d+)", name)
        if name not in kinds and not (
            number and any(number[1] == word and 1 <= int(number[2]) <= most for word, most in numbered)
        ):
            known = [*kinds, *(f"{word} 1 to {most}" for word, most in numbered)]
            problem, hint = f"but {options.model.model} has no such parameters", nearest(name, known)
            raise OptionError(problem, setting="rates", value=name, verb="names", hint=hint)
