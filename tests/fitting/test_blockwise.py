"""Fits block by block: the goals of one fit, the fits of one recording, without seams, and the same after a stop.

A real recording of 1.6 s stands for a long one: blocks are made as short as a few root cells, and cells that would be
as long as a block are left out.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from sounds import fit_waves as fit
from sounds import noise, pluck
from torch import Tensor

import ddaudio
from ddaudio.errors import OptionError
from ddaudio.fitting import block, plan, segmentation
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.segmentation import Division, cell_sizes, divide_many
from ddaudio.io import audio
from ddaudio.io import samples as io_samples
from ddaudio.io.audio import Recording
from ddaudio.io.samples import DiskSamples
from ddaudio.models import framed
from ddaudio.models.file import load_model, model_bytes
from ddaudio.report.save import save_fit
from ddaudio.training.history import Progress

RATE = 8000
ROOTS = 8
"""Root cells in a block, for `small_blocks`."""
GOAL_DB = 25.0
QUICK: dict[str, Any] = {"steps": 3, "exchanges": 0}
ROOMY: dict[str, Any] = {"max_parameters_per_sample": 1.0, **QUICK}
"""The goal alone sets the size: the cap is tested on its own."""
BARK = Path(__file__).parents[2] / "recordings" / "bark.wav"


@pytest.fixture(scope="module")
def recordings() -> dict[str, Recording]:
    """The bark at 8 kHz, alone, and in stereo with another sound on the right."""
    bark = audio.resample(ddaudio.read(BARK), RATE)
    right = 0.6 * bark.samples.roll(4500, dims=1) + 0.2 * bark.samples.flip(1)
    return {"mono": bark, "stereo": Recording(torch.cat([bark.samples, right]), RATE, "two barks")}


@pytest.fixture(autouse=True, scope="module")
def short_cells() -> Iterator[None]:
    """Cells of 3 to 48 ms, so that a block of a few roots is short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "LEVELS", 5)
        yield


def in_blocks_of(n_roots: int, n_channels: int = 1) -> pytest.MonkeyPatch:
    """Make blocks so short until undone."""
    patch = pytest.MonkeyPatch()
    patch.setattr(plan, "BLOCK_SAMPLES", n_roots * n_channels * root_samples())
    return patch


def root_samples() -> int:
    return cell_sizes(RATE, 1 << 20)[-1]


@pytest.fixture
def small_blocks() -> Iterator[None]:
    patch = in_blocks_of(ROOTS)
    yield
    patch.undo()


Fit = Callable[[str, bool], FitResult]


@pytest.fixture(scope="module")
def fitted(recordings: dict[str, Recording]) -> Fit:
    """Fits towards the goal, each done once: of a recording by name, in blocks or as a whole."""
    done: dict[tuple[str, bool], FitResult] = {}

    def of(name: str, blocked: bool) -> FitResult:
        if (name, blocked) not in done:
            patch = in_blocks_of(ROOTS, recordings[name].n_channels) if blocked else pytest.MonkeyPatch()
            done[name, blocked] = fit(recordings[name], **ROOMY)
            patch.undo()
        return done[name, blocked]

    return of


def edges(result: FitResult) -> list[int]:
    """Where blocks meet."""
    return [ROOTS * root_samples() * number for number in range(1, len(result.stages[0].blocks))]


def sizes_by_signal(result: FitResult) -> list[list[int]]:
    cells = result.network.grid.cells
    return [cells.size[cells.signal == signal].tolist() for signal in range(result.recording.n_channels)]


def say_all(result: FitResult) -> Tensor:
    """What the network of the whole says, without pieces."""
    with torch.no_grad():
        return result.network.estimate()


