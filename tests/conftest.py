"""What several test files share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command does; before torch is loaded


@pytest.fixture(scope="session")
def shared_recordings() -> Path:
    """Folder of real recordings that are not part of the repository; tests that need them are skipped without it."""
    beside = Path(__file__).parents[2] / "shared" / "recordings"
    folder = Path(os.environ.get("DDAUDIO_RECORDINGS", beside))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: set DDAUDIO_RECORDINGS to a folder of sound files")
    return folder
