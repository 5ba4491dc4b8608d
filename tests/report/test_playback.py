"""Playing: what reaches the sound device, and what the command says where there is none."""

import contextlib
import doctest
import importlib
import io
import math
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch
from ddaudio_cli import main
from ddaudio_cli.app import app
from ddaudio_cli.play import status
from hypothesis import given
from hypothesis import strategies as st
from sounds import RATE, noise
from torch import Tensor

from ddaudio import load_model, render
from ddaudio.errors import ModelError, OptionError, PlaybackError, RecordingError, ReportError
from ddaudio.io import audio
from ddaudio.io.samples import DiskSamples, Samples
from ddaudio.report import playback
from ddaudio.report.playback import Player, read_sources, sounding

FADE = 40  # 5 ms at RATE
FAKE = """
import os, threading
import numpy as np

class PortAudioError(Exception): pass
class CallbackStop(Exception): pass

device = {"max_output_channels": 2, "default_samplerate": 16000.0}
refused = None  # arguments of a PortAudioError when settings are checked
broken = None  # and when the stream is opened
unplugged_after = float("inf")  # blocks
recorded, opened = [], []

def query_devices(kind):
    assert kind == "output"
    return device

def check_output_settings(samplerate, channels, dtype):
    assert channels <= device["max_output_channels"]
    if refused and samplerate != device["default_samplerate"]:
        raise PortAudioError(*refused)

class OutputStream:
    def __init__(self, samplerate, channels, dtype, callback, finished_callback):
        assert dtype == "float32" and channels <= device["max_output_channels"]
        if broken:
            raise PortAudioError(*broken)
        opened.append((samplerate, channels))
        self.shape, self.callback, self.finished, self.end = (64, channels), callback, finished_callback, threading.Event()
    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self
    def __exit__(self, *_):
        self.end.set()
        self.thread.join()
    def run(self):
        while not self.end.wait(0.0005) and len(recorded) < unplugged_after:
            frames = np.full(self.shape, np.nan, np.float32)
            try:
                self.callback(frames, len(frames), None, None)
            except CallbackStop:
                self.end.set()
            recorded.append(frames)
            if "FAKE_RECORD" in os.environ:
                with open(os.environ["FAKE_RECORD"], "ab") as file:
                    file.write(frames.tobytes())
        self.finished()
"""


