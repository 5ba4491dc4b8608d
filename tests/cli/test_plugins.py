"""Losses, metrics and formats of other packages: the examples of docs/extending.md, installed and used; and broken packages."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commands import chirp, run
from extensions import PAGE, example, install, site_packages

import ddaudio
from ddaudio.batching.results_table import Row, columns
from ddaudio.editing.formats import FORMATS
from ddaudio.errors import PluginError
from ddaudio.losses import make_loss
from ddaudio.metrics.registry import METRICS
from ddaudio.options import LOSSES, NETWORKS, setting_groups

REGISTRIES = (NETWORKS, LOSSES, METRICS, FORMATS)
EXAMPLES = {
    "log_cosh": ("A new loss", "ddaudio.losses", "log-cosh"),
    "peak_error": ("A new metric", "ddaudio.metrics", "peak_error"),
    "tsv": ("A new format", "ddaudio.formats", "tsv"),
}
"""Of each module: its section of the page, the group of its entry point, and the name of its row."""
QUICK = ("--model", "sine", "--frame", "0.02", "--budget", "120", "--steps", "3", "--quiet")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a folder that packages can be installed into; call `refresh` afterwards."""
    with site_packages(tmp_path / "site", monkeypatch, REGISTRIES) as folder:
        yield folder


def refresh() -> None:
    for registry in REGISTRIES:
        registry.refresh()


@pytest.fixture
def extended(site: Path) -> Path:
    """Install the examples of the page."""
    for module, (heading, group, name) in EXAMPLES.items():
        install(site, module, group, name, example(heading))
    refresh()
    return site


