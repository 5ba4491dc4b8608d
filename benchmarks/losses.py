"""Effect of each loss on the same networks with the same initial values, alone and added to mse."""

import math
from dataclasses import replace
from statistics import mean, median

import torch

from benchmarks.results import recordings, table
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit
from ddaudio.io import audio
from ddaudio.io.audio import Recording
from ddaudio.losses import Objective, StepInfo
from ddaudio.metrics.measure import measure, snr_db
from ddaudio.options import FitOptions

NAMES = (
    "barks/4-191687-A.ogg",
    "birds/killdeer.wav",
    "instruments/violin-B3.wav",
    "percussion/drum_snare_hard.flac",
)
LOSSES = (
    "mae",
    "huber",
    "pdl",
    "pdl:by-distance",
    "pdl:by-inverse-distance",
    "pdl:absolute",
    "pdl:huber",
    "pdl:long-range",
    "pdl:far-to-near",
    "pdl:all-pairs",
    "pdl:all-pairs:by-distance",
    "pdl:all-pairs:by-inverse-distance",
    "pdl:all-pairs:absolute",
    "pdl:all-pairs:huber",
    "slope",
    "first-difference",
    "mss",
    "mss:ddsp",
    "mss:smooth",
    "mel",
    "delta-time",
    "delta-frequency",
    "phase",
    "axis",
    "auraloss:ESRLoss",
    "auraloss:SISDRLoss",
)
ROBUST = ("mse", "mae", "huber", "pdl:all-pairs:huber", "pdl:absolute", "first-difference", "mss:smooth")
"""Losses that are tried on recordings with clicks."""
CLICKS_PER_S = 40
LONGEST_S = 0.5
SHARE = 0.03
STEPS = 40
METRICS = ("snr_db", "lsd_db", "mr_stft", "mel_db", "onset_flux")


def run() -> tuple[str, list[str]]:
    """Fit each recording with each loss at the same budget; return title and table of means."""
    paths = [path for path in recordings("barks", "birds", "instruments", "percussion") if str(path).endswith(NAMES)]
    found = [loudest(audio.read(path)) for path in paths]
    starts = [fitted(recording, {"steps": 0}) for recording in found]
    rows = [_row("start", found, {"steps": 0}), _row("mse", found, {"losses": "mse"})]
    for name in LOSSES:
        rows.append(_row(name, found, {"losses": name}))
        both = f"mse=1,{name}={_weight(name, starts):.1g}"
        rows.append(_row(both, found, {"losses": both}))
    rows.append(_row("mse, penalty zero=0.01", found, {"losses": "mse", "penalties": "zero=0.01"}))
    lines = [
        f"The loudest {LONGEST_S:g} s of {len(found)} recordings at {SHARE:g} parameters per sample, {STEPS} steps of adam from "
        "spectral peaks; means. A loss added to mse has the weight, to one digit, at which its initial gradient by the "
        "parameters is as large as that of mse, in the median over the recordings.",
        "",
        *table(("losses", *METRICS, "fit s"), rows),
    ]
    return "effect of each loss, alone and added to mse", lines


def clicks() -> tuple[str, list[str]]:
    """Fit recordings with clicks in them; return title and table of how near the fits come to the recordings without."""
    paths = [path for path in recordings("barks", "birds", "instruments", "percussion") if str(path).endswith(NAMES)]
    clean = [loudest(audio.read(path)) for path in paths]
    clicked = [with_clicks(recording) for recording in clean]
    rows = []
    for losses in ("start", *ROBUST):
        settings: dict[str, object] = {"steps": 0} if losses == "start" else {"losses": losses}
        results = [fitted(recording, settings) for recording in clicked]
        pairs = [
            [snr_db(result.estimate[:, :], wanted.samples[:, :]) for wanted in (recording, result.recording)]
            for result, recording in zip(results, clean, strict=True)
        ]
        rows.append((f"`{losses}`", *(f"{mean(column):.3f}" for column in zip(*pairs, strict=True))))
        print(" | ".join(rows[-1]), flush=True)
    lines = [
        f"The recordings of `losses` with {CLICKS_PER_S} clicks a second, single samples at full scale, fitted likewise; means.",
        "",
        *table(("losses", "SNR to the recording without clicks, dB", "SNR to what was fitted, dB"), rows),
    ]
    return "effect of clicks by loss", lines


def with_clicks(recording: Recording) -> Recording:
    """Return a recording with clicks of either sign at random places."""
    generator = torch.Generator().manual_seed(0)
    samples = recording.samples[:, :].clone()
    count = round(CLICKS_PER_S * recording.duration_s)
    places = torch.randperm(samples.shape[1], generator=generator)[:count]
    samples[:, places] = torch.randint(2, (count,), generator=generator) * 2.0 - 1
    return replace(recording, samples=samples)


def loudest(recording: Recording) -> Recording:
    """Return the stretch of a recording with most energy, no longer than `LONGEST_S`."""
    length = min(recording.n_samples, round(LONGEST_S * recording.sample_rate))
    sums = torch.nn.functional.pad(recording.samples[:, :].double().square().sum(0).cumsum(0), (1, 0))
    first = int((sums[length:] - sums[:-length]).argmax())
    return replace(recording, samples=recording.samples[:, first : first + length].clone())


def fitted(recording: Recording, settings: dict[str, object]) -> FitResult:
    """Fit with adam at the budget of this benchmark; no parts are exchanged, so that the losses alone differ."""
    shared = {
        "model": "sine",
        "budget": int(SHARE * recording.samples.numel()),
        "optimiser": "adam",
        "exchanges": 0,
        "steps": STEPS,
    }
    return fit(recording, FitOptions().with_settings(shared | settings))


def _row(label: str, found: list[Recording], settings: dict[str, object]) -> tuple[str, ...]:
    """Return a row of means."""
    values, seconds = [], 0.0
    for recording in found:
        result = fitted(recording, settings)
        measured = measure(result.estimate, recording.samples, recording.sample_rate)
        values.append([measured[name].value or 0.0 for name in METRICS])  # type: ignore[literal-required]
        seconds += result.seconds["fitting"]
    row = (f"`{label}`", *(f"{mean(column):.3f}" for column in zip(*values, strict=True)), f"{seconds:.1f}")
    print(" | ".join(row), flush=True)
    return row


def _weight(name: str, starts: list[FitResult]) -> float:
    """Return the weight at which the initial gradient of a loss is as large as that of mse."""
    ratios = []
    for start in starts:
        target = torch.zeros(start.estimate.shape) + start.recording.samples[:, :]
        objective = Objective({"mse": 1.0, name: 1.0}, target, target.shape[1], 1, start.recording.sample_rate)
        terms = objective(start.network.estimate(), 0, StepInfo(STEPS // 2, STEPS, 0))
        parameters = list(start.network.parameters())
        gradients = [torch.autograd.grad(term, parameters, retain_graph=True) for term in terms.values()]
        norms = [math.sqrt(sum(float(part.square().sum()) for part in parts)) for parts in gradients]
        ratios.append(norms[0] / norms[1])
    return median(ratios)