def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Run the command in this process; return its exit code, stdout and stderr."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real fit of a stereo sound of 0.3 s, beside its recording."""
    folder = tmp_path_factory.mktemp("playing")
    times = np.arange(round(0.3 * RATE)) / RATE
    tone = 0.5 * np.sin(2 * np.pi * 500 * times) + 0.01 * np.random.default_rng(3).normal(size=len(times))
    soundfile.write(folder / "tone.wav", np.stack([tone, -0.5 * tone[::-1]], axis=1), RATE, subtype="FLOAT")
    assert (
        run(
            "fit", folder / "tone.wav", "--out", folder / "tone-fit", "--no-html", "--quiet", "--model", "sine", "--budget", "60"
        )[0]
        == 0
    )
    return folder / "tone-fit"


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module in place of sounddevice, which records."""
    (tmp_path / "sounddevice.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "sounddevice", None)  # so that what was there comes back
    del sys.modules["sounddevice"]
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return importlib.import_module("sounddevice")


def recorded(device: ModuleType) -> np.ndarray:
    """Return all frames ``[n, C]`` that the fake device was given."""
    return np.concatenate(device.recorded)


def frames_of(samples: Samples) -> np.ndarray:
    """Return samples as frames ``[T, C]``."""
    return samples[:, :].T.numpy()


def three(channels: int = 2, seconds: float = 0.1) -> dict[str, Tensor]:
    """Return three sounds that are nowhere alike: noise of RMS 0.1, 0.1 and 0.02."""
    first, second, third = (noise(seconds, channels, seed) for seed in range(3))
    return {"original": first, "resynthesis": second, "residual": 0.2 * third}


# the player


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_frames_are_the_samples_then_silence(channels: int) -> None:
    sounds = three(channels)
    for name in sounds:
        player = Player(sounds, RATE, name)
        frames = np.concatenate([player.fill(n) for n in (1, 300, 499)])
        assert (frames.dtype, frames.shape) == (np.float32, (800, channels))
        assert (frames == frames_of(sounds[name])).all()
        assert (player.ended, player.position) == (True, 800)
        assert not player.fill(10).any()
        assert player.position == 800
        assert (player.heard, player.clipped_samples) == (name, 0)


def test_it_is_the_end_when_the_last_sample_was_given_and_not_before() -> None:
    player = Player(three(), RATE)
    player.fill(799)
    assert not player.ended
    player.fill(1)
    assert player.ended


def test_a_switch_keeps_the_place_and_fades_in_a_straight_line() -> None:
    sounds = three()
    player = Player(sounds, RATE)
    player.fill(100)
    player.switch("residual")
    assert (player.heard, player.position) == ("residual", 100)
    frames = player.fill(300)
    old, new = frames_of(sounds["original"])[100:400], frames_of(sounds["residual"])[100:400]
    share = np.arange(1, FADE + 1)[:, None] / FADE
    # Rounding of float32 below 0.5.
    assert np.abs(frames[:FADE] - ((1 - share) * old[:FADE] + share * new[:FADE])).max() < 1e-7
    assert (frames[FADE:] == new[FADE:]).all()


def test_switches_within_a_fade_go_on_from_what_is_heard() -> None:
    """With sounds that stand still what is heard may turn, but never by more than a fade's step."""
    levels = {"original": 0.9, "resynthesis": -0.9, "residual": 0.3}
    player = Player({name: torch.full((1, 2000), level) for name, level in levels.items()}, RATE)
    frames = [player.fill(50)]
    for name in ("residual", "resynthesis", "original", "original", "residual", "resynthesis"):
        player.switch(name)
        frames.append(player.fill(11))
    frames.append(player.fill(100))
    steps = np.abs(np.diff(np.concatenate(frames), axis=0))
    assert 0 < steps.max() <= 1.8 / FADE + 1e-6
    assert (frames[-1][FADE:] == np.float32(-0.9)).all()


def test_nobody_is_switched_to() -> None:
    player = Player(three(), RATE)
    with pytest.raises(KeyError, match="noise"):
        player.switch("noise")
    assert player.heard == "original"


@pytest.mark.parametrize(
    ("seconds", "position"), [(0.01, 480), (-0.01, 320), (-0.04, 80), (-0.05, 0), (-0.06, 0), (9, 800), (0, 400)]
)
def test_a_seek_stays_within_the_sound(seconds: float, position: int) -> None:
    sounds = three()
    player = Player(sounds, RATE)
    player.fill(400)
    player.seek(seconds)
    assert player.position == position
    frames, rest = player.fill(200), frames_of(sounds["original"])[position + FADE : position + 200]
    assert (frames[FADE : FADE + len(rest)] == rest).all()
    assert not frames[FADE + len(rest) :].any()
    # From the old place into the new one, without a jump.
    assert np.abs(frames[0] - frames_of(sounds["original"])[400]).max() < 1.5 / FADE


def test_a_loop_goes_on_with_the_first_sample() -> None:
    sounds = three()
    player = Player(sounds, RATE)
    player.toggle_loop()
    whole = frames_of(sounds["original"])
    frames = player.fill(2500)
    assert (frames == np.concatenate([whole, whole, whole, whole[:100]])).all()
    assert (player.position, player.ended) == (100, False)
    player.toggle_loop()
    assert (player.fill(1000)[:700] == whole[100:]).all()
    assert player.ended
    player.toggle_loop()  # what had ended goes on
    assert (player.fill(10) == whole[:10]).all()


def test_a_pause_fades_out_and_back_in_where_it_was() -> None:
    sounds = three()
    player = Player(sounds, RATE)
    player.fill(100)
    player.toggle_pause()
    frames = player.fill(200)
    whole = frames_of(sounds["original"])
    share = np.arange(1, FADE + 1)[:, None] / FADE
    assert np.abs(frames[:FADE] - (1 - share) * whole[100 : 100 + FADE]).max() < 1e-7
    assert not frames[FADE:].any()
    assert (player.paused, player.position) == (True, 100 + FADE)
    player.switch("residual")
    assert not player.fill(100).any()
    player.seek(-100 / RATE)
    assert not player.fill(100).any()
    place = player.position
    assert place == FADE
    player.toggle_pause()
    again = player.fill(200)
    whole = frames_of(sounds["residual"])[place : place + 200]
    assert np.abs(again[:FADE] - share * whole[:FADE]).max() < 1e-7
    assert (again[FADE:] == whole[FADE:]).all()


