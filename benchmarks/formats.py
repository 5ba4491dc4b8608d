"""What files of other programs keep of a model, and what these programs make of them."""

import io
import math
import shutil
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.results import table
from ddaudio import fit
from ddaudio.editing.exchange import ats, midi, sdif
from ddaudio.editing.exchange.exporting import export_model, tracks_of_model
from ddaudio.editing.exchange.importing import import_model
from ddaudio.editing.exchange.track_data import PitchLine, Points, TrackData, from_points
from ddaudio.io import audio
from ddaudio.models import Network

HOME = Path(__file__).parents[1] / "recordings"
NAMES = ("bark.wav", "bell.wav", "vowel.wav")
READ = ("sdif", "tracks-csv", "sdif-1trc", "ats", "spear")
GOAL_DB = 25.0
FREQUENCIES, LEVELS = [440.0, 1000.0, 2345.0, 5001.0], [0.1, 0.2, 0.05, 0.02]
CSOUND_RATE = 16_384
"""The oscillator of ``adsyn`` moves in whole steps through a table of so many samples."""
SCORE = """<CsoundSynthesizer>
<CsOptions>
-W -f -o out.wav -d -m0
</CsOptions>
<CsInstruments>
sr = {rate}
ksmps = 1
nchnls = 1
0dbfs = 1
instr 1
{code}
out aout
endin
</CsInstruments>
<CsScore>
i 1 0 1
</CsScore>
</CsoundSynthesizer>
"""


def run() -> tuple[str, list[str]]:
    """Export and import sample sounds in each format, and play files in Csound; return title and tables."""
    head = [
        "recording",
        "`--format`",
        "kB",
        "knots",
        "export (s)",
        "import (s)",
        "error to the tracks (dB)",
        "error to the waves (dB)",
    ]
    rows = [row for name in NAMES for row in _kept(name)]
    foreign = [*_csound(), _loris(), _mido()]
    return "models in files of other programs", [
        f"Fits of `sine` at {GOAL_DB:g} dB, exported and imported again; the waves are those of the fit, in cells.",
        "",
        *table(head, rows),
        "",
        *table(["file", "program", "measured", "result"], foreign),
    ]


def _waves(network: Network) -> Tensor:
    with torch.no_grad():
        return torch.stack([term.estimate() for term in network.terms if not term.is_noise]).sum(0).double()


def _error_db(estimate: Tensor, target: Tensor) -> str:
    length = target.shape[1]
    found = torch.nn.functional.pad(estimate[:, :length], (0, max(0, length - estimate.shape[1])))
    error = float((found - target).square().sum() / target.square().sum())
    return f"{10 * math.log10(error):.1f}" if error else "none"


def _kept(name: str) -> list[list[str]]:
    """Return a row for each format that is read, of one recording."""
    recording = audio.read(HOME / name)
    network = fit(recording, model="sine", target_snr_db=GOAL_DB).network
    waves, rows = _waves(network), []
    tracks: Tensor | None = None
    for file_format in READ:
        began = time.perf_counter()
        data = export_model(network, file_format).data
        exported = time.perf_counter()
        found = import_model(data, sample_rate=recording.sample_rate).network
        seconds = exported - began, time.perf_counter() - exported
        sound = _waves(found)
        tracks = sound if tracks is None else tracks
        times = [f"{one:.2f}" for one in seconds]
        errors = [_error_db(sound, tracks), _error_db(sound, waves)]
        rows.append([name, f"`{file_format}`", f"{len(data) / 1000:.0f}", str(found.n_components()), *times, *errors])
    return rows


def _tones(rate: int) -> TrackData:
    """Return steady tones of 1.2 s."""
    n = 25
    track = np.repeat(np.arange(len(FREQUENCIES)), n)
    times = np.tile(np.arange(n) * 0.05, len(FREQUENCIES))
    data = from_points(Points(track, times, np.repeat(FREQUENCIES, n), np.repeat(LEVELS, n)))
    return replace(data, sample_rate=rate, n_samples=round(1.2 * rate))


