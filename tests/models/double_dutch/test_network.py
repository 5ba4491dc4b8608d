"""The double-dutch network: where it starts, what it costs, what it can fit, and what a file of it holds."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE, noise, pluck
from sounds import fit_waves as fit
from spelled_trees import Spelled
from torch import Tensor

import ddaudio
from ddaudio.editing.render import render
from ddaudio.errors import ModelError, OptionError
from ddaudio.fitting import plan
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io import audio
from ddaudio.losses import Objective
from ddaudio.models import Budget, DoubleDutchNetwork
from ddaudio.models.double_dutch import sizing
from ddaudio.models.double_dutch.coding import read_shape, shape_of, words_of
from ddaudio.models.double_dutch.gates import Voices
from ddaudio.models.double_dutch.initialisation import LevelByLevel
from ddaudio.models.double_dutch.ladder import Ladder
from ddaudio.models.double_dutch.trees import Trees
from ddaudio.models.file import load_model
from ddaudio.models.framed import _at_rate
from ddaudio.options import DoubleDutchOptions, GatingName, TrainingOptions
from ddaudio.report.save import save_fit
from ddaudio.training.history import Progress
from ddaudio.training.trainer import train

BARK = Path(__file__).parents[3] / "recordings" / "bark.wav"
ALL = 10**7
SETTINGS = {
    "default": DoubleDutchOptions(),
    "plain": DoubleDutchOptions(gating="hard"),
    "learned": DoubleDutchOptions(gating="hard", cutoffs="learned"),
    "quadrature": DoubleDutchOptions(gating="hard", pair="quadrature", depth=6),
    "soft": DoubleDutchOptions(gating="soft", depth=4),
    "beam": DoubleDutchOptions(gating="beam", depth=4),
    "leaf": DoubleDutchOptions(gating="hard", reading="leaf", ropes="sine"),
    "binary": DoubleDutchOptions(reading="binary", depth=3, cutoffs="learned"),
    "list": DoubleDutchOptions(gating="hard", denominators="500,200,90", transition_s="0.001,0.0005,0.0002"),
}


def silent(_: Progress) -> None:
    pass


def empty(options: DoubleDutchOptions, signals: int = 1, frame: int = 256, frames: int = 1) -> DoubleDutchNetwork:
    return DoubleDutchNetwork(TimeGrid.uniform(RATE, signals, frame * frames, frame / RATE, 0.0), options)


def guessed(options: DoubleDutchOptions, target: Tensor, size: Budget, frame: int = 256) -> DoubleDutchNetwork:
    network = empty(options, target.shape[0], frame, target.shape[1] // frame)
    network.initialise(target, size, "peaks", torch.Generator().manual_seed(0))
    return network


def randomized(network: DoubleDutchNetwork, seed: int, dtype: torch.dtype = torch.float32) -> DoubleDutchNetwork:
    """All ropes speak, with normal amplitudes and, where they are learned, cutoffs in -1 to 1."""
    generator = torch.Generator().manual_seed(seed)
    plan = network.plan
    trees = Trees.of(plan, torch.ones_like(network.trees.speaks))
    amplitudes = torch.randn(trees.ropes.numel(), plan.voices.n_waves, generator=generator, dtype=dtype)
    cutoffs = 2 * torch.rand(plan.grid.n_frames, plan.ladder.n_nodes, generator=generator, dtype=dtype) - 1
    network._set(trees, amplitudes, cutoffs)
    return network


def bark_window(n_samples: int = 4096) -> Tensor:
    """The loudest stretch of the bark, ``[1, T]``."""
    sound = ddaudio.read(BARK).samples[:, : 16 * n_samples]
    rows = sound.reshape(-1, n_samples)
    return rows[rows.square().sum(1).argmax()][None]


def decibels(target: Tensor, estimate: Tensor) -> Tensor:
    """SNR of each signal."""
    left = (target - estimate.detach()).double().square().sum(1)
    return 10 * torch.log10(target.double().square().sum(1) / left)


# --- the starting point ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["every", "leaf"])
def test_a_tree_down_to_the_sample_starts_exact(reading: str) -> None:
    target = bark_window().double()
    network = guessed(DoubleDutchOptions(gating="hard", reading=reading), target, Budget(ALL), 4096)
    assert network.plan.ladder.depth == 12
    # Float64 would allow 300 dB; 120 dB is what is asked for.
    assert float(decibels(target, network.estimate())) > 120


@given(db=st.floats(1, 40), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=15)
def test_a_start_reaches_its_goal_with_the_highest_threshold(db: float, seed: int) -> None:
    target = noise(0.064, seed=seed) + bark_window(512)
    goal = float(target.double().square().sum()) * 10 ** (-db / 10)
    found = LevelByLevel(Voices(Ladder.dyadic(512, 9)), 512, target).within(target, lambda _: True, goal)
    assert found.energy <= goal
    weakest = float(found.gains[found.gains > 0].min())
    # It is found to 2 %; a little above it, ropes further down may by chance make good what one says no more.
    higher = LevelByLevel(Voices(Ladder.dyadic(512, 9)), 512, target).solve(target, 1.1 * weakest)
    assert higher.energy > 0.98 * goal
    # What ropes gain is what the residual loses.
    gained = float(target.double().square().sum()) - found.energy
    assert float(found.gains.double().sum()) == pytest.approx(gained, rel=1e-4)  # float32


def test_a_goal_out_of_reach_takes_what_is_affordable() -> None:
    target = noise(0.064)
    network = guessed(DoubleDutchOptions(gating="hard"), target, Budget(40, goal_energy=1e-9))
    assert 35 <= network.n_prunable() <= 40


def test_a_level_is_solved_by_least_squares() -> None:
    """The first level that speaks alone, against numpy's solver: two waves a rope, which are not orthogonal in its cell."""
    target = noise(0.032, seed=3).double()
    for rope in ("cosine", "sine"):
        options = DoubleDutchOptions(gating="hard", depth=4, reading="leaf", pair="quadrature", ropes=rope)
        network = guessed(options, target, Budget(ALL))
        opened = network.plan.opened(torch.zeros(1, network.plan.ladder.n_nodes, dtype=torch.float64))
        every = torch.eye(2 * 30, dtype=torch.float64).reshape(60, 1, 30, 2)[28:]
        columns = torch.cat([opened.sound(one) for one in every]).T
        best = columns @ torch.linalg.lstsq(columns, target[0]).solution
        torch.testing.assert_close(network.estimate()[0].detach(), best, rtol=0, atol=1e-10)  # float64


