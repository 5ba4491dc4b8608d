"""Waves and gates of a double-dutch tree: addresses, cells, and gates that share out what there is."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spelled_trees import Spelled, randomly, samples

from ddaudio.errors import OptionError
from ddaudio.models.double_dutch.folded_tree import FoldedTree
from ddaudio.models.double_dutch.gates import Gating
from ddaudio.models.double_dutch.ladder import Ladder
from ddaudio.models.double_dutch.path_tree import WalkedTree
from ddaudio.options import DoubleDutchOptions

ROPES = st.sampled_from(["cosine", "sine", "square"])


def positions(n_samples: int, count: int, cells: int) -> torch.Tensor:
    """Places in a window, none at a cell's very edge, where a wave is 0 and its sign is rounding."""
    place = (torch.arange(count, dtype=torch.float64) + 0.5) / count * cells
    place = place.floor() + (place - place.floor()).clamp(1e-6, 1 - 1e-6)
    return place * n_samples / cells


@given(n_samples=st.integers(2, 5000), depth=st.integers(1, 9), rope=ROPES)
@settings(deadline=None)
def test_addresses_count_contiguous_cells_of_equal_length(n_samples: int, depth: int, rope: str) -> None:
    depth = min(depth, n_samples.bit_length() - 1)
    ladder = Ladder.dyadic(n_samples, depth, rope)
    position = positions(n_samples, 7 * 2**depth, 2**depth)
    for level, addresses in enumerate(ladder.addresses(position), 1):
        cell = (position * 2**level / n_samples).long()
        # Sine ropes count in binary, the others in Gray code: one gate flips at each boundary.
        assert torch.equal(addresses, cell if rope == "sine" else cell ^ (cell >> 1))


@given(
    depth=st.integers(1, 6),
    cell=st.integers(1, 4),
    rope=ROPES,
    hard=st.booleans(),
    transition=st.sampled_from([0.001, 0.125, 1.0]),
    n_samples=st.integers(1, 150),
    seed=st.integers(0, 99),
)
@settings(deadline=None)
def test_gates_are_a_partition_of_unity(
    depth: int, cell: int, rope: str, hard: bool, transition: float, n_samples: int, seed: int
) -> None:
    """All deepest gates together are 1 at every sample: what all paths say where each says 1."""
    smallest = (2 if rope == "sine" else 4) * cell
    tree = Spelled(tuple(smallest * 2.0**level for level in reversed(range(depth))), rope, "binary", False, hard, transition)
    _, cutoffs = randomly(tree, seed, windows=2)
    ones = torch.ones(2, 2 * tree.n_nodes, 1, dtype=torch.float64)
    folded = FoldedTree(tree.voices, tree.gating, cutoffs, n_samples)
    walked = WalkedTree(tree.voices, tree.gating, cutoffs, samples(n_samples), paths=None)
    beam = WalkedTree(tree.voices, tree.gating, cutoffs, samples(n_samples), paths=1 + seed % 5)
    for opened in (folded, walked, beam):
        # Six products of float64.
        torch.testing.assert_close(opened.sound(ones), torch.ones(2, n_samples, dtype=torch.float64), rtol=0, atol=1e-13)


def near_share(rope: str, depth: int, transition: float, *, of_deepest: bool) -> float:
    """Mean share of the gate weight of a deepest cell in that cell and its two neighbours.

    Transitions are a share of each level's own cell, or at all levels of the deepest.
    """
    cells = 2**depth
    ladder = Ladder.dyadic(32 * cells, depth, rope)
    tree = Spelled(ladder.denominators, rope, "binary")
    shares = [transition / 2 ** (depth - 1 - level) if of_deepest else transition for level in range(depth)]
    gating = Gating(False, tuple(ladder.sharpness(level, share) for level, share in enumerate(shares)))
    opened = FoldedTree(tree.voices, gating, torch.zeros(1, tree.n_nodes, dtype=torch.float64), 32 * cells)
    # One amplitude after the other is 1: each sounds its product of gates.
    amplitudes = torch.zeros(cells, 1, 2 * tree.n_nodes, 1, dtype=torch.float64)
    amplitudes[torch.arange(cells), 0, cells - 2 + torch.arange(cells)] = 1
    weights = torch.stack([opened.sound(one)[0].reshape(cells, -1).sum(1) for one in amplitudes])
    weights = weights / weights.sum(1, keepdim=True)
    cell = torch.arange(cells)
    own = weights[cell if rope == "sine" else cell ^ (cell >> 1)]
    near = (cell[:, None] - cell).abs() <= 1
    return float((own * near).sum(1).mean())