def test_after_the_end_space_plays_from_the_beginning_and_an_arrow_from_before_the_end() -> None:
    sounds = three()
    whole = frames_of(sounds["original"])
    player = Player(sounds, RATE)
    player.fill(900)
    player.toggle_pause()
    assert (player.paused, player.position) == (False, 0)
    assert (player.fill(800)[FADE:] == whole[FADE:]).all()
    player.seek(-0.05)
    assert (player.fill(400)[FADE:] == whole[400 + FADE :]).all()


def test_a_matched_residual_has_the_originals_rms() -> None:
    sounds = three()
    player = Player(sounds, RATE, "residual")
    player.toggle_match()
    player.fill(FADE)
    player.seek(-1)
    player.toggle_loop()
    player.fill(800)
    matched = player.fill(800)
    rms = math.sqrt(float(sounds["original"].square().mean()))
    assert math.sqrt(np.square(matched, dtype=np.float64).mean()) == pytest.approx(rms, rel=1e-6)
    player.switch("original")
    player.fill(800)
    assert sorted(player.fill(800).flat) == sorted(frames_of(sounds["original"]).flat)
    player.switch("residual")
    player.toggle_match()
    player.fill(800)
    assert sorted(player.fill(800).flat) == sorted(frames_of(sounds["residual"]).flat)


@pytest.mark.parametrize("silent", ["original", "residual"])
def test_silence_is_not_matched(silent: str) -> None:
    sounds = three() | {silent: torch.zeros(2, 800)}
    player = Player(sounds, RATE, "residual")
    player.toggle_match()
    assert (player.fill(400)[FADE:] == frames_of(sounds["residual"])[FADE:400]).all()


def test_a_single_sound_has_nothing_to_match() -> None:
    player = Player({"residual": noise(0.1)}, RATE)
    player.toggle_match()
    assert not player.matched


@pytest.mark.parametrize(("channels", "available", "given"), [(2, 1, 1), (6, 2, 1), (2, 2, 2), (1, 2, 1), (2, 8, 2)])
def test_fewer_channels_get_the_mean(channels: int, available: int, given: int) -> None:
    sounds = three(channels)
    player = Player(sounds, RATE, channels=available)
    whole = frames_of(sounds["original"])
    expected = whole if given == channels else whole.astype(np.float64).mean(1, keepdims=True)
    frames = player.fill(800)
    assert (player.channels, frames.shape) == (given, (800, given))
    # Rounding of a float32 mean below 0.5.
    assert np.abs(frames - expected).max() < (1e-7 if given < channels else 1e-30)


def test_what_goes_beyond_full_scale_is_clipped_and_counted() -> None:
    player = Player({"loud": torch.tensor([[0.5, 1.0, -1.0, 1.5, -1.25, 0.0]])}, RATE)
    assert player.fill(6)[:, 0].tolist() == [0.5, 1.0, -1.0, 1.0, -1.0, 0.0]
    assert player.clipped_samples == 2


def test_sounds_are_read_slice_by_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = DiskSamples(2)
    spool.append(noise(1, 2))
    read, longest = DiskSamples.__getitem__, []

    def watched(self: DiskSamples, index: tuple[slice, slice]) -> Tensor:
        found = read(self, index)
        longest.append(found.shape[1])
        return found

    player = Player({"original": spool, "residual": spool}, RATE)
    monkeypatch.setattr(DiskSamples, "__getitem__", watched)
    frames = np.concatenate([player.fill(64) for _ in range(125)])
    assert max(longest) == 64
    assert (frames == noise(1, 2).T.numpy()).all()


def test_a_player_refuses_what_is_not_there() -> None:
    with pytest.raises(OptionError, match="there is no residual to play here; allowed: original; give the folder of a fit"):
        Player({"original": noise(0.1)}, RATE, "residual")
    with pytest.raises(ValueError, match=r"\[\(1, 800\), \(2, 800\)\]: give at least one, all of one shape"):
        Player({"original": noise(0.1), "residual": noise(0.1, 2)}, RATE)
    with pytest.raises(ValueError, match="give at least one"):
        Player({}, RATE)


