"""All sound of a file is read, whatever its headers say of its length, and words tell of what is missing."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from soundchecks import FAULTS, RATE, duration_samples, is_one_line_that_says, noise, read_bytes, same, samples_of, sine, stored

from ddaudio.errors import RecordingError
from ddaudio.io import samples as io_samples
from ddaudio.io.audio import read
from ddaudio.io.audio_ogg import _checksum, _pages

# MPEG audio


@pytest.mark.parametrize("name", ["vbr-without-xing.mp3", "abr-without-xing.mp3"])
def test_an_mp3_of_unknown_length_is_read_to_its_last_frame(name: str) -> None:
    recording = read(FAULTS / name)
    # 59 frames of 1152 samples, as ffmpeg decodes them; libsndfile's estimates are 12,637 and 54,799
    assert (recording.n_samples, recording.declared_samples) == (67_968, 67_968)
    assert (recording.truncated, recording.warnings) == (False, ())
    assert duration_samples(FAULTS / name) == pytest.approx(67_968)
    # The sweep that was encoded, 1105 samples late by encoder and decoder; it becomes louder in its middle.
    time_s = np.arange(66_150) / 44_100
    sweep = 0.4 * np.sin(2 * np.pi * (200 * time_s + 1300 * time_s**2)) * np.minimum(1, (1.5 - time_s) * 8)
    sweep *= np.where(time_s < 0.75, 0.2, 1.0)
    error = read(FAULTS / name).samples[0, 1105 : 1105 + 66_150].double().numpy() - sweep
    # Where it is loud, at 96 kbit/s, a coder keeps 15 dB at least; a shift by one sample at 4 kHz leaves 5 dB.
    assert np.square(error).sum() < 0.03 * np.square(sweep).sum()


def test_joined_mp3s_are_read_one_after_the_other(tmp_path: Path) -> None:
    quiet, loud = (0.01 * noise(20_000), sine(440, RATE, 30_000))
    with_index = [stored(tmp_path / f"{name}.mp3", samples) for name, samples in (("a", quiet), ("b", loud))]
    parts = [samples_of(tmp_path / f"{name}.mp3") for name in "ab"]
    tag = b"ID3\4\0\0\0\0\1\0" + b"\xff\xfb\x90\0" * 32  # 128 bytes that look like frames, and none is
    for between in (b"", tag, b"TAG" + bytes(125)):
        joined = read_bytes(tmp_path, "joined.mp3", with_index[0] + between + with_index[1] + tag + with_index[0])
        assert same(joined, parts[0], parts[1], parts[0])
        assert (joined.truncated, joined.warnings, joined.declared_samples) == (False, (), joined.n_samples)
        assert duration_samples(tmp_path / "joined.mp3") == pytest.approx(joined.n_samples)
    without = (FAULTS / "vbr-without-xing.mp3").read_bytes()
    assert read_bytes(tmp_path, "joined.mp3", without + without).n_samples == 2 * 67_968


def test_an_index_that_counts_too_few_frames_ends_nothing(tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.mp3", noise(RATE))
    place = whole.index(b"Xing") if b"Xing" in whole else whole.index(b"Info")
    wrong = whole[: place + 8] + struct.pack(">I", 10) + whole[place + 12 :]
    found = read_bytes(tmp_path, "b.mp3", wrong)
    assert same(found, samples_of(tmp_path / "a.mp3"))
    assert not found.truncated


def test_the_samples_of_an_mp3_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package seeks to where it is after each read; libmpg123 then decodes frames without those before them.
    at_once = samples_of(FAULTS / "vbr-without-xing.mp3")
    for size in (1000, 4096, 50_000):
        monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", size)
        assert torch.equal(samples_of(FAULTS / "vbr-without-xing.mp3"), at_once)


def test_an_mp3_is_read_on_both_sides_of_damage(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.mp3", sine(440, RATE, 2 * RATE)[0].numpy(), RATE, bitrate_mode="CONSTANT")
    whole = (tmp_path / "a.mp3").read_bytes()
    middle = len(whole) // 2
    damaged = whole[:middle] + np.random.default_rng(3).bytes(2000) + whole[middle + 2000 :]
    found = read_bytes(tmp_path, "b.mp3", damaged)
    assert found.truncated
    (warning,) = found.warnings
    assert warning.startswith("damaged: decoding failed after 0.9")  # 36 of 78 frames
    assert is_one_line_that_says(warning, ("are not MPEG frames", "samples were read"))
    lost = 2 * RATE - found.n_samples
    # 2000 bytes touch 20 or 21 frames of 104 or 105 (32 kbit/s); what the index takes away at the end, less than one frame
    # and the decoder's 529 samples, it does not take away here.
    assert 20 * 1152 - 1152 - 529 < lost <= 21 * 1152
    # Frames build on up to 511 bytes before them, here five frames; then it is the tone again, of power 1/8.
    tail = found.samples[0, -RATE // 4 : -4000].double()
    assert tail.square().mean() == pytest.approx(0.125, rel=0.02)


# Ogg


@pytest.mark.parametrize(("name", "n_samples"), [("chained.ogg", 8000), ("chained.opus", 48_000)])
def test_chained_ogg_streams_are_read_one_after_the_other(name: str, n_samples: int, tmp_path: Path) -> None:
    whole = (FAULTS / name).read_bytes()
    half = read_bytes(tmp_path, name, whole[: len(whole) // 2])
    assert half.n_samples == n_samples // 2
    found = read(FAULTS / name)
    assert isinstance(half.samples, torch.Tensor)
    assert same(found, half.samples, half.samples)
    assert (found.truncated, found.warnings, found.declared_samples) == (False, (), n_samples)
    assert duration_samples(FAULTS / name) == pytest.approx(n_samples)


def test_a_stream_of_another_rate_is_left_out_with_a_warning(tmp_path: Path) -> None:
    for name, second in (("a.ogg", (noise(5000, 2), RATE)), ("a.flac", (noise(5000), 8000)), ("a.wav", (noise(5000), 8000))):
        first = stored(tmp_path / name, noise(20_000))
        alone = samples_of(tmp_path / name)
        other = stored(tmp_path / name, second[0], sample_rate=second[1])
        found = read_bytes(tmp_path, name, first + other)
        assert same(found, alone)
        assert found.truncated
        kind = f"{len(second[0])} channels at {second[1]} Hz, not 1 at 44100 Hz"
        assert found.warnings == (f"incomplete: stream 2 of 2, {len(other)} bytes, was not read, because it has {kind}",)


def test_a_damaged_ogg_says_when_and_what_was_read() -> None:
    found = read(FAULTS / "damaged-page.ogg")
    assert (found.n_samples, found.truncated) == (44_992, True)
    words = "damaged: decoding failed after 1.02023 s (1 of 4 Ogg pages have wrong checksums); 44992 samples were read"
    assert found.warnings == (words,)  # 44992 / 44100 s


@pytest.mark.parametrize("is_gone", [False, True])
def test_an_ogg_is_read_on_both_sides_of_damage(is_gone: bool, tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.ogg", noise(10 * RATE))
    intact = samples_of(tmp_path / "a.ogg")
    with (tmp_path / "a.ogg").open("rb") as file:
        pages = list(_pages(file, 0, len(whole)))
    assert all(page.is_intact for page in pages)
    page = pages[len(pages) // 2]
    place = page.first + 100
    middle = b"" if is_gone else whole[page.first : place] + bytes([whole[place] ^ 1]) + whole[place + 1 : page.last]
    found = read_bytes(tmp_path, "b.ogg", whole[: page.first] + middle + whole[page.last :])
    before = pages[len(pages) // 2 - 1].granule
    (warning,) = found.warnings
    said = "Ogg pages are missing" if is_gone else f"1 of {len(pages)} Ogg pages have wrong checksums"
    assert warning == f"damaged: decoding failed after {before / RATE:.6g} s ({said}); {found.n_samples} samples were read"
    # the page, and what overlaps with it at both ends: a Vorbis block has up to 8192 samples
    assert 0 < 10 * RATE - found.n_samples - (page.granule - before) < 8192
    assert torch.equal(found.samples[:, : before - 8192], intact[:, : before - 8192])
    assert torch.equal(found.samples[:, -RATE:], intact[:, -RATE:])


def test_the_checksum_of_ogg_pages_is_the_published_one() -> None:
    # CRC-32 by its definition in RFC 3533: polynomial 0x04c11db7, highest bit first, from 0, the field itself as 0
    page = bytes(range(200))
    register = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register >> 31 else 0)) & 0xFFFFFFFF
    assert _checksum(page) == register


# FLAC


def test_joined_flacs_are_read_one_after_the_other(tmp_path: Path) -> None:
    first, second = noise(50_000, 2), noise(30_000, 2, seed=1)
    joined = stored(tmp_path / "a.flac", first) + stored(tmp_path / "b.flac", second)
    found = read_bytes(tmp_path, "joined.flac", joined + b"TAG" + bytes(125))
    assert same(found, first, second)
    assert (found.truncated, found.warnings, found.declared_samples) == (False, (), 80_000)
    assert duration_samples(tmp_path / "joined.flac") == pytest.approx(80_000)


@pytest.mark.parametrize("declared", [0, 5, 9999])
def test_a_flac_that_declares_too_few_samples_is_read_whole(declared: int, tmp_path: Path) -> None:
    whole = bytearray(stored(tmp_path / "a.flac", noise(30_000)))
    whole[21:26] = (int.from_bytes(whole[21:26], "big") >> 36 << 36 | declared).to_bytes(5, "big")
    found = read_bytes(tmp_path, "b.flac", bytes(whole))
    assert same(found, noise(30_000))
    assert not found.truncated


def test_a_flac_of_unknown_length_that_is_cut_says_so() -> None:
    found = read(FAULTS / "piped-cut.flac")
    assert (found.n_samples, found.truncated) == (9 * 4608, True)  # whole frames
    assert found.warnings == ("truncated: the file ends after 41472 samples, before its own end mark or declared length",)


def test_a_flac_with_damage_says_when_it_failed_and_not_that_it_ends(tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.flac", noise(100_000))
    middle = len(whole) // 2
    found = read_bytes(tmp_path, "b.flac", whole[:middle] + bytes(500) + whole[middle + 500 :])
    assert found.truncated
    assert same(found, noise(100_000)[:, : found.n_samples])
    assert 50_000 - 2 * 4096 < found.n_samples < 50_000
    (warning,) = found.warnings
    assert is_one_line_that_says(warning, (f"damaged: decoding failed after {found.n_samples / RATE:.6g} s (", "flac decoder"))
    assert warning.endswith(f"; {found.n_samples} samples were read")


# WAV and AIFF


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0xFFFFFF00, 0xFFFFFFDA, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0x7FFFFFFF - 36])
def test_a_wav_of_unknown_size_is_whole(size: int, tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.wav", noise(4000), "PCM_16")
    found = read_bytes(tmp_path, "b.wav", whole[:40] + struct.pack("<I", size) + whole[44:])
    assert same(found, noise(4000))
    assert (found.truncated, found.warnings, found.declared_samples) == (False, (), 4000)
    assert duration_samples(tmp_path / "b.wav") == pytest.approx(4000)


@pytest.mark.parametrize(
    ("size", "n_samples", "warnings"),
    [
        (0, 4000, ("header unfinished: it declares no samples; the 4000 after it were read",)),
        (1, 4000, ("header unfinished: it declares no samples; the 4000 after it were read",)),
        (7999, 3999, ()),
        (8001, 4000, ()),  # not a whole sample more than there is
        (8002, 4000, ("truncated: the file ends after 4000 of 4001 samples, before its own end mark or declared length",)),
        (
            3_000_000_000,
            4000,
            ("truncated: the file ends after 4000 of 1500000000 samples, before its own end mark or declared length",),
        ),
        (4000, 2000, ("incomplete: 4000 bytes after the sound belong to no chunk and were not read",)),
    ],
)
def test_other_sizes_of_a_wav_say_what_they_can(size: int, n_samples: int, warnings: tuple[str, ...], tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.wav", noise(4000), "PCM_16")
    found = read_bytes(tmp_path, "b.wav", whole[:40] + struct.pack("<I", size) + whole[44:])
    assert same(found, noise(4000)[:, :n_samples])
    assert found.warnings == warnings
    assert found.truncated == any(one.startswith(("truncated", "incomplete")) for one in warnings)


@pytest.mark.parametrize("name", ["data-size-0.wav", "data-size-ffffff00.wav"])
def test_wavs_of_recorders_and_streams_are_read_whole(name: str) -> None:
    found = read(FAULTS / name)
    assert (found.n_samples, found.truncated, len(found.warnings)) == (4000, False, name == "data-size-0.wav")
    wanted = 0.5 * np.exp(-np.arange(4000) / 3000) * np.sin(2 * np.pi * 440 * np.arange(4000) / 8000)
    assert np.abs(found.samples[0].numpy() - wanted).max() < 2**-15  # one step of 16 bits


def test_an_empty_data_chunk_with_others_behind_it_is_empty(tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.wav", noise(1000), "PCM_16")
    with pytest.raises(RecordingError, match="it holds no samples"):
        read_bytes(tmp_path, "b.wav", whole[:40] + bytes(4) + struct.pack("<4sI", b"LIST", 600) + bytes(600))


def test_an_unfinished_rf64_is_read_whole(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(4000)[0].numpy(), RATE, "PCM_16", format="RF64")
    whole = (tmp_path / "a.wav").read_bytes()
    sizes = whole.index(b"ds64") + 8
    found = read_bytes(tmp_path, "b.wav", whole[:sizes] + bytes(24) + whole[sizes + 24 :])
    assert same(found, noise(4000))
    assert not found.truncated


@pytest.mark.parametrize(
    ("size", "n_frames", "has_note"),
    [(0xFFFFFFFF, 0xFFFFFFFF, False), (0x7F000008, 0x3F800000, False), (0, 0, True), (8, 0, True)],
)
def test_an_aiff_of_unknown_size_is_whole(size: int, n_frames: int, has_note: bool, tmp_path: Path) -> None:
    whole = bytearray(stored(tmp_path / "a.aiff", noise(4000), "PCM_16"))
    place = whole.index(b"COMM") + 10
    whole[place : place + 4] = struct.pack(">I", n_frames)
    place = whole.index(b"SSND") + 4
    whole[place : place + 4] = struct.pack(">I", size)
    found = read_bytes(tmp_path, "b.aiff", bytes(whole))
    assert same(found, noise(4000))
    assert (found.truncated, bool(found.warnings)) == (False, has_note)


def test_the_second_data_chunk_is_left_out_with_a_warning() -> None:
    found = read(FAULTS / "two-data-chunks.wav")
    assert (found.n_samples, found.truncated) == (1000, True)
    assert found.warnings == ("incomplete: another data chunk, of 1000 samples, was not read",)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])
def test_joined_files_of_chunks_are_read_one_after_the_other(name: str, tmp_path: Path) -> None:
    first, second = noise(5001, 2), noise(3000, 2, seed=1)
    joined = b"".join(stored(tmp_path / name, samples, "PCM_24") for samples in (first, second))
    found = read_bytes(tmp_path, name, joined)
    assert same(found, first, second)
    assert (found.truncated, found.warnings, found.declared_samples) == (False, (), 8001)


def test_mp3_in_a_wav_is_read_to_its_last_frame(tmp_path: Path) -> None:
    sound = (FAULTS / "vbr-without-xing.mp3").read_bytes()
    layout = struct.pack("<4sIHHIIHHH", b"fmt ", 18, 0x55, 1, RATE, 16_000, 1, 0, 0)
    data = layout + struct.pack("<4sI", b"data", len(sound)) + sound
    found = read_bytes(tmp_path, "a.wav", struct.pack("<4sI4s", b"RIFF", 4 + len(data), b"WAVE") + data)
    assert same(found, samples_of(FAULTS / "vbr-without-xing.mp3"))