def test_soft_gates_start_by_their_own_least_squares() -> None:
    target = bark_window(1024)
    for depth in (6, 8, 10):
        # An eighth of each level's own cell: soft enough for amplitudes of hard gates to be wrong.
        row = ",".join(f"{1024 / 2**level / 8 / RATE:.9g}" for level in range(1, depth + 1))
        options = DoubleDutchOptions(gating="soft", depth=depth, transition_s=row)
        soft = guessed(options, target, Budget(ALL), 1024)
        hard = guessed(replace(options, gating="hard"), target, Budget(ALL), 1024)
        heard_through = empty(options, 1, 1024)
        heard_through._set(Trees(heard_through.plan, hard.trees.ropes), hard.rope_amplitudes, None)
        assert float(decibels(target, soft.estimate())) > float(decibels(target, heard_through.estimate())) + 1


# --- size -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "binary"])
@given(numbers=st.integers(0, 700), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=8)
def test_a_budget_is_never_exceeded_and_is_spent(name: str, numbers: int, seed: int) -> None:
    target = noise(0.128, seed=seed)
    network = guessed(SETTINGS[name], target, Budget(numbers, n_parameters=numbers))
    words = words_of(network.trees.shape).numel()
    assert network.n_parameters() <= max(numbers, words)
    everything = guessed(SETTINGS[name], target, Budget(ALL)).n_parameters()
    if 100 < numbers < everything:
        # A threshold is found to 2 %; a rope may bring nodes on the way to it.
        assert network.n_parameters() >= 0.9 * numbers
    more = numbers + 100
    network.extend(target, Budget(more, n_parameters=more))
    assert network.n_parameters() <= max(more, words)
    network.initialise(target, Budget(numbers, n_parameters=numbers), "equal", torch.Generator())
    assert network.n_parameters() <= max(numbers, words)


