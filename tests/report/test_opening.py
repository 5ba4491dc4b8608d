"""How a page opens: what is seen before plotly's script is there, and what that script is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Watched, opened
from playwright.sync_api import Browser
from sounds import RATE, noise, tones
from sounds import fit_waves as fit

from ddaudio.io.audio import Recording
from ddaudio.report.page import _read_once, plotly_script, write_page
from ddaudio.results.record import FitRecord


@pytest.fixture(scope="module")
def evidence() -> FitRecord:
    """Tones that begin in the middle, so that a picture that is shifted or turned differs."""
    sound = torch.cat([noise(0.5) / 50, tones([700.0, 2500.0], [0.4, 0.2], [0.0, 1.0], 0.5)], 1)
    return FitRecord.of(fit(Recording(sound, RATE, "half.wav"), steps=1, target_snr_db=15.0))


def seen(page: Watched, folder: Path) -> np.ndarray:
    """Return the main picture without what is around waveforms and spectrograms."""
    page.page.add_style_tag(content=".playhead, .infolayer, .gridlayer { visibility: hidden; }")
    page.page.add_style_tag(content="#listen, #listen > .bar { position: static !important; }")
    return page.picture("#sight", folder)


@pytest.mark.parametrize("width", [360, 1280])
def test_sounds_and_pictures_need_not_wait_for_plotly(evidence: FitRecord, width: int, browser: Browser, tmp_path: Path) -> None:
    """What is sketched lies where the pictures will be; where plotly never comes, it stays."""
    size = {"width": width, "height": 900}
    with opened(browser, write_page(tmp_path, evidence), viewport=size) as page:
        drawn = seen(page, tmp_path)
        assert page.page.locator(".sketch").count() == 0
    context = browser.new_context(viewport=size)
    page = Watched(context.new_page())
    page.page.goto(write_page(tmp_path, evidence, script="gone.js").as_uri())
    page.run("ddaudio.seen")
    assert page.page.locator("#play").is_enabled()
    sketch = seen(page, tmp_path)
    context.close()
    assert sketch.shape == drawn.shape
    # Lines and images have other edges; a picture that is moved by five pixels is another.
    near, moved = (np.abs(picture - drawn).mean() for picture in (sketch, np.roll(sketch, 5, (0, 1))))
    assert near < 4
    assert near < 0.5 * moved


def test_plotly_is_read_once() -> None:
    """The script of the installed package has the outer function that is looked for; any other is left as it is."""
    script = plotly_script()
    assert script.count(b", (() => {\n") == 1
    assert script.rstrip().endswith(b"})));")
    assert _read_once(script) == script
    for other in (b"", b"window.Plotly = {};", b"f(this, () => {\nreturn 1;\n}));\nmore();\n"):
        assert _read_once(other) == other
    assert _read_once(b"f(this, () => {\nreturn 1;\n}));\n") == b"f(this, (() => {\nreturn 1;\n})));\n"
