"""A report in words: what is said is what the report holds, doubts are never passed over, and a hostile name stays a name."""

import copy
import random
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sounds import RATE, noise, pluck, tones
from sounds import fit_waves as fit

from ddaudio.io.audio import Recording
from ddaudio.metrics.measure import measure
from ddaudio.metrics.registry import METRICS
from ddaudio.options import FitOptions, GridOptions, ModelOptions, OutputOptions, TrainingOptions, setting_docs
from ddaudio.report import build, text, training_curves

Report = dict[str, Any]


@pytest.fixture(scope="module")
def plucked() -> Report:
    return build(fit(pluck(0.2), steps=0))


@pytest.fixture
def report(plucked: Report) -> Report:
    """A report without doubts: 41.26 dB where 40 dB were asked for."""
    made = copy.deepcopy(plucked)
    made |= {"status": "converged", "warnings": [], "goal": {"name": "target_snr_db", "asked": 40.0, "reached": True}}
    made["metrics"]["snr_db"] |= {"value": 41.26, "reason": None}
    made["metrics"]["erb_db"] |= {"value": 3.5, "reason": None}
    made["baseline"] |= {"snr_db": 35.0, "reason": None}
    made["model"]["n_parameters"] = 1234
    return made


def undefined(report: Report, reason: str) -> Report:
    report["metrics"]["snr_db"] |= {"value": None, "reason": reason}
    return report


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_a_fit_without_doubts_is_good(report: Report) -> None:
    found = text.verdict(report)
    assert found == text.Verdict("good", "Goal reached: 41.3 dB SNR (target 40 dB)", "No warnings.")


@pytest.mark.parametrize("status", ["converged", "step limit", "stopped", "not trained"])
@pytest.mark.parametrize(("count", "trust"), [(1, "1 warning."), (2, "2 warnings."), (3, "3 warnings.")])
def test_doubts_are_counted(report: Report, status: str, count: int, trust: str) -> None:
    report |= {"status": status, "warnings": ["clipped"] * count}
    found = text.verdict(report)
    assert (found.rating, found.trust) == ("doubtful", trust)
    assert found.headline == "Goal reached: 41.3 dB SNR (target 40 dB)", "warnings do not change the headline"


@pytest.mark.parametrize("goal", ["budget", "partials"])
def test_a_rough_fit_is_doubtful_where_no_snr_was_asked_for(report: Report, goal: str) -> None:
    """10^(-5.5 / 20) is 0.53. Who asks for 5 dB and gets them has what was asked for."""
    report["goal"] = {"name": goal, "asked": 8, "reached": True}
    report["metrics"]["snr_db"]["value"] = 5.5
    found = text.verdict(report)
    assert (found.rating, found.trust) == ("doubtful", "Low SNR: the residual has 53% of the original's amplitude.")
    report["metrics"]["snr_db"]["value"] = text.ROUGH_DB
    assert text.verdict(report).rating == "good"
    report["goal"] = {"name": "target_snr_db", "asked": 5.0, "reached": True}
    report["metrics"]["snr_db"]["value"] = 5.5
    assert text.verdict(report).rating == "good"


def test_levels_far_from_those_of_the_recording_are_doubtful_whatever_the_snr(report: Report) -> None:
    report["metrics"]["erb_db"]["value"] = 8.25
    found = text.verdict(report)
    assert (found.rating, found.trust) == ("doubtful", "Audible levels differ: the ERB distance is 8.2 dB.")
    report["metrics"]["erb_db"]["value"] = text.FAR_ERB_DB
    assert text.verdict(report).rating == "good"


