"""Reading keeps what is in the file and refuses what cannot be fitted; writing is exact, whole, and never clips."""

import contextlib
import doctest
import errno
import os
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from badfiles import BAD_FILES, sound_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from ddaudio import audio
from ddaudio.audio import Recording, read, whole_file, write_wav
from ddaudio.errors import OptionError, OutputError, RecordingError

RATE = 44_100


def noise(n_samples: int, n_channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Uniform noise on 16-bit steps, so that every lossless format holds it exactly."""
    steps = np.random.default_rng(seed).integers(-20_000, 20_000, (n_channels, n_samples))
    return torch.from_numpy((steps / 32_768).astype(np.float32))


def sine(frequency_hz: float, sample_rate: int, n_samples: int) -> torch.Tensor:
    times_s = torch.arange(n_samples, dtype=torch.float64) / sample_rate
    return (0.5 * torch.sin(2 * torch.pi * frequency_hz * times_s)).float()[None]


def stored(path: Path, samples: torch.Tensor, subtype: str | None = None, sample_rate: int = RATE) -> bytes:
    return sound_bytes(path, samples.T.numpy(), subtype, sample_rate)


def is_one_line_that_says(message: str, words: tuple[str, ...]) -> bool:
    return "\n" not in message and all(word in message for word in words)


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
    with pytest.raises(OutputError, match="it is not a file"):  # replacing it would take /dev/null from its system
        write_wav(tmp_path / "pipe.wav", noise(10), RATE, "pcm16")
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
    words = ("sample_rate is", repr(sample_rate), "from 1000 to 384000")
    stored(tmp_path / "a.wav", noise(10))
    with pytest.raises(RecordingError) as caught:
        Recording(noise(10), sample_rate)
    assert is_one_line_that_says(str(caught.value), ("cannot use 'samples'", *words))
    with pytest.raises(OptionError) as option:
        read(tmp_path / "a.wav", sample_rate)
    assert is_one_line_that_says(str(option.value), words)
    with pytest.raises(OptionError) as option:
        write_wav(tmp_path / "b.wav", noise(10), sample_rate, "pcm16")
    assert is_one_line_that_says(str(option.value), words)
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (torch.zeros(5), r"shape \[5\]"),
        (torch.zeros(1, 1, 5), r"shape \[1, 1, 5\]"),
        (torch.zeros(1, 0), r"shape \[1, 0\]; give \[C, T\]"),
        (torch.zeros(0, 5), r"shape \[0, 5\]"),
        (torch.zeros(1025, 1), r"shape \[1025, 1\].* C from 1 to 1024"),
        (torch.zeros(1, 5, dtype=torch.float64), "samples are torch.float64; give a float32"),
        (np.zeros((1, 5), dtype=np.float32), "give a float32 torch.Tensor"),
        (torch.tensor([[0.0, float("nan")]]), "1 of 2 samples are NaN .*sample 1 of channel 0"),
    ],
)
def test_recordings_of_another_shape_or_type_are_refused(samples: torch.Tensor, words: str) -> None:
    with pytest.raises(RecordingError, match=words):
        Recording(samples, RATE)


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
    monkeypatch.setattr(audio, "_BLOCK", 1 << 10)
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
        monkeypatch.setattr(audio, "_BLOCK", block)
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


def test_clipped_samples_are_counted_in_runs_of_one_sign() -> None:
    full = 32_767 / 32_768
    samples = torch.tensor(
        [
            [0.0, full, full, 0.0, full, full, full, 0.0, -1.0, -1.0, -1.0, -1.0],  # a pair, a run of 3, a run of 4
            [full, -1.0, full, -1.0, 0.5, 0.5, 0.5, 0.5, 0.0, full, full, full],  # changing signs, low, a run of 3
        ]
    )
    assert Recording(samples, RATE).clipped_samples == 3 + 4 + 3
    assert Recording(torch.ones(1, 2), RATE).clipped_samples == 0
    assert Recording(torch.ones(1, 3), RATE).clipped_samples == 3


def test_resampling_keeps_the_count_of_clipped_samples(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", (4 * sine(440, RATE, RATE)).clamp(-1, 1), "PCM_16")
    recording = read(tmp_path / "a.wav")
    assert recording.clipped_samples > RATE / 2
    assert read(tmp_path / "a.wav", 48_000).clipped_samples == recording.clipped_samples


def test_equal_sound_has_an_equal_hash() -> None:
    samples = noise(100, 2)
    same = Recording(samples.T.contiguous().T, RATE, "elsewhere.wav")
    assert Recording(samples, RATE).content_hash == same.content_hash
    others = [Recording(samples.reshape(1, 200), RATE), Recording(samples, RATE + 1), Recording(samples + 1e-6, RATE)]
    assert len({recording.content_hash for recording in [same, *others]}) == 4


def test_the_examples_run() -> None:
    results = doctest.testmod(audio)
    assert (results.failed, results.attempted > 0) == (0, True)


def test_reading_does_not_import_torchaudio(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", noise(100))
    script = "import sys; from ddaudio.audio import read; read(sys.argv[1]); sys.exit('torchaudio' in sys.modules)"
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


# Resampled


@pytest.mark.parametrize(("old_rate", "new_rate"), [(44_100, 48_000), (48_000, 44_100), (44_100, 16_000), (8000, 96_000)])
def test_a_resampled_sine_is_the_same_sine(old_rate: int, new_rate: int, tmp_path: Path) -> None:
    stored(
        tmp_path / "a.wav",
        torch.cat([sine(1000, old_rate, old_rate), sine(440, old_rate, old_rate)]),
        "FLOAT",
        old_rate,
    )
    recording = read(tmp_path / "a.wav", new_rate)
    expected = torch.cat([sine(1000, new_rate, new_rate), sine(440, new_rate, new_rate)])
    assert recording.sample_rate == new_rate
    assert recording.samples.shape == expected.shape
    # Away from the edges by more than the filter's reach; its ripple in the passband is about 1e-5.
    edge = new_rate // 20
    assert (recording.samples - expected)[:, edge:-edge].abs().max() < 3e-5


def test_resampling_in_stretches_equals_resampling_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(tmp_path / "a.wav", noise(20_000, 2))
    for new_rate in (48_000, 8000, 88_200):
        at_once = read(tmp_path / "a.wav", new_rate).samples
        monkeypatch.setattr(audio, "_BLOCK", 1 << 10)
        in_stretches = read(tmp_path / "a.wav", new_rate).samples
        monkeypatch.undo()
        assert in_stretches.shape == at_once.shape
        # the same products, summed in an order that the convolution chooses by length: float32 rounding
        assert (in_stretches - at_once).abs().max() < 2e-6


def test_what_the_new_rate_cannot_hold_is_filtered_away(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", sine(15_000, RATE, RATE), "FLOAT")
    assert read(tmp_path / "a.wav", 22_050).samples[:, 1000:-1000].abs().max() < 1e-4


def test_the_own_rate_changes_nothing(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", noise(1000))
    assert torch.equal(read(tmp_path / "a.wav", RATE).samples, noise(1000))


def test_rates_without_a_common_divisor_are_refused(tmp_path: Path) -> None:
    stored(tmp_path / "a.wav", noise(1000))
    with pytest.raises(OptionError, match=r"from 44100 to 44101 Hz: .* common divisor, 1, .* choose a rounder rate"):
        read(tmp_path / "a.wav", 44_101)


# Written


@settings(max_examples=60, deadline=None)
@given(
    n_channels=st.integers(1, 9),
    n_samples=st.integers(1, 3000),
    sample_rate=st.sampled_from([1000, 4000, 44_100, 192_000, 384_000]),
    encoding=st.sampled_from(["pcm16", "pcm24", "float32"]),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_back(
    n_channels: int, n_samples: int, sample_rate: int, encoding: audio.Encoding, seed: int
) -> None:
    samples = noise(n_samples, n_channels, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        assert write_wav(path, samples, sample_rate, encoding) == 1.0
        recording = read(path)
        file = soundfile.info(path)
        assert [found.name for found in Path(folder).iterdir()] == ["a.wav"]
        assert path.stat().st_size % 2 == 0
        assert struct.unpack("<I", path.read_bytes()[4:8])[0] == path.stat().st_size - 8
    assert torch.equal(recording.samples, samples)
    assert (recording.sample_rate, recording.truncated) == (sample_rate, False)
    assert (file.format, file.subtype) == ("WAV", {"pcm16": "PCM_16", "pcm24": "PCM_24", "float32": "FLOAT"}[encoding])


@pytest.mark.parametrize(("encoding", "subtype", "bits"), [("pcm16", "PCM_16", 16), ("pcm24", "PCM_24", 24)])
def test_every_pcm_step_survives_a_round_trip(encoding: audio.Encoding, subtype: str, bits: int, tmp_path: Path) -> None:
    first, last = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    steps = np.linspace(first, last, 1 << 16).round().astype(np.int32)  # all of them for 16 bits
    soundfile.write(tmp_path / "a.wav", steps << (32 - bits), RATE, subtype=subtype)
    assert write_wav(tmp_path / "b.wav", read(tmp_path / "a.wav").samples, RATE, encoding) == 1.0
    assert np.array_equal(soundfile.read(tmp_path / "b.wav", dtype="int32")[0] >> (32 - bits), steps)


@pytest.mark.parametrize(("encoding", "bits"), [("pcm16", 16), ("pcm24", 24)])
def test_pcm_is_rounded_to_the_nearest_step(encoding: audio.Encoding, bits: int, tmp_path: Path) -> None:
    samples = torch.rand(1, 10_000, generator=torch.Generator().manual_seed(0)) - 0.5
    write_wav(tmp_path / "a.wav", samples, RATE, encoding)
    error = soundfile.read(tmp_path / "a.wav")[0] * 2 ** (bits - 1) - samples[0].double().numpy() * 2 ** (bits - 1)
    assert np.abs(error).max() <= 0.5
    write_wav(tmp_path / "b.wav", -samples, RATE, encoding)
    assert np.array_equal(soundfile.read(tmp_path / "b.wav")[0], -soundfile.read(tmp_path / "a.wav")[0])


@pytest.mark.parametrize(("encoding", "bits"), [("pcm16", 16), ("pcm24", 24)])
@pytest.mark.parametrize("peaks", [(-0.2, 1.0), (-1.5, 0.2), (-3.0, 3.0), (-0.1, 100.0)])
def test_pcm_is_scaled_down_and_never_clipped(
    encoding: audio.Encoding, bits: int, peaks: tuple[float, float], tmp_path: Path
) -> None:
    samples = torch.tensor([[0.1, peaks[0], peaks[1], 0.05]])
    gain = write_wav(tmp_path / "a.wav", samples, RATE, encoding)
    written = soundfile.read(tmp_path / "a.wav")[0]
    assert 0 < gain < 1
    assert np.abs(written - gain * samples[0].double().numpy()).max() <= 2.0**-bits * (1 + 1e-9)
    assert min(written.min() + 1, 1 - 2.0 ** (1 - bits) - written.max()) == 0  # as loud as it can be


def test_float_is_written_as_it_is_and_twice_the_same(tmp_path: Path) -> None:
    samples = torch.tensor([[0.1, -2.5, 1e-30, 100.0]], requires_grad=True)
    assert write_wav(tmp_path / "a.wav", samples, RATE, "float32") == 1.0
    write_wav(tmp_path / "b.wav", samples.double(), RATE, "float32")
    assert torch.equal(read(tmp_path / "a.wav").samples, samples.detach())
    written = (tmp_path / "a.wav").read_bytes()
    assert written == (tmp_path / "b.wav").read_bytes()
    assert struct.pack("<4sII", b"fact", 4, 4) in written  # the sample count that the format asks for beside float


def test_long_files_are_written_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "_BLOCK", 1 << 10)
    write_wav(tmp_path / "a.wav", noise(5001, 3), RATE, "pcm24")
    assert torch.equal(read(tmp_path / "a.wav").samples, noise(5001, 3))


@pytest.mark.skipif(sys.platform == "win32", reason="there a file with a hole takes its full 5 GB of disk")
@pytest.mark.parametrize(("encoding", "n_samples"), [("pcm16", 1_300_000_000), ("float32", 700_000_000)])
def test_more_than_4_gb_become_rf64(encoding: audio.Encoding, n_samples: int, tmp_path: Path) -> None:
    header = audio._wav_header(2, n_samples, RATE, encoding)
    n_bytes = n_samples * 2 * (2 if encoding == "pcm16" else 4)
    with (tmp_path / "a.wav").open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + n_bytes)
    file = soundfile.info(tmp_path / "a.wav")
    assert (file.format, file.frames, file.channels, file.samplerate) == ("RF64", n_samples, 2, RATE)
    with (tmp_path / "a.wav").open("rb") as stream, soundfile.SoundFile(tmp_path / "a.wav") as decoder:
        assert audio._declared_samples(stream, decoder) == n_samples
    (tmp_path / "a.wav").unlink()


def test_bad_encodings_and_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="encoding is 'pcm32'; allowed are pcm16, pcm24, float32"):
        write_wav(tmp_path / "a.wav", noise(10), RATE, "pcm32")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"a.wav': 1 of 2 samples are NaN or infinite"):
        write_wav(tmp_path / "a.wav", torch.tensor([[0.0, float("inf")]]), RATE, "float32")
    with pytest.raises(OptionError, match=r"a.wav': samples have shape \[10\]"):
        write_wav(tmp_path / "a.wav", torch.zeros(10), RATE, "float32")
    assert list(tmp_path.iterdir()) == []


# Whole or not at all


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_alone(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    seen = []

    def fail(*_arguments: object) -> None:
        seen.extend(found.name for found in tmp_path.iterdir())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), fail)
    with pytest.raises(OutputError) as caught:
        write_wav(path, noise(1000), RATE, "pcm16")
    assert is_one_line_that_says(str(caught.value), ("a.wav'", "No space left on device", "give a writable folder"))
    assert len(seen) == 2  # the new file was beside the old one, under another name
    assert [found.name for found in tmp_path.iterdir()] == ["a.wav"]
    assert path.read_bytes() == b"old"


def test_an_interrupted_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with whole_file(path) as stream:
            stream.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]
    assert path.read_bytes() == b"old"
    with whole_file(path) as stream:
        stream.write(b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(sys.platform == "win32", reason="limits on the size of a file are a Unix facility")
def test_a_disk_that_fills_up_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    script = """
        import resource, sys, torch
        from ddaudio.audio import write_wav
        from ddaudio.errors import OutputError
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_wav(sys.argv[1], torch.zeros(2, 100_000), 44_100, "pcm16")
        except OutputError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert is_one_line_that_says(done.stdout.strip(), ("a.wav'", "File too large", "give a writable folder with room"))
    assert [found.name for found in tmp_path.iterdir()] == ["a.wav"]
    assert path.read_bytes() == b"old"


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for path in (tmp_path / "missing" / "a.wav", tmp_path / "file" / "a.wav"):
        with pytest.raises(OutputError, match=r"cannot write '.*a.wav': there is no folder"):
            write_wav(path, noise(10), RATE, "pcm16")
    with pytest.raises(OutputError, match="it is not a file; give the path of a file"):
        write_wav(tmp_path, noise(10), RATE, "pcm16")
    assert [found.name for found in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 150 + ".wav")
    write_wav(path, noise(10), RATE, "pcm16")
    assert list(tmp_path.iterdir()) == [path]