@st.composite
def speaking_ropes(draw: st.DrawFn) -> tuple[Voices, Tensor]:
    """Ropes that speak in some trees; in the reading leaf deepest ones alone."""
    voices = Voices(Ladder.dyadic(64, draw(st.integers(1, 6))), draw(st.sampled_from(["every", "leaf"])))
    share, generator = draw(st.sampled_from([0.0, 0.05, 0.5, 1.0])), torch.Generator().manual_seed(draw(st.integers(0, 999)))
    speaks = torch.rand(draw(st.integers(1, 5)), voices.ladder.n_ropes, generator=generator) < share
    for level in range(voices.ladder.depth):
        speaks[:, 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2] &= voices.speaks(level)
    return voices, speaks


@given(case=speaking_ropes())
@settings(deadline=None)
def test_a_shape_is_read_from_its_code(case: tuple[Voices, Tensor]) -> None:
    voices, speaks = case
    shape = shape_of(speaks, voices)
    words = words_of(shape)
    assert torch.equal(read_shape(words, len(speaks), voices), speaks)
    for node in range(voices.ladder.n_nodes):
        # A node is kept where a rope speaks at it or below: the addresses of those begin with its own.
        level = (node + 1).bit_length() - 1
        below = [2 ** (level + 1) - 2 + 2 * (node + 1 - 2**level) + side for side in range(2)]
        for rope in below:
            deeper = (rope + 2).bit_length() - 2
            if deeper < voices.ladder.depth - 1:
                first = 2 ** (deeper + 2) - 2 + 2 * (rope + 2 - 2 ** (deeper + 1))
                below += [first, first + 1]
        assert torch.equal(shape.nodes[:, node], speaks[:, below].any(1))
    # At most a bit or two for each rope below a kept node, and one a tree.
    assert shape.bits.numel() <= len(speaks) + 4 * int(shape.nodes.sum())
    for wrong, said in ((words[:-1], "ends after"), (torch.cat([words, words[:1]]), "bits, but takes")):
        with pytest.raises(ModelError, match=said):
            read_shape(wrong, len(speaks), voices)


@given(case=speaking_ropes(), bit=st.integers(0, 10**6))
@settings(deadline=None)
def test_a_damaged_code_is_refused_or_another_shape(case: tuple[Voices, Tensor], bit: int) -> None:
    voices, speaks = case
    shape = shape_of(speaks, voices)
    bits = shape.bits.clone()
    bits[bit % bits.numel()] ^= True
    try:
        found = read_shape(words_of(shape._replace(bits=bits)), len(speaks), voices)
    except ModelError:
        return
    # A node may be said to be kept in which nothing speaks; all other bits say what speaks.
    again = shape_of(found, voices)
    assert not torch.equal(found, speaks) or again.bits.numel() <= bits.numel()


def test_numbers_are_amplitudes_words_and_cutoffs() -> None:
    target = noise(0.064)
    network = guessed(DoubleDutchOptions(gating="hard", pair="quadrature", cutoffs="learned"), target, Budget(30))
    shape = network.trees.shape
    nodes = int(shape.nodes.sum())
    assert network.n_parameters() == 2 * network.n_prunable() + math.ceil(shape.bits.numel() / 32) + nodes
    assert network.cutoff.numel() == nodes > network.n_prunable() / 2


# --- training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gating", ["hard", "soft"])
@pytest.mark.parametrize("optimiser", ["gauss-newton", "adam"])
def test_a_tree_recovers_what_another_tree_says(gating: str, optimiser: str) -> None:
    """20 trees of 20, side by side as signals: each begins with random amplitudes of its own."""
    options = DoubleDutchOptions(depth=6, gating=gating)
    target = randomized(empty(options, 20), 0).estimate().detach()
    network = randomized(empty(options, 20), 1)
    assert float(decibels(target, network.estimate()).max()) < 1
    adam = optimiser == "adam"
    training = TrainingOptions(
        optimiser=optimiser, steps=500 if adam else 200, tolerance=0, evaluate_every=100, learning_rate=0.1
    )
    train(network, target, Objective({"mse": 1.0}, target, 256, 16), training, silent)
    # Ropes of all levels sound together, 126 of them on 256 samples: Adam, who takes no account of that, is slow.
    assert float(decibels(target, network.estimate()).min()) > (30 if adam else 40)