@pytest.fixture
def tone(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    soundfile.write(path, chirp(), 8000)
    return path


def in_own_process(site: Path, *arguments: str, loads_torch: bool = False) -> str:
    """Return what the command prints in a process of its own, which finds the packages while it loads."""
    code = (
        "import sys; from ddaudio_cli import main; code = main(sys.argv[1:]); "
        f"assert ('torch' in sys.modules) is {loads_torch}; sys.exit(code)"
    )
    environment = {"PYTHONPATH": str(site), "PATH": "", "COLUMNS": "120"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", EXAMPLES)
def test_a_loss_a_metric_and_a_format_have_at_most_15_lines(module: str) -> None:
    assert len([line for line in example(EXAMPLES[module][0]).splitlines() if line.strip()]) <= 15


def test_the_page_registers_the_rows_by_their_names() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for module, (_, group, name) in EXAMPLES.items():
        assert f'[project.entry-points."{group}"]\n{name} = "{module}:SPEC"\n' in page


@pytest.mark.usefixtures("extended")
def test_the_loss_of_the_page_is_the_logarithm_of_the_hyperbolic_cosine() -> None:
    estimate, target = torch.randn(2, 3, 50, dtype=torch.float64)
    estimate.requires_grad_()
    loss = make_loss("log-cosh")
    expected = np.log(np.cosh((estimate - target).detach().numpy())).mean(-1)
    assert loss(estimate, target).detach().numpy() == pytest.approx(expected, rel=1e-12)  # rounding of float64
    (gradient,) = torch.autograd.grad(loss(estimate, target).sum(), estimate)
    assert gradient.numpy() == pytest.approx(np.tanh((estimate - target).detach().numpy()) / 50, abs=1e-12)


def test_the_examples_take_part_in_a_fit_and_all_that_is_made_of_it(extended: Path, tone: Path, tmp_path: Path) -> None:
    fit = tmp_path / "fit"
    code, _, err = run("fit", tone, "--losses", "mse,log-cosh=0.5", *QUICK, "--out", fit)
    assert (code, err) == (0, "")
    report = json.loads((fit / "report.json").read_text(encoding="utf-8"))
    stages = report["training"]["stages"][0]["blocks"][0][0]
    assert set(stages["losses"][0]) == {"mse", "log-cosh"}
    metric = report["metrics"]["peak_error"]
    found, wanted = (soundfile.read(path, dtype="float32")[0] for path in (fit / "resynth.wav", tone))
    assert metric["value"] == pytest.approx(float(np.abs(found - wanted).max()), abs=1e-6)  # rounding of float32
    assert metric["definition"].startswith("Peak error: the largest")
    assert run("render", fit, "--out", tmp_path / "again.wav")[0] == 0
    assert run("report", fit)[0] == 0
    page = (fit / "report.html").read_text(encoding="utf-8")
    assert "log-cosh" in page
    assert "Peak error" in page
    # The choices of --format are read once, when the command is loaded.
    out = in_own_process(extended, "export", str(fit), "--format", "tsv", loads_torch=True)
    heads, first = (line.split("\t") for line in out.splitlines()[:2])
    assert {"time_s", "frequency_hz"} <= set(heads)
    assert len(first) == len(heads)


@pytest.mark.usefixtures("extended")
def test_the_examples_take_part_in_comparisons_and_in_tables_of_batches(tone: Path, tmp_path: Path) -> None:
    how = ("--models", "sine", "--losses", "mse,log-cosh", "--seeds", "1", "--steps", "2", "--workers", "1")
    code, out, _ = run("compare", tone, *how, "--out", tmp_path / "compared")
    assert code == 0
    assert "log-cosh" in out
    assert "Peak error" in " ".join(out.split())
    with (tmp_path / "compared" / "runs.csv").open(encoding="utf-8", newline="") as file:
        assert all(float(row["peak_error"]) > 0 for row in csv.DictReader(file))
    report = next((tmp_path / "compared").rglob("report.json"))
    row = Row.of_report("tone.wav", "tone-fit", "fitted", json.loads(report.read_text(encoding="utf-8"))).flat()
    assert row["peak_error"] > 0
    assert list(row) == list(columns())
    assert columns().index("peak_error") == columns().index("mdct_snr_db") - 1


def test_the_examples_are_in_the_help_which_loads_no_torch(extended: Path) -> None:
    words = " ".join(in_own_process(extended, "fit", "--help").replace("│", " ").split())
    assert "auraloss, log-cosh;" in words
    assert "Peak error" in " ".join(in_own_process(extended, "compare", "--help").split())
    assert "supercollider, tsv]" in " ".join(in_own_process(extended, "export", "--help").replace("│", " ").split())


# --- broken packages ----------------------------------------------------------------------------------------------------

LOSS = 'from ddaudio.options import LossSpec\nSPEC = LossSpec({name!r}, "", {path!r})\n'
NETWORK = """from dataclasses import dataclass
from ddaudio.options import NetworkOptions, NetworkSpec
@dataclass(frozen=True)
class Options(NetworkOptions):
    {setting} = {default}
SPEC = NetworkSpec({name!r}, "", "os:path", "parts", 1, 3, ("amplitude",), options=Options)
"""
BROKEN = {
    "no module": ("ddaudio.losses", "bad", "import missing_package", "missing_package"),
    "no SPEC": ("ddaudio.losses", "bad", "", "SPEC"),
    "no row": ("ddaudio.losses", "bad", "SPEC = 3", "it is a int, not a LossSpec"),
    "another name": ("ddaudio.losses", "bad", LOSS.format(name="good", path="os:path"), "another name, 'good'"),
    "a bad name": ("ddaudio.losses", "Bad", LOSS.format(name="Bad", path="os:path"), "lower-case letters"),
    "a taken name": ("ddaudio.losses", "mse", LOSS.format(name="mse", path="os:path"), "the name is taken"),
    "a taken setting": (
        "ddaudio.networks",
        "bad",
        NETWORK.format(name="bad", setting="seed: int", default=0),
        "its setting 'seed' has the name of one of ddaudio's own",
    ),
    "a flag of the command": (
        "ddaudio.networks",
        "bad",
        NETWORK.format(name="bad", setting="quiet: bool", default=False),
        "its setting 'quiet' has the name of one of ddaudio's own",
    ),
    "a setting of another type": (
        "ddaudio.networks",
        "bad",
        NETWORK.format(name="bad", setting="widths: int", default=0),
        "its setting 'widths' has another type than that of stack",
    ),
    "a table of settings": (
        "ddaudio.networks",
        "grid",
        NETWORK.format(name="grid", setting="size: int", default=0),
        "a table of settings has this name",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_package_is_refused_by_its_name_where_it_is_used_and_nowhere_else(case: str, site: Path) -> None:
    group, name, code, problem = BROKEN[case]
    install(site, "bad_package", group, name, code)
    refresh()
    registry = next(registry for registry in REGISTRIES if registry.group == group)
    assert name in registry
    assert name not in list(registry), "it is not listed"
    with pytest.raises(PluginError, match=re.escape(problem)) as caught:
        registry[name]
    assert f"{group} {name!r} cannot be used: bad_package 1.5 registers bad_package:SPEC: " in str(caught.value)
    assert str(caught.value).endswith("update or uninstall the package")
    assert setting_groups()["seed"] == ("training",)
    assert make_loss("mae") is not None


def test_a_broken_package_is_one_line_with_exit_code_2(site: Path, tone: Path, tmp_path: Path) -> None:
    install(site, "bad_package", "ddaudio.losses", "bad", "import missing_package")
    refresh()
    code, out, err = run("fit", tone, "--losses", "bad", *QUICK, "--out", tmp_path / "fit")
    assert (code, out) == (2, "")
    assert "No module named 'missing_package'; update or uninstall the package" in err
    assert err.count("\n") == 1
    assert run("fit", tone, *QUICK, "--out", tmp_path / "fit")[0] == 0, "other losses are not affected"


def test_code_that_is_missing_or_of_another_kind_is_refused(site: Path) -> None:
    install(site, "lost", "ddaudio.losses", "lost", LOSS.format(name="lost", path="nowhere:loss"))
    install(site, "wrong", "ddaudio.losses", "wrong", LOSS.format(name="wrong", path="math:pi"))
    install(site, "wrong_network", "ddaudio.networks", "wrong", NETWORK.format(name="wrong", setting="size: int", default=0))
    refresh()
    with pytest.raises(PluginError, match="'lost' cannot be loaded from nowhere:loss"):
        make_loss("lost")
    with pytest.raises(PluginError, match="'wrong' cannot be used: math:pi is a float"):
        make_loss("wrong")
    with pytest.raises(PluginError, match="'wrong' cannot be used: os:path is no such network"):
        ddaudio.fit(str(Path(__file__).parents[2] / "recordings" / "bark.wav"), model="wrong")


def test_a_broken_metric_stops_a_fit_before_any_work(site: Path, tone: Path) -> None:
    install(site, "bad_metric", "ddaudio.metrics", "bad", "SPEC = None")
    refresh()
    seen: list[str] = []
    with pytest.raises(PluginError, match=r"ddaudio\.metrics 'bad' cannot be used"):
        ddaudio.fit(str(tone), progress=lambda progress: seen.append(progress.stage), budget=100)
    assert set(seen) <= {"reading"}
