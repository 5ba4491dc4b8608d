"""Make the five sample sounds beside this file: `uv run python recordings/make.py`.

Every sound is synthetic and has a closed form plus, where it needs noise, a generator with a fixed seed: running the
script twice on one machine gives the same bytes. Across machines the last bit of a sample may differ, because the
mathematical functions of the platform may.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

Samples = NDArray[np.float64]
Knots = Sequence[tuple[float, float]]

SAMPLE_RATE = 44_100
PEAK = 0.7

SWEEP_S = 3.0
SWEEP_START_HZ = 50.0
SWEEP_END_HZ = 12_800.0

BELL_HZ = 392.0
# Ratio to the prime, level, seconds to fall by 60 dB, and the split of the pair in Hz: it beats that often a second.
# The ratios are those of a tuned church bell: hum, prime, tierce (a minor third), quint, nominal and upper partials.
BELL_PARTIALS = (
    (0.500, 0.50, 5.0, 0.7),
    (1.000, 0.80, 3.8, 1.3),
    (1.183, 1.00, 3.2, 1.9),
    (1.506, 0.35, 2.2, 2.4),
    (2.000, 0.90, 2.4, 3.1),
    (2.514, 0.30, 1.5, 4.0),
    (2.662, 0.30, 1.3, 4.6),
    (3.011, 0.40, 1.2, 5.3),
    (4.166, 0.30, 0.8, 6.5),
    (5.433, 0.20, 0.5, 8.0),
    (6.796, 0.12, 0.3, 9.0),
)

VOWEL_HZ = 220.0
VIBRATO_HZ = 5.5
VIBRATO_CENTS = 60.0
# Centre in Hz, bandwidth in Hz, level in dB: a tenor's "ah", its third to fifth formants close together.
VOWEL_FORMANTS = (
    (650.0, 80.0, 0.0),
    (1080.0, 90.0, -5.0),
    (2650.0, 120.0, -8.0),
    (2900.0, 130.0, -9.0),
    (3250.0, 140.0, -13.0),
)

# Pitch of the two barks in Hz at seconds after each onset.
BARK_ONSETS_S = (0.08, 0.82)
BARK_PITCHES: tuple[Knots, ...] = (
    ((0.0, 300.0), (0.03, 520.0), (0.075, 700.0), (0.12, 650.0), (0.17, 460.0), (0.22, 250.0)),
    ((0.0, 280.0), (0.035, 460.0), (0.085, 600.0), (0.135, 560.0), (0.19, 400.0), (0.25, 220.0)),
)

STEP_S = 0.15
STEPS = 16


def times_s(duration_s: float) -> Samples:
    """Return the times of all samples in seconds, from 0 up to but without `duration_s`."""
    return np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE


def white(rng: np.random.Generator, n_samples: int) -> Samples:
    """Return white noise between -1 and 1: uniform, since it comes straight from the generator's bits."""
    return rng.uniform(-1.0, 1.0, n_samples)


def band(signal: Samples, low_hz: float, high_hz: float) -> Samples:
    """Keep the part of `signal` between two frequencies (Butterworth, 12 dB an octave on each side)."""
    return np.asarray(sosfilt(butter(2, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE, output="sos"), signal))


def curve(knots: Knots, seconds: Samples) -> Samples:
    """Draw a smooth line through `(seconds, value)` knots: no overshoot, flat before the first and after the last."""
    at, values = np.array(knots).T
    return np.asarray(PchipInterpolator(at, values)(np.clip(seconds, at[0], at[-1])))


def fade(n_samples: int, in_s: float, out_s: float) -> Samples:
    """Return a gain of 1 that rises from 0 and falls back to 0 in half periods of a raised cosine."""
    position = np.arange(n_samples) / SAMPLE_RATE
    rise = np.clip(position / in_s, 0.0, 1.0)
    fall = np.clip(position[::-1] / out_s, 0.0, 1.0)
    return np.asarray(0.25 * (1 - np.cos(np.pi * rise)) * (1 - np.cos(np.pi * fall)))