@pytest.mark.parametrize("warnings", [[], ["not fitted: the model says silence"]])
@pytest.mark.parametrize(("status", "word"), [("not fitted", "Not fitted"), ("diverged", "Diverged")])
def test_a_failed_fit_is_bad_whatever_it_reached(report: Report, status: str, word: str, warnings: list[str]) -> None:
    report |= {"status": status, "warnings": warnings}
    assert text.verdict(report) == text.Verdict("bad", f"{word}: 41.3 dB SNR", "Do not trust this fit.")
    told = text.verdict(undefined(report, "the target is digital silence"))
    assert told == text.Verdict("bad", f"{word}: SNR undefined, the target is digital silence", "Do not trust this fit.")


GOALS: dict[str, tuple[Report, str]] = {
    "reached": ({"name": "target_snr_db", "asked": 40.0, "reached": True}, "Goal reached: 41.3 dB SNR (target 40 dB)"),
    "missed": ({"name": "target_snr_db", "asked": 62.5, "reached": False}, "Goal missed: 41.3 dB SNR (target 62.5 dB)"),
    "budget": ({"name": "budget", "asked": 1250, "reached": True}, "41.3 dB SNR with 1,234 parameters (budget 1,250)"),
    "partials": (
        {"name": "partials", "asked": 8, "reached": True},
        "41.3 dB SNR with 1,234 parameters (8 partials per frame)",
    ),
}


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("warnings", [[], ["clipped"]])
def test_the_headline_answers_the_goal(report: Report, goal: str, warnings: list[str]) -> None:
    report |= {"warnings": warnings, "goal": GOALS[goal][0]}
    assert text.verdict(report).headline == GOALS[goal][1]


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("reason", ["the target is digital silence", "exact: the residual is zero"])
def test_an_undefined_snr_is_no_failure(report: Report, goal: str, reason: str) -> None:
    report["goal"] = GOALS[goal][0]
    found = text.verdict(undefined(report, reason))
    assert (found.rating, found.headline) == ("good", f"Nothing left to fit: {reason}")


def test_verdicts_of_fits_agree_with_what_was_fitted() -> None:
    silent = text.verdict(build(fit(Recording(torch.zeros(1, 400), RATE))))
    assert silent.headline == "Nothing left to fit: the target is digital silence"
    assert silent.rating != "bad"
    hissing = text.verdict(build(fit(Recording(noise(0.2), RATE), budget=4, steps=0)))
    assert hissing.rating == "bad"
    assert hissing.headline.startswith("Not fitted: 0.")
    budget = fit(pluck(0.2), budget=60, steps=0)
    assert text.verdict(build(budget)).headline == (
        f"{budget.snr_db:.1f} dB SNR with {budget.n_parameters} parameters (budget 60)"
    )
    each = build(fit(pluck(0.2), partials=2, steps=0))
    assert text.verdict(each).headline.endswith("parameters (2 partials per frame)")
    short = build(fit(pluck(0.2), target_snr_db=60, max_parameters_per_sample=0.05, steps=0))
    assert text.verdict(short).headline.startswith("Goal missed: ")
    assert text.verdict(short).rating == "doubtful"


# --- beside the baseline ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (41.26, "6.3 dB better than the MDCT baseline at equal size (35.0 dB)"),
        (35.0, "0.0 dB better than the MDCT baseline at equal size (35.0 dB)"),
        (22.5, "12.5 dB worse than the MDCT baseline at equal size (35.0 dB)"),
        (-3.0, "38.0 dB worse than the MDCT baseline at equal size (35.0 dB)"),
    ],
)
def test_the_fit_is_compared_with_the_baseline(report: Report, ours: float, said: str) -> None:
    report["metrics"]["snr_db"]["value"] = ours
    assert text.beside_baseline(report) == said


