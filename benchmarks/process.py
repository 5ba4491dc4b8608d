"""The command as a user starts it: wall time and peak memory of the whole process."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from benchmarks.results import recordings, table

REPEATS = 3
FEW_STEPS = ("--steps", "1", "--exchanges", "0", "--target-snr", "5", "--frame", "0.1")
MINUTES = (1, 10, 60)


def _fit(path: Path, *flags: str) -> tuple[float, float, dict]:
    """Fit a file in a process of its own; return seconds, peak megabytes and the report."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "ddaudio_cli", "fit", str(path), "--out", f"{folder}/fit", "--json", *flags]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            text = process.stdout.read()
            _, code, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(code)
        seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"the fit of {path} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024, json.loads(text)


def speed() -> tuple[str, list[str]]:
    """Time the whole command on each five-second bark, and the help."""
    barks = [path for path in recordings("barks") if path.name.endswith("-A.ogg")]
    runs = {path.name: (path,) for path in barks}
    runs |= {f"{path.name} `--budget {count}`": (path, "--budget", str(count)) for path, count in _at_three_percent(barks)}
    seconds: dict[str, list[float]] = {name: [] for name in (*runs, "--help")}
    for _ in range(REPEATS):
        for name, arguments in runs.items():
            seconds[name].append(_fit(*arguments)[0])
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ddaudio_cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds["--help"].append(time.perf_counter() - began)
    rows = [(name, f"{statistics.median(times):.2f}", f"{max(times):.2f}") for name, times in seconds.items()]
    title = f"wall seconds of the command, process start included, over {REPEATS} interleaved runs"
    return title, table(("`ddaudio fit` of", "median s", "slowest s"), rows)


def _at_three_percent(barks: list[Path]) -> list[tuple[Path, int]]:
    """Return two of the barks, each with 3 % of its number of samples as the number of parameters."""
    return [(path, round(0.03 * soundfile.info(path).frames)) for path in barks[1:6:3]]


def memory() -> tuple[str, list[str]]:
    """Measure peak memory and speed of the command on longer and longer sound, few steps each."""
    path = next(path for path in recordings("long") if path.name.startswith("vibe-ace"))
    rows = [_row(path.name, *_fit(path))]
    with tempfile.TemporaryDirectory() as folder:
        for minutes in MINUTES:
            long = _repeated(path, Path(folder) / f"{minutes}-minutes.wav", minutes)
            rows.append(_row(f"{minutes} min of it, mono, `{' '.join(FEW_STEPS)}`", *_fit(long, *FEW_STEPS)))
            print(" | ".join(rows[-1]), flush=True)
            long.unlink()
    title = "peak memory and speed of the command on long recordings"
    return title, table(("recording", "peak MB", "wall s", "s per s", "SNR dB", "parameters/sample"), rows)


def _row(name: str, seconds: float, megabytes: float, report: dict) -> tuple[str, ...]:
    snr_db, spent = report["metrics"]["snr_db"]["value"], report["model"]["parameters_per_sample"]
    pace = seconds / report["recording"]["duration_s"]
    return name, f"{megabytes:.0f}", f"{seconds:.1f}", f"{pace:.3f}", f"{snr_db:.2f}", f"{spent:.4f}"


def _repeated(path: Path, out: Path, minutes: int) -> Path:
    """Write the first channel of a recording over and over, as a WAV file of some minutes."""
    samples, sample_rate = soundfile.read(path, dtype="float32", always_2d=True)
    left = minutes * 60 * sample_rate
    with soundfile.SoundFile(out, "w", sample_rate, 1, "PCM_16") as file:
        while left > 0:
            file.write(samples[:left, 0])
            left -= len(samples)
    return out
