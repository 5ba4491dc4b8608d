"""Sounds with a known pitch at each time."""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ddaudio.io.audio import Recording

Floats = NDArray[np.float64]
FORMANTS = ((700, 80), (1150, 90), (2450, 120), (3400, 150))
"""Frequencies and bandwidths of a vowel like that in "father", in Hz."""


def vowel(seconds: float = 2.0, rate: int = 16000) -> tuple[Recording, Floats]:
    """Return a vowel that glides by octaves per second from 100 to 400 Hz, and its pitch at each sample.

    Harmonics that fall with 1 / n, through resonances in cascade, each with a gain of 1 at 0 Hz.
    """
    time_s = np.arange(round(seconds * rate)) / rate
    f0_hz = 100 * 4 ** (time_s / seconds)
    turn = 2 * np.pi * (f0_hz - 100) * seconds / math.log(4)
    sound = np.zeros_like(time_s)
    for n in range(1, 80):
        hz = n * f0_hz
        gain = np.where(hz < 0.475 * rate, 1 / n, 0)
        for middle_hz, width_hz in FORMANTS:
            gain = gain * middle_hz**2 / np.hypot(middle_hz**2 - hz**2, hz * width_hz)
        sound += gain * np.cos(n * turn)
    return Recording(torch.from_numpy(0.5 * sound / np.abs(sound).max()).float()[None], rate, "vowel.wav"), f0_hz


def chirp(seconds: float = 1.0, rate: int = 44100) -> tuple[Recording, Floats]:
    """Return a sinusoid that glides evenly from 5 to 8 kHz, and its frequency at each sample."""
    time_s = np.arange(round(seconds * rate)) / rate
    turn = 2 * np.pi * (5000 * time_s + 1500 * time_s**2 / seconds)
    return Recording(torch.from_numpy(0.5 * np.cos(turn)).float()[None], rate, "chirp.wav"), 5000 + 3000 * time_s / seconds


def cents_off(time_s: Floats, f0_hz: Floats, truth_hz: Floats, rate: int) -> Floats:
    """Return the distance of a pitch from the truth at its times, in cents; NaN where there is none."""
    there = truth_hz[np.minimum(np.round(time_s * rate).astype(int), len(truth_hz) - 1)]
    found: Floats = 1200 * np.abs(np.log2(f0_hz / there))
    return found
