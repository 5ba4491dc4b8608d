"""The one training loop: parameters, an objective, an optimiser, a callback."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddaudio.losses import Objective, StepInfo
from ddaudio.models import Network
from ddaudio.models.batched import estimate_of
from ddaudio.options import TrainingOptions
from ddaudio.training.checkpoints import Snapshot, TrainingLog, restored
from ddaudio.training.ema import Average
from ddaudio.training.first_order import Optimiser, optimiser_of
from ddaudio.training.gauss_newton import GaussNewton
from ddaudio.training.history import (
    Evaluation,
    Progress,
    ProgressCallback,
    Status,
    TrainingRun,
    error_by_time,
    has_converged,
    snr_of,
)
from ddaudio.training.schedules import crop_at, grown, rate_factor, rate_shares, settled_from

DIVERGED = 100.0
"""A training loss this many times the start's is a run that has gone wrong."""
SMALLEST_START = 1e-3
"""A start better than this counts as this: from an exact one every step leads away."""


def train(
    network: Network,
    target: Tensor,
    objective: Objective,
    options: TrainingOptions,
    tell: ProgressCallback,
    log: TrainingLog | None = None,
) -> TrainingRun:
    """Train ``network`` on ``target [B, T]`` and leave it at the best point by the judge.

    The judge looks before the first step, every ``evaluate_every`` steps and after the last. A loss or gradient that is
    not finite never reaches the parameters: the run ends as diverged, at its best point. `KeyboardInterrupt` ends it
    as stopped, likewise. Where the ``log`` knows how the run ended, or where it was, it is not trained again, or goes on.
    """
    return Trainer(network, target, objective, options, tell).run(log or TrainingLog())


class _DivergedError(ArithmeticError):
    """A loss or gradient that must not reach the parameters."""


class _View(NamedTuple):
    """What the loss looks at in a step."""

    objective: Objective
    samples: slice
    """Samples of the signals that it is about."""
    crop: int
    """Crop of the objective that spectral terms look at."""


