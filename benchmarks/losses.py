"""What each weighting of the losses does to the same networks from the same starting points."""

from statistics import mean

from benchmarks.results import recordings, table
from ddaudio import audio
from ddaudio.fitting import fit
from ddaudio.metrics import measure
from ddaudio.options import FitOptions

NAMES = (
    "barks/5-231762-A.ogg",
    "barks/4-191687-A.ogg",
    "birds/killdeer.wav",
    "birds/misc_crow.flac",
    "instruments/violin-B3.wav",
    "instruments/guit_harmonics.flac",
    "percussion/drum_snare_hard.flac",
    "speech/sentence-16k.wav",
)
WEIGHTINGS = ("mse=1", "pdl=1", "mse=1,pdl=0.3", "mse=1,pdl=1", "mse=1,mss=0.001", "mse=1,mss=0.003", "mse=1,mss=0.01")
SHARE = 0.03
METRICS = ("snr_db", "lsd_db", "mr_stft", "mel_db", "onset_flux")


def run() -> tuple[str, list[str]]:
    """Fit each recording with each weighting at the same budget; return title and table of means."""
    paths = [path for path in recordings("barks", "birds", "instruments", "percussion", "speech") if str(path).endswith(NAMES)]
    found = [audio.read(path) for path in paths]
    rows = []
    for losses in ("start", *WEIGHTINGS):
        values, seconds = [], []
        for recording in found:
            settings = {"numbers": int(SHARE * recording.samples.numel()), "optimiser": "adam", "exchanges": 0}
            settings |= {"steps": 0} if losses == "start" else {"losses": losses}
            result = fit(recording, FitOptions().with_settings(settings))
            measured = measure(result.estimate, recording.samples, recording.sample_rate)
            values.append([measured[name].value or 0.0 for name in METRICS])  # type: ignore[literal-required]
            seconds.append(result.seconds["fitting"])
        means = [f"{mean(column):.3f}" for column in zip(*values, strict=True)]
        rows.append((f"`{losses}`", *means, f"{sum(seconds):.1f}"))
        print(" | ".join(rows[-1]), flush=True)
    return (
        f"weightings of the losses, means over {len(found)} recordings at {SHARE:g} numbers per sample",
        table(("losses", *METRICS, "fit s"), rows),
    )