# --- a fit in blocks is a fit ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mono", "stereo"])
def test_blocks_reach_the_goal_of_the_whole_at_its_cost(name: str, fitted: Fit) -> None:
    whole, blocked = fitted(name, False), fitted(name, True)
    assert (len(whole.stages[0].blocks), len(blocked.stages[0].blocks)) == (1, 4)
    for result in (whole, blocked):
        assert result.snr_db is not None
        # Never below; above by less than the weakest partials bring, a few of 1000.
        assert GOAL_DB <= result.snr_db < GOAL_DB + 0.05
        assert result.reached_goal
        assert not [doubt for doubt in result.warnings if "goal missed" in doubt]
    assert blocked.n_parameters == pytest.approx(whole.n_parameters, rel=0.05)
    assert all(stages and stages[0].evaluations for stages in blocked.stages[0].blocks)


@pytest.mark.parametrize("name", ["mono", "stereo"])
def test_there_is_no_seam_where_blocks_meet(name: str, fitted: Fit) -> None:
    whole, blocked = fitted(name, False), fitted(name, True)
    target, reach = whole.recording.samples, round(0.01 * RATE)
    audible = 0
    for edge in edges(blocked):
        around = slice(None), slice(edge - reach, edge + reach)
        energy = float(target[around].square().sum())
        if energy < 0.01 * whole.recording.energy * 2 * reach / target.shape[1]:
            continue  # in the pause, whatever is left there is far below the noise that the goal allows elsewhere
        audible += 1
        left = [float(result.residual[around].square().sum()) / energy for result in (whole, blocked)]
        # Two fits of equal SNR differ in 20 ms by 1 dB (standard deviation, anywhere); a fade that is missing or there
        # twice leaves as much as is there: 20 dB more.
        assert 10 * math.log10(left[1] / left[0]) < 4, edge
    assert audible >= 2


@pytest.mark.parametrize("name", ["mono", "stereo"])
def test_the_network_of_the_whole_says_the_estimate_also_from_its_file(name: str, fitted: Fit, tmp_path: Path) -> None:
    result = fitted(name, True)
    assert result.network.grid.n_samples == result.estimate.shape[1] == result.recording.n_samples
    # Samples of about 1, sums of at most two frames in another order: a few roundings of 2^-24.
    assert float((say_all(result) - result.estimate).abs().max()) < 1e-6
    (tmp_path / "model.safetensors").write_bytes(model_bytes(result.network))
    loaded = load_model(tmp_path)
    assert loaded.grid.cells.size.tolist() == result.network.grid.cells.size.tolist()
    assert float((ddaudio.render(loaded) - result.estimate).abs().max()) < 1e-6
    assert loaded.n_parameters() == result.n_parameters


@pytest.mark.parametrize(
    "given", [{"frame_s": 0.05, "overlap": 0.3}, {"frame_s": 0.04, "overlap": 0.0}, {"partials": 6}], ids=str
)
def test_equal_frames_go_over_the_edges(given: dict[str, Any], recordings: dict[str, Recording]) -> None:
    patch = in_blocks_of(1)  # at least four root cells of each make a block
    result = fit(recordings["mono"], **ROOMY, **given)
    patch.undo()
    assert len(result.stages[0].blocks) > 4
    assert len(set(result.network.grid.cells.length.tolist())) == 1
    assert float((say_all(result) - result.estimate).abs().max()) < 1e-6
    if "partials" in given:
        assert int(result.network.to_tensors()["partials_in_cell"].max()) == 6
    else:
        assert result.snr_db is not None
        assert GOAL_DB <= result.snr_db < GOAL_DB + 0.05


