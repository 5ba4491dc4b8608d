"""Whatever is in a file, reading it ends in a result or a `DdaudioError`: mutations of each kind of file, with a fixed seed."""

import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from batches import QUICK, write_tones
from safetensors.torch import save
from sounds import fit_waves as fit
from sounds import pluck

import ddaudio
from ddaudio.batching.inputs import find
from ddaudio.batching.results_table import read_table
from ddaudio.comparing.curve_file import CurveFile
from ddaudio.comparing.results import Comparison
from ddaudio.comparing.run import _read_paces
from ddaudio.comparing.runs import Curve, Run
from ddaudio.editing.tables import partials_table
from ddaudio.errors import BatchError, DdaudioError, ModelError, ReportError
from ddaudio.io.atomic import JOURNAL, OWNER, SCRATCH, clear_leftovers
from ddaudio.io.audio import Recording
from ddaudio.io.formats import MODEL_FORMAT
from ddaudio.io.locks import lock_file
from ddaudio.io.storage import MARK, open_storage
from ddaudio.io.tensor_file import checksummed_safetensors, read_tensors
from ddaudio.models.file import load_model, model_bytes
from ddaudio.options.compare import CompareOptions
from ddaudio.options.fit import read_settings
from ddaudio.results.inspect import model_facts
from ddaudio.results.read import read_report
from ddaudio.training import checkpoint_files
from ddaudio.training.checkpoints import Checkpoint

CASES = 300
ODD = [
    *(None, True, 0, -1, 1, 2, 3.5, 1e300, 2**31, 2**63, 2**64, 10**30, "", "sine", "x" * 1000, "\ud800", [], [1], {}, {"a": 1}),
    *([[[[]]]], 10**9, 10**12, -(2**63), "hann", 1e-320),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit of two networks."""
    folder = tmp_path_factory.mktemp("fits") / "pluck-fit"
    ddaudio.save_fit(fit(pluck(0.1), steps=1, model="sine+stack", budget=400), folder, html=False)
    return folder


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change a few bytes, cut, repeat or insert."""
    kind, at = chance.randrange(4), chance.randrange(len(data))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + chance.randbytes(chance.randrange(1, 40)) + data[at:]
    if kind == 2:
        return data[:at] + data[chance.randrange(len(data)) :]
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 6)):
        changed[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(changed)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in nested dicts and lists."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(inner, (*path, key))


def with_odd_value(contents: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """Replace or remove something in nested dicts and lists."""
    changed = json.loads(json.dumps(contents))
    *above, last = chance.choice(list(places(changed)))
    place = changed
    for key in above:
        place = place[key]
    if chance.random() < 0.2:
        del place[last]
    else:
        place[last] = chance.choice(ODD)
    return changed


def read_or_refused(read: Callable[[], object]) -> bool:
    """Read; return whether it was refused, in words. Anything but a `DdaudioError` is a failure."""
    try:
        read()
    except DdaudioError as error:
        return bool(str(error))
    return False


def test_bytes_of_models(folder: Path, tmp_path: Path) -> None:
    data, chance, path = (folder / "model.safetensors").read_bytes(), random.Random(1), tmp_path / "model.safetensors"
    refused = 0
    for _ in range(CASES):
        path.write_bytes(changed := mutated(data, chance))
        refused += read_or_refused(lambda: load_model(path)) or changed == data
    # What is left are bytes that say the same, such as spaces of the header.
    assert refused >= CASES * 0.95


def test_settings_of_models_that_are_sealed_again(folder: Path, tmp_path: Path) -> None:
    metadata, tensors = read_tensors(folder / "model.safetensors")
    settings, chance, path = json.loads(metadata["settings"]), random.Random(2), tmp_path / "model.safetensors"
    refused = 0
    for _ in range(CASES):
        text = json.dumps(with_odd_value(settings, chance))
        path.write_bytes(checksummed_safetensors("ddaudio_model", MODEL_FORMAT.text, text, tensors))
        refused += read_or_refused(lambda: (partials_table(load_model(path), "csv"), model_facts(path)))
    assert refused >= CASES * 0.5


@pytest.mark.parametrize(
    "text", ["[1]", '"sine"', "3", "NaN", '{"signals": Infinity}', "[" * 50_000, '{"signals": 1' + "0" * 5000 + "}"]
)
def test_settings_of_models_that_are_none(text: str, folder: Path, tmp_path: Path) -> None:
    _, tensors = read_tensors(folder / "model.safetensors")
    path = tmp_path / "model.safetensors"
    path.write_bytes(checksummed_safetensors("ddaudio_model", MODEL_FORMAT.text, text, tensors))
    with pytest.raises(ModelError, match="contains no model that fits its settings"):
        load_model(path)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.complex64])
