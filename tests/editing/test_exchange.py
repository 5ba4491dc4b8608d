"""Formats of other programs: what is written is read, and what is lost is what the documentation lists."""

import contextlib
import csv
import io
import json
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exchanged import COLUMNS, RATE, equal, error_db, glide, random_tracks, rendered, steady
from hypothesis import given
from hypothesis import strategies as st
from sounds import fit_waves, pluck

import ddaudio
from ddaudio.editing.exchange import ats, midi, model_json, sdif, spear, supercollider, tracks_csv
from ddaudio.editing.exchange.exporting import export_file, export_model, tracks_of_model
from ddaudio.editing.exchange.noise_bands import EDGES_HZ
from ddaudio.editing.exchange.sdif_frames import HEADER, Frame, Matrix, frame_bytes, frames_of
from ddaudio.editing.exchange.track_data import (
    NoiseBands,
    PitchLine,
    Points,
    TrackData,
    curves_at,
    from_points,
    phases,
)
from ddaudio.editing.formats import FORMATS
from ddaudio.errors import DdaudioError, ExchangeError, OptionError, OutputError
from ddaudio.models.file import build_model, read_parts

EXACT: dict[str, tuple[Callable[[TrackData], bytes], Callable[[bytes], TrackData]]] = {
    "sdif": (sdif.write_rbep, sdif.read),
    "tracks-csv": (tracks_csv.write, tracks_csv.read),
}
READERS = {"sdif": sdif.read, "ats": ats.read, "spear": spear.read, "csv": tracks_csv.read, "midi": midi.read}


@pytest.mark.parametrize("name", EXACT)
@given(seed=st.integers(0, 2**32 - 1), n_signals=st.integers(1, 3))
def test_rbep_and_csv_are_exact(name: str, seed: int, n_signals: int) -> None:
    """All bits of all columns, and the rate, length and channels of the sound."""
    write, read = EXACT[name]
    data = random_tracks(seed, n_signals=n_signals)
    found = read(write(data))
    # A channel without tracks is not seen in streams, which are numbered anew.
    columns = COLUMNS if len(np.unique(data.signal)) == data.signal.max() + 1 else tuple(set(COLUMNS) - {"signal"})
    assert equal(found, data, columns)
    assert (found.sample_rate, found.n_samples, found.n_signals, found.notes) == (RATE, RATE, n_signals, ())