DEEDS: dict[str, Callable[[Player], None]] = {
    "1": lambda player: player.switch("original"),
    "2": lambda player: player.switch("resynthesis"),
    "3": lambda player: player.switch("residual"),
    "back": lambda player: player.seek(-0.03),
    "forth": lambda player: player.seek(0.02),
    "pause": Player.toggle_pause,
    "loop": Player.toggle_loop,
    "match": Player.toggle_match,
}
SCENES = st.lists(st.tuples(st.sampled_from(sorted(DEEDS)), st.lists(st.integers(0, 300), max_size=5)), max_size=8)


@given(SCENES, st.sampled_from([1, 2]))
def test_how_calls_divide_the_time_does_not_matter(scenes: list[tuple[str, list[int]]], channels: int) -> None:
    whole, divided = (Player(three(), RATE, channels=channels) for _ in range(2))
    for deed, counts in [("match", [7]), *scenes]:
        for player in (whole, divided):
            DEEDS[deed](player)
        expected = whole.fill(sum(counts))
        found = np.concatenate([np.empty((0, channels), np.float32), *(divided.fill(count) for count in counts)])
        assert (found == expected).all()
        assert (whole.position, whole.ended, whole.paused) == (divided.position, divided.ended, divided.paused)
        assert whole.clipped_samples == divided.clipped_samples
        assert 0 <= whole.position <= 800


def test_the_status_says_what_is_heard() -> None:
    player = Player(three(seconds=61), RATE)
    assert status(player) == "0:00.0 / 1:01.0  [1 original] 2 resynthesis 3 residual  "
    player.switch("residual")
    player.toggle_pause()
    player.toggle_match()
    player.seek(59.99)
    assert status(player) == "0:59.9 / 1:01.0  1 original 2 resynthesis [3 residual]  paused, level-matched"
    player.seek(9)
    assert status(player) == "1:01.0 / 1:01.0  1 original 2 resynthesis [3 residual]  at the end, level-matched"
    player.toggle_loop()
    assert status(player).endswith("paused, looped, level-matched")
    assert status(Player({"bark.wav": noise(0.1)}, RATE)) == "0:00.0 / 0:00.1  [bark.wav]  "


def test_the_examples_run() -> None:
    results = doctest.testmod(playback)
    assert (results.failed, results.attempted > 0) == (0, True)


# what there is to hear


def test_a_fit_has_three_sounds_and_its_files(fitted: Path) -> None:
    sources = read_sources(fitted)
    assert list(sources.sounds) == ["original", "resynthesis", "residual"]
    for found, name in zip(sources.sounds.values(), ("../tone.wav", "resynth.wav", "residual.wav"), strict=True):
        # The original is the sum of the other two: a last bit of each.
        assert np.abs(frames_of(found) - soundfile.read(fitted / name)[0]).max() < 1e-6
    assert sources.sample_rate == RATE
    assert sources.files == (fitted / "resynth.wav", fitted / "residual.wav", fitted.parent / "tone.wav")


def test_a_recording_that_is_gone_is_not_named(fitted: Path) -> None:
    (fitted.parent / "tone.wav").rename(fitted.parent / "moved.wav")
    try:
        assert read_sources(fitted).files == (fitted / "resynth.wav", fitted / "residual.wav")
    finally:
        (fitted.parent / "moved.wav").rename(fitted.parent / "tone.wav")


