"""Batches of fits, which must give what each fit gives alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE, noise, pluck
from torch import Tensor

import ddaudio
from ddaudio.analysis.matching_pursuit import Pursuit, pursue, pursue_many
from ddaudio.analysis.partials import Partials
from ddaudio.fitting import run, segmentation
from ddaudio.fitting.plan import make_plan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.segmentation import cell_sizes
from ddaudio.grid.batched import Segments, batched
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.models import Budget, SineNetwork
from ddaudio.models import batched as batched_networks
from ddaudio.models.batched import BatchedNetwork, estimates
from ddaudio.options import FitOptions
from ddaudio.training import gauss_newton
from ddaudio.training.gauss_newton import GaussNewton, step_many


def dyadic_rows(draw: Any, n_samples: int) -> list[int]:
    """Draw a division of time into dyadic cells."""
    sizes = cell_sizes(RATE, n_samples)
    row: list[int] = []
    while sum(row) < n_samples:
        row.append(draw(st.sampled_from([size for size in sizes if sum(row) % size == 0])))
    return row


@st.composite
def grids(draw: Any) -> list[TimeGrid]:
    """Draw grids of one or two signals of any length, divided anyhow."""
    found = []
    for _ in range(draw(st.integers(2, 4))):
        n_samples = draw(st.integers(1, 900))
        rows = [dyadic_rows(draw, n_samples) for _ in range(draw(st.integers(1, 2)))]
        found.append(TimeGrid.of_sizes(RATE, n_samples, rows))
    return found


@given(grids=grids(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_grids_beside_one_another_cut_and_add_as_each_does(grids: list[TimeGrid], seed: int) -> None:
    signals = [noise(1, grid.n_signals, seed)[:, : grid.n_samples] for grid in grids]
    both = batched(grids)
    total = both.signals(signals)
    assert total.shape == (sum(grid.n_signals for grid in grids), max(grid.n_samples for grid in grids))
    assert all(torch.equal(own, one) for own, one in zip(both.own(total), signals, strict=True))
    added = both.grid.overlap_add(both.grid.windowed(both.grid.frame(total)))
    framed = torch.cat([frames.square().sum(1) for frames in both.grid.frame(total)])
    for grid, one, own, frames in zip(grids, signals, both.own(added), both.own_frames, strict=True):
        # The same additions of the same products.
        assert torch.equal(own, grid.overlap_add(grid.windowed(grid.frame(one))))
        assert torch.equal(framed[frames], torch.cat([frames.square().sum(1) for frames in grid.frame(one)]))
        assert torch.equal(both.grid.energy[frames], grid.energy)
        assert torch.equal(both.grid.spread[frames], grid.spread)
        assert torch.equal(both.own_frame[frames], torch.arange(grid.n_frames))
    # What a shorter signal lacks is silence.
    assert float(added.abs().sum()) == pytest.approx(sum(float(own.abs().sum()) for own in both.own(added)), rel=1e-5)


@given(grids=grids(), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_partials_beside_one_another_come_back(grids: list[TimeGrid], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    each = []
    for grid in grids:
        frame = torch.randint(grid.n_frames, (int(torch.randint(9, (), generator=generator)),), generator=generator).sort().values
        each.append(Partials(frame, *torch.rand(3, len(frame), generator=generator)))
    both = batched(grids)
    joined = Partials.beside(each, both)
    assert bool((joined.frame.diff() >= 0).all())
    for found, own in zip(joined.split(both), each, strict=True):
        assert all(torch.equal(getattr(found, name), getattr(own, name)) for name in ("frame", "frequency", "cosine", "sine"))


def test_sums_stay_apart() -> None:
    values = torch.arange(6.0)
    owners = Segments(3, torch.tensor([2, 0, 2, 0, 2, 2]))
    assert owners.segment_sum(values).tolist() == [4, 0, 11]
    assert owners.segment_sum(torch.stack([values, 10 * values])).tolist() == [44, 0, 121]
    assert owners.broadcast(owners.segment_sum(values), values).tolist() == [11, 4, 11, 4, 11, 11]  # type: ignore[union-attr]
    assert [part.tolist() for part in owners.split(values)] == [[1, 3], [], [0, 2, 4, 5]]
    alone = Segments(1)
    assert (
        alone.segment_sum(values).tolist(),
        alone.broadcast(alone.segment_sum(values), values),
        alone.split(values)[0].tolist(),
    ) == (
        [15],
        15,
        values.tolist(),
    )


def pieces() -> list[Tensor]:
    """Sounds of several lengths, loud and soft, of one and two channels; the last is silent."""
    sound = pluck().samples
    return [sound, 0.01 * sound[:, 100:1700], torch.cat([sound, noise(0.5)])[:, :2500], noise(0.05), torch.zeros(1, 700)]


SIZES = {
    "goal": lambda target: Budget(500, 0.01 * float(target.square().sum())),
    "budget": lambda _: Budget(60),
    "each frame": lambda _: Budget(300, most_per_frame=3),
    "gain": lambda target: Budget(500, least_gain=1e-4 * float(target.square().sum())),
}


@pytest.mark.parametrize("names", [*([name] * 5 for name in SIZES), ["goal", "budget", "each frame", "gain", "goal"]], ids=str)
def test_a_batch_of_pursuits_finds_what_each_finds(names: Sequence[str]) -> None:
    targets = pieces()
    asked = [
        Pursuit(target, TimeGrid.uniform(RATE, len(target), target.shape[1], 0.03), SIZES[name](target))
        for target, name in zip(targets, names, strict=True)
    ]
    for (partials, residual), each in zip(pursue_many(asked), asked, strict=True):
        alone, left = pursue(each.target, each.grid, each.size)
        assert torch.equal(partials.frame, alone.frame)
        # Sums of float32 in another order, made larger by least squares over neighbours in frequency: seen up to 3e-6.
        torch.testing.assert_close(partials.frequency, alone.frequency, rtol=0, atol=1e-4)
        torch.testing.assert_close(residual, left, rtol=0, atol=1e-4 * float(each.target.abs().max()))


def network_for(target: Tensor, most: int) -> SineNetwork:
    network = SineNetwork(TimeGrid.uniform(RATE, len(target), target.shape[1], 0.03))
    network.initialise(target, Budget(most), "peaks", torch.Generator())
    return network


def test_a_batch_of_steps_is_that_of_each() -> None:
    """One that no step helps keeps its parameters to the bit, and does not hold the others back."""
    targets = pieces()[:4]
    alone, together = ([network_for(target, 20) for target in targets] for _ in range(2))
    (targets[1],) = estimates([together[1]])
    kept = [parameter.clone() for parameter in together[1].parameters()]
    descents = [GaussNewton(network, target) for network, target in zip(together, targets, strict=True)]
    singles = [GaussNewton(network, target) for network, target in zip(alone, targets, strict=True)]
    for _ in range(4):
        ends = step_many(descents)
        assert ends == [single.step() for single in singles] == [None, "converged", None, None]
        for descent, single, target in zip(descents, singles, targets, strict=True):
            assert descent.damping == pytest.approx(single.damping, rel=1e-12)
            assert descent.energy == pytest.approx(single.energy, rel=1e-4, abs=1e-9)
            assert descent.estimate.shape == target.shape
            torch.testing.assert_close(descent.estimate, single.estimate, rtol=0, atol=1e-4 * float(target.abs().max()))
            torch.testing.assert_close(descent.slope, single.slope, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(now, before) for now, before in zip(together[1].parameters(), kept, strict=True))


def test_only_networks_whose_row_declares_it_are_computed_as_a_batch() -> None:
    networks = [ddaudio.fit(pluck(0.1), model="cascade", steps=0, frame_s=0.05).network for _ in range(2)]
    with pytest.raises(TypeError, match="whose row has is_batched"):
        BatchedNetwork(networks)
    # Others are computed one after the other.
    for estimate, network in zip(estimates(networks), networks, strict=True):
        assert torch.equal(estimate, network.estimate().detach())


def noting(work: Callable[[Sequence[Any]], Any], sizes: list[int]) -> Callable[[Sequence[Any]], Any]:
    """Work on lists, with the length of each list noted."""

    def noted(each: Sequence[Any]) -> Any:
        sizes.append(len(each))
        return work(each)

    return noted


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[int]]:
    """Number of fits in each batch of pursuits, steps and estimates, call by call."""
    counts: dict[str, list[int]] = {"pursue_many": [], "step_many": []}
    for name, home in (("pursue_many", segmentation), ("pursue_many", batched_networks), ("step_many", gauss_newton)):
        monkeypatch.setattr(home, name, noting(getattr(home, name), counts[name]))
    return counts


def assert_alike(some: FitResult, other: FitResult) -> None:
    assert (some.n_parameters, some.status) == (other.n_parameters, other.status)
    # Float32 in another order of sums; of 100 spoken digits and 12 pieces of music the worst differed by 2e-4 of their peak,
    # where two partials close to one another share an amplitude otherwise, and by 4e-5 dB.
    scale = max(some.recording.peak, 1e-9)
    torch.testing.assert_close(some.estimate[:, :], other.estimate[:, :], rtol=0, atol=5e-4 * scale)
    assert some.snr_db == (None if other.snr_db is None else pytest.approx(other.snr_db, abs=1e-3))
    assert [len(run.evaluations) for one in some.stages for runs in one.blocks for run in runs] == [
        len(run.evaluations) for one in other.stages for runs in one.blocks for run in runs
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"target_snr_db": 12.0, "frame_s": 0.04},
        {"budget": 90},
        {"partials": 2, "exchanges": 0},
        {"initialisation": "random", "steps": 2},
    ],
    ids=str,
)
def test_a_batch_of_fits_is_that_of_each(options: dict[str, Any], sizes: dict[str, list[int]]) -> None:
    recordings = [Recording(piece, RATE + 1000 * place) for place, piece in enumerate(pieces())]
    for fitted, recording in zip(ddaudio.fit_many(recordings, **options), recordings, strict=True):
        assert_alike(fitted, ddaudio.fit(recording, **options))
    # The silent one has nothing to step towards.
    assert max(sizes["step_many"]) == 4


def test_a_batch_holds_no_more_than_it_may(sizes: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings of 400 samples, with room for 1000, come in pairs; a longer one is fitted alone."""
    monkeypatch.setattr(run, "BATCH_SAMPLES", 1000)
    sound = pluck().samples[:, :1200]
    recordings = [Recording(part, RATE) for part in (*sound.split(400, 1), sound, *sound.split(400, 1))]
    plans = [make_plan(recording, FitOptions()) for recording in recordings]
    assert list(run._batches(plans)) == [slice(0, 2), slice(2, 3), slice(3, 4), slice(4, 6), slice(6, 7)]
    results = ddaudio.fit_many(recordings, steps=1, exchanges=0, target_snr_db=5)
    assert [result.recording is recording for result, recording in zip(results, recordings, strict=True)] == [True] * 7
    assert max(sizes["step_many"]) == 2


