"""Batches: what is fitted, what is not, and what is told; fitted by this process, which is a crew as good as any."""

import csv
import json
import os
import re
import shutil
import socket
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from badfiles import BAD_FILES
from batches import FILES, FLAGS, QUICK, fits, models, work_alone, write_tone, write_tones
from commands import run as run_command

import ddaudio
from ddaudio.batching import BatchOptions, BatchProgress, BatchResult, in_words, results_table, run, worker
from ddaudio.batching.results_table import columns
from ddaudio.errors import BatchError, OptionError, OutputError
from ddaudio.options import setting_groups


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work_alone(monkeypatch, run)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of recordings that are really fitted."""
    names: list[str] = []
    iterate_fits = worker.iterate_fits

    def counted(recordings: Any, options: Any) -> Any:
        names.extend(Path(recording.source).name for recording in recordings)
        return iterate_fits(recordings, options)

    monkeypatch.setattr(worker, "iterate_fits", counted)
    return names


def batch(inputs: Any, output: Path, **settings: Any) -> BatchResult:
    return ddaudio.batch(inputs, output, **(QUICK | settings))


def status_of(result: BatchResult) -> dict[str, str]:
    return {Path(row.path).name: row.status for row in result.rows()}


def test_a_folder_is_fitted_into_a_tree_that_mirrors_it(tmp_path: Path) -> None:
    sounds, output = write_tones(tmp_path / "in", 4), tmp_path / "out"
    result = batch(sounds, output)
    assert set(fits(output)) == {"tone 0.wav-fit", "tone 1.wav-fit", "sub/tone 2.wav-fit", "tone 3.wav-fit"}
    assert sorted(path.name for path in output.iterdir() if path.is_file()) == [
        ".ddaudio",
        "index.html",
        "results.csv",
        "results.parquet",
        "summary.json",
    ]
    assert (result.failed, result.problem, result.stopped) == (0, None, False)
    assert json.loads((output / "summary.json").read_text()) == result.contents
    # What a batch fits is what `fit` fits.
    alone = ddaudio.fit(sounds / "tone 0.wav", **QUICK)
    ddaudio.save_fit(alone, tmp_path / "alone", html=False)
    assert (tmp_path / "alone" / "model.safetensors").read_bytes() == models(output)["tone 0.wav-fit"]
    assert (tmp_path / "alone" / "resynth.wav").read_bytes() == (output / "tone 0.wav-fit" / "resynth.wav").read_bytes()


@pytest.mark.parametrize(
    "settings",
    [{"losses": "mse=1,pdl=0.5", "steps": 3}, {"model": "sine+double-dutch", "steps": 2}, {"html": True}],
    ids=str,
)
def test_every_kind_of_fit_comes_out_of_a_batch_as_from_fit(settings: dict[str, Any], tmp_path: Path) -> None:
    """Batches fit without what gradients need where none is taken, and with it where one is."""
    sounds, output = write_tones(tmp_path / "in", 2), tmp_path / "out"
    assert batch(sounds, output, **settings).failed == 0
    alone = QUICK | {name: value for name, value in settings.items() if name != "html"}
    ddaudio.save_fit(ddaudio.fit(sounds / "tone 1.wav", **alone), tmp_path / "alone", html=False)
    assert (tmp_path / "alone" / "model.safetensors").read_bytes() == models(output)["tone 1.wav-fit"]


def test_rows_tell_of_each_fit_what_its_report_does(tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = batch(write_tones(tmp_path / "in", 3), output)
    rows, reports = list(result.rows()), fits(output)
    assert [row.folder for row in rows] == sorted(reports)
    for row in rows:
        report = reports[row.folder]
        assert (row.snr_db, row.metrics["mse"]) == (report["metrics"]["snr_db"]["value"], report["metrics"]["mse"]["value"])
        assert (row.n_parameters, row.settings_sha256) == (report["model"]["n_parameters"], report["settings_sha256"])
        assert row.seconds == pytest.approx(sum(report["seconds"][name] for name in ("reading", "fitting", "measuring")))
    with (output / "results.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert tuple(table[0]) == columns()
    # Numbers go through text without loss.
    assert [float(line["snr_db"]) for line in table] == [row.snr_db for row in rows]
    assert [line["status"] for line in table] == ["fitted"] * 3


def test_a_second_run_does_nothing(tmp_path: Path, fitted: list[str]) -> None:
    sounds, output = write_tones(tmp_path / "in", 3), tmp_path / "out"
    batch(sounds, output)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*-fit/*")}
    fitted.clear()
    result = batch(sounds, output)
    assert fitted == []
    assert set(status_of(result).values()) == {"kept"}
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*-fit/*")} == before
    assert all(row.snr_db is not None for row in result.rows())


def test_only_what_is_missing_or_changed_is_fitted_again(tmp_path: Path, fitted: list[str]) -> None:
    sounds, output = write_tones(tmp_path / "in", 4), tmp_path / "out"
    batch(sounds, output)
    (output / "tone 0.wav-fit" / "report.json").unlink()
    shutil.rmtree(output / "tone 1.wav-fit")
    changed = sounds / "sub" / "tone 2.wav"
    stamp, size = changed.stat().st_mtime_ns, changed.stat().st_size
    write_tone(changed, 99)
    os.utime(changed, ns=(stamp, stamp))  # neither size nor time tells of it
    assert changed.stat().st_size == size
    fitted.clear()
    batch(sounds, output)
    assert sorted(fitted) == ["tone 0.wav", "tone 1.wav", "tone 2.wav"]
    assert len(fits(output)) == 4
    fitted.clear()
    batch(sounds, output, target_snr_db=12.0)
    assert len(fitted) == 4
    assert {report["settings"]["model"]["target_snr_db"] for report in fits(output).values()} == {12.0}
    fitted.clear()
    batch(sounds, output, target_snr_db=12.0, force=True)
    assert len(fitted) == 4


def test_what_differs_only_in_what_was_asked_or_in_the_header_is_not_fitted_again(tmp_path: Path, fitted: list[str]) -> None:
    """The same samples and the same settings once resolved: that is what counts in the end."""
    sounds, output = tmp_path / "in", tmp_path / "out"
    tone = write_tone(sounds / "tone.wav")
    batch(sounds, output)
    fitted.clear()
    batch(sounds, output, optimiser="gauss-newton")  # which it is anyway
    samples, rate = soundfile.read(tone, dtype="int16")
    soundfile.write(tone, samples, rate, format="WAVEX", subtype="PCM_16")
    result = batch(sounds, output)
    assert fitted == []
    assert status_of(result) == {"tone.wav": "kept"}


def test_a_damaged_report_is_no_report(tmp_path: Path, fitted: list[str]) -> None:
    sounds, output = write_tones(tmp_path / "in", 4), tmp_path / "out"
    batch(sounds, output)
    good = json.loads((output / "tone 0.wav-fit" / "report.json").read_text())
    (output / "tone 0.wav-fit" / "report.json").write_text("{")
    (output / "tone 1.wav-fit" / "report.json").write_text("[]")
    del good["metrics"]
    (output / "tone 3.wav-fit" / "report.json").write_text(json.dumps(good | {"schema": 1}))
    fitted.clear()
    assert batch(sounds, output).failed == 0
    assert sorted(fitted) == ["tone 0.wav", "tone 1.wav", "tone 3.wav"]


@pytest.mark.parametrize("kind", sorted(set(BAD_FILES) - {"missing", "directory"}))
def test_a_bad_file_is_a_row_with_its_reason(kind: str, tmp_path: Path) -> None:
    make, words = BAD_FILES[kind]
    write_tones(tmp_path / "in", 2)
    bad = make(tmp_path / "in")
    result = batch(tmp_path / "in", tmp_path / "out", pattern="*")
    assert result.failed == 1
    assert status_of(result) == {"tone 0.wav": "fitted", "tone 1.wav": "fitted", bad.name: "failed"}
    (row,) = (row for row in result.rows() if row.status == "failed")
    assert all(word in str(row.reason) for word in words)
    assert row.attempts == 1, "it will not become better by trying again"
    assert f"failed      {bad}" in "\n".join(in_words(result))


def test_silence_and_a_single_sample_are_fitted(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "silent.wav", np.zeros(800), 8000)
    soundfile.write(tmp_path / "in" / "short.wav", np.ones(1) / 2, 8000)
    result = batch(tmp_path / "in", tmp_path / "out")
    assert status_of(result) == {"silent.wav": "fitted", "short.wav": "fitted"}


def test_a_file_that_vanishes_is_a_row_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, output = write_tones(tmp_path / "in", 3), tmp_path / "out"
    gone = sounds / "tone 1.wav"
    read = worker.file_hash

    def vanishing(path: Path) -> str:
        if Path(path).name == "tone 0.wav":
            gone.unlink(missing_ok=True)
        return read(path)

    monkeypatch.setattr(worker, "file_hash", vanishing)
    result = batch(sounds, output)
    assert status_of(result) == {"tone 0.wav": "fitted", "tone 1.wav": "failed", "tone 2.wav": "fitted"}
    assert "it is missing" in str(result.contents["failures"][0]["reason"])
    monkeypatch.undo()


def test_a_file_that_changes_while_it_is_read_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds = tmp_path / "in"
    write_tone(sounds / "tone.wav")
    read, calls = worker.audio.read, []

    def changing(path: Path, sample_rate: int | None = None) -> Any:
        found = read(path, sample_rate)
        calls.append(path)
        if calls == [sounds / "tone.wav"]:
            write_tone(path, 7)
        return found

    monkeypatch.setattr(worker.audio, "read", changing)
    result = batch(sounds, tmp_path / "out")
    (row,) = result.rows()
    assert (row.status, row.attempts) == ("fitted", 2)
    assert row.sha256 == read(sounds / "tone.wav").content_hash


def test_a_full_disk_is_tried_again_and_then_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, output = write_tones(tmp_path / "in", 3), tmp_path / "out"
    save, tries = worker.saving.write_fit, []

    def full(result: Any, *arguments: Any, **options: Any) -> Any:
        if "tone 1" in result.recording.source:
            tries.append(1)
            raise OSError(28, "No space left on device")
        return save(result, *arguments, **options)

    monkeypatch.setattr(worker.saving, "write_fit", full)
    result = batch(sounds, output, retries=1)
    assert len(tries) == 2
    assert status_of(result) == {"tone 0.wav": "fitted", "tone 1.wav": "failed", "tone 2.wav": "fitted"}
    (row,) = (row for row in result.rows() if row.status == "failed")
    assert "No space left on device" in str(row.reason)
    assert row.attempts == 2
    assert not [*output.glob("**/.ddaudio-*")], "nothing half-made stays"


def test_a_bug_in_one_fit_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, iterate_fits = write_tones(tmp_path / "in", 2), worker.iterate_fits

    def broken(recordings: Any, options: Any) -> Any:
        if any("tone 0" in recording.source for recording in recordings):
            raise ZeroDivisionError("division\nby zero")
        return iterate_fits(recordings, options)

    monkeypatch.setattr(worker, "iterate_fits", broken)
    result = batch(sounds, tmp_path / "out")
    assert result.contents["failures"] == [{"path": str(sounds / "tone 0.wav"), "reason": "ZeroDivisionError: division by zero"}]
    assert result.contents["fitted"] == 1


def test_only_failures_are_done_again_if_asked(tmp_path: Path, fitted: list[str]) -> None:
    sounds, output = write_tones(tmp_path / "in", 3), tmp_path / "out"
    bad = sounds / "bad.wav"
    bad.write_text("hello")
    assert batch(sounds, output).failed == 1
    write_tone(bad, 5)
    write_tone(sounds / "new.wav", 6)
    fitted.clear()
    result = batch(sounds, output, retry_failed=True)
    assert fitted == ["bad.wav"]
    assert status_of(result) == {"bad.wav": "fitted"} | {f"tone {place}.wav": "kept" for place in range(3)}
    assert (result.contents["left"], result.failed) == (1, 0)
    with pytest.raises(BatchError, match="no batch has finished there yet"):
        batch(sounds, tmp_path / "other", retry_failed=True)


def test_a_limit_leaves_the_rest_and_forgets_no_failure(tmp_path: Path, fitted: list[str]) -> None:
    sounds, output = write_tones(tmp_path / "in", 4), tmp_path / "out"
    (sounds / "zz.wav").write_text("hello")
    batch(sounds, output)
    shutil.rmtree(output / "tone 0.wav-fit")
    fitted.clear()
    result = batch(sounds, output, limit=1)
    assert fitted == ["tone 0.wav"]
    assert status_of(result)["zz.wav"] == "failed", "it was not tried, but it did fail before"
    first = batch(sounds, tmp_path / "new", limit=3)
    assert (first.contents["fitted"], first.contents["left"]) == (3, 2)
    assert "2 left for another time" in in_words(first)[0]


def test_a_dry_run_counts_the_sound_that_a_run_will_read(tmp_path: Path) -> None:
    lengths_s = {"vbr-without-xing.mp3": 67_968 / 44_100, "chained.ogg": 1.0, "chained.opus": 1.0, "data-size-0.wav": 0.5}
    lengths_s["piped-cut.flac"] = 41_472 / 44_100
    (tmp_path / "in").mkdir()
    for name in lengths_s:
        shutil.copy(Path(__file__).parents[1] / "faults" / name, tmp_path / "in" / name)
    shutil.copy(tmp_path / "in" / "data-size-0.wav", tmp_path / "in" / "named.raw")
    result = batch(tmp_path / "in", tmp_path / "out", dry_run=True)
    assert result.planned_sound_s == pytest.approx(sum(lengths_s.values()))
    result = batch(tmp_path / "in", tmp_path / "out", dry_run=True, pattern="*.raw")
    assert result.planned_sound_s == pytest.approx(0.5)


def test_a_dry_run_tells_and_does_nothing(tmp_path: Path, fitted: list[str]) -> None:
    sounds, output = write_tones(tmp_path / "in", 3), tmp_path / "out"
    result = batch(sounds, output, dry_run=True)
    assert not output.exists()
    assert result.planned_sound_s == pytest.approx(0.3)
    batch(sounds, output, limit=1)
    (sounds / "bad.wav").write_text("hello")
    fitted.clear()
    result = batch(sounds, output, dry_run=True)
    assert result.planned_sound_s == pytest.approx(0.2)
    assert in_words(result)[0] == "recordings  4: 1 done before, 3 to fit"
    assert fitted == []


def test_pages_are_made_when_asked_for_even_of_fits_that_are_there(tmp_path: Path, fitted: list[str]) -> None:
    sounds, output = write_tones(tmp_path / "in", 2), tmp_path / "out"
    batch(sounds, output)
    assert not list(output.rglob("report.html"))
    gallery = (output / "index.html").read_text()
    assert "2 fits" in gallery
    assert 'href="tone%200.wav-fit/report.json"' in gallery
    fitted.clear()
    (output / "index.html").unlink()
    batch(sounds, output, html=True)
    assert fitted == []
    assert len(list(output.rglob("report.html"))) == 2
    assert 'href="tone%200.wav-fit/report.html"' in (output / "index.html").read_text()
    write_tone(sounds / "new.wav", 9)
    batch(sounds, output, html=True)
    assert (output / "new.wav-fit" / "report.html").exists()
    assert "3 fits" in (output / "index.html").read_text()


def test_addresses_in_the_gallery_lead_somewhere(tmp_path: Path) -> None:
    sounds, output = write_tones(tmp_path / "in", 3), tmp_path / "out"
    batch(sounds, output)
    text = (output / "index.html").read_text()
    addresses = re.findall(r'(?:href|data-sound)="([^"#:]+)"', text)
    assert str(output) not in text, "an output may be moved: its page knows no place but its own"
    assert len(addresses) == 3 * 4
    assert all((output / address.replace("%20", " ")).exists() for address in addresses)


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[BatchProgress] = []
    batch(write_tones(tmp_path / "in", 3), tmp_path / "out", progress=seen.append)
    assert (seen[0].stage, seen[-1].stage) == ("looking", "writing")
    fitting = [one for one in seen if one.stage == "fitting"]
    assert [one.done for one in fitting] == sorted(one.done for one in fitting)
    assert fitting[0].left_s is None
    last = fitting[-1]
    assert (last.done, last.total, last.share, last.left_s) == (3, 3, 1.0, 0.0)
    assert last.sound_s == pytest.approx(0.3)


def test_the_largest_files_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that came last would keep a worker busy long after the others are done."""
    for place, duration_s in enumerate((0.1, 0.3, 0.2)):
        write_tone(tmp_path / "in" / f"{place}.wav", place, duration_s)
    fitted, iterate_fits = [], worker.iterate_fits

    def noting(recordings: Any, options: Any) -> Any:
        fitted.extend(Path(recording.source).stem for recording in recordings)
        return iterate_fits(recordings, options)

    monkeypatch.setattr(worker, "iterate_fits", noting)
    result = batch(tmp_path / "in", tmp_path / "out")
    assert fitted == ["1", "2", "0"]
    assert [Path(row.path).stem for row in result.rows()] == ["0", "1", "2"], "rows keep their order"


