"""Perceptual scores: what they are of what, their controls, and what is asked for when a package is missing."""

import math
import sys

import pytest
import torch
from sounds import RATE, noise, pluck, tones

from ddaudio.errors import OptionError, PluginError
from ddaudio.fitting.plan import make_plan
from ddaudio.metrics import measure as measuring
from ddaudio.metrics import perceptual
from ddaudio.metrics.measure import measure, request_metrics
from ddaudio.metrics.perceptual import visqol_mos, zimtohrli_mos
from ddaudio.metrics.registry import METRICS, requested
from ddaudio.options import FitOptions

BEST = {zimtohrli_mos: 5.0, visqol_mos: 4.73}
"""Where the scales end."""


@pytest.mark.parametrize("score", BEST)
@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_a_sound_is_nearest_to_itself(rate: int, score: perceptual.Score) -> None:
    target = pluck(1.5, rate).samples
    same, near, far = (score(target + share * noise(1.5, rate=rate), target, rate) for share in (0, 0.1, 3))
    assert same == pytest.approx(BEST[score], abs=0.1)
    assert same > near > far


@pytest.mark.parametrize("score", BEST)
def test_channels_are_averaged(score: perceptual.Score) -> None:
    target = torch.cat([pluck(1.5).samples, noise(1.5)])
    estimate = torch.stack([target[0], target[0]])
    each = [score(estimate[channel : channel + 1], target[channel : channel + 1], RATE) for channel in range(2)]
    assert score(estimate, target, RATE) == pytest.approx(sum(each) / 2, abs=1e-5)


@pytest.mark.parametrize("score", BEST)
def test_what_is_too_short_has_no_score(score: perceptual.Score) -> None:
    """Zimtohrli 0.2 would write beyond its memory, ViSQOL raise an error."""
    assert math.isnan(score(noise(0.05), noise(0.05), RATE))
    assert math.isnan(visqol_mos(torch.zeros(1, 2 * RATE), noise(2.0), RATE))


@pytest.mark.parametrize(("score", "package"), [(zimtohrli_mos, "zimtohrli"), (visqol_mos, "visqol")])
def test_a_missing_package_is_named(score: perceptual.Score, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    perceptual._visqol.cache_clear()
    with pytest.raises(PluginError, match=rf"{package}.*ddaudio\[quality\]"):
        score(noise(0.5), noise(0.5), RATE)


def test_scores_come_with_their_controls_and_only_when_asked_for() -> None:
    target = torch.cat([pluck(1.0).samples, noise(1.0) / 10])
    estimate = target + noise(1.0, 2, seed=1) / 30
    plain, scored = measure(estimate, target, RATE), measure(estimate, target, RATE, quality="zimtohrli")
    names = ["zimtohrli", "zimtohrli_silence", "zimtohrli_white"]
    assert [*plain, *names] == list(scored)
    assert request_metrics(estimate, target, RATE, "zimtohrli") == {name: scored[name] for name in names}
    score, silence, white = (scored[name].value for name in names)
    assert score == zimtohrli_mos(estimate, target, RATE)
    assert silence == zimtohrli_mos(torch.zeros_like(target), target, RATE)
    level = target.square().mean(1, keepdim=True).sqrt()
    other = zimtohrli_mos(10 * level * noise(1.0, 2, seed=2), target, RATE)  # another white noise of the same level
    assert white == pytest.approx(other, abs=0.2)
    assert score is not None
    assert score > max(silence, white) + 0.5


def test_a_long_recording_is_scored_in_equal_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their mean: the first half is exact, the second wrong."""
    target = tones([440.0], [0.5], [0.0], 2.0)
    estimate = target.clone()
    estimate[:, RATE:] = noise(1.0)
    monkeypatch.setattr(perceptual, "LONGEST_SCORED_S", 1.9)
    halves = [zimtohrli_mos(estimate[:, part], target[:, part], RATE) for part in (slice(0, RATE), slice(RATE, 2 * RATE))]
    found = request_metrics(estimate, target, RATE, "zimtohrli")["zimtohrli"]
    assert found.value == pytest.approx(sum(halves) / 2)
    assert halves[0] > halves[1] + 1


@pytest.mark.parametrize(
    ("samples", "reason"),
    [(torch.zeros(1, RATE), "digital silence"), (torch.ones(1, 1), "as short"), (noise(0.1, 2), "as short")],
)
def test_what_has_no_score_has_a_reason(samples: torch.Tensor, reason: str) -> None:
    for metric in request_metrics(samples, samples, RATE, "zimtohrli,visqol").values():
        assert metric.value is None
        assert reason in str(metric.reason)


def test_requests_are_checked_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert requested(None) == ()
    assert requested("visqol, zimtohrli,visqol") == ("visqol", "zimtohrli")
    for wrong in ("", "zimtohrly", "snr_db", "zimtohrli_silence"):
        with pytest.raises(OptionError, match="allowed: zimtohrli, visqol"):
            make_plan(pluck(), FitOptions().with_settings({"quality": wrong}))
    with pytest.raises(OptionError, match="quality is 3; allowed: text"):
        FitOptions().with_settings({"quality": 3})
    monkeypatch.setattr("ddaudio.metrics.registry.find_spec", lambda _: None)
    with pytest.raises(PluginError, match=r"visqol needs the package 'visqol'; pip install 'ddaudio\[quality\]'"):
        make_plan(pluck(), FitOptions().with_settings({"quality": "visqol"}))


def test_controls_are_rows_of_their_own() -> None:
    """So that reports and tables have them without knowing of them."""
    for name in ("zimtohrli", "visqol"):
        rows = [spec for spec in METRICS.values() if spec.request == name]
        assert [spec.better for spec in rows] == ["higher", "control", "control"]
        assert len({spec.path for spec in rows}) == 1
    assert measuring.METRICS is METRICS
