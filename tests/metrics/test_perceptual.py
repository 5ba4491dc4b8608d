"""The perceptual score: what it is of what, and what is asked for when its package is missing."""

import sys

import pytest
import torch
from sounds import RATE, noise, pluck

from ddaudio.errors import PluginError
from ddaudio.metrics.perceptual import zimtohrli_mos


@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_a_sound_is_nearest_to_itself(rate: int) -> None:
    target = pluck(0.5, rate).samples
    same, near, far = (
        zimtohrli_mos(estimate, target, rate) for estimate in (target, target + 0.01 * noise(0.5, rate=rate), -target * 0)
    )
    assert same == pytest.approx(5, abs=0.1)  # the scale ends at 5
    assert same > near > far


def test_channels_are_averaged() -> None:
    target = torch.cat([pluck(0.5).samples, noise(0.5)])
    estimate = torch.stack([target[0], target[0]])
    each = [zimtohrli_mos(estimate[channel : channel + 1], target[channel : channel + 1], RATE) for channel in range(2)]
    assert zimtohrli_mos(estimate, target, RATE) == pytest.approx(sum(each) / 2, abs=1e-5)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zimtohrli", None)
    with pytest.raises(PluginError, match=r"zimtohrli.*ddaudio\[quality\]"):
        zimtohrli_mos(noise(0.1), noise(0.1), RATE)