@pytest.mark.parametrize("depth", [2, 4, 6, 8])
def test_soft_gates_of_cosines_stay_with_their_neighbours_and_sines_leak(depth: int) -> None:
    # Where all transitions are an eighth of the deepest cell, cosine ropes have but one gate that is not settled anywhere.
    assert near_share("cosine", depth, 0.125, of_deepest=True) > 0.997
    # All sine ropes cross zero together, in the middle of the window as well: half-open gates lead everywhere.
    assert near_share("sine", depth, 0.125, of_deepest=True) < (0.99 if depth == 2 else 0.95)
    # With an eighth of each level's own cell, long gates are still moving in cells far from their boundary.
    assert near_share("sine", depth, 0.125, of_deepest=False) < near_share("cosine", depth, 0.125, of_deepest=False) < 0.995


@pytest.mark.parametrize(
    ("denominators", "said"),
    [
        ((16.0, 8.0, 8.0), "8 and 8, levels 2 and 3, do not fall"),
        ((16.0, 17.0), "16 and 17, levels 1 and 2, do not fall"),
        ((4.0, 3.0, 2.0, 5.0), "2 and 5, levels 3 and 4, do not fall"),
        ((8.0, float("nan")), "8 and nan, levels 1 and 2, do not fall"),
        ((), "allowed: finite numbers above 0"),
        ((float("inf"), 8.0), "denominators is 'inf,8'; allowed: finite numbers above 0"),
        ((8.0, 0.0), "allowed: finite numbers above 0"),
        ((8.0, -4.0), "allowed: finite numbers above 0"),
        ((8.0, 1.5), "denominators is '8,1.5', but below 2 samples per period a wave is above the Nyquist frequency"),
    ],
)
def test_lists_that_are_no_ladder_are_refused_with_what_is_wrong(denominators: tuple[float, ...], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        Ladder(denominators)


def test_waves_above_nyquist_are_aliases_where_allowed() -> None:
    ladder = Ladder((8.0, 1.6), above_nyquist=True)
    # 1 / 1.6 = 5/8 of a turn a sample; at n + 1/2 that is minus the wave of 3/8 of a turn.
    position = samples(40)
    alias = Ladder((8.0, 1 / (1 - 1 / 1.6))).wave(1, position)
    torch.testing.assert_close(ladder.wave(1, position), -alias, rtol=0, atol=1e-12)
    Ladder((8.0, 2.0))


@given(n_samples=st.integers(2, 3000), rope=ROPES)
def test_the_deepest_ladder_fits_and_one_more_level_does_not(n_samples: int, rope: str) -> None:
    deepest = n_samples.bit_length() - 1
    assert Ladder.dyadic(n_samples, deepest, rope).depth == deepest
    with pytest.raises(
        OptionError, match=f"depth is {deepest + 1}, .* frame has {n_samples} samples .*; allowed: 1 to {deepest};"
    ):
        Ladder.dyadic(n_samples, deepest + 1, rope)
    with pytest.raises(OptionError, match="depth is 0"):
        Ladder.dyadic(n_samples, 0, rope)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 3, "denominators": "8,4"}, "depth is 3 and denominators is '8,4'; give only one of the two"),
        ({"denominators": "8;4"}, "denominators is '8;4'; allowed: numbers separated by commas"),
        ({"transition_s": "0.1,x"}, "transition_s is '0.1,x'; allowed: numbers"),
        ({"transition_s": "1e-7"}, "allowed: 1e-6 to 1 s"),
        ({"transition_s": "nan"}, "allowed: 1e-6 to 1 s"),
        ({"pair": "quadrature", "ropes": "square"}, "pair is 'quadrature' and ropes is 'square', but a quadrature pair needs"),
        ({"pair": "quadrature", "reading": "binary"}, "pair is 'quadrature' and reading is 'binary', but a quadrature"),
        ({"depth": 25}, "depth is 25; allowed: 1 to 24"),
        ({"beam": 0}, "beam is 0; allowed: 1 to 64"),
        ({"gating": "sfot"}, "gating is 'sfot'; allowed: hard, soft, beam; did you mean 'soft'"),
        ({"above_nyquist": 1}, "above_nyquist is 1; allowed: true or false"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        DoubleDutchOptions(**options)


def test_a_transition_a_level_takes_as_many_as_there_are_levels() -> None:
    assert DoubleDutchOptions(transition_s="0.5").transitions_s(3) == (0.5,)
    assert DoubleDutchOptions(transition_s="0.5,0.25").transitions_s(2) == (0.5, 0.25)
    with pytest.raises(OptionError, match=re.escape("'0.5,0.25', 2 values for 3 levels; allowed: 1 value or 3")):
        DoubleDutchOptions(transition_s="0.5,0.25").transitions_s(3)


@given(level=st.integers(0, 5), transition=st.floats(0.01, 1), rope=ROPES)
def test_a_transition_is_as_long_as_asked(level: int, transition: float, rope: str) -> None:
    ladder = Ladder.dyadic(4096, 6, rope)
    # Near its zero a rope is 2 pi t / d; the sigmoid's argument k r is t / tau there, so that k (2 pi / d) tau = 1.
    tau = transition * 4096 / 2 ** (level + 1)
    assert ladder.sharpness(level, transition) * 2 * torch.pi / ladder.denominators[level] * tau == pytest.approx(1)
