"""Pitch in reports, pictures, summaries and tables."""

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from commands import run
from sounds import RATE, tones

import ddaudio
from ddaudio.editing.tables import partials_table
from ddaudio.fitting.result import FitResult
from ddaudio.io.audio import Recording
from ddaudio.report import figures, plot_data
from ddaudio.report.page import drawn
from ddaudio.results.read import read_report


@pytest.fixture(scope="module")
def result() -> FitResult:
    """A tone of 250 Hz and its third harmonic, which begins after silence."""
    sound = tones([250.0, 750.0], [0.4, 0.2], [0.0, 1.0], 0.5)
    sound[:, : RATE // 5] = 0
    return ddaudio.fit(Recording(sound, RATE, "tone.wav"), model="sine", budget=60)


def test_the_pitch_is_in_the_report_and_its_pictures(result: FitResult, tmp_path: Path) -> None:
    ddaudio.save_fit(result, tmp_path / "fit")
    f0 = read_report(tmp_path / "fit")["f0"]
    assert (f0["method"], f0["inharmonicity"], f0["hop_s"]) == ("partials", 0.0, 0.005)
    # A cent is 0.06 %.
    assert f0["median_hz"] == pytest.approx(250, rel=6e-4)
    assert f0["f0_hz"][20] is None
    assert f0["f0_hz"][60] == pytest.approx(250, rel=6e-4)
    assert len(f0["f0_hz"]) == len(f0["voicing"]) == 100
    assert drawn(figures.evidence_of(result))["pitch"]["f0_hz"]["shape"] == [100]
    (line,) = figures.overview(result).axes[3].lines
    assert line.get_xdata()[60] == pytest.approx(0.3)
    assert line.get_ydata()[60] == pytest.approx(0.25, rel=6e-4)
    assert math.isnan(line.get_ydata()[20])


def test_the_summary_has_the_pitch(result: FitResult) -> None:
    (line,) = (line for line in ddaudio.summary(result) if line.startswith("pitch"))
    assert line.startswith("pitch    median 250.0 Hz; ")


def test_partials_have_their_harmonics(result: FitResult) -> None:
    rows = list(csv.DictReader(io.StringIO(partials_table(result.network, "csv"))))
    loud = [row for row in rows if float(row["amplitude"]) > 0.15]
    assert {row["harmonic"] for row in loud} == {"1", "3"}
    assert all(abs(float(row["frequency_hz"]) / 250 - int(row["harmonic"])) < 0.35 for row in loud)


def test_it_is_exported_from_the_report(result: FitResult, tmp_path: Path) -> None:
    ddaudio.save_fit(result, tmp_path / "fit")
    rows = list(csv.DictReader(io.StringIO(run("export", tmp_path / "fit", "--only", "pitch")[1])))
    assert (rows[20]["time_s"], rows[20]["f0_hz"]) == ("0.1", "")
    assert float(rows[60]["f0_hz"]) == pytest.approx(250, rel=6e-4)
    assert json.loads(run("export", tmp_path / "fit", "--only", "pitch", "--format", "json")[1])[60]["time_s"] == 0.3


def test_without_a_pitch_nothing_is_drawn_or_exported(tmp_path: Path) -> None:
    silent = ddaudio.fit(Recording(tones([250.0], [0.4], [0.0], 0.1), RATE, "tone.wav"), model="sine", budget=6, pitch="none")
    ddaudio.save_fit(silent, tmp_path / "fit")
    assert read_report(tmp_path / "fit")["f0"] is None
    assert drawn(figures.evidence_of(silent))["pitch"] is None
    assert not any(line.startswith("pitch") for line in ddaudio.summary(silent))
    code, _, refusal = run("export", tmp_path / "fit", "--only", "pitch")
    assert code == 2
    assert "has no pitch" in refusal


def test_lines_have_few_points() -> None:
    hz = [None, *[200.0] * 19_999]
    line = plot_data.pitch_line({"f0_hz": hz, "hop_s": 0.1, "median_hz": 200.0})
    assert len(line.f0_hz) == plot_data.MOST_POINTS
    assert np.isnan(line.f0_hz[0])
    assert line.time_s[-1] == pytest.approx(1999.5)
