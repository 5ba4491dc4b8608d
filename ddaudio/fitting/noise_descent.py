"""Gradient descent on the levels of the noise, alone or with the waves, on the power that is to be expected of both."""

import math

import torch
from torch import Tensor

from ddaudio.models import Network
from ddaudio.models.noise.expected_loss import expected_loss
from ddaudio.models.noise.network import NoiseNetwork
from ddaudio.options import TrainingOptions
from ddaudio.options.noise import NoiseOptions
from ddaudio.training.history import Evaluation, Progress, ProgressCallback, TrainingRun, snr_of
from ddaudio.training.schedules import rate_factor

HEIGHT_RATE_DB = 0.1
"""Learning rate of the heights of the noise."""
WAVES_RATE = 0.15
"""Learning rate of the waves, relative to that of their own training: they are near their optimum."""


class NoiseDescent:
    """Descent from the fitted waves and noise, by Adam; both end at the evaluation with the lowest total.

    Args:
        target: the recording, ``[C, T]``.
        waves: their estimate, ``[C, T]``.
        noise: the noise layer, which is changed.
        network: the network of the waves, which is changed too; None to train the noise alone.
        options: loss and number of steps.
        training: learning rate, schedule and interval of evaluations.

    """

    def __init__(
        self,
        target: Tensor,
        waves: Tensor,
        noise: NoiseNetwork,
        network: Network | None,
        options: NoiseOptions,
        training: TrainingOptions,
    ) -> None:
        self.target, self.waves, self.noise, self.network = target, waves, noise, network
        self._options, self._training = options, training
        self._loss = expected_loss(options.noise_loss, target, noise)
        self._energy = float(target.double().square().sum())
        groups = [{"params": [noise.heights_db], "own": HEIGHT_RATE_DB}]
        if network is not None:
            groups.append({"params": list(network.parameters()), "own": WAVES_RATE * training.rate})
        self._parameters: list[Tensor] = [parameter for group in groups for parameter in group["params"]]  # type: ignore[attr-defined]
        self._adam = torch.optim.Adam([group | {"lr": 0.0} for group in groups])
        self._best: list[Tensor] = []
        self.run = TrainingRun()

    def descend(self, tell: ProgressCallback) -> TrainingRun:
        """Descend, and return the record; `KeyboardInterrupt` after the first evaluation ends with the best so far."""
        steps = self._options.noise_steps
        terms = self._terms()
        self._evaluate(0, terms, tell)
        try:
            for done in range(1, steps + 1):
                self._step(terms, done - 1)
                terms = self._terms()
                if done == steps or done % self._training.evaluate_every == 0:
                    self._evaluate(done, terms, tell)
            self.run.status = "step limit"
        except KeyboardInterrupt:
            self.run.status = "stopped"
        with torch.no_grad():
            for parameter, value in zip(self._parameters, self._best, strict=True):
                parameter.copy_(value)
        return self.run

    def _terms(self) -> dict[str, Tensor]:
        """Return the terms of the loss at the current parameters."""
        if self.network is None:
            return {self._options.noise_loss: self._loss(self.waves, self.noise)}
        self.waves = self.network.estimate()
        mse = (self.target - self.waves).square().sum() / max(self._energy, 1e-30)
        return {self._options.noise_loss: self._loss(self.waves, self.noise), "mse": mse}

    def _evaluate(self, done: int, terms: dict[str, Tensor], tell: ProgressCallback) -> None:
        """Record an evaluation, keep the parameters if it is the best, and report the progress."""
        snr_db = snr_of(self.target - self.waves.detach(), self._energy)
        seen = Evaluation(done, _values(terms), snr_db)
        self.run.evaluations.append(seen)
        if self.run.best is seen:
            self._best = [parameter.detach().clone() for parameter in self._parameters]
        steps = self._options.noise_steps
        tell(Progress("descending with noise", done, steps, seen.total, math.nan if snr_db is None else snr_db))

    def _step(self, terms: dict[str, Tensor], done: int) -> None:
        factor = rate_factor(self._training.schedule, done, self._options.noise_steps)
        for group in self._adam.param_groups:
            group["lr"] = group["own"] * factor
        self._adam.zero_grad()
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        self.run.losses.append(_values(terms))
        self._adam.step()
        if self.network is not None:
            self.network.project()


def _values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}