def test_an_interrupt_leaves_tables_of_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, output, iterate_fits = write_tones(tmp_path / "in", 3), tmp_path / "out", worker.iterate_fits

    def stopped(recordings: Any, options: Any) -> Any:
        if any("tone 1" in recording.source for recording in recordings):
            raise KeyboardInterrupt
        return iterate_fits(recordings, options)

    monkeypatch.setattr(worker, "iterate_fits", stopped)
    result = batch(sounds, output, stack=1)
    assert result.stopped
    assert set(status_of(result).values()) == {"fitted"}
    assert len(fits(output)) == result.contents["fitted"] < 3
    monkeypatch.undo()


def test_tables_that_cannot_be_written_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "write_tables", full)
    result = batch(write_tones(tmp_path / "in", 2), tmp_path / "out")
    assert "No space left on device" in str(result.problem)
    assert len(fits(tmp_path / "out")) == 2


def test_what_a_user_put_into_a_fits_folder_stays(tmp_path: Path) -> None:
    sounds, output = write_tones(tmp_path / "in", 1), tmp_path / "out"
    batch(sounds, output)
    note = output / "tone 0.wav-fit" / "note.txt"
    note.write_text("nice")
    batch(sounds, output, force=True, target_snr_db=12.0)
    assert note.read_text() == "nice"
    assert {path.name for path in note.parent.iterdir()} == {*FILES, "note.txt"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": "in/none"}, ("1 of 1 inputs are missing", "in/none")),
        ({"inputs": "empty"}, ("no recordings in 'empty'", "give another pattern")),
        ({"inputs": "in", "output": "in/out"}, ("is inside the input",)),
        ({"inputs": "in", "output": "in"}, ("input and output are the same",)),
        ({"inputs": "link", "output": "in/out"}, ("is inside the input",)),
        ({"inputs": "in", "pattern": "*.flac"}, ("no name matches '*.flac'",)),
        ({"inputs": "missing.txt"}, ("2 of 3 inputs are missing", "gone.wav", "lost.wav", "remove them from the list")),
        ({"inputs": "nothing.txt"}, ("is empty", "on each line")),
        ({"inputs": ["in/tone 0.wav", "out2/x.wav"], "output": "out2"}, ("is in the output",)),
        ({"inputs": []}, ("no input",)),
        ({"inputs": "nowhere://bucket/x"}, ("nowhere", "cannot use")),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused_before_work(
    change: dict[str, Any], words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_tones(Path("in"), 2)
    Path("empty").mkdir()
    Path("link").symlink_to("in")
    write_tone(Path("out2/x.wav"))
    Path("missing.txt").write_text("in/tone 0.wav\ngone.wav\n# a comment\n\nlost.wav\n")
    Path("nothing.txt").write_text("\n# nothing\n")
    before = sorted(Path().rglob("*"))
    with pytest.raises(BatchError) as caught:
        batch(**({"output": Path("out")} | change))
    assert all(word in str(caught.value) for word in words)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"workers": 0}, "workers"),
        ({"retries": -1}, "retries"),
        ({"limit": 0}, "limit"),
        ({"stack": 2000}, "stack"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "scheduler"),
        ({"force": True, "retry_failed": True}, "force"),
        ({"workres": 2}, "workres"),
        ({"target_snr_db": 1000}, "target_snr_db"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings: dict[str, Any], word: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=word):
        batch(write_tones(tmp_path / "in", 1), tmp_path / "out", **settings)


