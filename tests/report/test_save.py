"""Files: what a fit's folder holds, and that a model file is refused unless it is whole and ours."""

import csv
import io
import json
import math
import socket
import struct
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sounds import RATE, noise, pluck
from sounds import fit_waves as fit
from torch import Tensor

import ddaudio
from ddaudio import report
from ddaudio.errors import ModelError, OptionError, OutputError
from ddaudio.fitting.result import FitResult
from ddaudio.io.audio import Recording
from ddaudio.io.formats import REPORT_FORMAT
from ddaudio.io.tensor_file import checksum
from ddaudio.metrics.registry import METRICS
from ddaudio.options import FitOptions
from ddaudio.report import gallery
from ddaudio.report import save as saving
from ddaudio.results.read import read_report
from ddaudio.training.history import Progress


@pytest.fixture(scope="module")
def result() -> FitResult:
    return fit(pluck(), steps=8)


@pytest.fixture
def folder(result: FitResult, tmp_path: Path) -> Path:
    saving.save_fit(result, tmp_path / "pluck-fit")
    return tmp_path / "pluck-fit"


def test_the_folder_holds_the_fit(result: FitResult, folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(saving.fit_files())
    assert list(folder.parent.iterdir()) == [folder], "nothing stays beside the folder"
    resynth, residual = (ddaudio.read(folder / name) for name in ("resynth.wav", "residual.wav"))
    assert resynth.sample_rate == RATE
    assert torch.equal(resynth.samples, result.estimate)
    # One float32 addition after one subtraction.
    assert torch.allclose(resynth.samples + residual.samples, result.recording.samples, atol=1e-7)


def test_the_model_file_is_what_was_measured(result: FitResult, folder: Path) -> None:
    network = ddaudio.load_model(folder)
    # Radians to Hz and back once more: see the test of stored networks.
    assert torch.allclose(ddaudio.render(network), result.estimate, atol=2e-6)
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
        assert set(file.metadata()) == {"ddaudio_model", "settings", "sha256"}
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 4 == result.n_parameters


def test_fit_toml_names_every_setting(result: FitResult, folder: Path) -> None:
    tables = tomllib.loads((folder / "fit.toml").read_text(encoding="utf-8"))
    assert tables.pop("recording") == {"source": "pluck.wav", "sha256": result.recording.content_hash}
    assert FitOptions().with_settings(ddaudio.read_settings(folder / "fit.toml")) == result.options
    assert tables == result.options.tables()


def test_the_report_says_what_happened(result: FitResult, folder: Path) -> None:
    contents = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert contents["schema"] == REPORT_FORMAT.number
    assert contents["status"] == result.status
    assert contents["model"]["n_parameters"] == result.n_parameters
    assert contents["metrics"]["snr_db"]["value"] == result.snr_db
    assert {row["definition"] for row in contents["metrics"].values()} <= {spec.definition for spec in METRICS.values()}
    (only,) = contents["training"]["stages"]
    assert only["name"] == "sine"
    (block,) = only["blocks"]
    assert [run["status"] for run in block] == [run.status for run in result.stages[0].blocks[0]]
    assert block[0]["evaluations"][0]["step"] == 0
    assert len(block[0]["losses"]) == block[0]["evaluations"][-1]["step"]
    looks = [look for run in block for look in run["evaluations"]]
    assert [look["gradients"] for look in looks] == [
        look.gradients for run in result.stages[0].blocks[0] for look in run.evaluations
    ]
    assert all(set(look["gradients"]) == ({"frequency", "amplitude"} if look["step"] else set()) for look in looks)
    assert all(set(look["natural_gradients"]) == set(look["gradients"]) for look in looks)
    # Written with four digits; the network is that of one of the evaluations.
    strongest = result.network.amplitudes().max().item()
    assert any(look["amplitudes"][-1] == pytest.approx(strongest, rel=6e-4) for look in looks)
    errors = [look.error_by_time for run in result.stages[0].blocks[0] for look in run.evaluations]
    assert all(len(look["error_by_time"]) == 64 and not look["averaged"] for look in looks)
    # Written with four digits.
    assert looks[-1]["error_by_time"] == pytest.approx(errors[-1], rel=6e-4)
    cells = result.network.grid.cells
    sizes, lengths = cells.size.tolist(), cells.length.tolist()
    counts, energy = result.network.tracks().bincount(), result.network.component_energies()
    tracked = float(energy[counts[result.network.tracks()] >= 3].sum() / energy.sum())
    assert contents["model"]["terms"] == [
        {"name": "sine", "n_components": result.network.n_prunable(), "n_parameters": result.n_parameters}
        | {"frames": len(sizes), "shortest_frame_s": min(lengths) / RATE, "longest_frame_s": max(lengths) / RATE}
        | {"window": "hann"}
        | {"cell_samples": {str(size): sizes.count(size) for size in sorted(set(sizes))}}
        | {"tracks": int(result.network.describe()["track"].max()) + 1, "energy_in_tracks": pytest.approx(tracked)}
    ]
    assert contents["model"]["n_components"] == result.network.n_prunable()
    assert contents["files"] == list(saving.fit_files())
    page = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    missing = [key for key in _keys(contents) if f"`{key}`" not in page]
    assert not missing, f"docs/report.md does not explain {missing}"
    assert f"schema {REPORT_FORMAT.number}\n" in page
    tensors = {"division", *result.network.to_tensors()}
    assert {name for name in tensors if f"`{name}`" not in page} == set()


def _keys(contents: dict[str, Any]) -> set[str]:
    """Return every key at any depth but those that are names or sizes themselves: of settings, metrics, terms, cells, files."""
    named = ("settings", "metrics", "losses", "cell_samples", "gains")
    below = [value for key, value in contents.items() if key not in named] + list(contents.get("metrics", {}).values())
    # The terms of a model are networks; those of a loss are named by the user.
    below = [value for value in below if value is not contents.get("terms") or isinstance(value, list)]
    tables = [table for value in below for table in _tables(value)]
    return set(contents).union(*(_keys(table) for table in tables))


def _tables(value: object) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value]
    return [table for part in value for table in _tables(part)] if isinstance(value, list) else []


