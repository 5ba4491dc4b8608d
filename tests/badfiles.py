"""Files that cannot be read, made afresh in a folder, each with words that its refusal has to contain."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

_NOISE = np.random.default_rng(1).uniform(-0.5, 0.5, 4410).astype(np.float32)


def sound_bytes(path: Path, samples: np.ndarray = _NOISE, subtype: str | None = None, sample_rate: int = 44_100) -> bytes:
    """Write a sound file, return its bytes; its format is that of the name."""
    soundfile.write(path, samples, sample_rate, subtype=subtype)
    return path.read_bytes()


def _missing(folder: Path) -> Path:
    return folder / "missing.wav"


def _directory(folder: Path) -> Path:
    path = folder / "folder.wav"
    path.mkdir()
    return path


def _empty(folder: Path) -> Path:
    path = folder / "empty.wav"
    path.touch()
    return path


def _text(folder: Path) -> Path:
    path = folder / "text.wav"
    path.write_text("Dear diary, this is not a sound. Ünlikely, but true.\n" * 200, encoding="utf-8")
    return path


def _raw(folder: Path) -> Path:
    path = folder / "headerless.raw"
    path.write_bytes(np.random.default_rng(2).bytes(2000))
    return path


def _other_format(folder: Path) -> Path:
    path = folder / "other.au"
    sound_bytes(path, subtype="PCM_16")
    return path


def _cut_header(folder: Path) -> Path:
    path = folder / "cut-header.wav"
    path.write_bytes(sound_bytes(path)[:30])
    return path


def _no_samples(folder: Path) -> Path:
    path = folder / "no-samples.wav"
    sound_bytes(path, _NOISE[:0])
    return path


def _only_header(folder: Path) -> Path:
    path = folder / "only-header.wav"
    path.write_bytes(sound_bytes(path, subtype="PCM_16")[:44])
    return path


def _not_finite(name: str, *values: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"{name}.wav"
        samples = np.stack([_NOISE, _NOISE], axis=1)
        for position, value in enumerate(values):
            samples[441 + position, 1] = value
        sound_bytes(path, samples, subtype="FLOAT")
        return path

    return make


BAD_FILES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    "missing": (_missing, ("missing.wav", "it is missing", "give the path of a WAV, FLAC, OGG, MP3 or AIFF file")),
    "directory": (_directory, ("folder.wav", "it is a folder", "give the path of a WAV, FLAC, OGG, MP3 or AIFF file")),
    "empty": (_empty, ("empty.wav", "empty (0 bytes)", "copy or export it again")),
    "text": (_text, ("text.wav", "holds text, not sound", "give a WAV, FLAC, OGG, MP3 or AIFF file")),
    "raw": (_raw, ("headerless.raw", "not a WAV, FLAC, OGG, MP3 or AIFF file", "convert it")),
    "other-format": (
        _other_format,
        ("it is an AU file, not a WAV, FLAC, OGG, MP3 or AIFF file", "`ffmpeg -i other.au other.wav`"),
    ),
    "cut-header": (
        _cut_header,
        ("cut-header.wav", "begins like a WAV file", "cannot decode it (", "copy it again", "`ffmpeg -i "),
    ),
    "no-samples": (_no_samples, ("no-samples.wav", "holds no samples (its header declares 0)", "export it again")),
    "only-header": (
        _only_header,
        ("only-header.wav", "holds no samples (its header declares 4410)", "export it again"),
    ),
    "nan": (
        _not_finite("nan", float("nan")),
        ("nan.wav", "1 of 8820 samples are NaN or infinite", "at 0.01 s (sample 441 of channel 1)", "repair or export"),
    ),
    "inf": (
        _not_finite("inf", float("inf"), -float("inf"), float("nan")),
        ("inf.wav", "3 of 8820 samples are NaN or infinite", "at 0.01 s (sample 441 of channel 1)", "repair or export"),
    ),
}
"""What is wrong -> a function that makes the file in a folder and returns its path, and words of the refusal."""