def test_what_cannot_be_compared_says_why(report: Report) -> None:
    said = "No comparison with the MDCT baseline: {}."
    theirs = copy.deepcopy(report)
    theirs["baseline"] |= {"snr_db": None, "reason": "no coefficient can be paid for"}
    assert text.beside_baseline(theirs) == said.format("no coefficient can be paid for")
    ours = undefined(report, "exact: the residual is zero")
    assert text.beside_baseline(ours) == said.format("exact: the residual is zero")


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_metrics_are_told_with_their_definitions(report: Report) -> None:
    report["metrics"]["mse"]["value"] = 0.000123456
    rows = text.metric_rows(undefined(report, "the target is digital silence"))
    assert [row["definition"] for row in rows] == [METRICS[name].definition for name in report["metrics"]]
    assert len({row["label"] for row in rows}) == len(rows) == sum(not spec.request for spec in METRICS.values())
    assert rows[0]["label"] == "SNR"
    assert rows[0]["value"] == "undefined: the target is digital silence"
    assert rows[list(report["metrics"]).index("mse")]["value"] == "0.0001235"
    for name, row in list(zip(report["metrics"], rows, strict=True))[1:]:
        assert row["value"].endswith(" dB") == name.endswith("_db")
        assert float(row["value"].removesuffix(" dB")) == pytest.approx(report["metrics"][name]["value"], rel=1e-3, abs=0.005)


def test_labels_are_names_that_definitions_explain() -> None:
    for name in ("mse", "lsd_db", "mr_stft", "mel_db", "onset_flux"):
        assert METRICS[name].definition.startswith(METRICS[name].label)


def test_directions_are_those_in_which_metrics_move() -> None:
    target = tones([440.0, 1000.0], [0.3, 0.1], [0.0, 1.0], 0.5)
    target[:, :1000] = 0  # an onset
    near, far = (measure(target + share * noise(0.5), target, RATE) for share in (0.05, 1.0))
    for name, spec in ((name, METRICS[name]) for name in near):
        better, worse = near[name].value, far[name].value
        assert spec.better == ("higher" if better > worse else "lower"), name
        assert spec.unit == ("dB" if name.endswith("_db") else "")


def test_scores_are_told_with_their_controls(report: Report) -> None:
    assert text.score_rows(report) == []
    values = {"visqol": None, "zimtohrli_silence": 1.4, "zimtohrli": 3.966, "zimtohrli_white": 1.58, "visqol_white": 3.0}
    report["metrics"] |= {name: {"value": value, "reason": None, "definition": ""} for name, value in values.items()}
    assert text.score_rows(report) == [
        {"label": "ViSQOL MOS", "value": "undefined", "beside": "white noise 3.00"},
        {"label": "Zimtohrli MOS", "value": "3.97", "beside": "silence 1.40, white noise 1.58"},
    ]
    directions = {row["label"]: row["direction"] for row in text.metric_rows(report)}
    assert directions["Zimtohrli MOS"] == "higher is better"
    assert directions["Zimtohrli MOS of white noise"] == "control"


def test_an_unknown_metric_is_told_by_its_name(report: Report) -> None:
    report["metrics"] = {"beauty": {"value": 0.5, "reason": None, "definition": "in the eye of the beholder"}}
    (row,) = text.metric_rows(report)
    assert row == {"label": "beauty", "value": "0.5", "direction": "", "definition": "in the eye of the beholder"}


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (None, "dB", "undefined"),
        (12.3456, "dB", "12.35 dB"),
        (-0.5, "dB", "-0.50 dB"),
        (0.000123456, "", "0.0001235"),
        (0.0, "", "0"),
        (1.5, "s", "1.5 s"),
        (123456.0, "Hz", "1.235e+05 Hz"),
    ],
)
def test_values_have_their_unit(value: float | None, unit: str, said: str) -> None:
    assert text.value_in_words(value, unit) == said


# --- settings ---------------------------------------------------------------------------------------------------------


def test_every_setting_is_told_with_its_meaning(plucked: Report) -> None:
    rows = text.settings_rows(plucked)
    told = [(row["group"], row["name"]) for row in rows]
    assert told == [(group, name) for group, table in plucked["settings"].items() for name in table]
    assert {row["group"] for row in rows} <= {group.name for group in fields(FitOptions)}
    docs = setting_docs()
    assert all(row["meaning"] == docs[row["name"]] for row in rows)
    meanings = {row["name"]: row["meaning"] for row in rows}
    assert meanings["encoding"] == "Sample format of the WAV files."
    assert meanings["seed"].startswith("Seed of the random numbers")
    assert "dB" in meanings["target_snr_db"]


