"""A trained model as the start of a fit, and as its teacher, against fits without."""

import tempfile
from pathlib import Path
from statistics import mean

from benchmarks.networks import NAMES, SHARE, loudest
from benchmarks.results import recordings, table
from ddaudio import Recording, fit, save_fit
from ddaudio.fitting.result import FitResult

TEACHERS_SHARE = 3
"""Parameters of the teacher relative to those of the student."""
TEACHERS_WEIGHT = 1.0


def run() -> tuple[str, list[str]]:
    """Fit the loudest half second of five recordings in each way; return title and table of SNR and steps."""
    wanted = {Path(name).name: name for name in NAMES}
    found = [loudest(path) for path in recordings(*{Path(name).parent.name for name in NAMES}) if path.name in wanted]
    columns = [[_written(one) for one in _fits(recording)] for recording in found]
    names = ["from peaks", "from a model of the first half", "adam", "adam, model of three times the size as teacher"]
    rows = [[name, *(column[place][0] for column in columns)] for place, name in enumerate(names)]
    gains = [mean(column[place][1] - column[place - 1][1] for column in columns) for place in (1, 3)]
    lines = [
        f"SNR in dB and steps over the loudest half second of {len(found)} recordings, `--model sine`, "
        f"{SHARE:g} parameters per sample.",
        "",
        *table(["way", *(Path(recording.source).stem for recording in found)], rows),
        "",
        f"Mean change of the SNR: {gains[0]:+.2f} dB from a model, {gains[1]:+.2f} dB with a teacher.",
    ]
    return "trained models as start and as teacher", lines


def _fits(recording: Recording) -> list[FitResult]:
    """Return the fits of a recording in the order of the table."""
    half = recording.n_samples // 2
    piece = Recording(recording.samples[:, :half], recording.sample_rate, recording.source)
    budget = round(SHARE * recording.n_channels * recording.n_samples)
    descent = {"model": "sine", "budget": budget, "optimiser": "adam"}
    with tempfile.TemporaryDirectory() as folder:
        start, teacher = Path(folder) / "start", Path(folder) / "teacher"
        save_fit(fit(piece, model="sine", budget=budget // 2), start)
        save_fit(fit(recording, model="sine", budget=TEACHERS_SHARE * budget), teacher)
        return [
            fit(recording, model="sine", budget=budget),
            fit(recording, model="sine", budget=budget, from_model=str(start)),
            fit(recording, **descent),
            fit(recording, **descent, teacher=TEACHERS_WEIGHT, teacher_model=str(teacher)),
        ]


def _written(result: FitResult) -> tuple[str, float]:
    """Return the cell of a fit, and its SNR."""
    assert result.snr_db is not None
    steps = sum(run.evaluations[-1].step for stage in result.stages for runs in stage.blocks for run in runs)
    return f"{result.snr_db:.2f} ({steps})", result.snr_db