def test_learned_cutoffs_move_and_help() -> None:
    """A signal of a tree with other cutoffs: straight-through gradients find better ones than 0."""
    options = DoubleDutchOptions(gating="hard", depth=3, cutoffs="learned")
    other = randomized(empty(options, 10), 0)
    other._set(other.trees, other.rope_amplitudes, 0.4 * other.cutoffs)
    target, after = other.estimate().detach(), []
    for cutoffs in ("learned", "fixed"):
        network = empty(replace(options, cutoffs=cutoffs), 10)
        network._set(Trees.of(network.plan, other.trees.speaks), 1.1 * other.rope_amplitudes, None)
        training = TrainingOptions(optimiser="adam", steps=200, tolerance=0, learning_rate=0.1)
        train(network, target, Objective({"mse": 1.0}, target, 256, 16), training, silent)
        after.append(float(decibels(target, network.estimate()).mean()))
    assert after[0] > after[1] + 1


def test_gradients_fall_by_level_and_less_in_the_networks_units() -> None:
    """On the bark, from amplitudes of one size: a rope hears itself, with the energy of its wave, a half of that above."""
    target = bark_window()
    network = randomized(empty(DoubleDutchOptions(gating="hard"), 1, 4096), 0)
    network._set(network.trees, network.rope_amplitudes * target.square().mean().sqrt(), None)
    energies = network.plan.energies[:, 0]
    torch.testing.assert_close(energies[1:] / energies[:-1], torch.full((11,), 0.5, dtype=torch.float64), rtol=1e-6, atol=0)
    (target - network.estimate()).square().sum().backward()
    assert network.amplitude.grad is not None
    rows = (network.amplitude.grad, network.amplitude.grad / network.unit)
    level = network.trees.level
    # The highest levels have so few ropes that chance decides.
    own, natural = (torch.stack([row[level == one].square().mean().sqrt() for one in range(3, 12)]) for row in rows)
    fall = natural[1:] / natural[:-1]
    assert 0.4 < float(fall.min()) <= float(fall.max()) < 0.65
    # In units whose squares go with the square root of a rope's energy, they fall by the root of a half.
    assert float(own[0] / own[-1]) < 0.5 * float(natural[0] / natural[-1])
    # What a step of 1 changes is alike for ropes that are equally loud, whatever their level.
    squares = network.jacobian().squares()[0][:, 0]
    loud = (network.rope_amplitudes[:, 0].square() * energies.float()[level]).sqrt()
    assert float((squares / loud).max() / (squares / loud).min()) < 1.01


# --- binary ---------------------------------------------------------------------------------------------------------


def test_binary_trees_say_two_values_a_frame() -> None:
    network = guessed(DoubleDutchOptions(reading="binary", depth=4, cutoffs="learned"), noise(0.128), Budget(ALL))
    for frame in network.estimate().detach().reshape(-1, 256):
        # But for a rounding in the last digit of float32, from going up the levels.
        values = frame.sort().values
        assert int((values.diff() > 1e-7).sum()) == 1
    assert network.n_parameters() == network.grid.n_frames * (2 + 15)


@given(seed=st.integers(0, 99), depth=st.integers(1, 6))
@settings(deadline=None, max_examples=25)
def test_learned_cutoffs_are_no_worse_than_fixed_ones(seed: int, depth: int) -> None:
    target = noise(0.064, seed=seed) + bark_window(512)
    options = DoubleDutchOptions(reading="binary", depth=depth)
    learned, fixed = (guessed(replace(options, cutoffs=name), target, Budget(ALL)) for name in ("learned", "fixed"))
    # The levels that cutoffs are found for are those of the samples, not yet those of the cells: a hundredth of a decibel.
    assert float(decibels(target, learned.estimate())) >= float(decibels(target, fixed.estimate())) - 0.01