def test_an_output_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    sounds = write_tones(tmp_path / "in", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is not a folder"):
        batch(sounds, tmp_path / "file" / "out")


def test_lists_and_several_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tones(Path("in"), 4)
    Path("list.txt").write_text("in/tone 0.wav\n./in/sub\nin/tone 0.wav\n", encoding="utf-8")
    batch("list.txt", Path("out"))
    assert set(fits(Path("out"))) == {"in/tone 0.wav-fit", "in/sub/tone 2.wav-fit"}
    Path("here").mkdir()
    monkeypatch.chdir("here")
    outside = tmp_path / "in" / "tone 1.wav"
    batch([outside, "../in/tone 3.wav"], Path("out"))
    found = sorted(fits(Path("out")))
    assert len(found) == 2
    assert all("~" in folder and folder.startswith("/".join(tmp_path.parts[1:3])) for folder in found)
    # One recording has one folder, however it is named from outside.
    batch([os.path.relpath(outside), tmp_path / "in" / "tone 3.wav"], Path("out"))
    assert sorted(fits(Path("out"))) == found


def test_patterns(tmp_path: Path) -> None:
    sounds = write_tones(tmp_path / "in", 4)
    write_tone(sounds / ".hidden.wav")
    write_tone(sounds / ".git" / "x.wav")
    for number, (pattern, count) in enumerate({"*0.wav": 1, "sub/*": 1, "*": 4, "tone ?.wav": 4}.items()):
        assert batch(sounds, tmp_path / f"out{number}", pattern=pattern, dry_run=True).contents["recordings"] == count


def test_odd_names_are_fitted_inside_the_output(tmp_path: Path) -> None:
    """Files named by any bytes, links, and names that differ only in case, ending or spelling."""
    sounds, output = tmp_path / "in", tmp_path / "out"
    tone = write_tone(tmp_path / "tone.wav")
    names = [
        "a.wav",
        "A.wav",
        "a.WAV",
        "\u00e4.wav",
        "a\u0308.wav",
        "x" * 251 + ".wav",
        "\udcff.wav",
        "a\nb.wav",
        "~.wav",
        "-.wav",
    ]
    sounds.mkdir()
    for name in names:
        shutil.copy(tone, sounds / name)
    soundfile.write(sounds / "a.flac", np.ones(100) / 2, 8000)
    (sounds / "link.wav").symlink_to(tone)
    (sounds / "dangling.wav").symlink_to("nowhere")
    (sounds / "loop").symlink_to(".")
    result = batch(sounds, output)
    assert len(fits(output)) == len(names) + 2
    assert [Path(row.path).name for row in result.rows() if row.status == "failed"] == ["dangling.wav"]
    assert len({folder.casefold() for folder in fits(output)}) == len(names) + 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "tone.wav"]
    assert status_of(batch(sounds, output))["a\nb.wav"] == "kept"


