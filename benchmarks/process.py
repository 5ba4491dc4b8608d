"""The command as a user starts it: wall time and peak memory of the whole process."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import recordings, table

REPEATS = 5


def _fit(path: Path) -> tuple[float, float, dict]:
    """Fit a file in a process of its own; return seconds, peak megabytes and the report."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "ddaudio_cli", "fit", str(path), "--out", f"{folder}/fit", "--json"]
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
    seconds: dict[str, list[float]] = {path.name: [] for path in barks} | {"--help": []}
    for _ in range(REPEATS):
        for path in barks:
            seconds[path.name].append(_fit(path)[0])
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "ddaudio_cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds["--help"].append(time.perf_counter() - began)
    rows = [(name, f"{statistics.median(times):.2f}", f"{max(times):.2f}") for name, times in seconds.items()]
    title = f"wall seconds of the command, process start included, over {REPEATS} interleaved runs"
    return title, table(("`ddaudio fit` of", "median s", "slowest s"), rows)


def memory() -> tuple[str, list[str]]:
    """Measure the peak memory of the command on the 61-second stereo recording."""
    path = next(path for path in recordings("long") if path.name.startswith("vibe-ace"))
    seconds, megabytes, report = _fit(path)
    snr_db, spent = report["metrics"]["snr_db"]["value"], report["model"]["numbers_per_sample"]
    row = (path.name, f"{megabytes:.0f}", f"{seconds:.1f}", f"{snr_db:.2f}", f"{spent:.4f}")
    title = "peak memory of the command on a long stereo recording"
    return title, table(("recording", "peak MB", "wall s", "SNR dB", "numbers/sample"), [row])
