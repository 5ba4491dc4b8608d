"""Settings of training."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_choice, check_one_of, check_range, check_switch, check_text, check_whole
from ddaudio.options.loss_specs import LOSSES
from ddaudio.options.losses import has_curvature, parse_loss, parse_penalties, parse_terms

MOST_STEPS = 10**6
LEARNING_RATE = 0.02
"""Default learning rate."""
RATES = "each kind of parameter once, with its factor, as in frequency=0.5,amplitude=2"
"""Allowed values of the setting ``rates``, for errors."""
OptimiserName = Literal["gauss-newton", "adam", "sgd", "lbfgs"]
ScheduleName = Literal["cosine", "constant", "warm-up", "rise"]
FIRST_ORDER = ("rates", "rate_tilt", "amplitude_tilt", "momentum_delay", "momentum_from", "crops")
"""Settings that need an optimiser of first order."""
BatchOrderName = Literal["random", "in-order", "shuffled"]
GrowFromName = Literal["middle", "start"]


@dataclass(frozen=True)
class TrainingOptions:
    """Losses, optimiser and schedule."""

    losses: str = "mse=1"
    """Named losses with weights, as in mse=1,pdl=0.5, of {losses}; variants follow a colon, as in pdl:far-to-near or mss:ddsp,
    see docs/losses.md."""
    penalties: str | None = None
    """Named penalties on parameters with weights, of {penalties}, as in zero=0.01 (default: none)."""
    optimiser: OptimiserName | None = None
    """Optimiser (default: gauss-newton for losses that have a curvature, without penalties; adam otherwise)."""
    steps: int | None = None
    """Steps of the optimiser, 0 to 1000000 (default: 6 for gauss-newton, 80 otherwise)."""
    exchanges: int | None = None
    """How often the weakest components are replaced by better ones, 0 to 100, each time followed by half the steps (default: 2;
    8 for double-dutch; 1 for waves with noise that have neither a target SNR nor a budget)."""
    together: bool = True
    """Train the networks of a sum jointly at the end, for recordings that are fitted in one block (up to 24 s of mono)."""
    learning_rate: float | None = None
    """Learning rate, in units of the parameters' scales, 1e-8 to 10 (default: 0.02); gauss-newton has none."""
    schedule: ScheduleName = "warm-up"
    """Learning rate over the steps: falling to zero (cosine), constant, rising over the first tenth and then falling (warm-up),
    or low for the first half and then rising (rise)."""
    rise_at: float = 0.5
    """Share of the steps after which the learning rate of the schedule rise begins to rise, 0 to 0.99."""
    rates: str | None = None
    """Factors of the learning rate for each kind of parameter, 0 to 1000, as in frequency=0.5,amplitude=2 (default: 1)."""
    rate_tilt: float = 0.0
    """Exponent of the learning rate over frequency, -2 to 2: below 0 low frequencies learn fastest, above 0 high frequencies."""
    amplitude_tilt: float = 0.0
    """Exponent of the learning rate over the initial amplitude of a wave, -2 to 2: above 0 the largest waves learn fastest."""
    momentum_delay: int = 0
    """Delay of a gradient before it enters the momentum, 0 to 1000 steps."""
    momentum_from: int = 0
    """Steps of each training run before momentum begins, 0 to 1000000."""
    grow: int = 0
    """Train on a short excerpt first, which doubles this often until it is the whole recording, 0 to 16."""
    grow_from: GrowFromName = "middle"
    """Position of the growing excerpt: in the middle of the signal, or at its start."""
    crops: bool = False
    """Train all losses on one random contiguous crop in each step, of length `crop_s`, instead of on the whole signal."""
    batch_order: BatchOrderName = "random"
    """Order of the crops: each at random; or adjacent crops that cover the signal, from its start (in-order) or in an order that
    each epoch draws anew (shuffled)."""
    batch_steps: int = 1
    """Consecutive steps on each of the adjacent crops, 1 to 1000000."""
    epochs: int | None = None
    """Epochs, in place of `steps`: passes over all adjacent crops, 1 to 1000000 (default: none)."""
    ema: float | None = None
    """Decay of an exponential moving average of the parameters, 0.5 to 0.99999; the better of both is kept (default: none)."""
    ema_from: int = 0
    """Steps of each training run before the moving average begins, 0 to 1000000; until then it is the parameters themselves."""
    teacher: float = 0.0
    """Weight of a loss that pulls the estimate towards that of the moving average, 0 to 1000; needs `ema` or `teacher_model`."""
    teacher_model: str | None = None
    """A trained model of the same recording, as teacher in place of the moving average: the folder of a fit, or its
    model.safetensors (default: none)."""
    evaluate_every: int = 10
    """Steps between two evaluations, 1 to 100000; gauss-newton evaluates after each step."""
    tolerance: float = 0.01
    """Stop when the last four evaluations differ by no more than this share, 0 to 1."""
    crop_s: float = 0.75
    """Length of the crops that spectral losses are trained on, 0.05 to 60 s; with `crops` that of all losses."""
    seed: int = 0
    """Seed of the random numbers, 0 to 2147483647."""

    def __post_init__(self) -> None:
        parse_terms(self.losses)
        parse_penalties(self.penalties)
        if self.optimiser is not None:
            check_choice(self, "optimiser", get_args(OptimiserName))
        if self.optimiser == "gauss-newton" and not self.has_curvature:
            others = {"losses": self.losses} | ({"penalties": self.penalties} if self.penalties else {})
            flat = next((name for name in parse_terms(self.losses) if not has_curvature(name)), "a penalty")
            problem, hint = f"but {flat} has no curvature, which gauss-newton needs", "use {optimiser=adam}"
            raise OptionError(problem, setting="optimiser", value=self.optimiser, others=others, hint=hint)
        check_choice(self, "schedule", get_args(ScheduleName))
        _check_descent(self)
        check_whole(self, "steps", 0, MOST_STEPS)
        check_whole(self, "exchanges", 0, 100)
        check_range(self, "learning_rate", 1e-8, 10)
        check_whole(self, "evaluate_every", 1, 10**5)
        check_range(self, "tolerance", 0, 1)
        check_range(self, "crop_s", 0.05, 60, "s")
        check_whole(self, "seed", 0, 2**31 - 1)

    @property
    def parsed_rates(self) -> dict[str, float]:
        """The factors of the learning rate, by kind of parameter."""
        return {} if self.rates is None else parse_rates(self.rates)

    @property
    def rate(self) -> float:
        """The learning rate, given or default."""
        return LEARNING_RATE if self.learning_rate is None else self.learning_rate

    @property
    def least_squares(self) -> bool:
        """Whether the mean squared error is the only loss, and there is no penalty."""
        terms = [LOSSES[parse_loss(name).kind] for name in parse_terms(self.losses)]
        return len(terms) == 1 and terms[0].is_least_squares and self.penalties is None

    @property
    def has_curvature(self) -> bool:
        """Whether all losses have a curvature, and there is no penalty."""
        return self.penalties is None and all(map(has_curvature, parse_terms(self.losses)))

    def with_epochs(self, n_samples: int, sample_rate: int) -> "TrainingOptions":
        """Return these options with the steps that their epochs take, in place of these, for signals of ``n_samples``."""
        if self.epochs is None:
            return self
        steps = self.epochs * count_batches(n_samples, self.crop_samples(sample_rate)) * self.batch_steps
        if steps > MOST_STEPS:
            problem = f"which makes {steps} steps for this recording"
            raise OptionError(problem, setting="epochs", value=self.epochs, allowed=f"up to {MOST_STEPS} steps")
        return replace(self, epochs=None, steps=steps)

    def crop_samples(self, sample_rate: int) -> int:
        """Return the length of a crop in samples, at least 1."""
        return max(1, round(self.crop_s * sample_rate))

    def resolved(
        self, exchanges: int | None = None, *, second_order: bool = True, first_order_steps: int = 80
    ) -> "TrainingOptions":
        """Return these options with optimiser, steps and, if given, ``exchanges`` filled in.

        Gauss-Newton is the default only for networks that are ``second_order``.
        """
        optimiser = self.optimiser or ("gauss-newton" if self.has_curvature and second_order else "adam")
        steps = self.steps if self.steps is not None else 6 if optimiser == "gauss-newton" else first_order_steps
        exchanges = exchanges if self.exchanges is None else self.exchanges
        rate = self.learning_rate if optimiser == "gauss-newton" else self.rate
        return replace(self, optimiser=optimiser, steps=steps, exchanges=exchanges, learning_rate=rate)


