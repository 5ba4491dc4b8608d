"""Writing is exact, whole or not at all, and never clips."""

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
from hypothesis import given, settings
from hypothesis import strategies as st
from soundchecks import RATE, is_one_line_that_says, noise, spooled

from ddaudio.errors import OptionError, OutputError
from ddaudio.io import samples as io_samples
from ddaudio.io import wav
from ddaudio.io.atomic import whole_file
from ddaudio.io.audio import read
from ddaudio.io.audio_decoding import find_streams, length_s
from ddaudio.io.samples import Difference, DiskSamples
from ddaudio.io.wav import write_wav
from ddaudio.options import Encoding

# Written


@settings(max_examples=60, deadline=None)
@given(
    n_channels=st.integers(1, 9),
    n_samples=st.integers(1, 3000),
    sample_rate=st.sampled_from([1000, 4000, 44_100, 192_000, 384_000]),
    encoding=st.sampled_from(["pcm16", "pcm24", "float32"]),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_back(n_channels: int, n_samples: int, sample_rate: int, encoding: Encoding, seed: int) -> None:
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
def test_every_pcm_step_survives_a_round_trip(encoding: Encoding, subtype: str, bits: int, tmp_path: Path) -> None:
    first, last = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    steps = np.linspace(first, last, 1 << 16).round().astype(np.int32)  # all of them for 16 bits
    soundfile.write(tmp_path / "a.wav", steps << (32 - bits), RATE, subtype=subtype)
    assert write_wav(tmp_path / "b.wav", read(tmp_path / "a.wav").samples, RATE, encoding) == 1.0
    assert np.array_equal(soundfile.read(tmp_path / "b.wav", dtype="int32")[0] >> (32 - bits), steps)


@pytest.mark.parametrize(("encoding", "bits"), [("pcm16", 16), ("pcm24", 24)])
def test_pcm_is_rounded_to_the_nearest_step(encoding: Encoding, bits: int, tmp_path: Path) -> None:
    samples = torch.rand(1, 10_000, generator=torch.Generator().manual_seed(0)) - 0.5
    write_wav(tmp_path / "a.wav", samples, RATE, encoding)
    error = soundfile.read(tmp_path / "a.wav")[0] * 2 ** (bits - 1) - samples[0].double().numpy() * 2 ** (bits - 1)
    assert np.abs(error).max() <= 0.5
    write_wav(tmp_path / "b.wav", -samples, RATE, encoding)
    assert np.array_equal(soundfile.read(tmp_path / "b.wav")[0], -soundfile.read(tmp_path / "a.wav")[0])


@pytest.mark.parametrize(("encoding", "bits"), [("pcm16", 16), ("pcm24", 24)])
@pytest.mark.parametrize("peaks", [(-0.2, 1.0), (-1.5, 0.2), (-3.0, 3.0), (-0.1, 100.0)])
def test_pcm_is_scaled_down_and_never_clipped(encoding: Encoding, bits: int, peaks: tuple[float, float], tmp_path: Path) -> None:
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
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", 1 << 10)
    write_wav(tmp_path / "a.wav", noise(5001, 3), RATE, "pcm24")
    assert torch.equal(read(tmp_path / "a.wav").samples, noise(5001, 3))


@pytest.mark.parametrize("encoding", ["pcm16", "pcm24", "float32"])
def test_a_spool_and_a_difference_are_written_as_their_tensors(
    encoding: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", 1 << 10)
    target, estimate = 3 * noise(5001, 2), noise(5001, 2, seed=1)  # beyond full scale: PCM is scaled down
    gains = [
        write_wav(tmp_path / "tensor.wav", target, RATE, encoding),
        write_wav(tmp_path / "spool.wav", spooled(target), RATE, encoding),
        write_wav(tmp_path / "residual.wav", target - estimate, RATE, encoding),
        write_wav(tmp_path / "difference.wav", Difference(spooled(target), estimate), RATE, encoding),
    ]
    assert gains[0] == gains[1]
    assert gains[2] == gains[3]
    assert (tmp_path / "spool.wav").read_bytes() == (tmp_path / "tensor.wav").read_bytes()
    assert (tmp_path / "difference.wav").read_bytes() == (tmp_path / "residual.wav").read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="there a file with a hole takes its full 5 GB of disk")
@pytest.mark.parametrize(("encoding", "n_samples"), [("pcm16", 1_300_000_000), ("float32", 700_000_000)])
def test_more_than_4_gb_become_rf64(encoding: Encoding, n_samples: int, tmp_path: Path) -> None:
    header = wav._wav_header(2, n_samples, RATE, encoding)
    n_bytes = n_samples * 2 * (2 if encoding == "pcm16" else 4)
    with (tmp_path / "a.wav").open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + n_bytes)
    file = soundfile.info(tmp_path / "a.wav")
    assert (file.format, file.frames, file.channels, file.samplerate) == ("RF64", n_samples, 2, RATE)
    with (tmp_path / "a.wav").open("rb") as stream:
        assert [(one.declared_samples, one.last) for one in find_streams(stream)] == [(n_samples, len(header) + n_bytes)]
    assert length_s(tmp_path / "a.wav") == n_samples / RATE
    (tmp_path / "a.wav").unlink()


def test_bad_encodings_and_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="encoding is 'pcm32'; allowed: pcm16, pcm24, float32"):
        write_wav(tmp_path / "a.wav", noise(10), RATE, "pcm32")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"a.wav': 1 of 2 samples are NaN or infinite"):
        write_wav(tmp_path / "a.wav", torch.tensor([[0.0, float("inf")]]), RATE, "float32")
    with pytest.raises(OptionError, match=r"a.wav': samples have the shape \[10\]"):
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
    assert is_one_line_that_says(str(caught.value), ("a.wav'", "No space left on device", "choose a writable folder"))
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
        from ddaudio.io.wav import write_wav
        from ddaudio.errors import OutputError
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            write_wav(sys.argv[1], torch.zeros(2, 100_000), 44_100, "pcm16")
        except OutputError as error:
            print(error)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert is_one_line_that_says(done.stdout.strip(), ("a.wav'", "File too large", "choose a writable folder with enough space"))
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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(OutputError, match="it is not a file"):  # replacing it would take /dev/null from its system
        write_wav(tmp_path / "pipe.wav", noise(10), RATE, "pcm16")


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 150 + ".wav")
    write_wav(path, noise(10), RATE, "pcm16")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("encoding", ["pcm16", "pcm24", "float32"])
@pytest.mark.parametrize("end", [0, 3])
def test_long_silence_takes_no_room(encoding: str, end: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holes of sparse files; the bytes that are read are the same."""
    monkeypatch.setattr("ddaudio.io.samples.BLOCK_SAMPLES", 1 << 16)
    samples = torch.zeros(1, (1 << 20) + 1)
    samples[0, 500_000:500_003] = 0.5
    samples[0, samples.shape[1] - end :] = -0.25
    write_wav(tmp_path / "a.wav", samples, 8000, encoding)
    found, _ = soundfile.read(tmp_path / "a.wav", dtype="float32", always_2d=True)
    assert torch.equal(torch.from_numpy(found.T.copy()), samples)
    stored = DiskSamples(1)
    for block in torch.split(samples, 1 << 16, 1):
        stored.append(block)
    assert torch.equal(stored.tensor(), samples)
    for status in ((tmp_path / "a.wav").stat(), os.fstat(stored._file.fileno())):
        assert status.st_size >= samples.shape[1] * 2
        assert status.st_blocks * 512 < status.st_size / 2, "where the file system knows holes"
