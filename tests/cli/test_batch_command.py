"""The command ``ddaudio batch``: its words, exit codes and help."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from batches import FLAGS, write_tone
from ddaudio_cli import main
from ddaudio_cli.progress import LINE_S, batch_in_words, batch_progress

from ddaudio.batching import BatchOptions, BatchProgress


def batch(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["batch", *map(str, arguments), *FLAGS])
    out, err = capsys.readouterr()
    return code, out, err


def test_exit_codes_tell_what_became_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One recording, so that no cluster is needed."""
    tone, output = write_tone(tmp_path / "in" / "tone.wav"), tmp_path / "out"
    code, out, err = batch(capsys, tmp_path / "in", "--out", output)
    assert (code, out.splitlines()[0]) == (0, "recordings  1: 1 fitted, 0 done before, 0 failed")
    assert out.splitlines()[-1] == f"output      {output}"
    assert "ddaudio: fitting: 0/1 files" in err
    code, out, _ = batch(capsys, tmp_path / "in", "--out", output, "--json")
    assert (code, json.loads(out)["kept"]) == (0, 1)
    tone.write_text("hello")
    code, out, err = batch(capsys, tmp_path / "in", "--out", output, "--quiet")
    assert (code, out) == (1, "")
    assert err == f"ddaudio: error: 1 recordings failed; see {output}/results.csv\n"
    code, out, _ = batch(capsys, tmp_path / "in", "--out", output, "--dry-run", "--json")
    assert (code, json.loads(out)["planned_sound_s"]) == (0, 0.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("in", "--out", "in/out"), "is inside the input"),
        (("none", "--out", "out"), "1 of 1 inputs are missing: 'none'"),
        (("in", "--out", "out", "--workers", "0"), "workers is 0; allowed: 1 to 1024"),
        (("in", "--out", "out", "--scheduler", "nonsense"), "the scheduler 'nonsense' does not respond"),
        (("in", "--out", "out", "--retry-failed"), "run one without --retry-failed"),
        (("in", "--out", "out", "--wokers", "2"), "--wokers"),
        (("in",), "--out"),
        (("--out", "out"), "INPUTS"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tone(Path("in/tone.wav"))
    code, out, err = batch(capsys, *arguments, "--quiet")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err
    assert not Path("out").exists()


def test_the_help_tells_of_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["batch", "--help"]) == 0
    text = capsys.readouterr().out
    for member in fields(BatchOptions):
        assert f"--{member.name.replace('_', '-')}" in text
    assert "--target-snr" in text
    assert "_" not in " ".join(re.findall(r"--[a-z_-]+", text))


def test_the_client_does_without_torch() -> None:
    """It would take seconds that the workers need."""
    program = (
        "import sys, ddaudio.batching.run, ddaudio.parallel.clusters; assert not {'torch', 'distributed'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_progress_without_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with batch_progress(quiet=False) as show:
        assert show is not None
        show(BatchProgress("looking"))
        for second in range(12):
            now[0] = second
            show(
                BatchProgress("fitting", 20, second, workers=2, share=second / 20, seconds=second, dashboard="http://127.0.0.1:1")
            )
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "ddaudio: looking"
    assert "dashboard http://127.0.0.1:1" in lines[1]
    assert len(lines) == 2 + int(11 / LINE_S)
    assert lines[2].startswith("ddaudio: fitting: 5/20 files")
    with batch_progress(quiet=True) as show:
        assert show is None


def test_progress_in_words() -> None:
    one = BatchProgress("fitting", 10, 4, 1, sound_s=8.0, seconds=4.0, share=0.25, workers=2)
    assert batch_in_words(one) == "4/10 files, 8.0 s of sound, 2.00 s per second, 12 s left, 1 failed"
    assert batch_in_words(BatchProgress("fitting", 10)) == "0/10 files, 0.0 s of sound, waiting for workers"
    assert batch_in_words(BatchProgress("looking")) == ""
