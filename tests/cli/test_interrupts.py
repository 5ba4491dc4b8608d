"""Ctrl-C at any moment: one line, exit code 130, and no process that stays."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import soundfile
from commands import COMMAND, chirp
from ddaudio_cli.interrupts import sure_interrupts

from ddaudio.parallel.interrupts import children_without_interrupts, deferred_interrupts

WAIT_S = 120
"""Enough for a fork server that is still loading modules on a busy machine."""


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(folder / name, chirp(), 8000)
    return folder


@pytest.fixture
def _python_handles_ctrl_c() -> Iterator[None]:
    """A test run in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("name", "after_s"), [("batch", 0.4), ("batch", 1.0), ("batch", 2.5), ("batch", 4.0), ("fit", 0.6), ("fit", 1.5)]
)
def test_no_traceback_whenever_it_comes(name: str, after_s: float, sounds: Path, tmp_path: Path) -> None:
    """A terminal sends it to all processes of the command; whether modules load, or workers start, depends on the machine."""
    given = sounds if name == "batch" else sounds / "a.wav"
    words = [*COMMAND, name, str(given), "--out", str(tmp_path / "out"), "--steps", "1000000", "--tolerance", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        time.sleep(after_s)
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert set(err.splitlines()) <= {"ddaudio: looking", "ddaudio: fitting", "ddaudio: stopped"}
    assert not psutil.wait_procs(started, WAIT_S)[1]


@pytest.mark.parametrize("answer", ["pass", "raise ImportError('not here')"])
@pytest.mark.usefixtures("_python_handles_ctrl_c")
def test_an_import_cannot_lose_it(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "import signal, time", "try:", "    signal.raise_signal(signal.SIGINT)", f"except BaseException: {answer}"
    (tmp_path / "catches_all.py").write_text("\n".join([*lines, "time.sleep(60)"]), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt), sure_interrupts():
        import catches_all  # type: ignore[import-not-found]  # noqa: F401, PLC0415
    assert "catches_all" not in sys.modules
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.usefixtures("_python_handles_ctrl_c")
def test_errors_without_it_are_errors() -> None:
    with pytest.raises(ImportError), sure_interrupts():
        import there_is_no_such_module  # type: ignore[import-not-found]  # noqa: F401, PLC0415


@pytest.mark.usefixtures("_python_handles_ctrl_c")
def test_it_is_deferred_to_the_end_of_a_block() -> None:
    reached = []

    def interrupted() -> None:
        with deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
            reached.append(1)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == [1]


def test_children_never_receive_it() -> None:
    code = "import os, signal; signal.signal(signal.SIGINT, signal.SIG_DFL); os.kill(os.getpid(), signal.SIGINT)"
    with children_without_interrupts():
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGINT
