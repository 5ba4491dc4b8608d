"""What several test files share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A change is judged by the same examples every time; `--hypothesis-profile explore` looks for new ones.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.register_profile("explore", derandomize=False)
hypothesis.settings.load_profile("same")

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command does; before torch is loaded


@pytest.fixture(scope="session")
def shared_recordings() -> Path:
    """Folder of real recordings that are not part of the repository; tests that need them are skipped without it."""
    beside = Path(__file__).parents[2] / "shared" / "recordings"
    folder = Path(os.environ.get("DDAUDIO_RECORDINGS", beside))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: set DDAUDIO_RECORDINGS to a folder of sound files")
    return folder


@pytest.fixture(scope="session")
def launched() -> Iterator["Callable[[], Browser]"]:
    """Give a function that returns the browser, started again if it has crashed."""
    from browser import running  # noqa: PLC0415 - most tests need none

    with running() as found:
        yield found


@pytest.fixture
def browser(launched: "Callable[[], Browser]") -> "Browser":
    """Return a browser; tests that need one are skipped where there is none."""
    return launched()