@pytest.mark.parametrize("options", [{"model": "cascade", "steps": 0}, {"losses": "phase", "steps": 2}], ids=str)
def test_other_fits_are_done_one_by_one(options: dict[str, Any], sizes: dict[str, list[int]]) -> None:
    recordings = [Recording(piece, RATE) for piece in pieces()[:3]]
    for fitted, recording in zip(ddaudio.fit_many(recordings, budget=60, **options), recordings, strict=True):
        assert torch.equal(fitted.estimate[:, :], ddaudio.fit(recording, budget=60, **options).estimate[:, :])
    assert max(sizes["pursue_many"], default=1) == 1
    assert not sizes["step_many"]


def test_a_batch_of_real_recordings(shared_recordings: Path, sizes: dict[str, list[int]]) -> None:
    """Speech, a bark, stereo music, a drum, noise and singing, a quarter of a second of each."""
    names = (
        "digits/0_george_0.wav",
        "barks/4-191687-A.ogg",
        "instruments/piano-C5-stereo.ogg",
        "percussion/drum_snare_hard.flac",
        "field/rain-stereo.flac",
        "instruments/singing-female.wav",
    )
    recordings = [quarter_second(ddaudio.read(shared_recordings / name)) for name in names]
    for fitted, recording in zip(ddaudio.fit_many(recordings, model="sine"), recordings, strict=True):
        assert_alike(fitted, ddaudio.fit(recording, model="sine"))
    assert max(sizes["pursue_many"]) == max(sizes["step_many"]) == len(names)


def quarter_second(recording: Recording) -> Recording:
    """Return a quarter of a second around the loudest sample, or less where the recording ends."""
    loudest = int(recording.samples[:, :].abs().amax(0).argmax())
    first = max(0, loudest - recording.sample_rate // 16)
    return Recording(recording.samples[:, first : first + recording.sample_rate // 4].clone(), recording.sample_rate)