def test_a_model_has_one_sound_in_a_fits_folder_or_alone(fitted: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    model.write_bytes((fitted / "model.safetensors").read_bytes())
    sound = frames_of(render(load_model(model)))
    for path, files in ((fitted / "model.safetensors", (fitted / "resynth.wav",)), (model, ()), (tmp_path, ())):
        sources = read_sources(path)
        assert (list(sources.sounds), sources.sample_rate, sources.files) == (["resynthesis"], RATE, files)
        assert (frames_of(sources.sounds["resynthesis"]) == sound).all()


def test_any_sound_file_has_one_sound(fitted: Path) -> None:
    path = fitted.parent / "tone.wav"
    sources = read_sources(str(path))
    assert (list(sources.sounds), sources.sample_rate, sources.files) == (["tone.wav"], RATE, (path,))
    assert (frames_of(sources.sounds["tone.wav"]) == soundfile.read(path)[0].astype(np.float32)).all()


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("missing.wav", RecordingError, "missing.wav': it is missing; give"),
        ("missing.safetensors", ModelError, "there is no model file"),
        ("", ReportError, "has no report.json"),
        ("text.wav", RecordingError, "it holds text, not sound"),
    ],
)
def test_what_cannot_be_heard_is_refused(name: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("words")
    with pytest.raises(error, match=words):
        read_sources(tmp_path / name)
    code, out, err = run("play", tmp_path / name)
    assert (code, out) == (2, "")
    assert words in err


# without a terminal


@pytest.mark.parametrize(("flags", "name"), [((), "resynthesis"), (("--which", "original"), "original")])
def test_a_fit_is_played_to_its_end(flags: tuple[str, ...], name: str, fitted: Path, device: ModuleType) -> None:
    assert run("play", fitted, *flags) == (0, "", "")
    expected = frames_of(read_sources(fitted).sounds[name])
    frames = recorded(device)
    assert device.opened == [(RATE, 2)]
    assert (frames[:2400] == expected).all()
    assert not frames[2400:].any()
    assert len(frames) == math.ceil(2400 / 64) * 64


def test_a_sound_file_is_played_and_what_it_lacks_is_refused(fitted: Path, device: ModuleType) -> None:
    path = fitted.parent / "tone.wav"
    assert run("play", path) == (0, "", "")
    assert (recorded(device)[:2400] == soundfile.read(path)[0].astype(np.float32)).all()
    code, _, err = run("play", path, "--which", "residual")
    assert code == 2
    said = "there is no residual to play here; allowed: tone.wav; give the folder of a fit, which has all three"
    assert err == f"ddaudio: error: {said}\n"


def test_one_channel_gets_both(fitted: Path, device: ModuleType) -> None:
    device.device["max_output_channels"] = 1
    assert run("play", fitted) == (0, "", "")
    assert device.opened == [(RATE, 1)]
    expected = frames_of(read_sources(fitted).sounds["resynthesis"]).mean(1, keepdims=True)
    assert np.abs(recorded(device)[:2400] - expected).max() < 1e-7


def test_clipping_is_told(tmp_path: Path, device: ModuleType) -> None:
    soundfile.write(tmp_path / "loud.wav", np.array([0.5, 1.5, -2.0]), RATE, subtype="FLOAT")
    code, _, err = run("play", tmp_path / "loud.wav")
    assert (code, err) == (0, "ddaudio: note: 2 samples exceeded full scale and were clipped\n")
    assert recorded(device)[:3, 0].tolist() == [0.5, 1.0, -1.0]


def test_a_refused_rate_is_told_and_resampled(fitted: Path, device: ModuleType) -> None:
    device.refused = ("Invalid sample rate", -9997)
    code, _, err = run("play", fitted)
    assert (code, err) == (0, "ddaudio: note: the sound device refuses 8000 Hz: resampled to 16000 Hz\n")
    assert device.opened == [(16000, 2)]
    expected = frames_of(audio.read(fitted / "resynth.wav", 16000).samples)
    assert (recorded(device)[: len(expected)] == expected).all()
    assert len(expected) == 4800


def test_a_rate_that_no_filter_reaches_is_an_error(tmp_path: Path, device: ModuleType) -> None:
    device.refused, device.device["default_samplerate"] = ("Invalid sample rate", -9997), 44100.0
    soundfile.write(tmp_path / "odd.wav", np.zeros(100), 7919)
    code, _, err = run("play", tmp_path / "odd.wav")
    assert code == 2
    assert "the sound device takes 44100 Hz, not the 7919 Hz of the sound" in err
    assert "odd.wav' in another player" in err


def named_files(message: str) -> list[str]:
    """Return the files that a refusal names, all of which must be there."""
    found = re.fullmatch(r"ddaudio: error: cannot play: .+, or open (.+) in another player\n", message)
    assert found, message
    files = [Path(name) for name in re.findall(r"'([^']+)'", found[1])]
    assert all(file.is_file() for file in files)
    return [file.name for file in files]


THREE_FILES = ["resynth.wav", "residual.wav", "tone.wav"]


@pytest.mark.parametrize("trouble", ["refused", "broken"])
def test_a_device_that_does_not_work_is_an_error(trouble: str, fitted: Path, device: ModuleType) -> None:
    setattr(device, trouble, ("Device unavailable", -9985))
    code, out, err = run("play", fitted)
    assert (code, out) == (2, "")
    assert "no working sound output device" in err
    assert "Device unavailable" in err
    assert named_files(err) == THREE_FILES


def test_a_device_that_goes_away_is_an_error(fitted: Path, device: ModuleType) -> None:
    device.unplugged_after = 25
    code, _, err = run("play", fitted)
    assert code == 2
    assert "the sound device stopped at 0.2 s; check that it is still connected" in err  # 25 blocks of 64 at 8 kHz
    assert named_files(err) == THREE_FILES


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, ("sounddevice is missing", "pip install 'ddaudio[play]'")),
        (
            "raise OSError('PortAudio library not found')",
            ("PortAudio is missing (PortAudio lib", "apt install libportaudio2"),
        ),
        (
            "class PortAudioError(Exception): pass\nraise PortAudioError('no host')",
            ("no working sound output device", "(no host)"),
        ),
    ],
)
def test_without_a_library_the_files_are_named(
    module: str | None, words: tuple[str, str], fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)  # as if it were not installed
    if module is not None:
        del sys.modules["sounddevice"]
        (tmp_path / "sounddevice.py").write_text(module)
        monkeypatch.syspath_prepend(tmp_path)
    code, out, err = run("play", fitted)
    assert (code, out) == (2, "")
    assert all(word in err for word in words)
    assert named_files(err) == THREE_FILES
    assert named_files(run("play", fitted / "model.safetensors")[2]) == ["resynth.wav"]
    assert named_files(run("play", fitted / "residual.wav")[2]) == ["residual.wav"]
    (tmp_path / "model.safetensors").write_bytes((fitted / "model.safetensors").read_bytes())
    assert "write a WAV file with ddaudio render and open it in another player" in run("play", tmp_path)[2]


