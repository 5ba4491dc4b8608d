"""A trained model as teacher: its signals, relative to those of the recording."""

import hashlib
from pathlib import Path

from torch import Tensor

from ddaudio.editing.render import render
from ddaudio.errors import OptionError
from ddaudio.io.audio import Recording
from ddaudio.io.fit_files import MODEL
from ddaudio.io.samples import Difference, Samples
from ddaudio.models.file import load_model
from ddaudio.options import TrainingOptions


def lesson_of(recording: Recording, training: TrainingOptions) -> Samples | None:
    """Return what the teacher's waves have more than the recording, ``[C, T]``; None without a teacher.

    The difference is the same for the residual of other networks, and for blocks: it is added to whatever the target is.

    Raises:
        ModelError: the model cannot be read.
        OptionError: the model has no waves, or is not of a recording of this length.

    """
    if training.teacher_model is None:
        return None
    network = load_model(training.teacher_model)
    network.drift = None  # as the recording is fitted without its drift
    waves = render(network, recording.sample_rate, only="waves")
    if tuple(waves.shape) != tuple(recording.samples.shape):
        (channels, samples), found = recording.samples.shape, tuple(waves.shape)
        raise OptionError(
            f"which has {found[0]} channels of {found[1]} samples at {recording.sample_rate} Hz",
            setting="teacher_model",
            value=training.teacher_model,
            allowed=f"models of {channels} channels of {samples} samples, as the recording has",
        )
    return Difference(waves, recording.samples)


def part_of(lesson: Samples | None, target: Tensor, begin: int = 0) -> Tensor | None:
    """Return the teacher's signals for a ``target [C, n]`` whose first sample is ``begin`` in the recording; None for none."""
    if lesson is None:
        return None
    lessons: Tensor = target + lesson[:, begin : begin + target.shape[1]].to(target)
    return lessons


def model_hash(model: str | None) -> str | None:
    """Return the SHA-256 of a model's file, which must be the same in a resumed fit; None for none. Raises OSError."""
    if model is None:
        return None
    path = Path(model)
    return hashlib.sha256((path / MODEL if path.is_dir() else path).read_bytes()).hexdigest()