@pytest.mark.parametrize("gating", ["soft", "hard"])
def test_a_given_cutoff_is_that_of_all_gates(gating: GatingName) -> None:
    """Amplitudes found for gates at 0.3 give the same signal in a tree whose learned cutoffs are all 0.3."""
    target = noise(0.064) + bark_window(512)
    given_ = guessed(DoubleDutchOptions(gating=gating, depth=4, cutoffs="0.3"), target, Budget(ALL))
    free = empty(DoubleDutchOptions(gating=gating, depth=4, cutoffs="learned"), frames=given_.grid.n_frames)
    free._set(Trees(free.plan, given_.trees.ropes), given_.rope_amplitudes, given_.cutoffs)
    assert bool((given_.cutoffs == 0.3).all())
    # Shared gates are computed once, learned ones for each window: sums of float32 in another order.
    torch.testing.assert_close(given_.estimate(), free.estimate(), rtol=0, atol=1e-5)
    fixed, zero = (
        guessed(DoubleDutchOptions(gating=gating, depth=4, cutoffs=name), target, Budget(ALL)) for name in ("fixed", "0")
    )
    assert torch.equal(fixed.estimate(), zero.estimate())
    assert not torch.allclose(fixed.estimate(), given_.estimate(), atol=1e-3)


def test_gates_and_target_with_one_cutoff(tmp_path: Path) -> None:
    """The recording and the ropes are cut at the same place; two levels for each frame are all that is left to learn."""
    recording, own = ddaudio.read(BARK), {"model": "double-dutch", "reading": "binary", "depth": 6, "cut": "0.05", "steps": 0}
    fits = {cutoffs: fit(recording, cutoffs=cutoffs, **own) for cutoffs in ("0.05", "fixed")}
    assert set(fits["0.05"].recording.samples[:, :].unique().tolist()) == {0.0, 1.0}
    assert fits["0.05"].network.n_parameters() == fits["fixed"].network.n_parameters()
    assert fits["0.05"].snr_db != fits["fixed"].snr_db
    save_fit(fits["0.05"], tmp_path / "fit")
    assert torch.equal(load_model(tmp_path / "fit").estimate(), fits["0.05"].network.estimate())


@pytest.mark.parametrize("cutoffs", ["1.5", "-2", "lerned", "nan", ""])
def test_other_cutoffs_are_refused(cutoffs: str) -> None:
    with pytest.raises(OptionError, match=r"fixed, learned, shared, or a cutoff from -1 to 1"):
        DoubleDutchOptions(cutoffs=cutoffs)


@given(seed=st.integers(0, 999), depth=st.integers(1, 6))
@settings(deadline=None, max_examples=25)
def test_two_levels_with_a_transition_a_node_are_exact(seed: int, depth: int) -> None:
    network = empty(DoubleDutchOptions(reading="binary", depth=depth, cutoffs="learned"))
    length = 256 // 2 ** (depth - 1)
    generator = torch.Generator().manual_seed(seed)
    # A deepest node lives for half a period of its rope: there the rope falls, in every other node it rises.
    place = torch.arange(length).repeat(2 ** (depth - 1), 1)
    place[1::2] = length - 1 - place[1::2]
    cut = torch.randint(0, length + 1, (2 ** (depth - 1), 1), generator=generator)
    target = torch.where(place < cut, 0.75, -0.5).reshape(1, -1)
    network.initialise(target, Budget(ALL), "peaks", generator)
    # Means of up to 256 equal values in float32.
    torch.testing.assert_close(network.estimate().detach(), target, rtol=0, atol=1e-6)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_a_fit_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    given_options = {key: value for key, value in SETTINGS[name].table().items() if value != getattr(DoubleDutchOptions(), key)}
    result = fit(pluck(0.1), model="double-dutch", frame_s=0.016, target_snr_db=8.0, steps=1, exchanges=0, **given_options)
    save_fit(result, tmp_path / "fit")
    network = load_model(tmp_path / "fit")
    assert isinstance(network, DoubleDutchNetwork)
    assert network.plan.options == result.options.network("double-dutch")
    # What a fit returns has gone through a file already; units there and back round the last digit of float32.
    assert torch.allclose(network.estimate(), result.network.estimate(), atol=1e-6)
    assert network.n_parameters() == result.n_parameters
    assert torch.allclose(render(network)[:, :], result.estimate[:, :], atol=1e-6)


