"""One training run: its state and its record."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ddaudio.losses import Objective, StepInfo
from ddaudio.models import Network
from ddaudio.models.batched import estimates
from ddaudio.options import TrainingOptions
from ddaudio.training.checkpoint_files import Snapshot
from ddaudio.training.checkpoints import TrainingLog, restored
from ddaudio.training.ema import Average
from ddaudio.training.first_order import optimiser_of
from ddaudio.training.gauss_newton import GaussNewton
from ddaudio.training.history import (
    Evaluation,
    Progress,
    ProgressCallback,
    Status,
    TrainingRun,
    amplitude_quantiles,
    error_by_time,
    has_converged,
    snr_of,
)
from ddaudio.training.optimiser import Closure, Optimiser
from ddaudio.training.schedules import batch_at, crop_at, grown, rate_factor, rate_shares, settled_from

DIVERGED = 100.0
"""Ratio of the training loss to the initial one that is taken as divergence."""
SMALLEST_START = 1e-3
"""Lower bound of the initial loss in that ratio: from an exact start every step increases the loss."""


class TrainingTask(NamedTuple):
    """A network to be trained."""

    network: Network
    target: Tensor
    """Recorded signals, ``[B, T]``."""
    objective: Objective
    tell: ProgressCallback
    log: TrainingLog | None = None
    """Checkpoint from which the run is resumed or its result is loaded."""
    lesson: Tensor | None = None
    """Signals of a teacher, ``[B, T]``, in place of those of the moving average."""


class _View(NamedTuple):
    """The part of the signals in the loss of one step."""

    objective: Objective
    samples: slice
    """Samples of the signals."""
    crop: int
    """Crop of the objective, for spectral terms."""


class Run:
    """State of one training run."""

    optimiser: Optimiser

    def __init__(self, task: TrainingTask, options: TrainingOptions) -> None:
        self.network, self.target, self.objective, self.tell, log, self.lesson = task
        self.options, self.log = options, log or TrainingLog()
        self.done, self.steps = 0, options.steps or 0
        self.energy = float(self.target.double().square().sum())
        self.parameters = list(self.network.parameters())
        self.estimate: Tensor | None = None
        """Signals of the current parameters, if known."""
        self.terms: dict[str, float] = {}
        """Training loss of the last step by term; empty where the optimiser does not evaluate it."""
        self.best: list[Tensor] = []
        self.average = None if options.ema is None else Average(self.parameters, options.ema)
        self.order = torch.Generator().manual_seed(options.seed)
        self.record = TrainingRun()
        self.within = lru_cache(1)(self.objective.within)
        settled = settled_from(options.schedule, self.steps, options.grow, options.rise_at)
        settled = max(settled, self.steps - self.steps // self.network.n_phases) if self.network.n_phases > 1 else settled
        self.settled = self.steps if self.network.is_far else settled
        self._found = self.log.begin(self.parameters)
        if self._found.finished is not None:
            self._restore(self._found.finished)

    @property
    def is_new(self) -> bool:
        """Whether the log contains nothing of this run."""
        return self._found.finished is None and self._found.under_way is None

    def start(self) -> bool:
        """Prepare the first step; return whether there is one."""
        trainable = self.steps and self.energy > 0 and any(parameter.numel() for parameter in self.parameters)
        if self._found.finished is not None or not trainable:
            return False
        self.optimiser = self._optimiser()
        if self._found.under_way is not None:
            self._restore(self._found.under_way)
            self.order.set_state(self._found.under_way.tensors["order"])
            self.optimiser.restore(_under("optimiser.", self._found.under_way.tensors))
        return not self._at_limit()

    def _optimiser(self) -> Optimiser:
        options = self.options
        if options.optimiser == "gauss-newton":
            if not options.least_squares:
                known = self.record.evaluations[-1].terms if self.estimate is not None else None
                return GaussNewton(self.network, self.target, self.estimate, objective=self.objective, terms=known)
            (weight,) = self.objective.terms.values()
            factor = weight * self.objective.scale**2 / self.target.numel()
            return GaussNewton(self.network, self.target, self.estimate, factor)
        shares = rate_shares(self.network, options.parsed_rates, options.rate_tilt, options.amplitude_tilt)
        return optimiser_of(options.optimiser, self.parameters, shares, options.momentum_delay, options.momentum_from)

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return self.options.rate * rate_factor(self.options.schedule, self.done, self.steps, self.options.rise_at)

    def closure(self) -> Closure:
        """Prepare a gradient step; return the closure that evaluates its loss."""
        step, taught = self.done, None
        if step and (self._piece(step), self._phase(step)) != (self._piece(step - 1), self._phase(step - 1)):
            self.optimiser.restart()
        view = self._view(step)
        if self.lesson is not None:
            taught = [self.lesson]
        elif self.average is not None and self.options.teacher:
            with self.average.in_place():
                taught = self.network.estimates()
        return lambda: self._evaluate_loss(view, taught)

    def stepped(self, end: Status | None) -> bool:
        """Record a step, or the end of training; return whether it was a step."""
        if end is not None:
            self.record.status = end
            return False
        self.estimate = self.optimiser.estimate
        if self.terms:
            self.record.losses.append(self.terms)
        if self.estimate is None:
            self.network.project()
        if self.average is not None:
            (self.average.update if self.done >= self.options.ema_from else self.average.reset)()
        self.done += 1
        return True

    @property
    def is_due(self) -> bool:
        """Whether the network is evaluated after this step; always where the optimiser has computed its estimate."""
        return self.optimiser.estimate is not None or self.done % self.options.evaluate_every == 0 or self.done == self.steps

    def goes_on(self) -> bool:
        """Return whether another step follows; if not, record the reason."""
        if self.is_due:
            if not self.terms:
                self.record.losses.append(self.record.evaluations[-1].terms)
            totals = [seen.total for seen in self.record.evaluations if seen.step >= self.settled]
            if has_converged(totals, self.options.tolerance):
                self.record.status = "converged"
                return False
        self.log.note(lambda: self._snapshot(resumable=True))
        return not self._at_limit()

    def _at_limit(self) -> bool:
        if self.done == self.steps:
            self.record.status = "step limit"
        return self.done == self.steps

    def finish(self) -> None:
        """Set the network to its best point, and log the run unless it was stopped."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, self.best, strict=True):
                parameter.copy_(value)
        if self._found.finished is None and self.record.status != "stopped":
            self.log.end(self._snapshot)

    def evaluate(self, estimate: Tensor) -> None:
        """Evaluate the parameters, whose signals are ``estimate [B, T]``, and their average; keep the best so far."""
        self.estimate = estimate
        seen, kept = self._seen(estimate), list[Tensor](self.parameters)
        if self.average is not None and self.done > self.options.ema_from:
            with self.average.in_place():
                smooth = replace(self._seen(estimates([self.network])[0]), averaged=True)
            seen, kept = (smooth, self.average.values) if smooth.total < seen.total else (seen, kept)
        seen = self._with_gradients(seen) if self.done else seen
        self.record.evaluations.append(seen)
        if self.record.best is seen:
            self.best = [value.detach().clone() for value in kept]
        self.tell(Progress("training", self.done, self.steps, seen.total, math.nan if seen.snr_db is None else seen.snr_db))

    def _seen(self, estimate: Tensor) -> Evaluation:
        residual, amplitudes = self.target - estimate, amplitude_quantiles(self.network.amplitudes())
        snr_db, errors = snr_of(residual, self.energy), error_by_time(residual)
        return Evaluation(self.done, self._terms(estimate), snr_db, amplitudes=amplitudes, error_by_time=errors)

    def _with_gradients(self, seen: Evaluation) -> Evaluation:
        """Return an evaluation with the norms of the last step's gradients, as trained and in the units of files."""
        network, gradients = self.network, self.optimiser.gradients()
        natural = network.gradient_norms(network.natural_gradients(gradients))
        return replace(seen, gradients=network.gradient_norms(gradients), natural_gradients=natural)

    def _terms(self, estimate: Tensor) -> dict[str, float]:
        """Return the losses by which the network is judged: those of its signals, or the sums of those of its layers."""
        if self.done and estimate is self.optimiser.estimate and self.optimiser.terms:  # Gauss-Newton has computed them.
            return dict(self.optimiser.terms)
        if not self.network.has_local_losses:
            return self.objective.evaluate(estimate, self.network.amplitudes)
        with torch.no_grad():
            each = [self.objective.evaluate(layer) for layer in self.network.estimates()]
        sums = {name: sum(terms[name] for terms in each) for name in each[0]}
        whole = self.objective.evaluate(estimate, self.network.amplitudes)
        return {name: sums.get(name, value) for name, value in whole.items()}

    def _phase(self, step: int) -> int:
        """Return the share of the steps that a step is in, from 1 to the network's `n_phases`."""
        return 1 + step * self.network.n_phases // self.steps

    def _trained(self, every: Sequence[Tensor]) -> list[Tensor]:
        """Return those of the network's `estimates` that have a loss at this step."""
        return list(every) if self.network.n_phases == 1 else list(every[: self._phase(self.done)])

    def _piece(self, step: int) -> tuple[int, int]:
        return grown(step, self.steps, self.options.grow, self.target.shape[-1], self.options.grow_from)

    def _view(self, step: int) -> _View:
        """Return the part of the signals in the loss of a step: the whole, the current piece, or a crop of it."""
        first, last = self._piece(step)
        if self.options.crops:
            length = self.options.crop_samples(self.network.sample_rate)
            if self.options.batch_order == "random":
                begin, end = crop_at(int(torch.randint(last - first, (), generator=self.order)), last - first, length)
            else:
                begin, end = batch_at(step, last - first, length, self.options)
            return _View(self.objective.within(first + begin, first + end), slice(first + begin, first + end), 0)
        whole = (first, last) == (0, self.target.shape[-1])
        objective = self.objective if whole else self.within(first, last)
        return _View(objective, slice(first, last), int(torch.randint(len(objective.crops), (), generator=self.order)))

    def _evaluate_loss(self, view: _View, taught: Sequence[Tensor] | None) -> bool:
        """Evaluate loss and gradients; return whether they are finite, and the loss has not diverged."""
        for parameter in self.parameters:
            parameter.grad = None
        estimates = self._trained(self.network.estimates())
        if view.objective is not self.objective:
            estimates = [estimate[:, view.samples] for estimate in estimates]
        moment = StepInfo(self.done, self.steps, self.options.seed)
        parts = [view.objective(estimate, view.crop, moment) for estimate in estimates]
        if taught is not None:
            # One teacher teaches all layers that have a loss each.
            lessons = self._trained(taught) if len(taught) > 1 else list(taught) * len(parts)
            for part, estimate, lesson in zip(parts, estimates, lessons, strict=True):
                pull = (estimate - lesson[:, view.samples]) * self.objective.scale
                part["teacher"] = self.options.teacher * pull.square().mean()
        values = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
        values |= self.objective.penalise(self.network.amplitudes)
        total = torch.stack(list(values.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.terms = {name: float(value.detach()) for name, value in values.items()}
        finite = all(p.grad is None or bool(p.grad.isfinite().all()) for p in self.parameters)
        # A teacher may be far from the recording.
        own = sum(value for name, value in self.terms.items() if name != "teacher")
        return finite and own <= self._most(view.samples)

    def _most(self, samples: slice) -> float:
        """Return the training loss above which the run has diverged."""
        start = max(self.record.evaluations[0].total, SMALLEST_START)
        # All of the initial error may be in this interval.
        return float(DIVERGED * start * self.target.shape[-1] / (samples.stop - samples.start))

    def _snapshot(self, *, resumable: bool = False) -> Snapshot:
        """Return the parameters and the history so far; if ``resumable``, all that the next step depends on."""
        rows: dict[str, Sequence[Tensor]] = {
            "parameter": self.parameters,
            "best": self.best,
            "average": self.average.values if self.average else [],
        }
        tensors = {f"{name}.{place}": value for name, row in rows.items() for place, value in enumerate(row)}
        if resumable:
            tensors |= {"order": self.order.get_state()}
            tensors |= {f"optimiser.{name}": value for name, value in self.optimiser.state().items()}
        looks = [asdict(look) for look in self.record.evaluations]
        return Snapshot(tensors, {"step": self.done, "status": self.record.status, "looks": looks, "losses": self.record.losses})

    def _restore(self, entry: Snapshot) -> None:
        """Set parameters and history to those of a snapshot."""
        self.best = restored(entry, "best", self.parameters)
        with torch.no_grad():
            for parameter, value in zip(self.parameters, restored(entry, "parameter", self.parameters), strict=True):
                parameter.copy_(value)
        if self.average is not None:
            self.average.values = restored(entry, "average", self.parameters)
        self.done = entry.facts["step"]
        looks = [_evaluation(facts) for facts in entry.facts["looks"]]
        self.record = TrainingRun(entry.facts["status"], looks, entry.facts["losses"])


def _evaluation(facts: Mapping[str, Any]) -> Evaluation:
    """Return an evaluation from JSON."""
    return Evaluation(**{**facts, **{name: tuple(facts[name]) for name in ("amplitudes", "error_by_time")}})


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
