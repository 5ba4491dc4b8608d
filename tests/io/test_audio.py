"""Reading keeps what is in the file, however long it is, and refuses what cannot be fitted."""

import contextlib
import doctest
import errno
import itertools
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from badfiles import BAD_FILES
from refusals import refused
from soundchecks import RATE, is_one_line_that_says, noise, sine, spooled, stored

from ddaudio.errors import OutputError, RecordingError
from ddaudio.io import audio
from ddaudio.io import samples as io_samples
from ddaudio.io.audio import Recording, read, write_wav
from ddaudio.io.samples import DiskSamples

# Refused


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("sample_rate", [None, 8000])
def test_bad_files_are_refused_in_one_line_and_nothing_is_written(kind: str, sample_rate: int | None, tmp_path: Path) -> None:
    make, words = BAD_FILES[kind]
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RecordingError) as caught:
        read(path, sample_rate)
    assert is_one_line_that_says(str(caught.value), words), str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.wav"
    stored(path, noise(100))

    def refuse(*_arguments: object) -> None:  # not by permission bits: they do not bind an administrator
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(RecordingError, match=r"locked.wav': Permission denied; check that the file can be read"):
        read(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(RecordingError, match="it is not a regular file"):
        read(tmp_path / "pipe.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.aiff"])
def test_every_beginning_of_a_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    whole = stored(tmp_path / name, noise(6000))
    path = tmp_path / f"cut-{name}"
    for n_bytes in [*range(1, 200), *range(200, len(whole), 331)]:
        path.write_bytes(whole[:n_bytes])
        with contextlib.suppress(RecordingError):
            assert read(path).truncated


def test_a_name_with_odd_characters_stays_on_one_line() -> None:
    with pytest.raises(RecordingError) as caught:
        read("no\nsuch\x1bfile.wav")
    assert is_one_line_that_says(str(caught.value), (r"no\nsuch\x1bfile.wav",))
    with pytest.raises(RecordingError) as caught:
        read(r"folder\file.wav")
    assert is_one_line_that_says(str(caught.value), (r"'folder\file.wav'",))


@pytest.mark.parametrize("sample_rate", [0, -8000, 999, 384_001, 44_100.0, "44100"])
def test_rates_out_of_range_are_refused(sample_rate: int, tmp_path: Path) -> None:
    facts = {"setting": "sample_rate", "value": sample_rate, "allowed": "whole numbers from 1000 to 384000 Hz"}
    stored(tmp_path / "a.wav", noise(10))
    with refused(RecordingError, source="'samples'", **facts):
        Recording(noise(10), sample_rate)
    with refused(source=None, **facts):
        read(tmp_path / "a.wav", sample_rate)
    with refused(source=repr(str(tmp_path / "b.wav")), **facts):
        write_wav(tmp_path / "b.wav", noise(10), sample_rate, "pcm16")
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize(
    ("samples", "value"),
    [
        (torch.zeros(5), [5]),
        (torch.zeros(1, 1, 5), [1, 1, 5]),
        (torch.zeros(1, 0), [1, 0]),
        (torch.zeros(0, 5), [0, 5]),
        (torch.zeros(1025, 1), [1025, 1]),
        (torch.zeros(1, 5, dtype=torch.float64), torch.float64),
        (np.zeros((1, 5), dtype=np.float32), np.dtype("float32")),
    ],
)
def test_recordings_of_another_shape_or_type_are_refused(samples: torch.Tensor, value: object) -> None:
    shape = "[C, T], C from 1 to 1024, T 1 or more"
    allowed = shape if isinstance(value, list) else "a float32 torch.Tensor [C, T]"
    with refused(RecordingError, setting="samples", value=value, allowed=allowed, source="'samples'"):
        Recording(samples, RATE)


def test_samples_that_are_not_finite_are_refused_with_the_place_of_the_first() -> None:
    problem = "1 of 2 samples are NaN or infinite, the first at 0.000125 s (sample 1 of channel 0)"
    with refused(RecordingError, problem=problem, allowed="finite values", hint="repair or export it again", source="'a.wav'"):
        Recording(torch.tensor([[0.0, float("nan")]]), 8000, "a.wav")


# Read