BAD_TENSORS = {
    "a tensor missing": (lambda t: t.pop("shape"), "holds the tensors amplitude, cutoff, shape, not amplitude, cutoff"),
    "a tensor too many": (lambda t: t.update(more=torch.zeros(1)), "holds the tensors"),
    "amplitudes cut": (lambda t: t.update(amplitude=t["amplitude"][1:]), r"amplitude must be \[\d+, 1\] finite float32 values"),
    "amplitudes in float64": (lambda t: t.update(amplitude=t["amplitude"].double()), "amplitude must be"),
    "amplitudes flat": (lambda t: t.update(amplitude=t["amplitude"][:, 0]), "amplitude must be"),
    "cutoffs cut": (lambda t: t.update(cutoff=t["cutoff"][1:]), "cutoff must be"),
    "NaN": (lambda t: t["amplitude"].fill_(math.nan), "finite"),
    "cutoffs out of reach": (lambda t: t["cutoff"].fill_(1.5), "cutoff must be from -1 to 1"),
    "shape cut": (lambda t: t.update(shape=t["shape"][:-1]), "ends after"),
    "shape too long": (lambda t: t.update(shape=torch.cat([t["shape"]] * 2)), "bits, but takes"),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_tensors_that_do_not_fit_are_refused(name: str) -> None:
    change, message = BAD_TENSORS[name]
    network = guessed(DoubleDutchOptions(gating="hard", cutoffs="learned"), noise(0.128), Budget(60))
    tensors = {key: tensor.clone() for key, tensor in network.to_tensors().items()}
    change(tensors)
    with pytest.raises(ModelError, match=message):
        empty(network.plan.options, frames=4).from_tensors(tensors)


# --- at another rate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rope", ["cosine", "sine", "square"])
@pytest.mark.parametrize("ratio", [1.0, 2.0, 1.7, 0.75])
def test_at_another_rate_a_tree_is_its_formula_at_the_other_times(rope: str, ratio: float) -> None:
    cutoffs = "fixed" if rope == "square" else "learned"
    network = randomized(empty(DoubleDutchOptions(gating="hard", denominators="512,256,100,30", cutoffs=cutoffs, ropes=rope)), 5)
    tree = Spelled((512.0, 256.0, 100.0, 30.0), rope, hard=True)
    offset, length = torch.tensor([0.3]), round(250 * ratio)
    position = (offset.double() + torch.arange(length)) / ratio + 0.5
    found = network.frames_at_rate(0, offset, length, ratio).detach()
    wanted = tree.sound(network.trees.all_amplitudes(network.rope_amplitudes)[0].double(), network.cutoffs[0].double(), position)
    # Float32 amplitudes and waves, but for samples that lie on the other side of a cutoff by rounding.
    assert int(((found[0] - wanted).abs() > 1e-4).sum()) <= 1


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in ("default", "soft", "beam")])
def test_at_its_own_rate_frames_are_those_of_forward(name: str) -> None:
    if name == "binary":
        network = guessed(SETTINGS[name], noise(0.064), Budget(ALL))
    else:
        network = randomized(empty(SETTINGS[name], 2, frames=2), 3)
    with torch.no_grad():
        (frames,) = network()
        found = network.frames_at_rate(0, torch.zeros(len(frames)), 256, 1.0)
        # Eight float32 amplitudes of about 1 in another order.
        torch.testing.assert_close(found, frames, rtol=0, atol=1e-5)