def turns_of(pitch_hz: Samples) -> Samples:
    """Integrate a pitch to periods since the start."""
    return np.cumsum(pitch_hz) / SAMPLE_RATE


def pulses(pitch_hz: Samples, tilt: float) -> Samples:
    """Return a glottal pulse train without aliases: harmonics at level `k ** -tilt`, faded out from 16 to 20 kHz."""
    turns = turns_of(pitch_hz)
    train = np.zeros_like(turns)
    for harmonic in range(1, int(20_000 / pitch_hz.min()) + 1):
        audible = np.clip((20_000 - harmonic * pitch_hz) / 4_000, 0.0, 1.0)
        train += audible * harmonic**-tilt * np.cos(2 * np.pi * harmonic * turns)
    return train


def resonate(signal: Samples, centre_hz: Samples | float, bandwidth_hz: float, block: int = 32) -> Samples:
    """Filter with one resonance of gain 1 at its centre, which may glide: two poles, zeros at 0 Hz and Nyquist.

    The coefficients follow `centre_hz` every `block` samples, and the filter's state is handed on.
    """
    centres = np.broadcast_to(centre_hz, signal.shape)
    radius = np.exp(-np.pi * bandwidth_hz / SAMPLE_RATE)
    gain = (1 - radius**2) / 2
    out, state = np.empty_like(signal), np.zeros(2)
    for start in range(0, signal.size, block):
        part = slice(start, start + block)
        middle = -2 * radius * np.cos(2 * np.pi * centres[start] / SAMPLE_RATE)
        out[part], state = lfilter([gain, 0.0, -gain], [1.0, middle, radius**2], signal[part], zi=state)
    return out


def room(signal: Samples, rng: np.random.Generator, decay_s: float, level: float) -> Samples:
    """Add a small room: noise that starts 6 ms late and falls by 60 dB in `decay_s`, the high part twice as fast."""
    seconds = times_s(decay_s)
    tail = white(rng, seconds.size)
    low = band(tail, 150.0, 1_500.0) * 10 ** (-3 * seconds / decay_s)
    high = band(tail, 1_500.0, 9_000.0) * 10 ** (-6 * seconds / decay_s)
    response = np.concatenate([np.zeros(round(0.006 * SAMPLE_RATE)), low + 0.5 * high])
    response *= level / np.sqrt(np.sum(response**2))
    return np.asarray(signal + fftconvolve(signal, response)[: signal.size])


def throat(source: Samples, seconds: Samples, end_s: float) -> Samples:
    """Pass a source through a dog's mouth, which opens to the middle of the bark and closes again at `end_s`.

    Five resonances side by side; neighbours have opposite signs, so that they do not cancel between their centres.
    """
    opening = curve(((0.0, 0.0), (0.35 * end_s, 1.0), (0.6 * end_s, 0.9), (end_s, 0.0)), seconds)
    first, second = 560 + 340 * opening, 1_150 + 500 * opening
    third = 2_500 + 250 * opening
    voiced = resonate(source, first, 160.0) - 0.75 * resonate(source, second, 220.0)
    voiced += 0.45 * resonate(source, third, 320.0) - 0.18 * resonate(source, 4_100.0, 500.0)
    return np.asarray(voiced + 0.1 * resonate(source, 6_000.0, 900.0))