@pytest.mark.parametrize("n_channels", [1, 2, 8])
@pytest.mark.parametrize(
    ("name", "subtype"),
    [("a.wav", "PCM_16"), ("a.wav", "PCM_24"), ("a.wav", "FLOAT"), ("a.flac", "PCM_16"), ("a.aiff", "PCM_24")],
)
def test_lossless_formats_are_exact(name: str, subtype: str, n_channels: int, tmp_path: Path) -> None:
    samples = noise(5000, n_channels)
    stored(tmp_path / name, samples, subtype)
    recording = read(tmp_path / name)
    assert torch.equal(recording.samples, samples)
    assert recording.samples.is_contiguous()
    assert (recording.sample_rate, recording.source) == (RATE, str(tmp_path / name))
    assert (recording.n_channels, recording.n_samples, recording.duration_s) == (n_channels, 5000, 5000 / RATE)
    assert (recording.declared_samples, recording.truncated) == (5000, False)


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_lossy_formats_are_close(name: str, tmp_path: Path) -> None:
    samples = torch.cat([sine(440, RATE, RATE), sine(1000, RATE, RATE)])
    stored(tmp_path / name, samples)
    recording = read(tmp_path / name)
    assert recording.samples.shape == samples.shape
    assert not recording.truncated
    # Both coders keep a steady tone at about 40 dB; the start, where it sets in, is their weakest place.
    error = (recording.samples - samples)[:, 2000:-2000].square().mean() / samples.square().mean()
    assert error < 1e-3


@pytest.mark.parametrize("sample_rate", [4000, 192_000])
@pytest.mark.parametrize(
    "samples",
    [torch.zeros(1, 1000), torch.full((1, 1000), 0.25), torch.full((1, 1), -0.5), noise(3000, 8)],
    ids=["silence", "dc", "one-sample", "8-channels"],
)
def test_odd_but_good_recordings_are_read(samples: torch.Tensor, sample_rate: int, tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", samples, "PCM_16", sample_rate)
    recording = read(tmp_path / "a.wav")
    assert torch.equal(recording.samples, samples)
    assert recording.sample_rate == sample_rate
    resampled = read(tmp_path / "a.wav", 16_000)
    assert resampled.samples.shape == (len(samples), -(-samples.shape[1] * 16_000 // sample_rate))
    assert resampled.samples.isfinite().all()


def test_a_file_longer_than_a_block_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", 1 << 10)
    for n_samples in (1023, 1024, 1025, 10_000):
        samples = noise(n_samples, 2)
        stored(tmp_path / "a.flac", samples)
        assert torch.equal(read(tmp_path / "a.flac").samples, samples)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "rf64.wav"])
def test_a_cut_file_is_read_as_far_as_it_goes(name: str, subtype: str, tmp_path: Path) -> None:
    path, samples = tmp_path / name, noise(5000, 2)
    soundfile.write(path, samples.T.numpy(), RATE, subtype, format="RF64" if name == "rf64.wav" else None)
    intact = read(path).samples
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 - 1])
    recording = read(path)
    assert recording.truncated
    assert recording.declared_samples == 5000
    assert 2400 < recording.n_samples < 2500
    assert torch.equal(recording.samples, intact[:, : recording.n_samples])
    resampled = read(path, 22_050)
    assert resampled.truncated
    assert resampled.declared_samples == 2500


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.99])
def test_a_cut_flac_keeps_every_frame_that_is_whole(fraction: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(50_000)
    whole = stored(tmp_path / "a.flac", samples)
    (tmp_path / "a.flac").write_bytes(whole[: int(fraction * len(whole))])
    for block in (1 << 12, 1 << 20):
        monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", block)
        recording = read(tmp_path / "a.flac")
        assert recording.truncated
        assert recording.declared_samples == 50_000
        # noise takes equally many bytes everywhere, and a FLAC frame has 4096 samples
        assert recording.n_samples % 4096 == 0
        assert fraction * 50_000 - 8192 < recording.n_samples <= fraction * 50_000
        assert torch.equal(recording.samples, samples[:, : recording.n_samples])


@pytest.mark.parametrize("name", ["a.ogg", "a.mp3"])
def test_a_cut_ogg_or_mp3_is_read_as_far_as_it_goes(name: str, tmp_path: Path) -> None:
    whole = stored(tmp_path / name, noise(2 * RATE))
    intact = read(tmp_path / name)
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    recording = read(tmp_path / name)
    assert not intact.truncated
    assert recording.truncated
    assert 0.2 * intact.n_samples < recording.n_samples < 0.6 * intact.n_samples
    # an MP3 declares its length, an OGG does not
    assert recording.declared_samples == (recording.n_samples if name == "a.ogg" else 2 * RATE)


def test_an_mp3_whose_length_is_only_estimated_is_not_truncated(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, noise(RATE)[0].numpy(), RATE, bitrate_mode="CONSTANT", compression_level=0.2)
    whole = path.read_bytes()
    path.write_bytes(whole[whole.index(whole[:2], 4) :])  # without its first frame, which holds the index
    assert soundfile.info(path).frames > len(soundfile.read(path)[0])
    assert not read(path).truncated


def test_an_ogg_without_its_last_page_is_truncated(tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.ogg", noise(2 * RATE))
    (tmp_path / "a.ogg").write_bytes(whole[: whole.rindex(b"OggS")])
    assert read(tmp_path / "a.ogg").truncated
    (tmp_path / "a.ogg").write_bytes(whole[:-1])
    assert read(tmp_path / "a.ogg").truncated


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFFFFF - 36])
def test_a_recorder_that_left_the_length_open_truncated_nothing(size: int, tmp_path: Path) -> None:
    samples = noise(1000)
    whole = bytearray(stored(tmp_path / "a.wav", samples, "PCM_16"))
    whole[40:44] = struct.pack("<I", size)
    (tmp_path / "a.wav").write_bytes(whole)
    recording = read(tmp_path / "a.wav")
    assert torch.equal(recording.samples, samples)
    assert (recording.truncated, recording.declared_samples) == (False, 1000)


