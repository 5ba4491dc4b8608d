"""Listening: sounds of one fit, heard in turn at one place, through the sound device where there is one.

`Player` is all that can be thought of without a device. `sounding` lends one to the default output device through
``sounddevice``, which the extra ``ddaudio[play]`` installs.
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

FADE_S = 0.005
"""Seconds in which one sound fades into another: too short to be heard as a fade, too long to click."""
ORIGINAL, RESYNTHESIS, RESIDUAL = "original", "resynthesis", "residual"

_INVALID_SAMPLE_RATE = -9997
"""PortAudio's code for a rate that the device does not take."""


@dataclasses.dataclass(frozen=True)
class Sources:
    """What can be heard: sounds of one shape ``[C, T]``, full scale 1.0."""

    sounds: Mapping[str, Samples]
    """At least one, by name; a fit has original, resynthesis and residual."""
    sample_rate: int
    """Samples per second."""
    files: tuple[Path, ...]
    """Sound files that hold them, for another player; none for a model that lies alone."""


def read_sources(path: str | os.PathLike[str]) -> Sources:
    """Read what a path has to hear: a fit's folder three sounds, a model one, any other sound file one.

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
    sounds = results_reader.read_audio(path, report)
    source = results_reader.original_file(report)
    files = (path / fit_files.RESYNTHESIS, path / fit_files.RESIDUAL, *([] if source is None else [source]))
    return Sources(dict(zip((ORIGINAL, RESYNTHESIS, RESIDUAL), sounds, strict=True)), sounds.sample_rate, files)


@dataclasses.dataclass
class _Voice:
    """A sound that is heard from a place on, fading to its goal."""

    name: str
    position: int
    """Its next sample, 0 to T."""
    level: float
    weight: float
    """Its share when the fade began, 0 to 1."""
    goal: float
    """Its share when the fade ends, 0 or 1."""


class Player:
    """Gives the frames of one of several sounds, and fades within `FADE_S` wherever what is heard changes.

    Sounds are read slice by slice; samples beyond full scale are clipped and counted. One thread may fill while another
    presses keys.

    >>> player = Player({"ramp": torch.arange(8.0)[None] / 8}, sample_rate=8000)
    >>> player.fill(3).tolist(), player.position, player.ended
    ([[0.0], [0.125], [0.25]], 3, False)
    >>> player.fill(6)[:, 0].tolist(), player.ended
    ([0.375, 0.5, 0.625, 0.75, 0.875, 0.0], True)
    """

    def __init__(self, sounds: Mapping[str, Samples], sample_rate: int, heard: str | None = None, *, channels: int = 0) -> None:
        """Stand at the beginning of the sound named `heard`, by default the first.

        Args:
            sounds: at least one, by name, of one shape ``[C, T]``, full scale 1.0.
            sample_rate: Hz.
            heard: a name among `sounds`.
            channels: what the device has, by default enough; fewer than C get the mean of all channels, as one.

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
        # A first sound comes in at once, so that what is played is what is in the file.
        self._fade = self._faded = max(1, round(FADE_S * sample_rate))
        self._voices = [_Voice(self.heard, 0, 1.0, 1.0, 1.0)]
        self._lock = Lock()

    @property
    def position(self) -> int:
        """The next sample of the sound that is heard, 0 to T."""
        return self._voices[-1].position

    @property
    def ended(self) -> bool:
        """Whether the end is reached; never while it loops."""
        return not self.looping and self.position >= self.n_samples

    def fill(self, n: int) -> NDArray[np.float32]:
        """Return the next frames ``[n, channels]`` in -1 to 1; zeros while paused and after the end."""
        frames = torch.zeros(n, self.channels)
        with self._lock:
            done = 0
            while done < n and (self._faded < self._fade or not (self.paused or self.ended)):
                # A fade ends inside a call as well: what follows it must not depend on how calls divide the time.
                count = min(n - done, self._fade - self._faded or n)
                frames[done : done + count] = self._mixed(count).T
                done += count
            self.clipped_samples += int((frames.abs() > 1).count_nonzero())
        return frames.clamp_(-1, 1).numpy()

    def switch(self, name: str) -> None:
        """Hear another sound from the same place on; raises KeyError if there is none of that name."""
        if name not in self._sounds:
            raise KeyError(name)
        with self._lock:
            self.heard = name
            self._turn(self.position)

    def seek(self, seconds: float) -> None:
        """Go forward, or back below 0, and stop at the beginning or the end."""
        with self._lock:
            target = self.position + round(seconds * self.sample_rate)
            self._turn(min(max(target, 0), self.n_samples))

    def toggle_pause(self) -> None:
        """Pause, or play on: after the end, from the beginning."""
        with self._lock:
            again = self.ended
            self.paused = not (again or self.paused)
            self._turn(0 if again else self.position)

    def toggle_loop(self) -> None:
        """Begin again at the end, or stop there."""
        with self._lock:
            self.looping = not self.looping

    def toggle_match(self) -> None:
        """Scale the residual so that its RMS is the original's, or leave it as it is; nothing where they are not both."""
        with self._lock:
            self.matched = not self.matched and RESIDUAL in self._sounds and ORIGINAL in self._sounds
            self._turn(self.position)

    def _turn(self, position: int) -> None:
        """Fade from what is heard by now, another fade perhaps, to what shall be heard from a position on."""
        for voice in self._voices:
            voice.weight, voice.goal = voice.weight + (voice.goal - voice.weight) * self._faded / self._fade, 0.0
        level = self._match if self.matched and self.heard == RESIDUAL else 1.0
        leaving = [voice for voice in self._voices if voice.weight > 0]
        self._voices = [*leaving, _Voice(self.heard, position, level, 0.0, float(not self.paused))]
        self._faded = self._fade if self.paused and not leaving else 0  # a place that is chosen in silence stays

    def _mixed(self, count: int) -> Tensor:
        """Return the next samples ``[channels, count]``, all within one fade or all outside of it, and go on."""
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
        """Return samples ``[channels, count]`` of a sound: from the beginning again, or silent, after its end."""
        pieces: list[Tensor] = []
        while count > 0:
            first = first % self.n_samples if self.looping else first
            piece = on_cpu(self._sounds[name][:, first : first + count])
            pieces.append(piece if piece.shape[1] else torch.zeros(self._channels_in, count))
            first, count = first + pieces[-1].shape[1], count - pieces[-1].shape[1]
        whole = torch.cat(pieces, dim=1)
        return whole if self.channels == self._channels_in else whole.mean(0, keepdim=True)