def test_every_setting_there_is_has_a_meaning() -> None:
    options = FitOptions(grid=GridOptions(frame_s=0.05, overlap=0.25))
    rows = text.settings_rows({"settings": options.tables()})
    assert len(rows) > 20
    assert [row["name"] for row in rows if not row["meaning"]] == []


def test_settings_have_their_units() -> None:
    options = FitOptions(
        grid=GridOptions(frame_s=0.05),
        model=ModelOptions(model="double-dutch", target_snr_db=40.5),
        training=TrainingOptions(optimiser="adam", learning_rate=1e-5, together=False, steps=7),
        output=OutputOptions(encoding="pcm16"),
    )
    values = {row["name"]: row["value"] for row in text.settings_rows({"settings": options.tables()})}
    expected = {
        "frame_s": "0.05 s",
        "target_snr_db": "40.5 dB",
        "learning_rate": "1e-05",
        "together": "no",
        "above_nyquist": "no",
        "steps": "7",
        "encoding": "pcm16",
        "transition_s": "0.0001 s",
        "model": "double-dutch",
        "crop_s": "0.75 s",
    }
    assert {name: values[name] for name in expected} == expected
    assert text.settings_rows({"settings": {"training": {"together": True}}})[0]["value"] == "yes"


def test_a_setting_of_another_version_is_told_all_the_same() -> None:
    (row,) = text.settings_rows({"settings": {"odd": {"centre_hz": 440.0}}})
    assert row == {"group": "odd", "name": "centre_hz", "value": "440 Hz", "meaning": ""}


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (
            {"target_snr_db": 20, "max_parameters_per_sample": 0.5},
            "Network sine in frames of adaptive length, target SNR 20 dB with at most 0.5 parameters per sample. "
            "Loss mse=1; gauss-newton, 0 steps per run.",
        ),
        (
            {"frame_s": 0.05, "target_snr_db": 12.5, "max_parameters_per_sample": 0.25, "losses": "mae=1", "optimiser": "adam"},
            "Network sine in frames of 0.05 s, target SNR 12.5 dB with at most 0.25 parameters per sample. "
            "Loss mae=1; adam, 0 steps per run.",
        ),
        (
            {"frame_s": 0.1, "budget": 1200},
            "Network sine in frames of 0.1 s, budget 1,200 parameters. Loss mse=1; gauss-newton, 0 steps per run.",
        ),
        (
            {"frame_s": 0.1, "partials": 3},
            "Network sine in frames of 0.1 s, 3 partials per frame. Loss mse=1; gauss-newton, 0 steps per run.",
        ),
        (
            {"model": "sine+double-dutch", "frame_s": 0.064, "budget": 300},
            "Network sine+double-dutch in frames of 0.064 s, budget 300 parameters. Loss mse=1; gauss-newton, 0 steps per run.",
        ),
    ],
)
def test_settings_are_told_in_sentences(how: dict[str, Any], said: str) -> None:
    assert text.settings_in_words(build(fit(pluck(0.2), steps=0, exchanges=0, **how))) == said


@given(asked=st.integers(4, 10**12))
@example(asked=1_234_567)
@settings(deadline=None, max_examples=30)
def test_a_budget_is_told_to_the_last_digit(plucked: Report, asked: int) -> None:
    told = plucked | {"goal": {"name": "budget", "asked": asked, "reached": True}}
    said, headline = text.settings_in_words(told), text.verdict(told).headline
    assert f"budget {asked:,} parameters." in said
    assert f"(budget {asked:,})" in headline


# --- names and counts -------------------------------------------------------------------------------------------------


