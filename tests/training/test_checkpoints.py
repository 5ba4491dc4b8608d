"""Checkpoints: a fit that was killed ends as if it had not been; what is damaged or foreign is refused with a reason."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from ddaudio_cli import main
from refusals import refused
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sounds import fit_waves as fit
from sounds import pluck

import ddaudio
from ddaudio.errors import CheckpointError, OptionError, OutputError
from ddaudio.io.formats import CHECKPOINT_FORMAT
from ddaudio.io.tensor_file import checksummed_safetensors
from ddaudio.training import checkpoint_files
from ddaudio.training.checkpoint_files import Snapshot
from ddaudio.training.checkpoints import Checkpoint
from ddaudio.training.history import Progress

SETTINGS: dict[str, Any] = {
    "partials": 3,
    "frame_s": 0.05,
    "optimiser": "adam",
    "steps": 12,
    "evaluate_every": 3,
    "exchanges": 1,
    "tolerance": 0.0,
}
RATE = 8000


class Killed(BaseException):
    """Ends a fit as nothing in it expects."""


def test_a_fit_killed_again_and_again_ends_bit_for_bit_as_an_unbroken_one() -> None:
    """Real processes and SIGKILL, at random steps and in the middle of writing: several optimisers, passes, blocks, exchanges."""
    script = Path(__file__).parents[1] / "killed_fits.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parent)}
    done = subprocess.run([sys.executable, str(script), "1"], env=environment, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 10
    assert [one["case"] for one in found if not one["same"]] == []
    assert all(one["killed"] >= 2 for one in found)
    by_case = {one["case"]: one for one in found}
    assert (by_case["stages"]["stages"], by_case["blocks"]["blocks"], by_case["networks"]["stages"]) == (3, 3, 4)
    assert by_case["gauss-newton"]["runs"] > 1
    assert by_case["adam"]["runs"] > 1


def wave(folder: Path) -> Path:
    path = folder / "pluck.wav"
    soundfile.write(path, pluck(0.4).samples[0].numpy(), RATE, subtype="FLOAT")
    return path


FLAGS = (
    "--optimiser",
    "adam",
    "--steps",
    "400",
    "--tolerance",
    "0",
    "--partials",
    "3",
    "--frame",
    "0.05",
    "--initialisation",
    "random",
)


def test_the_command_killed_from_outside_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sound, kept = wave(tmp_path), tmp_path / "fit.checkpoint"
    command = ["fit", str(sound), "--out", str(tmp_path / "fit"), *FLAGS, "--checkpoint-every", "0", "--no-html"]
    process = subprocess.Popen(
        [sys.executable, "-m", "ddaudio_cli", *command], env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    )
    while process.poll() is None and not (kept / checkpoint_files.STATE).exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "killed on its way"
    assert not (tmp_path / "fit").exists()
    assert main(command) == 2
    assert "is the checkpoint of an unfinished fit; resume it with --resume, or start again" in capfd.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert not kept.exists(), "a complete fit needs none"
    assert main(["fit", str(sound), "--out", str(tmp_path / "unbroken"), *FLAGS, "--no-html"]) == 0
    models = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("fit", "unbroken")]
    assert models[0] == models[1]
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("fit", "unbroken")]
    assert reports[0]["training"] == reports[1]["training"]
    assert len(reports[0]["training"]["stages"][0]["blocks"][0][0]["losses"]) == 400


def begun(folder: Path, until: int = 4, **settings: Any) -> Path:
    """Begin a fit that ends without a word after some times of writing; return its checkpoint."""
    count = 0
    flush = Checkpoint._flush

    def flushed(self: Checkpoint, state: bytes | None) -> None:
        nonlocal count
        flush(self, state)
        count += 1
        if count == until:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "_flush", flushed)
        with pytest.raises(Killed):
            fit(pluck(0.4), checkpoint=folder, **{**SETTINGS, "checkpoint_every_s": 0, **settings})
    return folder


def test_steps_that_were_done_are_not_done_again(tmp_path: Path) -> None:
    folder, told = begun(tmp_path / "kept", until=16), []
    assert sorted(path.name for path in folder.iterdir()) == [
        checkpoint_files.MARK,
        checkpoint_files.HEAD,
        "run-00000.safetensors",
        checkpoint_files.STATE,
    ]

    def note(progress: Progress) -> None:
        told.append(progress)

    resumed = fit(pluck(0.4), checkpoint=folder, resume=True, progress=note, **SETTINGS)
    # The first run of 12 steps had ended, and of the second one 3 of 6 steps were done.
    assert [one.step for one in told if one.stage == "training"] == [6]
    assert len(resumed.stages[0].blocks[0][0].losses) == 12


def test_a_fit_that_takes_no_time_leaves_no_trace(tmp_path: Path) -> None:
    fit(pluck(0.4), checkpoint=tmp_path / "kept", **SETTINGS)
    assert not (tmp_path / "kept").exists()


def test_resuming_nothing_begins_at_the_beginning(tmp_path: Path) -> None:
    result = fit(pluck(0.4), checkpoint=tmp_path / "kept", resume=True, **SETTINGS)
    assert torch.equal(result.estimate[:, :], fit(pluck(0.4), **SETTINGS).estimate[:, :])
    with pytest.raises(OptionError, match="resume is True, but there is no checkpoint"):
        fit(pluck(0.4), resume=True, **SETTINGS)


def test_silence_has_a_checkpoint_too(tmp_path: Path) -> None:
    silence = ddaudio.Recording(torch.zeros(1, 500), RATE, "silence.wav")
    fit(silence, checkpoint=tmp_path / "kept", checkpoint_every_s=0)
    assert fit(silence, checkpoint=tmp_path / "kept", resume=True).status == "converged"


def changed_text(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def moved_parameter(folder: Path) -> None:
    """Change one number of the state, its metadata left as they are."""
    path = folder / checkpoint_files.STATE
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["parameter.0"].reshape(-1)[0] += 1e-6
    save_file(tensors, path, metadata)


def resealed(folder: Path) -> None:
    """Give the state a parameter of another shape, with a checksum that is right."""
    path = folder / checkpoint_files.STATE
    with safe_open(path, framework="pt") as file:
        settings = file.metadata()["settings"]
    tensors = load_file(path) | {"parameter.0": torch.zeros(2)}
    path.write_bytes(checksummed_safetensors(checkpoint_files.KIND, CHECKPOINT_FORMAT.text, settings, tensors))


def resealed_run(folder: Path) -> None:
    """Let a run that ended have begun elsewhere."""
    path = folder / "run-00000.safetensors"
    with safe_open(path, framework="pt") as file:
        facts = json.loads(file.metadata()["settings"])
    tensors = load_file(path)
    path.write_bytes(
        checksummed_safetensors(checkpoint_files.KIND, CHECKPOINT_FORMAT.text, json.dumps({**facts, "start": "0" * 64}), tensors)
    )


DAMAGE = {
    "state cut short": (changed_text(checkpoint_files.STATE, lambda data: data[:-7]), "state.safetensors cannot be read"),
    "state emptied": (changed_text(checkpoint_files.STATE, lambda _: b""), "state.safetensors cannot be read"),
    "a number changed": (moved_parameter, "state.safetensors was changed"),
    "head is no JSON": (changed_text(checkpoint_files.HEAD, lambda _: b"{"), "checkpoint.json cannot be read"),
    "head is a list": (
        changed_text(checkpoint_files.HEAD, lambda _: b"[]"),
        "checkpoint.json cannot be read: the settings are not a JSON object",
    ),
    "head is gone": (lambda folder: (folder / checkpoint_files.HEAD).unlink(), "checkpoint.json is missing"),
    "a run is gone": (lambda folder: (folder / "run-00000.safetensors").unlink(), "state.safetensors belongs to a run"),
    "a run is out of place": (
        lambda folder: (folder / "run-00000.safetensors").rename(folder / "run-00001.safetensors"),
        "run-00000.safetensors is missing",
    ),
    "a run is the state": (
        lambda folder: (folder / "run-00000.safetensors").write_bytes((folder / checkpoint_files.STATE).read_bytes()),
        "run-00000.safetensors belongs to another fit",
    ),
    "another version": (
        changed_text(checkpoint_files.HEAD, lambda data: data.replace(b'"version": "2"', b'"version": "1"')),
        "is a checkpoint of format 1, which development versions after 0.1.0 read; this one reads format 2",
    ),
    "another torch": (
        changed_text(checkpoint_files.HEAD, lambda data: data.replace(torch.__version__.encode(), b"1.13.1")),
        'torch was "1.13.1"',
    ),
    "another shape": (resealed, "its 'parameter' differ"),
    "another machine": (resealed_run, "starts from other parameters than the first time"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_refused_and_the_fit_can_start_afresh(kind: str, tmp_path: Path) -> None:
    folder = begun(tmp_path / "kept", until=16)
    damage, reason = DAMAGE[kind]
    damage(folder)
    with pytest.raises(CheckpointError, match=reason) as refusal:
        fit(pluck(0.4), checkpoint=folder, resume=True, **SETTINGS)
    assert "leave resume out and set force=True to start again" in str(refusal.value)
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(CheckpointError, match="an unfinished fit; resume it with resume=True, or start again with force=True"):
        fit(pluck(0.4), checkpoint=folder, **SETTINGS)
    assert sorted(path.name for path in folder.iterdir()) == before, "nothing is lost by a refusal"
    result = fit(pluck(0.4), checkpoint=folder, force=True, checkpoint_every_s=0, **SETTINGS)
    assert result.status == "step limit"
    again = fit(pluck(0.4), checkpoint=folder, resume=True, **SETTINGS)
    assert torch.equal(result.estimate[:, :], again.estimate[:, :])


def test_a_checkpoint_that_cannot_be_opened_is_refused_with_the_way_out(tmp_path: Path) -> None:
    folder = begun(tmp_path / "kept", until=16)
    (folder / "run-00000.safetensors").unlink()
    (folder / "run-00000.safetensors").mkdir()
    hint = f"check the permissions, or {checkpoint_files.START_AGAIN}"
    with refused(CheckpointError, hint=hint) as refusal:
        fit(pluck(0.4), checkpoint=folder, resume=True, **SETTINGS)
    assert refusal.value.problem.startswith(f"{str(folder / 'run-00000.safetensors')!r} cannot be read: ")


@pytest.mark.parametrize(
    ("recording", "settings", "reason"),
    [
        (pluck(0.3), {}, "recording was"),
        (pluck(0.4), {"seed": 1}, "seed was 0 and is 1"),
        (pluck(0.4), {"steps": 13}, "steps was 12 and is 13"),
        (pluck(0.4), {"ema": 0.9}, "ema was null and is 0.9"),
        (pluck(0.4), {"seed": 1, "steps": 13, "learning_rate": 0.1, "tolerance": 0.1}, "; 1 more"),
    ],
)
def test_a_foreign_checkpoint_is_refused(
    recording: ddaudio.Recording, settings: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    folder = begun(tmp_path / "kept")
    with pytest.raises(CheckpointError, match=f"belongs to another fit: .*{reason}.*set force=True to start again"):
        fit(recording, checkpoint=folder, resume=True, **{**SETTINGS, **settings})
    # What is only about writing may be another.
    fit(pluck(0.4), checkpoint=folder, resume=True, encoding="pcm16", **SETTINGS)


def test_another_number_of_threads_is_refused(tmp_path: Path) -> None:
    folder, threads = begun(tmp_path / "kept"), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        with pytest.raises(CheckpointError, match=f"threads was {threads} and is {threads + 1}"):
            fit(pluck(0.4), checkpoint=folder, resume=True, **SETTINGS)
    finally:
        torch.set_num_threads(threads)


def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["fit", str(wave(tmp_path)), "--out", str(tmp_path / "fit"), *FLAGS, "--no-html", "--quiet"]
    note, steps = Checkpoint.note, 0

    def interrupted(self: Checkpoint, state: Callable[[], Snapshot]) -> None:
        nonlocal steps
        note(self, state)
        steps += 1
        if steps == 100:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "note", interrupted)
    assert main([*command, "--checkpoint-every", "0"]) == 130
    assert "resume with --resume --force" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 2
    assert "already contains a fit" in capsys.readouterr().err
    assert main([*command, "--resume", "--force"]) == 0
    run = json.loads((tmp_path / "fit" / "report.json").read_text())["training"]["stages"][0]["blocks"][0][0]
    assert (run["status"], len(run["losses"]), steps) == ("step limit", 400, 400)
    assert not (tmp_path / "fit.checkpoint").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match=r"cannot write to .*resume with resume=True"):
        fit(pluck(0.4), checkpoint=tmp_path / "file" / "kept", checkpoint_every_s=0, **SETTINGS)


def test_only_the_checkpoint_is_removed(tmp_path: Path) -> None:
    folder = begun(tmp_path / "kept")
    (folder / "mine.txt").write_text("mine")
    (folder / ".ddaudio-0123456789abcdef").write_text("half")
    (folder / "run-1-best.safetensors").write_text("mine")
    checkpoint_files.discard(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["mine.txt", "run-1-best.safetensors"]
    checkpoint_files.discard(tmp_path / "none")


def test_it_lies_beside_the_results_or_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkpoint_files.folder_beside(tmp_path / "fit") == tmp_path / "fit.checkpoint"
    (tmp_path / "fit").mkdir()
    assert checkpoint_files.folder_beside(tmp_path / "fit") == tmp_path / "fit.checkpoint"
    monkeypatch.setattr("os.access", lambda path, _: Path(path) != tmp_path)
    assert checkpoint_files.folder_beside(tmp_path / "fit") == tmp_path / "fit" / "checkpoint"
    monkeypatch.chdir(tmp_path / "fit")
    assert checkpoint_files.folder_beside(".") == tmp_path / "fit" / "checkpoint"