def test_a_link_in_the_output_leads_nothing_out_of_it(tmp_path: Path) -> None:
    sounds, output, outside = write_tones(tmp_path / "in", 3), tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    output.mkdir()
    (output / "sub").symlink_to(outside)
    (output / "tone 0.wav-fit").symlink_to(outside)
    result = batch(sounds, output, retries=0)
    assert status_of(result) == {"tone 0.wav": "failed", "tone 1.wav": "fitted", "tone 2.wav": "failed"}
    assert list(outside.iterdir()) == []
    assert "a link leads to" in str(result.contents["failures"][0]["reason"])


def test_leftovers_of_killed_batches_are_cleared(tmp_path: Path) -> None:
    sounds, output = write_tones(tmp_path / "in", 1), tmp_path / "out"
    dead = output / ".ddaudio-dead"
    dead.mkdir(parents=True)
    (dead / "owner.json").write_text(json.dumps({"ddaudio": "scratch", "host": socket.gethostname(), "pid": 1 << 22}))
    (dead / "report.json").write_text("{}")
    batch(sounds, output)
    assert not dead.exists()


def test_a_folder_that_cannot_be_listed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as somebody who may read everything: then only the system can be made to refuse."""
    sounds, output, scandir = write_tones(tmp_path / "in", 3), tmp_path / "out", os.scandir

    def closed(path: Any) -> Any:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert batch(sounds, output, dry_run=True).contents["left"] == 3
    result = batch(sounds, output)
    assert status_of(result) == {"tone 0.wav": "fitted", "tone 1.wav": "fitted", "sub": "failed"}
    assert "Permission denied; check its permissions" in str(result.contents["failures"][0]["reason"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has pipes with names")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    sounds, output = write_tones(tmp_path / "in", 1), tmp_path / "out"
    os.mkfifo(sounds / "pipe.wav")
    assert batch(sounds, output, dry_run=True).planned_sound_s == pytest.approx(0.1)
    assert status_of(batch(sounds, output)) == {"tone 0.wav": "fitted", "pipe.wav": "failed"}


def test_names_are_no_formulas_for_spreadsheets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, output = tmp_path / "in", tmp_path / "out"
    for name in ("=1+1.wav", "@a.wav", "-b.wav", "c=.wav"):
        write_tone(sounds / name)
    monkeypatch.chdir(sounds)
    result = batch(sorted(path.name for path in sounds.iterdir()), output)
    table = list(csv.DictReader((output / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert sorted(row["path"] for row in table) == ["'-b.wav", "'=1+1.wav", "'@a.wav", "c=.wav"]
    assert {Path(row.path).name for row in result.rows()} == {"=1+1.wav", "@a.wav", "-b.wav", "c=.wav"}


def test_a_protocol_without_an_address_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `ftp:///x`, whose file system needs a host, and is not even made."""

    def no_host(*_: object, **__: object) -> None:
        raise TypeError("FTPFileSystem.__init__() missing 1 required positional argument: 'host'")

    monkeypatch.setattr("fsspec.filesystem", no_host)
    with pytest.raises(BatchError, match="cannot use 'ftp:///x'"):
        batch("ftp:///x", tmp_path / "out")


