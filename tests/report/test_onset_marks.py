"""Onsets in reports and pictures, where they are asked for."""

import json
from pathlib import Path

import pytest
import torch

import ddaudio
from ddaudio.io.audio import Recording
from ddaudio.report import figures
from ddaudio.report.page import drawn
from ddaudio.results.read import read_report

RATE = 8000


def stroke() -> Recording:
    times_s = torch.arange(RATE // 2) / RATE
    tone = torch.exp(-times_s / 0.05) * torch.sin(2 * torch.pi * 700 * times_s)
    return Recording(torch.nn.functional.pad(tone, (RATE // 4, 0))[None], RATE)


def test_onsets_are_in_the_report_and_its_pictures(tmp_path: Path) -> None:
    result = ddaudio.fit(stroke(), model="sine", budget=60, onsets=True)
    ddaudio.save_fit(result, tmp_path / "fit")
    (onset_s,) = read_report(tmp_path / "fit")["recording"]["onsets_s"]
    assert onset_s == pytest.approx(0.25, abs=0.005)
    assert drawn(figures.evidence_of(result))["onsets_s"] == [onset_s]
    marks = [line for line in figures.overview(result).axes[0].lines if line.get_marker() == "v"]
    assert [list(line.get_xdata()) for line in marks] == [[onset_s]]


def test_they_are_not_looked_for_unasked(tmp_path: Path) -> None:
    ddaudio.save_fit(ddaudio.fit(stroke(), model="sine", budget=60), tmp_path / "fit")
    assert json.loads((tmp_path / "fit" / "report.json").read_text())["recording"]["onsets_s"] is None