def test_a_flac_of_unknown_length_is_read_whole(tmp_path: Path) -> None:
    samples = noise(10_000)
    whole = bytearray(stored(tmp_path / "a.flac", samples, "PCM_16"))
    whole[21] &= 0xF0  # the 36 bits of the sample count end at byte 26; zero means unknown
    whole[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(whole)
    recording = read(tmp_path / "a.flac")
    assert torch.equal(recording.samples, samples)
    assert (recording.truncated, recording.declared_samples) == (False, 10_000)


def test_chunks_before_the_data_are_skipped(tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.wav", noise(1000), "PCM_16")
    odd = struct.pack("<4sI", b"LIST", 5) + b"INFO!" + b"\0"
    (tmp_path / "a.wav").write_bytes(whole[:36] + odd + whole[36:-500])
    recording = read(tmp_path / "a.wav")
    assert (recording.n_samples, recording.declared_samples, recording.truncated) == (750, 1000, True)


def test_clipped_samples_are_counted_by_default() -> None:
    samples = (4 * noise(1000, 2)).clamp(-1, 1)
    # noise has few slopes so gentle that rounding could explain them: all its runs of three or more at the limit count
    runs = [(value, len(list(run))) for row in samples.tolist() for value, run in itertools.groupby(row)]
    wanted = sum(length for value, length in runs if abs(value) == 1 and length >= 3)
    assert Recording(samples, RATE).clipped_samples == wanted > 0
    assert Recording(samples, RATE, clipped_samples=7).clipped_samples == 7


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "cut.wav", "cut.flac", "cut.ogg"])
def test_a_recording_too_long_for_memory_is_the_same_recording(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    whole = stored(path, (4 * noise(20_000, 2)).clamp(-1, 1))  # with runs of clipped samples
    path.write_bytes(whole[: len(whole) * 3 // 4] if name.startswith("cut") else whole)
    in_memory = read(path)
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", 1000)
    monkeypatch.setattr(io_samples, "IN_MEMORY_SAMPLES", 5000)
    spooled_one = read(path)
    assert isinstance(in_memory.samples, torch.Tensor)
    assert isinstance(spooled_one.samples, DiskSamples)
    assert torch.equal(spooled_one.samples.tensor(), in_memory.samples)
    for field in ("n_channels", "n_samples", "declared_samples", "clipped_samples", "truncated", "peak", "content_hash"):
        assert getattr(spooled_one, field) == getattr(in_memory, field), field
    assert in_memory.truncated == name.startswith("cut")
    assert (in_memory.clipped_samples > 0) == (name != "cut.ogg")  # lossy coders leave no two samples of a top equal
    assert spooled_one.energy == pytest.approx(in_memory.energy, rel=1e-12)  # float64 sums in another order


def test_a_file_is_kept_in_memory_up_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io_samples, "IN_MEMORY_SAMPLES", 2000)
    for n_samples, kind in ((1000, torch.Tensor), (1001, DiskSamples)):
        stored(tmp_path / "a.wav", noise(n_samples, 2))
        assert isinstance(read(tmp_path / "a.wav").samples, kind)


def test_no_room_for_a_long_recording_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path / "a.wav", noise(1000))
    monkeypatch.setattr(io_samples, "IN_MEMORY_SAMPLES", 100)

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match="No space left on device; set the environment variable TMPDIR"):
        read(tmp_path / "a.wav")