def test_undefined_values_are_null_with_a_reason(tmp_path: Path) -> None:
    silent = fit(Recording(torch.zeros(1, 800), RATE))
    contents = saving.save_fit(silent, tmp_path / "silent")
    assert contents == json.loads((tmp_path / "silent" / "report.json").read_text(encoding="utf-8"))
    assert contents["metrics"]["snr_db"]["value"] is None
    assert contents["metrics"]["snr_db"]["reason"]


def test_the_hash_of_the_settings_follows_the_settings() -> None:
    plain, other = FitOptions(), FitOptions().with_settings({"seed": 1})
    assert report.settings_hash(plain) == report.settings_hash(FitOptions())
    assert report.settings_hash(plain) != report.settings_hash(other)


def test_nothing_is_overwritten_without_force(result: FitResult, folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OutputError, match=r"already contains a fit .* force=True"):
        saving.save_fit(result, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    other = fit(pluck(), steps=0, target_snr_db=10)
    saving.save_fit(other, folder, force=True)
    assert (folder / "model.safetensors").read_bytes() != before["model.safetensors"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("fails_at", ["resynth.wav", "model.safetensors", "report.json"])
def test_a_failure_leaves_everything_as_it_was(
    result: FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, force: bool, fails_at: str
) -> None:
    target = tmp_path / "fit"
    if force:
        saving.save_fit(result, target)
    before = {path.name: path.read_bytes() for path in target.iterdir()} if force else None
    move, move_folder = Path.replace, Path.rename

    def failing(self: Path, to: Path) -> Path:
        if self.name == fails_at and Path(to).parent == target and "old" not in self.parts:
            raise OSError(28, "No space left on device")
        return move(self, to)

    def failing_folder(self: Path, to: Path) -> Path:
        if to == target:
            raise OSError(28, "No space left on device")
        return move_folder(self, to)

    monkeypatch.setattr(Path, "replace", failing)
    monkeypatch.setattr(Path, "rename", failing_folder)
    with pytest.raises(OutputError, match="No space left on device"):
        saving.save_fit(fit(pluck(), steps=0), target, force=force)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == ([target] if force else [])
    if before is not None:
        assert {path.name: path.read_bytes() for path in target.iterdir()} == before


def test_a_folder_that_would_replace_the_recording_is_refused(result: FitResult, tmp_path: Path) -> None:
    ddaudio.write_wav(tmp_path / "resynth.wav", result.recording.samples, RATE, "float32")
    with pytest.raises(OutputError, match="contains the recording itself"):
        saving.check_folder(tmp_path, str(tmp_path / "resynth.wav"), force=True)
    with pytest.raises(OutputError, match="is a file, not a folder"):
        saving.check_folder(tmp_path / "resynth.wav", "x.wav", force=True)


def test_a_loud_resynthesis_is_scaled_and_said_so(tmp_path: Path) -> None:
    loud = fit(Recording(20 * noise(0.2), RATE), steps=0, max_parameters_per_sample=1, encoding="pcm16")
    contents = saving.save_fit(loud, tmp_path / "loud")
    gain = contents["wav"]["gains"]["resynth.wav"]
    assert gain < 1
    written = ddaudio.read(tmp_path / "loud" / "resynth.wav").samples
    # PCM 16 rounds to half a step of 2^-15.
    assert torch.allclose(written, loud.estimate * gain, atol=2**-16 * 1.01)


def rewritten(path: Path, **changes: str | None) -> Path:
    """Write the model anew with other metadata."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {**file.metadata(), **changes}
    save_file(tensors, path, {key: value for key, value in metadata.items() if value is not None})
    return path


def _turn_division(data: bytes) -> bytes:
    """Turn the lowest bit of the division tensor, where the file holds it."""
    length = struct.unpack_from("<Q", data)[0]
    place = 8 + length + json.loads(data[8 : 8 + length])["0.division"]["data_offsets"][0]
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


BAD_MODELS = {
    "missing": (lambda path: path.unlink(), "there is no model file"),
    "empty": (lambda path: path.write_bytes(b""), "cannot be read as a model"),
    "text": (lambda path: path.write_text("not a model"), "cannot be read as a model"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-40]), "cannot be read as a model"),
    "foreign": (lambda path: rewritten(path, ddaudio_model=None), "not a ddaudio model"),
    "a later version": (
        lambda path: rewritten(path, ddaudio_model="99"),
        "a model of format 99, which a later ddaudio reads; this one reads format 4; update ddaudio",
    ),
    "the version before": (
        lambda path: rewritten(path, ddaudio_model="3"),
        "a model of format 3, which development versions after 0.1.0 read; this one reads format 4; fit the recording again",
    ),
    "the version of the first release": (
        lambda path: rewritten(path, ddaudio_model="1"),
        "a model of format 1, which ddaudio 0.1.0 reads; this one reads format 4; fit the recording again",
    ),
    "no version": (
        lambda path: rewritten(path, ddaudio_model="four"),
        "a model of format four, which no ddaudio reads; this one reads format 4; fit the recording again",
    ),
    "settings changed": (lambda path: rewritten(path, settings='{"model": "sine"}'), "was changed after it was written"),
    "a division changed": (
        lambda path: path.write_bytes(_turn_division(path.read_bytes())),
        "was changed after it was written: its checksum differs; fit the recording again",
    ),
    "a bit turned": (lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x7f"), "was changed after it was written"),
}


def resealed(path: Path, change: Callable[[dict[str, Tensor], dict[str, Any]], None]) -> None:
    """Change tensors or settings of a model and give it a checksum that is right: as another writer might."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = dict(file.metadata())
    settings = json.loads(metadata["settings"])
    change(tensors, settings)
    metadata["settings"] = json.dumps(settings)
    save_file(tensors, path, metadata | {"sha256": checksum(metadata["settings"], tensors)})


def _set_code(code: Tensor) -> Callable[[dict[str, Tensor], dict[str, Any]], None]:
    return lambda tensors, _: tensors.update({"0.division": code})


def _set_term(**settings_of_term: Any) -> Callable[[dict[str, Tensor], dict[str, Any]], None]:
    return lambda _, settings: settings["terms"][0].update(settings_of_term)


IMPOSSIBLE_MODELS: dict[str, tuple[Callable[[dict[str, Tensor], dict[str, Any]], Any], str]] = {
    "no division": (lambda tensors, _: tensors.pop("0.division"), "division"),
    "a division cut short": (_set_code(torch.zeros(0, dtype=torch.int32)), "ends after 0 bits"),
    "a division too long": (
        lambda tensors, _: tensors.update({"0.division": torch.cat([tensors["0.division"], torch.zeros(5, dtype=torch.int32)])}),
        "but the signals take",
    ),
    "another division": (lambda tensors, _: tensors.update({"0.division": tensors["0.division"] ^ 1}), "partials_in_cell|bits"),
    "a division in two rows": (_set_code(torch.zeros(2, 3, dtype=torch.int32)), "division"),
    "a division of floats": (_set_code(torch.full((3,), 0.5)), "division"),
    "counts below zero": (lambda tensors, _: tensors["0.partials_in_cell"].sub_(9), "none below 0"),
    "a tensor too many": (lambda tensors, _: tensors.update({"0.more": torch.zeros(1)}), "holds the tensors"),
    "a tensor of no network": (lambda tensors, _: tensors.update(more=torch.zeros(1)), "the tensors more belong to no network"),
    "a tensor of another network": (lambda tensors, _: tensors.update({"1.sine": torch.zeros(1)}), "belong to no network"),
    "a tensor missing": (lambda tensors, _: tensors.pop("0.cosine"), "holds the tensors"),
    "beyond Nyquist": (lambda tensors, _: tensors["0.frequency_hz"].add_(5000), "frequency_hz must be from 0 to 4000 Hz"),
    "not a number": (lambda tensors, _: tensors["0.sine"].mul_(math.nan), "must be finite"),
    "no such network": (_set_term(model="nothing"), "nothing"),
    "no networks": (lambda _, settings: settings.update(terms=[]), "fit the recording again"),
    "nothing at all": (lambda tensors, settings: (tensors.clear(), settings.update(terms=[])), "fit the recording again"),
    "networks in words": (lambda _, settings: settings.update(terms="sine"), "fit the recording again"),
    "more networks than there are": (lambda _, settings: settings["terms"].append(settings["terms"][0]), "division"),
    "no rate": (lambda _, settings: settings.pop("sample_rate"), "sample_rate"),
    "a rate in words": (lambda _, settings: settings.update(sample_rate="fast"), "fit the recording again"),
    "another length": (lambda _, settings: settings.update(samples=99_999), "fit the recording again"),
    "no samples": (lambda _, settings: settings.update(samples=0), "fit the recording again"),
    "cells of nothing": (
        _set_term(smallest_cell=0, largest_cell=0),
        "fit the recording again",
    ),
    "cells below nothing": (
        _set_term(smallest_cell=-8, largest_cell=-8),
        "fit the recording again",
    ),
    "a largest cell that is no smallest doubled": (
        _set_term(largest_cell=1000),
        "fit the recording again",
    ),
    "an odd window": (_set_term(window="square"), "window is 'square'"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE_MODELS)
def test_models_that_cannot_be_are_refused(name: str, folder: Path) -> None:
    change, message = IMPOSSIBLE_MODELS[name]
    resealed(folder / "model.safetensors", change)
    with pytest.raises(ModelError, match=message) as caught:
        ddaudio.load_model(folder / "model.safetensors")
    assert "fit the recording again" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", BAD_MODELS)
def test_bad_model_files_are_refused(name: str, folder: Path) -> None:
    change, message = BAD_MODELS[name]
    change(folder / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        ddaudio.load_model(folder / "model.safetensors")


def test_the_table_of_partials(result: FitResult) -> None:
    rows = list(csv.DictReader(io.StringIO(ddaudio.partials_table(result.network, "csv"))))
    same = json.loads(ddaudio.partials_table(result.network, "json"))
    assert len(rows) == len(same) == result.network.n_prunable()
    assert [float(row["frequency_hz"]) for row in rows] == [row["frequency_hz"] for row in same]
    assert {"signal", "time_s", "frequency_hz", "amplitude", "phase_rad", "start_s", "end_s"} <= set(rows[0])
    with pytest.raises(OptionError, match="allowed: csv, json"):
        ddaudio.partials_table(result.network, "cvs")


def test_five_lines_sum_it_up(result: FitResult) -> None:
    lines = report.summary(result)
    assert [line.split()[0] for line in lines] == ["warnings", "reached", "size", "time", "pitch"]
    assert f"{result.snr_db:.2f} dB" in lines[1]
    assert f"{result.n_parameters} parameters" in lines[2]


def test_error_by_time_of_many_blocks_is_pooled() -> None:
    """Three blocks: 21 stretches each, whose energies add up to those of the 64 that training noted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ddaudio.fitting.plan.BLOCK_SAMPLES", 1024)
        result = fit(pluck(0.4), frame_s=0.05, partials=2, steps=2, exchanges=0)
    (only,) = report.build(result)["training"]["stages"]
    assert len(only["blocks"]) == 3
    for written, runs in zip(only["blocks"], result.stages[0].blocks, strict=True):
        for look, seen in zip(written[0]["evaluations"], runs[0].evaluations, strict=True):
            assert len(look["error_by_time"]) == 21
            assert sum(look["error_by_time"]) == pytest.approx(sum(seen.error_by_time), rel=6e-4)
            assert look["error_by_time"][0] == pytest.approx(sum(seen.error_by_time[:3]), rel=6e-4)


def test_two_fits_to_one_folder_at_once_are_refused_and_the_next_one_is_not(tmp_path: Path) -> None:
    """The second used to end with "No such file ... free some space"."""
    ddaudio.write_wav(tmp_path / "a.wav", pluck(0.1).samples, RATE, "float32")
    folder, refusals = tmp_path / "fit", []

    def second(_: Progress) -> None:
        if not refusals:
            with pytest.raises(
                OutputError, match=r"another fit to .*fit' is running \(process \d+ on .*wait until it ends"
            ) as caught:
                saving.fit_to_folder(tmp_path / "a.wav", folder, force=True)
            refusals.append(caught.value)

    for _ in range(2):
        saving.fit_to_folder(tmp_path / "a.wav", folder, force=True, progress=second, html=False)
    assert len(refusals) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "fit"], "no lock is left"


def test_what_a_killed_fit_left_is_removed_by_the_next_one_and_listed_by_no_gallery(result: FitResult, tmp_path: Path) -> None:
    left = tmp_path / ".ddaudio-abcd"
    saving.save_fit(result, left / "new", html=False)
    (left / "owner.json").write_text(json.dumps({"ddaudio": "scratch", "host": socket.gethostname(), "pid": 1 << 22}))
    assert [path.name for path in gallery._fits([tmp_path])] == [tmp_path.name]
    saving.save_fit(result, tmp_path / "fit", html=False)
    assert [path.name for path in tmp_path.iterdir()] == ["fit"]


def test_values_of_a_fit_that_diverged_are_null(result: FitResult, tmp_path: Path) -> None:
    """With ``penalties="zero=1e30"`` a loss can overflow; the best point before that is kept, and saved."""
    (stage,) = result.stages
    ((run, *runs),) = stage.blocks
    seen = replace(run.evaluations[0], terms={"mse": math.inf}, gradients={"all": math.nan}, error_by_time=[math.nan, 1.0])
    diverged = replace(run, status="diverged", evaluations=[seen], losses=[{"mse": math.nan}, {"mse": 1.0}])
    other = replace(result, stages=(replace(stage, blocks=((diverged, *runs),)),))
    saving.save_fit(other, tmp_path / "fit")
    found = read_report(tmp_path / "fit")["training"]["stages"][0]["blocks"][0][0]
    assert found["status"] == "diverged"
    assert found["losses"] == [{"mse": None}, {"mse": 1.0}]
    (look,) = found["evaluations"]
    assert (look["terms"], look["gradients"], look["error_by_time"]) == ({"mse": None}, {"all": None}, [None, 1.0])
