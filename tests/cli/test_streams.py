"""Output streams that are closed, full, or read only in part, and what may not reach a terminal."""

import os
import subprocess
from pathlib import Path

import pytest
import soundfile
from commands import COMMAND, QUICK, chirp, run
from ddaudio_cli.console import visible

FULL = Path("/dev/full")
LINUX = pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "chirp.wav"
    soundfile.write(path, chirp()[:800], 8000, subtype="FLOAT")
    return path


def shell(redirection: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with streams redirected as a shell does."""
    line = ["sh", "-c", f'exec "$@" {redirection}', "sh", *map(str, COMMAND), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@LINUX
@pytest.mark.parametrize("arguments", [("info", "chirp.wav"), ("info", "chirp.wav", "--json"), ("fit", "--help")])
def test_a_full_output_is_one_line_and_exit_code_1(arguments: tuple[str, ...], sound: Path) -> None:
    known = [sound if each == "chirp.wav" else each for each in arguments]
    done = shell("> /dev/full", *known)
    assert (done.returncode, done.stderr) == (1, "ddaudio: error: cannot write to standard output: No space left on device\n")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_fit_with_closed_streams_is_saved(redirection: str, sound: Path, tmp_path: Path) -> None:
    done = shell(redirection, "fit", sound, "--out", tmp_path / "fit", "--no-html", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    assert soundfile.info(tmp_path / "fit" / "resynth.wav").frames == 800
    assert run("info", tmp_path / "fit")[0] == 0, "no message went into a file"


def test_a_reader_that_stops_early_is_no_error() -> None:
    done = shell("| head -n 1", "fit", "--help")
    assert (done.stdout, done.stderr) == ("Usage: ddaudio fit [OPTIONS] RECORDING\n", "")


@pytest.mark.parametrize("columns", ["0", "-3", "wide"])
def test_a_terminal_without_width_has_the_usual_one(columns: str, sound: Path) -> None:
    assert shell("", "info", sound, COLUMNS=columns).stdout == shell("", "info", sound).stdout


def test_control_characters_of_a_name_are_escaped(tmp_path: Path) -> None:
    assert visible("a\x1b[2J\x07\x9b\x7fb\tc\nd é") == "a\\x1b[2J\\x07\\x9b\\x7fb\tc\nd é"
    sound = tmp_path / "a\x1b[2Jb.wav"
    soundfile.write(sound, chirp()[:800], 8000)
    for arguments in (("info", sound), ("info", f"{sound}x")):
        _, out, err = run(*arguments)
        assert "\x1b" not in out + err
        assert "x1b[2J" in out + err


def test_matplotlib_is_silent_without_a_home(tmp_path: Path) -> None:
    """It reports that it keeps its cache elsewhere, which nobody asked."""
    arguments = ("landscape", "--tone", "1000", "--samples", "64", "--losses", "mse", "--out", tmp_path / "a.png")
    done = shell("", *arguments, HOME="/dev/null", XDG_CONFIG_HOME="/dev/null/a", XDG_CACHE_HOME="/dev/null/a")
    assert (done.returncode, done.stderr) == (0, "")


def test_quiet_components_are_shown_with_their_digits(tmp_path: Path) -> None:
    sound = tmp_path / "quiet.wav"
    soundfile.write(sound, 1e-5 * chirp()[:800], 8000, subtype="FLOAT")
    assert run("fit", sound, "--out", tmp_path / "fit", "--no-html", *QUICK)[0] == 0
    _, out, _ = run("info", tmp_path / "fit")
    assert "0.0000" not in out
    assert "e-0" in out