def test_types_of_tensors_that_no_model_has(kind: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"0.amplitude": torch.zeros(3).to(kind)}, {"ddaudio_model": MODEL_FORMAT.text, "settings": "{}"}))
    with pytest.raises(ModelError, match=r"cannot be read as a model: the tensor '0.amplitude' is of the type"):
        load_model(path)


@pytest.mark.parametrize(("name", "value"), [("samples", 10**9), ("samples", 10**13), ("signals", 10**9), ("signals", 1024)])
def test_a_small_file_is_refused_before_it_takes_much_memory(name: str, value: int, folder: Path, tmp_path: Path) -> None:
    """A model of a few kB whose settings claim a division into a thousand million cells; refused with the figure."""
    metadata, tensors = read_tensors(folder / "model.safetensors")
    settings, path = json.loads(metadata["settings"]) | {name: value}, tmp_path / "model.safetensors"
    for term in settings["terms"]:
        term["smallest_cell"] = term["largest_cell"] = 2
    path.write_bytes(checksummed_safetensors("ddaudio_model", MODEL_FORMAT.text, json.dumps(settings), tensors))
    with pytest.raises(ModelError, match=r"it has \d+ cells of time or more, but bits for \d+ at most|allowed: 1 to"):
        load_model(path)


@pytest.mark.parametrize(
    "settings", [{}, {"model": "double-dutch", "reading": "binary"}, {"model": "cascade"}, {"model": "double-dutch"}]
)
def test_a_small_file_with_a_frame_of_hours_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    """One cell and depth 24 took 103 s and 1.3 GB, or 4 TB, before the tensors were looked at."""
    network, path = fit(pluck(0.1), steps=1, frame_s=0.1, overlap=0.0, **settings).network, tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(network))
    metadata, tensors = read_tensors(path)
    claimed = json.loads(metadata["settings"])
    for samples in (2**25, 2**39):
        (term,) = claimed["terms"]
        claimed["samples"] = term["smallest_cell"] = term["largest_cell"] = samples
        if "depth" in term["network"]:
            term["network"]["depth"] = 24
        path.write_bytes(checksummed_safetensors("ddaudio_model", MODEL_FORMAT.text, json.dumps(claimed), tensors))
        with pytest.raises(ModelError, match=f"cells of {samples} samples; allowed: up to 480002, those of 60 s"):
            load_model(path)


def test_trees_with_more_ropes_than_any_fit_has_are_refused(tmp_path: Path) -> None:
    """Silent trees take a bit each in a file, and flags of all of their ropes in memory: these 8.6 GB."""
    network = fit(pluck(0.1), model="double-dutch", steps=1, frame_s=0.1, overlap=0.0, depth=4).network
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes(network))
    metadata, _ = read_tensors(path)
    claimed = json.loads(metadata["settings"])
    (term,) = claimed["terms"]
    cell, frames = 2**20, 4096  # 2.7 s each
    claimed |= {"samples": cell * frames, "sample_rate": 384_000}
    term["smallest_cell"] = term["largest_cell"] = cell
    term["network"]["depth"] = 20
    words = frames // 32
    tensors = {
        "0.division": torch.zeros(0),
        "0.shape": torch.zeros(words),
        "0.cutoff": torch.zeros(0),
        "0.amplitude": torch.zeros(0, 1),
    }
    tensors |= {name: tensors[name].int() for name in ("0.division", "0.shape")}
    path.write_bytes(checksummed_safetensors("ddaudio_model", MODEL_FORMAT.text, json.dumps(claimed), tensors))
    with pytest.raises(ModelError, match="the trees have 8589926400 ropes, used or not; allowed: up to 2147483648"):
        load_model(path)


@pytest.mark.parametrize("model", ["sine", "cascade", "surrogate", "double-dutch", "stack", "siren"])
def test_models_of_silence_can_be_read(model: str, tmp_path: Path) -> None:
    """A silent frame has a bit in some networks: 625 frames are more than the values of the file."""
    result = fit(Recording(torch.zeros(1, 80_000), 8000), model=model, frame_s=0.02)
    (tmp_path / "model.safetensors").write_bytes(model_bytes(result.network))
    assert not bool(ddaudio.render(load_model(tmp_path))[:, :].any())


