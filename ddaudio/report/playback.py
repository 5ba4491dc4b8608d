"""Playback: switching between the sounds of a fit at the current position, on the sound device.

`Player` is independent of any device. `sounding` connects one to the default output device through ``sounddevice``, which is
installed by the extra ``ddaudio[play]``.
"""

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Event, Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ddaudio.editing.render import render
from ddaudio.errors import OptionError, PlaybackError
from ddaudio.io import audio, fit_files
from ddaudio.io.paths import quoted
from ddaudio.io.samples import Samples, on_cpu
from ddaudio.io.statistics import sample_statistics
from ddaudio.models.file import load_model
from ddaudio.results import read as results_reader
from ddaudio.results.model_report import is_model

FADE_S = 0.005
"""Duration of crossfades in seconds: too short to be perceived as a fade, long enough to avoid clicks."""
ORIGINAL, RESYNTHESIS, RESIDUAL = "original", "resynthesis", "residual"

_INVALID_SAMPLE_RATE = -9997
"""PortAudio's error code for an unsupported sample rate."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Sounds to play, all of the same shape ``[C, T]``, full scale 1.0."""

    sounds: Mapping[str, Samples]
    """At least one sound, by name; a fit has original, resynthesis and residual, and with noise also waves and noise."""
    sample_rate: int
    """Samples per second."""
    files: tuple[Path, ...]
    """The files of the sounds, for another player; empty for a model without sound files."""


def read_sources(path: str | os.PathLike[str]) -> Sources:
    """Read the sounds of a path: three or five of a fit's folder, one of a model or of a sound file.

    Raises `ReportError`, `ModelError`, `RecordingError` or `OutputError` as `read_sounds`, `load_model`, `audio.read`.
    """
    path = Path(path)
    lone_model = path.is_dir() and not (path / fit_files.REPORT).exists() and (path / fit_files.MODEL).exists()
    if lone_model or path.suffix == ".safetensors":
        network = load_model(path)
        beside = (path if lone_model else path.parent) / fit_files.RESYNTHESIS
        return Sources({RESYNTHESIS: render(network)}, network.sample_rate, (beside,) if beside.is_file() else ())
    if not path.is_dir():
        recording = audio.read(path)
        return Sources({path.name: recording.samples}, recording.sample_rate, (path,))
    report = results_reader.read_report(path)
    if is_model(report):
        heard = results_reader.read_model_audio(path, report)
        return Sources(heard, report["sound"]["sample_rate"], tuple(path / name for name in report["wav"]["gains"]))
    sounds = results_reader.read_audio(path, report)
    source = results_reader.original_file(report)
    written = [name for name in report["files"] if name.endswith(".wav")]
    files = (*(path / name for name in written), *([] if source is None else [source]))
    return Sources(sounds.by_name(), sounds.sample_rate, files)


@dataclasses.dataclass
class _Voice:
    """A sound that is played, with its fade."""

    name: str
    position: int
    """Index of its next sample, 0 to T."""
    level: float
    weight: float
    """Weight at the start of the fade, 0 to 1."""
    goal: float
    """Weight at the end of the fade, 0 or 1."""