def test_cells_begun_by_a_block_are_kept_by_the_next(recordings: dict[str, Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    """A block and the root cell after it are divided together; how that root was divided is where the next begins."""
    seen: list[tuple[Any, list[list[int]]]] = []

    def divided(divisions: Sequence[Division]) -> list[list[list[int]]]:
        (rows,) = divide_many(divisions)
        seen.append((divisions[0].begun, rows))
        return [rows]

    monkeypatch.setattr(block, "divide_many", divided)
    monkeypatch.setattr(plan, "BLOCK_SAMPLES", 2 * ROOTS * root_samples())
    result = fit(recordings["stereo"], **{**ROOMY, "steps": 0})
    assert len(seen) == len(result.stages[0].blocks) == 4
    assert seen[0][0] is None
    divided_in_two = 0
    for (_, before), (begun, rows) in pairwise(seen):
        for signal in range(2):
            after = [
                size for size, end in zip(before[signal], _ends(before[signal]), strict=True) if end > ROOTS * root_samples()
            ]
            assert sum(after) == root_samples()
            assert begun[signal] == after
            assert rows[signal][: len(after)] == after
            divided_in_two += len(after) > 1
    assert divided_in_two > 1, "roots that are not divided could not be lost"
    for signal, sizes in enumerate(sizes_by_signal(result)):
        own = [_own(rows[signal], number == 3) for number, (_, rows) in enumerate(seen)]
        assert sizes == [size for part in own for size in part]


def _ends(sizes: list[int]) -> list[int]:
    return torch.tensor(sizes).cumsum(0).tolist()


def _own(sizes: list[int], is_last: bool) -> list[int]:
    return [size for size, end in zip(sizes, _ends(sizes), strict=True) if is_last or end <= ROOTS * root_samples()]


def test_more_channels_make_shorter_blocks(recordings: dict[str, Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    """A block is so many samples of all channels: memory is what it is for."""
    monkeypatch.setattr(plan, "BLOCK_SAMPLES", 16 * root_samples())
    told: dict[str, set[int]] = {}
    for name in ("mono", "stereo"):
        seen: list[Progress] = []
        fit(recordings[name], **{**ROOMY, "steps": 0, "target_snr_db": 3}, progress=seen.append)
        told[name] = {progress.blocks for progress in seen} - {1}
    assert told == {"mono": {2}, "stereo": {4}}


# --- budgets and caps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "budget"), [("mono", 2000), ("mono", 1000), ("stereo", 3000)])
def test_a_budget_is_met_over_all_blocks(name: str, budget: int, recordings: dict[str, Recording]) -> None:
    patch = in_blocks_of(10, recordings[name].n_channels)
    result = fit(recordings[name], budget=budget, **QUICK)
    patch.undo()
    assert len(result.stages[0].blocks) == 3
    assert 0.98 * budget <= result.n_parameters <= budget
    stored = result.network.to_tensors()
    assert result.n_parameters == sum(tensor.numel() for tensor in stored.values()) + _words(result)


def _words(result: FitResult) -> int:
    from safetensors.torch import load  # noqa: PLC0415

    return load(model_bytes(result.network))["0.division"].numel()


@pytest.mark.usefixtures("small_blocks")
def test_a_budget_is_met_although_a_block_is_silent(recordings: dict[str, Recording]) -> None:
    """What goes by the share of sound leaves nothing for silence: there is nothing to spend there."""
    bark = recordings["mono"].samples
    paused = torch.cat([bark[:, 640:4480], torch.zeros(1, 8000), bark[:, 640:4480]], dim=1)
    result = fit(Recording(paused, RATE), budget=1500, **QUICK)
    assert 0.98 * 1500 <= result.n_parameters <= 1500


@pytest.mark.usefixtures("small_blocks")
def test_a_budget_without_room_is_refused_with_the_least_before_any_work(recordings: dict[str, Recording]) -> None:
    told: list[Progress] = []
    with pytest.raises(OptionError, match="budget is 10, too few for one component") as no:
        fit(recordings["mono"], budget=10, progress=told.append, **QUICK)
    assert "training" not in {progress.stage for progress in told}
    least = int(str(no.value.allowed).removesuffix(" or more"))
    assert least > 10
    result = fit(recordings["mono"], budget=least, **QUICK)
    assert result.network.n_prunable() == 1
    assert result.n_parameters <= least


def quietening(sound: Tensor) -> Tensor:
    """Eight channels of a sound, each quieter than the one before."""
    return torch.linspace(1, 0.1, 8)[:, None] * sound


@pytest.mark.parametrize("name", ["noise", "eight barks"])
@pytest.mark.usefixtures("small_blocks")
def test_the_cap_holds_over_all_blocks(name: str, recordings: dict[str, Recording]) -> None:
    bark = recordings["mono"].samples[:, 640:5760]
    sound = {"noise": noise(1.0), "eight barks": quietening(bark)}[name]
    result = fit(Recording(sound, RATE), max_parameters_per_sample=0.1, **QUICK)
    assert len(result.stages[0].blocks) > 2
    assert result.parameters_per_sample <= 0.1
    assert [doubt for doubt in result.warnings if "goal missed" in doubt and "at the cap of 0.1 parameters per sample" in doubt]


@pytest.mark.usefixtures("small_blocks")
def test_a_goal_that_the_cap_allows_for_the_whole_is_reached_in_blocks(recordings: dict[str, Recording]) -> None:
    """Sound, then silence that needs nothing: what the cap leaves there is for the sound."""
    early = torch.nn.functional.pad(recordings["mono"].samples[:, 640:4480], (0, 4000))
    roomy = fit(Recording(early, RATE), **ROOMY)
    assert roomy.reached_goal
    capped = fit(Recording(early, RATE), **QUICK, max_parameters_per_sample=1.2 * roomy.parameters_per_sample)
    assert capped.reached_goal, capped.warnings


@pytest.mark.parametrize("given", [{}, {"budget": 500}, {"partials": 3}], ids=str)
@pytest.mark.usefixtures("small_blocks")
def test_silence_is_fitted_with_nothing(given: dict[str, Any]) -> None:
    result = fit(Recording(torch.zeros(2, 10_000), RATE), **given, **QUICK)
    assert len(result.stages[0].blocks) > 2
    assert (result.network.n_prunable(), result.snr_db, result.status) == (0, None, "converged")
    assert not result.estimate.any()


# --- files in place of memory ---------------------------------------------------------------------------------------


def test_what_is_kept_in_files_is_the_same(
    fitted: Fit, recordings: dict[str, Recording], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = fitted("mono", True)
    ddaudio.write_wav(tmp_path / "one.wav", recordings["mono"].samples, RATE, "float32")
    patch = in_blocks_of(ROOTS)
    monkeypatch.setattr(io_samples, "IN_MEMORY_SAMPLES", 5000)
    monkeypatch.setattr(framed, "PIECE_SAMPLES", 4000)
    result = fit(tmp_path / "one.wav", **ROOMY)
    patch.undo()
    assert isinstance(result.recording.samples, DiskSamples)
    assert isinstance(result.estimate, DiskSamples)
    assert torch.equal(result.estimate.tensor(), wanted.estimate)
    rendered = ddaudio.render(result.network)
    assert isinstance(rendered, DiskSamples)
    assert float((rendered.tensor() - wanted.estimate).abs().max()) < 1e-6
    save_fit(result, tmp_path / "fit")
    monkeypatch.undo()
    written, left = (ddaudio.read(tmp_path / "fit" / name).samples for name in ("resynth.wav", "residual.wav"))
    assert torch.equal(written, wanted.estimate)
    assert torch.equal(left, recordings["mono"].samples - wanted.estimate)
    assert (tmp_path / "fit" / "model.safetensors").read_bytes() == model_bytes(wanted.network)


# --- progress and stops ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_blocks")
def test_progress_tells_the_block_and_never_goes_back(recordings: dict[str, Recording]) -> None:
    told: list[Progress] = []
    fit(recordings["mono"], **{**ROOMY, "target_snr_db": 10, "exchanges": 1}, progress=told.append)
    assert (told[0].stage, told[-1].stage) == ("reading", "measuring")
    inside = told[1:-1]
    assert {progress.stage for progress in inside} == {"dividing time", "finding the starting point", "training"}
    assert {progress.blocks for progress in inside} == {4}
    done = [progress.block for progress in inside]
    assert done == sorted(done)
    assert set(done) == set(range(4))
    for number in range(4):
        stages = [progress.stage for progress in inside if progress.block == number]
        assert list(dict.fromkeys(stages)) == ["dividing time", "finding the starting point", "training"]
        assert stages == sorted(stages), "no stage is gone back to"


@pytest.mark.parametrize(
    ("name", "stage", "step", "kept"),
    [
        ("mono", "dividing time", 0, 1),
        ("mono", "finding the starting point", 0, 1),
        ("mono", "training", 0, 2),
        ("mono", "training", 2, 2),
        ("stereo", "finding the starting point", 0, 1),
        ("stereo", "training", 1, 2),
    ],
)
def test_a_stop_in_the_second_block_keeps_what_is_there(
    name: str, stage: str, step: int, kept: int, fitted: Fit, recordings: dict[str, Recording], tmp_path: Path
) -> None:
    def stop(progress: Progress) -> None:
        if (progress.block, progress.stage, progress.step) == (1, stage, step):
            raise KeyboardInterrupt

    patch = in_blocks_of(ROOTS, recordings[name].n_channels)
    result = fit(recordings[name], **ROOMY, progress=stop)
    patch.undo()
    whole, edge, half = fitted(name, True), edges(fitted(name, True))[kept - 1], root_samples() // 2
    assert result.status == "stopped"
    assert result.warnings[0].startswith("stopped by the user after")
    assert [stages[-1].status for stages in result.stages[0].blocks].count("stopped") == 1
    assert len(result.stages[0].blocks) == kept
    assert result.estimate.shape == recordings[name].samples.shape
    # The last block that is kept sounds; after its last fade all is silence.
    assert result.estimate[:, edge - ROOTS * root_samples() : edge - half].any()
    assert not result.estimate[:, edge + half :].any()
    assert float((say_all(result) - result.estimate).abs().max()) < 1e-6
    # The first block is that of an unbroken fit, but for its last fade, in which the second one would sound as well.
    first = edges(whole)[0]
    assert torch.equal(result.estimate[:, : first - half], whole.estimate[:, : first - half])
    assert result.network.n_prunable() > 0
    save_fit(result, tmp_path / "fit")
    assert float((ddaudio.render(load_model(tmp_path / "fit")) - result.estimate).abs().max()) < 1e-6


@pytest.mark.parametrize("stage", ["dividing time", "finding the starting point"])
@pytest.mark.usefixtures("small_blocks")
def test_a_stop_before_anything_is_trained_ends_the_fit(stage: str, recordings: dict[str, Recording]) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(recordings["mono"], **ROOMY, progress=stop)


@pytest.mark.usefixtures("small_blocks")
def test_a_stop_in_the_last_block_keeps_the_whole(recordings: dict[str, Recording]) -> None:
    def stop(progress: Progress) -> None:
        if (progress.block, progress.stage, progress.step) == (3, "training", 1):
            raise KeyboardInterrupt

    result = fit(recordings["mono"], **ROOMY, progress=stop)
    assert (result.status, len(result.stages[0].blocks)) == ("stopped", 4)
    assert result.estimate.shape == recordings["mono"].samples.shape
    assert float((say_all(result) - result.estimate).abs().max()) < 1e-6


@pytest.mark.usefixtures("small_blocks")
def test_the_reason_counts_the_blocks(recordings: dict[str, Recording]) -> None:
    result = fit(recordings["mono"], steps=1, exchanges=0, budget=6000)
    ends = [stages[-1].status for stages in result.stages[0].blocks]
    assert result.status == "step limit"
    assert f"in {ends.count('step limit')} of 4 blocks" in result.reason
    steps = sum(run.evaluations[-1].step for stages in result.stages[0].blocks for run in stages)
    assert f"after {steps} steps" in result.reason


def test_one_block_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recording that fits into a block is fitted as if there were none."""
    monkeypatch.setattr(plan, "BLOCK_SAMPLES", 4000)
    near = fit(pluck(), **QUICK)
    monkeypatch.undo()
    assert torch.equal(near.estimate, fit(pluck(), **QUICK).estimate)