def count_batches(n_samples: int, length: int) -> int:
    """Return the number of adjacent crops of about ``length`` samples, at least 1."""
    return max(1, round(n_samples / length))


def _check_descent(options: TrainingOptions) -> None:
    """Raise `OptionError` for settings that the optimiser does not have: gauss-newton has no rate, lbfgs no momentum."""
    check_choice(options, "grow_from", get_args(GrowFromName))
    check_range(options, "rate_tilt", -2, 2)
    check_range(options, "amplitude_tilt", -2, 2)
    check_range(options, "rise_at", 0, 0.99)
    check_whole(options, "momentum_from", 0, MOST_STEPS)
    check_whole(options, "ema_from", 0, MOST_STEPS)
    check_range(options, "ema", 0.5, 0.99999)
    check_range(options, "teacher", 0, 1000)
    check_whole(options, "momentum_delay", 0, 1000)
    check_whole(options, "grow", 0, 16)
    if options.rates is not None:
        parse_rates(options.rates)
    check_switch(options, "crops")
    _check_batches(options)
    check_text(options, "teacher_model")
    if options.teacher_model is not None and not options.teacher:
        problem, hint = "but it has no weight", "give {teacher} as well, as in {teacher=0.1}"
        raise OptionError(problem, setting="teacher_model", value=options.teacher_model, hint=hint)
    if options.teacher and options.ema is None and options.teacher_model is None:
        problem, hint = "but there is no average to learn from", "give {ema} as well, as in {ema=0.99}"
        raise OptionError(problem, setting="teacher", value=options.teacher, hint=hint)
    if options.ema_from and options.ema is None:
        problem, hint = "but there is no average", "give {ema} as well, as in {ema=0.99}"
        raise OptionError(problem, setting="ema_from", value=options.ema_from, hint=hint)
    if options.rise_at != TrainingOptions.rise_at and options.schedule != "rise":
        others: dict[str, object] = {"schedule": options.schedule}
        raise OptionError(setting="rise_at", value=options.rise_at, others=others, hint="use {schedule=rise}")
    if options.optimiser == "gauss-newton":
        check_rateless(options)
    asked = next((name for name, value in _first_order(options).items() if value), None)
    if options.optimiser == "lbfgs" and asked is not None:
        raise OptionError(
            "which estimates curvature from the same loss at each step, for all parameters at once",
            setting=asked,
            value=getattr(options, asked),
            others={"optimiser": options.optimiser},
            hint="use {optimiser=adam}",
        )


