"""The networks at equal size, compared with ``sine``; and settings of ``cascade``, ``stack`` and ``siren``."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch

from benchmarks.results import recordings, table
from ddaudio.fitting.run import fit
from ddaudio.io import audio
from ddaudio.options import FitOptions

NAMES = (
    "barks/1-100032-A.ogg",
    "speech/sentence-16k.wav",
    "instruments/piano-C5-stereo.ogg",
    "field/rain-stereo.flac",
    "birds/misc_crow.flac",
)
SHARE = 0.06
"""Parameters per sample, for all networks."""
SECONDS = 0.5
NETWORKS = {
    "sine": {"model": "sine"},
    "cascade": {"model": "cascade"},
    "surrogate": {"model": "surrogate"},
    "stack": {"model": "stack"},
    "siren": {"model": "siren"},
    "sine+cascade": {"model": "sine+cascade"},
}
CASCADE = {"model": "cascade", "frame_s": 0.02}
STACK, SIREN = {"model": "stack"}, {"model": "siren"}
SETTINGS = {
    "cascade": CASCADE,
    "cascade, `ladder = above-nyquist`": CASCADE | {"ladder": "above-nyquist"},
    "cascade, `ladder = linear`": CASCADE | {"ladder": "linear"},
    "cascade, `ladder = octave`": CASCADE | {"ladder": "octave"},
    "cascade, `phase = centred`": CASCADE | {"phase": "centred"},
    "cascade, `greedy`": CASCADE | {"greedy": True},
    "cascade, adam": CASCADE | {"optimiser": "adam"},
    "cascade, adam, `layer_decay = 0.9`": CASCADE | {"optimiser": "adam", "layer_decay": 0.9},
    "cascade, `activation = tanh`": CASCADE | {"activation": "tanh"},
    "cascade, `local`": CASCADE | {"local": True},
    "cascade, `local`, `grow_layers`": CASCADE | {"local": True, "grow_layers": True},
    "cascade, adam, `initialisation = random`": CASCADE | {"optimiser": "adam", "initialisation": "random"},
    "surrogate, adam, `initialisation = random`": {
        "model": "surrogate",
        "frame_s": 0.02,
        "optimiser": "adam",
        "initialisation": "random",
    },
    "stack": STACK,
    "stack, `positive = relu`": STACK | {"positive": "relu"},
    "stack, `positive = project`": STACK | {"positive": "project"},
    "stack, `pass_on`": STACK | {"pass_on": True},
    "stack, `initialisation = random`, 400 steps": STACK | {"initialisation": "random", "steps": 400},
    "siren": SIREN,
    "siren, 600 steps": SIREN | {"steps": 600},
    "siren, `span = -15,15`": SIREN | {"span": "-15,15"},
    "siren, one frame (`whole`)": SIREN | {"whole": True},
}


def run() -> tuple[str, list[str]]:
    """Fit the loudest half second of each recording with all networks, one with all settings; return title and tables."""
    found = recordings("barks", "speech", "instruments", "field", "birds")
    paths = [next(path for path in found if str(path).endswith(name)) for name in NAMES]
    tasks = [(path, settings) for settings in NETWORKS.values() for path in paths]
    tasks += [(paths[0], settings) for settings in SETTINGS.values()]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        done = list(pool.map(_fit, *zip(*tasks, strict=True)))
    rows = []
    for place, name in enumerate(NETWORKS):
        own = done[place * len(paths) : (place + 1) * len(paths)]
        over = mean((fit.snr_db or 0.0) - (sine.snr_db or 0.0) for fit, sine in zip(own, done, strict=False))
        rows.append((name, *(_snr(fit) for fit in own), f"{over:+.2f}", f"{mean(fit.seconds for fit in own):.1f}"))
    lines = [
        f"SNR in dB over the loudest half second of {len(paths)} recordings with at most {SHARE:g} parameters per sample. "
        "Seconds are those of one fit on one core, with a fit on each other core beside it.",
        "",
        *table(("network", *(path.stem for path in paths), "over sine", "mean s"), rows),
        "",
        f"Settings, on {paths[0].name}; cascades here have equal frames of 20 ms, and so has surrogate.",
        "",
    ]
    of_settings = zip(SETTINGS, done[len(NETWORKS) * len(paths) :], strict=True)
    rows = [
        (name, _snr(fit), str(fit.n_parameters), str(fit.steps), f"{fit.seconds:.1f}", fit.status) for name, fit in of_settings
    ]
    return (
        "cascade, surrogate, stack and siren at equal size",
        [*lines, *table(("settings", "SNR dB", "parameters", "steps", "s", "status"), rows)],
    )


def loudest(path: Path) -> audio.Recording:
    """Return the loudest half second of a recording, with its channels."""
    recording = audio.read(path)
    samples = recording.samples[:, :]
    length = min(round(SECONDS * recording.sample_rate), samples.shape[1])
    energy = samples.double().square().sum(0).cumsum(0)
    gains = energy[length - 1 :] - energy[: len(energy) - length + 1]
    first = int(gains.argmax())
    return audio.Recording(samples[:, first : first + length].clone(), recording.sample_rate, path.name)


class Row(NamedTuple):
    """Result of a fit."""

    snr_db: float | None
    n_parameters: int
    steps: int
    seconds: float
    status: str


def _fit(path: Path, settings: dict[str, object]) -> Row:
    """Fit the loudest half second of a recording on one core."""
    torch.set_num_threads(1)
    sound = loudest(path)
    n_parameters = round(SHARE * sound.n_channels * sound.n_samples)
    result = fit(sound, FitOptions(), budget=n_parameters, **settings)
    steps = sum(stage.evaluations[-1].step for one in result.stages for stages in one.blocks for stage in stages)
    row = Row(result.snr_db, result.n_parameters, steps, sum(result.seconds.values()), result.status)
    print(f"{path.name} {settings}: {row}", flush=True)
    return row


def _snr(row: Row) -> str:
    return "-" if row.snr_db is None else f"{row.snr_db:.2f}"
