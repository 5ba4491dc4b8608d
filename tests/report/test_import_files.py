"""Files of other programs as folders with a model, a sound and a page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commands import run
from exchanged import RATE, error_db, glide, random_tracks, rendered, steady
from sounds import fit_waves, pluck

import ddaudio
from ddaudio.editing.exchange import ats, midi, sdif, spear, tracks_csv
from ddaudio.editing.exchange.exporting import export_file
from ddaudio.editing.exchange.importing import import_model
from ddaudio.editing.exchange.track_data import NoiseBands
from ddaudio.errors import DdaudioError, ExchangeError, OptionError, OutputError
from ddaudio.report.import_files import import_to_folder

FILES = {
    "sdif": sdif.write_rbep(random_tracks()),
    "ats": ats.write(steady([440.0, 1000.0])),
    "spear": spear.write(random_tracks()),
    "tracks-csv": tracks_csv.write(random_tracks()),
    "midi": midi.write(replace(glide()[0], pitch=glide()[1])),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_a_model_with_a_sound(name: str, tmp_path: Path) -> None:
    path, out = tmp_path / "file", tmp_path / "model"
    path.write_bytes(FILES[name])
    code, printed, messages = run("import", path, "--out", out, "--sample-rate", "16000", "--no-html")
    assert code == 0, messages
    assert f"16000 Hz from {name}, model tracks with" in printed
    sound, rate = soundfile.read(out / "resynth.wav")
    assert rate == RATE
    model = ddaudio.load_model(out)
    assert np.abs(ddaudio.render(model)[:, :].numpy()[0] - sound).max() < 1e-5  # values of the file are float32
    # What can be imported can be exported, rendered and shown.
    assert run("export", out, "--format", "sdif", "--out", tmp_path / "again.sdif")[0] == 0
    assert run("info", out)[0] == 0
    code, _, messages = run("import", path, "--out", out)
    assert code == 2
    assert "overwrite it with --force" in messages


def test_an_imported_model_is_the_sound_of_its_tracks(tmp_path: Path) -> None:
    """Knots move to whole samples, with their phases."""
    data = replace(random_tracks(4), bandwidth=np.zeros(48))
    (tmp_path / "a.sdif").write_bytes(sdif.write_rbep(data))
    made = import_to_folder(tmp_path / "a.sdif", tmp_path / "out")
    assert error_db(ddaudio.render(ddaudio.load_model(tmp_path / "out"))[:, :].double(), rendered(data)) < -35
    assert made.report["origin"] == [{"command": "import", "sources": [str(tmp_path / "a.sdif")], "settings": {"format": "sdif"}}]
    assert "import" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_model_of_json_renders_the_same_bits_from_its_folder(tmp_path: Path) -> None:
    ddaudio.save_fit(fit_waves(pluck(0.3), steps=3), tmp_path / "fit", html=False)
    export_file(tmp_path / "fit", tmp_path / "model.json", "model-json")
    import_to_folder(tmp_path / "model.json", tmp_path / "again", html=False)
    one, other = (ddaudio.render(ddaudio.load_model(tmp_path / name))[:, :] for name in ("fit", "again"))
    assert torch.equal(one, other)
    assert (tmp_path / "fit/model.safetensors").read_bytes() == (tmp_path / "again/model.safetensors").read_bytes()


def test_noise_of_ats_is_noise_of_the_model() -> None:
    power = np.zeros((201, 25))
    power[:, 8:20] = 1e-5
    data = replace(steady([440.0]), noise=NoiseBands(0.005, power))
    network = import_model(ats.write(data)).network
    assert network.title == "tracks+noise"
    noise = network.terms[1].estimate().double()
    # Twelve bands; the scatter of a second of 6 kHz is 0.06 dB, and the fit of levels is within 0.3 dB.
    assert abs(10 * np.log10(float(noise.square().mean()) / 12e-5)) < 0.5


def test_what_is_lost_is_noted() -> None:
    assert import_model(FILES["spear"]).notes == ("the file has no sample rate: 44100 Hz",)
    assert import_model(FILES["sdif"]).notes == ("bandwidths are left out: amplitudes are those of the sinusoidal parts",)
    high = sdif.write_rbep(steady([440.0, 3000.0]))
    assert import_model(high, sample_rate=4000).notes == ("skipped 1 tracks that reach 2000 Hz or more",)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            b"RIFF....WAVE",
            "cannot be imported: it is of no known format; allowed: tracks-csv, model-json, sdif, ats, spear, midi",
        ),
        (b"", "cannot be imported: it is of no known format"),
        (FILES["sdif"][:-5], r"cannot be imported: the frame at byte \d+ has \d+ bytes"),
        (FILES["ats"][:-5], "cannot be imported: it has .* values, but its header declares"),
        (FILES["midi"][:100], "cannot be imported: it cannot be read as MIDI"),
        (b'{"ddaudio_model": "4"}', "cannot be imported: it has no settings or no tensors"),
        (b"par-text-frame-format\n", "it is par-text-frame-format, of points by frame; in SPEAR, choose the export format"),
    ],
)
def test_damaged_and_foreign_files_are_refused_and_nothing_is_written(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ExchangeError, match=words):
        import_to_folder(tmp_path / "file", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(FILES["sdif"])
    with pytest.raises(OptionError, match="sample_rate"):
        import_to_folder(tmp_path / "file", tmp_path / "out", sample_rate=1)
    with pytest.raises(ExchangeError, match="cannot be read: No such file"):
        import_to_folder(tmp_path / "none", tmp_path / "out")
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="is a file, not a folder"):
        import_to_folder(tmp_path / "file", tmp_path / "out")
    long = sdif.write_rbep(replace(steady([440.0]), n_samples=1 << 39))
    with pytest.raises(DdaudioError, match=r"its sound has .* h in 1 channels"):
        import_model(long)
