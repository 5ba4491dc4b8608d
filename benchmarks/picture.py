"""The README's picture and the example of a report: ``python -m benchmarks.picture`` writes both."""

import os
from pathlib import Path

from ddaudio.fitting.run import fit
from ddaudio.report import figures, page
from ddaudio.results.record import FitRecord

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Draw the sample bark and its fit, and make its page."""
    os.chdir(ROOT)  # the page says what was fitted as it was given
    result = fit("recordings/bark.wav")
    figures.overview(result, size=(8.0, 3.6), top_hz=10_000).savefig("docs/bark.png", dpi=150)
    Path("docs/bark.html").write_text(page(FitRecord.of(result)), encoding="utf-8")


main()
