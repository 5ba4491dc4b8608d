"""Linking: costs in closed form, properties of tracks, and tracks of known sounds."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from linked import RATE, cases, partials_of

from ddaudio.analysis import linking
from ddaudio.analysis.crossings import LEAST_POINTS, MOST_CELLS
from ddaudio.analysis.linking import CROSSOVER, WIDTH_BINS, WIDTH_DB, WIDTH_RAD, link, link_cost
from ddaudio.analysis.partials import Partials
from ddaudio.analysis.points import Links, points_of
from ddaudio.grid.time_grid import TimeGrid


@settings(deadline=None, max_examples=40)
@given(cases())
def test_a_track_has_one_partial_in_each_of_successive_cells_of_one_signal(case: tuple[Partials, TimeGrid]) -> None:
    partials, grid = case
    track = link(partials, grid)
    assert track.shape == partials.frame.shape
    assert track.dtype == torch.int64
    assert sorted(set(track.tolist())) == list(range(int(track.max()) + 1)), "numbered without gaps"
    cell = grid.order[partials.frame]
    for number in range(int(track.max()) + 1):
        own = sorted(cell[track == number].tolist())
        # Cells are skipped where tracks cross, and only there.
        assert all(1 <= later - earlier <= MOST_CELLS for earlier, later in pairwise(own))
        skipped = sorted(set(range(own[0], own[-1])) - set(own))
        assert not skipped or len(own) >= 2 * LEAST_POINTS
        assert len(set(grid.cells.signal[own].tolist())) == 1


@settings(deadline=None, max_examples=40)
@given(cases(), st.randoms(use_true_random=False))
def test_tracks_do_not_depend_on_the_order_of_partials(case: tuple[Partials, TimeGrid], random: object) -> None:
    partials, grid = case
    order = list(range(len(partials)))
    random.shuffle(order)  # type: ignore[attr-defined]
    mixed, place = torch.tensor(order), torch.empty(len(order), dtype=torch.int64)
    shuffled = link(partials.keep(mixed), grid)
    place[mixed] = torch.arange(len(order))
    columns = torch.stack([partials.frame.double(), partials.frequency, partials.cosine.double(), partials.sine.double()], 1)
    # Equal partials may be exchanged; what is in each track may not.
    mine, its = (
        sorted(sorted(map(tuple, columns[tracks == number].tolist())) for number in range(int(tracks.max()) + 1))
        for tracks in (link(partials, grid), shuffled[place])
    )
    assert mine == its


def test_no_partials_have_no_tracks() -> None:
    grid = TimeGrid.uniform(RATE, 1, 100, 0.01)
    assert link(Partials.none(torch.zeros(0)), grid).tolist() == []


def two_tracks(change_hz: float = 0.0, change_db: float = 0.0, change_rad: float = 0.0) -> list[int]:
    """Return the tracks of two partials of equal cells of 400 samples with gaps in frequency, level and phase."""
    grid = TimeGrid.uniform(RATE, 1, 800, 0.05, overlap=0)
    hz = 1000.0
    # Phases advance by the mean frequency over the 400 samples between both middles.
    advance = 2 * math.pi * (2 * hz + change_hz) / 2 * 400 / RATE
    rows = [(0, hz, 0.1, 0.5), (1, hz + change_hz, 0.1 * 10 ** (change_db / 20), 0.5 + advance + change_rad)]
    return link(partials_of(rows, grid), grid).tolist()


@pytest.mark.parametrize(
    ("name", "width"),
    [("change_hz", max(WIDTH_BINS * RATE / 400, linking.WIDTH_RATIO * 1000)), ("change_db", WIDTH_DB), ("change_rad", WIDTH_RAD)],
)
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_track_ends_at_exactly_the_nominal_width(name: str, width: float, sign: int) -> None:
    if name == "change_hz" and sign < 0:
        width /= 1 + linking.WIDTH_RATIO  # relative to the lower frequency
    # The published program multiplies by the logarithm, which ends tracks at 0.81 of the width.
    assert two_tracks(**{name: sign * 0.9999 * width}) == [0, 0]
    assert two_tracks(**{name: sign * 1.0001 * width}) == [0, 1]


def test_the_cost_of_a_link_is_that_of_none_at_the_crossover() -> None:
    (cost,) = link_cost(np.array([1.0]))
    assert cost == pytest.approx(CROSSOVER) == pytest.approx(1 - (1 - linking.DELTA) * cost)
    assert link_cost(np.array([0.0, np.inf])).tolist() == [0, 1]


def test_the_width_is_half_a_bin_of_the_shorter_cell_at_least() -> None:
    grid = TimeGrid.of_sizes(RATE, 1280, [[1024, 256]], longest_fade=0)
    for gap_bins, count in ((0.49, 1), (0.51, 2)):
        hz = 100.0 + gap_bins * RATE / 256
        # Without glide over the cells, which phases at the boundary would follow.
        points, _ = points_of(partials_of([(0, 100.0, 0.1, 0.0), (1, hz, 0.1, 0.0)], grid), grid)
        gap = float(linking.phase_gap(points, np.array([0]), np.array([1]))[0])
        assert int(link(partials_of([(0, 100.0, 0.1, 0.0), (1, hz, 0.1, -gap)], grid), grid).max()) + 1 == count


def test_phases_at_the_boundary_of_a_linear_chirp_agree() -> None:
    """A partial of constant frequency, fitted to a chirp under a window: its frequency at the centre, its mean phase."""
    slope, hz = 4000.0, 500.0
    grid = TimeGrid.of_sizes(RATE, 1792, [[256, 256, 1024, 256]])
    rows = []
    for cell, frame in enumerate(grid.order.argsort().tolist()):
        at = torch.arange(int(grid.frames.length[frame]), dtype=torch.float64)
        weight = grid.window_at(slice(frame, frame + 1), at + 0.5)[0] ** 2
        weight /= weight.sum()
        centre = float((weight * at).sum())
        variance, centre = float((weight * (at - centre) ** 2).sum()), centre + float(grid.start[frame])
        w, s = 2 * math.pi * (hz + slope * centre / RATE) / RATE, 2 * math.pi * slope / RATE**2
        phase = 2 * math.pi * hz / RATE * centre + s * centre**2 / 2 + s * variance / 2
        middle = float(grid.start[frame] + (grid.frames.length[frame] - 1) / 2)
        rows.append((cell, w * RATE / (2 * math.pi), 0.1, phase + w * (middle - centre)))
    points, _ = points_of(partials_of(rows, grid), grid)
    gaps = linking.phase_gap(points, np.arange(3), np.arange(1, 4))
    np.testing.assert_allclose(gaps, 0, atol=1e-4)  # phases up to 1,000 rad in float32


def test_the_assignment_is_that_of_least_total_cost() -> None:
    """Against all assignments of up to four partials a cell, some of them unlinked."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        costs = generator.uniform(0, 1, (4, 3)) * 0.8
        left, right = (costs < CROSSOVER).nonzero()
        links = Links(left, right + 4, costs[left, right])
        found = linking.assigned(links, 7)
        assert float(np.sum(found.cost - CROSSOVER)) == pytest.approx(least(costs, 0, frozenset()))