def test_names_of_settings_are_unique_over_fit_and_batch() -> None:
    assert not {member.name for member in fields(BatchOptions)} & set(setting_groups())


def test_what_is_removed_while_a_batch_runs_has_failed(tmp_path: Path) -> None:
    sounds, output = write_tones(tmp_path / "in", 4), tmp_path / "out"
    batch([sounds / "tone 0.wav"], output)

    def remove(progress: BatchProgress) -> None:
        """Remove a fit of before, and one that was just made."""
        if progress.stage == "writing":
            for name in ("tone 0.wav-fit", "tone 1.wav-fit"):
                shutil.rmtree(output / name)

    result = batch(sounds, output, progress=remove)
    assert status_of(result) == {"tone 0.wav": "failed", "tone 1.wav": "failed", "tone 2.wav": "fitted", "tone 3.wav": "fitted"}
    assert (result.failed, result.contents["fitted"], result.contents["kept"], result.problem) == (2, 2, 0, None)
    assert all("removed while the batch was running" in str(row.reason) for row in result.rows() if row.status == "failed")
    assert sum(result.contents["quantiles"]["snr_db"][name] > 0 for name in ("5", "95")) == 2
    page = (output / "index.html").read_text(encoding="utf-8")
    assert "tone 2" in page
    assert "tone 1" not in page
    assert set(status_of(batch(sounds, output)).values()) == {"fitted", "kept"}


def test_no_folder_for_temporary_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(results_table.tempfile, "TemporaryFile", failing)
    with pytest.raises(OutputError, match="cannot make a temporary file: No usable temporary directory"):
        batch(write_tones(tmp_path / "in", 2), tmp_path / "out")


def test_control_characters_of_names_reach_no_terminal(tmp_path: Path) -> None:
    """By the table, which is printed by `cat`, or by what the command prints."""
    write_tone(tmp_path / "in" / "red\x1b[31m\x07.wav")
    (tmp_path / "in" / "bad\x1b[0m.wav").write_bytes(b"text")
    code, out, err = run_command("batch", tmp_path / "in", "--out", tmp_path / "out", *FLAGS)
    assert code == 1
    table = (tmp_path / "out/results.csv").read_text(encoding="utf-8")
    for text in (out, err, table):
        assert "\x1b" not in text
        assert "\x07" not in text
    assert "red\\x1b[31m\\x07.wav" in table
    assert "bad\\x1b[0m.wav" in out