def test_other_faults_of_the_library_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fitted: Path) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    del sys.modules["sounddevice"]
    (tmp_path / "sounddevice.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ZeroDivisionError), sounding(read_sources(fitted), to_the_end=True):
        pass


def test_the_library_gives_player_and_end(fitted: Path, device: ModuleType) -> None:
    with sounding(read_sources(fitted), "residual", to_the_end=True) as (player, stopped):
        assert stopped.wait(60)
    assert (player.heard, player.ended) == ("residual", True)
    device.broken = ("gone",)
    with pytest.raises(PlaybackError, match="gone"), sounding(read_sources(fitted), to_the_end=True):
        pass


def test_every_argument_has_help() -> None:
    arguments = app["play"].assemble_argument_collection(parse_docstring=True)
    assert {name for argument in arguments for name in argument.names} >= {"--which", "--quiet"}
    assert all(argument.parameter.help for argument in arguments)


# in a terminal


class Session:
    """``ddaudio play`` in a terminal of its own, with the fake device writing what it is given to a file."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        pty, self.termios = pytest.importorskip("pty"), pytest.importorskip("termios")
        (folder / "sounddevice.py").write_text(FAKE)
        self.file, self.seen, self.deadline = folder / "recorded", "", time.monotonic() + 60
        self.outer, self.inner = pty.openpty()
        self.before = self.termios.tcgetattr(self.inner)
        # A test run in the background is deaf to SIGINT, and so would be its children.
        code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\nfrom ddaudio_cli import main\n"
        command = [sys.executable, "-c", f"{code}sys.exit(main())", "play", *map(str, arguments)]
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": path, "FAKE_RECORD": str(self.file), "COLUMNS": "120"}
        files = dict.fromkeys(("stdin", "stdout", "stderr"), self.inner)
        self.process = subprocess.Popen(command, env=environment, **files)  # type: ignore[call-overload]

    def until(self, met: Callable[[], bool]) -> None:
        """Read what is shown until something is so; fail after a minute."""
        while not met():
            if time.monotonic() > self.deadline:
                self.process.kill()
                pytest.fail(f"waited for 60 s: {self.seen!r}")
            if select.select([self.outer], [], [], 0.02)[0]:
                self.seen += os.read(self.outer, 4096).decode()

    def press(self, keys: str, words: str) -> None:
        """Press keys and wait until some words are shown."""
        self.seen = ""
        os.write(self.outer, keys.encode())
        self.until(lambda: words in self.seen)

    def play_on(self) -> None:
        """Wait until the device has had two sounds of 2400 frames more."""
        size = self.file.stat().st_size
        self.until(lambda: self.file.stat().st_size > size + 2 * 2400 * 2 * 4)

    def end(self) -> tuple[int, bool]:
        """Return the exit code, and whether the terminal is as before."""
        self.until(lambda: self.process.poll() is not None)
        return self.process.returncode, self.termios.tcgetattr(self.inner) == self.before

    def close(self) -> None:
        """End what still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.inner)
        os.close(self.outer)


