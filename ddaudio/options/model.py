"""Settings of the model."""

import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

from ddaudio.errors import OptionError
from ddaudio.options.checks import check_choice, check_one_of, check_range, check_switch, check_text, check_whole, parse_row
from ddaudio.options.networks import NETWORKS

InitialisationName = Literal["peaks", "random", "equal"]
EstimatorName = Literal["annihilating-filter", "optimal-transport"]
StartingPoint = InitialisationName | EstimatorName
MIN_PARAMETERS, MIN_PARAMETERS_PER_SAMPLE, MAX_PARAMETERS_PER_SAMPLE = 4, 0.0001, 4
TARGET_SNR_DB, PARAMETERS_PER_SAMPLE = 25.0, 0.25
"""Default target of waves alone, and default limit on their size."""
WAVES_PER_SAMPLE = 0.02
"""Default size of the waves of a model with noise: the knee of the perceptual scores over parameters, see ``docs/ear.md``."""
HIGHEST_SNR_DB = 40.0
"""SNR at which waves without a target SNR end."""
NOISE_SHARE = 0.25
"""Default share of noise in a budget."""


@dataclass(frozen=True)
class ModelOptions:
    """Network, size and initialisation."""

    model: str = "sine+noise"
    """Network, or a sum such as sine+double-dutch, in which each network fits the residual of those before it."""
    budget_split: str | None = None
    """Shares of the budget, or of the target SNR in dB, of the networks of a sum, as in 3,1 (default: equal; a quarter of a
    budget for noise)."""
    compete: bool = False
    """Choose the shares of a budget by what each network of a sum is worth in trial fits of the loudest second; a network that is
    worth nothing is left out."""
    target_snr_db: float | None = None
    """SNR of the waves to reach with as few parameters as possible, -10 to 140 dB (default: 25 dB; with noise 40 dB, as far as
    the limit on the size allows)."""
    max_parameters_per_sample: float | None = None
    """Limit on the size of the waves of a model that aims at an SNR, 0.0001 to 4 parameters per sample (default: 0.25; with
    noise and no target SNR 0.02)."""
    budget: int | None = None
    """Size of the model in parameters, instead of a target SNR, 4 or more."""
    partials: int | None = None
    """Number of partials in every frame, instead of a target SNR, 1 to 10000."""
    initialisation: InitialisationName = "peaks"
    """Initial frequencies: spectral peaks, random, or equally spaced."""
    estimator: EstimatorName | None = None
    """Estimate the frequencies of each frame by gradient descent from random ones, in place of `initialisation`; for 16 partials
    a frame or less."""
    from_model: str | None = None
    """A trained model as the start, in place of `initialisation`: the folder of a fit of this recording, of its beginning or of
    another one, or its model.safetensors (default: none)."""

    def __post_init__(self) -> None:
        for name in self.terms:
            NETWORKS.look_up(name, "model")
        if self.budget_split is not None and (
            len(self.terms) == 1 or len(parse_row("budget_split", self.budget_split)) != len(self.terms)
        ):
            raise OptionError(
                setting="budget_split",
                value=self.budget_split,
                others={"model": self.model},
                allowed="one share for each network of a sum",
            )
        if self.budget_split is not None and not all(0 < share < math.inf for share in self._split_row):
            raise OptionError(setting="budget_split", value=self.budget_split, allowed="finite shares above 0")
        check_range(self, "target_snr_db", -10, 140, "dB")
        check_range(self, "max_parameters_per_sample", MIN_PARAMETERS_PER_SAMPLE, MAX_PARAMETERS_PER_SAMPLE)
        check_whole(self, "budget", MIN_PARAMETERS)
        check_whole(self, "partials", 1, 10000)
        check_choice(self, "initialisation", get_args(InitialisationName))
        self._check_estimator()
        self._check_noise()
        if self.partials is not None and (len(self.wave_terms) != 1 or not NETWORKS[self.wave_terms[0]].takes_partials):
            hint = "give {budget} or {target_snr_db} in place of {partials}"
            raise OptionError(setting="partials", value=self.partials, others={"model": self.model}, hint=hint)
        smallest = min(share for share in self.parsed_budget_split if share)
        if self.budget is not None and len(self.terms) > 1 and self.budget * smallest < MIN_PARAMETERS:
            least = math.ceil(MIN_PARAMETERS / smallest)
            problem = f"too few for {len(self.terms)} networks of {MIN_PARAMETERS} or more each"
            raise OptionError(problem, setting="budget", value=self.budget, allowed=f"{least} or more")
        check_one_of(self, "budget", "partials")
        self._check_competition()
        self._check_from_model()

    def _check_from_model(self) -> None:
        """Refuse what determines the initial components in another way, and what a starting model may not fit into."""
        check_text(self, "from_model")
        if self.from_model is None:
            return
        check_one_of(self, "from_model", "estimator")
        check_one_of(self, "from_model", "partials")
        for name in ("initialisation", "compete"):
            if getattr(self, name) != getattr(ModelOptions, name):
                others = {name: getattr(self, name)}
                raise OptionError(setting="from_model", value=self.from_model, others=others, hint="give only one of the two")
        if not self.wave_terms:
            problem = "but noise is fitted in closed form"
            raise OptionError(problem, setting="from_model", value=self.from_model, others={"model": self.model})

    def _check_competition(self) -> None:
        """Refuse a competition with nothing to share, or with the shares given."""
        check_switch(self, "compete")
        if not self.compete:
            return
        if len(self.terms) == 1:
            hint = "name a sum, as in {model=sine+double-dutch+noise}"
            raise OptionError(setting="compete", value=True, others={"model": self.model}, hint=hint)
        if self.budget is None:
            problem = "but there is no budget to compete for"
            raise OptionError(problem, setting="compete", value=True, hint="give {budget} as well, as in {budget=2000}")
        if self.budget_split is not None:
            check_one_of(self, "compete", "budget_split")

    def _check_noise(self) -> None:
        """Refuse a sum in which noise is not the last network."""
        for name in self.terms[:-1]:
            if NETWORKS[name].is_noise:
                others = "+".join([*(other for other in self.terms if other != name), name])
                problem = f"but {name} models the residual of the networks before it"
                raise OptionError(problem, setting="model", value=self.model, hint=f"use {{model={others}}}")

    def _check_estimator(self) -> None:
        if self.estimator is None:
            return
        check_choice(self, "estimator", get_args(EstimatorName))
        if len(self.wave_terms) != 1 or not NETWORKS[self.wave_terms[0]].takes_estimator:
            having = " or ".join(f"{{model={name}}}" for name, spec in NETWORKS.items() if spec.takes_estimator)
            hint = f"use {having}, or leave {{estimator}} out"
            raise OptionError(setting="estimator", value=self.estimator, others={"model": self.model}, hint=hint)
        if self.initialisation != "peaks":
            check_one_of(self, "estimator", "initialisation")

    @property
    def starting_point(self) -> StartingPoint:
        """The estimator if given, otherwise the initialisation."""
        return self.estimator or self.initialisation

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the networks of the sum, at least one."""
        return tuple(name.strip() for name in str(self.model).split("+"))

    @property
    def wave_terms(self) -> tuple[str, ...]:
        """The names of the networks that model the waveform."""
        return tuple(name for name in self.terms if not NETWORKS[name].is_noise)

    @property
    def noise_term(self) -> str | None:
        """The name of the network of noise, if there is one."""
        return self.terms[-1] if len(self.wave_terms) < len(self.terms) else None

    @property
    def is_sized_by_ear(self) -> bool:
        """Whether the waves of a model with noise have neither a target SNR nor a budget."""
        return self.noise_term is not None and self.target_snr_db is None and self.budget is None and self.partials is None

    @property
    def parsed_budget_split(self) -> tuple[float, ...]:
        """The share of each network; they sum to 1."""
        return tuple(share / sum(self._split_row) for share in self._split_row)

    @property
    def _split_row(self) -> tuple[float, ...]:
        """The numbers of `budget_split`, one for each network."""
        if self.budget_split is not None:
            return parse_row("budget_split", self.budget_split)
        waves = len(self.wave_terms)
        if self.noise_term is None or not waves:
            return (1.0,) * len(self.terms)
        # A budget too small for both is for the waves.
        share = NOISE_SHARE if self.budget is None or self.budget * NOISE_SHARE >= MIN_PARAMETERS else 0.0
        return (*((1 - share) / waves,) * waves, share)

    def resolved(self) -> "ModelOptions":
        """Return these options with the goal filled in: a target SNR, or with noise a size of the waves."""
        if self.budget is not None or self.partials is not None:
            return self
        target, cap = self.target_snr_db, self.max_parameters_per_sample
        if self.noise_term is None and target is None:
            target = TARGET_SNR_DB
        if cap is None:
            cap = PARAMETERS_PER_SAMPLE if target is not None else WAVES_PER_SAMPLE
        return replace(self, target_snr_db=target, max_parameters_per_sample=cap)