def least(costs: np.ndarray, row: int, taken: frozenset[int]) -> float:
    """Return the least sum of costs relative to the crossover, by trying all."""
    if row == len(costs):
        return 0.0
    free = [int(column) for column in range(costs.shape[1]) if column not in taken and costs[row, column] < CROSSOVER]
    linked = [float(costs[row, column]) - CROSSOVER + least(costs, row + 1, taken | {column}) for column in free]
    return min([least(costs, row + 1, taken), *linked])


def test_tones_of_constant_frequency_are_tracks() -> None:
    hz = [200.0, 440.0, 1000.0]
    grid = TimeGrid.of_sizes(RATE, 2048, [[512, 256, 256, 1024], [1024, 512, 256, 256]])
    cells = grid.order.argsort()
    middle = (grid.start + (grid.frames.length - 1) / 2)[cells].tolist()
    rows = [(cell, one, 0.1, 2 * math.pi * one * at / RATE) for cell, at in enumerate(middle) for one in hz]
    partials = partials_of(rows, grid)
    track = link(partials, grid)
    expected = 3 * grid.cells.signal[grid.order[partials.frame]] + torch.tensor(
        [hz.index(round(float(w) * RATE / (2 * math.pi))) for w in partials.frequency]
    )
    assert torch.equal(track, expected)
    assert all(a <= b for a, b in pairwise(partials.frame.tolist()))