@given(
    numbers=st.lists(st.integers(0, 10**6), max_size=30), before=st.sampled_from(["level ", "1 double-dutch: cutoff, level ", ""])
)
@settings(deadline=None)
def test_names_with_numbers_sort_by_them(numbers: list[int], before: str) -> None:
    names = [f"{before}{number}" for number in numbers]
    assert sorted(names, key=training_curves.by_number) == [f"{before}{number}" for number in sorted(numbers)]


def test_levels_of_a_sum_sort_by_network_then_kind_then_level() -> None:
    names = [
        "1 sine: amplitude",
        "1 sine: frequency",
        "2 double-dutch: amplitude, level 1",
        "2 double-dutch: amplitude, level 2",
        "2 double-dutch: amplitude, level 10",
        "2 double-dutch: cutoff, level 1",
        "10 sine: amplitude",
    ]
    assert sorted(random.Random(0).sample(names, len(names)), key=training_curves.by_number) == names


@given(names=st.lists(st.text(max_size=20), max_size=10))
@example(names=["1", "a", "", "a1", "1a", "٣", "²"])
@settings(deadline=None, max_examples=50)
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=training_curves.by_number)) == sorted(names)
    assert all("".join(map(str, training_curves.by_number(name))) == name for name in names if not any(map(str.isdecimal, name)))


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 parts"), (1, "1 part"), (2, "2 parts"), (1200, "1,200 parts"), (10**6, "1,000,000 parts")]
)
def test_things_are_counted(number: int, said: str) -> None:
    assert text.counted(number, "part") == said


# --- the command ------------------------------------------------------------------------------------------------------

HOSTILE = (
    "bark.wav",
    "a dog's bark.wav",
    "$(touch owned).wav",
    "`touch owned`.wav",
    "a; touch owned #.wav",
    "a && touch owned || b.wav",
    "two\nlines.wav",
    'quo"te\\.wav',
    "*?[!a].wav",
    "~/x.wav",
    "<script>alert(1)</script>.wav",
    "> owned",
    "hünd 🐕.wav",
    "!!.wav",
    "'",
    "\\",
    "\t",
)


def of_source(report: Report, source: str) -> Report:
    return report | {"recording": report["recording"] | {"source": source}}


@given(
    source=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
        lambda name: name[0] != "-"
    )
)
@example(source="'")
@settings(deadline=None, max_examples=200)
def test_the_command_holds_the_name_as_one_word(plucked: Report, source: str) -> None:
    found = shlex.split(text.command(of_source(plucked, source)))
    assert found == ["ddaudio", "fit", source, "--config", "fit.toml", "--out", "again"]


def test_folders_that_begin_with_a_dash_are_no_flags(plucked: Report) -> None:
    """A word that begins with a dash would be taken for a flag."""
    found = shlex.split(text.command(of_source(plucked, "-a.wav"), "-a-fit"))
    assert found == ["ddaudio", "fit", "./-a.wav", "--config", "./-a-fit/fit.toml", "--out", "./-a-fit/again"]


@pytest.mark.parametrize("source", HOSTILE)
def test_a_shell_takes_the_name_for_a_name(plucked: Report, source: str, tmp_path: Path) -> None:
    # A function in place of the program prints what it is given, a word a line that ends in a zero.
    script = "ddaudio() { printf '%s\\0' \"$@\"; }\n" + text.command(of_source(plucked, source))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    assert done.stdout.decode().split("\0") == ["fit", source, "--config", "fit.toml", "--out", "again", ""]
    assert list(tmp_path.iterdir()) == []
    assert done.stderr == b""


@pytest.mark.parametrize("source", ["-x.wav", "--help", "--force.wav", "-/bark.wav"])
def test_a_name_that_begins_like_an_option_is_a_name(plucked: Report, source: str) -> None:
    """Such a recording is fitted as ``./-x.wav``, of which the report keeps ``-x.wav``."""
    word = shlex.split(text.command(of_source(plucked, source)))[2]
    assert not word.startswith("-")
    assert Path(word) == Path(source)
