"""The losses and penalties: a row each. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ddaudio.options.registry import Registry

HUBER_DELTA = 0.1
"""Where Huber's error turns from squared to absolute, in units of the target's level, unless it is given."""
ZERO_WIDTH = 0.1
"""Width of the penalty ``zero``, in units of the target's level, unless it is given."""


@dataclass(frozen=True)
class LossSpec:
    """A loss, and what may stand behind its name after colons."""

    name: str
    """Name in settings and reports."""
    summary: str
    """What it is, in a few words for the help."""
    path: str
    """A function ``estimate, target [B, T] -> [B]``, a `ddaudio.losses.Loss` or its class; or, with ``is_factory``, a function of
    `Choice` and sample rate that returns one."""
    is_factory: bool = False
    """Whether the path leads to a function that makes the loss."""
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What there is to choose, and the words for it; the first is taken unless another is named."""
    numbers: Literal["none", "one", "lags"] = "none"
    """Which numbers may stand in the name: none, one above 0, or lags in samples, which count as the choice of ``lags``."""
    example: str = ""
    """A name with a number."""
    excluded: tuple[frozenset[str], ...] = ()
    """Combinations of words that are not allowed."""
    required: str = ""
    """What has to be chosen: its first word is no default."""
    unfit: Mapping[str, str] = field(default_factory=dict)
    """Words that somebody might try, and why they cannot be used."""
    is_least_squares: bool = False
    """Whether it is the mean squared error, which Gauss-Newton steps minimise."""

    @property
    def words(self) -> tuple[str, ...]:
        """All words that choose a variant."""
        return tuple(word for known in self.variants.values() for word in known)


@dataclass(frozen=True)
class PenaltySpec:
    """A penalty on amplitudes."""

    name: str
    """Name in settings and reports."""
    summary: str
    """What it is, in a few words for the help."""
    path: str
    """A function of amplitudes ``[P]`` and a width, both in full scale, that returns a scalar."""
    width: float
    """The width in units of the target's level, unless one is given."""


_WEIGHTED = ("by-distance", "by-inverse-distance")
LOSSES = Registry(
    "ddaudio.losses",
    LossSpec,
    [
        LossSpec("mse", "mean squared error", "ddaudio.losses.pointwise:mse", is_least_squares=True),
        LossSpec("mae", "mean absolute error", "ddaudio.losses.pointwise:mae"),
        LossSpec(
            "huber",
            "squared error of small, absolute error of large differences",
            "ddaudio.losses.registry:huber_loss",
            is_factory=True,
            numbers="one",
            example="huber:0.1",
        ),
        LossSpec(
            "pdl",
            "proximal difference loss: errors of differences over lags",
            "ddaudio.losses.registry:pdl_loss",
            is_factory=True,
            variants={
                "lags": ("near", "long-range", "far-to-near", "all-pairs"),
                "weights": ("equal", *_WEIGHTED),
                "distance": ("squared", "absolute", "huber"),
            },
            numbers="lags",
            example="pdl:1:44",
            excluded=tuple(
                frozenset(("all-pairs", weights, distance)) for weights in _WEIGHTED for distance in ("absolute", "huber")
            ),
        ),
        LossSpec("slope", "squared error of central differences", "ddaudio.losses.differences:slope"),
        LossSpec("first-difference", "squared error of first differences", "ddaudio.losses.differences:first_difference"),
        LossSpec(
            "mss",
            "multi-scale spectrogram loss",
            "ddaudio.losses.registry:mss_loss",
            is_factory=True,
            variants={"preset": ("default", "ddsp", "smooth")},
        ),
        LossSpec("mel", "multi-scale loss in mel bands", "ddaudio.losses.registry:mel_loss", is_factory=True),
        LossSpec("delta-time", "change of magnitudes from frame to frame", "ddaudio.losses.spectral:DELTA_TIME"),
        LossSpec("delta-frequency", "change of magnitudes from bin to bin", "ddaudio.losses.spectral:DELTA_FREQUENCY"),
        LossSpec("phase", "phase agreement", "ddaudio.losses.spectral:PHASE"),
        LossSpec("axis", "phase agreement up to sign", "ddaudio.losses.spectral:AXIS"),
        LossSpec(
            "auraloss",
            "a loss of the package auraloss, by its class",
            "ddaudio.losses.registry:auraloss_loss",
            is_factory=True,
            variants={
                "class": (
                    "DCLoss",
                    "ESRLoss",
                    "LogCoshLoss",
                    "MultiResolutionSTFTLoss",
                    "SDSDRLoss",
                    "SISDRLoss",
                    "SNRLoss",
                    "STFTLoss",
                )
            },
            required="class",
            unfit={
                "ChromaSTFTLoss": "needs librosa",
                "FIRFilter": "is a filter",
                "MelSTFTLoss": "needs librosa; use mel",
                "RandomResolutionSTFTLoss": "draws from numpy's global state, so that a fit could not be repeated",
                "SpectralConvergenceLoss": "compares magnitudes, not signals; use mss",
                "STFTMagnitudeLoss": "compares magnitudes, not signals; use mss",
                "SumAndDifferenceSTFTLoss": "needs stereo and FFT sizes",
            },
        ),
    ],
)
"""The losses, by name."""
PENALTIES = Registry(
    "ddaudio.penalties",
    PenaltySpec,
    [PenaltySpec("zero", "pushes amplitudes away from 0", "ddaudio.losses.penalties:zero", ZERO_WIDTH)],
)
"""The penalties, by name."""
