"""What variants of the model bring to a listener: descent on expected power, competition for a budget, trees beside partials."""

import torch

from benchmarks.ear import excerpt
from benchmarks.results import SHORT_FOLDERS, recordings, table
from ddaudio import fit
from ddaudio.metrics.erb_distance import erb_distance
from ddaudio.metrics.perceptual import zimtohrli_mos

NAMES = ("1-100032-A.ogg", "sentence-16k.wav", "drum_snare_hard.flac", "tabla_ghe5.flac", "rain-stereo.flac")
"""A bark, speech, two strokes and rain."""
STEPS = 50
SIZE = 0.026
"""Parameters per sample where there is a budget: about what the default takes."""
SEEDS = (0, 1, 2)
"""Realisations of the noise over which figures are averaged."""
VARIANTS: dict[str, dict[str, object]] = {
    "the default": {},
    "descent by levels": {"noise_steps": STEPS},
    "descent by mss": {"noise_steps": STEPS, "noise_loss": "mss"},
    "descent by mel": {"noise_steps": STEPS, "noise_loss": "mel"},
    "descent by mel, waves too": {"noise_steps": STEPS, "noise_loss": "mel", "noise_waves": True},
}
BUDGETED: dict[str, dict[str, object]] = {
    "sine+noise, a quarter for noise": {"model": "sine+noise"},
    "sine+noise, competing": {"model": "sine+noise", "compete": True},
    "sine+double-dutch+noise, equal waves": {"model": "sine+double-dutch+noise"},
    "sine+double-dutch+noise, competing": {"model": "sine+double-dutch+noise", "compete": True},
}


def run() -> tuple[str, list[str]]:
    """Measure all; return title and lines."""
    lines = []
    for title, variants in (("As large as the default", VARIANTS), (f"With a budget of {SIZE:g} per sample", BUDGETED)):
        rows = [[name, *_row(settings, budgeted=variants is BUDGETED)] for name, settings in variants.items()]
        what = "ERB distance (dB), MOS (Zimtohrli), parameters per sample; after competition the shares"
        lines += [f"{title}: {what}.", ""]
        lines += [*table(["model", *NAMES], rows), ""]
    return "variants of the model, by ear", lines


def _row(settings: dict[str, object], *, budgeted: bool) -> list[str]:
    """Return the figures of a variant for each recording."""
    cells = []
    for path in (path for name in NAMES for path in recordings(*SHORT_FOLDERS) if path.name == name):
        recording = excerpt(path)
        budget = {"budget": int(SIZE * recording.n_samples)} if budgeted else {}
        result = fit(recording, seed=0, **settings, **budget)
        target, waves = recording.samples[:, :], result.waves[:, :]
        found = []
        for seed in SEEDS:
            parts = [waves, *(next(term.pieces(term.sample_rate, seed)) for term in result.network.terms if term.is_noise)]
            sound = torch.stack(parts).sum(0)
            distance_db = erb_distance(sound, target, recording.sample_rate).distance_db
            found.append((distance_db, zimtohrli_mos(sound, target, recording.sample_rate)))
        distance_db, mos = (sum(values) / len(SEEDS) for values in zip(*found, strict=True))
        shares = f"; {result.options.model.model} {result.options.model.budget_split or ''}" if settings.get("compete") else ""
        cells.append(f"{distance_db:.2f}, {mos:.2f}, {result.parameters_per_sample:.4f}{shares}")
        print(settings, path.name, cells[-1], flush=True)
    return cells