def test_frames_without_fades_meet_without_a_gap_or_a_sample_twice() -> None:
    network = randomized(empty(DoubleDutchOptions(gating="hard"), 2, frames=2), 3)
    with torch.no_grad():
        # Eight float32 amplitudes of about 1 in another order.
        torch.testing.assert_close(_at_rate(network, 0, network.sample_rate), network.estimate(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("ratio", [0.25, 0.3, 1.0, 2.0])
def test_waves_beyond_the_new_nyquist_are_left_out(ratio: float) -> None:
    network = randomized(empty(DoubleDutchOptions(gating="hard")), 2)
    denominators = torch.tensor(network.plan.ladder.denominators)
    sound = network.frames_at_rate(0, torch.zeros(1), 64, ratio)
    # At the new Nyquist itself a wave is left out as well; at no lower rate than its own it stays.
    heard = denominators[network.trees.level] * min(ratio, 1) > (2 if ratio < 1 else 0)
    assert bool(heard.all()) == (ratio >= 0.5)
    tree = Spelled(network.plan.ladder.denominators, hard=True)
    quiet = network.trees.all_amplitudes(network.rope_amplitudes * heard[:, None])[0].double()
    # New samples stay off the edges of cells, where rounding decides.
    position = torch.arange(64, dtype=torch.float64) / ratio + 0.5
    inside = torch.stack([tree.waves(level, position)[0].abs() > 1e-6 for level in range(8)]).all(0)
    wanted = tree.sound(quiet, network.cutoffs[0].double(), position)
    torch.testing.assert_close(sound[0, inside].double(), wanted[inside], rtol=0, atol=1e-4)
    assert int(inside.sum()) > 20


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth": 9}, "depth is 9, but a frame has 256 samples for 512 cells; allowed: 1 to 8"),
        ({"denominators": "64,32,32"}, "32 and 32, levels 2 and 3, do not fall"),
        ({"denominators": "64,1"}, "allow it with above_nyquist=True"),
        ({"transition_s": "0.1,0.2,0.3", "depth": 4}, "3 values for 4 levels; allowed: 1 value or 4"),
        ({"reading": "binary", "depth": 8}, "which takes 257 parameters in each frame; allowed: 100 parameters in a frame"),
        (
            {"gating": "soft", "denominators": ",".join(str(60 - n) for n in range(20))},
            "depth is 20, with 1048576 paths of 2560 samples at once",
        ),
    ],
)
def test_trees_that_cannot_be_are_refused_before_work(options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=re.escape(said)):
        sizing.resolved(DoubleDutchOptions(**options), 256, 10, 100)


def test_what_depends_on_the_window_is_filled_in() -> None:
    assert sizing.resolved(DoubleDutchOptions(), 256, 10, 100) == DoubleDutchOptions(depth=8, gating="soft", cutoffs="fixed")
    # As many levels as can be paid for: 2 + 63 numbers.
    assert sizing.resolved(DoubleDutchOptions(reading="binary"), 256, 10, 100) == DoubleDutchOptions(
        reading="binary", depth=6, gating="hard", cutoffs="learned"
    )
    assert sizing.resolved(DoubleDutchOptions(denominators="9,1", above_nyquist=True), 256, 1, 9).denominators == "9,1"


def test_a_fixed_count_of_partials_is_for_partials() -> None:
    with pytest.raises(OptionError, match="partials is 3 and model is"):
        fit(pluck(0.1), model="double-dutch", partials=3)


# --- fits -----------------------------------------------------------------------------------------------------------


def test_a_fit_in_blocks_is_like_one_in_a_single_block(monkeypatch: pytest.MonkeyPatch) -> None:
    bark = audio.resample(ddaudio.read(BARK), RATE)
    asked = {"model": "double-dutch", "target_snr_db": 12.0, "frame_s": 0.032, "steps": 2, "exchanges": 1}
    whole = fit(bark, **asked, max_parameters_per_sample=1.0)
    monkeypatch.setattr(plan, "BLOCK_SAMPLES", bark.n_samples // 2)
    parts = fit(bark, **asked, max_parameters_per_sample=1.0)
    assert whole.snr_db is not None
    assert parts.snr_db is not None
    assert whole.snr_db >= 12
    assert parts.snr_db == pytest.approx(whole.snr_db, abs=0.3)
    assert parts.n_parameters == pytest.approx(whole.n_parameters, rel=0.1)
    assert torch.equal(render(parts.network)[:, :], parts.network.estimate().detach())
    # The estimate was put together from blocks, which add the same numbers.
    assert torch.allclose(parts.estimate[:, :], parts.network.estimate().detach(), atol=1e-6)


@pytest.mark.parametrize("budget", [100, 600])
def test_a_fit_keeps_its_budget(budget: int) -> None:
    result = fit(pluck(), model="double-dutch", budget=budget, steps=2, exchanges=2)
    assert 0.95 * budget <= result.n_parameters <= budget


def test_square_ropes_take_no_numbers_for_cutoffs() -> None:
    """Their gates are the same for all cutoffs between -1 and 1, also read as binary."""
    options = DoubleDutchOptions(ropes="square", reading="binary").filled()
    assert options.cutoffs == "fixed"
    network = DoubleDutchNetwork(TimeGrid.uniform(8000, 1, 256, 256 / 8000, 0.0), options)
    assert set(network.to_tensors()) == {"amplitude"}
    assert network.n_components() == 2
