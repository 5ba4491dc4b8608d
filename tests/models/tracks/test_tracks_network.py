"""The network of tracks: its file, its knots, its derivatives, and what it renders at other rates."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddaudio.analysis.budget import Budget
from ddaudio.errors import ModelError
from ddaudio.models.base import Signals
from ddaudio.models.tracks.knots import Tracks
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.models.tracks.packing import pack_knots, unpack_knots
from ddaudio.models.tracks.pursuit import pursue_tracks
from ddaudio.models.tracks.thinning import thinned, thinned_at
from ddaudio.options.tracks import LevelsName, TracksOptions
from ddaudio.synthesis.tracks import Knots

RATE, STEP = 8000, 12
SIGNALS = Signals(RATE, 2, 1600)
N_KNOTS = 23


def glides(seed: int = 0) -> Tracks:
    """Four tracks of 2 to 9 knots in two signals, with smooth frequencies and levels."""
    generator = np.random.default_rng(seed)
    counts = torch.tensor([9, 2, 5, 7])
    position = torch.cat([12.0 * torch.tensor(np.sort(generator.choice(130, int(count), replace=False))) for count in counts])
    columns = (generator.uniform(*ends, N_KNOTS) for ends in ((0.1, 0.5), (0.5, 0.6), (0, 6)))
    knots = Knots(counts, position.double(), *(torch.tensor(column) for column in columns))
    return Tracks(knots, torch.arange(4) % 2).in_order()


def network(tracks: Tracks | None = None, levels: LevelsName = "linear") -> TracksNetwork:
    return TracksNetwork(SIGNALS, TracksOptions(levels=levels), glides() if tracks is None else tracks)


@given(st.integers(1, 3), st.lists(st.tuples(st.integers(0, 2), st.sets(st.integers(0, 70000), min_size=2, max_size=6))))
def test_places_come_back_from_their_packing(n_signals: int, given: list[tuple[int, set[int]]]) -> None:
    rows = sorted((signal % n_signals, sorted(places)) for signal, places in given)
    signal, counts = torch.tensor([one for one, _ in rows]).long(), torch.tensor([len(places) for _, places in rows]).long()
    place = torch.tensor([one for _, places in rows for one in places]).long()
    found = unpack_knots(pack_knots(signal, counts, place, n_signals), n_signals, len(place))
    assert all(torch.equal(one, other) for one, other in zip(found, (signal, counts, place), strict=True))


def test_a_knot_a_step_of_128_or_less_away_takes_a_byte() -> None:
    place, one = torch.arange(0, 100 * 128, 128), torch.zeros(1, dtype=torch.int64)
    # The number of tracks, the number of knots, the first place, and 99 gaps: 102 bytes.
    assert len(pack_knots(one, one + 100, place, 1)) == math.ceil(102 / 4)


def test_the_network_comes_back_from_its_tensors() -> None:
    made, again = network(), network(Tracks.none())
    again.from_tensors(made.to_tensors())
    # Values are float32 in Hz and radians: a phase of 100 rad errs by 1e-5.
    torch.testing.assert_close(again.estimate(), made.estimate(), rtol=0, atol=1e-4)
    assert torch.equal(again.to_tensors()["place"], made.to_tensors()["place"])
    assert made.n_parameters() == 3 * N_KNOTS + made.to_tensors()["place"].numel()


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("frequency_hz", lambda value: value * 0, "frequency_hz must be from"),
        ("frequency_hz", lambda value: value * 100, "frequency_hz must be from"),
        ("amplitude", lambda value: -value, "amplitude must be from 0"),
        ("phase_rad", lambda value: value * torch.nan, "finite"),
        ("phase_rad", lambda value: value[1:], "phase_rad must be"),
        ("amplitude", lambda value: value[1:], "place must hold"),
        ("place", lambda value: value[:-1], "place"),
        ("place", lambda value: value * 0, "place"),
        ("place", lambda value: torch.full_like(value, -1), "place"),
        ("place", lambda value: value.float(), "int32"),
    ],
)
def test_files_that_hold_no_tracks_are_refused(name: str, change: Callable[[torch.Tensor], torch.Tensor], said: str) -> None:
    """A track of one knot, or with knots out of order, cannot be written at all: counts are from 2, gaps from 1."""
    tensors = network().to_tensors()
    with pytest.raises(ModelError, match=said):
        network(Tracks.none()).from_tensors(tensors | {name: change(tensors[name])})


def test_knots_beyond_the_sound_are_refused() -> None:
    with pytest.raises(ModelError, match="within the 200 samples"):
        TracksNetwork(Signals(RATE, 2, 200)).from_tensors(network().to_tensors())


def test_an_empty_network_is_silent_and_takes_nothing() -> None:
    empty, again = network(Tracks.none()), network()
    assert not bool(empty.estimate().any())
    assert empty.n_parameters() == 0
    again.from_tensors(empty.to_tensors())
    assert again.n_components() == 0
    assert empty.describe()["signal"].numel() == 0


@pytest.mark.parametrize("levels", ["linear", "log"])
def test_the_jacobian_is_the_derivative_by_the_trained_values(levels: LevelsName) -> None:
    made = network(levels=levels)
    jacobian, generator = made.jacobian(), torch.Generator().manual_seed(0)
    changes = [torch.randn(value.shape, generator=generator) for value in made.parameters()]
    product, ends, step = jacobian.forward(changes), [], 1e-3
    for sign in (1, -1):
        other = network(levels=levels)
        with torch.no_grad():
            for value, change in zip(other.parameters(), changes, strict=True):
                value.add_(sign * step * change)
            ends.append(other.estimate())
    # Float32 samples of about 1 differ by 1e-7, over steps of 2e-3; terms of the third order are smaller.
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), product, rtol=0, atol=1e-3 * float(product.abs().max()))
    signals = torch.randn(2, 1600, generator=generator)
    inner = sum(float((part * change).sum()) for part, change in zip(jacobian.adjoint(signals), changes, strict=True))
    assert inner == pytest.approx(float((signals * product).sum()), rel=1e-3)
    for kind, square in enumerate(jacobian.squares()):
        unit = [torch.zeros_like(value) for value in made.parameters()]
        unit[kind][4] = 1
        # Squares of sines are taken as their mean, 1/2, over some tens of periods.
        assert float(square[4]) == pytest.approx(float(jacobian.forward(unit).square().sum()), rel=0.05)


def test_new_knots_change_nothing() -> None:
    made = network()
    wide = made.tracks.knots.position[made.tracks.lefts + 1] - made.tracks.knots.position[made.tracks.lefts] >= 2 * STEP
    halved, is_new = made.tracks.halved(made.tracks.lefts[wide], STEP)
    assert int(is_new.sum()) == int(wide.sum())
    # The same polynomials in float64, rounded to float32 samples.
    torch.testing.assert_close(network(halved).estimate(), made.estimate(), rtol=0, atol=1e-5)


def test_fewer_knots_are_the_best_choice_of_all() -> None:
    """All choices of 4 of 7 knots of a track are tried, by their samples."""
    tracks = glides().keep(glides().owner == 0)
    tracks = tracks.keep(torch.arange(tracks.n_knots) < 7)
    one, whole = Signals(RATE, 2, 1600), TracksNetwork(SIGNALS, None, tracks).estimate()
    left = {}
    for which in itertools.combinations(range(tracks.n_knots), 4):
        fewer = TracksNetwork(one, None, tracks.keep(torch.isin(torch.arange(tracks.n_knots), torch.tensor(which))))
        left[which] = float((fewer.estimate() - whole).detach().square().sum())
    chosen = thinned(tracks, 4)
    found = tuple(torch.isin(tracks.knots.position, chosen.knots.position).nonzero().flatten().tolist())
    # Energies are taken at two points of each segment, so of close ones another may be chosen.
    assert len(found) < 4 or left[found] <= 1.2 * min(left.values())
    assert thinned_at(tracks, 1e9).n_knots == 0
    assert thinned_at(tracks, 0.0).n_knots == tracks.n_knots


def test_knots_that_a_straight_line_goes_through_cost_nothing() -> None:
    position = torch.tensor([0.0, 120, 240, 360, 480]).double()
    level = torch.linspace(0.1, 0.5, 5).double()
    tracks = Tracks(Knots(torch.tensor([5]), position, level, torch.full_like(level, 0.5), 0.5 * position), torch.tensor([0]))
    assert thinned(tracks, 2).knots.position.tolist() == [0, 480]
    energies = tracks.removal_energies()
    assert energies[1:-1].tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    # An end takes its segment with it: 120 samples, half the mean square of an amplitude that rises from 0.1 to 0.2.
    assert float(energies[0]) == pytest.approx(120 * (0.01 + 0.02 + 0.04) / 6)


def test_pruned_networks_have_fewer_knots_and_extended_ones_more() -> None:
    made = network()
    assert made.pruned(12).n_components() <= 12
    assert made.pruned(0).n_components() == 0
    target, fewer = made.estimate().detach(), made.pruned(14)
    before, count = float((target - fewer.estimate()).detach().square().sum()), fewer.n_components()
    assert fewer.extend(target, Budget(30))
    assert count < fewer.n_components() <= 30
    # New knots in tracks change nothing yet, and new tracks follow the residual.
    assert float((target - fewer.estimate()).detach().square().sum()) < 1.01 * before


def test_another_rate_has_the_same_waves() -> None:
    made = network()
    inside, double = (torch.cat(list(made.pieces(rate)), 1) for rate in (RATE, 2 * RATE))
    torch.testing.assert_close(inside, made.estimate().detach(), rtol=0, atol=1e-5)
    assert double.shape == (2, 3200)
    # Every other sample is at the same time.
    torch.testing.assert_close(double[:, ::2], inside, rtol=0, atol=1e-4)
    # All frequencies are above 500 Hz, half of this rate.
    assert not bool(torch.cat(list(made.pieces(1000)), 1).any())


def test_parts_below_a_lower_nyquist_frequency_are_tracks_of_their_own() -> None:
    position, frequency = 12.0 * torch.arange(6).double(), torch.tensor([0.1, 0.1, 2.0, 2.0, 0.1, 0.1]).double()
    knots = Knots(torch.tensor([6]), position, torch.ones(6).double(), frequency, torch.zeros(6).double())
    parts = Tracks(knots, torch.tensor([0])).split(frequency < 1)
    assert parts.knots.counts.tolist() == [2, 2]
    assert parts.knots.position.tolist() == [0, 12, 48, 60]


def test_tracks_reach_the_end_of_the_sound_though_the_last_cell_is_short() -> None:
    # Of cells of 48, 96, 192 and 384 samples, the last one has 4.
    sound = (0.5 * torch.cos(0.5 * torch.arange(1156.0)))[None]
    tracks = pursue_tracks(sound, RATE, STEP, 100)
    assert tracks.knots.position.min() == 0
    assert tracks.knots.position.max() >= 1155


def test_the_table_has_a_row_for_each_knot() -> None:
    table = network().describe()
    assert {len(column) for column in table.values()} == {N_KNOTS}
    assert table["track"].tolist() == sorted(table["track"].tolist())
    assert bool((table["start_s"] <= table["time_s"]).all())
    assert bool((table["time_s"] <= table["end_s"]).all())
    inner = torch.cat([table["track"][1:] == table["track"][:-1], torch.tensor([False])]).nonzero().flatten()
    # What one knot stands for ends where the next begins, and fades there.
    torch.testing.assert_close(table["end_s"][inner], table["start_s"][inner + 1])
    torch.testing.assert_close(table["fade_out_s"][inner], table["time_s"][inner + 1] - table["time_s"][inner])
