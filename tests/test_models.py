"""The networks: one conformance suite for all, and the starting point against known mixtures."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import noise, tones

from ddaudio.errors import ModelError
from ddaudio.grid import TimeGrid
from ddaudio.models import NETWORKS, Network, Partials, Size
from ddaudio.models.pursuit import pursue, render, solve_amplitudes, spectral_peaks
from ddaudio.rendering import render as render_network

GRID = TimeGrid(8000, 2000, 0.032)


def fitted(name: str, target: torch.Tensor, grid: TimeGrid = GRID, most: int = 60) -> Network:
    network = NETWORKS[name](grid, target.shape[0])
    network.guess(target, Size(most), "peaks", torch.Generator().manual_seed(0))
    return network


@pytest.mark.parametrize("name", NETWORKS)
class TestEveryNetwork:
    def test_shapes_and_count(self, name: str) -> None:
        network = fitted(name, noise(0.25, channels=3))
        assert network().shape == (3 * GRID.n_frames, GRID.frame_length)
        assert network.estimate().shape == (3, GRID.n_samples)
        assert network.numbers() == sum(tensor.numel() for tensor in network.stored().values())
        assert {tensor.dtype for tensor in network.stored().values()} <= {torch.float32, torch.int32}
        assert len({len(column) for column in network.describe().values()}) == 1

    def test_gradients_reach_every_parameter(self, name: str) -> None:
        target = noise(0.25)
        network = fitted(name, target)
        (network.estimate() - target + 0.01).square().sum().backward()
        for parameter in network.parameters():
            assert parameter.grad is not None
            assert bool(parameter.grad.isfinite().all())
            assert float(parameter.grad.abs().max()) > 0

    def test_signals_of_a_batch_do_not_meet(self, name: str) -> None:
        network = fitted(name, noise(0.25, channels=2))
        frames = network().detach()
        network.get_parameter("cosine").data[: int(network.partial_frame.lt(GRID.n_frames).sum())] = 0
        assert torch.equal(network()[GRID.n_frames :], frames[GRID.n_frames :])
        assert not torch.equal(network()[: GRID.n_frames], frames[: GRID.n_frames])

    def test_two_guesses_are_the_same(self, name: str) -> None:
        target = noise(0.25)
        one, two = fitted(name, target).stored(), fitted(name, target).stored()
        assert all(torch.equal(one[key], two[key]) for key in one)

    def test_stored_and_restored_it_sounds_the_same(self, name: str) -> None:
        network = fitted(name, noise(0.25, channels=2))
        copy = NETWORKS[name](GRID, 2)
        copy.restore(network.stored())
        # A frequency goes through Hz in float32 (1e-7 relative), and phase grows with 128 samples: a few 1e-5.
        assert torch.allclose(copy.estimate(), network.estimate(), atol=2e-5)
        again = NETWORKS[name](GRID, 2)
        again.restore(copy.stored())
        assert torch.allclose(again.estimate(), copy.estimate(), atol=2e-6)

    def test_parts_are_left_out_from_the_weakest_on(self, name: str) -> None:
        target = noise(0.25)
        network = fitted(name, target)
        assert network.without_last(network.ranked()).numbers() == network.numbers()
        assert not network.without_last(0).estimate().any()
        kept = network.without_last(10)
        assert kept.ranked() == 10
        assert kept.describe()["amplitude"].min() >= network.describe()["amplitude"].sort(descending=True).values[9] - 1e-6

    @pytest.mark.parametrize("value", [0.0, 0.5])
    def test_silence_and_a_constant(self, name: str, value: float) -> None:
        target = torch.full((1, GRID.n_samples), value)
        network = fitted(name, target)
        # One partial a frame is exact but for the two ends, where the frames reach into the silence outside.
        assert float((network.estimate() - target).detach().square().mean().sqrt()) < 1e-3

    def test_one_sample(self, name: str) -> None:
        grid = TimeGrid(8000, 1, 0.032)
        network = fitted(name, torch.tensor([[0.7]]), grid, most=2)
        # A partial with nearly all of its frame outside the recording feels the ridge: half a percent, left to training.
        assert float(network.estimate().detach()) == pytest.approx(0.7, rel=0.01)

    @pytest.mark.parametrize("start", ["random", "equal"])
    def test_other_starts_keep_the_size_and_follow_the_seed(self, name: str, start: str) -> None:
        target = noise(0.25)
        first = NETWORKS[name](GRID, 1)
        first.guess(target, Size(1000, most_per_frame=3), start, torch.Generator().manual_seed(1))
        assert int(first.stored()["partials_in_frame"].max()) == 3
        second = NETWORKS[name](GRID, 1)
        second.guess(target, Size(1000, most_per_frame=3), start, torch.Generator().manual_seed(2))
        same = torch.equal(first.stored()["frequency_hz"], second.stored()["frequency_hz"])
        assert same == (start == "equal")


def test_a_known_mixture_is_recovered() -> None:
    """Partials at least six bins apart (the main lobe of the squared window) are found with frequency, level and phase."""
    hz, level, phase = [437.3, 1250.0, 2718.3], [0.5, 0.25, 0.05], [0.3, -2.0, 1.1]
    target = tones(hz, level, phase, 1.0)
    grid = TimeGrid(8000, target.shape[1], 0.064)
    network = NETWORKS["sine"](grid, 1)
    network.guess(target, Size(10_000, most_per_frame=3), "peaks", torch.Generator())
    table = network.describe()
    inside = (table["time_s"] > 0.05) & (table["time_s"] < 0.95)
    for f, a, p in zip(hz, level, phase, strict=True):
        near = inside & ((table["frequency_hz"] - f).abs() < 10)
        assert int(near.sum()) == len(set(table["time_s"][inside].tolist()))
        # The parabola's bias at half-bin steps is under 2 % of a bin for this window, and a bin is 15.6 Hz.
        assert float((table["frequency_hz"][near] - f).abs().max()) < 0.02 * grid.bin_hz
        # That much detuning turns the phase by at most 2 pi 0.02 / 2 at a frame's ends: levels err in second order.
        assert float((table["amplitude"][near] / a - 1).abs().max()) < 0.02
        expected = 2 * math.pi * f * table["time_s"][near] + p
        error = torch.remainder(table["phase_rad"][near] - expected + math.pi, 2 * math.pi) - math.pi
        assert float(error.abs().max()) < 0.05


def test_amplitudes_are_those_of_least_squares() -> None:
    """Conjugate gradients end where numpy's dense solver does, overlap-add included."""
    target = noise(0.05)
    grid = TimeGrid(8000, target.shape[1], 0.02)
    partials, _ = pursue(target, grid, Size(12))
    solved, residual = solve_amplitudes(partials, target, grid, 200)
    unit = torch.eye(len(partials))
    columns = [render(partials.with_amplitudes(row, row * 0), grid, 1)[0] for row in unit]
    columns += [render(partials.with_amplitudes(row * 0, row), grid, 1)[0] for row in unit]
    matrix = torch.stack(columns, 1).double()
    exact = torch.linalg.lstsq(matrix, target[0, :, None].double()).solution[:, 0]
    best = float((target[0].double() - matrix @ exact).square().sum())
    # The ridge of 1e-4 costs at most that share of the energy.
    assert float(residual.double().square().sum()) == pytest.approx(best, rel=2e-3)
    assert torch.allclose(target - render(solved, grid, 1), residual, atol=1e-5)