def test_the_frames_of_sdif_have_the_layout_of_the_standard() -> None:
    """By an independent reading with struct: big-endian, sizes without their first 8 bytes, matrices padded to 8 bytes."""
    data = sdif.write_1trc(random_tracks(n_tracks=3))
    assert data[:16] == b"SDIF" + struct.pack(">III", 8, 3, 1)
    at, times = 16, []
    while at < len(data):
        kind, size, time_s, stream, matrices = struct.unpack_from(">4sIdiI", data, at)
        name, elements, rows, columns = struct.unpack_from(">4sIII", data, at + 24)
        assert (kind, name, stream, matrices, elements, columns) == (b"1TRC", b"1TRC", 0, 1, 4, 4)
        assert size == 16 + 16 + -(-rows * 16 // 8) * 8
        assert struct.unpack_from(">f", data, at + 40)[0] >= 1  # indices count from 1: Csound ends at 0
        times.append(time_s)
        at += 8 + size
    assert at == len(data)
    # Csound counts milliseconds.
    assert (np.diff(times) >= 0.001 - 1e-12).all()


def test_1trc_renders_the_same_sound() -> None:
    """Knots of float32 at the times of all knots: the cubic through points of a cubic is that cubic."""
    data = random_tracks(3)
    # Float32 phases and frequencies have 2e-7 relative error; knots closer than a millisecond are merged.
    assert error_db(rendered(sdif.read(sdif.write_1trc(data))), rendered(data)) < -45


def test_a_track_of_1trc_that_is_absent_in_a_frame_is_two() -> None:
    def frame(time_s: float, *indices: int) -> bytes:
        rows = np.array([[index, 100.0 * index, 0.1, 0.0] for index in indices])
        return frame_bytes(Frame("1TRC", time_s, 1, [Matrix("1TRC", rows, 4)]))

    parts = [frame(0.0, 1, 2), frame(0.1, 1, 2), frame(0.2, 2), frame(0.3, 1, 2), frame(0.4, 1, 2)]
    found = sdif.read(HEADER + b"".join(parts))
    assert sorted(found.counts.tolist()) == [2, 2, 5]


def test_frames_of_other_types_are_skipped_with_a_note() -> None:
    data = random_tracks()
    spectrum = frame_bytes(Frame("1STF", 0.0, 0, [Matrix("ISTF", np.ones((3, 2))), Matrix("1STF", np.ones((1, 5)), 4)]))
    found = sdif.read(HEADER + spectrum + sdif.write_rbep(data)[16:])
    assert equal(found, data)
    assert found.notes == ("skipped 1 matrices of the type '1STF/1STF'", "skipped 1 matrices of the type '1STF/ISTF'")
    with pytest.raises(ExchangeError, match="no frames of the types RBEP, 1TRC, 1HRM"):
        sdif.read(HEADER + spectrum)


def test_spear_text_keeps_all_but_phases() -> None:
    data = random_tracks()
    text = spear.write(data)
    assert text.startswith(
        b"par-text-partials-format\npoint-type time frequency amplitude\npartials-count 6\npartials-data\n0 8 "
    )
    for found in (spear.read(text), spear.read(text.replace(b".", b",")), spear.read(text.replace(b"\n", b"\r\n"))):
        assert equal(found, data, ("counts", "signal"))
        # Nine decimals of a second, six of a hertz, twelve of an amplitude.
        np.testing.assert_allclose(found.time_s, data.time_s, atol=1e-9)
        np.testing.assert_allclose(found.frequency_hz, data.frequency_hz, atol=1e-6)
        np.testing.assert_allclose(found.amplitude, data.amplitude, atol=1e-12)
        np.testing.assert_array_equal(found.phase_rad, phases(found.counts, found.time_s, found.frequency_hz))


def test_spear_text_with_other_columns_is_read_by_their_names() -> None:
    text = b"par-text-partials-format\npoint-type frequency time bandwidth amplitude phase\npartials-count 1\npartials-data\n"
    found = spear.read(text + b"0 2 0.5 1,5\n440 0.5 0.25 0.1 1 441 1.5 0.5 0.2 2\n")
    assert found.frequency_hz.tolist() == [440, 441]
    assert found.time_s.tolist() == [0.5, 1.5]
    assert (found.bandwidth.tolist(), found.phase_rad.tolist()) == ([0.25, 0.5], [1, 2])


def test_ats_has_tracks_on_its_frames_exactly() -> None:
    """Knots at the times of the frames are kept with all digits; phases are modulo turns."""
    data = steady([440.0, 1234.5])
    noise = NoiseBands(0.01, np.random.default_rng(0).uniform(0, 1e-4, (101, 25)))
    found = ats.read(ats.write(replace(data, noise=noise)))
    order = np.lexsort((found.time_s, found.frequency_hz))
    np.testing.assert_allclose(found.frequency_hz[order], data.frequency_hz, atol=1e-9)
    np.testing.assert_allclose(found.amplitude[order], data.amplitude, atol=1e-15)
    assert error_db(rendered(found), rendered(data)) < -120
    assert found.noise is not None
    np.testing.assert_allclose(found.noise.power[::2], noise.power, rtol=1e-12)
    assert (found.sample_rate, found.noise.step_s) == (RATE, pytest.approx(0.005))


def test_ats_of_either_byte_order_and_of_each_type() -> None:
    data = steady([440.0])
    whole = np.frombuffer(ats.write(data), dtype="<f8")
    assert whole[:11].tolist() == [123, RATE, 80, 320, 1, 201, 0.1, pytest.approx(440), pytest.approx(1.005), 4, 0]
    assert equal(ats.read(whole.astype(">f8").tobytes()), ats.read(whole.tobytes()))
    frames = whole[10:].reshape(201, -1)
    for kind, kept in ((1, [0, 1, 2]), (2, [0, 1, 2, 3]), (3, [0, 1, 2, *range(4, 29)])):
        header = whole[:10].copy()
        header[9] = kind
        found = ats.read(np.concatenate([header, frames[:, kept].ravel()]).tobytes())
        np.testing.assert_allclose(found.frequency_hz, 440)
        assert error_db(rendered(found), rendered(data)) < -100


def test_tracks_that_do_not_overlap_share_a_partial_of_ats() -> None:
    """Sixty tracks, one after the other, take 2 partials, not 60; none glides while it sounds."""
    begins = np.arange(60) * 0.016
    time_s = np.stack([begins, begins + 0.005, begins + 0.014], axis=1)
    frequency = np.random.default_rng(1).uniform(200, 3000, 60)
    amplitude = np.tile([0.0, 0.1, 0.0], 60)
    data = from_points(Points(np.repeat(np.arange(60), 3), time_s.ravel(), np.repeat(frequency, 3), amplitude))
    text = ats.write(replace(data, sample_rate=RATE, n_samples=RATE))
    assert 1 <= np.frombuffer(text, dtype="<f8")[4] <= 3
    found = ats.read(text)
    loud = found.amplitude > 0
    assert np.abs(found.frequency_hz[loud][:, None] - frequency).min(axis=1).max() < 1e-9


def test_the_bands_of_ats_have_the_power_of_the_noise() -> None:
    noise = 0.1 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    network = ddaudio.fit(ddaudio.Recording(noise, RATE), steps=1, budget=200).network
    layer = next(term for term in network.terms if term.is_noise)
    file = np.frombuffer(export_model(network, "ats").data, dtype="<f8")
    width = 1 + 3 * int(file[4]) + 25
    power = file[10:].reshape(-1, width)[:, -25:].mean(0).sum() * 2 / file[3]
    # The mean of a realisation of the noise, whose own scatter is 0.1 dB, below the last edge of the bands, 20 kHz.
    spectrum = torch.fft.rfft(layer.estimate().double())[0].abs().square()
    hz = torch.fft.rfftfreq(network.shape[1], 1 / network.sample_rate)
    expected = 2 * float(spectrum[hz < EDGES_HZ[-1]].sum()) / network.shape[1] ** 2
    assert abs(10 * np.log10(power / expected)) < 0.5


def test_supercollider_has_an_envelope_of_each_curve() -> None:
    data = random_tracks(n_tracks=4)
    text = supercollider.write(data).decode()
    assert text.count("Env([") == 8
    assert all(text.count(one) == text.count(other) for one, other in ("()", "[]", "{}"))
    arrays = text.split("var tracks = [\n")[1].split("\n];")[0]
    assert re.fullmatch(r"[\s\d.,\[\]()Env\\li-]+", arrays)  # numbers without exponents


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fits") / "pluck-fit"
    ddaudio.save_fit(fit_waves(pluck(0.3), steps=3), folder, html=False)
    return folder


def test_a_model_as_json_renders_the_same_bits(fitted: Path, tmp_path: Path) -> None:
    export_file(fitted, tmp_path / "model.json", "model-json")
    read = build_model("model.json", *model_json.read((tmp_path / "model.json").read_bytes()))
    assert torch.equal(ddaudio.render(read)[:, :], ddaudio.render(ddaudio.load_model(fitted))[:, :])
    settings, tensors = read_parts(fitted)
    contents = json.loads((tmp_path / "model.json").read_text())
    assert contents["settings"] == settings
    for name, tensor in tensors.items():
        values = np.array(contents["tensors"][name]["values"], dtype=tensor.numpy().dtype)
        assert values.tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("name", [name for name, spec in FORMATS.items() if spec.content == "tracks" and not spec.pitch])
def test_a_model_in_cells_is_exported_as_tracks(name: str, fitted: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    export_file(fitted, path, name)
    with pytest.raises(OutputError, match="exists"):
        export_file(fitted, path, name)
    if not FORMATS[name].reader and name != "sdif-1trc":
        return
    found = READERS["sdif" if name.startswith("sdif") else "csv" if name == "tracks-csv" else name](path.read_bytes())
    network = ddaudio.load_model(fitted)
    if name not in ("spear", "ats"):
        assert equal(found, tracks_of_model(network), ("signal", *(("counts",) if name != "sdif-1trc" else ())))
    assert found.time_s.max() <= network.shape[1] / network.sample_rate + 0.006


def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(fitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name, error, words in (
        ("csv", OptionError, "format is 'csv', a table of components"),
        ("xml", OptionError, "format is 'xml'"),
    ):
        with pytest.raises(error, match=words):
            export_file(fitted, out, name)
    stereo = ddaudio.fit(ddaudio.Recording(torch.randn(2, 2000) * 0.1, RATE), model="sine", steps=1).network
    with pytest.raises(ExchangeError, match="the format spear has one channel, the model 2; choose one with channel"):
        export_model(stereo, "spear")
    with pytest.raises(OptionError, match="channel is 2; allowed: 0 to 1"):
        export_model(stereo, "spear", channel=2)
    assert set(spear.read(export_model(stereo, "spear", channel=1).data).signal) == {0}
    tree = ddaudio.fit(pluck(0.1), model="double-dutch", steps=1).network
    with pytest.raises(OptionError, match="has a network 'double-dutch', which has no tracks"):
        export_model(tree, "sdif")
    assert not out.exists()


@pytest.mark.parametrize("levels", ["linear", "log"])
def test_a_model_of_tracks_is_exported_as_its_knots(levels: str) -> None:
    fitted = ddaudio.fit(pluck(0.2), model="tracks", levels=levels, budget=60, steps=1).network
    data = tracks_of_model(fitted)
    assert data.counts.sum() == fitted.n_components()
    assert len(data.notes) == (levels == "log")
    assert equal(sdif.read(sdif.write_rbep(data)), data)


@given(data=st.data())
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_end_in_tracks_or_in_words(name: str, data: st.DataObject) -> None:
    whole = bytearray(SAMPLES[name])
    kind = data.draw(st.sampled_from(["cut", "change", "insert"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        del whole[at:]
    elif kind == "insert":
        whole[at:at] = data.draw(st.binary(min_size=1, max_size=12))
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = READERS[name](bytes(whole))
    except DdaudioError:
        return
    # No more knots than bytes, all of them finite.
    assert len(found.time_s) <= 10 * len(whole)
    for column in COLUMNS:
        assert np.isfinite(getattr(found, column)).all()
    assert (np.diff(found.time_s)[np.diff(found.owner) == 0] > 0).all()


@given(data=st.binary(max_size=300))
@pytest.mark.parametrize("name", READERS)
def test_foreign_bytes_are_refused(name: str, data: bytes) -> None:
    for start in (b"", *FORMATS[{"csv": "tracks-csv"}.get(name, name)].begins):
        with contextlib.suppress(ExchangeError):
            READERS[name](start + data)


def test_sizes_are_checked_before_memory_is_taken() -> None:
    """Headers that declare 4 GB of rows, or 2^52 partials."""
    frame = bytearray(sdif.write_1trc(random_tracks()))
    struct.pack_into(">I", frame, 16 + 24 + 8, 0xFFFFFFFF)
    with pytest.raises(ExchangeError, match=r"the matrix at byte 56 has \d+ bytes"):
        list(frames_of(bytes(frame)))
    values = np.frombuffer(ats.write(steady([440.0])), dtype="<f8").copy()
    values[4] = 2.0**52
    with pytest.raises(ExchangeError, match="its header declares 201 x"):
        ats.read(values.tobytes())
    text = spear.write(random_tracks()).replace(b"\n0 8 ", b"\n0 99999999999 ")
    with pytest.raises(ExchangeError, match="ends within partial 0, which has 1e\\+11 points"):
        spear.read(text)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("time_s", np.nan, "time_s: 1 of 4 values are not allowed, first nan; allowed: -1e+06 to 1e+06"),
        ("amplitude", -0.1, "amplitude: 1 of 4 values are not allowed, first -0.1; allowed: 0 to 1e+06"),
        ("frequency_hz", np.inf, "frequency_hz: 1 of 4 values"),
        ("bandwidth", 1.5, "bandwidth: 1 of 4 values are not allowed, first 1.5; allowed: 0 to 1"),
    ],
)
def test_values_that_no_track_has_are_refused(column: str, value: float, words: str) -> None:
    columns = {name: np.full(4, 0.5) for name in ("frequency_hz", "amplitude", "bandwidth", "phase_rad")}
    columns["time_s"] = np.array([0.0, 1.0, 0.0, 1.0])
    columns[column][2] = value
    with pytest.raises(ExchangeError, match=words.replace("+", r"\+")):
        from_points(Points(track=np.array([0, 0, 1, 1]), **columns))


def test_points_that_are_no_track_are_left_out_with_notes() -> None:
    points = Points(np.array([5, 5, 5, 7, 9, 9]), np.array([-0.5, 0.5, 0.5, 1.0, 0.0, 1.0]), np.full(6, 440.0), np.full(6, 0.1))
    found = from_points(points)
    assert found.counts.tolist() == [2, 2]
    assert found.time_s.tolist() == [0.0, 1.0, 0.5, 1.5]
    assert found.notes == (
        "skipped 1 points at the time of another one of their track",
        "skipped 1 tracks of a single point",
        "the tracks begin at -0.5 s, which is now 0",
    )


def test_curves_between_knots_are_those_of_the_synthesis() -> None:
    """Samples of the engine, from amplitude and phase; the frequency is the derivative of the phase."""
    data = random_tracks(2, n_tracks=1)
    n = np.arange(int(np.ceil(data.time_s[0] * RATE)), int(data.time_s[-1] * RATE))
    values, step = curves_at(data, np.zeros(len(n), dtype=np.int64), n / RATE), 1e-7
    sound = rendered(data)[0].numpy()[n]
    np.testing.assert_allclose(values.amplitude * np.cos(values.phase_rad), sound, atol=1e-9)
    later = curves_at(data, np.zeros(len(n), dtype=np.int64), n / RATE + step)
    slope = (later.phase_rad - values.phase_rad) / (2 * np.pi * step)
    inside = np.abs(slope - values.frequency_hz) < 0.1
    # All but the few samples within 100 ns of a knot, where the segment changes.
    assert inside.mean() > 0.99


def test_midi_has_the_pitch_to_a_third_of_a_cent() -> None:
    """Half a step of bends over 48 semitones is 0.29 cents; ticks of 0.5 ms of a pitch that moves by 3 cents per tick at most."""
    data, pitch = glide()
    found = midi.read(midi.write(replace(data, pitch=pitch)))
    assert len(found.counts) == 1
    inner = found.time_s[3:-3]
    cents = 1200 * np.log2(found.frequency_hz[3:-3] / np.interp(inner, pitch.time_s, pitch.f0_hz))
    assert np.abs(cents).max() < 0.6 + 1.5
    assert np.sqrt(np.mean(cents**2)) < 0.6
    # Levels in steps of 1/127 of their root.
    np.testing.assert_allclose(found.amplitude[3:-3], np.interp(inner, data.time_s, data.amplitude), rtol=0.03)


def test_midi_of_a_model_without_pitch_is_refused() -> None:
    data, pitch = glide()
    with pytest.raises(ExchangeError, match="the model has no pitch"):
        midi.write(data)
    with pytest.raises(ExchangeError, match="the model has no pitch"):
        midi.write(replace(data, pitch=PitchLine(pitch.time_s, np.full_like(pitch.f0_hz, np.nan))))


def test_midi_of_a_model_has_its_pitch() -> None:
    """Five harmonics that glide from 220 Hz by a semitone in 0.8 s: one note."""
    time_s = torch.arange(6400) / 8000
    turns = 220 * time_s * (1 + 0.0595 * time_s / 1.6)
    sound = sum(0.2 / n * torch.sin(2 * torch.pi * n * turns + n) for n in range(1, 6))
    network = fit_waves(ddaudio.Recording(sound[None], 8000), target_snr_db=20, steps=1).network
    found = midi.read(export_model(network, "midi").data)
    assert len(found.counts) == 1
    inner = (found.time_s > 0.1) & (found.time_s < 0.7)
    expected = 220 * (1 + 0.0595 * found.time_s[inner] / 0.8)
    # The pitch is within 5 cents.
    assert np.abs(1200 * np.log2(found.frequency_hz[inner] / expected)).max() < 10


def test_csv_of_tracks_is_a_table() -> None:
    data = random_tracks(n_signals=2)
    rows = list(csv.DictReader(io.StringIO(tracks_csv.write(data).decode())))
    assert len(rows) == len(data.time_s)
    assert [float(row["phase_rad"]) for row in rows] == data.phase_rad.tolist()
    with pytest.raises(ExchangeError, match="its headings are"):
        tracks_csv.read(b"track,signal,time_s\n0,0,0\n")
    with pytest.raises(ExchangeError, match="its values are not numbers"):
        tracks_csv.read(b"track,signal,time_s,frequency_hz,amplitude\n0,0,0,a,1\n")


SAMPLES = {
    "sdif": sdif.write_rbep(random_tracks(n_tracks=3)),
    "ats": ats.write(steady([440.0, 500.0], 9)),
    "spear": spear.write(random_tracks(n_tracks=3)),
    "csv": tracks_csv.write(random_tracks(n_tracks=3)),
    "midi": midi.write(replace(glide(30)[0], pitch=glide(30)[1])),
}
"""A small file of each format."""
