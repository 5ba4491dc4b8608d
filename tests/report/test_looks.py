"""What was wrong in pictures of pages once: axes without numbers, things over each other, colours that say the opposite."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import Watched, opened
from playwright.sync_api import Browser
from sounds import RATE, noise, pluck, tones
from sounds import fit_waves as fit

from ddaudio.fitting.diagnosis import as_clause
from ddaudio.io.audio import Recording
from ddaudio.report import write_pages
from ddaudio.report.page import write_page
from ddaudio.report.save import save_fit
from ddaudio.results.record import FitRecord

PageOf = Callable[..., Path]


@pytest.fixture(scope="module")
def evidence() -> FitRecord:
    """Two tones that lie close together, to a peak of 0.49, with noise that nobody fits; not trained."""
    sound = tones([710.0, 850.0], [0.3, 0.19], [0.0, 0.0], 0.5) + noise(0.5) / 100
    return FitRecord.of(fit(Recording(sound, RATE, "two.wav"), steps=0, budget=40))


@pytest.fixture
def page_of(evidence: FitRecord, tmp_path: Path) -> PageOf:
    """Make the page of a report that differs."""

    def made(**change: Any) -> Path:
        report = copy.deepcopy(evidence.report) | change
        return write_page(tmp_path, FitRecord(report, evidence.sounds, evidence.network))

    return made


def boxes(page: Watched, selector: str) -> list[dict[str, float]]:
    found: list[dict[str, float]] = page.run(
        "(what) => [...document.querySelectorAll(what)].map((one) => one.getBoundingClientRect().toJSON())", selector
    )
    return found


@pytest.mark.parametrize("width", [360, 1280])
def test_axes_have_numbers_however_little_they_show(page_of: PageOf, width: int, browser: Browser) -> None:
    with opened(browser, page_of(), viewport={"width": width, "height": 900}) as page:
        assert len(boxes(page, "#lines .ytick text")) >= 2
        assert len(boxes(page, "#sight .ytick text")) >= 2
        page.run("Plotly.relayout('lines', { 'yaxis.range': [Math.log10(700), Math.log10(720)] })")
        page.page.wait_for_timeout(300)
        labels = page.run("[...document.querySelectorAll('#lines .ytick text')].map((one) => +one.textContent)")
        assert len(labels) >= 2
        assert all(700 <= label <= 720 for label in labels)
        page.run("Plotly.relayout('lines', { 'yaxis.range': [2, 4] })")
        page.page.wait_for_timeout(300)
        assert page.run("lines.layout.yaxis.ticktext").count("2k") == 1


def test_what_was_not_trained_has_no_curves(page_of: PageOf, browser: Browser) -> None:
    with opened(browser, page_of()) as page:
        assert not page.page.locator("#training").is_visible()
        assert "No training steps" in page.page.locator("#training-note").inner_text()


def test_a_reason_is_said_once(page_of: PageOf, browser: Browser) -> None:
    reason = "Stopped at the step limit after 24 steps; the loss was still decreasing."
    doubts = ["goal missed: 16.0 of 25 dB", as_clause(reason)]
    with opened(browser, page_of(status="step limit", reason=reason, doubts=doubts)) as page:
        assert page.page.locator(".verdict").first.inner_text().lower().count("stopped at the step limit") == 1
    with opened(browser, page_of(status="step limit", reason=reason, doubts=doubts[:1])) as page:
        assert page.page.locator(".verdict").first.inner_text().lower().count("stopped at the step limit") == 1


def test_numbers_of_bars_stand_clear_of_the_axis(page_of: PageOf, evidence: FitRecord, browser: Browser) -> None:
    bands = [
        band | {"snr_db": snr_db, "reason": None} for band, snr_db in zip(evidence.report["bands"], [-1, 38] * 9, strict=False)
    ]
    with opened(browser, page_of(bands=bands)) as page:
        lowest = max(box["bottom"] for box in boxes(page, "#bands .bartext"))
        assert lowest <= min(box["top"] for box in boxes(page, "#bands .xtick text")) + 2


@pytest.mark.parametrize("width", [360, 800])
def test_the_clock_stands_beside_the_button(page_of: PageOf, width: int, browser: Browser) -> None:
    with opened(browser, page_of(), viewport={"width": width, "height": 640}) as page:
        button, clock = boxes(page, "#play")[0], boxes(page, "#clock")[0]
        assert button["top"] <= clock["top"]
        assert clock["bottom"] <= button["bottom"]


def test_on_a_phone_the_player_stays_in_sight_and_leaves_room(page_of: PageOf, browser: Browser) -> None:
    with opened(browser, page_of(), viewport={"width": 360, "height": 640}) as page:
        page.page.locator("#metrics-title").scroll_into_view_if_needed()
        page.page.wait_for_timeout(200)
        assert page.page.locator("#play").is_visible()
        assert boxes(page, "#play")[0]["top"] >= 0
        bottoms = [box["bottom"] for box in boxes(page, "#listen > .bar") if box["bottom"] > 0]
        assert max(bottoms) < 120, "of 640 pixels"


def test_pictures_of_the_error_share_a_line_on_paper(page_of: PageOf, browser: Browser) -> None:
    with opened(browser, page_of(), viewport={"width": 720, "height": 900}) as page:
        page.page.emulate_media(media="print")
        page.run("window.dispatchEvent(new Event('beforeprint'))")
        levels, bands = boxes(page, "#levels .main-svg")[0], boxes(page, "#bands .main-svg")[0]
        assert levels["top"] == bands["top"]
        assert levels["right"] <= bands["left"]


def test_silence_in_a_tree_is_dark_on_every_ground(tmp_path: Path, browser: Browser) -> None:
    """Loud is bright: what is silent must not look like the loudest on a white page. Scales say what colours mean."""
    tree = FitRecord.of(fit(pluck(), model="double-dutch", steps=0, budget=300))
    with opened(browser, write_page(tmp_path, tree), color_scheme="light") as page:
        for plot in ("tree-0", "loudest-0"):
            red, green, blue = page.run(f"document.getElementById('{plot}').layout.plot_bgcolor.match(/\\d+/g).map(Number)")
            assert max(red, green, blue) < 16
        scales = page.run("[...document.querySelectorAll('#trees .colorbar .cbtitle text')].map((one) => one.textContent)")
        assert scales == ["dB", "dB", "open %"]


def test_a_gallery_tells_standings_by_colour_and_fits_on_paper(tmp_path: Path, browser: Browser) -> None:
    sounds = {"good.wav": tones([440.0], [0.5], [0.0], 0.3), "bad.wav": noise(0.3), "silent.wav": torch.zeros(1, 800)}
    for name, samples in sounds.items():
        save_fit(fit(Recording(samples, RATE, name), steps=0, max_parameters_per_sample=0.01), tmp_path / name, html=False)
    write_pages([tmp_path], gallery=tmp_path / "index.html")
    with opened(browser, tmp_path / "index.html", viewport={"width": 720, "height": 900}) as page:
        names = page.run("[...document.querySelectorAll('#fits tbody tr')].map((one) => one.className)")
        colours = page.run("[...document.querySelectorAll('#fits tbody th')].map((one) => getComputedStyle(one).borderLeftColor)")
        assert len(set(names)) == len(set(zip(names, colours, strict=True))) == len(set(colours)) > 1
        assert page.run("getComputedStyle(document.querySelector('#fits td[data-key]')).textAlign") == "right"
        page.page.emulate_media(media="print")
        assert max(box["right"] for box in boxes(page, "#fits th, #fits td")) <= 720
