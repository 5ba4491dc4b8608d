"""Registry of the metrics, one row each. Does not import torch."""

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from ddaudio.errors import OptionError, PluginError, closest
from ddaudio.options.registry import Registry

FRAME_S = 0.046
"""Length of the frames of the log-spectral, mel and onset metrics."""
BAND_FRAME_S = 0.37
"""Length of the frames of the octave bands: bins of 2.7 Hz at 44.1 kHz, eight of them in the lowest band."""
FLOOR_DB = 80.0
"""A magnitude this far below the target's peak sample counts as silence."""
BAND_FLOOR_DB = 120.0
"""A band this far below the target's total energy counts as empty: float32 rounding is at 140."""
MELS_PER_FILTER = 50.0
FIRST_BAND_HZ = 31.25
ERB_BANDS, ERB_FRAME_S = 24, 0.020
"""Bands and length of the frames of the ERB distance."""
LOWEST_ERB_HZ, HIGHEST_ERB_HZ = 50.0, 16000.0
"""Edges of its bands."""
AUDIBLE_DB = 50.0
"""Cells (a band of a frame) are audible down to this level below the target's loudest cell."""
ERB_FLOOR_DB = 65.0
"""Level of the floor that is added to all powers, below the target's loudest cell."""
DEAD_DB = 15.0
"""A cell is dead if the estimate is at least this far below the target."""
MISSING_SHARE = 0.8
"""A band is missing if at least this share of its audible cells is dead."""
LONGEST_SCORED_S = 30.0
"""Longest piece of a recording that has a perceptual score, in seconds; longer recordings have the mean over equal pieces."""
MOST_OF_DEAD = 0.8
"""Share of the dead cells outside missing bands that the range contains by which they are described."""
EVERYWHERE = 0.7
"""Share of all audible cells from which on such a range describes nothing."""
REPORTED_SHARE = 0.02
"""Adjacent missing bands are reported if they contain at least this share of all audible cells."""

_BEGIN = (
    "hop a quarter of it; frames begin at all multiples of the hop from three hops before the first sample to the last sample, "
    "and what is outside the recording counts as 0"
)
_FRAMES = f"Hann frames of the power of two nearest to {FRAME_S:g} s (at least 16 samples), {_BEGIN}"
_LEVELS = (
    "Magnitudes are scaled so that a sinusoid shows its amplitude, and divided by the target's peak sample (by 1.0 if "
    f"that is 0); levels below -{FLOOR_DB:g} dB are raised to it."
)
BANDS = (
    "SNR of the waves by octave band: 10 log10(target energy / residual energy) within the band, from power spectra of "
    f"Hann frames of the power of two nearest to {BAND_FRAME_S:g} s ({_BEGIN}), added up over frames and "
    f"channels. Bands are centred on {FIRST_BAND_HZ:g} Hz times powers of two and the last ends at Nyquist. A band "
    f"where the target is {BAND_FLOOR_DB:g} dB or more below its total energy has none."
)
"""Definition of the octave bands of a report."""


@dataclass(frozen=True)
class MetricSpec:
    """A metric: name, meaning and format."""

    name: str
    """Name in reports and tables, with its unit as in ``snr_db``."""
    label: str
    """Name in sentences and pages."""
    better: Literal["higher", "lower", "control"]
    """Which values are better; or that it is the value of a control."""
    definition: str
    """Formula, parameters, source."""
    path: str
    """Function of a `ddaudio.metrics.signals.SignalPair`, as ``module:function``, that returns a number or a `Metric`. It may
    also return those of several rows by name, and is then called once for all of them."""
    unit: str = ""
    """Unit; empty for a dimensionless metric."""
    short: str = ""
    """Column heading in tables, without the unit (default: the label)."""
    decimals: int = 3
    """Number of decimal places in tables."""
    is_compared: bool = True
    """Whether it is a column in the table of a comparison."""
    request: str = ""
    """Name in the setting ``quality`` that asks for it; without one it is always computed."""
    package: str = ""
    """Package that it needs, of the extra ``quality``."""
    of_waves: bool = False
    """Whether it compares the waveform of the waves alone, without the noise of a model."""

    @property
    def summary(self) -> str:
        """The label."""
        return self.label

    @property
    def heading(self) -> str:
        """Column heading in tables."""
        return f"{self.short or self.label}{self.unit and f' ({self.unit})'}"


_SAMPLES, _FRAMEWISE = "ddaudio.metrics.measure:sample_metrics", "ddaudio.metrics.spectrogram:frame_metrics"
_ERB = "ddaudio.metrics.erb_distance:erb_metrics"
_MOS = (
    "mean opinion score, 1 (bad) to 5 (transparent), of each channel at 48 kHz, mean over channels and over equal pieces of "
    f"up to {LONGEST_SCORED_S:g} s"
)


def _scores(name: str, label: str, definition: str) -> list[MetricSpec]:
    """Return the rows of a perceptual score and of its controls."""
    white = "white noise with the level of each channel of the recording"
    rows = [("", "", "higher", "."), ("_silence", " of silence", "control", ", of silence in place of the estimate.")]
    rows += [("_white", " of white noise", "control", f", of {white} in place of the estimate: a model should be far above it.")]
    path = f"ddaudio.metrics.perceptual:{name}_metrics"
    return [
        MetricSpec(name + end, label + what, better, definition + more, path, decimals=2, request=name, package=name)  # type: ignore[arg-type]
        for end, what, better, more in rows
    ]