def _matching_level(sounds: Mapping[str, Samples]) -> float:
    """Return what gives the residual the RMS of the original; 1 where one of them is silent or missing."""
    energies = [sample_statistics(sounds[name]).energy if name in sounds else 0.0 for name in (ORIGINAL, RESIDUAL)]
    return math.sqrt(energies[0] / energies[1]) if all(energies) else 1.0


@contextmanager
def sounding(sources: Sources, heard: str | None = None, *, to_the_end: bool) -> Iterator[tuple[Player, Event]]:
    """Play through the default output device while the block runs; give the player, and what is set when the device stops.

    The device stops at the end if `to_the_end`, else it plays silence there and waits for what the player is told. Where
    it refuses the sample rate, the sounds are resampled to its own: `Player.sample_rate` says so.
    Raises `OptionError` if no sound is named `heard`, or `PlaybackError`, which names the files that another player can
    open, if the extra, PortAudio or a device is missing, refuses the sound, or goes away.
    """
    with _library(sources.files) as library:
        channels, sample_rate = _device(library, sources)
        player = Player(_at_rate(sources, sample_rate), sample_rate, heard, channels=channels)
        stopped = Event()

        def callback(frames: NDArray[np.float32], n: int, _time: object, _status: object) -> None:
            """Hand the device its next frames; what is wrong with it shows when it stops."""
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
    """Give the module ``sounddevice``; what it raises becomes `PlaybackError`."""
    try:
        library = import_module("sounddevice")
    except ImportError as error:
        remedy = "install it with: pip install 'ddaudio[play]'"
        raise _unplayable(f"the Python package sounddevice is missing ({error})", remedy, files) from None
    except OSError as error:
        remedy = "install it (Debian, Ubuntu: apt install libportaudio2; Fedora: dnf install portaudio)"
        raise _unplayable(f"the system library PortAudio is missing ({error})", remedy, files) from None
    except Exception as error:
        # PortAudio that cannot start raises it while the module that would name it is still being imported.
        if type(error).__name__ != "PortAudioError":
            raise
        raise _no_device(error, files) from None
    try:
        yield library
    except library.PortAudioError as error:
        raise _no_device(error, files) from None


def _device(library: Any, sources: Sources) -> tuple[int, int]:
    """Return how many channels the default output device has, and a sample rate it takes: the sources' where it can be."""
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
    """Return the sounds at another sample rate, or as they are; raises `PlaybackError` where no filter leads there."""
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
    return _unplayable(f"there is no sound output device that works ({error})", "use a machine that has one", files)


def _unplayable(problem: str, remedy: str, files: tuple[Path, ...]) -> PlaybackError:
    """Return the error that says what is wrong, what to do, and where the sounds lie."""
    elsewhere = f"open {', '.join(map(quoted, files))}" if files else "write a WAV file with ddaudio render and open it"
    hint = f"{remedy}, or {elsewhere} in another player"
    return PlaybackError(f"cannot play: {problem}", hint=hint)