class Player:
    """Generates the audio frames of one of several sounds, with crossfades of `FADE_S` at every change.

    Sounds are read slice by slice; samples above full scale are clipped and counted. `fill` and the other methods may be called
    from different threads.

    >>> player = Player({"ramp": torch.arange(8.0)[None] / 8}, sample_rate=8000)
    >>> player.fill(3).tolist(), player.position, player.ended
    ([[0.0], [0.125], [0.25]], 3, False)
    >>> player.fill(6)[:, 0].tolist(), player.ended
    ([0.375, 0.5, 0.625, 0.75, 0.875, 0.0], True)
    """

    def __init__(self, sounds: Mapping[str, Samples], sample_rate: int, heard: str | None = None, *, channels: int = 0) -> None:
        """Start at the beginning of the sound named `heard`, by default the first.

        Args:
            sounds: at least one, by name, all of the same shape ``[C, T]``, full scale 1.0.
            sample_rate: Hz.
            heard: one of the names of `sounds`.
            channels: number of channels of the device, by default C; with fewer than C, the mean of all channels is played.

        Raises:
            OptionError: no sound is named `heard`.
            ValueError: there is no sound, or their shapes differ.

        """
        shapes = {tuple(samples.shape) for samples in sounds.values()}
        if len(shapes) != 1:
            raise ValueError(f"sounds have the shapes {sorted(shapes)}: give at least one, all of one shape")
        if heard is not None and heard not in sounds:
            raise OptionError(
                f"there is no {heard} to play here",
                allowed=", ".join(sounds),
                hint="give the folder of a fit, which has all three",
            )
        self._sounds, self.sample_rate, self.names = sounds, sample_rate, tuple(sounds)
        ((self._channels_in, self.n_samples),) = shapes
        self.channels = self._channels_in if not 0 < channels < self._channels_in else 1
        self.heard = heard or self.names[0]
        self.paused = self.looping = self.matched = False
        self.clipped_samples = 0
        self._match = _matching_level(sounds)
        # No fade at the beginning, so that playback equals the file.
        self._fade = self._faded = max(1, round(FADE_S * sample_rate))
        self._voices = [_Voice(self.heard, 0, 1.0, 1.0, 1.0)]
        self._lock = Lock()

    @property
    def position(self) -> int:
        """Index of the next sample, 0 to T."""
        return self._voices[-1].position

    @property
    def ended(self) -> bool:
        """Whether the end is reached; never while looping."""
        return not self.looping and self.position >= self.n_samples

    def fill(self, n: int) -> NDArray[np.float32]:
        """Return the next frames ``[n, channels]`` in -1 to 1; zeros while paused and after the end."""
        frames = torch.zeros(n, self.channels)
        with self._lock:
            done = 0
            while done < n and (self._faded < self._fade or not (self.paused or self.ended)):
                # A fade may end within a call: the output must not depend on the block size.
                count = min(n - done, self._fade - self._faded or n)
                frames[done : done + count] = self._mixed(count).T
                done += count
            self.clipped_samples += int((frames.abs() > 1).count_nonzero())
        return frames.clamp_(-1, 1).numpy()

    def switch(self, name: str) -> None:
        """Switch to another sound at the current position; raises KeyError if there is none of that name."""
        if name not in self._sounds:
            raise KeyError(name)
        with self._lock:
            self.heard = name
            self._turn(self.position)

    def seek(self, seconds: float) -> None:
        """Seek by ``seconds``, backwards if negative, limited to the beginning and the end."""
        with self._lock:
            target = self.position + round(seconds * self.sample_rate)
            self._turn(min(max(target, 0), self.n_samples))

    def toggle_pause(self) -> None:
        """Pause or resume; after the end, restart from the beginning."""
        with self._lock:
            again = self.ended
            self.paused = not (again or self.paused)
            self._turn(0 if again else self.position)

    def toggle_loop(self) -> None:
        """Switch looping on or off."""
        with self._lock:
            self.looping = not self.looping

    def toggle_match(self) -> None:
        """Switch scaling of the residual to the RMS of the original on or off; no effect unless both exist."""
        with self._lock:
            self.matched = not self.matched and RESIDUAL in self._sounds and ORIGINAL in self._sounds
            self._turn(self.position)

    def _turn(self, position: int) -> None:
        """Start a crossfade from the current output, which may be a fade itself, to the sound at a position."""
        for voice in self._voices:
            voice.weight, voice.goal = voice.weight + (voice.goal - voice.weight) * self._faded / self._fade, 0.0
        level = self._match if self.matched and self.heard == RESIDUAL else 1.0
        leaving = [voice for voice in self._voices if voice.weight > 0]
        self._voices = [*leaving, _Voice(self.heard, position, level, 0.0, float(not self.paused))]
        self._faded = self._fade if self.paused and not leaving else 0  # a position chosen while paused is kept

    def _mixed(self, count: int) -> Tensor:
        """Return the next samples ``[channels, count]``, entirely inside or outside a fade, and advance the position."""
        fading = self._faded < self._fade
        share = torch.arange(self._faded + 1, self._faded + 1 + count) / self._fade
        mixed = torch.zeros(self.channels, count)
        for voice in self._voices:
            sound = voice.level * self._read(voice.name, voice.position, count)
            mixed += sound * (voice.weight + (voice.goal - voice.weight) * share) if fading else sound
            after = voice.position + count
            voice.position = after % self.n_samples if self.looping else min(after, self.n_samples)
        if fading:
            self._faded += count
        if self._faded == self._fade:
            self._voices = self._voices[-1:]
        return mixed

    def _read(self, name: str, first: int, count: int) -> Tensor:
        """Return samples ``[channels, count]`` of a sound; after its end, they wrap around or are silent."""
        pieces: list[Tensor] = []
        while count > 0:
            first = first % self.n_samples if self.looping else first
            piece = on_cpu(self._sounds[name][:, first : first + count])
            pieces.append(piece if piece.shape[1] else torch.zeros(self._channels_in, count))
            first, count = first + pieces[-1].shape[1], count - pieces[-1].shape[1]
        whole = torch.cat(pieces, dim=1)
        return whole if self.channels == self._channels_in else whole.mean(0, keepdim=True)


