"""Input, bad and odd: what the command refuses leaves everything as it was, and everything else is fitted."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from badfiles import BAD_FILES
from commands import FILES, QUICK, chirp, contents, run
from safetensors import safe_open
from safetensors.torch import save_file

from ddaudio.io.fit_files import fit_files


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "chirp.wav"
    soundfile.write(path, chirp(), 8000, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def model(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fitted") / "fit"
    assert run("fit", sound, "--out", folder, *QUICK)[0] == 0
    return folder / "model.safetensors"


def assert_refused(place: Path, words: tuple[str, ...], *arguments: str | Path) -> None:
    """Run a command that has to be refused in one line with these words, with nothing below ``place`` changed."""
    before, folders = contents(place), sorted(place.rglob("*"))
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("ddaudio: error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert contents(place) == before
    assert sorted(place.rglob("*")) == folders


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_recordings_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make, words = BAD_FILES[name]
    path = make(tmp_path)
    assert_refused(tmp_path, words, "fit", path, *QUICK)
    assert_refused(tmp_path, words if name != "directory" else (), "info", path)


@pytest.mark.parametrize("name", ["nan", "text"])
def test_a_refused_recording_leaves_the_earlier_fit(name: str, model: Path, tmp_path: Path) -> None:
    path = BAD_FILES[name][0](tmp_path)
    assert_refused(model.parent, BAD_FILES[name][1], "fit", path, "--out", model.parent, "--force")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--steps", "-1"), ("error: --steps is -1", "0 to 1000000")),
        (("--exchanges", "101"), ("error: --exchanges is 101", "0 to 100")),
        (("--target-snr", "500"), ("error: --target-snr is 500", "-10 to 140 dB")),
        (("--target-snr", "nan"), ("error: --target-snr is nan", "-10 to 140 dB")),
        (("--frame", "9"), ("error: --frame is 9", "0.0005 to 5 s")),
        (("--overlap", "1"), ("error: --overlap is 1", "0 to 0.5")),
        (("--overlap", "0.6", "--frame", "0.05"), ("error: --overlap is 0.6", "0 to 0.5")),
        (("--overlap", "0.3"), ("error: --overlap is 0.3, but frame lengths are adaptive", "give --frame as well")),
        (("--sample-rate", "12"), ("error: --sample-rate is 12", "1000 to 384000 Hz")),
        (("--partials", "0"), ("error: --partials is 0", "1 to 10000")),
        (("--max-parameters-per-sample", "9"), ("error: --max-parameters-per-sample is 9", "0.0001 to 4")),
        (("--budget", "9", "--partials", "2"), ("error: --budget is 9 and --partials is 2", "give only one")),
        (("--budget", "9", "--target-snr", "2"), ("error: --target-snr is 2.0 and --budget is 9", "give only one")),
        (
            ("--optimiser", "gauss-newton", "--losses", "mse,phase"),
            (
                "--optimiser is 'gauss-newton' and --losses is 'mse,phase', but phase has no curvature, which gauss-newton "
                "needs; use --optimiser adam",
            ),
        ),
        (("--budget", "many"), ("--budget", "many")),
        (("--window", "han"), ("--window", "Did you mean", "hann")),
        (("--losses", "mse=1,pld=1"), ("losses names 'pld'", "did you mean 'pdl'?")),
        (("--losses", "mse=-1"), ("'mse', with the weight -1", "above 0")),
        (("--model", "sin"), ("model names 'sin'", "did you mean 'sine'?")),
        (("--optimizer", "adam"), ("Unknown option: --optimizer", "Did you mean --optimiser?")),
        (("--target-snr-db", "3"), ("Unknown option: --target-snr-db", "Did you mean --target-snr?")),
        (("--config", "no.toml"), ("there is no settings file 'no.toml'", "give a TOML file")),
    ],
)
def test_bad_options_are_refused(
    arguments: tuple[str, ...], words: tuple[str, ...], sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(tmp_path, words, "fit", sound, *arguments)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[training]\nsteppes = 3\n", ("'steppes'", "[training]", "did you mean 'steps'?")),
        ("[trainng]\nsteps = 3\n", ("'trainng'", "did you mean 'training'?")),
        ("[model]\nsteps = 3\n", ("'steps'", "[model]")),
        ("[training]\nsteps = 1.5\n", ("steps is 1.5", "whole number")),
        ("[training]\nsteps = -3\n", ("steps is -3", "0 to 1000000")),
        ("[grid]\nwindow = 3\n", ("'mine.toml': window is 3", "hann")),
        ("[grid]\noverlap = 0.3\n", ("'mine.toml': overlap is 0.3", "give frame_s as well")),
        (
            "[training]\noptimiser = 'gauss-newton'\nlosses = 'phase'\n",
            ("'mine.toml': optimiser is 'gauss-newton'", "use optimiser='adam'"),
        ),
        ("[training\n", ("cannot be read as TOML",)),
    ],
)
def test_bad_settings_files_are_refused(
    text: str, words: tuple[str, ...], sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(text)
    assert_refused(tmp_path, words, "fit", sound, "--config", "mine.toml")


def test_a_budget_without_room_is_refused_with_the_least_that_has(sound: Path, tmp_path: Path) -> None:
    given = ("fit", sound, "--out", tmp_path / "fit", "--model", "sine", "--frame", "0.02")
    words = (
        "error: --budget is 9, too few for one component beside the frames",
        "allowed: 33 or more; raise --budget, or set a longer --frame",
    )
    assert_refused(tmp_path, words, *given, "--budget", "9")
    assert_refused(tmp_path, ("--budget is 32", "33 or more"), *given, "--budget", "32")
    assert run(*given, "--budget", "33")[0] == 0
    report = json.loads((tmp_path / "fit" / "report.json").read_text())
    assert (report["model"]["n_parameters"], report["model"]["n_components"], report["goal"]["reached"]) == (33, 1, True)


def test_a_goal_beyond_the_cap_is_fitted_and_doubted(sound: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        "fit", sound, "--out", tmp_path / "fit", *QUICK, "--target-snr", "70", "--max-parameters-per-sample", "0.05"
    )
    report = json.loads((tmp_path / "fit" / "report.json").read_text())
    assert code == 0
    assert "of 70 dB at the cap of 0.05 parameters per sample" in out.splitlines()[0]
    assert report["goal"] == {"name": "target_snr_db", "asked": 70.0, "reached": False}
    assert report["model"]["parameters_per_sample"] <= 0.05


def test_words_that_are_no_command_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(tmp_path, ("Unknown command", "Did you mean", "fit"), "fti", "a.wav")
    assert_refused(tmp_path, ("RECORDING requires an argument",), "fit")
    assert_refused(tmp_path, ("--out requires an argument",), "render", "a.safetensors")


# outputs


def test_places_that_cannot_hold_a_fit_are_refused(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    assert_refused(tmp_path, ("is a file, not a folder", "--out"), "fit", sound, "--out", tmp_path / "file")
    assert_refused(tmp_path, ("Not a directory", "--out"), "fit", sound, "--out", tmp_path / "file" / "deep" / "er")
    own = tmp_path / "resynth.wav"
    own.write_bytes(sound.read_bytes())
    assert_refused(tmp_path, ("contains the recording itself",), "fit", own, "--out", tmp_path, "--force")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    assert_refused(tmp_path, ("cannot be written to", "--out"), "fit", sound, "--out", tmp_path / "closed" / "fit")


@pytest.mark.parametrize("force", [False, True])
def test_a_full_disk_leaves_everything_as_it_was(force: bool, sound: Path, model: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    place = model.parent if force else tmp_path
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limits[1]))  # resynth.wav has 9.6 kB
    try:
        out = place if force else place / "fit"
        code, said, err = run("fit", sound, "--out", out, *QUICK, "--budget", "60", *["--force"] * force)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, said) == (2, "")
    assert err.startswith("ddaudio: error: cannot write")
    assert err.count("\n") == 1
    assert sorted(contents(place)) == (FILES if force else [])
    if force:
        report = json.loads((place / "report.json").read_text())
        assert report["goal"]["name"] == "target_snr_db"


# models


def _rewritten(model: Path, folder: Path, **changes: str) -> Path:
    with safe_open(model, framework="pt") as file:
        metadata = {**file.metadata(), **changes}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    save_file(tensors, folder / "model.safetensors", metadata)
    return folder / "model.safetensors"


def _other_version(model: Path, folder: Path) -> Path:
    return _rewritten(model, folder, ddaudio_model="99")


def _version_before(model: Path, folder: Path) -> Path:
    return _rewritten(model, folder, ddaudio_model="2")


def _changed_division(model: Path, folder: Path) -> Path:
    with safe_open(model, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        metadata = file.metadata()
    tensors["0.division"] = torch.cat([tensors["0.division"], torch.ones(1, dtype=torch.int32)])
    save_file(tensors, folder / "model.safetensors", metadata)
    return folder / "model.safetensors"


def _changed_settings(model: Path, folder: Path) -> Path:
    with safe_open(model, framework="pt") as file:
        settings = file.metadata()["settings"]
    return _rewritten(model, folder, settings=settings.replace("8000", "9000"))


def _changed_number(model: Path, folder: Path) -> Path:
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    return folder / "model.safetensors"


def _cut(model: Path, folder: Path) -> Path:
    (folder / "model.safetensors").write_bytes(model.read_bytes()[:-10])
    return folder / "model.safetensors"


def _sound_as_model(_: Path, folder: Path) -> Path:
    soundfile.write(folder / "a.wav", chirp(), 8000)
    return (folder / "a.wav").rename(folder / "model.safetensors")


def _foreign(model: Path, folder: Path) -> Path:
    with safe_open(model, framework="pt") as file:
        save_file({"weight": file.get_tensor("0.cosine")}, folder / "model.safetensors")
    return folder / "model.safetensors"


def _missing(_: Path, folder: Path) -> Path:
    return folder / "model.safetensors"


BAD_MODELS = [
    (_other_version, ("a model of format 99", "this one reads format 4", "update ddaudio")),
    (_version_before, ("a model of format 2", "this one reads format 4", "fit the recording again")),
    (_changed_division, ("was changed after it was written", "fit the recording again")),
    (_changed_settings, ("was changed after it was written", "fit the recording again")),
    (_changed_number, ("was changed after it was written", "fit the recording again")),
    (_cut, ("cannot be read as a model",)),
    (_sound_as_model, ("cannot be read as a model", "give model.safetensors of a fit")),
    (_foreign, ("not a ddaudio model", "give model.safetensors of a fit")),
    (_missing, ("there is no model file", "give the folder of a fit")),
]


@pytest.mark.parametrize(("make", "words"), BAD_MODELS)
def test_bad_models_are_refused(make: Callable[[Path, Path], Path], words: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    path = make(model, tmp_path)
    assert_refused(tmp_path, words, "render", path, "--out", tmp_path / "a.wav")
    assert_refused(tmp_path, words, "export", path)
    assert_refused(tmp_path, words, "info", path)
    (tmp_path / "a.wav").write_text("precious")
    assert_refused(tmp_path, words, "render", path, "--out", tmp_path / "a.wav", "--force")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--sample-rate", "999"), ("error: --sample-rate is 999", "1000 to 384000 Hz")),
        (("--partials", "-1"), ("error: --partials is -1", "0 or more")),
        (("--encoding", "pcm8"), ("--encoding", "pcm16")),
        (("--partails", "3"), ("Unknown option: --partails", "Did you mean --partials?")),
    ],
)
def test_bad_render_options_are_refused(arguments: tuple[str, ...], words: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    assert_refused(tmp_path, words, "render", model, "--out", tmp_path / "a.wav", *arguments)


def test_bad_export_options_are_refused(model: Path, tmp_path: Path) -> None:
    assert_refused(tmp_path, ("--format", "csv", "json"), "export", model, "--format", "xml")


# odd, but fitted

SUMMARY = ["warnings", "reached", "size", "time", "files"]
ODD: dict[str, tuple[np.ndarray, int]] = {
    "silence": (np.zeros(2400, np.float32), 8000),
    "dc-only": (np.full(2400, 0.25, np.float32), 8000),
    "one-sample": (np.array([0.5], np.float32), 8000),
    "two-samples": (np.array([0.5, -0.25], np.float32), 8000),
    "shorter-than-a-frame": (chirp()[:50], 8000),
    "eight-channels": (np.stack([chirp() * (1 - channel / 8) for channel in range(8)], axis=1), 8000),
    "4-khz": (chirp(0.3, 4000), 4000),
    "192-khz": (chirp(0.05, 192_000), 192_000),
    "clipped": (np.clip(8 * chirp(), -1, 1), 8000),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_recordings_are_fitted(name: str, tmp_path: Path) -> None:
    samples, sample_rate = ODD[name]
    path = tmp_path / f"{name}.wav"
    soundfile.write(path, samples, sample_rate, subtype="FLOAT")
    code, out, err = run("fit", path, "--out", tmp_path / "fit", "--steps", "5", "--target-snr", "20")
    report = json.loads((tmp_path / "fit" / "report.json").read_text())
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if not line.startswith("pitch ")] == SUMMARY
    assert sorted(contents(tmp_path / "fit")) == sorted(fit_files(noise=True))
    for file in ("resynth.wav", "waves.wav", "noise.wav", "residual.wav"):
        head = soundfile.info(tmp_path / "fit" / file)
        assert (head.frames, head.channels, head.samplerate) == (
            len(samples),
            np.atleast_2d(samples.T).shape[0],
            sample_rate,
        )
    parts = [soundfile.read(tmp_path / "fit" / file, dtype="float32")[0] for file in ("waves.wav", "residual.wav")]
    assert np.abs(sum(parts) - samples).max() < 1e-6
    if name == "silence":
        assert (report["model"]["n_components"], report["model"]["n_parameters"] > 0) == (0, True)
        assert not parts[0].any()
        assert run("export", tmp_path / "fit", "--format", "json")[1].strip() == "[]"
        assert "strongest" not in run("info", tmp_path / "fit")[1]
        assert "none: digital silence" in run("info", path)[1]
    else:
        assert (np.square(parts[1]).sum() < 0.1 * np.square(samples).sum()) or "goal missed" in out
    assert ("input clipped" in out.splitlines()[0]) == (name == "clipped")
    assert run("render", tmp_path / "fit", "--out", tmp_path / "again.wav")[0] == 0
    assert len(soundfile.read(tmp_path / "again.wav")[0]) == len(samples)


def test_a_file_that_ends_early_is_fitted_and_said_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    soundfile.write(path, np.stack([chirp(), chirp()], axis=1), 8000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[: 44 + 4 * 1500])
    code, out, _ = run("fit", path, "--out", tmp_path / "fit", *QUICK)
    report = json.loads((tmp_path / "fit" / "report.json").read_text())
    said = "input truncated: the file ends after 1500 of 2400 samples"
    assert code == 0
    assert said in out.splitlines()[0]
    assert any(said in doubt for doubt in report["warnings"])
    assert (report["recording"]["samples"], report["recording"]["declared_samples"]) == (1500, 2400)
    assert soundfile.info(tmp_path / "fit" / "resynth.wav").frames == 1500
    assert json.loads(run("info", path, "--json")[1])["cut_short"] is True
    assert "cut short yes" in " ".join(run("info", path)[1].split())


def test_resampling_on_input_is_kept_in_the_outputs(sound: Path, tmp_path: Path) -> None:
    assert run("fit", sound, "--out", tmp_path / "fit", *QUICK, "--sample-rate", "12000")[0] == 0
    head = soundfile.info(tmp_path / "fit" / "resynth.wav")
    assert (head.samplerate, head.frames) == (12000, 3600)


@pytest.mark.parametrize("name", ["bark é 音.wav", "-dash.wav", "[bold]x.wav", "a b.tar.wav"])
def test_odd_file_names_work(name: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(sound.read_bytes())
    code, out, err = run("fit", *QUICK, "--", name)
    folder = name.removesuffix(".wav") + "-fit"
    assert (code, err) == (0, "")
    assert f"files    {folder}: " in out
    assert sorted(contents(tmp_path / folder)) == FILES
    assert name in run("info", "--", name)[1]


# command lines


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "a.wav", "--steps", "2.5"), "--steps: '2.5' is not a whole number"),
        (("fit", "a.wav", "--seed", "1.7"), "--seed: '1.7' is not a whole number"),
        (("fit", "a.wav", "--sample-rate", "8000.6"), "--sample-rate: '8000.6' is not a whole number"),
        (("render", "a", "--out", "b.wav", "--sample-rate", "8000.6"), "--sample-rate: '8000.6' is not a whole number"),
        (("landscape", "--tone", "100", "--samples", "100.5"), "--samples: '100.5' is not a whole number"),
        (("batch", "a", "--out", "b", "--workers", "1.5"), "--workers: '1.5' is not a whole number"),
        (("fit", "a.wav", "b.wav"), "unexpected arguments: 'b.wav'; fit several recordings with ddaudio batch"),
        (("info", "a.wav", "b.wav"), "unexpected arguments: 'b.wav'"),
        (("info", "-"), "standard input cannot be read; give the path of a file"),
        (("fit", "--", "-x.wav", "--quiet"), "'--quiet' is after --, where only paths are expected; give flags before --"),
        (("fit", "a.wav", "--model", "siren", "--span", "-1,-2"), "--span is '-1,-2'; allowed: seconds, or two rising numbers"),
    ],
)
def test_wrong_command_lines_are_refused_with_the_way_out(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(tmp_path, (words,), *arguments)


def test_a_settings_file_may_begin_with_a_byte_order_mark(sound: Path, tmp_path: Path) -> None:
    config = tmp_path / "bom.toml"
    config.write_bytes(b"\xef\xbb\xbf[training]\nsteps = -3\n")
    assert_refused(tmp_path, ("steps is -3", "0 to 1000000"), "fit", sound, "--config", config)
