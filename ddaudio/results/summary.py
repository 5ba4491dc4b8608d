"""A fit in a few lines of text."""

from ddaudio.fitting.result import FitResult
from ddaudio.metrics.measure import Metric
from ddaudio.models import FramedNetwork
from ddaudio.options import NETWORKS


def summary(result: FitResult) -> list[str]:
    """Return four lines: what is doubtful, what was reached (and by the baseline), what it cost, and the time."""
    recording, metrics = result.recording, result.metrics
    bar = result.baseline.snr_db
    beside = f"reaches {bar:.1f} dB with as many numbers" if bar is not None else f"has no SNR: {result.baseline.reason}"
    gain = result.training_gain_db
    seconds = sum(result.seconds.values())
    trained = f"training brought {gain:+.2f} dB" if gain is not None else "training had nothing to bring"
    return [
        "doubt    " + ("; ".join(result.warnings) or "none: " + result.reason),
        f"reached  SNR {_in_words(metrics['snr_db'], 'dB')}, log-spectral distance {_in_words(metrics['lsd_db'], 'dB')}; "
        f"the best-k MDCT {beside}",
        f"cost     {result.n_parameters} numbers ({result.parameters_per_sample:.3g} per sample): "
        + " and ".join(_size_in_words(term) for term in result.network.terms),
        f"time     {seconds:.1f} s for {recording.duration_s:.1f} s of sound; {trained}",
    ]


def _size_in_words(term: FramedNetwork) -> str:
    """Return how many parts a network has, and the length of its shortest and longest frame in ms."""
    low_ms, high_ms = (1000 * int(length) / term.grid.sample_rate for length in term.grid.cells.length.aminmax())
    lengths = f"{low_ms:.0f} ms" if low_ms == high_ms else f"{low_ms:.0f} to {high_ms:.0f} ms"
    return f"{term.n_components()} {NETWORKS[term.name].component_name} in {term.grid.n_frames} frames of {lengths}"


def _in_words(metric: Metric, unit: str) -> str:
    return f"{metric.value:.2f} {unit}" if metric.value is not None else f"undefined ({metric.reason})"