def _matching_level(sounds: Mapping[str, Samples]) -> float:
    """Return the factor from the RMS of the residual to that of the original; 1 if one is silent or missing."""
    energies = [sample_statistics(sounds[name]).energy if name in sounds else 0.0 for name in (ORIGINAL, RESIDUAL)]
    return math.sqrt(energies[0] / energies[1]) if all(energies) else 1.0


@contextmanager
def sounding(sources: Sources, heard: str | None = None, *, to_the_end: bool) -> Iterator[tuple[Player, Event]]:
    """Play on the default output device within the context; yield the player, and an event set when the device stops.

    The device stops at the end if `to_the_end`, otherwise it plays silence until the player is controlled again. If it does not
    support the sample rate, the sounds are resampled to its own, which is then `Player.sample_rate`.
    Raises `OptionError` if no sound is named `heard`, and `PlaybackError`, which names files for another player, if the extra,
    PortAudio or a device is missing, the device rejects the sound, or is disconnected.
    """
    with _library(sources.files) as library:
        channels, sample_rate = _device(library, sources)
        player = Player(_at_rate(sources, sample_rate), sample_rate, heard, channels=channels)
        stopped = Event()

        def callback(frames: NDArray[np.float32], n: int, _time: object, _status: object) -> None:
            """Pass the next frames to the device; errors are detected when it stops."""
            frames[:] = player.fill(n)
            if to_the_end and player.ended:
                raise library.CallbackStop

        form = {"samplerate": sample_rate, "channels": player.channels, "dtype": "float32"}
        with library.OutputStream(**form, callback=callback, finished_callback=stopped.set):
            yield player, stopped
            lost = stopped.is_set() and not player.ended
        if lost:
            place = f"{player.position / sample_rate:.1f} s"
            raise _unplayable(f"the sound device stopped at {place}", "check that it is still connected", sources.files)


@contextmanager
def _library(files: tuple[Path, ...]) -> Iterator[Any]:
    """Yield the module ``sounddevice``; its exceptions become `PlaybackError`."""
    try:
        library = import_module("sounddevice")
    except ImportError as error:
        remedy = "install it with: pip install 'ddaudio[play]'"
        raise _unplayable(f"the Python package sounddevice is missing ({error})", remedy, files) from None
    except OSError as error:
        remedy = "install it (Debian, Ubuntu: apt install libportaudio2; Fedora: dnf install portaudio)"
        raise _unplayable(f"the system library PortAudio is missing ({error})", remedy, files) from None
    except Exception as error:
        # If PortAudio cannot start, its error is raised while the module that defines the error is being imported.
        if type(error).__name__ != "PortAudioError":
            raise
        raise _no_device(error, files) from None
    try:
        yield library
    except library.PortAudioError as error:
        raise _no_device(error, files) from None


def _device(library: Any, sources: Sources) -> tuple[int, int]:
    """Return the number of channels of the default output device and a supported sample rate, that of the sources if possible."""
    device = library.query_devices(kind="output")
    available = int(device["max_output_channels"])
    n_channels = next(iter(sources.sounds.values())).shape[0]
    channels = n_channels if n_channels <= available else 1
    try:
        library.check_output_settings(samplerate=sources.sample_rate, channels=channels, dtype="float32")
    except library.PortAudioError as error:
        if error.args[1:2] != (_INVALID_SAMPLE_RATE,):
            raise
        return available, round(device["default_samplerate"])
    return available, sources.sample_rate


def _at_rate(sources: Sources, sample_rate: int) -> Mapping[str, Samples]:
    """Return the sounds at another sample rate; raises `PlaybackError` if the ratio of the rates is not supported."""
    if sample_rate == sources.sample_rate:
        return sources.sounds
    recordings = {name: audio.Recording(samples, sources.sample_rate, name) for name, samples in sources.sounds.items()}
    try:
        return {name: audio.resample(recording, sample_rate).samples for name, recording in recordings.items()}
    except OptionError as error:
        problem = f"the sound device takes {sample_rate} Hz, not the {sources.sample_rate} Hz of the sound ({error})"
        raise _unplayable(problem, "set the device to another rate", sources.files) from None


def _no_device(error: Exception, files: tuple[Path, ...]) -> PlaybackError:
    """Return the error for a device that is missing or fails."""
    return _unplayable(f"no working sound output device ({error})", "use a machine that has one", files)


def _unplayable(problem: str, remedy: str, files: tuple[Path, ...]) -> PlaybackError:
    """Return an error with the problem, a remedy, and the paths of the sounds."""
    elsewhere = f"open {', '.join(map(quoted, files))}" if files else "write a WAV file with ddaudio render and open it"
    hint = f"{remedy}, or {elsewhere} in another player"
    return PlaybackError(f"cannot play: {problem}", hint=hint)
