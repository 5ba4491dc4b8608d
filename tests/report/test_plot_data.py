"""Pictures: nothing that is drawn is smaller than the sound, and it stands at its time, frequency and level."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann
from sounds import RATE, noise, pluck, tones
from sounds import fit_waves as fit
from spelled_trees import Spelled
from torch import Tensor

from ddaudio.analysis.partials import Partials
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.samples import Difference
from ddaudio.models import DoubleDutchNetwork, SineNetwork
from ddaudio.models.double_dutch.trees import Trees
from ddaudio.models.sum import SumNetwork
from ddaudio.options import DoubleDutchOptions
from ddaudio.report import plot_data

N_FFT = 512
"""Samples in a frame at 8 kHz: 64 ms lie nearer to 46 ms than 32 ms do, in octaves."""
ROUNDING_DB = 0.5 + 0.01
"""Whole dB, and float32 beside float64."""


@pytest.fixture(params=[1 << 19, 700, 1], ids=["one block", "blocks", "column by column"])
def _blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on so many samples at a time."""
    monkeypatch.setattr(plot_data, "_BLOCK_SAMPLES", request.param)


@pytest.fixture(scope="module", autouse=True)
def _small_blocks_in_properties() -> Iterator[None]:
    """Have a block end now and then within the sounds that hypothesis makes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot_data, "_BLOCK_SAMPLES", 2500)
        yield


def spans(n_samples: int, n_columns: int, column_s: float, rate: int = RATE) -> list[slice]:
    """Return which samples each column stands for; together they are all, and no column is beyond the end."""
    width = round(column_s * rate)
    assert width / rate == pytest.approx(column_s, rel=1e-12)
    assert (n_columns - 1) * width < n_samples <= n_columns * width
    return [slice(first, min(first + width, n_samples)) for first in range(0, n_columns * width, width)]


# --- waveforms --------------------------------------------------------------------------------------------------------


@given(n_samples=st.integers(1, 3000), columns=st.integers(1, 1200), channels=st.integers(1, 3), seed=st.integers(0, 99))
@example(n_samples=1, columns=1, channels=1, seed=0)
@settings(deadline=None, max_examples=80)
def test_an_outline_is_the_lowest_and_highest_of_each_column(n_samples: int, columns: int, channels: int, seed: int) -> None:
    samples = torch.randn(channels, n_samples, generator=torch.Generator().manual_seed(seed))
    outline = plot_data.waveform(samples, RATE, columns)
    assert outline.low.shape == outline.high.shape
    assert outline.low.shape[0] == channels
    assert 1 <= outline.low.shape[1] <= columns
    # As many columns as there may be with whole samples in each.
    assert round(outline.column_s * RATE) == math.ceil(n_samples / columns)
    for column, span in enumerate(spans(n_samples, outline.low.shape[1], outline.column_s)):
        assert outline.low[:, column].tolist() == samples[:, span].amin(1).tolist()
        assert outline.high[:, column].tolist() == samples[:, span].amax(1).tolist()


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("place", [0, 777_777, 180 * RATE - 1])
def test_a_click_in_three_minutes_of_silence_is_drawn_at_its_place(place: int, sign: int) -> None:
    samples = torch.zeros(2, 180 * RATE)
    samples[1, place] = sign * 0.25
    outline = plot_data.waveform(samples, RATE, 1000)
    drawn = outline.high if sign > 0 else outline.low
    assert np.argwhere(drawn != 0).tolist() == [[1, math.floor(place / RATE / outline.column_s)]]
    assert drawn[1].sum() == sign * 0.25
    assert not (outline.low if sign > 0 else outline.high).any()


def test_only_the_first_channels_are_drawn() -> None:
    samples = noise(0.1, channels=10)
    outline, spectra = plot_data.waveform(samples, RATE, 50), plot_data.spectrogram(samples, RATE, 50, 20)
    assert outline.low.shape == (plot_data.MOST_CHANNELS, 50)
    assert outline.low.min(axis=1).tolist() == samples[:8].amin(1).tolist()
    assert spectra.levels_db.shape[0] == 8
    assert np.array_equal(spectra.levels_db, plot_data.spectrogram(samples[:8], RATE, 50, 20).levels_db)


def test_sounds_that_are_read_in_slices_look_the_same() -> None:
    target, estimate = noise(0.5, 2), noise(0.5, 2, seed=1)
    lazy, whole = Difference(target, estimate), target - estimate
    assert np.array_equal(plot_data.waveform(lazy, RATE, 99).low, plot_data.waveform(whole, RATE, 99).low)
    assert np.array_equal(plot_data.levels(lazy, RATE, 30)[0], plot_data.levels(whole, RATE, 30)[0])
    drawn = [plot_data.spectrogram(one, RATE, 99, 33).levels_db for one in (lazy, whole)]
    assert np.array_equal(*drawn)


# --- levels -----------------------------------------------------------------------------------------------------------


@given(n_samples=st.integers(1, 4000), columns=st.integers(1, 1000), channels=st.integers(1, 9), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=80)
def test_levels_are_the_mean_power_of_each_column(n_samples: int, columns: int, channels: int, seed: int) -> None:
    samples = torch.randn(channels, n_samples, generator=torch.Generator().manual_seed(seed))
    powers, column_s = plot_data.levels(samples, RATE, columns)
    assert len(powers) <= columns
    for power, span in zip(powers, spans(n_samples, len(powers), column_s), strict=True):
        # One rounding to float32.
        assert power == pytest.approx(np.mean(samples.numpy()[:, span].astype(np.float64) ** 2), rel=1e-7)
    # A window is a period of 100 Hz at least, or all there is.
    assert round(column_s * RATE) == max(math.ceil(n_samples / columns), min(80, n_samples))


@pytest.mark.usefixtures("_blocks")
def test_levels_of_a_tone_are_half_its_squared_amplitude() -> None:
    powers, column_s = plot_data.levels(tones([400.0], [0.5], [0.0], 1.0), RATE, 100)
    assert (len(powers), column_s) == (100, 0.01)
    assert powers == pytest.approx(0.125, rel=1e-6)


def test_decibels_have_a_floor() -> None:
    power = np.array([1, 0.5, 1e-6, 1e-20, 1e-30, 0], np.float32)
    found = plot_data.decibels(power)
    assert found.dtype == np.float32
    assert found == pytest.approx([0, 10 * math.log10(0.5), -60, -200, -200, -200], abs=1e-4)  # float32 at 200


# --- spectrograms -----------------------------------------------------------------------------------------------------


def row_of(spectrogram: plot_data.Spectrogram, hz: float) -> int:
    """Return the row in which a frequency lies."""
    return math.floor((hz - spectrogram.low_hz) / spectrogram.row_hz)


@given(
    place=st.integers(3, N_FFT // 2 - 3),
    phase=st.floats(0, 6.28),
    level_db=st.floats(-60, 0),
    rows=st.integers(1, 300),
    columns=st.integers(1, 60),
)
@settings(deadline=None, max_examples=60)
def test_a_sinusoid_reads_its_level_at_its_frequency(place: int, phase: float, level_db: float, rows: int, columns: int) -> None:
    hz = place * RATE / N_FFT
    tone = tones([hz], [10 ** (level_db / 20)], [phase], 0.5)
    found = plot_data.spectrogram(tone, RATE, columns, rows)
    row = row_of(found, hz)
    # Columns of which a frame lies wholly within the sound; where all do, nothing but the tone is seen.
    begins = np.arange(found.levels_db.shape[2]) * found.column_s
    half_s = N_FFT / 2 / RATE
    some = (begins + found.column_s > half_s + 0.016) & (begins < 0.5 - half_s - 0.016)
    every = (begins > half_s) & (begins + found.column_s < 0.5 - half_s)
    assert some.any()
    assert (np.abs(found.levels_db[0, row, some] - level_db) <= ROUNDING_DB).all()
    # A Hann window reaches one bin to either side.
    low, high = (row_of(found, hz + side * RATE / N_FFT) for side in (-1, 1))
    beside = np.delete(found.levels_db[0], slice(low, high + 1), axis=0)
    assert (beside[:, every] <= max(level_db - 90, plot_data.LEAST_DB)).all()


def test_full_scale_is_0_db() -> None:
    found = plot_data.spectrogram(tones([1000.0], [1.0], [0.3], 2.0), RATE, 100, 257)
    assert found.levels_db.dtype == np.int8
    assert found.levels_db.max() == 0
    assert np.unique(found.levels_db[0].argmax(axis=0)).tolist() == [64]
    assert (found.low_hz, found.row_hz, found.column_s) == (-RATE / N_FFT / 2, RATE / N_FFT, 0.02)
    assert found.levels_db.min() >= plot_data.LEAST_DB


def reference(samples: Tensor, rate: int, columns: int, rows: int) -> np.ndarray:
    """Return the levels in dB ``[C, rows, columns]`` by SciPy's transform, and one cell after another."""
    n_channels, n_samples = samples.shape
    n_fft = min((2**power for power in range(4, 20)), key=lambda size: abs(math.log2(size / rate / 0.046)))
    width = math.ceil(n_samples / columns)
    each = next(count for count in range(1, width + 1) if math.ceil(width / count) <= n_fft // 4)
    hop = math.ceil(width / each)
    transform = ShortTimeFFT(hann(n_fft, sym=False), hop, rate, fft_mode="onesided", scale_to="magnitude")
    # SciPy's slice p has its middle at p hop; ours at p hop + hop // 2: with so many zeros ahead, at one slice less.
    ahead = np.zeros((n_channels, hop - hop // 2))
    slices = 1 + each * math.ceil(n_samples / (hop * each))
    padded = np.concatenate([ahead, samples.double().numpy(), np.zeros((n_channels, slices * hop + n_fft))], 1)
    magnitudes = 2 * np.abs(transform.stft(padded, p0=1, p1=slices))
    row = math.ceil((n_fft // 2 + 1) / rows)
    cells = [
        [magnitudes[:, low : low + row, first : first + each].max(axis=(1, 2)) for first in range(0, slices - 1, each)]
        for low in range(0, n_fft // 2 + 1, row)
    ]
    return 20 * np.log10(np.maximum(np.array(cells), 1e-30)).transpose(2, 0, 1)


def differs_db(found: plot_data.Spectrogram, wanted: np.ndarray) -> float:
    assert found.levels_db.shape == wanted.shape
    # The float32 transform errs by 1e-7 of the loudest bin: below -100 dB that shows.
    bound = np.clip(wanted, -100, 127)
    return float(np.abs(np.maximum(found.levels_db, -100.0) - bound).max())


@given(
    n_samples=st.integers(1, 6000),
    columns=st.integers(1, 400),
    rows=st.integers(1, 300),
    channels=st.integers(1, 3),
    seed=st.integers(0, 99),
)
@example(n_samples=1, columns=1, rows=1, channels=1, seed=0)
@example(n_samples=5999, columns=3, rows=7, channels=2, seed=1)
@settings(deadline=None, max_examples=40)
def test_spectrograms_equal_scipys(n_samples: int, columns: int, rows: int, channels: int, seed: int) -> None:
    samples = 0.3 * torch.randn(channels, n_samples, generator=torch.Generator().manual_seed(seed))
    found = plot_data.spectrogram(samples, RATE, columns, rows)
    assert differs_db(found, reference(samples, RATE, columns, rows)) <= ROUNDING_DB
    assert found.levels_db.shape[1] <= rows
    assert found.levels_db.shape[2] <= columns
    spans(n_samples, found.levels_db.shape[2], found.column_s)
    # The rows begin half a bin below 0 Hz; the last holds Nyquist's bin.
    assert row_of(found, 0) == 0
    assert row_of(found, RATE / 2) == found.levels_db.shape[1] - 1


@pytest.mark.usefixtures("_blocks")
@pytest.mark.parametrize("rate", [4000, 44_100, 192_000])
def test_spectrograms_equal_scipys_at_every_rate(rate: int) -> None:
    samples = noise(0.5, channels=2, rate=rate) if rate < 192_000 else noise(0.1, rate=rate)
    found = plot_data.spectrogram(samples, rate, 37, 100)
    assert differs_db(found, reference(samples, rate, 37, 100)) <= ROUNDING_DB


@given(place=st.integers(0, 39_999), columns=st.integers(1, 900), rows=st.integers(1, 300))
@settings(deadline=None, max_examples=40)
def test_a_click_is_not_hidden(place: int, columns: int, rows: int) -> None:
    samples = torch.zeros(1, 40_000)
    samples[0, place] = 1
    found = plot_data.spectrogram(samples, RATE, columns, rows)
    column = place // round(found.column_s * RATE)
    # Its level in a frame with the click in its middle: 2 / sum(window). A frame's middle lies within an eighth of a frame.
    most = 2 / (N_FFT / 2)
    least = most * math.cos(math.pi / 8) ** 2
    shown = found.levels_db[0, :, column]
    assert 20 * math.log10(least) - ROUNDING_DB <= shown.min()
    assert shown.max() <= 20 * math.log10(most) + ROUNDING_DB
    # A frame does not reach farther than half its length, to middles of other columns.
    reach = math.ceil(N_FFT / 2 / RATE / found.column_s) + 1
    others = np.delete(found.levels_db[0], slice(max(0, column - reach), column + reach + 1), axis=1)
    assert (others == plot_data.LEAST_DB).all()


def test_a_click_in_a_long_sound_is_not_hidden() -> None:
    samples = torch.zeros(1, 180 * RATE)
    samples[0, 1_000_003] = 1
    found = plot_data.spectrogram(samples, RATE, 800, 257)
    assert found.levels_db.shape == (1, 257, 800)
    assert np.flatnonzero(found.levels_db[0].min(axis=0) > plot_data.LEAST_DB).tolist() == [1_000_003 // 1800]
    assert found.levels_db.max() >= 20 * math.log10(4 / N_FFT * math.cos(math.pi / 8) ** 2) - 0.5


@pytest.mark.parametrize(("n_samples", "channels"), [(1, 1), (1, 12), (3, 2), (100, 9), (N_FFT - 1, 1)])
def test_the_shortest_sounds_have_pictures(n_samples: int, channels: int) -> None:
    samples = 0.5 * torch.ones(channels, n_samples)
    drawn = min(channels, 8)
    found = plot_data.spectrogram(samples, RATE, 800, 513)
    assert found.levels_db.shape == (drawn, N_FFT // 2 + 1, n_samples)
    # All of a frame's samples, in phase at 0 Hz: 2 sum(window times sound) / sum(window).
    window = np.pad(hann(N_FFT, sym=False), (n_samples, n_samples))
    middle = n_samples // 2
    first = n_samples + N_FFT // 2 - middle
    peak_db = 20 * math.log10(2 * 0.5 * window[first : first + n_samples].sum() / window.sum())
    assert abs(found.levels_db[:, 0, middle] - peak_db).max() <= ROUNDING_DB
    outline = plot_data.waveform(samples, RATE, 800)
    assert outline.low.tolist() == outline.high.tolist() == [[0.5] * n_samples] * drawn
    powers, column_s = plot_data.levels(samples, RATE, 800)
    assert powers == pytest.approx(0.25)
    assert len(powers) == math.ceil(n_samples / (column_s * RATE))


def test_levels_stay_in_a_byte() -> None:
    huge, silent = torch.full((1, 600), 1e30), torch.zeros(1, 600)
    assert plot_data.spectrogram(huge, RATE, 10, 10).levels_db.max() == plot_data.MOST_DB
    assert np.unique(plot_data.spectrogram(silent, RATE, 10, 10).levels_db).tolist() == [plot_data.LEAST_DB]


# --- partials ---------------------------------------------------------------------------------------------------------

SIZES = [[400, 200, 200, 200], [800, 200]]
"""Cells of two channels of 900 samples, so that the last ones end beyond the sound; frames are sorted by length."""


def bank(cells: list[int], hz: list[float], cosine: list[float], sine: list[float], sizes: list[list[int]]) -> SineNetwork:
    """Return a network with given partials, each in a cell counted over all channels."""
    network = SineNetwork(TimeGrid.of_sizes(RATE, 900, sizes))
    frame = torch.argsort(network.grid.order)[torch.tensor(cells)]
    order = torch.argsort(frame, stable=True)
    columns = [torch.tensor([2 * math.pi * one / RATE for one in hz]), torch.tensor(cosine), torch.tensor(sine)]
    network.replace_partials(Partials(frame[order], *(column[order] for column in columns)))
    return network


def drawn_lines(lines: plot_data.Lines | None) -> list[tuple[float, ...]]:
    """Return what is drawn, line by line: channel, start, end (samples), Hz, dB."""
    assert lines is not None
    columns = (lines.signal, lines.start_s * RATE, lines.end_s * RATE, lines.frequency_hz, lines.level_db)
    assert {len(column) for column in columns} == {len(lines.signal)}
    return [tuple(map(float, row)) for row in zip(*columns, strict=True)]


def test_each_partial_is_a_line_over_its_cell() -> None:
    network = bank([0, 1, 3, 4, 5], [100, 440, 1000, 3999, 0], [0.5, 0.0, 0.06, 1.0, 0.001], [0.0, -0.25, 0.08, 0.0, 0.0], SIZES)
    lines = plot_data.lines(network)
    found = drawn_lines(lines)
    # The weakest first, over the cell without its fades, and no farther than the sound.
    wanted = [
        (1, 800, 900, 0, -60),
        (0, 800, 900, 1000, -20),
        (0, 400, 600, 440, 20 * math.log10(0.25)),
        (0, 0, 400, 100, 20 * math.log10(0.5)),
        (1, 0, 800, 3999, 0),
    ]
    assert found == [pytest.approx(row, rel=1e-5, abs=1e-3) for row in wanted]  # float32, there and back
    assert lines is not None
    assert lines.n_partials == 5


def test_lines_of_a_sum_are_those_of_all_its_terms() -> None:
    first = bank([0], [100], [0.5], [0.0], SIZES)
    second = bank([2, 0], [300, 200], [0.25, 1.0], [0.0, 0.0], [[300, 300, 300], [900]])
    tree = DoubleDutchNetwork(TimeGrid.uniform(RATE, 2, 900, 0.032, 0.0))
    lines = plot_data.lines(SumNetwork([first, tree, second]))
    assert [(row[0], round(row[1]), round(row[2]), round(row[3])) for row in drawn_lines(lines)] == [
        (0, 600, 900, 300),
        (0, 0, 400, 100),
        (0, 0, 300, 200),
    ]
    assert plot_data.lines(tree) is None
    assert plot_data.lines(SumNetwork([tree, tree])) is None


def test_the_strongest_partials_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [0.1, 0.7, 0.3, 0.9, 0.5]
    network = bank([4, 3, 2, 1, 0], [100, 200, 300, 400, 500], levels, [0.0] * 5, SIZES)
    monkeypatch.setattr(plot_data, "MOST_LINES", 3)
    lines = plot_data.lines(network)
    assert lines is not None
    assert lines.n_partials == 5
    assert lines.frequency_hz.tolist() == pytest.approx([500, 200, 400])
    # A weak partial of a strong track is kept before a track that is stronger than it alone.
    in_track = bank([0, 1, 2], [100, 100, 900], [0.5, 0.1, 0.3], [0.0] * 3, SIZES)
    monkeypatch.setattr(plot_data, "MOST_LINES", 2)
    lines = plot_data.lines(in_track)
    assert lines is not None
    assert lines.frequency_hz.tolist() == pytest.approx([100, 100])
    monkeypatch.setattr(plot_data, "MOST_LINES", 5)
    assert [row[3] for row in drawn_lines(plot_data.lines(network))] == pytest.approx([100, 300, 500, 200, 400])


def test_lines_of_a_track_meet_where_their_cells_do() -> None:
    # The middles of the cells are at 200 and 500 samples, their boundary at 400: two thirds of the way.
    lines = plot_data.lines(bank([0, 1], [100, 103], [0.5, 0.25], [0.0, 0.0], SIZES))
    assert lines is not None
    late, early = 0, 1  # the weaker first
    assert lines.track.tolist() == [0, 0]
    assert lines.end_hz[early] == lines.start_hz[late] == pytest.approx(102)
    assert (lines.start_hz[early], lines.end_hz[late]) == pytest.approx((100, 103))


def test_lines_of_knots_go_from_knot_to_knot() -> None:
    """A table of two tracks of knots, as that of the network `tracks`: extents are those of the whole track."""
    knots = {"track": [0, 0, 0, 1, 1], "time_s": [0.0, 0.1, 0.4, 0.2, 0.4], "frequency_hz": [100.0, 200.0, 260.0, 500.0, 500.0]}
    table = {name: torch.tensor(column, dtype=torch.float64) for name, column in knots.items()}
    table |= {"track": table["track"].long(), "start_s": torch.tensor([0.0] * 3 + [0.2] * 2), "end_s": torch.tensor([0.4] * 5)}
    table = {name: column if name == "track" else column.double() for name, column in table.items()}
    pieces = {name: column.tolist() for name, column in plot_data._pieces(table).items()}
    assert pieces["start_s"] == pytest.approx([0, 0.05, 0.25, 0.2, 0.3])
    assert pieces["middle_s"] == pytest.approx(knots["time_s"])
    assert pieces["end_s"] == pytest.approx([0.05, 0.25, 0.4, 0.3, 0.4])
    assert pieces["start_hz"] == pytest.approx([100, 150, 230, 500, 500])
    assert pieces["end_hz"] == pytest.approx([150, 230, 260, 500, 500])


def test_a_network_of_no_partials_has_no_lines() -> None:
    lines = plot_data.lines(SineNetwork(TimeGrid.of_sizes(RATE, 900, SIZES)))
    assert drawn_lines(lines) == []
    assert lines is not None
    assert lines.n_partials == 0


def test_silent_partials_have_a_level() -> None:
    assert drawn_lines(plot_data.lines(bank([0], [100], [0.0], [0.0], SIZES)))[0][4] == pytest.approx(-200)


def test_lines_of_a_fit_say_what_its_table_says() -> None:
    network = fit(pluck(), steps=0).network
    lines, table = plot_data.lines(network), network.describe()
    assert lines is not None
    assert lines.n_partials == network.n_prunable() == len(lines.signal)
    order = np.lexsort((lines.level_db, lines.frequency_hz))
    signal, start_s, end_s, frequency_hz, level_db = (
        column[order] for column in (lines.signal, lines.start_s, lines.end_s, lines.frequency_hz, lines.level_db)
    )
    rows = np.lexsort((table["amplitude"].numpy(), table["frequency_hz"].numpy()))
    told = {name: column.numpy()[rows] for name, column in table.items()}
    assert signal.tolist() == told["signal"].tolist()
    assert frequency_hz == pytest.approx(told["frequency_hz"], rel=1e-6)  # float32
    assert 10 ** (level_db / 20) == pytest.approx(told["amplitude"], rel=1e-5)  # float32, by way of dB
    assert start_s.min() == 0
    assert end_s.max() == 0.5
    # The table names the middle of the frame, between two samples; the last cells end beyond the sound.
    whole = end_s < 0.5
    assert whole.any()
    assert (start_s + end_s)[whole] / 2 == pytest.approx(told["time_s"][whole] + 0.5 / RATE, abs=1e-6)


# --- trees ------------------------------------------------------------------------------------------------------------


def planted(
    amplitudes: Tensor, signals: int = 1, *, n_samples: int | None = None, learned: Tensor | None = None, **how: str
) -> DoubleDutchNetwork:
    """Return trees over 8 samples each, of which all ropes with an amplitude other than 0 in ``[F, R, P]`` speak."""
    frames = len(amplitudes) // signals
    grid = TimeGrid.uniform(RATE, signals, n_samples or 8 * frames, 8 / RATE, 0.0)
    cutoffs = "fixed" if learned is None else "learned"
    network = DoubleDutchNetwork(grid, DoubleDutchOptions(**{"depth": 3, "gating": "hard", "cutoffs": cutoffs} | how))
    assert (network.plan.n_samples, grid.n_frames) == (8, len(amplitudes))
    trees = Trees.of(network.plan, (amplitudes != 0).any(2))
    network._set(trees, amplitudes.flatten(0, 1)[trees.ropes], learned)
    return network


def numbered(frames: int, waves: int = 1) -> Tensor:
    """Return amplitudes that are all different, ``[F, 14, P]``: 0.01, 0.02, and so on; every other one negative."""
    values = torch.arange(1.0, 14 * frames * waves + 1) / 100
    return (values * (-1) ** torch.arange(len(values))).reshape(frames, 14, waves)


def rope_at(level: int, sample: int) -> int:
    """Return the rope of a level (from 0) that is open at a sample of a frame of 8: the Gray code of the cell's number."""
    cell = sample >> (2 - level)
    return 2 ** (level + 1) - 2 + (cell ^ (cell >> 1))


def said_by(amplitudes: Tensor) -> np.ndarray:
    """Return the size of what the open rope of each level says in one tree of 8 samples, ``[3, 8]``."""
    size = amplitudes.square().sum(1).sqrt()
    return np.array([[float(size[rope_at(level, sample)]) for sample in range(8)] for level in range(3)])


def in_db(amplitudes: np.ndarray) -> np.ndarray:
    return np.array([[20 * math.log10(one) if one else math.nan for one in row] for row in amplitudes])


def assert_same_db(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-3)  # NaN equals NaN; float32


@pytest.mark.parametrize("pair", ["opposite", "quadrature"])
def test_a_tree_shows_the_rope_that_is_open(pair: str) -> None:
    amplitudes = numbered(2, 2 if pair == "quadrature" else 1)
    picture = plot_data.tree(planted(amplitudes, pair=pair), 100)
    assert_same_db(picture.spoken_db, in_db(np.concatenate([said_by(amplitudes[0]), said_by(amplitudes[1])], 1)))
    assert picture.gates is None
    assert (picture.start_s, picture.end_s) == (0, 16 / RATE)
    assert picture.denominators == (16, 8, 4)


@given(columns=st.integers(1, 20), n_samples=st.integers(17, 24))
@settings(deadline=None, max_examples=40)
def test_columns_of_a_tree_show_the_loudest(columns: int, n_samples: int) -> None:
    amplitudes = numbered(3)
    network = planted(amplitudes, n_samples=n_samples)
    picture = plot_data.tree(network, columns)
    # A last frame that the sound ends within is shorter, and so comes first.
    in_time = torch.argsort(network.grid.start).tolist()
    assert in_time == ([0, 1, 2] if n_samples == 24 else [1, 2, 0])
    every = np.concatenate([said_by(amplitudes[frame]) for frame in in_time], 1)[:, :n_samples]
    assert picture.spoken_db.shape[1] <= columns
    cells = spans(n_samples, picture.spoken_db.shape[1], (picture.end_s - picture.start_s) / picture.spoken_db.shape[1])
    assert_same_db(picture.spoken_db, in_db(np.stack([every[:, cell].max(axis=1) for cell in cells], 1)))


def test_of_several_channels_the_loudest_is_shown() -> None:
    amplitudes = numbered(4)
    picture = plot_data.tree(planted(amplitudes, signals=2), 100)
    left, right = (np.concatenate([said_by(amplitudes[frame]) for frame in pair], 1) for pair in ((0, 1), (2, 3)))
    assert_same_db(picture.spoken_db, in_db(right))
    swapped = plot_data.tree(planted(amplitudes[[0, 3, 2, 1]], signals=2), 100)
    assert_same_db(swapped.spoken_db[:, :8], in_db(right)[:, :8])
    assert_same_db(swapped.spoken_db[:, 8:], in_db(right)[:, 8:])
    assert (left < right).all()


def test_what_does_not_speak_is_no_number() -> None:
    amplitudes = torch.zeros(2, 14, 1)
    # The deepest rope with address 110: cell 4 of 8.
    amplitudes[1, 6 + 0b110] = -0.5
    wanted = np.full((3, 16), math.nan)
    wanted[2, 8 + 4] = 20 * math.log10(0.5)
    assert_same_db(plot_data.tree(planted(amplitudes), 100).spoken_db, wanted)
    assert_same_db(plot_data.loudest_tree(planted(amplitudes), 100).spoken_db, wanted[:, 8:])
    silent = DoubleDutchNetwork(TimeGrid.uniform(RATE, 1, 100, 0.008, 0.0))
    assert np.isnan(plot_data.tree(silent, 10).spoken_db).all()
    assert np.isnan(plot_data.loudest_tree(silent, 10).spoken_db).all()


@pytest.mark.parametrize("loudest", range(3))
def test_the_loudest_tree_is_the_one_that_says_most(loudest: int) -> None:
    # The others say more with one rope, and with more ropes; but short waves have little energy.
    amplitudes = torch.zeros(3, 14, 1)
    amplitudes[:, 6:] = 0.2
    amplitudes[:, 7] = 0.9
    amplitudes[loudest] = 0
    amplitudes[loudest, :2] = 0.5
    picture = plot_data.loudest_tree(planted(amplitudes), 8)
    assert_same_db(picture.spoken_db, in_db(np.array([[0.5] * 8, [0] * 8, [0] * 8])))
    assert (picture.start_s, picture.end_s) == (8 * loudest / RATE, 8 * (loudest + 1) / RATE)


@pytest.mark.parametrize("gating", ["soft", "hard", "beam"])
def test_the_loudest_tree_shows_its_gates(gating: str) -> None:
    network = planted(numbered(1, 1), gating=gating, transition_s="0.01,0.0005,0.00001")
    picture = plot_data.loudest_tree(network, 8)
    times = np.arange(8) + 0.5
    assert picture.gates is not None
    assert picture.gates.shape == (3, 8)
    for row, (denominator, transition_s) in enumerate(zip((16, 8, 4), (0.01, 0.0005, 0.00001), strict=True)):
        rope = np.cos(2 * math.pi * times / denominator)
        # k = d / (2 pi tau), of a transition of tau samples.
        soft = 1 / (1 + np.exp(-denominator / (2 * math.pi * transition_s * RATE) * rope))
        np.testing.assert_allclose(picture.gates[row], (rope >= 0) if gating == "hard" else soft, atol=1e-5)
    assert_same_db(picture.spoken_db, in_db(said_by(numbered(1)[0])))


@pytest.mark.parametrize(("columns", "step"), [(100, 1), (8, 1), (7, 2), (4, 2), (3, 3), (1, 8)])
def test_the_loudest_tree_fits_into_its_columns(columns: int, step: int) -> None:
    picture = plot_data.loudest_tree(planted(numbered(1), gating="soft", transition_s="0.001"), columns)
    count = math.ceil(8 / step)
    assert picture.spoken_db.shape == (3, count)
    assert picture.gates is not None
    assert picture.gates.shape == (3, count)
    assert (picture.start_s, picture.end_s) == (0, count * step / RATE)
    # Gates are those in the middle of each column.
    rope = np.cos(2 * math.pi * (np.arange(count) * step + step / 2) / 16)
    # Transitions are an eighth of a cell at most, of the root's 4 samples: k = 16 / pi.
    np.testing.assert_allclose(picture.gates[0], 1 / (1 + np.exp(-16 / math.pi * rope)), atol=1e-5)


CUTOFFS = torch.tensor([[0.7, -0.5, 0.9, -0.95, 0.5, -0.3, 0.3]])


def opened(cutoffs: Tensor, sample: int) -> list[tuple[int, bool]]:
    """Return the rope of each level that is open at a sample, and the bit of its gate, each cutting at its own cutoff."""
    address, found = 0, []
    for level, denominator in enumerate((16, 8, 4)):
        bit = math.cos(2 * math.pi * (sample + 0.5) / denominator) < float(cutoffs[2**level - 1 + address])
        address = 2 * address + bit
        found.append((2 ** (level + 1) - 2 + address, bit))
    return found


@pytest.mark.parametrize("gating", ["soft", "hard"])
def test_learned_cutoffs_decide_which_rope_is_open(gating: str) -> None:
    amplitudes = numbered(1)
    network = planted(amplitudes, learned=CUTOFFS, gating=gating)
    paths = [opened(CUTOFFS[0], sample) for sample in range(8)]
    assert sum(path[-1][0] != rope_at(2, sample) for sample, path in enumerate(paths)) == 4, "cutoffs of 0 say otherwise"
    wanted = in_db(np.array([[float(amplitudes[0, path[level][0], 0].abs()) for path in paths] for level in range(3)]))
    loudest = plot_data.loudest_tree(network, 8)
    assert loudest.gates is not None
    assert ((loudest.gates < 0.5) == [[path[level][1] for path in paths] for level in range(3)]).all()
    assert_same_db(loudest.spoken_db, wanted)
    assert_same_db(plot_data.tree(network, 8).spoken_db, wanted)


def test_a_hard_tree_with_learned_cutoffs_sounds_as_its_picture_says() -> None:
    amplitudes = numbered(1)
    network = planted(amplitudes, learned=CUTOFFS)
    spelled = Spelled((16.0, 8.0, 4.0), hard=True)
    times = torch.arange(8, dtype=torch.float64) + 0.5
    sound = spelled.sound(amplitudes[0].double(), CUTOFFS[0].double(), times)
    assert torch.allclose(network.estimate()[0].double(), sound, atol=1e-6)  # float32
    said = 10 ** (plot_data.tree(network, 8).spoken_db / 20)
    # At each level the amplitude that is heard: the sound without it has another value.
    for sample in range(8):
        for level, (rope, _) in enumerate(opened(CUTOFFS[0], sample)):
            muted = amplitudes[0].double().clone()
            muted[rope] = 0
            change = abs(float((spelled.sound(muted, CUTOFFS[0].double(), times) - sound)[sample]))
            wave = abs(math.cos(2 * math.pi * (sample + 0.5) / (16, 8, 4)[level]))
            assert said[level, sample] == pytest.approx(change / wave, rel=1e-4)


def test_read_as_binary_the_level_that_is_heard_is_shown() -> None:
    network = DoubleDutchNetwork(TimeGrid.uniform(RATE, 1, 8, 8 / RATE, 0.0), DoubleDutchOptions(depth=3, reading="binary"))
    network._set(Trees.silent(network.plan), torch.tensor([[0.25], [-0.5]]), CUTOFFS)
    heard = network.estimate()[0].detach().abs().numpy()
    assert sorted(set(heard.tolist())) == [0.25, 0.5]
    for draw in (plot_data.tree, plot_data.loudest_tree):
        picture = draw(network, 8)
        assert np.isnan(picture.spoken_db[:2]).all()
        assert_same_db(picture.spoken_db[2:], in_db(heard[None]))