def test_peak_and_energy_are_those_of_the_samples() -> None:
    recording = Recording(torch.tensor([[0.5, -0.75, 0.25], [0.0, 0.5, -0.5]]), RATE)
    assert (recording.peak, recording.energy) == (0.75, 0.25 + 0.5625 + 0.0625 + 0.5)


@pytest.mark.parametrize("kind", [list, np.ndarray])
def test_what_is_read_slice_by_slice_is_checked_like_a_tensor(kind: type) -> None:
    class Odd:
        shape = (1, 2)

        def __getitem__(self, _index: object) -> object:
            return [0.0] if kind is list else np.zeros((1, 0))

    with pytest.raises(RecordingError, match=r"samples are (<class 'list'>|dtype\('float64'\)); allowed: a float32"):
        Recording(Odd(), RATE)  # type: ignore[arg-type]
    bad = noise(100)
    bad[0, 50] = float("nan")
    with pytest.raises(RecordingError, match=r"1 of 100 samples are NaN .*sample 50 of channel 0"):
        Recording(spooled(bad), RATE)
    with pytest.raises(RecordingError, match=r"samples have the shape \[2, 0\]"):
        Recording(DiskSamples(2), RATE)


def test_resampling_keeps_the_count_of_clipped_samples(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", (4 * sine(440, RATE, RATE)).clamp(-1, 1), "PCM_16")
    recording = read(tmp_path / "a.wav")
    assert recording.clipped_samples > RATE / 2
    assert read(tmp_path / "a.wav", 48_000).clipped_samples == recording.clipped_samples


def test_equal_sound_has_an_equal_hash() -> None:
    samples = noise(100, 2)
    same = Recording(samples.T.contiguous().T, RATE, "elsewhere.wav")
    assert Recording(samples, RATE).content_hash == same.content_hash
    assert Recording(spooled(samples), RATE).content_hash == same.content_hash
    others = [Recording(samples.reshape(1, 200), RATE), Recording(samples, RATE + 1), Recording(samples + 1e-6, RATE)]
    others.append(Recording(samples.flip(0), RATE))
    assert len({recording.content_hash for recording in [same, *others]}) == 5


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_the_hash_does_not_depend_on_the_blocks(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Recording(noise(101, 3), RATE).content_hash
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", size)
    assert Recording(noise(101, 3), RATE).content_hash == expected


def test_the_examples_run() -> None:
    results = doctest.testmod(audio)
    assert (results.failed, results.attempted > 0) == (0, True)


def test_reading_does_not_import_torchaudio(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", noise(100))
    script = "import sys; from ddaudio.io.audio import read; read(sys.argv[1]); sys.exit('torchaudio' in sys.modules)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.wav")], check=True, timeout=120)


def test_real_recordings_are_read_whole(shared_recordings: Path) -> None:
    paths = [path for path in shared_recordings.rglob("*") if path.suffix in {".wav", ".flac", ".ogg", ".mp3"}]
    if not paths:
        pytest.skip(f"no sound files in {shared_recordings}")
    for path in paths:
        recording = read(path)
        file = soundfile.info(path)
        assert recording.samples.shape == (file.channels, file.frames)
        assert (recording.sample_rate, recording.truncated) == (file.samplerate, False), path
