"""Every short recording with the default settings."""

from statistics import mean

from benchmarks.results import SHORT_FOLDERS, recordings, table
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit

HEAD = (
    "recording",
    "SNR dB",
    "LSD dB",
    "parameters/sample",
    "s per s",
    "MDCT dB",
    "start dB",
    "training dB",
    "status",
    "warnings",
)


def run() -> tuple[str, list[str]]:
    """Fit all recordings; return title and table."""
    rows, gains, over, better = [], [], [], 0
    fit(recordings("barks")[0], model="sine")  # Warm-up: the first fit of a process also loads libraries.
    paths = recordings(*SHORT_FOLDERS)
    for path in paths:
        result = fit(path, model="sine")
        first = result.stages[0].blocks[0][0]
        better += first.best.total < first.evaluations[0].total
        gain = result.training_gain_db
        gains += [] if gain is None else [gain]
        if result.snr_db is not None and result.baseline.snr_db is not None:
            over.append(result.snr_db - result.baseline.snr_db)
        rows.append((f"{path.parent.name}/{path.name}", *_columns(result)))
        print(" | ".join(rows[-1]), flush=True)
    lines = [
        f"Training improved the evaluated loss on {better} of {len(paths)} recordings, and added "
        f"{mean(gains):.2f} dB SNR on average. SNR above the MDCT at equal size: {mean(over):+.2f} dB on average.",
        "",
        *table(HEAD, rows),
    ]
    return "every short recording with the defaults (25 dB, at most 0.25 parameters per sample)", lines


def _columns(result: FitResult) -> tuple[str, ...]:
    def number(value: float | None, digits: int = 2) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    seconds = sum(result.seconds.values()) / result.recording.duration_s
    return (
        number(result.snr_db),
        number(result.metrics["lsd_db"].value),
        number(result.parameters_per_sample, 4),
        number(seconds),
        number(result.baseline.snr_db),
        number(result.stages[0].blocks[0][0].evaluations[0].snr_db),
        number(result.training_gain_db),
        result.status,
        "; ".join(result.warnings) or "none",
    )
