"""Batches: speed against a shell loop and by workers and stacks, memory of the client, and recovery from kills."""

import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import soundfile

from benchmarks.results import recordings, table

KILLS, TURNS = 20, 2
FEW_FILES, MANY_FILES = 300, 3000
QUICK = ("--frame", "0.1", "--steps", "1", "--exchanges", "0", "--target-snr", "3")
"""Settings of the run over many files, which is about the client, not about fits."""
STACKED_FILES = 400
SAME = 1e-3
"""Fits of one recording in different stacks differ by rounding alone, if by no more than this share of their peak."""


def _command(verb: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ddaudio_cli", verb, *map(str, arguments)]


def _batch(*arguments: str | Path) -> tuple[float, dict]:
    """Run a batch; return wall seconds and its summary."""
    began = time.perf_counter()
    done = subprocess.run(_command("batch", *arguments, "--json"), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.stderr)
    return time.perf_counter() - began, json.loads(done.stdout)


def _snr_and_sound(output: Path) -> dict[str, tuple[float, np.ndarray]]:
    """Return SNR and samples of all complete fits below an output, by folder."""
    return {
        str(path.parent.relative_to(output)): (
            json.loads(path.read_text())["metrics"]["snr_db"]["value"],
            soundfile.read(path.parent / "resynth.wav")[0],
        )
        for path in output.rglob("report.json")
    }


def _difference(some: Path, others: Path) -> tuple[bool, str]:
    """Return whether two outputs have the same fits, and a description of the largest differences."""
    one, other = _snr_and_sound(some), _snr_and_sound(others)
    if sorted(one) != sorted(other):
        return False, "not the same recordings"
    snr_db = [abs(one[folder][0] - other[folder][0]) for folder in one]
    sound = sorted(float(abs(one[folder][1] - other[folder][1]).max() / abs(other[folder][1]).max()) for folder in one)
    if not max(sound):
        return True, "all equal to the bit"
    close = sum(worst <= 1e-5 for worst in sound)
    words = f"samples of {close} of {len(sound)} differ by up to 1e-5 of their peak, of the worst by {sound[-1]:.1e}"
    return sound[-1] <= SAME, f"{words}, SNR by {max(snr_db):.1e} dB"


def run() -> tuple[str, list[str]]:
    """Measure all five; return title and table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for measured in (_against_a_loop, _stacked, _two_workers, _memory, _kills):
            here = Path(folder, measured.__name__)
            here.mkdir()
            rows.append(measured(here))
            print(" | ".join(rows[-1]), flush=True)
            shutil.rmtree(here)
    return "batches", table(("what", "measured", "details"), rows)


def _against_a_loop(folder: Path) -> Sequence[str]:
    """Fit the spoken digits by a batch, and every one by a process of its own, without pages in both."""
    digits = recordings("digits")
    began = time.perf_counter()
    for path in digits:
        out = folder / "loop" / f"{path.name}-fit"
        subprocess.run(_command("fit", path, "--out", out, "--no-html", "--quiet"), check=True, capture_output=True)
    loop_s = time.perf_counter() - began
    batch_s, summary = _batch(digits[0].parent, "--out", folder / "batch", "--workers", "2")
    _, difference = _difference(folder / "batch", folder / "loop")
    return (
        f"{len(digits)} spoken digits, two workers, against a shell loop of `ddaudio fit --no-html`",
        f"{loop_s / batch_s:.1f} times faster",
        f"{loop_s:.1f} s and {batch_s:.1f} s, start and gallery included; {summary['failed']} failed; {difference}",
    )


def _stacked(folder: Path) -> Sequence[str]:
    """Fit copies of the spoken digits in stacks and one by one."""
    _copies(folder / "in", STACKED_FILES)
    spent: dict[str, list[float]] = {"32": [], "1": []}
    for turn in range(TURNS):
        for stack, seconds in spent.items():
            out = folder / f"out{stack}-{turn}"
            seconds.append(_batch(folder / "in", "--out", out, "--workers", "2", "--stack", stack)[0])
    stacked_s, single_s = map(median, spent.values())
    _, difference = _difference(folder / "out32-0", folder / "out1-0")
    return (
        f"{STACKED_FILES} spoken digits, two workers, in stacks against `--stack 1`",
        f"{single_s / stacked_s:.2f} times faster",
        f"{single_s:.1f} s and {stacked_s:.1f} s, start and gallery included, medians of {TURNS}; {difference}",
    )


def _copies(place: Path, count: int) -> None:
    """Make copies of the spoken digits."""
    place.mkdir()
    digits = recordings("digits")
    for number in range(count):
        shutil.copy(digits[number % len(digits)], place / f"{number:05}.wav")


def _two_workers(folder: Path) -> Sequence[str]:
    """Fit barks and instruments with one and with two workers."""
    (folder / "in").mkdir()
    for path in recordings("barks", "instruments"):
        (folder / "in" / path.name).symlink_to(path)
    spent: dict[int, list[float]] = {1: [], 2: []}
    for turn in range(TURNS):
        for n, seconds in spent.items():
            seconds.append(_batch(folder / "in", "--out", folder / f"out{n}-{turn}", "--workers", str(n))[0])
    one, two = (median(each) for each in spent.values())
    _, difference = _difference(folder / "out2-0", folder / "out1-0")
    return (
        "two workers against one, barks and instruments",
        f"{one / two:.2f} times faster",
        f"{one:.1f} s and {two:.1f} s, medians of {TURNS}; {difference}",
    )


def _memory(folder: Path) -> Sequence[str]:
    """Compare the client's peak memory for few files and for many."""
    peaks = []
    for count in (FEW_FILES, MANY_FILES):
        place = folder / f"in{count}"
        _copies(place, count)
        command = _command("batch", place, "--out", folder / f"out{count}", "--workers", "2", "--quiet", *QUICK)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            peak = 0.0
            while process.poll() is None:
                peak = _peak_mb(process.pid) or peak
                time.sleep(0.05)
        if process.returncode:
            raise SystemExit(f"the batch of {count} files ended with {process.returncode}")
        peaks.append(peak)
    return (
        f"{MANY_FILES} files: memory of the client",
        f"{peaks[1]:.0f} MB",
        f"{peaks[0]:.0f} MB for {FEW_FILES} files; `{' '.join(QUICK)}`",
    )


def _peak_mb(process: int) -> float | None:
    """Return a process's own high-water mark; what the system tells at its end would count what it was forked off."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return None


def _kills(folder: Path) -> Sequence[str]:
    """Kill workers, then clients, at random moments; run once more and compare with an undisturbed run."""
    digits = recordings("digits")[:40]
    (folder / "in").mkdir()
    for path in digits:
        (folder / "in" / path.name).symlink_to(path)
    undisturbed, output, chance = folder / "undisturbed", folder / "out", random.Random(0)
    _batch(folder / "in", "--out", undisturbed, "--workers", "2")
    workers = clients = 0
    while workers < KILLS:
        with _started(folder / "in", output) as client:
            while workers < KILLS and client.is_running() and client.status() != psutil.STATUS_ZOMBIE:
                time.sleep(chance.uniform(0.1, 1.5))
                with contextlib.suppress(psutil.Error, IndexError):
                    chance.choice([one for one in client.children(recursive=True) if one.ppid() != client.pid]).kill()
                    workers += 1
    while clients < KILLS:
        with _started(folder / "in", output) as client:
            time.sleep(chance.uniform(0, 6))
            client.kill()
            clients += 1
    _, summary = _batch(folder / "in", "--out", output, "--workers", "2")
    same, difference = _difference(output, undisturbed)
    found = list(output.rglob("report.json"))
    left = [path for path in output.rglob("*") if path.name.startswith(".")]
    return (
        f"{workers} workers and {clients} clients killed (SIGKILL) at random moments, then a run to the end",
        "same results" if same and not summary["failed"] and not left else "NOT the same results",
        f"{len(found)} of {len(digits)} recordings present once; {summary['failed']} failed; {len(left)} leftovers; {difference}",
    )


@contextlib.contextmanager
def _started(inputs: Path, output: Path) -> Iterator[psutil.Process]:
    """Start a batch that does all again, wait until it fits, and give its process; it is ended at the end."""
    command = _command("batch", inputs, "--out", output, "--workers", "2", "--force", "--retries", "20")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        for line in process.stderr:
            if b"fitting" in line:
                break
        drain = threading.Thread(target=process.stderr.read)
        drain.start()
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()
            drain.join()