METRICS = Registry(
    "ddaudio.metrics",
    MetricSpec,
    [
        MetricSpec(
            "snr_db",
            "SNR",
            "higher",
            "Signal-to-noise ratio: 10 log10(sum target^2 / sum (target - estimate)^2), over samples and channels; "
            "the estimate is that of the waves, without noise.",
            _SAMPLES,
            unit="dB",
            decimals=2,
            of_waves=True,
        ),
        MetricSpec(
            "si_sdr_db",
            "SI-SDR",
            "higher",
            "Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019): "
            "10 log10(|a target|^2 / |a target - estimate|^2) with a = <estimate, target> / <target, target>, one for all "
            "channels. No mean is taken away; the estimate is that of the waves, without noise.",
            _SAMPLES,
            unit="dB",
            decimals=2,
            is_compared=False,
            of_waves=True,
        ),
        MetricSpec(
            "mse",
            "Mean squared error",
            "lower",
            "Mean squared error: the mean of (target - estimate)^2 over samples and channels; full scale is 1.0; "
            "the estimate is that of the waves, without noise.",
            _SAMPLES,
            short="MSE",
            is_compared=False,
            of_waves=True,
        ),
        MetricSpec(
            "lsd_db",
            "Log-spectral distance",
            "lower",
            f"Log-spectral distance (Gray & Markel 1976) over {_FRAMES}: the root of the mean over bins of "
            f"(20 log10 |ESTIMATE| - 20 log10 |TARGET|)^2, then the mean over frames and channels. {_LEVELS}",
            _FRAMEWISE,
            unit="dB",
            short="LSD",
            decimals=2,
        ),
        MetricSpec(
            "mr_stft",
            "Multi-resolution STFT distance",
            "lower",
            "Multi-resolution STFT distance as auraloss 0.4's MultiResolutionSTFTLoss defines it (Yamamoto et al. "
            "2020), with its defaults: spectral convergence plus mean absolute difference of log magnitudes, mean over FFTs of "
            "1024, 2048, 512. Channels are pooled; recordings shorter than 2048 samples are padded with zeros.",
            "ddaudio.metrics.multi_resolution_stft:mr_stft",
            short="MR-STFT",
        ),
        MetricSpec(
            "mel_db",
            "Mel distance",
            "lower",
            "Mel distance: the mean over mel filters, frames and channels of |10 log10 MEL_ESTIMATE - 10 log10 "
            f"MEL_TARGET|, from power spectra of {_FRAMES}, and triangular filters of height 1, one per {MELS_PER_FILTER:g} "
            f"mel (HTK) from 0 Hz to Nyquist. {_LEVELS}",
            _FRAMEWISE,
            unit="dB",
            decimals=2,
            is_compared=False,
        ),
        MetricSpec(
            "onset_flux",
            "Onset-flux error",
            "lower",
            "Onset-flux error: sum |flux_estimate - flux_target| / sum flux_target over frames and channels. The "
            "flux of a frame is the mean over filters of the rise of its mel levels in dB (those of the mel distance) over the "
            "frame before, falls counted as zero; before the first frame there is silence. 0 is best; silence scores 1.",
            _FRAMEWISE,
            is_compared=False,
        ),
        MetricSpec(
            "erb_db",
            "ERB distance",
            "lower",
            "ERB distance: the root mean square over the audible bands of a frame of the difference in level between "
            f"estimate and target, then the mean over the frames that have audible bands. Frames of {1000 * ERB_FRAME_S:g} ms "
            f"without overlap, with a Hann window, in {ERB_BANDS} bands of equal width in ERB number (Glasberg & Moore 1990) "
            f"from {LOWEST_ERB_HZ:g} Hz to {HIGHEST_ERB_HZ / 1000:g} kHz or Nyquist. A band of a frame is audible where the "
            f"target is within {AUDIBLE_DB:g} dB of its loudest; a floor {ERB_FLOOR_DB:g} dB below the loudest is added to all "
            "powers. Two realisations of the same white noise are 3.7 dB apart.",
            _ERB,
            unit="dB",
            decimals=2,
        ),
        MetricSpec(
            "dead_bands",
            "Dead bands",
            "lower",
            "Dead bands: the share, 0 to 1, of the audible bands of all frames, as in the ERB distance, where the estimate is "
            f"{DEAD_DB:g} dB or more below the target.",
            _ERB,
        ),
        *_scores("zimtohrli", "Zimtohrli MOS", f"Zimtohrli (Google 2024), from auditory spectrograms: {_MOS}"),
        *_scores("visqol", "ViSQOL MOS", f"ViSQOL v3 for audio (Chinen et al. 2020), blind to a wrong level: {_MOS}"),
    ],
)
"""The metrics, by name, in the order in which reports list them."""


def requested(quality: str | None) -> tuple[str, ...]:
    """Return the names of the perceptual scores that the setting ``quality`` asks for, such as ``zimtohrli,visqol``.

    Raises `OptionError` for an unknown one, and `PluginError` if the package of one is missing.
    """
    names = tuple(dict.fromkeys(name.strip() for name in quality.split(","))) if quality is not None else ()
    packages = {spec.request: spec.package for spec in METRICS.values() if spec.request}
    for name in names:
        if name not in packages:
            allowed = f"{', '.join(packages)}, or several with commas between them"
            raise OptionError(setting="quality", value=quality, allowed=allowed, hint=closest(name, packages))
        if packages[name] and find_spec(packages[name]) is None:
            raise PluginError(f"{name} needs the package {packages[name]!r}", hint="pip install 'ddaudio[quality]'")
    return names
