"""Edits of fits of sounds that are known: attacks, pitch, formants, phases, noise, and seconds."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.results import recordings, table
from ddaudio.editing.edit import edit
from ddaudio.editing.editable import editable, network_of
from ddaudio.editing.morph import morph
from ddaudio.fitting.run import fit
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.models import Network

RATE = 44100
TONE_HZ, VIBRATO_CENTS, VIBRATO_HZ = 220.0, 20.0, 5.0
BURSTS_S, BURST_HZ, DECAY_S = (0.25, 0.75, 1.25, 1.75, 2.25, 2.75), 4000.0, 0.004
FORMANTS = ((700, 130), (1220, 140), (2600, 200), (3500, 250))
F0_HZ = 110.0
CONVERTED = ("barks", "birds", "speech", "instruments")
Floats = NDArray[np.float64]


def run() -> tuple[str, list[str]]:
    """Measure all of it; return title and tables."""
    rows = [*_nothing(), *_vowels(), _morph(), _channels(), _noise(), _seconds()]
    lines = [
        *table(("tone with bursts, stretched twice", "onset ms", "5-90 % ms", "pre-echo dB", "f1 rms cents"), _bursts()),
        "",
        "The tone has five harmonics of 220 Hz and a vibrato of 20 cents at 5 Hz; the bursts are six sinusoids of 4 kHz that",
        "decay in 4 ms. Onset: worst distance from twice the time; pre-echo: energy from 30 to 1 ms before a burst, of its own;",
        "f1: distance of the instantaneous frequency of the fundamental from that of half the time. Other programs stretch the",
        "recording itself.",
        "",
        *table(("what", "measured", "at least"), rows),
        "",
        *table(("recording", "partials", "knots", "SNR of the tracks against the partials, dB"), _conversions()),
    ]
    return "edits of fits", lines


def network_of_sound(samples: Floats, rate: int = RATE, snr_db: float = 50.0, model: str = "sine") -> Network:
    """Fit partials to samples ``[T]`` or ``[C, T]``."""
    recording = Recording(torch.from_numpy(np.atleast_2d(samples)).float(), rate, "made.wav")
    return fit(recording, model=model, target_snr_db=snr_db, max_parameters_per_sample=1.0).network


def sound_of(network: Network) -> Floats:
    """Return the samples of a model, ``[C, T]``."""
    with torch.no_grad():
        return torch.stack([term.estimate() for term in network.terms]).sum(0).double().numpy()


def burst_tone() -> tuple[Floats, Floats]:
    """Return a tone with bursts, and its fundamental frequency in Hz at each sample."""
    t = np.arange(3 * RATE) / RATE
    f0 = TONE_HZ * 2 ** (VIBRATO_CENTS / 1200 * np.sin(2 * np.pi * VIBRATO_HZ * t))
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    sound = sum(0.2 / number * np.sin(number * phase) for number in range(1, 6))
    local = np.arange(round(0.03 * RATE)) / RATE
    for at in BURSTS_S:
        first = round(at * RATE)
        sound[first : first + len(local)] += 0.5 * np.sin(2 * np.pi * BURST_HZ * local) * np.exp(-local / DECAY_S)
    return sound, f0


def _bursts() -> list[tuple[str, ...]]:
    sound, f0 = burst_tone()
    network = network_of_sound(sound, snr_db=55.0)
    rows = [
        ("recording, not stretched", *_burst_figures(sound, f0, 1.0)),
        ("fit, not stretched", *_burst_figures(sound_of(network)[0], f0, 1.0)),
    ]
    rows.append(("ddaudio", *_burst_figures(sound_of(edit(network, stretch=2))[0], f0, 2.0)))
    others: dict[str, Callable[[Floats], Floats]] = {
        "python-stretch (Signalsmith)": _signalsmith,
        "librosa phase vocoder": _vocoder,
    }
    for name, stretch in others.items():
        try:
            rows.append((name, *_burst_figures(stretch(sound), f0, 2.0)))
        except ImportError:
            rows.append((name, *["not installed"] * 4))
    rows.append(("at least", "0.5", "6", "-40", "5.5"))
    return rows


def _signalsmith(sound: Floats) -> Floats:
    import python_stretch  # noqa: PLC0415 - optional

    stretch = python_stretch.Signalsmith.Stretch()
    stretch.preset(1, RATE)
    stretch.timeFactor = 0.5
    found: Floats = stretch.process(sound[None].astype(np.float32))[0].astype(np.float64)
    return found


def _vocoder(sound: Floats) -> Floats:
    import librosa  # noqa: PLC0415 - optional

    found: Floats = librosa.effects.time_stretch(sound, rate=0.5)
    return found


def _burst_figures(sound: Floats, f0: Floats, factor: float) -> tuple[str, ...]:
    """Return worst onset error and width in ms, loudest pre-echo in dB, and the error of f1 in cents."""
    high = _filtered(sound, lambda hz: 0.5 - 0.5 * np.cos(np.pi * np.clip((hz - 1500) / 1500, 0, 1))) ** 2
    lead, errors, widths, echoes = round(0.04 * RATE), [], [], []
    for at in BURSTS_S:
        middle = round(at * factor * RATE)
        own = high[middle - lead : middle + 2 * lead]
        share = np.cumsum(own) / own.sum()
        smooth = np.convolve(own, np.ones(22) / 22, "same")
        errors.append(1000 * abs(int(np.argmax(smooth > 0.1 * smooth.max())) - lead) / RATE)
        widths.append(1000 * (np.searchsorted(share, 0.9) - np.searchsorted(share, 0.05)) / RATE)
        echoes.append(10 * np.log10(own[round(0.01 * RATE) : round(0.039 * RATE)].sum() / own.sum() + 1e-12))
    low = _filtered(sound, lambda hz: np.exp(-2 * ((hz - TONE_HZ) / 60) ** 2), analytic=True)
    found = np.angle(low[1:] * low[:-1].conj()) * RATE / (2 * np.pi)
    wanted = np.interp(np.arange(len(found)) / factor, np.arange(len(f0)), f0)
    inside = slice(round(0.2 * RATE), min(len(found), round(3 * factor * RATE)) - round(0.2 * RATE))
    cents = 1200 * np.log2(np.maximum(found[inside], 1) / wanted[inside])
    return f"{max(errors):.2f}", f"{max(widths):.1f}", f"{max(echoes):.1f}", f"{np.sqrt(np.mean(cents**2)):.2f}"


def _filtered(sound: Floats, gain: Callable[[Floats], Floats], *, analytic: bool = False) -> Floats:
    spectrum, hz = np.fft.fft(sound), np.fft.fftfreq(len(sound), 1 / RATE)
    kept = np.where(hz >= 0, gain(np.abs(hz)), 0 if analytic else gain(np.abs(hz)))
    found = np.fft.ifft(spectrum * kept)
    return found if analytic else found.real


def _nothing() -> list[tuple[str, ...]]:
    """Compare edits by nothing, and tracks that are written and read again, with the unedited render."""
    network = network_of_sound(burst_tone()[0][:RATE], snr_db=30.0)
    tracks = network_of(editable(network))
    rows = []
    for name, before, after in (
        ("edit by nothing (stretch 1, shift 0) of partials", network, edit(network, stretch=1, shift=0)),
        ("the same of tracks", tracks, edit(tracks, stretch=1, shift=0)),
        ("tracks as tracks again", tracks, network_of(editable(tracks))),
        ("morph 0 and 1", network, morph(network, tracks, 0)),
    ):
        one, other = sound_of(before), sound_of(after)
        error = float(np.square(one - other).sum())
        rows.append((name, "the same bits" if error == 0 else f"{10 * math.log10(np.square(one).sum() / error):.0f} dB", "90 dB"))
    return rows


def resonance(hz: Floats, formants: tuple[tuple[float, float], ...] = FORMANTS) -> Floats:
    """Return the level of a vowel at frequencies."""
    s, level = 2j * np.pi * hz, np.full(len(hz), 0.05)
    for centre, width in formants:
        pole = -np.pi * width + 2j * np.pi * centre
        level = level * np.abs(pole) ** 2 / np.abs((s - pole) * (s - pole.conjugate()))
    return level


def _vowels() -> list[tuple[str, ...]]:
    rate, count = 16000, 45
    t = np.arange(rate) / rate
    hz = F0_HZ * np.arange(1, count + 1)
    vowel = (resonance(hz)[:, None] * np.cos(2 * np.pi * hz[:, None] * t + 0.3 * np.arange(count)[:, None])).sum(0)
    network = network_of_sound(vowel, rate, 45.0)
    rows = []
    for semitones in (7, -7):
        sound = sound_of(edit(network, shift=semitones, keep_formants=True))[0]
        new = F0_HZ * 2 ** (semitones / 12)
        numbers = np.arange(1, min(count, int(4000 / new)) + 1)
        levels = np.abs([_level(sound, rate, new * number) for number in numbers])
        errors = 20 * np.log10(levels / resonance(new * numbers))
        half = len(sound) // 2
        first, second = (_level(part, rate, new) for part in (sound[:half], sound[half : 2 * half]))
        turn = math.remainder(np.angle(second) - np.angle(first) - 2 * np.pi * new / rate * half, 2 * np.pi)
        cents = 1200 * math.log2(1 + turn * rate / (2 * np.pi * half * new))
        worst = max(abs(_formant(new * numbers, levels, place) - 1) for place in range(len(FORMANTS)))
        measured = f"{abs(cents):.2f} cent, {100 * worst:.1f} %, {np.sqrt(np.mean(errors**2)):.2f} dB"
        rows.append(
            (f"vowel shifted by {semitones:+d} semitones: f0, worst formant, envelope", measured, "1 cent, 5 %, 2 dB rms")
        )
    return rows


def _formant(hz: Floats, levels: Floats, place: int) -> float:
    """Return by what a formant differs from where it was: the factor with which the resonances fit the levels best."""
    factors = np.linspace(0.85, 1.15, 121)
    near = np.abs(hz / FORMANTS[place][0] - 1) < 0.3
    costs = []
    for factor in factors:
        moved = tuple((centre * factor if number == place else centre, width) for number, (centre, width) in enumerate(FORMANTS))
        gaps = 20 * np.log10(levels[near] / resonance(hz[near], moved))
        costs.append(np.var(gaps))
    return float(factors[int(np.argmin(costs))])


def _level(sound: Floats, rate: int, hz: float) -> complex:
    """Return the complex amplitude of a sinusoid in a sound ``[T]``, at its beginning."""
    window = np.hanning(len(sound))
    return complex(2 * (sound * window * np.exp(-2j * np.pi * hz / rate * np.arange(len(sound)))).sum() / window.sum())


def _morph() -> tuple[str, ...]:
    rate, t = 16000, np.arange(16000) / 16000
    tones = [sum(0.2 / n * np.cos(2 * np.pi * f0 * n * t) for n in range(1, 6)) for f0 in (200.0, 300.0)]
    sound = sound_of(morph(*(network_of_sound(tone, rate) for tone in tones), 0.5))[0]
    worst, half = 0.0, len(sound) // 2
    for number in range(1, 6):
        hz = number * math.sqrt(200 * 300)
        first, second = (_level(part, rate, hz) for part in (sound[:half], sound[half : 2 * half]))
        turn = math.remainder(np.angle(second) - np.angle(first) - 2 * np.pi * hz / rate * half, 2 * np.pi)
        worst = max(worst, abs(1200 * math.log2(1 + turn * rate / (2 * np.pi * half * hz))))
    return "morph by half of two harmonic tones: worst distance from the geometric means", f"{worst:.2f} cent", "1 cent"


def _channels() -> tuple[str, ...]:
    rate, t = 16000, np.arange(16000) / 16000
    tone = np.stack([0.3 * np.cos(2 * np.pi * 440 * t), 0.2 * np.cos(2 * np.pi * 440 * t + 0.8)])
    network = network_of_sound(tone, rate, 40.0)
    gaps = []
    for sound in (sound_of(network), sound_of(edit(network, stretch=1.7))):
        left, right = (_level(channel, rate, 440.0) for channel in sound)
        gaps.append(np.angle(right / left))
    return (
        "panned tone stretched 1.7 times: phase between channels",
        f"{abs(math.remainder(gaps[1] - gaps[0], 2 * np.pi)):.4f} rad",
        "0.01 rad",
    )


def _noise() -> tuple[str, ...]:
    rate = 16000
    hiss = 0.1 * np.random.default_rng(0).standard_normal(3 * rate)
    network = fit(Recording(torch.from_numpy(hiss[None]).float(), rate, "noise.wav"), model="noise").network
    before, after = sound_of(network)[0], sound_of(edit(network, stretch=4))[0]
    gaps = []
    for low in (200, 500, 1000, 2000, 4000):
        powers = []
        for sound in (before, after):
            spectrum, hz = np.abs(np.fft.rfft(sound)) ** 2 / len(sound) ** 2, np.fft.rfftfreq(len(sound), 1 / rate)
            powers.append(spectrum[(hz >= low) & (hz < 1.9 * low)].sum())
        gaps.append(abs(10 * math.log10(powers[1] / powers[0])))
    correlation = np.fft.irfft(np.abs(np.fft.rfft(after, 2 * len(after))) ** 2)[: len(after)]
    peak = np.abs(correlation[round(0.05 * rate) :] / correlation[0]).max()
    return "noise stretched 4 times: worst band, autocorrelation beyond 50 ms", f"{max(gaps):.2f} dB, {peak:.3f}", "0.5 dB, 0.1"


def _seconds() -> tuple[str, ...]:
    path = next(path for path in recordings("barks") if path.name == "1-100032-A.ogg")
    network, seconds = fit(path).network, []
    for _ in range(3):
        begin = time.perf_counter()
        sound_of(edit(network, stretch=2))
        seconds.append(time.perf_counter() - begin)
    duration_s = network.shape[1] / network.sample_rate
    return f"a bark of {duration_s:.1f} s stretched twice and rendered, best of 3", f"{min(seconds):.2f} s", "1 s for 5 s"


def _conversions() -> list[tuple[str, ...]]:
    rows = []
    for folder in CONVERTED:
        for path in recordings(folder)[:2]:
            network = fit(audio.read(path), model="sine").network
            tracks = network_of(editable(network))
            one, other = sound_of(network), sound_of(tracks)
            snr_db = 10 * math.log10(np.square(one).sum() / max(1e-20, np.square(one - other).sum()))
            rows.append((f"{folder}/{path.name}", str(network.n_components()), str(tracks.n_components()), f"{snr_db:.1f}"))
            print(" | ".join(rows[-1]), flush=True)
    return rows
