"""What a page costs: seconds and memory to make it, its size, and how soon a browser has it ready."""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile
from playwright.sync_api import sync_playwright

import ddaudio
from benchmarks.results import recordings, table

REPEATS = 5
FEW_STEPS = {"steps": 1, "exchanges": 0}
MAKE = """
import json, re, sys, time
from pathlib import Path
from ddaudio.report import write_page
import jsonschema
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before, began = peak(), time.perf_counter()
write_page(sys.argv[1])
print(json.dumps([time.perf_counter() - began, peak() - before]))
"""


def run() -> tuple[str, list[str]]:
    """Make and open the page of a bark, of five seconds of stereo music and of a long recording."""
    (music,) = (path for path in recordings("long") if path.name.startswith("vibe-ace"))
    (shop,) = (path for path in recordings("long") if path.name.startswith("grocery"))
    with tempfile.TemporaryDirectory() as place:
        samples, rate = soundfile.read(music, frames=5 * soundfile.info(music).samplerate)
        cut = Path(place) / "five-seconds-stereo.wav"
        soundfile.write(cut, samples, rate)
        rows = [
            _row(recordings("barks")[0], Path(place) / "bark", {}),
            _row(cut, Path(place) / "music", {}),
            _row(shop, Path(place) / "long", {**FEW_STEPS, "frame_s": 0.05, "target_snr_db": 8.0}),
        ]
    title = f"cost of a page, medians of {REPEATS}; memory beyond the imports, making includes reading the folder"
    head = ("recording", "sound s", "making s", "making MB", "page MB", "heard and seen s", "pictures answer s", "all drawn s")
    return title, table(head, rows)


def _row(path: Path, folder: Path, settings: dict[str, float]) -> tuple[str, ...]:
    result = ddaudio.fit(path, **settings)
    ddaudio.save_fit(result, folder)
    made = [json.loads(subprocess.check_output([sys.executable, "-c", MAKE, folder])) for _ in range(REPEATS)]
    seconds, megabytes = (statistics.median(column) for column in zip(*made, strict=True))
    page = folder / "report.html"
    opened = [f"{statistics.median(column):.2f}" for column in zip(*_openings(page), strict=True)]
    size = page.stat().st_size / 1e6
    duration_s = result.recording.duration_s
    return path.name, f"{duration_s:.1f}", f"{seconds:.2f}", f"{megabytes:.0f}", f"{size:.1f}", *opened


def _openings(page: Path) -> list[list[float]]:
    """Return the seconds until a page is seen, ready and whole, for several openings in a browser that runs already.

    Seen: sounds can be heard, and a first sketch of waveforms and spectrograms is shown; ready: they can be zoomed and read.
    """
    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(REPEATS + 1):
            window = browser.new_page()
            began = time.perf_counter()
            window.goto(page.as_uri())
            found.append([])
            for state in ("seen", "ready", "whole"):
                window.evaluate(f"() => ddaudio.{state}")
                found[-1].append(time.perf_counter() - began)
            window.close()
        browser.close()
    return found[1:]  # the first one starts what the browser needs
