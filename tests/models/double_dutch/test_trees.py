"""Trees with their gates set: folded and walked, against the formula written down."""

from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spelled_trees import Spelled, randomly, samples

from ddaudio.errors import OptionError
from ddaudio.models.double_dutch.folded_tree import FoldedTree
from ddaudio.models.double_dutch.gates import OpenedTree
from ddaudio.models.double_dutch.path_tree import WalkedTree
from ddaudio.options import DoubleDutchOptions

ROUNDING = {"rtol": 0, "atol": 1e-11}
"""Float64: some 60 terms of size 1 and slopes of up to 10 or so."""


@st.composite
def folding_trees(draw: st.DrawFn) -> Spelled:
    """Trees whose denominators halve down to cells of whole samples; windows are anything beside them."""
    rope, depth = draw(st.sampled_from(["cosine", "sine", "square"])), draw(st.integers(1, 5))
    reading = draw(st.sampled_from(["every", "leaf", "binary"]))
    quadrature = rope != "square" and reading != "binary" and draw(st.booleans())
    smallest = (2 if rope == "sine" else 4) * draw(st.integers(1, 3))
    denominators = tuple(smallest * 2.0**level for level in reversed(range(depth)))
    return Spelled(denominators, rope, reading, quadrature, draw(st.booleans()), draw(st.sampled_from([0.125, 0.5, 2.0])))


@st.composite
def any_trees(draw: st.DrawFn) -> Spelled:
    """Trees of any falling denominators as well."""
    tree = draw(folding_trees())
    if draw(st.booleans()):
        return tree
    row = draw(st.lists(st.floats(2, 300), min_size=tree.depth, max_size=tree.depth, unique=True))
    return tree._replace(denominators=tuple(sorted(row, reverse=True)))


def opened_trees(tree: Spelled, cutoffs: torch.Tensor, n_samples: int) -> list[OpenedTree]:
    """All ways to open a tree that can take derivatives by cutoffs."""
    walked = WalkedTree(tree.voices, tree.gating, cutoffs, samples(n_samples), paths=None, siblings=tree.hard)
    return [walked, FoldedTree(tree.voices, tree.gating, cutoffs, n_samples)] if tree.voices.ladder.halves else [walked]


def spelled(tree: Spelled, amplitudes: torch.Tensor, cutoffs: torch.Tensor, n_samples: int) -> torch.Tensor:
    """The formula for each window, ``[W, T]``."""
    return torch.stack([tree.sound(a, c, samples(n_samples)) for a, c in zip(amplitudes, cutoffs, strict=True)])


@given(tree=any_trees(), n_samples=st.integers(1, 150), seed=st.integers(0, 99))
@settings(deadline=None)
def test_folded_and_walked_trees_are_the_formula(tree: Spelled, n_samples: int, seed: int) -> None:
    """Also where the window is shorter than the longest wave, longer, or no multiple of it."""
    amplitudes, cutoffs = randomly(tree, seed, windows=2)
    for gates in (cutoffs, 0 * cutoffs):
        if (tree.rope == "square" or (tree.hard and not gates.any())) and not tree.voices.ladder.halves:
            continue  # samples may lie where a wave is zero, on either side by rounding
        wanted = spelled(tree, amplitudes, gates, n_samples)
        ways = opened_trees(tree, gates, n_samples)
        if tree.hard:
            ways.append(WalkedTree(tree.voices, tree.gating, gates, samples(n_samples), paths=1))
        if tree.voices.ladder.halves and not gates.any():
            ways.append(FoldedTree(tree.voices, tree.gating, gates, n_samples, shared=True))
        for opened in ways:
            torch.testing.assert_close(opened.sound(amplitudes), wanted, **ROUNDING)