def test_curves_of_comparisons() -> None:
    run = Run("tone", "all", "sine", "mse=1", 0, "converged", "as it is", metrics={"snr_db": 3.5}, n_parameters=7, seconds=0.1)
    whole = CurveFile("key", False, run, Curve([0, 2], [0.1, 0.2], [1.0, 0.5], [None, 3.0]))
    assert CurveFile.parse(whole.data()) == whole
    chance, refused = random.Random(7), 0
    contents = json.loads(whole.data())
    for case in range(CASES):
        odd = case % 2 and json.dumps(with_odd_value(contents, chance)).encode()
        try:
            found = CurveFile.parse(odd or mutated(whole.data(), chance))
        except ValueError:
            refused += 1
            continue
        # What is read can be shown: a text for a number ended the comparison after all fits, without tables.
        Comparison("", {}, (found.run,), (found.curve,), False).csv()
        Comparison("", {}, (found.run,), (found.curve,), False).markdown()
        found.curve.steps_to(0.9)
    assert refused >= CASES * 0.6


def test_step_times_of_comparisons(tmp_path: Path) -> None:
    path, chance = tmp_path / "paces.json", random.Random(8)
    contents = {"a": {"start_s": 0.1, "step_s": 0.01}, "b": {"start_s": 0.0, "step_s": 1e-6}}
    for case in range(CASES):
        odd = case % 2 and json.dumps(with_odd_value(contents, chance)).encode()
        path.write_bytes(odd or mutated(json.dumps(contents).encode(), chance))
        for pace in _read_paces(path).values():
            assert pace.steps_in(1.0) >= 1


def test_journals_and_marks_of_scratch_folders(tmp_path: Path) -> None:
    """Whatever a journal or a mark contains, nothing outside of the folder is touched, and nothing is raised."""
    chance, parent, other = random.Random(9), tmp_path / "out", tmp_path / "other"
    other.mkdir()
    (other / "kept").write_text("kept")
    odd_names = [
        "../other",
        "..",
        "/",
        "a\0b",
        "\ud800",
        "",
        ".",
        "fit",
        str(other),
        "x" * 300,
        3,
        None,
        [],
        ["a", "../other/kept"],
    ]
    for case in range(CASES):
        home = parent / f"{SCRATCH}{case}"
        (home / "new").mkdir(parents=True)
        (home / "new" / "a").write_text("new")
        mark = {"ddaudio": "scratch", "pid": 2**30 if case % 3 else chance.choice(ODD), "host": socket.gethostname()}
        journal: dict[str, Any] = {"to": "fit", "names": ["a"], "new": ["a"]}
        journal[chance.choice([*journal])] = chance.choice([*odd_names, *([name] for name in odd_names)])
        data = [json.dumps(each).encode() for each in (mark, journal)]
        if case % 4 == 0:
            which = chance.randrange(2)
            data[which] = mutated(data[which], chance)
        (home / OWNER).write_bytes(data[0])
        (home / JOURNAL).write_bytes(data[1])
        clear_leftovers(parent)
        assert [path.name for path in other.iterdir()] == ["kept"]
        assert {path.name for path in tmp_path.iterdir()} == {"out", "other"}
        shutil.rmtree(parent)


def test_holders_of_locks(tmp_path: Path) -> None:
    path, chance = tmp_path / "lock", random.Random(10)
    data = json.dumps({"ddaudio": "lock", "pid": 1, "host": "here"}).encode()
    for case in range(CASES):
        odd = case % 2 and json.dumps(with_odd_value(json.loads(data), chance)).encode()
        path.write_bytes(odd or mutated(data, chance))
        descriptors: list[int] = []
        read_or_refused(lambda: descriptors.append(lock_file(path, "it is in use")))  # noqa: B023 - called at once
        for descriptor in descriptors:
            os.close(descriptor)


