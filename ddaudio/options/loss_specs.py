"""Registry of the losses and penalties, one row each. Does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ddaudio.options.registry import Registry

HUBER_DELTA = 0.1
"""Default delta of the Huber loss, between quadratic and linear error, in units of the target's level."""
ZERO_WIDTH = 0.1
"""Default width of the penalty ``zero``, in units of the target's level."""


@dataclass(frozen=True)
class LossSpec:
    """A loss, and the variants that may follow its name after colons."""

    name: str
    """Name in settings and reports."""
    summary: str
    """Short description for the help."""
    path: str
    """A function ``estimate, target [B, T] -> [B]``, a `ddaudio.losses.Loss` or its class; with ``is_factory``, a function of
    `Choice` and sample rate that returns one."""
    is_factory: bool = False
    """Whether ``path`` is a function that creates the loss."""
    variants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Choices and their options; the first option is the default."""
    numbers: Literal["none", "one", "lags"] = "none"
    """Numbers allowed in the name: none, one above 0, or lags in samples (which replace the choice of ``lags``)."""
    example: str = ""
    """Example of a name with a number."""
    excluded: tuple[frozenset[str], ...] = ()
    """Combinations of options that are not allowed."""
    required: str = ""
    """A choice that has to be given, without a default."""
    unfit: Mapping[str, str] = field(default_factory=dict)
    """Options that cannot be used, with the reason."""
    is_least_squares: bool = False
    """Whether it is the mean squared error."""
    has_curvature: bool = False
    """Whether it has a curvature (`ddaudio.losses.Loss.expand`), which Gauss-Newton steps need."""
    without_curvature: tuple[frozenset[str], ...] = ()
    """Combinations of options with which it has none."""

    @property
    def words(self) -> tuple[str, ...]:
        """All options of all choices."""
        return tuple(word for known in self.variants.values() for word in known)


@dataclass(frozen=True)
class PenaltySpec:
    """A penalty on amplitudes."""

    name: str
    """Name in settings and reports."""
    summary: str
    """Short description for the help."""
    path: str
    """Function of amplitudes ``[P]`` and a width, both in full scale, that returns a scalar."""
    width: float
    """Default width, in units of the target's level."""


_WEIGHTED = ("by-distance", "by-inverse-distance")
LOSSES = Registry(
    "ddaudio.losses",
    LossSpec,
    [
        LossSpec("mse", "mean squared error", "ddaudio.losses.pointwise:MSE", is_least_squares=True, has_curvature=True),
        LossSpec("mae", "mean absolute error", "ddaudio.losses.pointwise:MAE", has_curvature=True),
        LossSpec(
            "huber",
            "squared error of small, absolute error of large differences",
            "ddaudio.losses.registry:huber_loss",
            is_factory=True,
            numbers="one",
            example="huber:0.1",
            has_curvature=True,
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
            has_curvature=True,
            without_curvature=(
                frozenset(("long-range",)),
                frozenset(("far-to-near",)),
                frozenset(("all-pairs", "absolute")),
                frozenset(("all-pairs", "huber")),
            ),
        ),
        LossSpec("slope", "squared error of central differences", "ddaudio.losses.differences:SLOPE", has_curvature=True),
        LossSpec(
            "first-difference",
            "absolute error of first differences",
            "ddaudio.losses.differences:FIRST_DIFFERENCE",
            has_curvature=True,
        ),
        LossSpec("correlation", "one minus the correlation", "ddaudio.losses.correlation:CORRELATION", has_curvature=True),
        LossSpec(
            "dft",
            "spectra of the whole signal, without windows",
            "ddaudio.losses.registry:dft_loss",
            is_factory=True,
            variants={"spectrum": ("magnitude", "complex", "log")},
            has_curvature=True,
        ),
        LossSpec(
            "mss",
            "multi-scale spectrogram loss",
            "ddaudio.losses.registry:mss_loss",
            is_factory=True,
            variants={"preset": ("default", "ddsp", "smooth")},
            has_curvature=True,
        ),
        LossSpec("mel", "multi-scale loss in mel bands", "ddaudio.losses.registry:mel_loss", is_factory=True, has_curvature=True),
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
