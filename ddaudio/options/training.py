"""Settings of training."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_choice, check_range, check_whole
from ddaudio.options.losses import parse_penalties, parse_terms

OptimiserName = Literal["gauss-newton", "adam", "sgd", "lbfgs"]
ScheduleName = Literal["cosine", "constant", "warm-up"]


@dataclass(frozen=True)
class TrainingOptions:
    """How the network is trained."""

    losses: str = "mse=1"
    """Named losses with weights, as in mse=1,pdl=0.5, of mse, mae, huber, pdl, slope, first-difference, mss, mel, delta-time,
    delta-frequency, phase, axis, auraloss; variants come after colons, as in pdl:far-to-near or mss:ddsp, see docs/losses.md."""
    penalties: str | None = None
    """Named penalties on parameters with weights, of zero, as in zero=0.01 (default: none)."""
    optimiser: OptimiserName | None = None
    """Who moves the parameters (default: gauss-newton for mse alone, which it needs; adam otherwise)."""
    steps: int | None = None
    """Steps of the optimiser, 0 to 1000000 (default: 6 for gauss-newton, 80 otherwise)."""
    exchanges: int | None = None
    """Times that the weakest parts are exchanged for better ones, 0 to 100, each followed by half the steps (default: 2; 8 for
    double-dutch, whose parts are cheap to find)."""
    together: bool = True
    """Train the networks of a sum together at the end, in recordings that are fitted as a whole (up to 24 s of mono)."""
    learning_rate: float = 0.02
    """Largest step of the optimiser, in units of the parameters' scales, 1e-8 to 10; gauss-newton has none."""
    schedule: ScheduleName = "warm-up"
    """The learning rate over the steps: falling to zero, level, or rising over a tenth of them and then falling."""
    judge_every: int = 10
    """Steps between two looks of the judge, 1 to 100000; with gauss-newton it looks at each."""
    tolerance: float = 0.01
    """Stop when the judge's last four looks differ by no more than this share, 0 to 1."""
    crop_s: float = 0.75
    """Spectral losses are trained on crops of this length, 0.05 to 60 s."""
    seed: int = 0
    """Seed of everything random, 0 to 2147483647."""

    def __post_init__(self) -> None:
        parse_terms(self.losses)
        parse_penalties(self.penalties)
        if self.optimiser is not None:
            check_choice(self, "optimiser", get_args(OptimiserName))
        if self.optimiser == "gauss-newton" and not self.least_squares:
            given = f"losses is {self.losses!r}" + (f" and penalties is {self.penalties!r}" if self.penalties else "")
            raise OptionError(f"optimiser is 'gauss-newton', which fits mse alone; {given}: use adam")
        check_choice(self, "schedule", get_args(ScheduleName))
        check_whole(self, "steps", 0, 10**6)
        check_whole(self, "exchanges", 0, 100)
        check_range(self, "learning_rate", 1e-8, 10)
        check_whole(self, "judge_every", 1, 10**5)
        check_range(self, "tolerance", 0, 1)
        check_range(self, "crop_s", 0.05, 60, "s")
        check_whole(self, "seed", 0, 2**31 - 1)

    @property
    def least_squares(self) -> bool:
        """Whether mse is the only loss, and there is no penalty."""
        return list(parse_terms(self.losses)) == ["mse"] and self.penalties is None

    def resolved(self, exchanges: int | None = None) -> "TrainingOptions":
        """Return these options with optimiser, steps and, if given, ``exchanges`` filled in."""
        optimiser = self.optimiser or ("gauss-newton" if self.least_squares else "adam")
        steps = self.steps if self.steps is not None else 6 if optimiser == "gauss-newton" else 80
        return replace(self, optimiser=optimiser, steps=steps, exchanges=exchanges if self.exchanges is None else self.exchanges)
