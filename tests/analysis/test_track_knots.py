"""Knots of linked partials."""

import math

import torch
from hypothesis import given, settings
from linked import RATE, cases, partials_of

from ddaudio.analysis.linking import link
from ddaudio.analysis.partials import Partials
from ddaudio.analysis.track_knots import tracks_of
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.synthesis.knots import check_knots
from ddaudio.synthesis.tracks import render_tracks


@settings(deadline=None, max_examples=40)
@given(cases())
def test_any_linked_partials_become_tracks_within_their_cells(case: tuple[Partials, TimeGrid]) -> None:
    partials, grid = case
    track = link(partials, grid)
    knots, signal = tracks_of(partials, track, grid)
    check_knots(knots, signal, grid.n_signals)
    assert len(signal) == int(track.max()) + 1
    frames, starts = grid.frames, knots.counts.cumsum(0) - knots.counts
    for number in range(len(signal)):
        own = partials.frame[track == number]
        position = knots.position[starts[number] : starts[number] + knots.counts[number]]
        begin = frames.first[own] - frames.half_fade_in[own] - 0.5
        end = frames.first[own] + frames.size[own] + frames.half_fade_out[own]
        assert float(position[0]) >= float(begin.min())
        assert float(position[-1]) <= max(min(float(end.max()), grid.n_samples - 1), float(position[0]) + 1)
        assert int(signal[number]) == int(frames.signal[own[0]])


def test_a_tone_in_cells_of_any_length_is_one_track_that_renders_the_tone() -> None:
    hz, amplitude = 437.0, 0.3
    grid = TimeGrid.of_sizes(RATE, 2001, [[512, 256, 128, 128, 1024]])
    middles = grid.start.double() + (grid.frames.length.double() - 1) / 2
    rows = [
        (cell, hz, amplitude, math.remainder(2 * math.pi * hz * float(middles[frame]) / RATE, 2 * math.pi))
        for cell, frame in enumerate(grid.order.argsort().tolist())
    ]
    partials = partials_of(rows, grid)
    knots, signal = tracks_of(partials, link(partials, grid), grid)
    assert signal.tolist() == [0]
    expected = amplitude * torch.cos(2 * math.pi * hz * torch.arange(2001, dtype=torch.float64) / RATE)
    found = render_tracks(knots, signal, (1, 2001))[0]
    # Amplitudes of partials are float32: 1e-7 of 0.3, and a phase error of as much.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_partial_of_one_cell_fades_in_and_out_with_it() -> None:
    grid = TimeGrid.of_sizes(RATE, 400, [[100, 200, 100]], longest_fade=20)
    partials = partials_of([(1, 1000.0, 0.5, 0.7)], grid)
    knots, _ = tracks_of(partials, link(partials, grid), grid)
    # Sample n occupies the time from n - 1/2 to n + 1/2: the cell of samples 100 to 299 lasts from 99.5 to 299.5.
    assert knots.position.tolist() == [79.5, 119.5, 199.5, 279.5, 319.5]
    torch.testing.assert_close(knots.amplitude, torch.tensor([0, 0.5, 0.5, 0.5, 0]).double(), rtol=0, atol=1e-7)
    assert knots.frequency.tolist() == [knots.frequency[0].item()] * 5


def test_hard_edges_begin_at_full_amplitude_and_one_sample_is_a_track() -> None:
    grid = TimeGrid.of_sizes(RATE, 101, [[100, 100]], longest_fade=0)
    partials = partials_of([(0, 1000.0, 0.5, 0.0), (1, 3000.0, 0.25, 0.0)], grid)
    knots, _ = tracks_of(partials, link(partials, grid), grid)
    assert knots.position.tolist() == [0, 49.5, 99, 100, 101]
    torch.testing.assert_close(knots.amplitude, torch.tensor([0.5, 0.5, 0.5, 0.25, 0.25]).double(), rtol=0, atol=1e-7)


def test_frequencies_at_0_and_at_nyquist_stay_inside() -> None:
    grid = TimeGrid.uniform(RATE, 1, 100, 0.1)
    partials = partials_of([(0, 0.0, 0.5, 0.0), (0, RATE / 2, 0.25, 0.0)], grid)
    knots, signal = tracks_of(partials, link(partials, grid), grid)
    check_knots(knots, signal, 1)
    assert float(knots.frequency.min()) < 1e-6 < math.pi - 1e-6 < float(knots.frequency.max())


def test_no_partials_are_no_tracks() -> None:
    grid = TimeGrid.uniform(RATE, 1, 100, 0.01)
    none = Partials.none(torch.zeros(0))
    knots, signal = tracks_of(none, link(none, grid), grid)
    check_knots(knots, signal, 1)
    assert len(signal) == len(knots.counts) == len(knots.position) == 0


def test_a_linear_chirp_keeps_its_slope_to_both_ends_of_its_track() -> None:
    slope, grid = 4000.0, TimeGrid.of_sizes(RATE, 1024, [[256] * 4])
    centre = grid.centre[grid.order.argsort()].tolist()
    partials = partials_of([(cell, 500.0 + slope * at / RATE, 0.1, 0.0) for cell, at in enumerate(centre)], grid)
    knots, _ = tracks_of(partials, torch.zeros(4, dtype=torch.int64), grid)
    assert knots.position[[0, -1]].tolist() == [0, 1023]
    torch.testing.assert_close(knots.frequency * RATE / (2 * math.pi), 500 + slope * knots.position / RATE, rtol=1e-6, atol=0)


def test_frequencies_that_go_up_and_down_have_no_slope_at_the_ends() -> None:
    grid = TimeGrid.of_sizes(RATE, 768, [[256] * 3])
    partials = partials_of([(0, 500.0, 0.1, 0.0), (1, 510.0, 0.1, 0.0), (2, 500.0, 0.1, 0.0)], grid)
    knots, _ = tracks_of(partials, torch.zeros(3, dtype=torch.int64), grid)
    hz = (knots.frequency * RATE / (2 * math.pi)).round(decimals=3).tolist()
    assert hz == [500.0] * (len(hz) // 2) + [510.0] + [500.0] * (len(hz) // 2)
