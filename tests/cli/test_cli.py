"""The command: what it prints, writes and returns. Input, bad and odd, is in test_cli_inputs.py."""

import contextlib
import csv
import io
import json
import math
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import COMMAND, FILES, QUICK, chirp, contents, run
from ddaudio_cli import main
from ddaudio_cli.app import app
from ddaudio_cli.console import print_gain
from ddaudio_cli.help import COMMON
from ddaudio_cli.progress import share_done, stage_in_words, state_in_words
from ddaudio_cli.refusals import flag, in_flags

import ddaudio
from ddaudio.errors import DdaudioError, OptionError, OutputError
from ddaudio.io.fit_files import fit_files
from ddaudio.options import NETWORKS, FitOptions, setting_groups


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "chirp.wav"
    soundfile.write(path, np.stack([chirp(), -0.5 * chirp()[::-1]], axis=1), 8000, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def fitted(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted") / "chirp-fit"
    code, _, err = run("fit", sound, "--out", folder, *QUICK, "--target-snr", "20")
    assert (code, err) == (0, "")
    return folder


def test_five_lines_say_doubt_first_and_where_the_files_lie(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run("fit", sound, *QUICK)
    report = json.loads((tmp_path / "chirp-fit" / "report.json").read_text())
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in lines] == ["warnings", "reached", "size", "time", "files"]
    assert f"SNR {report['metrics']['snr_db']['value']:.2f} dB" in lines[1]
    assert f"{report['model']['n_parameters']} parameters" in lines[2]
    assert "chirp-fit: " in lines[4]
    assert all(name in lines[4] for name in FILES)
    assert sorted(contents(tmp_path)) == [f"chirp-fit/{name}" for name in FILES]


def test_an_unreached_goal_is_a_doubt_not_a_failure(sound: Path, tmp_path: Path) -> None:
    code, out, _ = run("fit", sound, "--out", tmp_path / "fit", *QUICK, "--max-parameters-per-sample", "0.01")
    assert code == 0
    assert out.startswith("warnings goal missed: ")
    assert "goal missed" in out.splitlines()[0]


def test_json_is_the_report_and_nothing_else(sound: Path, tmp_path: Path) -> None:
    code, out, err = run("fit", sound, "--out", tmp_path / "fit", *QUICK, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == json.loads((tmp_path / "fit" / "report.json").read_text(encoding="utf-8"))


def test_quiet_writes_the_files_and_says_nothing(sound: Path, tmp_path: Path) -> None:
    assert run("fit", sound, "--out", tmp_path / "fit", *QUICK, "--quiet") == (0, "", "")
    assert sorted(contents(tmp_path / "fit")) == FILES


def test_a_dry_run_prints_the_plan_and_writes_nothing(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sums = ("--model", "sine+double-dutch", "--budget", "300", "--frame", "0.05", "--steps", "3")
    code, out, err = run("fit", sound, *sums, "--dry-run")
    assert (code, err) == (0, "")
    assert [line.split("  ")[0] for line in out.splitlines()] == [
        "input",
        "stage 1",
        "",
        "",
        "stage 2",
        "",
        "",
        "stage 3",
        "files",
    ]
    for part in (
        "2400 samples in 2 channels at 8000 Hz",
        "sine in frames of 50 ms that overlap by 50%, hann window; 1 block",
        "budget of 150 parameters",
        "budget of 300 parameters, earlier stages included",
        "all networks together: gauss-newton, at most 3 steps per run",
        ", ".join(name for name in ("resynth.wav", "residual.wav", "model.safetensors", "fit.toml")),
    ):
        assert part in out
    code, out, err = run("fit", sound, *sums, "--dry-run", "--json", "--no-html", "--out", tmp_path / "fit")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert facts["output"] == {"folder": str(tmp_path / "fit"), "files": list(fit_files(html=False))}
    assert [(stage["network"], stage["max_parameters"]) for stage in facts["stages"]] == [("sine", 150), ("double-dutch", 300)]
    assert facts["goal"] == {"name": "budget", "asked": 300}
    assert facts["stages"][0]["blocks"] == [{"first": 0, "end": 2400}]
    assert contents(tmp_path) == {}
    # The settings of the plan are those of the fit.
    assert run("fit", sound, *sums, "--out", tmp_path / "fit")[0] == 0
    report = json.loads((tmp_path / "fit" / "report.json").read_text(encoding="utf-8"))
    assert report["settings"] == facts["settings"]
    assert [stage["name"] for stage in report["training"]["stages"]] == ["sine", "double-dutch", "together"]
    # What the fit would refuse, so does the dry run.
    assert run("fit", sound, *sums, "--out", tmp_path / "fit", "--dry-run")[0] == 2
    assert run("fit", sound, "--frame", "0.0005", "--budget", "50", "--dry-run")[0] == 2


def test_nothing_is_overwritten_without_force(sound: Path, fitted: Path, tmp_path: Path) -> None:
    before = contents(fitted)
    code, out, err = run("fit", sound, "--out", fitted, *QUICK)
    assert (code, out) == (2, "")
    assert err.startswith("ddaudio: error: ")
    assert "already contains a fit" in err
    assert "--force" in err
    assert contents(fitted) == before
    folder = tmp_path / "again"
    assert run("fit", sound, "--out", folder, *QUICK)[0] == 0
    earlier = contents(folder)
    assert run("fit", sound, "--out", folder, *QUICK, "--budget", "120", "--force")[0] == 0
    assert contents(folder)["model.safetensors"] != earlier["model.safetensors"]


def test_a_taken_folder_is_refused_before_any_work(fitted: Path, tmp_path: Path) -> None:
    code, _, err = run("fit", tmp_path / "missing.wav", "--out", fitted)
    assert code == 2
    assert "already contains a fit" in err


def test_same_seed_and_fit_toml_repeat_the_fit(sound: Path, fitted: Path, tmp_path: Path) -> None:
    first = contents(fitted)
    assert run("fit", sound, "--out", tmp_path / "same", *QUICK, "--target-snr", "20")[0] == 0
    assert run("fit", sound, "--out", tmp_path / "config", "--config", fitted / "fit.toml")[0] == 0
    for folder in ("same", "config"):
        again = contents(tmp_path / folder)
        for name in ("model.safetensors", "resynth.wav", "residual.wav", "fit.toml"):
            assert again[name] == first[name], (folder, name)


def test_the_seed_matters_where_there_is_chance(sound: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        options = ("--initialisation", "random", "--partials", "2", "--seed", seed)
        assert run("fit", sound, "--out", tmp_path / name, *QUICK, *options)[0] == 0
    models = [contents(tmp_path / name)["model.safetensors"] for name in "abc"]
    assert models[0] == models[1] != models[2]


def test_flags_beat_the_file_and_the_file_beats_defaults(sound: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[training]\nsteps = 3\nseed = 7\n[grid]\nframe_s = 0.03\n[model]\nbudget = 120\n")
    assert run("fit", sound, "--out", tmp_path / "a", "--config", config, "--steps", "4")[0] == 0
    settings = tomllib.loads((tmp_path / "a" / "fit.toml").read_text())
    assert (settings["training"]["steps"], settings["training"]["seed"]) == (4, 7)
    assert (settings["grid"]["frame_s"], settings["model"]["budget"]) == (0.03, 120)
    assert settings["grid"]["overlap"] == 0.5  # as it is for partials unless given


def test_a_flag_may_give_what_a_setting_of_the_file_needs(sound: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[grid]\noverlap = 0.25\n[training]\nlosses = 'mse,pdl'\noptimiser = 'gauss-newton'\n")
    flags = ("--frame", "0.02", "--losses", "mse", "--steps", "2")
    assert run("fit", sound, "--out", tmp_path / "a", "--config", config, *flags)[0] == 0
    settings = tomllib.loads((tmp_path / "a" / "fit.toml").read_text())
    assert settings["grid"] == {"frame_s": 0.02, "overlap": 0.25, "window": "hann", "whole": False}
    assert settings["training"]["optimiser"] == "gauss-newton"


@pytest.mark.parametrize(
    ("given", "grid", "training"),
    [
        ((), {}, ("gauss-newton", 6)),
        (("--losses", "mse,phase", "--steps", "3"), {}, ("adam", 3)),
        (("--partials", "2", "--optimiser", "adam"), {"frame_s": 0.05}, ("adam", 80)),
    ],
)
def test_fit_toml_holds_what_was_taken(
    given: tuple[str, ...], grid: dict[str, float], training: tuple[str, int], sound: Path, tmp_path: Path
) -> None:
    assert run("fit", sound, "--out", tmp_path / "a", *given)[0] == 0
    settings = tomllib.loads((tmp_path / "a" / "fit.toml").read_text())
    assert settings["grid"] == {"overlap": 0.5, "window": "hann", "whole": False} | grid
    assert (settings["training"]["optimiser"], settings["training"]["steps"]) == training
    assert settings["training"]["exchanges"] == (2 if "--partials" in given else 1)


@pytest.mark.parametrize("goal", [("target_snr_db", "12"), ("partials", "2")])
def test_a_goal_as_a_flag_replaces_the_files_goal(goal: tuple[str, str], sound: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text("[model]\nbudget = 120\n")
    assert run("fit", sound, "--out", tmp_path / "a", *QUICK, "--config", config, flag(goal[0]), goal[1])[0] == 0
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert (report["goal"]["name"], report["goal"]["asked"]) == (goal[0], float(goal[1]))


@pytest.mark.parametrize("encoding", ["pcm16", "pcm24", "float32"])
def test_a_scaled_wav_is_told(encoding: str, sound: Path, tmp_path: Path) -> None:
    loud = tmp_path / "loud.wav"
    soundfile.write(loud, 4 * chirp(), 8000, subtype="FLOAT")
    code, _, err = run("fit", loud, "--out", tmp_path / "fit", *QUICK, "--encoding", encoding, "--quiet")
    report = json.loads((tmp_path / "fit" / "report.json").read_text())
    gain = report["wav"]["gains"]["resynth.wav"]
    assert code == 0
    if encoding == "float32":
        assert (gain, err) == (1.0, "")
    else:
        assert gain < 0.7
        assert f"resynth.wav exceeded full scale and was scaled by {20 * math.log10(gain):.1f} dB" in err
    assert run("fit", sound, "--out", tmp_path / "soft", *QUICK, "--encoding", encoding, "--quiet") == (0, "", "")


def test_a_gain_of_one_step_is_not_worth_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    print_gain("a.wav", 0.9999, "pcm16")
    assert capsys.readouterr().err == ""
    print_gain("a.wav", 0.5, "pcm16")
    assert "-6.0 dB" in capsys.readouterr().err


def test_ctrl_c_in_training_keeps_the_best_so_far(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_schedule: str, step: int, *_: object) -> float:
        if step == 3:
            raise KeyboardInterrupt
        return 1.0

    monkeypatch.setattr("ddaudio.training.run.rate_factor", interrupted)
    code, out, err = run("fit", sound, "--out", tmp_path / "fit", *QUICK, "--optimiser", "adam")
    assert (code, err) == (130, "")
    assert out.startswith("warnings stopped by the user after")
    assert sorted(contents(tmp_path / "fit")) == FILES
    (only,) = json.loads((tmp_path / "fit" / "report.json").read_text())["training"]["stages"]
    ((training,),) = only["blocks"]
    assert training["status"] == "stopped"


def test_ctrl_c_in_a_later_block_keeps_the_blocks_before(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ddaudio.models.sine import SineNetwork  # noqa: PLC0415 - not before its time

    guess, guessed = SineNetwork.initialise, []

    def interrupted(self: SineNetwork, *arguments: object) -> None:
        guessed.append(self)
        if len(guessed) == 3:
            raise KeyboardInterrupt
        guess(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SineNetwork, "initialise", interrupted)
    monkeypatch.setattr("ddaudio.fitting.plan.BLOCK_SAMPLES", 1000)
    code, out, err = run("fit", sound, "--out", tmp_path / "fit", *QUICK)
    assert (code, err) == (130, "")
    assert out.startswith("warnings stopped by the user after")
    assert sorted(contents(tmp_path / "fit")) == FILES
    samples = soundfile.read(tmp_path / "fit" / "resynth.wav")[0]
    assert samples.shape == (2400, 2)
    # Two blocks of six hops of 10 ms, and half a hop of fade.
    assert samples[:960].any()
    assert not samples[1000:].any()


def test_ctrl_c_before_training_writes_nothing(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ddaudio.fitting.stagewise.fit_blocks", interrupted)
    assert run("fit", sound, "--out", tmp_path / "fit") == (130, "", "ddaudio: stopped\n")
    assert contents(tmp_path) == {}


def test_a_terminal_gets_a_progress_bar_and_ctrl_c_works(sound: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    terminal, stderr = pty.openpty()
    arguments = [
        "fit",
        str(sound),
        "--out",
        str(tmp_path / "fit"),
        "--model",
        "sine",
        "--optimiser",
        "adam",
        "--steps",
        "1000000",
        "--tolerance",
        "0",
    ]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=stderr, env=environment) as process:
        os.close(stderr)
        seen, deadline = "", time.monotonic() + 60
        while not re.search(r"step [1-9]\d*/", seen):  # past the first look: steps are being taken
            if not select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0]:
                process.kill()
                pytest.fail(f"no progress bar after 60 s: {seen!r}")
            seen += os.read(terminal, 4096).decode(errors="replace")
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # a terminal whose other side is closed cannot be read
            while select.select([terminal], [], [], max(0, deadline - time.monotonic()))[0] and os.read(terminal, 4096):
                pass
        if time.monotonic() > deadline:
            process.kill()
        out = process.stdout.read().decode() if process.stdout else ""
    os.close(terminal)
    assert process.returncode == 130
    assert "loss" in seen
    assert "SNR" in seen
    assert "Traceback" not in seen
    assert out.startswith("warnings stopped by the user after")
    assert sorted(contents(tmp_path / "fit")) == FILES


def test_state_leaves_out_what_is_unknown() -> None:
    from ddaudio.training.history import Progress  # noqa: PLC0415

    assert state_in_words(Progress("measuring", 0, 0, math.nan, math.nan)) == ""
    assert state_in_words(Progress("training", 20, 80, 0.00314, 24.9)) == "step 20/80  loss 0.00314  SNR 24.90 dB"


def test_the_bar_of_several_blocks_knows_the_end() -> None:
    from ddaudio.training.history import Progress  # noqa: PLC0415

    begun, half, done = (Progress("training", step, 6, 0.1, 20.0, 2, 76) for step in (0, 3, 6))
    assert [share_done(progress) for progress in (begun, half, done)] == pytest.approx([2 / 76, 2.5 / 76, 3 / 76])
    assert stage_in_words(half) == "training, block 3/76"
    assert share_done(Progress("dividing time", 0, 0, math.nan, math.nan, 75, 76)) == pytest.approx(75 / 76)
    assert stage_in_words(Progress("measuring", 0, 0, math.nan, math.nan)) == "measuring"


def test_the_bar_goes_from_start_to_end_and_never_back(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import rich.progress  # noqa: PLC0415 - slow to import

    shown: list[dict[str, Any]] = []

    class Bar(rich.progress.Progress):
        def update(self, task_id: rich.progress.TaskID, **fields: Any) -> None:
            shown.append(fields)
            super().update(task_id, **fields)

    monkeypatch.setattr(rich.progress, "Progress", Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("ddaudio.fitting.plan.BLOCK_SAMPLES", 1000)
    # In this process, but not through `run`, which takes stderr away.
    assert main(["fit", str(sound), "--out", str(tmp_path / "fit"), *QUICK, "--exchanges", "1"]) == 0
    assert capsys.readouterr().out.startswith("warnings ")
    inside = [fields for fields in shown if "block" in fields["description"]]
    assert {fields["total"] for fields in inside} == {1}
    shares = [fields["completed"] for fields in inside]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert len(set(shares)) > 8
    # The last block may converge before its last step.
    assert 0.8 <= shares[-1] <= 1
    assert [fields["description"] for fields in inside][-1] == "training, block 5/5"
    assert (shown[-1]["description"], shown[-1]["total"]) == ("measuring", None)


# render


def test_render_repeats_resynth_wav(fitted: Path, tmp_path: Path) -> None:
    for model in (fitted, fitted / "model.safetensors"):
        out = tmp_path / f"{model.name}.wav"
        code, said, err = run("render", model, "--out", out)
        assert (code, err) == (0, "")
        assert said.startswith(f"wrote {out}: ")
        # The file holds Hz in float32, the trained network bins: a last bit of 900 Hz turns 0.3 s by 1e-4 radians.
        assert np.abs(soundfile.read(out)[0] - soundfile.read(fitted / "resynth.wav")[0]).max() < 1e-4


@pytest.mark.parametrize("sample_rate", [1000, 7999, 16000, 44100])
def test_render_at_another_rate_has_its_length(sample_rate: int, fitted: Path, tmp_path: Path) -> None:
    assert run("render", fitted, "--out", tmp_path / "a.wav", "--sample-rate", sample_rate)[0] == 0
    head = soundfile.info(tmp_path / "a.wav")
    assert (head.samplerate, head.channels, head.frames) == (sample_rate, 2, math.ceil(2400 * sample_rate / 8000))


def test_render_says_how_many_partials_lie_beyond_nyquist(fitted: Path, tmp_path: Path) -> None:
    rows = json.loads(run("export", fitted, "--format", "json")[1])
    beyond = sum(row["frequency_hz"] >= 500 for row in rows)
    assert 0 < beyond < len(rows)
    code, out, err = run("render", fitted, "--out", tmp_path / "a.wav", "--sample-rate", "1000")
    assert code == 0
    assert f"note: {beyond} of {len(rows)} components are above" in err
    assert f"{len(rows) - beyond} components" in out
    strongest = sorted(rows, key=lambda row: -row["amplitude"])[:3]
    code, out, err = run("render", fitted, "--out", tmp_path / "b.wav", "--sample-rate", "1000", "--partials", "3")
    beyond = sum(row["frequency_hz"] >= 500 for row in strongest)
    assert f"{3 - beyond} components" in out
    assert (f"note: {beyond} of 3 components" in err) == (beyond > 0)
    assert run("render", fitted, "--out", tmp_path / "c.wav", "--sample-rate", "16000")[2] == ""


def test_render_without_partials_is_silence_and_with_some_is_between(fitted: Path, tmp_path: Path) -> None:
    energies = []
    for count in ("0", "5", "100000"):
        out = tmp_path / f"{count}.wav"
        assert run("render", fitted, "--out", out, "--partials", count)[0] == 0
        samples = soundfile.read(out)[0]
        assert samples.shape == (2400, 2)
        energies.append(float((samples**2).sum()))
    assert energies[0] == 0 < energies[1] < energies[2]


@pytest.mark.parametrize(("encoding", "subtype"), [("pcm16", "PCM_16"), ("pcm24", "PCM_24"), ("float32", "FLOAT")])
def test_render_encodes_as_asked(encoding: str, subtype: str, fitted: Path, tmp_path: Path) -> None:
    assert run("render", fitted, "--out", tmp_path / "a.wav", "--encoding", encoding)[0] == 0
    assert soundfile.info(tmp_path / "a.wav").subtype == subtype


@pytest.mark.parametrize("command", [("render",), ("export",)])
def test_render_and_export_overwrite_only_with_force(command: tuple[str], fitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.wav"
    out.write_text("precious")
    code, _, err = run(*command, fitted, "--out", out)
    assert (code, out.read_text()) == (2, "precious")
    assert "exists; choose another --out, or overwrite it with --force" in err
    assert run(*command, fitted, "--out", out, "--force")[0] == 0
    assert out.read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("out", "words"),
    [
        ("nowhere/a.wav", "there is no folder"),
        ("model", "it is a folder"),
        ("a.flac", "only WAV is written"),
        ("model/model.safetensors", "only WAV is written"),
    ],
)
def test_render_refuses_bad_places(out: str, words: str, fitted: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name, data in contents(fitted).items():
        (tmp_path / "model" / name).write_bytes(data)
    before = contents(tmp_path)
    code, said, err = run("render", tmp_path / "model", "--out", tmp_path / out, "--force")
    assert (code, said) == (2, "")
    assert words in err
    assert contents(tmp_path) == before


def test_export_never_replaces_the_model(fitted: Path) -> None:
    before = contents(fitted)
    for out in (fitted / "model.safetensors", fitted / ".." / fitted.name / "model.safetensors"):
        code, _, err = run("export", fitted, "--out", out, "--force")
        assert code == 2
        assert "that is the model itself" in err
        assert contents(fitted) == before


def test_render_of_what_is_too_long_for_memory_is_the_same(fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for name in ("memory", "file"):
        code, out, err = run("render", fitted, "--out", tmp_path / f"{name}.wav", "--sample-rate", "11025", "--encoding", "pcm16")
        assert (code, err) == (0, "")
        said.append(out.replace(name, "it"))
        monkeypatch.setattr("ddaudio.io.samples.IN_MEMORY_SAMPLES", 100)
        monkeypatch.setattr("ddaudio.models.framed.PIECE_SAMPLES", 1)
    assert said[0] == said[1]
    both = [soundfile.read(tmp_path / f"{name}.wav", dtype="int16")[0] for name in ("memory", "file")]
    assert np.abs(both[0].astype(int) - both[1]).max() <= 1  # what differs in the last bit of float32 may round elsewhere


# export and info


def test_export_agrees_in_csv_and_json(fitted: Path, tmp_path: Path) -> None:
    text = run("export", fitted)[1]
    rows = list(csv.DictReader(io.StringIO(text)))
    parsed = json.loads(run("export", fitted, "--format", "json")[1])
    assert [{name: value if name == "window" else float(value) for name, value in row.items()} for row in rows] == parsed
    columns = "signal track harmonic time_s frequency_hz amplitude phase_rad start_s end_s fade_in_s fade_out_s"
    assert list(rows[0]) == [*columns.split(), "window", "sample_rate", "n_samples", "n_signals"]
    assert {(row["window"], row["sample_rate"], row["n_samples"], row["n_signals"]) for row in parsed} == {
        ("hann", 8000, 2400, 2)
    }
    assert len(rows) == json.loads((fitted / "report.json").read_text())["model"]["n_components"]
    assert run("export", fitted, "--format", "csv", "--out", tmp_path / "a.csv") == (0, "", "")
    assert (tmp_path / "a.csv").read_text() == text


def test_a_reader_that_has_seen_enough_is_no_error(sound: Path, tmp_path: Path) -> None:
    assert run("fit", sound, "--out", tmp_path / "fit", "--steps", "0", "--partials", "30", "--frame", "0.02")[0] == 0
    assert len(run("export", tmp_path / "fit")[1]) > 100_000  # more than any pipe holds
    arguments = [*COMMAND, "export", str(tmp_path / "fit"), "--only", "waves"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"signal,track,harmonic,time_s")
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


def test_info_says_what_was_not_read() -> None:
    path = Path(__file__).parents[1] / "faults" / "damaged-page.ogg"
    facts = json.loads(run("info", path, "--json")[1])
    said = "damaged: decoding failed after 1.02023 s (1 of 4 Ogg pages have wrong checksums); 44992 samples were read"
    assert (facts["warnings"], facts["cut_short"], facts["samples"]) == ([said], True, 44_992)
    code, out, err = run("info", path)
    assert (code, err) == (0, "")
    assert f"warning {said}" in " ".join(out.split())


def test_info_on_a_recording(sound: Path) -> None:
    code, out, err = run("info", sound, "--json")
    facts = json.loads(out)
    samples = soundfile.read(sound)[0]
    assert (code, err) == (0, "")
    assert (facts["kind"], facts["sample_rate"], facts["channels"], facts["samples"]) == ("recording", 8000, 2, 2400)
    assert facts["duration_s"] == 0.3
    assert facts["peak_dbfs"] == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=1e-6)
    assert facts["rms_dbfs"] == pytest.approx(10 * np.log10((samples**2).mean()), abs=1e-4)
    assert (facts["cut_short"], facts["clipped_samples"], facts["warnings"]) == (False, 0, [])
    words = " ".join(run("info", sound)[1].split())
    assert "sample rate 8000 Hz" in words
    assert "duration 0.3 s" in words
    assert f"peak {facts['peak_dbfs']:.4g} dBFS" in words
    assert "32 bit float" in words


def test_info_on_what_is_too_long_for_memory_is_the_same(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = json.loads(run("info", sound, "--json")[1])
    monkeypatch.setattr("ddaudio.io.samples.IN_MEMORY_SAMPLES", 500)
    monkeypatch.setattr("ddaudio.io.samples.BLOCK_SAMPLES", 300)
    code, out, err = run("info", sound, "--json")
    assert (code, err) == (0, "")
    levels = {name: pytest.approx(facts[name], abs=1e-6) for name in ("peak_dbfs", "rms_dbfs")}  # sums in another order
    assert json.loads(out) == facts | levels


def test_info_on_a_model(fitted: Path) -> None:
    report = json.loads((fitted / "report.json").read_text())
    rows = json.loads(run("export", fitted, "--format", "json")[1])
    loudest = sorted((row["amplitude"] for row in rows), reverse=True)[:10]
    for path in (fitted, fitted / "model.safetensors"):
        code, out, err = run("info", path, "--json")
        facts = json.loads(out)
        assert (code, err) == (0, "")
        assert (facts["kind"], facts["model"], facts["partials"]) == ("model", "sine", len(rows))
        assert (facts["n_parameters"], facts["frames"]) == (
            report["model"]["n_parameters"],
            report["model"]["terms"][0]["frames"],
        )
        assert (facts["sample_rate"], facts["channels"], facts["samples"]) == (8000, 2, 2400)
        assert (facts["shortest_frame_s"], facts["longest_frame_s"]) == (0.02, 0.02)
        assert [row["amplitude"] for row in facts["strongest"]] == loudest
    words = " ".join(run("info", fitted)[1].split())
    assert "strongest 10 components" in words
    assert f"{loudest[0]:.5g}" in words


# the command as a whole


def test_every_setting_is_a_flag_and_every_flag_has_help() -> None:
    for name in ("fit", "render", "info", "export"):
        arguments = app[name].assemble_argument_collection(parse_docstring=True)
        shown = [argument for argument in arguments if argument.parse and argument.show]
        assert shown
        assert all(argument.parameter.help for argument in shown), name
    flags = {name for argument in app["fit"].assemble_argument_collection() for name in argument.names}
    assert {flag(name.rpartition(".")[2]) for name in FitOptions().flat()} <= flags


def test_the_help_of_a_flag_has_no_breaks_of_its_own() -> None:
    """Lines of the source end where its margin is; the help has a margin of its own. Only the list of networks has lines."""
    arguments = app["fit"].assemble_argument_collection(parse_docstring=True)
    helps = {argument.name: str(argument.parameter.help) for argument in arguments if argument.parse and argument.show}
    assert len(helps) > 20
    assert [name for name, text in helps.items() if text != " ".join(text.split())] == ["--model"]
    listed = helps["--model"].splitlines()[1:]
    assert [line.partition(":")[0] for line in listed] == list(NETWORKS)


def help_of(command: str, which: str = "--help") -> str:
    """Return the help of a command as one line, without frames."""
    code, out, err = run(command, which)
    assert (code, err) == (0, "")
    return " ".join(out.replace("│", " ").split())


def test_help_shows_units_defaults_and_choices() -> None:
    words = help_of("fit", "--help-all")
    assert (
        "--target-snr FLOAT SNR of the waves to reach with as few parameters as possible, -10 to 140 dB (default: 25 dB;" in words
    )
    assert "(default: hann; gate with leaves sine). [choices: hann, sine, triangle, gate]" in words
    places = [words.index(f"─ {panel} ─") for panel in ("Output", "Settings", "Grid settings", "Model settings")]
    assert places == sorted(places)


@pytest.mark.parametrize("command", ["fit", "batch", "compare", "search"])
def test_the_help_has_two_lengths(command: str) -> None:
    arguments = app[command].assemble_argument_collection(parse_docstring=True)
    flags = {argument.name for argument in arguments if argument.parse and argument.show and argument.name.startswith("--")}
    short, long = help_of(command), help_of(command, "--help-all")
    settings = {flag(name) for name in setting_groups()} & flags
    assert {name for name in flags if f" {name} " in f" {long} "} == flags
    shown = {name for name in flags if f" {name} " in f" {short} "}
    assert flags - shown <= settings - {flag(name) for name in COMMON}, "only the laboratory's settings are left out"
    assert "--help-all lists all settings." in short
    assert help_of(command) == short, "one long help does not change the next"


def test_the_first_help_of_a_fit_is_about_twenty_flags() -> None:
    words = help_of("fit").split("--help-all")[0]
    assert 18 <= len(set(re.findall(r"(?<!\S)--(?!no-)[a-z][a-z-]*", words))) <= 24


def test_help_names_flags_not_settings() -> None:
    words = help_of("fit", "--help-all")
    assert "as a share of a frame, 0 to 0.5; needs --frame (default: 0.5; 0 for double-dutch)." in words
    assert "[choices: gauss-newton, adam, sgd, lbfgs]" in words
    assert [name for name in FitOptions().flat() if "_" in name and name in words] == []
    assert "`" not in words


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OptionError(setting="budget", value=3, allowed="4 or more"), "--budget is 3; allowed: 4 or more"),
        (
            OptionError("but lengths are adaptive", setting="overlap", value=0.3, hint="give {frame_s} as well"),
            "--overlap is 0.3, but lengths are adaptive; give --frame as well",
        ),
        (
            OptionError(setting="whole", value=True, others={"frame_s": 1.0}, hint="give only one of the two"),
            "--whole is given and --frame is 1.0; give only one of the two",
        ),
        (OptionError(setting="together", value=False), "--no-together is given"),
        (
            OptionError(setting="losses", value="steps", verb="names", hint="use {optimiser=adam}, or {force=True}"),
            "--losses names 'steps'; use --optimiser adam, or --force",
        ),
        (OutputError("'{out}' holds a fit: seed, steps", hint="set {out}"), "'{out}' holds a fit: seed, steps; set --out"),
        (
            OptionError(setting="frame_s", value=9, allowed="0 to 5 s", hint="or {overlap}", source="'fit.toml'"),
            "'fit.toml': frame_s is 9; allowed: 0 to 5 s; or overlap",
        ),
    ],
)
def test_errors_are_printed_with_flags_where_they_name_settings(error: DdaudioError, said: str) -> None:
    assert in_flags(error) == said
    assert in_flags(pickle.loads(pickle.dumps(error))) == said, "errors of workers keep their facts"


def test_version_and_help_of_the_whole() -> None:
    assert run("--version") == (0, f"{ddaudio.__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    assert all(f"│ {name} " in out for name in ("fit", "render", "info", "export", "--install-completion"))


def test_completion_knows_commands_and_flags() -> None:
    script = app.generate_completion(shell="bash")
    assert all(word in script for word in ("render", "--target-snr", "--optimiser", "lbfgs", "warm-up"))


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["fit", "a.wav", "--steps", "-1"], ["fit", "--x"]])
def test_help_and_refused_options_do_not_import_what_is_slow(arguments: list[str]) -> None:
    script = f"""
import sys
from ddaudio_cli import main
main({arguments})
print("slow:", {{"torch", "numpy", "scipy", "soundfile"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "slow: set()" in done.stdout


def test_the_installed_command_exits_as_its_code_says(sound: Path, tmp_path: Path) -> None:
    refused = [*COMMAND, "fit", str(sound), "--steps", "-1"]
    done = subprocess.run(refused, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ddaudio: error: --steps is -1; allowed: 0 to 1000000\n"
    arguments = [*COMMAND, "fit", str(sound), *QUICK]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")  # no progress bar where nobody watches
    assert sorted(contents(tmp_path / "chirp-fit")) == FILES


def test_a_bug_is_not_hidden(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("ddaudio.fitting.stagewise.fit_blocks", broken)
    with pytest.raises(ZeroDivisionError):
        run("fit", sound, "--out", tmp_path / "fit")
    assert contents(tmp_path) == {}
