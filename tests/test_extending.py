"""The examples of docs/extending.md, read from the page, installed as a package and used like what ddaudio has itself."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import chirp, run
from extensions import example, install, site_packages

from ddaudio.models import ComponentNetwork, DeclaredNetwork, network_class
from ddaudio.options import NETWORKS
from ddaudio.report import plot_data
from ddaudio.results.record import FitRecord


@pytest.fixture
def flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Install the page's network; return the folder that it is in."""
    with site_packages(tmp_path / "site", monkeypatch, [NETWORKS]) as site:
        install(site, "flat", "ddaudio.networks", "flat", example("A new network"))
        NETWORKS.refresh()
        yield site


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, chirp(), 8000)
    return path


@pytest.mark.usefixtures("flat")
def test_a_new_network_has_two_methods_and_at_most_40_lines() -> None:
    lines = [line for line in example("A new network").splitlines() if line.strip()]
    assert len(lines) <= 40
    written = vars(network_class("flat"))
    assert {name for name, value in written.items() if callable(value)} == {"waveforms", "initialise"}


def test_a_network_has_to_write_two_or_three_methods() -> None:
    assert set(ComponentNetwork.__abstractmethods__) == {"waveforms", "initialise"}
    assert set(DeclaredNetwork.__abstractmethods__) == {"forward", "frames_at_rate", "initialise"}


@pytest.mark.usefixtures("flat")
def test_a_new_network_is_fitted_and_its_sound_comes_near(tone: Path, tmp_path: Path) -> None:
    code, out, err = run("fit", tone, "--model", "flat", "--budget", "300", "--json", "--out", tmp_path / "fit")
    assert (code, err) == (0, "")
    report = json.loads((tmp_path / "fit" / "report.json").read_text(encoding="utf-8"))
    assert report["model"]["terms"][0]["name"] == "flat"
    assert report["model"]["n_parameters"] <= 300
    found, wanted = soundfile.read(tmp_path / "fit" / "resynth.wav")[0], chirp()
    # Waves with flattened tops have overtones that the chirp has not: far from exact, and far from silence.
    assert float(np.square(found - wanted).sum()) < 0.1 * float(np.square(wanted).sum())
    assert out


@pytest.mark.usefixtures("flat")
def test_a_new_network_is_rendered_exported_reported_and_compared(tone: Path, tmp_path: Path) -> None:
    fit = tmp_path / "fit"
    assert run("fit", tone, "--model", "sine+flat", "--budget", "300", "--quiet", "--out", fit)[0] == 0
    assert run("render", fit, "--sample-rate", "16000", "--out", tmp_path / "other.wav")[0] == 0
    assert soundfile.info(tmp_path / "other.wav").samplerate == 16000
    assert run("export", fit, "--out", tmp_path / "table.csv")[0] == 0
    header = (tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"network", "signal", "time_s", "frequency_hz", "amplitude", "phase_rad"} <= set(header)
    assert run("report", fit)[0] == 0
    assert "sine+flat" in (fit / "report.html").read_text(encoding="utf-8")
    record = FitRecord.read(fit)
    lines = plot_data.lines(record.network)
    assert lines is not None
    assert lines.n_partials == sum(len(term.describe()["frequency_hz"]) for term in record.network.terms), "both terms are drawn"
    compared = ("--models", "sine,flat", "--losses", "mse", "--seeds", "1", "--time", "1", "--out", tmp_path / "compared")
    code, out, _ = run("compare", tone, *compared)
    assert code == 0
    assert "flat" in out


def test_a_new_network_is_in_the_help(flat: Path) -> None:
    """In a process of its own, as after an installation."""
    command = "from ddaudio_cli import main; import sys; sys.exit(main(['fit', '--help']))"
    environment = {"PYTHONPATH": str(flat), "PATH": "", "COLUMNS": "120"}
    shown = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert re.search(r"flat\W+waves with flattened tops", shown.stdout)