def one_bark(pitch: Knots, rng: np.random.Generator) -> Samples:
    """Make one bark from its pitch: pulses with jitter and growl, breath that follows them, one throat for both."""
    end_s = pitch[-1][0]
    seconds = times_s(end_s + 0.03)
    wobble = resonate(white(rng, seconds.size), 60.0, 120.0)
    pitch_hz = np.exp(curve([(at, np.log(hz)) for at, hz in pitch], seconds)) * (1 + 0.25 * wobble)
    turns = turns_of(pitch_hz)
    # Every second pulse weaker: a tone an octave below, which is the growl. Least where the voice is loudest.
    growl = curve(((0.0, 0.5), (0.25 * end_s, 0.08), (0.55 * end_s, 0.1), (end_s, 0.6)), seconds)
    voice = pulses(pitch_hz, 1.1) * (1 + growl * np.cos(np.pi * turns)) * (1 + 1.5 * wobble)
    breath = 0.8 * white(rng, seconds.size) * (0.6 + 0.4 * np.cos(2 * np.pi * turns))
    rise, fall = ((0.0, 0.0), (0.02, 0.45), (0.055, 1.0)), ((0.5 * end_s, 0.75), (0.72 * end_s, 0.2), (end_s, 0.0))
    strength = curve((*rise, *fall), seconds)
    burst = curve(((0.0, 0.0), (0.008, 0.4), (0.03, 0.2), (0.07, 0.0)), seconds) * white(rng, seconds.size)
    return throat((voice + breath) * strength + burst, seconds, end_s)


def bark() -> Samples:
    """Make two barks of one dog in a small room, the second lower and longer."""
    rng = np.random.default_rng(1)
    dry = np.zeros(times_s(1.6).size)
    for onset_s, pitch, level in zip(BARK_ONSETS_S, BARK_PITCHES, (1.0, 0.85), strict=True):
        voice = one_bark(pitch, rng)
        start = round(onset_s * SAMPLE_RATE)
        dry[start : start + voice.size] += level * voice / np.abs(voice).max()
    return room(dry, rng, 0.5, 0.2) * fade(dry.size, 0.001, 0.05)


def bell() -> Samples:
    """Make a struck church bell: pairs of partials that beat, each with its own decay, and the clapper's noise."""
    seconds = times_s(3.0)
    ring = np.zeros(seconds.size)
    for ratio, level, fall_s, split_hz in BELL_PARTIALS:
        decay = level * 10 ** (-3 * seconds / fall_s)
        for side, share in ((-0.5, 0.6), (0.5, 0.4)):
            ring += share * decay * np.sin(2 * np.pi * (BELL_HZ * ratio + side * split_hz) * seconds)
    strike = band(white(np.random.default_rng(2), seconds.size), 1_500.0, 9_000.0) * np.exp(-seconds / 0.006)
    return np.asarray((ring + 1.5 * strike) * fade(seconds.size, 0.0005, 0.2))


def sweep() -> Samples:
    """Make an exponential sine sweep, 50 Hz to 12.8 kHz: eight octaves, each in the same time.

    With `k = ln(end / start) / duration` the frequency is `start * exp(k t)` and the phase its integral,
    `2 pi start (exp(k t) - 1) / k`. Half way the frequency is the geometric mean of the ends, 800 Hz.
    """
    seconds = times_s(SWEEP_S)
    rate = np.log(SWEEP_END_HZ / SWEEP_START_HZ) / SWEEP_S
    phase = 2 * np.pi * SWEEP_START_HZ * np.expm1(rate * seconds) / rate
    return np.asarray(np.sin(phase) * fade(seconds.size, 0.02, 0.02))


def vowel() -> Samples:
    """Make a sung "ah" on A3: vibrato that sets in after the onset, a little breath, five formants side by side."""
    rng = np.random.default_rng(3)
    seconds = times_s(2.5)
    depth = VIBRATO_CENTS / 1_200 * curve(((0.0, 0.0), (0.4, 0.0), (1.0, 1.0)), seconds)
    pitch_hz = VOWEL_HZ * 2 ** (depth * np.sin(2 * np.pi * VIBRATO_HZ * seconds))
    source = pulses(pitch_hz, 1.0) + 0.05 * white(rng, seconds.size)
    sung = np.zeros(seconds.size)
    for index, (centre_hz, bandwidth_hz, level_db) in enumerate(VOWEL_FORMANTS):
        sung += (-1) ** index * 10 ** (level_db / 20) * resonate(source, centre_hz, bandwidth_hz)
    return room(sung * fade(seconds.size, 0.08, 0.45), rng, 0.5, 0.15) * fade(seconds.size, 0.001, 0.02)


