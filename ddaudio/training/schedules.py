"""Schedules: the learning rate and the part of the signal in the loss, as pure functions of the step."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ddaudio.errors import OptionError
from ddaudio.models import Network
from ddaudio.options import GrowFromName, ScheduleName, TrainingOptions, count_batches

LATE_FLOOR = 0.1
"""Share of the rate in the schedule ``rise`` before it rises."""
MOST_TILT = 10.0
"""Largest factor by which a tilt increases or decreases a rate."""
SILENT_SHARE = 1e-4
"""Amplitudes below this share of the largest count as that, for rates by amplitude."""


def rate_factor(schedule: ScheduleName, step: int, steps: int, rise_at: float = 0.5) -> float:
    """Return the share of the learning rate, 0 to 1, at ``step`` of ``steps``.

    With ``u = step / steps``: ``cosine`` is ``(1 + cos(pi u)) / 2``; ``warm-up`` that times ``(step + 1) / (steps / 10)`` over
    the first tenth; ``rise`` is 0.1 up to the share ``rise_at = s``, and then, with
    ``v = ((step + 1) / steps - s) / (1 - s)``, ``0.1 + 0.9 (1 - cos(pi v)) / 2``, which is 1 at the last step.
    """
    if schedule == "constant":
        return 1.0
    if schedule == "rise":
        late = max(0.0, ((step + 1) / steps - rise_at) / (1 - rise_at))
        return LATE_FLOOR + (1 - LATE_FLOOR) * 0.5 * (1 - math.cos(math.pi * late))
    ramp = min(1.0, (step + 1) / max(1, steps // 10)) if schedule == "warm-up" else 1.0
    return ramp * 0.5 * (1 + math.cos(math.pi * step / steps))


def grown(step: int, steps: int, doublings: int, n_samples: int, start: GrowFromName = "middle") -> tuple[int, int]:
    """Return first sample and end of the piece that is trained on at ``step`` of ``steps``.

    The piece doubles ``doublings`` times, after equal shares of the steps, until it is the whole signal: in share ``k``, 0 to
    ``doublings``, it has ``ceil(n_samples / 2^(doublings - k))`` samples. It is in the middle of the signal, or at its start.
    With fewer steps than shares it doubles less often, so that the last step covers the whole.
    """
    doublings = min(doublings, max(0, steps - 1))
    share = step * (doublings + 1) // max(1, steps)
    length = -(-n_samples // (1 << (doublings - share)))
    first = 0 if start == "start" else (n_samples - length) // 2
    return first, first + length


def settled_from(schedule: ScheduleName, steps: int, doublings: int, rise_at: float = 0.5) -> int:
    """Return the first step at which a constant loss may end a run: the piece no longer grows, and the rate has risen."""
    doublings = min(doublings, max(0, steps - 1))
    whole = math.ceil(doublings * steps / (doublings + 1))
    return max(whole, int(rise_at * steps) if schedule == "rise" else 0)


def crop_at(place: int, n_samples: int, length: int) -> tuple[int, int]:
    """Return first sample and end of a crop around the sample ``place``, 0 to ``n_samples - 1``, moved inside the signal."""
    length = min(length, n_samples)
    first = min(max(0, place - length // 2), n_samples - length)
    return first, first + length


def batch_at(step: int, n_samples: int, length: int, options: TrainingOptions) -> tuple[int, int]:
    """Return first sample and end of the batch of a step: of the adjacent crops of about ``length`` samples, in their order.

    Each is trained on for ``batch_steps`` consecutive steps. Every epoch has all of them once, if shuffled in an order that
    depends on the seed and the epoch alone.
    """
    count = count_batches(n_samples, length)
    epoch, place = divmod(step // options.batch_steps, count)
    if options.batch_order == "shuffled":
        generator = torch.Generator().manual_seed((options.seed << 20) + epoch)
        place = int(torch.randperm(count, generator=generator)[place])
    return round(place * n_samples / count), round((place + 1) * n_samples / count)


def rate_shares(network: Network, rates: Mapping[str, float], tilt: float, amplitude_tilt: float = 0.0) -> list[Tensor] | None:
    """Return the factor of the rate for each value of each of ``parameters()``; None for 1 everywhere.

    A rate in ``rates`` applies to every layer of `Network.layers` that has its name as one of its parts: ``amplitude`` for
    ``1 double-dutch: amplitude, level 2``, and so has ``level 2``. With a ``tilt`` it is multiplied by
    ``(f / m)^tilt``, with ``f`` the frequency of the wave that the value belongs to and ``m`` the geometric mean of all; by no
    more than `MOST_TILT` and no less than its inverse. ``amplitude_tilt`` is the same for the amplitude of the wave.
    """
    if not rates and not tilt and not amplitude_tilt:
        return None
    parameters = list(network.parameters())
    counts = [parameter.numel() for parameter in parameters]
    places = [part.reshape(p.shape) for part, p in zip(torch.split(torch.arange(sum(counts)), counts), parameters, strict=True)]
    shares = torch.ones(sum(counts))
    for layer, parts in network.layers(places).items():
        names = {piece for group in layer.split(": ") for piece in group.split(", ")}
        for name in names & set(rates):
            shares[torch.cat([part.reshape(-1) for part in parts])] *= rates[name]
    if tilt:
        shares *= _tilted("rate_tilt", network.frequencies(), tilt, math.pi / 1e5)
    if amplitude_tilt:
        amplitudes = network.amplitudes_of_values()
        loudest = max((float(one.max()) for one in amplitudes if one.numel()), default=0.0)
        shares *= _tilted("amplitude_tilt", amplitudes, amplitude_tilt, SILENT_SHARE * loudest or 1.0)
    return [part.reshape(p.shape).to(p) for part, p in zip(torch.split(shares, counts), parameters, strict=True)]


def _tilted(setting: str, values: Sequence[Tensor], tilt: float, least: float) -> Tensor:
    """Return the factor of each value, ``[P]``, by the frequency or the amplitude of its wave, at least ``least``."""
    if not values:
        problem = f"but parameters of this network have no {'frequency' if setting == 'rate_tilt' else 'amplitude'}"
        raise OptionError(problem, setting=setting, value=tilt, hint=f"use {{{setting}=0}}")
    logs = torch.cat([one.reshape(-1) for one in values]).double().clamp(min=least).log()
    return ((logs - logs.mean()) * tilt).exp().clamp(1 / MOST_TILT, MOST_TILT).float() if logs.numel() else logs.float()
