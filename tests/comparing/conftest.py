"""What the tests of comparisons share."""

from pathlib import Path
from typing import Any

import pytest
from batches import work_alone, write_tone

from ddaudio.comparing import run as comparing_run
from ddaudio.comparing import worker


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process make the fits."""

    work_alone(monkeypatch, comparing_run)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders of the fits that are made, as they are."""
    seen: list[str] = []
    make = worker.make

    def making(job: worker.CompareJob) -> Any:
        seen.append("/".join(Path(job.folder).parts[-2:]))
        return make(job)

    monkeypatch.setattr(worker, "make", making)
    return seen


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_tone(tmp_path / "tone.wav", 3, 0.3)
