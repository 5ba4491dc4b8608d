"""Paths that cannot be looked at, are too long, lead nowhere or are not UTF-8: a sentence, or a fit."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from commands import FILES, QUICK, chirp, run

from ddaudio.training.checkpoint_files import HEAD


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "chirp.wav"
    soundfile.write(path, chirp(), 8000, subtype="FLOAT")
    return path


def refused(*arguments: str | Path) -> str:
    """Run a command that has to be refused in one line; return it."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith("ddaudio: error: ")
    assert err.count("\n") == 1
    return err


def let_in(folder: Path) -> None:
    """Let everybody look into the folders of a test."""
    for above in [*folder.parents][:-2]:
        if above.stat().st_uid == os.getuid() and above.name.startswith("pytest"):
            above.chmod(0o755)


def as_nobody(work: Callable[[], None]) -> int:
    """Do some work in a process that the modes of files count for, which they do not for root; return its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        if os.getuid() == 0:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@pytest.mark.parametrize("command", ["fit", "info", "render", "export", "batch", "compare", "landscape", "report", "play"])
@pytest.mark.parametrize("name", ["long", "file as folder"])
def test_paths_that_cannot_be_looked_at_are_refused(command: str, name: str, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300 + ".wav") if name == "long" else sound / "a.wav"
    out = () if command in ("info", "export", "report", "play") else ("--out", tmp_path / "out.wav")
    code, _, err = run(command, path, *out)
    assert code in (1, 2), err
    assert err.removeprefix("ddaudio: looking\n").startswith("ddaudio: error: ")
    assert err.count("error: ") == 1
    assert not (tmp_path / "out.wav").exists()


@pytest.mark.parametrize("length", [239, 241, 250])
def test_the_longest_stems_are_fitted_and_resumed(
    length: int, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``NAME-fit.checkpoint`` and the lock have longer names than the recording."""
    monkeypatch.chdir(tmp_path)
    path = sound.rename(tmp_path / ("x" * length + ".wav"))
    code, out, err = run("fit", path.name, *QUICK)
    assert (code, err) == (0, "")
    (folder,) = tmp_path.glob("x*fit")
    assert sorted(file.name for file in folder.iterdir()) == FILES
    assert run("fit", path.name, *QUICK, "--force", "--resume")[0] == 0
    del out


@pytest.mark.parametrize("out", ["x" * 300, "/proc/1/fd/out", "chirp.wav", "chirp.wav/out", "nowhere"])
def test_an_output_that_cannot_be_is_refused_before_the_fit(
    out: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nowhere").symlink_to("gone")

    def fit(*_: object, **__: object) -> None:
        raise AssertionError("refused too late")

    monkeypatch.setattr("ddaudio.report.save.fit", fit)
    refused("fit", sound, "--out", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chirp.wav", "nowhere"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("out", ["/", "/nothing/there"])
def test_the_root_as_output_is_refused_before_the_fit(
    out: str, sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that truly cannot be written to, for a user that is not root; nothing can be beside it either."""
    let_in(tmp_path)

    def fit(*_: object, **__: object) -> None:
        raise AssertionError("refused too late")

    monkeypatch.setattr("ddaudio.report.save.fit", fit)

    def work() -> None:
        assert not os.access("/", os.W_OK)
        assert "Traceback" not in refused("fit", sound, "--out", out)

    assert as_nobody(work) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_folders_without_permissions_are_told(sound: Path, tmp_path: Path) -> None:
    """A folder that may be listed and not entered, and one that may not be written to; not "damaged ... fit again"."""
    assert run("fit", sound, "--out", tmp_path / "fit", *QUICK)[0] == 0
    shut = tmp_path / "shut"
    shut.mkdir()
    sound.rename(shut / "a.wav")
    (tmp_path / "fit").rename(shut / "fit")
    let_in(tmp_path)
    shut.chmod(0o644)

    def work() -> None:
        for arguments in (
            ("fit", shut / "a.wav", "--out", tmp_path / "out"),
            ("info", shut / "a.wav"),
            ("info", shut / "fit"),
            ("export", shut / "fit/model.safetensors"),
            ("report", shut / "fit"),
        ):
            err = refused(*arguments)
            assert "damaged" not in err
            assert "Traceback" not in err

    try:
        assert as_nobody(work) == 0
    finally:
        shut.chmod(0o755)


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_path_that_is_not_utf_8_goes_all_the_way(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted, looked at, rendered, exported, reported, and resumed from its checkpoint."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    path, fit = sound.rename(folder / os.fsdecode(b"\xff.wav")), folder / os.fsdecode(b"\xfe-fit")
    assert run("fit", path, "--out", fit, *QUICK)[0] == 0
    assert sorted(file.name for file in fit.iterdir()) == FILES
    for arguments in (
        ("info", path),
        ("info", fit),
        ("export", fit),
        ("report", fit),
        ("render", fit, "--out", folder / "a.wav"),
    ):
        code, _, err = run(*arguments)
        assert code == 0, err
    monkeypatch.setattr("ddaudio.report.save.save_fit", _full_disk)
    words = ("fit", path, "--out", fit, *QUICK, "--checkpoint-every", "0.000001")
    assert run(*words, "--force")[0] in (1, 2)
    monkeypatch.undo()
    checkpoint = fit.with_name(fit.name + ".checkpoint")
    assert (checkpoint / HEAD).is_file(), "there is nothing to resume from"
    code, _, err = run(*words, "--force", "--resume")
    assert code == 0, err
    assert not checkpoint.exists()


def _full_disk(*_: object, **__: object) -> None:
    from ddaudio.errors import OutputError  # noqa: PLC0415

    raise OutputError("no space")