def _check_batches(options: TrainingOptions) -> None:
    """Raise `OptionError` for batches that are out of range, or that are not adjacent crops."""
    check_choice(options, "batch_order", get_args(BatchOrderName))
    check_whole(options, "batch_steps", 1, MOST_STEPS)
    check_whole(options, "epochs", 1, MOST_STEPS)
    if options.batch_order != "random" and not options.crops:
        problem = "but there are no batches"
        raise OptionError(problem, setting="batch_order", value=options.batch_order, hint="give {crops=True} as well")
    for name in ("batch_steps", "epochs"):
        if getattr(options, name) != getattr(TrainingOptions, name) and options.batch_order == "random":
            others: dict[str, object] = {"batch_order": options.batch_order}
            hint = "use {crops=True} and {batch_order=in-order}, or shuffled"
            raise OptionError(setting=name, value=getattr(options, name), others=others, hint=hint)
    check_one_of(options, "steps", "epochs")


def _first_order(options: TrainingOptions) -> dict[str, object]:
    """Return the settings that need a first-order optimiser; crops because curvature must be that of a constant loss."""
    return {name: getattr(options, name) for name in FIRST_ORDER}


def check_rateless(options: TrainingOptions, default: str = "", *, rate: bool = False) -> None:
    """Raise `OptionError` for settings not used by Gauss-Newton; ``default`` explains why it is the optimiser.

    The learning rate is one of them if ``rate`` is true: in some fits a part of the model is trained by another optimiser.
    """
    by_rate = {"grow": options.grow, "ema": options.ema, "teacher": options.teacher, "schedule": options.schedule == "rise"}
    by_rate["learning_rate"] = options.learning_rate if rate else None
    asked = next((name for name, value in (_first_order(options) | by_rate).items() if value), None)
    if asked is not None:
        raise OptionError(
            f"{default}which solves for its steps and has neither rate nor momentum",
            setting=asked,
            value=getattr(options, asked),
            others={"optimiser": "gauss-newton"},
            hint="use {optimiser=adam}",
        )


def parse_rates(text: str) -> dict[str, float]:
    """Parse factors of the learning rate such as ``frequency=0.5,amplitude=2``.

    Raises `OptionError` for a name without a factor, a repeated name, or a factor outside 0 to 1000.
    """
    rates: dict[str, float] = {}
    for part in str(text).split(","):
        name, _, number = (piece.strip() for piece in part.partition("="))
        try:
            rate = float(number)
        except ValueError:
            raise OptionError(setting="rates", value=text, allowed=RATES) from None
        if not name or name in rates:
            raise OptionError(setting="rates", value=text, allowed=RATES)
        if not 0 <= rate <= 1000:
            raise OptionError(f"with the factor {rate:g} for {name}", setting="rates", value=text, allowed="factors of 0 to 1000")
        rates[name] = rate
    return rates
