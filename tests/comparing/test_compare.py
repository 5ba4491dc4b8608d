"""Comparisons: what is compared, what is found, what is done again; fitted by this process, which is a crew as good as any."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from axe_playwright_python.sync_playwright import Axe
from browser import opened
from commands import contents, run
from comparisons import QUICK
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser
from sounds import RATE, noise, tones

import ddaudio
from ddaudio.analysis.loudest import loudest
from ddaudio.comparing import CompareOptions, CompareProgress, Comparison, worker
from ddaudio.comparing import run as comparing_run
from ddaudio.comparing.runs import Curve, Run
from ddaudio.comparing.summary_rows import Spread
from ddaudio.errors import OptionError, OutputError, RecordingError
from ddaudio.io.audio import Recording
from ddaudio.parallel.clusters import make_executor
from ddaudio.parallel.executors import SerialExecutor, WorkerKilledError


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


# What is compared


def test_entries_are_networks_times_losses_unless_a_variant_says_which(tmp_path: Path) -> None:
    file = tmp_path / "variants.toml"
    file.write_text('[late]\nschedule = "rise"\n[wide]\nmodel = "siren"\nlosses = "mae"\nbudget = 100\n')
    plain = CompareOptions(models="sine, cascade", losses="mse,mse+pdl=0.5").entries({"learning_rate": 0.01})
    assert [(one.model, one.losses) for one in plain] == [
        ("sine", "mse"),
        ("sine", "mse+pdl=0.5"),
        ("cascade", "mse"),
        ("cascade", "mse+pdl=0.5"),
    ]
    for one in plain:
        training = one.options.training
        assert (training.optimiser, training.exchanges, training.tolerance, training.learning_rate) == ("adam", 0, 0, 0.01)
        assert not one.has_goal
    varied = CompareOptions(variants=str(file), models="sine,cascade").entries({"partials": 3})
    assert [one.name for one in varied] == ["late, sine, mse=1", "late, cascade, mse=1", "wide, siren, mae"]
    assert [(one.variant, one.model, one.options.training.schedule, one.options.model.budget) for one in varied][-1] == (
        "wide",
        "siren",
        "warm-up",
        100,
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"models": "sine,sien"},
            "models names 'sien'; allowed: sine, double-dutch, cascade, surrogate, stack, siren, tracks, noise; did you mean",
        ),
        ({"losses": "mse,msee"}, "losses names 'msee', which is unknown; did you mean 'mse'"),
        ({"losses": "mse+pdl:neer"}, "unknown variant 'neer'; did you mean 'near'"),
        ({"losses": "mse+pdl=-1"}, "'pdl', with the weight -1; allowed: finite weights above 0"),
        ({"losses": "mse=0"}, "'mse', with the weight 0; allowed: finite weights above 0"),
        ({"models": "sine,,siren"}, "models is 'sine,,siren'; allowed: names separated by commas"),
        ({"models": "sine,sine"}, "models names 'sine', twice"),
        ({"losses": "mse,mse=1"}, "the comparison has 'sine, mse=1' twice"),
        ({"seeds": 0}, "seeds is 0; allowed: 1 to 1000"),
        ({"seeds": 1.5}, "seeds is 1.5; allowed: whole numbers from 1 to 1000"),
        ({"time_s": 0}, "time_s is 0; allowed: 0.1 to 86400"),
        ({"stretch_s": -1}, "stretch_s is -1; allowed: 0.01"),
        ({"workers": 0}, "workers is 0; allowed: 1 to 1024"),
        ({"workers": 2, "scheduler": "tcp://x"}, "give only one of the two"),
        ({"schedule": "raise"}, "schedule is 'raise'; allowed: cosine, constant, warm-up, rise; did you mean 'rise'"),
        ({"modle": "sine"}, "there is no setting 'modle'; did you mean 'model'"),
        ({"model": "sine"}, "model is 'sine', but a comparison sets it itself; give models, losses and seeds"),
        ({"budget": 100, "partials": 2}, "give only one of the two"),
        (
            {"optimiser": "gauss-newton", "losses": "mse,phase"},
            "optimiser is 'gauss-newton' and losses is 'phase', but phase has no curvature, which gauss-newton needs",
        ),
        ({"variants": "missing.toml"}, "there is no file of variants 'missing.toml'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_done(
    settings: dict[str, Any], words: str, sound: Path, tmp_path: Path
) -> None:
    before = contents(tmp_path)
    with pytest.raises(OptionError) as refusal:
        ddaudio.compare(sound, tmp_path / "out", **{"models": "sine", "losses": "mse", **settings})
    assert words in str(refusal.value)
    assert contents(tmp_path) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no variant"),
        ("[", "cannot be read as TOML"),
        ("steps = 3\n", "has 'steps' outside of any table"),
        ("[a]\nstep = 3\n", "has 'step' in variant 'a', which is not a setting of it; did you mean 'steps'"),
        ("[a]\nseed = 3\n", "seeds are those of the comparison"),
        ("[a]\nsteps = -3\n", "variant 'a': steps is -3"),
        ("[a]\nsteps = 3\n[b]\nsteps = 3\n", "the comparison has 'b, sine, mse' twice"),
    ],
)
def test_bad_variants_are_refused(text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "variants.toml"
    file.write_text(text)
    with pytest.raises(OptionError) as refusal:
        CompareOptions(variants=str(file), models="sine", losses="mse").entries({})
    assert words in str(refusal.value)


def test_bad_recordings_and_outputs_are_refused_before_anything_is_done(sound: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound")
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    before = contents(tmp_path)
    for recordings, output, error, words in (
        ([sound, text], "out", RecordingError, "text.wav"),
        ([tmp_path / "none.wav"], "out", RecordingError, "none.wav"),
        ([sound, sound], "out", OptionError, "is given twice"),
        ([], "out", OptionError, "no recordings"),
        ([sound], "other", OutputError, "holds something other than a comparison"),
        ([sound], "text.wav", OutputError, "is a file, not a folder"),
        ([sound], "text.wav/out", OutputError, "cannot be written to"),
        ([sound], 300 * "x", OutputError, "cannot be written to"),
    ):
        with pytest.raises(error, match=words):
            ddaudio.compare(recordings, tmp_path / output, **QUICK)
        assert contents(tmp_path) == before
        assert not (tmp_path / "out").exists()


@given(st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=40), st.integers(1, 50))
def test_the_loudest_stretch_is_the_loudest(samples: list[float], length: int) -> None:
    found = Recording(torch.tensor([samples, samples[::-1]], dtype=torch.float32), RATE)
    first, count = loudest(found, length)
    assert count == min(length, len(samples))
    power = found.samples.double().square().sum(0)  # type: ignore[union-attr]
    energies = [float(power[place : place + count].sum()) for place in range(len(samples) - count + 1)]
    # Sums of other orders differ by rounding of float64.
    assert energies[first] == pytest.approx(max(energies), rel=1e-12, abs=1e-15)


# What is found


def test_spreads_and_steps_to_most_of_the_gain() -> None:
    assert Spread.of([3.0, None, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert Spread.of([None]) is None
    curve = Curve([0, 10, 20, 30], [0.5, 1.0, 1.5, 2.0], [10.0, 2.0, 1.0, 0.0], [0.0, 1.0, None, 3.0])
    assert [curve.steps_to(share) for share in (0.79, 0.8, 0.9, 0.91, 1.0)] == [10, 10, 20, 30, 30]
    assert Curve([0, 10], [0, 1], [1.0, 1.0], [None, None]).steps_to(0.9) is None, "no gain"
    assert Curve([0, 10, 10, 20], [0, 1, 2, 3], [9.0, 3.0, 8.0, 1.0], [None] * 4).steps_to(0.9) is None, "two runs of training"
    assert Curve([], [], [], []).steps_to(0.9) is None


def comparison(*runs: Run) -> Comparison:
    fits = {"initialisation": "random"}
    how = {"seeds": 2, "whole": False, "stretch_s": 1.0, "time_s": 5.0}
    about = {"recordings": [{"name": "a"}], "settings": {"compare": how, "fits": fits}, "kinds": [{"settings": fits}]}
    return Comparison("out", about, runs, (None,) * len(runs))


def test_the_table_has_medians_and_ranges_and_says_what_is_no_fit() -> None:
    kinds = [("a", "", "sine", "mse"), ("a", "", "sine", "mse|x")]
    runs = [
        Run(*kinds[0], seed, "converged", "", metrics={"snr_db": snr}, n_parameters=7) for seed, snr in enumerate((3.0, 1.0, 2.0))
    ]
    runs += [Run(*kinds[1], 0, "not fitted", "", metrics={"snr_db": 0.1}), Run(*kinds[1], 1, "x", "").failure("no\nroom")]
    found = comparison(*runs)
    heads, cells = found.table()
    assert heads[:3] == ["network", "loss", "SNR (dB)"]
    assert cells[0][:3] == ["sine", "mse", "2.00 (1.00 to 3.00)"]
    assert cells[0][heads.index("parameters")] == "7"
    assert cells[0][heads.index("LSD (dB)")] == "-"
    assert cells[1][:3] == ["sine", "mse|x", "0.10"]
    assert [row[-1] for row in cells] == ["", "1 of 2 not fitted; 1 of 2 failed: no room"]
    assert found.failed == 1
    lines = found.markdown().splitlines()
    assert lines[1].startswith("| --- | --- | ---: |")
    assert lines[3].startswith("| sine | mse\\|x | 0.10 |")
    words = "a: the loudest 1 s, 5 s of one thread a fit, 2 seeds; initialisation random. Medians, and ranges over seeds."
    words += " Best by SNR: sine, mse (2.00 dB)."
    assert found.in_words() == words
    assert [row["snr_db"] for row in csv.DictReader(io.StringIO(found.csv()["table.csv"]))] == ["2.0", "0.1"]


def test_scores_are_columns_only_if_some_fit_has_them() -> None:
    kinds = [("a", "", "sine", "mse"), ("a", "", "sine+noise", "mse")]
    values = [{"snr_db": 25.0, "erb_db": 9.0, "zimtohrli": 2.6}, {"snr_db": 20.0, "erb_db": 2.7, "zimtohrli": 3.9}]
    plain = [{name: value for name, value in some.items() if name != "zimtohrli"} for some in values]
    controls = {"zimtohrli_silence": 1.4, "zimtohrli_white": 1.6}
    without, having = (
        comparison(*(Run(*kind, 0, "converged", "", metrics=some) for kind, some in zip(kinds, metrics, strict=True)))
        for metrics in (plain, [some | controls for some in values])
    )
    assert not any("MOS" in head for head in without.table()[0])
    heads, cells = having.table()
    shown = [heads.index(f"Zimtohrli MOS{what}") for what in ("", " of silence", " of white noise")]
    assert [[row[place] for place in shown] for row in cells] == [["2.60", "1.40", "1.60"], ["3.90", "1.40", "1.60"]]
    assert not any("ViSQOL" in head for head in heads)
    assert having.n_words == without.n_words == 1
    best = [("erb_db", "sine+noise, mse", 2.7), ("snr_db", "sine, mse", 25.0)]
    assert without.best == best
    assert having.best == [*best, ("zimtohrli", "sine+noise, mse", 3.9)]
    assert "Best by ERB distance: sine+noise, mse (2.70 dB); by SNR: sine, mse (25.00 dB)." in without.in_words()
    assert having.contents()["best"][2] == {"measure": "zimtohrli", "name": "sine+noise, mse", "value": 3.9}


def test_over_several_recordings_the_table_ends_with_all_of_them() -> None:
    runs = [
        Run(name, "", model, "mse", seed, "converged", "", metrics={"snr_db": snr + seed + (model == "siren")})
        for name, snr in (("a", 1.0), ("b", 10.0), ("c", 4.0))
        for model in ("sine", "siren")
        for seed in (0, 1, 2)
    ]
    lines = comparison(*runs).lines
    assert [line.recording for line in lines] == ["a", "a", "b", "b", "c", "c", "all 3", "all 3"]
    assert [line.spreads["snr_db"] for line in lines[-2:]] == [(5.0, 2.0, 11.0), (6.0, 3.0, 12.0)]
    assert [line.fits for line in lines[-2:]] == [9, 9]


def test_a_fit_of_a_comparison_is_a_fit(sound: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    found = ddaudio.compare(sound, output, models="sine,siren", losses="mse,mae", seeds=2, **QUICK)
    assert [(*run.kind[2:], run.seed) for run in found.runs] == [
        (model, loss, seed) for model in ("sine", "siren") for loss in ("mse", "mae") for seed in (0, 1)
    ]
    numbers = round(0.06 * 2400)
    for run_ in found.runs:
        folder = output / str(run_.folder)
        again = ddaudio.fit(
            sound, model=run_.model, losses=run_.losses, seed=run_.seed, budget=numbers, optimiser="adam", exchanges=0,
            tolerance=0.0, **QUICK,
        )  # fmt: skip
        report = json.loads((folder / "report.json").read_text())
        assert (run_.status, run_.n_parameters, run_.steps) == (again.status, again.n_parameters, 4)
        # Threads may differ, which changes the order of sums in float32.
        assert run_.snr_db == pytest.approx(again.snr_db, abs=1e-3)
        assert run_.snr_db == report["metrics"]["snr_db"]["value"]
        assert run_.metrics["lsd_db"] == report["metrics"]["lsd_db"]["value"]
        curve = found.curves[found.runs.index(run_)]
        assert curve is not None
        looks = report["training"]["stages"][0]["blocks"][0][0]["evaluations"]
        assert curve.steps == [look["step"] for look in looks] == [0, 2, 4]
        assert curve.losses == [sum(look["terms"].values()) for look in looks]
        assert curve.seconds == sorted(curve.seconds)
        assert run_.start_s == curve.seconds[0]
    assert {path.name for path in output.iterdir()} == {
        "fits", "paces.json", "compare.json", "table.csv", "runs.csv", "curves.csv", "table.md", "curves.png", "index.html",
    }  # fmt: skip
    assert len(rows(output / "runs.csv")) == 8
    assert len(rows(output / "table.csv")) == 4
    assert len(rows(output / "curves.csv")) == 8 * 3
    kept = json.loads((output / "compare.json").read_text())
    assert kept["runs"] == [json.loads(json.dumps(run_.__dict__)) for run_ in found.runs]
    assert (output / "table.md").read_text() == found.markdown()


def test_a_cluster_finds_what_one_process_finds(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"models": "sine", "losses": "mse,mae", "seeds": 1, **QUICK}
    here = ddaudio.compare(sound, tmp_path / "here", **asked)
    monkeypatch.setattr(comparing_run, "make_executor", make_executor)
    cluster = ddaudio.compare(sound, tmp_path / "cluster", workers=2, **asked)
    for one, other in zip(cluster.runs, here.runs, strict=True):
        models = [Path(found.output, str(run.folder), "model.safetensors") for found, run in ((cluster, one), (here, other))]
        assert models[0].read_bytes() == models[1].read_bytes(), "both by one thread"


def test_only_what_is_missing_is_made(made: list[str], sound: Path, tmp_path: Path) -> None:
    def compare(**settings: Any) -> Comparison:
        made.clear()
        asked = {"models": "sine", "losses": "mse,mae", "seeds": 2, **QUICK, **settings}
        return ddaudio.compare(sound, tmp_path / "out", **asked)

    first = compare()
    assert len(made) == 4
    assert compare().runs == first.runs
    assert made == []
    assert compare(seeds=3).runs[:2] == first.runs[:2]
    assert [name.split("/")[1] for name in made] == ["seed-2", "seed-2"]
    compare(losses="mse,huber")
    assert [name.split("-")[1] for name in made] == ["huber", "huber"]
    compare(steps=5)
    assert len(made) == 4, "with other settings"
    compare(steps=5, force=True)
    assert len(made) == 4
    curve = tmp_path / "out" / str(first.runs[0].folder) / worker.CURVE
    compare(html=True)
    assert len(made) == 4, "pages are asked for"
    assert (curve.parent / "report.html").exists()
    for damage in ("{", "[]", '{"key": 1}', curve.read_text()[:-1], curve.read_text().replace('"steps": [0,', '"steps": [')):
        curve.write_text(damage)
        compare()
        assert len(made) == 1, damage
    soundfile.write(sound, np.linspace(0, 0.5, 2400), 8000)
    compare()
    assert len(made) == 4, "another sound"


def test_what_fails_is_a_line_and_ends_nothing(sound: Path, tmp_path: Path) -> None:
    silent = tmp_path / "noise.wav"
    soundfile.write(silent, noise(0.3)[0].numpy(), RATE)
    variants = tmp_path / "variants.toml"
    variants.write_text(
        '[good]\nbudget = 100\n[few]\nmodel = "siren"\nbudget = 4\n[lost]\ninitialisation = "random"\nbudget = 60\nsteps = 0\n'
    )
    settings = {name: value for name, value in QUICK.items() if name != "steps"}
    found = ddaudio.compare(
        [sound, silent], tmp_path / "out", variants=str(variants), models="sine", losses="mse", seeds=1, time_s=0.1, **settings
    )
    by_variant = {(line.recording, line.variant): line for line in found.lines}
    assert len(by_variant) == 9
    good, few, lost = (by_variant["noise.wav", name] for name in ("good", "few", "lost"))
    assert (good.fits, good.failed) == (1, 0)
    assert (few.fits, few.failed) == (0, 1)
    assert "budget is 4" in few.remark
    assert lost.remark == "1 of 1 not fitted"
    assert found.failed == 2
    code, out, err = run("compare", sound, "--out", tmp_path / "out2", "--models", "siren", "--budget", "4", "--seeds", "1")
    assert code == 1
    assert "1 of 1 failed" in out
    assert "error: tone.wav, siren, mse, seed 0: budget is 4" in err.replace("\n", " ")


class KillingExecutor(SerialExecutor):
    """An executor whose workers are killed at the first tries of each task."""

    def __init__(self, times: int) -> None:
        self.times = times

    def run(self, function: Callable[[Any], Any], tasks: Iterable[Any], on_done: Any, on_tick: Any = None, **how: Any) -> None:
        tries: dict[int, int] = {}

        def killed(task_: Any) -> Any:
            tries[id(task_)] = tries.get(id(task_), 0) + 1
            if tries[id(task_)] <= self.times:
                raise WorkerKilledError
            return function(task_)

        super().run(killed, tasks, on_done, on_tick, **how)


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize(("times", "failed"), [(2, 0), (3, 2)])
def test_a_fit_whose_worker_is_killed_is_tried_again(
    times: int, failed: int, timed: bool, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing_run, "make_executor", contextmanager(lambda *_: iter([KillingExecutor(times)])))
    asked = {"frame_s": 0.05, "time_s": 0.1} if timed else QUICK
    found = ddaudio.compare(sound, tmp_path / "out", models="sine", losses="mse,mae", seeds=1, **asked)
    assert found.failed == failed
    if failed:
        assert "killed in each of 3 attempts" in found.runs[0].reason


def test_an_interrupt_leaves_what_is_done_and_the_next_run_goes_on(made: list[str], sound: Path, tmp_path: Path) -> None:
    def stop(progress: CompareProgress) -> None:
        if progress.stage == "fitting" and progress.done == 1:
            raise KeyboardInterrupt

    asked = {"models": "sine", "losses": "mse,mae", "seeds": 2, **QUICK}
    found = ddaudio.compare(sound, tmp_path / "out", progress=stop, **asked)
    assert found.stopped
    assert [run.status == "failed" for run in found.runs] == [False, True, True, True]
    assert found.runs[1].reason == "not started"
    assert "comparison was interrupted" in found.in_words()
    assert rows(tmp_path / "out" / "runs.csv")[0]["status"] == found.runs[0].status
    made.clear()
    told: list[CompareProgress] = []
    whole = ddaudio.compare(sound, tmp_path / "out", progress=told.append, **asked)
    assert len(made) == 3
    assert whole.runs[0] == found.runs[0]
    assert not whole.failed
    fitting = [(one.done, one.total) for one in told if one.stage == "fitting"]
    assert fitting[-1] == (3, 3)
    assert told[-1].stage == "writing"


def test_odd_sounds_are_compared(tmp_path: Path) -> None:
    sounds = {
        "silence.wav": torch.zeros(1, 800),
        "one.wav": torch.ones(1, 1) / 2,
        "dc.wav": torch.full((1, 900), 0.25),
        "stereo.wav": torch.cat([tones([300.0], [0.5], [0.0], 0.2), noise(0.2)]),
    }
    for name, samples in sounds.items():
        soundfile.write(tmp_path / name, samples.T.numpy(), RATE, subtype="FLOAT")
    found = ddaudio.compare(
        [tmp_path / name for name in sounds], tmp_path / "out", models="sine", losses="mse+mss", seeds=1, **QUICK
    )
    assert [run.recording for run in found.runs] == list(sounds)
    assert found.failed == 0
    by_name = {run.recording: run for run in found.runs}
    assert by_name["silence.wav"].snr_db is None
    assert len(rows(tmp_path / "out" / "runs.csv")) == 4


def test_two_recordings_of_one_name_and_stretches_of_their_own(tmp_path: Path) -> None:
    name = "雨 $x$ ^{.wav"  # neither a formula nor a letter without a glyph may end the drawing
    for place in ("a", "b"):
        loud = np.concatenate([np.zeros(4000), 0.5 * np.sin(np.arange(4000) * (0.2 if place == "a" else 0.4)), np.zeros(800)])
        (tmp_path / place).mkdir()
        soundfile.write(tmp_path / place / name, loud, RATE, subtype="FLOAT")
    asked = {"models": "sine", "losses": "mse", "seeds": 1, **QUICK}
    found = ddaudio.compare([tmp_path / "a" / name, tmp_path / "b" / name], tmp_path / "out", stretch_s=0.25, **asked)
    assert [run.recording for run in found.runs] == [f"a/{name}", f"b/{name}"]
    assert len({run.folder for run in found.runs}) == 2
    facts = found.about["recordings"][0]
    assert 0.45 <= facts["begin_s"] <= 0.76
    assert facts["duration_s"] == 0.25
    (cut,) = (path for path in (tmp_path / "out" / "recordings").iterdir() if facts["sha256"][:8] in path.name)
    stretch, _ = soundfile.read(cut, dtype="float32")
    whole, _ = soundfile.read(tmp_path / "a" / name, dtype="float32")
    first = round(facts["begin_s"] * RATE)
    assert np.array_equal(stretch, whole[first : first + 2000]), "the samples as they are"
    entire = ddaudio.compare([tmp_path / "a" / name], tmp_path / "all", whole=True, **asked)
    assert entire.about["recordings"][0]["duration_s"] == 1.1
    assert not (tmp_path / "all" / "recordings").exists()


# The command


def test_the_command_prints_the_table_and_exits_0(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--seeds", "1", "--losses", "mse,mae", "--steps", "3", "--frame", "0.05", "--workers", "2"]
    code, out, err = run("compare", sound, "--models", "sine", *flags)
    assert code == 0
    assert "tone.wav: the loudest 1 s, 3 steps a fit, 1 seed; frame_s 0.05." in " ".join(out.split())
    assert all(word in out for word in ("network", "loss", "SNR (dB)", "mae", "wrote tone-compare: compare.json"))
    assert "ddaudio: fitting: 0/2 fits" in err
    code, out, _ = run("compare", sound, "--models", "sine", *flags, "--json", "--quiet")
    assert code == 0
    kept = json.loads(out)
    assert [line["losses"] for line in kept["table"]] == ["mse", "mae"]
    assert kept["settings"]["fits"] == {"steps": 3, "frame_s": 0.05}
    settings = Path("tone-compare") / kept["runs"][0]["folder"] / "fit.toml"
    more = ["--config", settings, "--models", "sine", "--seeds", "1", "--budget", "50", "--quiet"]
    code, out, _ = run("compare", sound, "--out", "again", *more)
    assert (code, out) == (0, "")
    fits = json.loads(Path("again/compare.json").read_text())["settings"]["fits"]
    assert (fits["budget"], fits["steps"], "seed" in fits) == (50, 3, False)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--models", "sien"], "did you mean 'siren'"),
        (["--seeds", "0"], "--seeds is 0; allowed: 1 to 1000"),
        (["--time", "0"], "--time is 0.0; allowed: 0.1 to 86400 s"),
        (["--seed", "3"], "--seed"),
        (["--model", "sine"], "--model"),
        (["--variants", "none.toml"], "there is no file of variants"),
    ],
)
def test_the_command_refuses_in_one_line(flags: list[str], words: str, sound: Path, tmp_path: Path) -> None:
    code, out, err = run("compare", sound, "--out", tmp_path / "out", *flags)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_the_page_shows_table_curves_and_fits(sound: Path, tmp_path: Path, browser: Browser) -> None:
    hostile = tmp_path / "<script>window.hacked = 1<.wav"
    sound.rename(hostile)
    ddaudio.compare(hostile, tmp_path / "out", models="sine", losses="mse,mae", seeds=2, html=True, **QUICK)
    for scheme in ("light", "dark"):
        with opened(browser, tmp_path / "out" / "index.html", color_scheme=scheme) as page:
            assert page.run("window.hacked") is None
            assert all(request.startswith((tmp_path / "out").as_uri()) for request in page.requests)
            assert page.page.locator("h1").inner_text() == "2 kinds of fits"
            assert page.page.locator(".compared tbody tr").count() == 2
            assert page.page.locator("#fits tbody tr").count() == 4
            assert page.run("document.querySelector('figure img').naturalWidth") > 500
            picture = page.picture("figure img", tmp_path)
            assert np.ptp(picture.reshape(-1, 3), axis=0).max() > 100
            found = Axe().run(page.page).response["violations"]
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
            page.page.get_by_label("Filter").fill("mae")
            assert page.page.locator("#fits tbody tr:visible").count() == 2
    with opened(browser, tmp_path / "out" / "index.html", viewport={"width": 360, "height": 700}) as page:
        assert page.run("document.documentElement.scrollWidth") <= 360


def test_real_recordings_are_compared(shared_recordings: Path, tmp_path: Path) -> None:
    paths = [shared_recordings / "barks" / "1-100032-A.ogg", shared_recordings / "digits" / "0_george_0.wav"]
    found = ddaudio.compare(paths, tmp_path / "out", models="sine,siren", losses="mse", seeds=1, steps=20, stretch_s=0.3)
    snrs_db = {(run.recording, run.model): run.snr_db for run in found.runs}
    for name in ("barks/1-100032-A.ogg", "digits/0_george_0.wav"):
        sine, siren = snrs_db[name, "sine"], snrs_db[name, "siren"]
        # At equal numbers, partials that start at peaks are worth more than 20 steps of siren by 10 dB at least.
        assert sine is not None
        assert siren is not None
        assert sine > siren + 10


def test_the_variants_of_the_questions_are_variants() -> None:
    files = sorted((Path(__file__).parents[2] / "docs" / "questions").glob("*.toml"))
    assert len(files) == 7
    for file in files:
        entries = CompareOptions(variants=str(file), models="cascade", losses=None).entries({})
        assert len({entry.variant for entry in entries}) == len(entries) >= 3


@pytest.mark.parametrize("whole", [True, False])
def test_what_a_recording_lacks_is_told(whole: bool, sound: Path, tmp_path: Path) -> None:
    """The excerpt has no warnings of its own."""
    cut = tmp_path / "cut.wav"
    cut.write_bytes(sound.read_bytes()[:-1000])
    found = ddaudio.compare(
        [sound, cut], tmp_path / "out", models="sine", losses="mse", seeds=1, whole=whole, stretch_s=0.1, **QUICK
    )
    (warning,) = found.warnings
    assert warning.startswith("cut.wav: truncated")
    assert warning in found.in_words()
    assert warning in (tmp_path / "out/index.html").read_text(encoding="utf-8")
    recordings = json.loads((tmp_path / "out/compare.json").read_text(encoding="utf-8"))["recordings"]
    assert [len(one["warnings"]) for one in recordings] == [0, 1]
    words = "--models", "sine", "--losses", "mse", "--seeds", "1", "--steps", "1", "--frame", "0.05"
    code, _, err = run("compare", cut, "--out", tmp_path / "two", *words, "--quiet")
    assert code == 0
    assert err.startswith("ddaudio: warning: cut.wav: truncated")


def test_names_in_tables_are_neither_formulas_nor_control_characters(tmp_path: Path) -> None:
    for name in ("=1+1.wav", "a\x1b[31m.wav"):
        soundfile.write(tmp_path / name, noise(0.2)[0].numpy(), RATE)
    sounds = [tmp_path / "=1+1.wav", tmp_path / "a\x1b[31m.wav"]
    found = ddaudio.compare(sounds, tmp_path / "out", models="sine", losses="mse", seeds=1, **QUICK)
    for name in ("table.csv", "runs.csv", "curves.csv"):
        text = found.csv()[name]
        assert "\n'=1+1.wav," in text
        assert "\na\\x1b[31m.wav," in text
    assert "\x1b" not in found.markdown()
