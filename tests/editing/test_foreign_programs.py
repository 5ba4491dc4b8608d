"""Files that other programs read: Csound (Debian's packages csound and csound-utils), Loris and mido."""

import io
import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from exchanged import RATE, glide, random_tracks
from numpy.typing import NDArray

from ddaudio.editing.exchange import ats, midi, sdif
from ddaudio.editing.exchange.track_data import NoiseBands, Points, TrackData, from_points

needs_csound = pytest.mark.skipif(
    shutil.which("csound") is None or shutil.which("sdif2ad") is None, reason="Csound is not installed: csound, csound-utils"
)
CSOUND_RATE = 16_384
"""A multiple of it is what adsyn can play: its oscillator steps through a table of 16,384 samples by whole numbers."""
ORCHESTRA = """<CsoundSynthesizer>
<CsOptions>
-W -f -o {out} -d -m0
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
i 1 0 {duration}
</CsScore>
</CsoundSynthesizer>
"""


def played(folder: Path, code: str, rate: int, duration_s: float = 1.0) -> NDArray[np.float64]:
    """Return the sound of an instrument."""
    path, out = folder / "play.csd", folder / "out.wav"
    path.write_text(ORCHESTRA.format(out=out, rate=rate, code=code, duration=duration_s))
    done = subprocess.run(["csound", str(path)], capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return soundfile.read(out)[0]


def tones(frequencies: list[float], levels: list[float], rate: int) -> TrackData:
    """Return steady tones that last 1.2 s."""
    track = np.repeat(np.arange(len(frequencies)), 25)
    time_s = np.tile(np.arange(25) * 0.05, len(frequencies))
    data = from_points(Points(track, time_s, np.repeat(frequencies, 25), np.repeat(levels, 25)))
    return replace(data, sample_rate=rate, n_samples=round(1.2 * rate))


def measured(sound: NDArray[np.float64], frequency: float, rate: int) -> tuple[float, float]:
    """Return frequency in Hz and amplitude of the tone near a frequency: its phase and level in two windows 0.4 s apart."""
    n, length = np.arange(len(sound)), round(0.3 * rate)
    window = np.hanning(length)
    turning = sound * np.exp(-2j * math.pi * frequency * n / rate)
    found = [
        2 * (turning[begin : begin + length] * window).sum() / window.sum() for begin in (round(0.2 * rate), round(0.6 * rate))
    ]
    offset = np.angle(found[1] / found[0]) / (2 * math.pi * 0.4)
    return frequency + offset, float(np.abs(found).mean())


def assert_tones(sound: NDArray[np.float64], frequencies: list[float], levels: list[float], rate: int) -> None:
    """Check frequencies to 0.1 Hz and, after one gain, levels to 0.1 dB."""
    found = [measured(sound, frequency, rate) for frequency in frequencies]
    np.testing.assert_allclose([hz for hz, _ in found], frequencies, atol=0.1)
    ratios_db = 20 * np.log10([level / expected for (_, level), expected in zip(found, levels, strict=True)])
    assert np.ptp(ratios_db) < 0.1


@needs_csound
def test_csound_plays_1trc(tmp_path: Path) -> None:
    """Its converter keeps whole hertz, milliseconds and 1/32767 of full scale."""
    frequencies, levels = [440.0, 1000.0, 2345.0, 5001.0], [0.1, 0.2, 0.05, 0.02]
    (tmp_path / "a.sdif").write_bytes(sdif.write_1trc(tones(frequencies, levels, CSOUND_RATE)))
    done = subprocess.run(["sdif2ad", "a.sdif", "a.ads"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "4 partials written" in done.stdout + done.stderr
    sound = played(tmp_path, f'aout adsyn 1, 1, 1, "{tmp_path / "a.ads"}"', CSOUND_RATE)
    assert_tones(sound, frequencies, levels, CSOUND_RATE)


@needs_csound
def test_csound_plays_ats(tmp_path: Path) -> None:
    frequencies, levels = [440.5, 1000.25, 2345.0, 5001.75], [0.1, 0.2, 0.05, 0.02]
    (tmp_path / "a.ats").write_bytes(ats.write(tones(frequencies, levels, RATE)))
    code = f'ktime line 0, 1, 1\naout ATSsinnoi ktime, 1, 0, 1, "{tmp_path / "a.ats"}", 4'
    assert_tones(played(tmp_path, code, RATE), frequencies, levels, RATE)


@needs_csound
def test_csound_reads_the_same_curves_from_ats(tmp_path: Path) -> None:
    """Frequency and amplitude of a glide, as it interpolates them."""
    data, _ = glide()
    (tmp_path / "a.ats").write_bytes(ats.write(data))
    for place, column, tolerance in ((0, data.frequency_hz, 0.1), (1, data.amplitude, 0.002)):
        chosen = ("kfreq / 10000", "kamp")[place]
        code = f'ktime line 0, 1, 1\nkfreq, kamp ATSread ktime, "{tmp_path / "a.ats"}", 1\naout = a({chosen})'
        sound = played(tmp_path, code, RATE, 0.9) * (10_000, 1)[place]
        times = np.arange(len(sound)) / RATE
        error = np.abs(sound - np.interp(times, data.time_s, column))
        # The first sample is before the first control period.
        assert error[2:].max() < tolerance


@needs_csound
def test_csound_plays_the_noise_of_ats(tmp_path: Path) -> None:
    """It plays noise 1.4 dB louder than its own analysis, atsa, measures: the mean square of its generator is 1/9, not 0.08."""
    power = np.zeros((250, 25))
    power[:, [8, 14]] = 1e-3, 4e-3
    data = replace(tones([440.0], [1e-6], RATE), noise=NoiseBands(0.005, power))
    (tmp_path / "a.ats").write_bytes(ats.write(data))
    code = f'ktime line 0, 1, 1\naout ATSaddnz ktime, "{tmp_path / "a.ats"}", 25'
    sound = played(tmp_path, code, RATE)
    spectrum, hz = np.abs(np.fft.rfft(sound)) ** 2, np.fft.rfftfreq(len(sound), 1 / RATE)
    for low, high, expected in ((700, 1300, 1e-3), (1900, 3100, 4e-3)):
        found = 2 * spectrum[(hz > low) & (hz < high)].sum() / len(sound) ** 2
        assert abs(10 * np.log10(found / expected) - 1.4) < 1  # the scatter of a second in 160 and 320 Hz: 0.35 and 0.25 dB


def test_loris_reads_rbep_exactly(tmp_path: Path) -> None:
    """Its own reader; all bits of all knots."""
    loris = pytest.importorskip("loristrck", reason="loristrck is not installed")
    data = random_tracks(5, n_tracks=20)
    (tmp_path / "a.sdif").write_bytes(sdif.write_rbep(data))
    partials, _ = loris.read_sdif(str(tmp_path / "a.sdif"))
    columns = (data.time_s, data.frequency_hz, data.amplitude, data.phase_rad, data.bandwidth)
    assert [len(partial) for partial in partials] == data.counts.tolist()
    assert np.array_equal(np.concatenate(partials), np.stack(columns, axis=1))


@pytest.mark.filterwarnings("ignore:`row_stack` alias is deprecated:DeprecationWarning")  # by numpyx
def test_what_loris_writes_is_read(tmp_path: Path) -> None:
    """Its writer divides points among frames with time offsets, which are added again to 1e-12 s, and drops the last frame."""
    loris = pytest.importorskip("loristrck", reason="loristrck is not installed")
    data = random_tracks(6, n_tracks=3)
    columns = (data.time_s, data.frequency_hz, data.amplitude, data.phase_rad, data.bandwidth)
    partials = np.split(np.stack(columns, axis=1), data.starts[1:])
    loris.write_sdif(partials, str(tmp_path / "a.sdif"))
    found = sdif.read((tmp_path / "a.sdif").read_bytes())
    for number, partial in enumerate(partials):
        own = found.owner == number
        kept = int(own.sum())
        assert kept >= len(partial) - 1
        np.testing.assert_allclose(found.time_s[own], partial[:kept, 0], atol=1e-12)
        assert np.array_equal(found.frequency_hz[own], partial[:kept, 1])
        assert np.array_equal(found.phase_rad[own], partial[:kept, 3])


def test_loris_has_the_same_phases(tmp_path: Path) -> None:
    """A steady tone that it synthesises is a cosine of the phase at the first knot."""
    loris = pytest.importorskip("loristrck", reason="loristrck is not installed")
    data = from_points(Points(np.zeros(3, dtype=np.int64), np.array([0.0, 0.5, 1.0]), np.full(3, 1000.0), np.full(3, 0.5)))
    data = replace(data, phase_rad=data.phase_rad + 1.0)
    (tmp_path / "a.sdif").write_bytes(sdif.write_rbep(data))
    partials, _ = loris.read_sdif(str(tmp_path / "a.sdif"))
    sound = loris.synthesize(partials, 48_000)[4800:43_200]
    n = np.arange(4800, 4800 + len(sound))
    turned = np.angle((sound * np.exp(-2j * math.pi * 1000 / 48_000 * n)).sum())
    assert abs(turned - 1.0) < 0.05


def test_mido_reads_mpe_within_a_cent() -> None:
    """Bends of a glide by its own parser: 0.6 cents at the times of its messages, of ticks of 0.5 ms."""
    mido = pytest.importorskip("mido", reason="mido is not installed")
    data, pitch = glide()
    file = mido.MidiFile(file=io.BytesIO(midi.write(replace(data, pitch=pitch))))
    now, key, bends = 0.0, None, []
    controls = []
    for message in file:
        now += message.time
        if message.type == "note_on":
            key = message.note
        if message.type == "pitchwheel":
            bends.append((now, message.pitch / 8192 * 48))
        if message.type == "control_change":
            controls.append((message.channel, message.control, message.value))
    assert controls[:3] == [(0, 101, 0), (0, 100, 6), (0, 6, 15)]
    assert {(1, 101, 0), (1, 100, 0), (1, 6, 48)} <= set(controls)
    assert key is not None
    at, bend = np.array(bends).T
    # Compared at the value that each message is of, the nearest in time: every 5 ms.
    expected = 69 + 12 * np.log2(pitch.f0_hz[np.round(at / 0.005).astype(int)] / 440)
    assert np.abs(key + bend - expected).max() * 100 < 0.6
