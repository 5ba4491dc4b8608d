"""What several test files share."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

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
def browser() -> Iterator["Browser"]:
    """Give a browser; tests that need one are skipped where there is none."""
    from browser import running  # noqa: PLC0415 - most tests need none

    with running() as found:
        yield found