@given(tree=any_trees(), n_samples=st.integers(1, 100), seed=st.integers(0, 99))
@settings(deadline=None)
def test_derivatives_are_those_of_the_formula(tree: Spelled, n_samples: int, seed: int) -> None:
    """By autograd; that by the cutoffs of hard gates is the soft gates', straight through."""
    assume(tree.rope != "square" or tree.voices.ladder.halves)  # samples may lie on a jump, on either side by rounding
    amplitudes, cutoffs = randomly(tree, seed, windows=2)
    signals = torch.randn(2, n_samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    amplitudes.requires_grad_()
    cutoffs.requires_grad_()
    wanted = torch.autograd.grad((spelled(tree, amplitudes, cutoffs, n_samples) * signals).sum(), (amplitudes, cutoffs))
    for opened in opened_trees(tree, cutoffs.detach(), n_samples):
        assert opened.correlate(signals)[1] is None, "nothing is known of cutoffs before"
        opened.settle(amplitudes.detach())
        by_amplitude, by_cutoff = opened.correlate(signals)
        torch.testing.assert_close(by_amplitude, wanted[0], **ROUNDING)
        torch.testing.assert_close(by_cutoff, wanted[1], **ROUNDING)


@given(tree=any_trees(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_soft_derivatives_by_cutoffs_are_finite_differences(tree: Spelled, seed: int) -> None:
    tree = tree._replace(hard=False, transition=0.5)
    amplitudes, cutoffs = randomly(tree, seed)
    (opened, *_), direction = opened_trees(tree, cutoffs, 40), torch.randn_like(cutoffs)
    opened.settle(amplitudes)
    change = opened.sound(0 * amplitudes, direction)
    low, high = (opened_trees(tree, cutoffs + sign * 1e-5 * direction, 40)[0].sound(amplitudes) for sign in (-1, 1))
    # Central differences err by 1e-10 times the third derivative, of some hundreds, and float64 rounding over 2e-5.
    torch.testing.assert_close((high - low) / 2e-5, change, rtol=0, atol=1e-6 * float(direction.abs().max() ** 3 + 1))


@given(tree=any_trees(), n_samples=st.integers(1, 100), seed=st.integers(0, 99))
@settings(deadline=None)
def test_adjoints_are_adjoint(tree: Spelled, n_samples: int, seed: int) -> None:
    (amplitudes, cutoffs), (changes, shifts) = randomly(tree, seed, windows=3), randomly(tree, seed + 1, windows=3)
    signals = torch.randn(3, n_samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for opened in opened_trees(tree, cutoffs, n_samples):
        opened.settle(amplitudes)
        by_amplitude, by_cutoff = opened.correlate(signals)
        assert by_cutoff is not None
        forward = float((opened.sound(changes, shifts) * signals).sum())
        adjoint = float((changes * by_amplitude).sum() + (shifts * by_cutoff).sum())
        assert forward == pytest.approx(adjoint, rel=1e-10, abs=1e-9)  # float64, terms of up to 100


@given(tree=any_trees(), n_samples=st.integers(1, 60), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_squares_are_the_energies_of_the_columns(tree: Spelled, n_samples: int, seed: int) -> None:
    tree = tree._replace(denominators=tree.denominators[-3:])
    amplitudes, cutoffs = randomly(tree, seed)
    weights = torch.rand(1, n_samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    for opened in opened_trees(tree, cutoffs, n_samples):
        opened.settle(amplitudes)
        by_amplitude, by_cutoff = opened.squares(weights)
        assert by_cutoff is not None
        for rope, wave in torch.cartesian_prod(torch.arange(2 * tree.n_nodes), torch.arange(tree.n_waves)).tolist():
            one = torch.zeros_like(amplitudes)
            one[0, rope, wave] = 1
            column = float((opened.sound(one).square() * weights).sum())
            assert float(by_amplitude[0, rope, wave]) == pytest.approx(column, rel=1e-9, abs=1e-12)
        for node in range(tree.n_nodes):
            shift = torch.zeros_like(cutoffs)
            shift[0, node] = 1
            column = float((opened.sound(0 * amplitudes, shift).square() * weights).sum())
            assert float(by_cutoff[0, node]) == pytest.approx(column, rel=1e-9, abs=1e-12)


@given(tree=folding_trees(), paths=st.integers(1, 40), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_a_beam_keeps_the_most_open_paths(tree: Spelled, paths: int, seed: int) -> None:
    """Against all weights, level by level, with the smaller ones struck out; enough paths are all of them."""
    tree = tree._replace(hard=False, reading="leaf" if tree.reading == "binary" else tree.reading)
    amplitudes, cutoffs = randomly(tree, seed)
    position = samples(30)
    wanted = torch.zeros(30, dtype=torch.float64)
    weight = torch.ones(1, 30, dtype=torch.float64)
    for level in range(tree.depth):
        waves = tree.waves(level, position)
        gates = torch.stack([tree.gate(level, waves[0], c) for c in cutoffs[0, 2**level - 1 : 2 ** (level + 1) - 1]])
        open_by = torch.stack([gates, 1 - gates], 1) * weight[:, None]
        own = amplitudes[0, 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2].reshape(-1, 2, tree.n_waves)
        said = (own[..., None] * torch.stack(waves)).sum(2) * torch.tensor([1.0, -1.0])[:, None]
        if tree.voices.speaks(level):
            wanted += (open_by * said).sum((0, 1))
        weight = open_by.flatten(0, 1)
        if paths < weight.shape[0]:
            weight = torch.where(weight >= weight.topk(paths, 0).values[-1], weight, 0.0)
        weight = weight / weight.sum(0)
    beam = WalkedTree(tree.voices, tree.gating, cutoffs, position, paths=paths)
    torch.testing.assert_close(beam.sound(amplitudes)[0], wanted, **ROUNDING)


def test_amplitudes_off_the_open_branches_get_no_gradient() -> None:
    tree = Spelled((64.0, 32.0, 16.0, 8.0), hard=True)
    _, cutoffs = randomly(tree, 3)
    # Signals that are heard at one sample: only the ropes of its own address hear it.
    signals = torch.eye(32, dtype=torch.float64)
    everywhere = cutoffs.expand(32, -1)
    for opened in opened_trees(tree, everywhere, 32):
        heard = opened.correlate(signals)[0][..., 0]
        for sample in range(32):
            address, ropes = 0, []
            for level in range(4):
                rope = tree.waves(level, samples(32)[sample])[0]
                address = 2 * address + int(rope < cutoffs[0, 2**level - 1 + address])
                ropes.append(2 ** (level + 1) - 2 + address)
            assert heard[sample].nonzero()[:, 0].tolist() == ropes
        # In a window of 4 samples there are at most 4 addresses a level: whatever the loss is, no other rope learns.
        assert int((heard[:4] != 0).any(0).sum()) <= 16 < tree.n_nodes * 2


def signs(seed: int, transition: float = 0.02, n: int = 1024) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of a squared error by all cutoffs: straight-through, of soft gates, and of the active branch alone."""
    hard = Spelled((2.0 * n, 1.0 * n, n / 2, n / 4), hard=True, transition=transition)
    amplitudes, cutoffs = randomly(hard, seed)
    cutoffs = 0 * cutoffs
    target = torch.randn(n, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)
    opened = FoldedTree(hard.voices, hard.gating, cutoffs, n)
    opened.settle(amplitudes)
    straight = opened.correlate(opened.sound(amplitudes) - target)[1]
    assert straight is not None
    gradients = [straight[0]]
    for tree, alone in ((hard._replace(hard=False), False), (hard, True)):
        variable = cutoffs[0].clone().requires_grad_()
        loss = (tree.sound(amplitudes[0], variable, samples(n), active_alone=alone) - target).square().sum() / 2
        gradients.append(torch.autograd.grad(loss, variable)[0])
    return gradients[0], gradients[1], gradients[2]


def test_straight_through_goes_where_soft_gates_go() -> None:
    """The active branch alone does not tell what the other side of a gate would say: it errs in many nodes."""
    straight, soft, alone = (torch.cat(parts) for parts in zip(*(signs(seed) for seed in range(40)), strict=True))
    assert float((straight.sign() == soft.sign()).double().mean()) > 0.98
    assert float((alone.sign() != soft.sign()).double().mean()) > 0.2


def test_trees_that_need_too_much_memory_are_refused_before_work() -> None:
    tree = Spelled(tuple(3.0 + level for level in reversed(range(20))))
    with pytest.raises(OptionError, match=r"depth is 20, with 1048576 paths of 1000 samples at once; use a smaller depth"):
        WalkedTree(tree.voices, tree.gating, torch.zeros(1, 1), torch.arange(1000.0), paths=None)
    # Hard gates and beams have few paths.
    narrow = WalkedTree(tree.voices, tree.gating, torch.zeros(1, tree.n_nodes), torch.arange(10.0), paths=4)
    assert narrow.sound(torch.zeros(1, 2 * tree.n_nodes, 1)).shape == (1, 10)
    assert replace(DoubleDutchOptions(), beam=4).beam == 4
