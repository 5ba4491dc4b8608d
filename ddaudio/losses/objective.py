"""The objective of training, and its fixed form for evaluations."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.losses.base import StepInfo
from ddaudio.losses.curvature import Curvature, Differences, Part, Total
from ddaudio.losses.penalties import penalise
from ddaudio.losses.registry import make_loss

QUIETEST_LEVEL = 1e-12
"""Lower bound of the target's level used for scaling, so that float32 does not overflow."""
LONGEST_CROPS_S = 12.0
"""Largest total length of the crops on which spectral terms are evaluated, in samples."""


def _side_by_side(n_samples: int, count: int) -> list[tuple[int, int]]:
    """Return start and end of ``count`` adjacent crops of about equal length."""
    return list(pairwise(round(index * n_samples / count) for index in range(count + 1)))


class Expansion(NamedTuple):
    """An objective near an estimate."""

    terms: dict[str, float]
    """Its terms for evaluation, by name of the loss."""
    gradient: Tensor
    """Gradient of their sum by the estimate, ``[B, T]``."""
    curvature: Curvature
    """Curvature of their sum; see `ddaudio.losses.curvature`."""


class Objective:
    """Weighted sum of named terms for one target.

    Signals are divided by the target's level (root mean square over all signals of the recording), so that weights have the
    same meaning for quiet and loud recordings; ``mse`` is then the noise-to-signal ratio. Training uses all crops; the target's
    spectra on the crops for evaluation are computed once.

    Args:
        terms: weight of each loss, by name.
        target: recorded signals, ``[B, T]``.
        crop_samples: length of the crops for spectral terms; crops are adjacent.
        most_crops: largest number of crops for evaluation, spread evenly over the recording.
        sample_rate: samples per second; needed only by ``mel``.
        penalties: weight of each penalty, by name.

    """

    def __init__(
        self,
        terms: Mapping[str, float],
        target: Tensor,
        crop_samples: int,
        most_crops: int,
        sample_rate: int | None = None,
        penalties: Mapping[str, float] | None = None,
    ) -> None:
        level = float(target.double().square().mean().sqrt())
        self.scale = 1 / max(level, QUIETEST_LEVEL) if level > 0 else 1.0
        self.terms, self.penalties = dict(terms), dict(penalties or {})
        self.losses = {name: make_loss(name, sample_rate) for name in terms}
        self.target = target * self.scale
        n_samples = target.shape[-1]
        count = max(1, round(n_samples / crop_samples))
        looked_at = min(count, most_crops)
        self.crops = _side_by_side(n_samples, count)
        self.evaluated = [round(index * (count - 1) / max(1, looked_at - 1)) for index in range(looked_at)]
        self._prepared: dict[tuple[str, int], Sequence[Tensor]] = {}

    def __call__(self, estimate: Tensor, crop: int | None = None, moment: StepInfo | None = None) -> dict[str, Tensor]:
        """Return the weighted mean of each loss over signals; spectral ones on one crop, or on the crops for evaluation.

        With ``moment``, varying lags are those of that step; without, those for evaluation.
        """
        estimate = estimate * self.scale
        values = {}
        for name, weight in self.terms.items():
            if self.losses[name].on_crops:
                chosen = self.evaluated if crop is None else [crop]
                value = torch.stack([self._on_crop(name, estimate, index, moment) for index in chosen]).mean()
            else:
                value = self.losses[name](estimate, self.target, moment).mean()
            values[name] = weight * value
        return values

    def penalise(self, amplitudes: Callable[[], Tensor]) -> dict[str, Tensor]:
        """Return the weighted penalties on amplitudes ``[P]`` in full scale; ``amplitudes`` is called only if needed."""
        if not self.penalties:
            return {}
        found = amplitudes()
        return {name: weight * penalise(name, found, 1 / self.scale) for name, weight in self.penalties.items()}

    def within(self, first: int, last: int) -> "Objective":
        """Return the objective restricted to samples ``first`` to ``last``, at the same scale; it evaluates all crops."""
        part = copy(self)
        part.target = self.target[:, first:last]
        part.crops = _side_by_side(last - first, max(1, round(len(self.crops) * (last - first) / self.target.shape[-1])))
        part.evaluated, part._prepared = list(range(len(part.crops))), {}
        return part

    @torch.no_grad()
    def evaluate(self, estimate: Tensor, amplitudes: Callable[[], Tensor] | None = None) -> dict[str, float]:
        """Return the terms for evaluation, on fixed crops and lags independent of those used in training.

        Penalties are included if the network's amplitudes are given.
        """
        terms = self(estimate) | ({} if amplitudes is None else self.penalise(amplitudes))
        return {name: float(value) for name, value in terms.items()}

    def expand(self, estimate: Tensor) -> Expansion:
        """Return terms for evaluation, gradient and curvature at an estimate ``[B, T]``, without penalties.

        Raises `NotImplementedError` if a loss has no curvature.
        """
        leaf = (estimate * self.scale).detach().requires_grad_()
        n_signals, n_samples = estimate.shape
        terms, parts = dict.fromkeys(self.terms, 0.0), []
        for name, weight in self.terms.items():
            loss = self.losses[name]
            crops = [(index, *self.crops[index]) for index in self.evaluated] if loss.on_crops else [(-1, 0, n_samples)]
            for index, first, last in crops:
                prepared = self._target(name, index) if loss.on_crops else loss.prepare(self.target)
                with torch.enable_grad():
                    values, curvature = loss.expand(leaf[:, first:last], prepared)
                    value = values.mean() * (weight / len(crops))
                    value.backward()  # type: ignore[no-untyped-call]
                terms[name] += float(value.detach())
                parts.append(Part(weight / len(crops) / n_signals * self.scale**2, curvature, first, last))
        gradient = torch.zeros_like(estimate) if leaf.grad is None else leaf.grad * self.scale
        return Expansion(terms, gradient, Total(parts, n_samples))

    def _on_crop(self, name: str, estimate: Tensor, index: int, moment: StepInfo | None) -> Tensor:
        loss, (first, last) = self.losses[name], self.crops[index]
        return loss.distance(estimate[:, first:last], self._target(name, index), moment).mean()

    def _target(self, name: str, index: int) -> Sequence[Tensor]:
        """Return the target of a loss on a crop; prepared once for the crops for evaluation."""
        loss, (first, last) = self.losses[name], self.crops[index]
        prepared = self._prepared.get((name, index))
        if prepared is None:
            prepared = loss.prepare(self.target[:, first:last])
            if index in self.evaluated:
                self._prepared[name, index] = prepared
        return prepared


def weighting_of(terms: Mapping[str, float], n_samples: int, sample_rate: int | None = None) -> Differences | None:
    """Return the curvature of those losses of a weighted sum that are quadratic forms of the error, the same at all times.

    Scaled to a mean response of 1; None if it is the identity, as for ``mse``, or if there is no such loss.
    """
    weights: dict[int, float | Tensor] = {}
    for name, factor in terms.items():
        own = make_loss(name, sample_rate).filter(n_samples)
        for lag, weight in (own.weights if own else {}).items():
            weights[lag] = weights.get(lag, 0.0) + factor * weight
    total = Differences(weights)
    return total.scaled(1 / total.mean_response()) if any(weights) else None