@pytest.fixture
def session(fitted: Path, tmp_path: Path) -> Iterator[Session]:
    opened = Session(tmp_path, fitted, "--which", "original")
    yield opened
    opened.close()


def test_keys_choose_what_is_heard(session: Session, fitted: Path) -> None:
    session.until(lambda: "[1 original] 2 resynthesis 3 residual  at the end" in session.seen)
    assert "q quits" in session.seen
    session.press("l", "[1 original] 2 resynthesis 3 residual  looped")
    session.press("2", "[2 resynthesis]")
    session.play_on()
    session.press("x \x1b[5~", "paused, looped")
    session.play_on()
    session.press("q", "\n")
    assert session.end() == (0, True)
    assert "Traceback" not in session.seen
    frames = np.fromfile(session.file, np.float32).reshape(-1, 2)
    sounds = {name: frames_of(sound) for name, sound in read_sources(fitted).sounds.items()}
    assert (frames[:2400] == sounds["original"]).all()
    last = int(frames.any(axis=1).nonzero()[0][-1]) + 1
    assert len(frames) - last >= 2400
    # Before the pause's fade, whole turns of the resynthesis, whichever sample they begin with.
    turn = frames[last - FADE - 2400 : last - FADE]
    assert any((np.roll(turn, shift, axis=0) == sounds["resynthesis"]).all() for shift in range(2400))


def test_arrows_and_level(session: Session) -> None:
    session.until(lambda: "at the end" in session.seen)
    session.press("l", "looped")
    session.press(" ", "paused, looped")
    # The last moment first: no pause shows it, a sound that is paused by chance at the first shows that.
    session.press("\x1bOC", "0:00.3 / 0:00.3  [1 original] 2 resynthesis 3 residual  paused")
    session.press("\x1b[D", "0:00.0 / 0:00.3  [1 original] 2 resynthesis 3 residual  paused")
    session.press("3m", "[3 residual]  paused, looped, level-matched")
    session.process.send_signal(signal.SIGHUP)
    assert session.end() == (129, True)


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_leaves_the_terminal_as_it_was(number: str, code: int, session: Session) -> None:
    session.until(lambda: "at the end" in session.seen)
    assert session.termios.tcgetattr(session.inner) != session.before
    session.process.send_signal(getattr(signal, number))
    assert session.end() == (code, True)
    assert "Traceback" not in session.seen


def test_keys_work_after_a_stop(session: Session) -> None:
    """A shell gives what it continues the terminal as it was at first."""
    session.until(lambda: "at the end" in session.seen)
    session.termios.tcsetattr(session.inner, session.termios.TCSANOW, session.before)
    session.process.send_signal(signal.SIGCONT)
    session.until(lambda: session.termios.tcgetattr(session.inner) != session.before)
    session.press("q", "\n")
    assert session.end() == (0, True)


def test_quiet_shows_no_status(fitted: Path, tmp_path: Path) -> None:
    session = Session(tmp_path, fitted, "--quiet")
    try:
        session.until(lambda: session.termios.tcgetattr(session.inner) != session.before)
        session.until(session.file.exists)
        os.write(session.outer, b"q")
        assert session.end() == (0, True)
        assert session.seen == ""
    finally:
        session.close()