def test_marks_of_outputs(tmp_path: Path) -> None:
    """The mark of a batch, and of a checkpoint: only what carries it is ever removed."""
    chance = random.Random(11)
    for case in range(CASES // 3):
        folder = tmp_path / str(case)
        folder.mkdir()
        (folder / MARK).write_bytes(chance.choice([b"", b"{}", b"[]", b"\xff", chance.randbytes(30), b'{"ddaudio": "batch"']))
        read_or_refused(lambda: open_storage(folder).prepare())  # noqa: B023 - called at once
        read_or_refused(lambda: Checkpoint(folder, {}, 0.0, resume=True))  # noqa: B023 - called at once


def test_lists_of_recordings(tmp_path: Path) -> None:
    sound = write_tones(tmp_path / "in", 1)
    chance, path = random.Random(12), tmp_path / "list.txt"
    data = f"# sounds\n{sound}/tone 0.wav\n\n{sound}\n".encode()
    output = open_storage(tmp_path / "out")
    for _ in range(CASES):
        changed = mutated(data, chance)
        at = chance.randrange(len(changed) + 1)
        path.write_bytes(
            changed[:at] + chance.choice([b"\0", b"\xff", b"\xed\xa0\x80", b"x" * 5000, b"s3x://y\n", b"://"]) + changed[at:]
        )
        read_or_refused(lambda: find([str(path)], output))


def test_files_of_variants(tmp_path: Path) -> None:
    chance, path = random.Random(13), tmp_path / "variants.toml"
    data = b'[late]\nschedule = "rise"\n[many]\nsteps = 30\nlosses = ["mse=1"]\n'
    for _ in range(CASES):
        path.write_bytes(mutated(data, chance))
        read_or_refused(lambda: CompareOptions(variants=str(path)).entries({}))


def test_reports(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "fit")
    path, data, chance = tmp_path / "fit" / "report.json", (folder / "report.json").read_bytes(), random.Random(3)
    refused = 0
    for case in range(CASES):
        odd = case % 2 and json.dumps(with_odd_value(json.loads(data), chance)).encode()
        path.write_bytes(odd or mutated(data, chance))
        refused += read_or_refused(lambda: read_report(tmp_path / "fit"))
    assert refused >= CASES * 0.5


def test_a_report_whose_numbers_are_text_is_fitted_again_by_a_batch(tmp_path: Path) -> None:
    """It ended the batch after all fits, without tables."""
    sounds, output = write_tones(tmp_path / "in", 1), tmp_path / "out"
    ddaudio.batch(sounds, output, **QUICK)
    path = output / "tone 0.wav-fit" / "report.json"
    contents = json.loads(path.read_text())
    contents["metrics"]["snr_db"]["value"] = "12"
    path.write_text(json.dumps(contents))
    assert ddaudio.batch(sounds, output, **QUICK).contents["fitted"] == 1


def test_results_of_batches(tmp_path: Path) -> None:
    ddaudio.batch(write_tones(tmp_path / "in", 2), tmp_path / "out", **QUICK)
    data, chance = (tmp_path / "out" / "results.parquet").read_bytes(), random.Random(4)
    rows, refused = list(read_table(BytesIO(data))), 0
    for _ in range(CASES):
        changed = mutated(data, chance)
        refused += read_or_refused(lambda changed=changed: list(read_table(BytesIO(changed)))) or changed == data
    assert refused >= CASES * 0.75, "pages carry checksums; what is left is in the footer, such as statistics"
    for cut in (b"", data[:100], data[4:]):
        with pytest.raises(BatchError, match="the table of results is damaged"):
            list(read_table(BytesIO(cut)))
    assert len(rows) == 2


def test_checkpoints(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    log = Checkpoint(whole, {"settings": {"steps": 3}}, 0.0)
    log.begin([torch.zeros(3)])
    log.end(lambda: checkpoint_files.Snapshot({"parameter.0": torch.ones(3)}, {"history": []}))
    log.begin([torch.ones(3)])
    log.note(lambda: checkpoint_files.Snapshot({"parameter.0": torch.ones(3)}, {"history": []}))
    chance, refused, path = random.Random(5), 0, tmp_path / "kept"
    for case in range(CASES):
        shutil.copytree(whole, path)
        name = (checkpoint_files.HEAD, checkpoint_files.STATE, "run-00000.safetensors")[case % 3]
        data = (path / name).read_bytes()
        (path / name).write_bytes(changed := mutated(data, chance))
        refused += read_or_refused(lambda: Checkpoint(path, {"settings": {"steps": 3}}, 0.0, resume=True)) or changed == data
        shutil.rmtree(path)
    assert refused >= CASES * 0.9


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 50_000, "seed = 1" + "0" * 5000, "[training]\nsteps = 1" + "0" * 5000, "\ufeff[training]\nsteps = 2", "a"],
)
def test_settings_in_toml(text: str, tmp_path: Path) -> None:
    path = tmp_path / "fit.toml"
    path.write_text(text, encoding="utf-8")
    read_or_refused(lambda: read_settings(path))


def test_bytes_of_toml(folder: Path, tmp_path: Path) -> None:
    data, chance, path = (folder / "fit.toml").read_bytes(), random.Random(6), tmp_path / "fit.toml"
    for _ in range(CASES):
        path.write_bytes(mutated(data, chance))
        read_or_refused(lambda: ddaudio.FitOptions().with_settings(read_settings(path)))


def test_a_report_of_an_earlier_format_names_the_versions_that_read_it(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "fit")
    path = tmp_path / "fit" / "report.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 5}))
    with pytest.raises(
        ReportError,
        match="is a report of format 5, which development versions after",
    ):
        read_report(tmp_path / "fit")