def _measured(sound: NDArray[np.float64], rate: int) -> str:
    """Return the largest error of frequency, and the range of errors of level, of the tones."""
    length, hertz, decibels = round(0.3 * rate), [], []
    window = np.hanning(length) / np.hanning(length).sum()
    for frequency, level in zip(FREQUENCIES, LEVELS, strict=True):
        turning = sound * np.exp(-2j * math.pi * frequency * np.arange(len(sound)) / rate)
        found = [2 * (turning[begin : begin + length] * window).sum() for begin in (round(0.2 * rate), round(0.6 * rate))]
        hertz.append(abs(float(np.angle(found[1] / found[0])) / (2 * math.pi * 0.4)))
        decibels.append(20 * math.log10(abs(found[0]) / level))
    return f"{max(hertz):.4f} Hz, {max(decibels) - min(decibels):.4f} dB"


def _csound() -> list[list[str]]:
    """Return the rows of tones that Csound plays."""
    if shutil.which("csound") is None or shutil.which("sdif2ad") is None:
        return [["1TRC, ATS", "Csound", "not installed", ""]]
    rows = []
    what = "largest error of four frequencies, range of level errors"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "a.sdif").write_bytes(sdif.write_1trc(_tones(CSOUND_RATE)))
        (folder / "a.ats").write_bytes(ats.write(_tones(CSOUND_RATE)))
        subprocess.run(["sdif2ad", "a.sdif", "a.ads"], cwd=folder, capture_output=True, check=True)
        codes = {
            "1TRC": 'aout adsyn 1, 1, 1, "a.ads"',
            "ATS": f'ktime line 0, 1, 1\naout ATSsinnoi ktime, 1, 0, 1, "a.ats", {len(FREQUENCIES)}',
        }
        for name, code in codes.items():
            (folder / "a.csd").write_text(SCORE.format(rate=CSOUND_RATE, code=code))
            subprocess.run(["csound", "a.csd"], cwd=folder, capture_output=True, check=True)
            sound = soundfile.read(folder / "out.wav")[0]
            program = "`sdif2ad`, `adsyn`" if name == "1TRC" else "`ATSsinnoi`"
            rows.append([name, f"Csound: {program}", what, _measured(sound, CSOUND_RATE)])
    return rows


def _loris() -> list[str]:
    """Return the row of RBEP in the reader of Loris."""
    try:
        import loristrck  # noqa: PLC0415 - optional
    except ImportError:
        return ["RBEP", "loristrck", "not installed", ""]
    data = tracks_of_model(fit(audio.read(HOME / "vowel.wav"), model="sine", target_snr_db=GOAL_DB).network)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "a.sdif"
        path.write_bytes(sdif.write_rbep(data))
        found = np.concatenate(loristrck.read_sdif(str(path))[0])
    columns = data.time_s, data.frequency_hz, data.amplitude, data.phase_rad, data.bandwidth
    same = np.array_equal(found, np.stack(columns, axis=1))
    return ["RBEP", "loristrck", f"all bits of {len(data.time_s)} knots", "equal" if same else "different"]


def _mido() -> list[str]:
    """Return the row of the bends of a glide."""
    try:
        import mido  # noqa: PLC0415 - optional
    except ImportError:
        return ["MIDI", "mido", "not installed", ""]
    times = np.arange(200) * 0.005
    hertz = 220 * 2 ** (7 / 12 * times + 0.3 / 12 * np.sin(2 * np.pi * 6 * times))
    data = from_points(Points(np.zeros(200, dtype=np.int64), times, hertz, np.full(200, 0.3)))
    file = mido.MidiFile(file=io.BytesIO(midi.write(replace(data, pitch=PitchLine(times, hertz)))))
    now, key, cents = 0.0, 0, []
    for message in file:
        now += message.time
        key = message.note if message.type == "note_on" else key
        if message.type == "pitchwheel":
            cents.append((message.pitch / 8192 * 48, hertz[round(now / 0.005)]))
    errors = [abs(100 * (key + bend - 69 - 12 * math.log2(one / 440))) for bend, one in cents]
    return ["MIDI", "mido", "largest error of the bends of a glide by a fifth with vibrato", f"{max(errors):.2f} cents"]