def test_damped_partials_continue_each_other_at_the_centre_of_their_frames() -> None:
    """A decaying sinusoid in cells, each given from the first sample of its frame on."""
    hz, decay, grid = 700.0, 0.002, TimeGrid.uniform(RATE, 1, 1024, 0.032)
    w, start = 2 * math.pi * hz / RATE, grid.start.double()
    level = torch.exp(-decay * start)
    values = (level * torch.cos(w * start), -level * torch.sin(w * start), torch.full_like(start, decay))
    partials = Partials(torch.arange(grid.n_frames), torch.full_like(start, w), *values)
    assert link(partials, grid).unique().tolist() == [0]  # type: ignore[no-untyped-call]
    points, _ = points_of(partials, grid)
    np.testing.assert_allclose(points.amplitude, np.exp(-decay * points.time), rtol=1e-12)
    np.testing.assert_allclose(np.cos(points.phase - w * points.time), 1)


def test_the_share_of_energy_in_tracks_of_three_cells() -> None:
    track = torch.tensor([0, 0, 0, 1, 1, 2])
    assert linking.energy_in_tracks(track, torch.tensor([1.0, 2, 3, 4, 5, 15])) == pytest.approx(0.2)
    assert linking.energy_in_tracks(track, torch.zeros(6)) is None
    assert linking.energy_in_tracks(torch.zeros(0, dtype=torch.int64), torch.zeros(0)) is None


def middles(grid: TimeGrid) -> list[float]:
    """Return the middles of equal frames in samples."""
    return (grid.start + (grid.frames.length - 1) / 2).tolist()


def crossing(shared: str) -> tuple[list[int], list[int]]:
    """Return the tracks, cell by cell, of a rising and of a falling chirp that cross in the middle of 17 cells.

    In the cell of the crossing there is one partial for both, two of equal frequency, or none. Phases differ by 2 rad there,
    so that only the straight paths go on in phase.
    """
    grid = TimeGrid.uniform(RATE, 1, 17 * 256, 0.064)
    times = middles(grid)
    rows, kind, middle = [], [], 0.5 * (times[0] + times[16])
    for cell, at in enumerate(times):
        for which, sign in enumerate((1, -1)):
            if cell == 8 and (shared == "none" or (shared == "one" and which)):
                continue
            hz = 1000 + sign * 0.06 * (at - middle)
            phase = 2 * math.pi / RATE * (1000 * at + sign * 0.03 * (at - middle) ** 2) + 2 * which
            rows.append((cell, hz, 0.1, math.remainder(phase, 2 * math.pi)))
            kind.append(which)
    tracks = list(zip(link(partials_of(rows, grid), grid).tolist(), kind, strict=True))
    return [track for track, which in tracks if which == 0], [track for track, which in tracks if which == 1]


@pytest.mark.parametrize("shared", ["two", "one", "none"])
def test_chirps_that_cross_keep_their_tracks(shared: str) -> None:
    rising, falling = crossing(shared)
    # In the cells beside that of the crossing, the two are nearer than a bin.
    assert rising[:7] == rising[-7:] == [rising[0]] * 7
    assert falling[:7] == falling[-7:] == [falling[0]] * 7
    assert rising[0] != falling[0]


def test_frequencies_that_turn_around_do_not_change_tracks() -> None:
    """Two partials with vibrato against each other, which come close but do not cross."""
    grid = TimeGrid.uniform(RATE, 1, 32 * 256, 0.064)
    rows = []
    for cell, at in enumerate(middles(grid)):
        for sign in (-1, 1):
            turn = 2 * math.pi * at / 4096
            cycles = (1000 + sign * 60) * at + sign * 40 * 4096 / (2 * math.pi) * math.sin(turn)
            phase = math.remainder(2 * math.pi * cycles / RATE, 2 * math.pi)
            rows.append((cell, 1000 + sign * (60 + 40 * math.cos(turn)), 0.1, phase))
    assert link(partials_of(rows, grid), grid).tolist() == [0, 1] * grid.n_frames
