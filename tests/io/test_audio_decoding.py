"""Decoders are quiet, and what they cannot read is refused by name, with their reason and a way out."""

import contextlib
import doctest
import io
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from soundchecks import FAULTS, RATE, duration_samples, is_one_line_that_says, noise, read_bytes, same, stored

from ddaudio.errors import RecordingError
from ddaudio.io import audio_signatures
from ddaudio.io.audio import read
from ddaudio.io.audio_decoding import Decoder, length_s
from ddaudio.io.audio_ogg import _checksum
from ddaudio.io.audio_streams import Stream, StreamFile


def test_decoders_write_nothing_to_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = stored(tmp_path / "a.mp3", noise(2 * RATE))
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole[: len(whole) // 3])
    soundfile.read(cut)
    if not capfd.readouterr().err:
        pytest.skip("this libmpg123 says nothing of its own")
    assert read(cut).truncated
    assert duration_samples(cut) > 0
    assert capfd.readouterr().err == ""
    soundfile.read(cut)
    assert capfd.readouterr().err, "the stream is as it was"


def test_what_python_writes_to_stderr_meanwhile_arrives(capfd: pytest.CaptureFixture[str]) -> None:
    script = """
        import os, subprocess, sys
        from ddaudio.io.quiet_stderr import quiet_c_stderr
        with quiet_c_stderr():
            print("python", file=sys.stderr, flush=True)
            os.write(2, b"descriptor\\n")
            subprocess.run([sys.executable, "-c", "import sys; print('child', file=sys.stderr)"])
        with quiet_c_stderr(), quiet_c_stderr():
            pass
    """
    subprocess.run([sys.executable, "-c", "if True:" + script], check=True, timeout=120)
    assert capfd.readouterr().err.split() == ["python", "descriptor", "child"]


def test_a_disk_that_fails_is_no_end_of_the_file(tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, count: int | None = -1, /) -> bytes:
            if 100_000 < self.tell() < 150_000:
                raise OSError(5, "Input/output error")
            return super().read(count)

    path = tmp_path / "a.wav"
    file = Failing(stored(path, noise(100_000), "PCM_16"))
    with pytest.raises(OSError, match="Input/output error"):  # which `read` passes on, as all of them
        list(Decoder(path, file).blocks())


def test_patches_stand_in_their_places_wherever_reading_begins(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(100)))
    wanted = bytes([*range(10, 20), 200, 201, 202, *range(23, 60)])
    with (tmp_path / "a").open("rb") as file:
        for size in (1, 2, 3, 7, 100):
            part = StreamFile(file, Stream(10, 60, patches=((20, bytes([200, 201, 202])),)))
            pieces = []
            while piece := part.read(size):
                pieces.append(piece)
            assert b"".join(pieces) == wanted
            assert part.is_used_up
        assert (part.seek(-5, 2), part.read(), part.seek(-3), part.seek(2), part.seek(3, 1)) == (45, wanted[45:], 0, 2, 5)


def ogg_page(packet: bytes) -> bytes:
    """A first page with one packet."""
    page = struct.pack("<4sBBqIIIB", b"OggS", 0, 2, 0, 1, 0, 0, 1) + bytes([len(packet)]) + packet
    return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def flac_of_32_bits(folder: Path) -> bytes:
    whole = bytearray(stored(folder / "a.flac", noise(1000)))
    whole[20] |= 1
    whole[21] |= 0xF0
    return bytes(whole)


def wav_of_1025_channels(_folder: Path) -> bytes:
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1025, 8000, 16_400_000, 2050, 16)
    return struct.pack("<4sI4s", b"RIFF", 20_536, b"WAVE") + layout + struct.pack("<4sI", b"data", 20_500) + bytes(20_500)


def aiff_c(_folder: Path) -> bytes:
    common = struct.pack(">HIH10s4sH", 1, 1000, 16, bytes.fromhex("400bfa00000000000000"), b"42ni", 0)
    body = b"AIFC" + struct.pack(">4sI", b"COMM", len(common)) + common + struct.pack(">4sI", b"SSND", 2008) + bytes(2008)
    return struct.pack(">4sI", b"FORM", len(body)) + body


REFUSED: dict[str, tuple[Callable[[Path], bytes], tuple[str, ...]]] = {
    "32.flac": (flac_of_32_bits, ("begins like a FLAC file of 32 bits", "(file contains data in an unimplemented format)")),
    "flac.ogg": (lambda _: ogg_page(b"\x7fFLAC\1\0\0\1fLaC" + bytes(38)), ("begins like an Ogg FLAC file", "libsndfile cannot")),
    "speex.ogg": (
        lambda _: ogg_page(b"Speex   1.2" + bytes(69)),
        ("begins like an Ogg Speex file", "libsndfile cannot decode it ("),
    ),
    "42ni.aifc": (aiff_c, ("begins like an AIFF-C file coded as '42ni'", "(file contains data in an unimplemented format)")),
    "a.avi": (lambda _: b"RIFF\0\1\0\0AVI LIST" + bytes(300), ("it is an AVI file, not a WAV, FLAC, OGG, MP3 or AIFF file",)),
    "a.m4a": (lambda _: b"\0\0\0\x1cftypM4A " + bytes(300), ("it is an MP4 (M4A, AAC or ALAC) file, not a WAV",)),
    "many.wav": (wav_of_1025_channels, ("begins like a WAV file", "(too many channels specified)")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_decoded_is_refused_by_name_reason_and_way_out(name: str, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    with pytest.raises(RecordingError) as caught:
        read_bytes(tmp_path, name, make(tmp_path))
    target = Path(name).stem + ("-converted.wav" if name.endswith(".wav") else ".wav")
    assert is_one_line_that_says(str(caught.value), (name, *words, f"`ffmpeg -i {name} {target}`")), str(caught.value)


@pytest.mark.parametrize("name", ["x.raw", "x", "x.mp3", "x.ogg", "é\udcff.wav"])
def test_the_name_of_a_file_says_nothing_of_its_format(name: str, tmp_path: Path) -> None:
    found = read_bytes(tmp_path, name, stored(tmp_path / "a.wav", noise(1000), "PCM_16"))
    assert same(found, noise(1000))
    assert (found.file_format, found.encoding) == ("WAV (Microsoft)", "Signed 16 bit PCM")


@pytest.mark.parametrize("path", sorted(FAULTS.glob("*.[!m]*")) + sorted(FAULTS.glob("*.mp3")), ids=lambda path: path.name)
def test_no_mutation_ends_in_anything_but_a_recording_or_a_refusal(
    path: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, generator = path.read_bytes(), np.random.default_rng(15)
    for round_ in range(30):
        data = bytearray(whole)
        for _ in range(int(generator.integers(1, 20))):
            # half of them among the headers
            last = len(data) if generator.random() < 0.5 else min(len(data), 200)
            data[int(generator.integers(last))] = int(generator.integers(256))
        if round_ % 3 == 0:
            del data[int(generator.integers(len(data))) :]
        mutated = tmp_path / path.name
        mutated.write_bytes(data)
        with contextlib.suppress(RecordingError):
            recording = read(mutated)
            length = length_s(mutated) * recording.sample_rate
            # what was decoded, but for the two frames that an MP3 decoder may keep back, or words say why not
            assert abs(length - recording.n_samples) <= 2304 or recording.warnings
    assert capfd.readouterr().err == ""


def test_the_examples_run() -> None:
    results = doctest.testmod(audio_signatures)
    assert (results.failed, results.attempted > 0) == (0, True)
