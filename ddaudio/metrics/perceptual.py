"""Perceptual scores, by packages of the extra ``quality``, each with its controls: the scores of silence and of white noise.

A score says something only beside those of its controls: both packages rate silence or noise up to 4 for some recordings.
"""

import logging
import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ddaudio.errors import PluginError
from ddaudio.io.samples import on_cpu
from ddaudio.metrics.registry import LONGEST_SCORED_S
from ddaudio.metrics.signals import SILENT, Metric, SignalPair

RATE = 48_000
"""Sample rate that both packages take."""
SHORTEST_S = 0.2
"""Shortest sound that Zimtohrli is given: its version 0.2 writes beyond its memory for less than 0.08 s."""
NO_SCORE = "the package has no score for sounds as short or as quiet as this"

Score = Callable[[Tensor, Tensor, int], float]
"""Score of an estimate ``[C, T]`` against a target of the same shape at a sample rate; NaN if there is none."""


def zimtohrli_mos(estimate: Tensor, target: Tensor, sample_rate: int) -> float:
    """Return the mean opinion score that Zimtohrli predicts, 1 (bad) to 5 (transparent), mean over channels.

    Zimtohrli (Google, 2024, github.com/google/zimtohrli) compares auditory spectrograms. The score of silence is 1.3 to 2.9,
    depending on the target: compare any score with those of controls.

    Args:
        estimate: ``[C, T]``, full scale 1.0; clipped beyond.
        target: of the same shape.
        sample_rate: samples per second; resampled to 48 kHz.

    Returns:
        The score; NaN for less than 0.2 s.

    Raises `PluginError` if the package ``zimtohrli`` is missing.
    """
    package = _imported("zimtohrli")
    if target.shape[1] < SHORTEST_S * sample_rate:
        return math.nan
    scorer = package.Pyohrli()
    scores = [
        float(package.mos_from_zimtohrli(scorer.distance(wanted.clamp(-1, 1).numpy(), given.clamp(-1, 1).numpy())))
        for given, wanted in _channels(estimate, target, sample_rate)
    ]
    return float(torch.tensor(scores).mean())


def visqol_mos(estimate: Tensor, target: Tensor, sample_rate: int) -> float:
    """Return the mean opinion score that ViSQOL predicts for audio, 1 (bad) to 4.73 (identical), mean over channels.

    ViSQOL (Chinen et al., 2020, "ViSQOL v3: An open source production ready objective speech and audio metric", in the port
    ``visqol-python``) compares patches of gammatone spectrograms after aligning them in time and level: it does not hear a
    wrong level, and white noise scores up to 4. It has no score for less than about a second, nor for silence.

    Args:
        estimate: ``[C, T]``.
        target: of the same shape.
        sample_rate: samples per second; resampled to 48 kHz.

    Returns:
        The mean over the channels that have a score; NaN if none has.

    Raises `PluginError` if the package ``visqol`` is missing.
    """
    scorer = _visqol()
    scores = []
    for given, wanted in _channels(estimate, target, sample_rate):
        if bool(given.any()) and bool(wanted.any()):
            try:
                scores.append(float(scorer.measure_from_arrays(wanted.double().numpy(), given.double().numpy(), RATE).moslqo))
            except ValueError:  # too short for a single patch
                continue
    known = [score for score in scores if math.isfinite(score)]
    return sum(known) / len(known) if known else math.nan


def zimtohrli_metrics(pair: SignalPair) -> dict[str, Metric]:
    """Return Zimtohrli's score of the estimate and of its controls, by name."""
    return _with_controls("zimtohrli", zimtohrli_mos, pair)


def visqol_metrics(pair: SignalPair) -> dict[str, Metric]:
    """Return ViSQOL's score of the estimate and of its controls, by name."""
    return _with_controls("visqol", visqol_mos, pair)


def _with_controls(name: str, score: Score, pair: SignalPair) -> dict[str, Metric]:
    """Return the score of the estimate, of silence, and of white noise with the level of each channel of the target."""
    level = (pair.sums.signal / pair.target.shape[1]).sqrt().float()[:, None]
    estimates: dict[str, Callable[[slice], Tensor]] = {
        name: lambda part: on_cpu(pair.estimate[:, part]),
        f"{name}_silence": lambda part: torch.zeros(len(level), part.stop - part.start),
        f"{name}_white": partial(_white, level),
    }
    return {key: _mean_score(score, estimate, pair) for key, estimate in estimates.items()}


def _white(level: Tensor, part: slice) -> Tensor:
    """Return white noise of an RMS ``level [C, 1]``, seeded by the place of its first sample."""
    generator = torch.Generator().manual_seed(part.start)
    return level * torch.randn(len(level), part.stop - part.start, generator=generator)


def _mean_score(score: Score, estimate: Callable[[slice], Tensor], pair: SignalPair) -> Metric:
    """Return the mean score over the pieces of a recording that have one."""
    if not pair.sums.peak:
        return Metric(None, SILENT)
    pieces = list(_pieces(pair.target.shape[1], pair.sample_rate))
    scores = [score(estimate(part), on_cpu(pair.target[:, part]), pair.sample_rate) for part in pieces]
    known = [one for one in scores if math.isfinite(one)]
    return Metric(sum(known) / len(known), None) if known else Metric(None, NO_SCORE)


def _pieces(n_samples: int, sample_rate: int) -> Iterator[slice]:
    """Yield pieces of equal length, up to `LONGEST_SCORED_S`."""
    count = math.ceil(n_samples / (LONGEST_SCORED_S * sample_rate))
    edges = [round(place * n_samples / count) for place in range(count + 1)]
    yield from map(slice, edges[:-1], edges[1:])


def _channels(estimate: Tensor, target: Tensor, sample_rate: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each channel of both at 48 kHz, ``[T]`` float32."""
    from torchaudio.functional import resample  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import

    for pair in zip(estimate, target, strict=True):
        given, wanted = (resample(one.float(), sample_rate, RATE) if sample_rate != RATE else one.float() for one in pair)
        yield given.contiguous(), wanted.contiguous()


def _imported(package: str) -> Any:
    try:
        return import_module(package)
    except ImportError as error:
        raise PluginError(f"{package} cannot be imported: {error}", hint="pip install 'ddaudio[quality]'") from None


@cache
def _visqol() -> Any:
    scorer = _imported("visqol").VisqolApi()
    scorer.create(mode="audio")
    logging.getLogger("visqol").setLevel(logging.ERROR)  # it warns about patches at the end of a sound
    return scorer