def kick() -> Samples:
    """Make a bass drum: a sine that falls from 190 to 48 Hz, and a click."""
    seconds = times_s(0.35)
    tone = np.sin(2 * np.pi * turns_of(48 + 142 * np.exp(-seconds / 0.025))) * np.exp(-seconds / 0.10)
    click = np.sin(2 * np.pi * 2_500 * seconds) * np.exp(-seconds / 0.002)
    return np.asarray((tone + 0.2 * click) * fade(seconds.size, 0.001, 0.05))


def snare(rng: np.random.Generator) -> Samples:
    """Make a snare drum: two modes of the skin and the noise of the wires."""
    seconds = times_s(0.28)
    skin = np.sin(2 * np.pi * 185 * seconds) + 0.6 * np.sin(2 * np.pi * 331 * seconds)
    wires = band(white(rng, seconds.size), 1_200.0, 9_500.0) * np.exp(-seconds / 0.06)
    return np.asarray((0.5 * skin * np.exp(-seconds / 0.045) + 1.3 * wires) * fade(seconds.size, 0.001, 0.05))


def hat(rng: np.random.Generator, ring_s: float) -> Samples:
    """Make a hi-hat: six square waves without a common period, and noise, all above 6 kHz."""
    seconds = times_s(5 * ring_s)
    plates = sum(np.sign(np.sin(2 * np.pi * hz * seconds)) for hz in (2_051, 3_043, 3_693, 4_123, 5_401, 8_003))
    metal = band(plates / 6 + white(rng, seconds.size), 6_500.0, 16_000.0)
    return np.asarray(metal * np.exp(-seconds / ring_s) * fade(seconds.size, 0.001, 0.01))


def drums() -> Samples:
    """Make one bar of drums in stereo, 100 beats a minute: what rings past the end sounds at the start, so it loops."""
    rng = np.random.default_rng(4)
    loop = np.zeros((round(STEPS * STEP_S * SAMPLE_RATE), 2))

    def hit(step: int, sound: Samples, level: float, pan: float) -> None:
        """Add a sound at a step of the bar, panned from -1 (left) to 1 (right) at constant power."""
        angle = (pan + 1) * np.pi / 4
        at = (round(step * STEP_S * SAMPLE_RATE) + np.arange(sound.size)) % len(loop)
        loop[at] += level * sound[:, None] * np.array([np.cos(angle), np.sin(angle)])

    for step in (0, 6, 8, 11):
        hit(step, kick(), 1.0 if step in {0, 8} else 0.8, 0.0)
    for step, level in ((4, 0.8), (12, 0.8), (15, 0.25)):
        hit(step, snare(rng), level, -0.3)
    for step in range(0, STEPS, 2):
        hit(step, hat(rng, 0.12 if step == 14 else 0.025), 0.6 if step % 4 else 0.45, 0.6)
    return loop


SOUNDS: dict[str, Callable[[], Samples]] = {"bark": bark, "bell": bell, "sweep": sweep, "vowel": vowel, "drums": drums}


def write_all(folder: Path) -> list[Path]:
    """Write every sound to `folder` as 16-bit PCM WAV, its peak at `PEAK` of full scale; return the paths."""
    paths = []
    for name, make in SOUNDS.items():
        samples = make()
        steps = np.round(samples * (PEAK * 2**15 / np.abs(samples).max())).astype(np.int16)
        paths.append(folder / f"{name}.wav")
        soundfile.write(paths[-1], steps, SAMPLE_RATE, subtype="PCM_16")
    return paths


if __name__ == "__main__":
    for path in write_all(Path(__file__).parent):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
