"""Settings of the recording, its frames and the output files."""

from dataclasses import dataclass
from typing import Literal, get_args

from ddaudio.errors import OptionError, closest
from ddaudio.options.checks import check_choice, check_range, check_switch, check_text, check_whole

WindowName = Literal["hann", "sine", "triangle", "gate"]
Encoding = Literal["pcm16", "pcm24", "float32"]
PitchMethod = Literal["partials", "pyin", "none"]
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 384_000
MIN_FRAME_S, MAX_FRAME_S = 0.0005, 5.0
MAX_WHOLE_S = 60.0
"""Longest recording that can be fitted as one frame."""


@dataclass(frozen=True)
class InputOptions:
    """Reading of the recording."""

    sample_rate: int | None = None
    """Resample to this rate before fitting, 1000 to 384000 Hz (default: the recording's own rate)."""

    cut: str | None = None
    """Replace samples by ones and zeros before fitting: 1 above a cutoff in full scale, -1 to 1, as in 0.1, or above the best
    cutoff for two levels in each channel (learned) (default: leave them)."""

    def __post_init__(self) -> None:
        check_whole(self, "sample_rate", MIN_SAMPLE_RATE, MAX_SAMPLE_RATE, "Hz")
        if self.cut is not None and self.cut != "learned":
            try:
                inside = -1 <= float(self.cut) <= 1
            except (TypeError, ValueError):
                inside = False
            if not inside:
                hint = closest(str(self.cut), ["learned"])
                raise OptionError(setting="cut", value=self.cut, allowed="learned, or a cutoff from -1 to 1", hint=hint)

    @property
    def cutoff(self) -> float | None:
        """The cutoff in full scale; None for a learned one, or none."""
        return None if self.cut in (None, "learned") else float(str(self.cut))


@dataclass(frozen=True)
class GridOptions:
    """Division of the recording into frames."""

    frame_s: float | None = None
    """Length of all frames, 0.0005 to 5 s (default: adaptive, 6 to 770 ms; 0.05 s with partials; for double-dutch the power of
    two samples nearest to 0.1 s)."""
    overlap: float | None = None
    """Overlap of neighbouring frames, as a share of a frame, 0 to 0.5; needs `frame_s` (default: 0.5; 0 for double-dutch)."""
    window: WindowName | None = None
    """Shape of the crossfade between frames (default: hann; gate with leaves sine)."""

    whole: bool = False
    """Fit the whole recording as one frame, up to 60 s, with cascade, surrogate, stack or siren."""

    def __post_init__(self) -> None:
        check_switch(self, "whole")
        check_range(self, "frame_s", MIN_FRAME_S, MAX_FRAME_S, "s")
        check_range(self, "overlap", 0, 0.5)
        if self.window is not None:
            check_choice(self, "window", get_args(WindowName))
        if self.overlap not in (None, 0.5) and self.frame_s is None:
            raise OptionError(
                "but frame lengths are adaptive", setting="overlap", value=self.overlap, hint="give {frame_s} as well"
            )


@dataclass(frozen=True)
class OutputOptions:
    """Output files and measurements."""

    encoding: Encoding = "float32"
    """Sample format of the WAV files."""
    checkpoint_every_s: float = 30.0
    """Time between two checkpoints, 0 to 86400 s; with 0 a checkpoint is written after each step."""
    onsets: bool = False
    """Find the onsets of the recording, list them in the report and mark them in its pictures; takes some seconds to load."""

    pitch: PitchMethod = "partials"
    """Method that finds the pitch over time, for the report and its pictures: partials of the model (if it has any), pyin (the
    pYIN of librosa, 40 to 2000 Hz; about a second per second of sound), or none."""

    quality: str | None = None
    """Perceptual scores to compute, with those of silence and white noise as controls: zimtohrli (0.2 s per second of sound) or
    visqol (5 s), or both with a comma between them; they need the extra `quality` (default: none)."""

    def __post_init__(self) -> None:
        check_text(self, "quality")
        check_choice(self, "encoding", get_args(Encoding))
        check_range(self, "checkpoint_every_s", 0, 86400, "s")
        check_switch(self, "onsets")
        check_choice(self, "pitch", get_args(PitchMethod))
