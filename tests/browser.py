"""A real browser for tests: Chromium that is already on the machine, never one that the test tool downloads."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Error, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox",  # tests may run as root, for whom Chromium has no sandbox
    "--disable-dev-shm-usage",  # containers have 64 MB of shared memory: a large page kills the browser there
    "--autoplay-policy=no-user-gesture-required",  # a test's call of play() is no gesture of a user
)


def _answers(browser: Browser) -> bool:
    """Return whether a browser opens a window; that it has crashed is only noticed when it is asked for something."""
    try:
        browser.new_context().close()
    except Error:
        return False
    return True


@contextmanager
def running() -> Iterator[Callable[[], Browser]]:
    """Give a function that returns the browser, started again if it has crashed; without one the tests are skipped."""
    path = os.environ.get("DDAUDIO_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on this machine: install Debian's package chromium, or set DDAUDIO_CHROMIUM to a browser's path")
    with sync_playwright() as playwright:
        started: list[Browser] = []

        def alive() -> Browser:
            if started and _answers(started[-1]):
                return started[-1]
            started.append(playwright.chromium.launch(executable_path=path, args=list(FLAGS)))
            return started[-1]

        yield alive
        for browser in started:
            browser.close()


@dataclass
class Watched:
    """A page, what it asked for, and what it complained of."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def run(self, script: str, argument: Any = None) -> Any:
        """Return what a script of the page returns."""
        return self.page.evaluate(script, argument)

    def picture(self, selector: str, folder: Path) -> np.ndarray:
        """Return an element as the screen shows it, ``[height, width, 3]``."""
        path = folder / "picture.png"
        self.page.locator(selector).screenshot(path=path)
        return np.asarray(Image.open(path).convert("RGB")).astype(int)


@contextmanager
def opened(browser: Browser, path: Path, **settings: Any) -> Iterator[Watched]:
    """Open a file in a window of its own, and wait until it says that it is drawn; afterwards nothing may be wrong with it."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
    watched = Watched(context.new_page())
    watched.page.on("request", lambda request: watched.requests.append(request.url))
    watched.page.on("console", lambda message: watched.complaints.append(f"{message.type}: {message.text}"))
    watched.page.on("pageerror", lambda error: watched.complaints.append(f"error: {error}"))
    try:
        watched.page.goto(path.absolute().as_uri())
        watched.run("async () => { if (window.ddaudio) await ddaudio.whole; }")
        yield watched
        assert watched.complaints == []
    finally:
        context.close()