def test_peaks_name_the_energy_that_a_partial_takes_away() -> None:
    grid = TimeGrid(8000, 4000, 0.032)
    target = tones([1000.0], [0.5], [0.7], 0.5)
    peaks = spectral_peaks(target, grid)
    middle_frame = peaks.frame == grid.n_frames // 2
    windowed = (grid.frame(target)[grid.n_frames // 2] * grid.windows).square().sum()
    # 1000 Hz is the middle of a bin of this frame, so all of the windowed energy lies in one peak.
    assert float(peaks.gain[middle_frame][0]) == pytest.approx(float(windowed), rel=1e-3)
    assert bool((peaks.gain.diff() <= 0).all())


@given(most=st.integers(0, 40), per_frame=st.one_of(st.none(), st.integers(1, 4)), length=st.integers(1, 900))
@settings(max_examples=25, deadline=None)
def test_a_pursuit_keeps_within_its_size(most: int, per_frame: int | None, length: int) -> None:
    target = noise(0.2)[:, :length]
    grid = TimeGrid(8000, length, 0.01)
    partials, residual = pursue(target, grid, Size(most, most_per_frame=per_frame))
    assert len(partials) <= most
    assert per_frame is None or int(partials.counts(grid.n_frames).max()) <= per_frame
    assert bool((partials.frame.diff() >= 0).all())
    assert float(residual.square().sum()) <= float(target.square().sum()) * (1 + 1e-6)


def test_partials_join_and_rank() -> None:
    one = Partials(torch.tensor([0, 2]), torch.tensor([0.1, 0.2]), torch.tensor([1.0, 3.0]), torch.zeros(2))
    two = Partials(torch.tensor([1]), torch.tensor([0.3]), torch.tensor([0.0]), torch.tensor([2.0]))
    joined = one.joined(two)
    assert joined.frame.tolist() == [0, 1, 2]
    assert joined.counts(4).tolist() == [1, 1, 1, 0]
    assert joined.strongest(2).frame.tolist() == [1, 2]
    assert joined.power.tolist() == [0.5, 2.0, 4.5]


@pytest.mark.parametrize("rate", [4000, 7350, 8000, 16000, 44100])
def test_rendering_at_another_rate_is_the_same_wave(rate: int) -> None:
    """The estimate of a steady tone is that tone at every rate that can hold it."""
    target = tones([440.0, 1500.0], [0.4, 0.2], [0.0, 1.0], 0.5)
    network = fitted("sine", target, TimeGrid(8000, target.shape[1], 0.032), most=400)
    sound = render_network(network, rate)
    wanted = tones([440.0, 1500.0], [0.4, 0.2], [0.0, 1.0], 0.5, rate)
    assert sound.shape == wanted.shape
    inside = slice(rate // 20, -rate // 20)
    own = float((network.estimate() - target).detach()[:, 400:-400].square().mean().sqrt())
    # Between the samples the model cannot be better than on them; a factor of 2 allows for other sampling points.
    assert float((sound - wanted)[:, inside].square().mean().sqrt()) < 2 * own + 1e-4


def test_rendering_at_its_own_rate_by_the_general_way_changes_nothing() -> None:
    from ddaudio.rendering import _at_rate  # noqa: PLC0415

    network = fitted("sine", noise(0.25, channels=2))
    with torch.no_grad():
        # Float64 phases counted from another sample: float32 rounding of amplitudes of about 0.1.
        assert torch.allclose(_at_rate(network, 8000), network.estimate(), atol=1e-5)


def test_partials_beyond_the_new_nyquist_are_left_out() -> None:
    target = tones([500.0, 3000.0], [0.3, 0.3], [0.0, 0.0], 0.5)
    network = fitted("sine", target, TimeGrid(8000, target.shape[1], 0.032), most=200)
    sound = render_network(network, 4000)
    assert float((sound - tones([500.0], [0.3], [0.0], 0.5, 4000))[:, 200:-200].abs().max()) < 0.02


BAD_TENSORS = {
    "a tensor missing": (lambda t: t.pop("sine"), "holds the tensors"),
    "a tensor too many": (lambda t: t.update(more=torch.zeros(1)), "holds the tensors"),
    "counts of another grid": (lambda t: t.update(partials_in_frame=t["partials_in_frame"][1:]), "whole numbers"),
    "negative counts": (lambda t: t["partials_in_frame"].neg_(), "none below 0"),
    "counts as floats": (lambda t: t.update(partials_in_frame=t["partials_in_frame"].float()), "int32"),
    "amplitudes cut": (lambda t: t.update(cosine=t["cosine"][1:]), "as partials_in_frame says"),
    "amplitudes in float64": (lambda t: t.update(cosine=t["cosine"].double()), "float32"),
    "NaN": (lambda t: t["sine"].fill_(math.nan), "must be finite"),
    "beyond Nyquist": (lambda t: t["frequency_hz"].add_(5000), "0 to 4000 Hz"),
    "below zero": (lambda t: t["frequency_hz"].sub_(5000), "0 to 4000 Hz"),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_tensors_that_do_not_fit_are_refused(name: str) -> None:
    change, message = BAD_TENSORS[name]
    tensors = {key: tensor.clone() for key, tensor in fitted("sine", noise(0.25)).stored().items()}
    change(tensors)
    with pytest.raises(ModelError, match=message):
        NETWORKS["sine"](GRID, 1).restore(tensors)
