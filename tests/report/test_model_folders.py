"""Folders of models that were not fitted: edited by a command, read, rendered, and edited again."""

import json
from pathlib import Path

import pytest
import torch
from ddaudio_cli.app import run

from ddaudio.errors import OutputError, ReportError
from ddaudio.io import audio
from ddaudio.models.file import load_model
from ddaudio.report import playback
from ddaudio.report.edit_files import edit_to_folder, morph_to_folder
from ddaudio.report.gallery import write_pages
from ddaudio.report.save_model import save_model
from ddaudio.results.model_report import Origin
from ddaudio.results.read import read_report
from ddaudio.results.record import FitRecord
from tests.edited import RATE, harmonic, sound


@pytest.fixture(scope="module")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a model of four harmonics."""
    folder = tmp_path_factory.mktemp("models") / "tone"
    save_model(harmonic(220, (0.2, 0.1, 0.15, 0.05), 0.4), folder, Origin("import", ("tone.sdif",)), html=False)
    return folder


def test_a_command_writes_a_folder_that_is_a_model(tone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "slow"
    assert (
        run(["edit", str(tone), "--stretch", "2", "--gain", "harmonic=2:-200", "--gain", "harmonic=4:-200", "--out", str(out)])
        == 0
    )
    assert "0.8 s in 1 channel at 16000 Hz, model tracks" in capsys.readouterr().out
    report = read_report(out)
    assert sorted(path.name for path in out.iterdir()) == sorted(report["files"])
    assert [row["command"] for row in report["origin"]] == ["import", "edit"]
    assert report["origin"][1]["settings"] == {"stretch": "2", "gain": ["harmonic=2:-200", "harmonic=4:-200"]}
    network = load_model(out)
    torch.testing.assert_close(audio.read(out / "resynth.wav").samples[:, :].double(), sound(network), rtol=0, atol=1e-6)
    assert "<audio" in (out / "report.html").read_text(encoding="utf-8")
    assert list(playback.read_sources(out).sounds) == ["resynthesis"]


def test_pages_are_written_again_and_models_are_no_fits(tone: Path) -> None:
    (outcome,) = write_pages([tone])
    assert outcome.page == tone / "report.html"
    with pytest.raises(ReportError, match="it has no recording to be compared with"):
        FitRecord.read(tone)


def test_an_edited_model_is_edited_again(tone: Path, tmp_path: Path) -> None:
    edit_to_folder(tone, tmp_path / "up", shift=12, html=False)
    edit_to_folder(tmp_path / "up", tmp_path / "down", shift=-12, html=False)
    torch.testing.assert_close(sound(load_model(tmp_path / "down")), sound(load_model(tone)), rtol=0, atol=2e-3)
    assert [row["command"] for row in read_report(tmp_path / "down")["origin"]] == ["import", "edit", "edit"]


def test_a_morph_has_two_sources(tone: Path, tmp_path: Path) -> None:
    edit_to_folder(tone, tmp_path / "up", shift=7, html=False)
    assert run(["morph", str(tone), str(tmp_path / "up"), "--out", str(tmp_path / "half"), "--amount", "0.5", "--no-html"]) == 0
    assert read_report(tmp_path / "half")["origin"][-1]["sources"] == [str(tone), str(tmp_path / "up")]


@pytest.mark.parametrize("arguments", [["--stretch", "0"], ["--stretch", "0:1,0:2"], [], ["--tune", "H"]])
def test_nothing_is_written_for_a_bad_setting(arguments: list[str], tone: Path, tmp_path: Path) -> None:
    assert run(["edit", str(tone), *arguments, "--out", str(tmp_path / "out")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_not_overwritten(tone: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is the folder of the model itself"):
        edit_to_folder(tone, tone, stretch=2, force=True)
    edit_to_folder(tone, tmp_path / "out", stretch=2, html=False)
    with pytest.raises(OutputError, match="already contains a fit"):
        edit_to_folder(tone, tmp_path / "out", stretch=2)


def test_a_changed_report_is_refused(tone: Path, tmp_path: Path) -> None:
    edit_to_folder(tone, tmp_path / "out", stretch=1, html=False)
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    report["sound"]["samples"] = "many"
    (tmp_path / "out" / "report.json").write_text(json.dumps(report), encoding="utf-8")
    with pytest.raises(ReportError, match=r"damaged at \$\.sound\.samples"):
        read_report(tmp_path / "out")


def test_rates_must_agree(tone: Path, tmp_path: Path) -> None:
    from ddaudio.models.base import Signals  # noqa: PLC0415
    from ddaudio.models.tracks.network import TracksNetwork  # noqa: PLC0415

    save_model(TracksNetwork(Signals(2 * RATE, 1, 100)), tmp_path / "other", Origin("import", ("x",)), html=False)
    assert run(["morph", str(tone), str(tmp_path / "other"), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="the models have 16000 and 32000 Hz"):
        morph_to_folder(tone, tmp_path / "other", tmp_path / "out")
