"""Competition of the networks of a sum for one budget: shares by what each network is worth.

The loudest second is fitted with trial shares, beginning with the default ones. The best move of a quarter of the budget from
one network to another is taken as long as it improves the result, then moves of an eighth. What counts is the ERB distance of
everything for a model with noise, and otherwise the SNR. A network that ends with less than an eighth is left out.
"""

import math
from dataclasses import replace
from itertools import permutations

from ddaudio.analysis.loudest import loudest
from ddaudio.errors import OptionError
from ddaudio.fitting.detrending import plan_detrended
from ddaudio.fitting.stagewise import fit_stagewise
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Total
from ddaudio.metrics.erb_distance import erb_distance
from ddaudio.options import MIN_PARAMETERS, FitOptions
from ddaudio.training.history import Progress, ProgressCallback, snr_of

EXCERPT_S = 1.0
"""Length of the stretch that is fitted on trial, in seconds."""
UNIT = 8
"""Shares are whole numbers of such parts of the budget."""
MOVES = 2, 1
"""Sizes of moves, in these parts."""
LEAST_GAIN_DB = 0.05
"""Smallest improvement that is worth a move."""

Split = tuple[int, ...]
"""Parts of each network; they add up to `UNIT`."""


def compete(recording: Recording, options: FitOptions, tell: ProgressCallback) -> FitOptions:
    """Return the options with the shares that won, and without the networks that have none.

    Args:
        recording: the recording that is to be fitted.
        options: settings with `compete` and a budget; without `compete` they are returned as they are.
        tell: progress callback; one step is one trial.

    Raises `OptionError` if the budget is too small for the excerpt even with the default shares.
    """
    if not options.model.compete:
        return options
    trials = _Trials(recording, options, tell)
    best = _default_split(options)
    if trials.worth(best) == -math.inf:
        plan_detrended(trials.excerpt, trials.options(best))  # which raises the error that names the reason
    for size in MOVES:
        while (better := max(_moved(best, size), key=trials.worth, default=best)) != best:
            if trials.worth(better) < trials.worth(best) + LEAST_GAIN_DB:
                break
            best = better
    return chosen(options, best, options.model.budget)


def chosen(options: FitOptions, split: Split, budget: int | None) -> FitOptions:
    """Return the options of a sum of the networks that have a part of the budget."""
    parts = {name: part for name, part in zip(options.model.terms, split, strict=True) if part}
    shares = ",".join(map(str, parts.values())) if len(parts) > 1 else None
    model = replace(options.model, model="+".join(parts), compete=False, budget_split=shares, budget=budget)
    return replace(options, model=model)


def _default_split(options: FitOptions) -> Split:
    """Return the default shares in parts; each network has one at least."""
    shares = options.model.parsed_budget_split
    parts = [max(1, round(share * UNIT)) for share in shares]
    parts[0] += UNIT - sum(parts)
    return tuple(parts)


def _moved(split: Split, size: int) -> list[Split]:
    """Return what moves of some parts from one network to another make."""
    found = []
    for giver, taker in permutations(range(len(split)), 2):
        if split[giver] >= size:
            moved = list(split)
            moved[giver] -= size
            moved[taker] += size
            found.append(tuple(moved))
    return found


class _Trials:
    """Trial fits of an excerpt, each made once."""

    def __init__(self, recording: Recording, options: FitOptions, tell: ProgressCallback) -> None:
        first, length = loudest(recording, max(1, round(EXCERPT_S * recording.sample_rate)))
        self.excerpt = Recording(recording.samples[:, first : first + length], recording.sample_rate, recording.source)
        budget = (options.model.budget or 0) * length / recording.n_samples
        self._options, self._tell = options, tell
        self._budget = max(math.ceil(budget), MIN_PARAMETERS * UNIT)
        self._has_noise = options.model.noise_term is not None
        self._found: dict[Split, float] = {}

    def options(self, split: Split) -> FitOptions:
        """Return the options of a trial."""
        return chosen(self._options, split, self._budget)

    def worth(self, split: Split) -> float:
        """Return how good the fit with a split is: the larger the better; -inf where its budget is too small."""
        if split not in self._found:
            self._tell(Progress("trying shares", len(self._found), 0, math.nan, math.nan))
            try:
                self._found[split] = self._fit(self.options(split))
            except OptionError:
                self._found[split] = -math.inf
        return self._found[split]

    def _fit(self, options: FitOptions) -> float:
        _, target, plan = plan_detrended(self.excerpt, options)
        fitted = fit_stagewise(target, plan, lambda _: None)
        if self._has_noise:
            everything = fitted.waves if fitted.noise is None else Total([fitted.waves, fitted.noise])
            distance_db = erb_distance(everything, target.samples, target.sample_rate).distance_db
            return -math.inf if math.isnan(distance_db) else -distance_db
        found = snr_of(target.samples[:, :] - fitted.waves[:, :], target.energy)
        return math.inf if found is None else found