class Trainer:
    """One run on its way: all that its next step depends on."""

    def __init__(
        self, network: Network, target: Tensor, objective: Objective, options: TrainingOptions, tell: ProgressCallback
    ) -> None:
        self.network, self.target, self.objective, self.options, self.tell = network, target, objective, options, tell
        self.done, self.steps = 0, options.steps or 0
        self.energy = float(target.double().square().sum())
        self.parameters = [parameter for parameter in network.parameters() if parameter.numel()]
        self.best: list[Tensor] = []
        self.average = None if options.ema is None else Average(self.parameters, options.ema)
        self.order = torch.Generator().manual_seed(options.seed)
        self.record = TrainingRun()
        self.within = lru_cache(1)(objective.within)

    def run(self, log: TrainingLog) -> TrainingRun:
        """Train; return what was done."""
        found = log.begin(self.parameters)
        if found.finished is not None:
            self._take_over(found.finished, self.parameters)
            return self.record
        try:
            if found.under_way is None:
                self.look()
            if self.parameters and self.steps and self.energy > 0:
                descend = self._refine if self.options.optimiser == "gauss-newton" else self._descend
                self.record.status = descend(log, found.under_way)
        except KeyboardInterrupt:
            if not self.record.evaluations:
                raise
            self.record.status = "stopped"
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.best, strict=True):
                parameter.copy_(value)
        if self.record.status != "stopped":
            log.end(self._entry)
        return self.record

    def look(self, gradients: Sequence[Tensor] = (), estimate: Tensor | None = None) -> None:
        """Let the judge look at the parameters, whose ``estimate`` may be known, and at their average; keep the best so far."""
        norms = self.network.gradient_norms(gradients) if gradients else {}
        estimate = estimate_of(self.network) if estimate is None else estimate
        seen, kept = self._seen(norms, estimate), list[Tensor](self.parameters)
        if self.average is not None and self.done:
            with self.average.in_place():
                smooth = self._seen(norms, estimate_of(self.network), averaged=True)
            seen, kept = (smooth, self.average.values) if smooth.total < seen.total else (seen, kept)
        self.record.evaluations.append(seen)
        if self.record.best is seen:
            self.best = [value.detach().clone() for value in kept]
        self.tell(Progress("training", self.done, self.steps, seen.total, math.nan if seen.snr_db is None else seen.snr_db))

    def _seen(self, norms: dict[str, float], estimate: Tensor, *, averaged: bool = False) -> Evaluation:
        residual = self.target - estimate
        terms, snr_db = self.objective.evaluate(estimate, self.network.amplitudes), snr_of(residual, self.energy)
        return Evaluation(self.done, terms, snr_db, norms, error_by_time(residual), averaged)

    def _descend(self, log: TrainingLog, under_way: Snapshot | None) -> Status:
        """Take the steps of an optimiser that follows gradients; return how they ended."""
        options = self.options
        shares = rate_shares(self.network, options.parsed_rates, options.rate_tilt)
        if shares is not None:
            shares = [share for share in shares if share.numel()]
        optimiser = optimiser_of(options.optimiser, self.parameters, shares, options.momentum_delay)
        if under_way is not None:
            self._take_over(under_way, self.parameters)
            self.order.set_state(under_way.tensors["order"])
            optimiser.restore(_under("optimiser.", under_way.tensors))
        settled = settled_from(options.schedule, self.steps, options.grow)
        while self.done < self.steps:
            try:
                self._step(optimiser)
            except _DivergedError:
                return "diverged"
            if self.done % options.evaluate_every == 0 or self.done == self.steps:
                self.look([torch.zeros_like(p) if p.grad is None else p.grad for p in self.network.parameters()])
                if has_converged([seen.total for seen in self.record.evaluations if seen.step >= settled], options.tolerance):
                    return "converged"
            log.note(lambda: self._entry({"order": self.order.get_state()}, optimiser))
        return "step limit"

    def _step(self, optimiser: Optimiser) -> None:
        """Take one step; raises `_DivergedError` before anything that is not finite can move a parameter."""
        step, options = self.done, self.options
        if step and self._piece(step) != self._piece(step - 1):
            optimiser.restart()
        view, taught = self._view(step), None
        if self.average is not None and options.teacher:
            with self.average.in_place():
                taught = self.network.estimates()
        terms: dict[str, float] = {}
        rate = options.learning_rate * rate_factor(options.schedule, step, self.steps)
        optimiser.step(lambda: self._evaluate(view, taught, terms), rate)
        self.record.losses.append(terms)
        self.network.project()
        if self.average is not None:
            self.average.update()
        self.done += 1

    def _piece(self, step: int) -> tuple[int, int]:
        return grown(step, self.steps, self.options.grow, self.target.shape[-1], self.options.grow_from)

    def _view(self, step: int) -> _View:
        """Return what a step looks at: the whole, the piece that has grown so far, or a crop of it."""
        first, last = self._piece(step)
        if self.options.crops:
            place = int(torch.randint(last - first, (), generator=self.order))
            begin, end = crop_at(place, last - first, max(1, round(self.options.crop_s * self.network.sample_rate)))
            return _View(self.objective.within(first + begin, first + end), slice(first + begin, first + end), 0)
        whole = (first, last) == (0, self.target.shape[-1])
        objective = self.objective if whole else self.within(first, last)
        return _View(objective, slice(first, last), int(torch.randint(len(objective.crops), (), generator=self.order)))

    def _evaluate(self, view: _View, taught: Sequence[Tensor] | None, terms: dict[str, float]) -> float:
        """Evaluate loss and gradients; note the loss by term."""
        for parameter in self.parameters:
            parameter.grad = None
        estimates = self.network.estimates()
        if view.objective is not self.objective:
            estimates = [estimate[:, view.samples] for estimate in estimates]
        moment = StepInfo(self.done, self.steps, self.options.seed)
        parts = [view.objective(estimate, view.crop, moment) for estimate in estimates]
        if taught is not None:
            for part, estimate, lesson in zip(parts, estimates, taught, strict=True):
                pull = (estimate - lesson[:, view.samples]) * self.objective.scale
                part["teacher"] = self.options.teacher * pull.square().mean()
        values = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
        values |= self.objective.penalise(self.network.amplitudes)
        total = torch.stack(list(values.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        terms.update({name: float(value.detach()) for name, value in values.items()})
        finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in self.parameters)
        if not finite or not sum(terms.values()) <= self._most(terms, len(parts), view.samples):
            raise _DivergedError
        return sum(terms.values())

    def _most(self, terms: Mapping[str, float], n_losses: int, samples: slice) -> float:
        """Return the training loss from which on the run has gone wrong."""
        start = max(self.record.evaluations[0].total, SMALLEST_START)
        if n_losses > 1:  # Losses of layers by themselves begin above that of their sum.
            start = max(start, sum((self.record.losses[0] if self.record.losses else terms).values()))
        # All of the start's error may lie in the stretch that is looked at.
        return float(DIVERGED * start * self.target.shape[-1] / (samples.stop - samples.start))

    def _refine(self, log: TrainingLog, under_way: Snapshot | None) -> Status:
        """Take Gauss-Newton steps; return how they ended."""
        if under_way is not None:
            self._take_over(under_way, self.parameters)
        descent = GaussNewton(self.network, self.target)
        if under_way is not None:
            descent.damping = float(under_way.tensors["damping"])
        # The objective is weight scale^2 / (B T) times the sum of squares, whose gradient is -2 J' r.
        (weight,) = self.objective.terms.values()
        factor = -2 * weight * self.objective.scale**2 / self.target.numel()
        while self.done < self.steps:
            if not descent.step():
                return "converged"
            self.done += 1
            self.look([factor * part for part in descent.slope], descent.estimate)
            self.record.losses.append(self.record.evaluations[-1].terms)
            if has_converged([seen.total for seen in self.record.evaluations], self.options.tolerance):
                return "converged"
            log.note(lambda: self._entry({"damping": torch.tensor(descent.damping, dtype=torch.float64)}))
        return "step limit"

    def _entry(self, more: Mapping[str, Tensor] | None = None, optimiser: Optimiser | None = None) -> Snapshot:
        """Return all that the next step depends on, and what was done so far."""
        rows: dict[str, Sequence[Tensor]] = {
            "parameter": self.parameters,
            "best": self.best,
            "average": self.average.values if self.average else [],
        }
        tensors = {f"{name}.{place}": value for name, row in rows.items() for place, value in enumerate(row)} | dict(more or {})
        if optimiser is not None:
            tensors |= {f"optimiser.{name}": value for name, value in optimiser.state().items()}
        looks = [asdict(look) for look in self.record.evaluations]
        return Snapshot(tensors, {"step": self.done, "status": self.record.status, "looks": looks, "losses": self.record.losses})

    def _take_over(self, entry: Snapshot, parameters: Sequence[Tensor]) -> None:
        """Take over what `_entry` gave."""
        self.best = restored(entry, "best", parameters)
        with torch.no_grad():
            for parameter, value in zip(parameters, restored(entry, "parameter", parameters), strict=True):
                parameter.copy_(value)
        if self.average is not None:
            self.average.values = restored(entry, "average", parameters)
        self.done = entry.facts["step"]
        looks = [_look(facts) for facts in entry.facts["looks"]]
        self.record = TrainingRun(entry.facts["status"], looks, entry.facts["losses"])


def _look(facts: Mapping[str, Any]) -> Evaluation:
    """Return a look that was kept as JSON."""
    return Evaluation(**{**facts, "error_by_time": tuple(facts["error_by_time"])})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return those tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
