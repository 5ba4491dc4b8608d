"""A fit's folder read again: what is whole comes back as it was, and what is not is refused by name, with what to do."""

import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from soundchecks import is_one_line_that_says
from sounds import RATE, pluck, tones
from sounds import fit_waves as fit

import ddaudio
from ddaudio.errors import ReportError
from ddaudio.fitting.result import FitResult
from ddaudio.io import samples as io_samples
from ddaudio.io.audio import Recording
from ddaudio.io.fit_files import REPORT
from ddaudio.io.formats import REPORT_FORMAT
from ddaudio.options import Encoding
from ddaudio.report.save import save_fit
from ddaudio.results.read import read_audio, read_report
from ddaudio.results.record import FitRecord

SCHEMA = REPORT_FORMAT.number

WAVS = ("resynth.wav", "residual.wav")
AGAIN = "fit the recording again"
STEP = {"pcm16": 2.0**-15, "pcm24": 2.0**-23, "float32": 2.0**-24}
"""From one value to the next below full scale."""


@pytest.fixture(scope="module")
def result() -> FitResult:
    return fit(pluck(0.1), steps=0)


@pytest.fixture(scope="module")
def whole(result: FitResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that no test changes."""
    folder = tmp_path_factory.mktemp("fits") / "pluck-fit"
    save_fit(result, folder, html=False)
    return folder


@pytest.fixture(scope="module")
def broken(whole: Path) -> Path:
    """A copy whose report tests replace, each with its own."""
    folder = whole.with_name("broken-fit")
    shutil.copytree(whole, folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pluck-fit"))


def refusal(read: Callable[[], object]) -> str:
    """Return the message with which something is refused."""
    with pytest.raises(ReportError) as caught:
        read()
    return str(caught.value)


def refusal_of(folder: Path, text: str | bytes) -> str:
    """Return the message that a report of this text brings."""
    (folder / REPORT).write_bytes(text.encode() if isinstance(text, str) else text)
    return refusal(lambda: read_report(folder))


def changed(whole: Path, path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """Return the report with one value replaced."""
    contents: dict[str, Any] = json.loads((whole / REPORT).read_text(encoding="utf-8"))
    place: Any = contents
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return contents


# --- reports ----------------------------------------------------------------------------------------------------------


def test_a_report_comes_back_as_it_was_written(result: FitResult, folder: Path) -> None:
    written = save_fit(result, folder, force=True, html=False)
    assert read_report(folder) == read_report(str(folder)) == written
    assert written["schema"] == SCHEMA


@pytest.mark.parametrize("model", ["tracks", "sine+noise", "double-dutch"])
def test_reports_of_networks_with_other_facts_can_be_read(model: str, tmp_path: Path) -> None:
    save_fit(ddaudio.fit(pluck(0.2), model=model, budget=300, steps=2), tmp_path / "fit", html=False)
    assert read_report(tmp_path / "fit")["model"]["name"] == model


def test_a_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    # A fit's WAVs alone do not make a fit: the report is written last.
    (tmp_path / "resynth.wav").touch()
    said = refusal(lambda: read_report(tmp_path))
    assert is_one_line_that_says(said, (repr(str(tmp_path)), f"has no {REPORT}", AGAIN))


def test_a_report_that_is_a_folder_is_none(tmp_path: Path) -> None:
    (tmp_path / REPORT).mkdir()
    assert is_one_line_that_says(refusal(lambda: read_report(tmp_path)), (str(tmp_path), f"has no {REPORT}", AGAIN))


@pytest.mark.parametrize(("name", "what"), [("bark.wav", "is a file"), ("gone", "does not exist")])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "bark.wav").touch()
    said = refusal(lambda: read_report(tmp_path / name))
    assert is_one_line_that_says(said, (f"{str(tmp_path / name)!r} {what}", "give the folder of a fit"))


@given(share=st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=40)
def test_a_report_that_was_cut_is_damaged(whole: Path, broken: Path, share: float) -> None:
    text = (whole / REPORT).read_bytes().rstrip()
    said = refusal_of(broken, text[: int(share * len(text))])
    assert is_one_line_that_says(said, (f"{str(broken / REPORT)!r} is damaged", AGAIN))


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b'{"schema": "\xe9"}', b"not JSON", b"\xef\xbb\xbf{}", b"{} {}"])
def test_what_is_no_json_is_damaged(broken: Path, text: bytes) -> None:
    said = refusal_of(broken, text)
    assert is_one_line_that_says(said, (f"{str(broken / REPORT)!r} is damaged", AGAIN))


@pytest.mark.parametrize("bracket", ["[]", '{"a":}'])
def test_no_depth_of_nesting_gets_through(broken: Path, bracket: str) -> None:
    opening, closing = bracket[:-1], bracket[-1]
    limit = sys.getrecursionlimit()
    # Close to the limit a reader may manage what a checker, which needs more of the stack, does not.
    for depth in (1, 20, limit // 2, *range(limit - 150, limit + 10), 100_000):
        inner = opening * depth + "0" + closing * depth
        for text in (inner, f'{{"schema": {SCHEMA}, "warnings": [{inner}]}}'):
            said = refusal_of(broken, text)
            assert is_one_line_that_says(said, (f"{str(broken / REPORT)!r} is damaged", AGAIN)), depth
            assert len(said) < 500 + len(str(broken))


@pytest.mark.parametrize("text", ["null", "4", '"report"', "[]", "true", "[{}]"])
def test_json_of_another_type_is_damaged(broken: Path, text: str) -> None:
    said = refusal_of(broken, text)
    assert is_one_line_that_says(said, (f"{str(broken / REPORT)!r} is damaged at $:", "not of type 'object'", AGAIN))


@given(found=st.integers(-3, 1000).filter(lambda number: number != SCHEMA), rest=st.booleans())
@settings(deadline=None, max_examples=25)
def test_another_schema_is_named_with_its_remedy(whole: Path, broken: Path, found: int, rest: bool) -> None:
    # Nothing else of it is looked at: another version may have other keys.
    contents = changed(whole, ("schema",), found) if rest else {"schema": found}
    said = refusal_of(broken, json.dumps(contents))
    remedy, other = ("update ddaudio", AGAIN) if found > SCHEMA else (AGAIN, "update ddaudio")
    assert is_one_line_that_says(
        said, (repr(str(broken / REPORT)), f"is a report of format {found},", f"reads format {SCHEMA}", remedy)
    )
    assert other not in said


def test_a_report_without_schema_is_damaged(whole: Path, broken: Path) -> None:
    contents = changed(whole, ("schema",), 0)
    del contents["schema"]
    assert is_one_line_that_says(refusal_of(broken, json.dumps(contents)), ("is damaged at $:", "'schema'", AGAIN))


REQUIRED_METRICS = ("snr_db", "erb_db", "dead_bands")
"""Metrics that pages and tables rely on; others are as many as are registered."""


def keys_of(value: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the path of each key of a report but those that are names: of settings, layers, losses, sizes, metrics."""
    last = above[-1] if above else None
    if last in ("versions", "settings", "losses", "gradients", "natural_gradients", "cell_samples") or (
        last == "terms" and "evaluations" in above
    ):
        return []
    if isinstance(value, list):
        return [path for place, part in enumerate(value[:1]) for path in keys_of(part, (*above, place))]
    if isinstance(value, dict):
        own = [(*above, key) for key in value if above != ("metrics",) or key in REQUIRED_METRICS]
        return own + [path for key, part in value.items() for path in keys_of(part, (*above, key))]
    return []


def test_no_key_can_be_missing(whole: Path, broken: Path) -> None:
    paths = keys_of(json.loads((whole / REPORT).read_text(encoding="utf-8")))
    assert {("schema",), ("goal", "asked"), ("metrics", "lsd_db", "definition"), ("wav", "gains", "residual.wav")} <= set(paths)
    for path in paths:
        *above, key = path
        contents: Any = changed(whole, path, None)
        place: Any = contents
        for step in above:
            place = place[step]
        del place[key]
        where = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in above)
        said = refusal_of(broken, json.dumps(contents))
        assert is_one_line_that_says(said, (str(broken / REPORT), f"is damaged at {where}: ", repr(key), AGAIN))


WRONG: dict[str, tuple[tuple[str | int, ...], object]] = {
    "text for a rate": (("recording", "sample_rate"), "8000"),
    "a fraction of a channel": (("recording", "channels"), 1.5),
    "no samples": (("recording", "samples"), 0),
    "null for a source": (("recording", "source"), None),
    "true for a number": (("model", "n_parameters"), True),
    "a doubt that is none": (("warnings",), [3]),
    "doubts in a line": (("warnings",), "clipped"),
    "an unknown status": (("status",), "fine"),
    "an unknown goal": (("goal", "name"), "loudness"),
    "text for an SNR": (("metrics", "snr_db", "value"), "40"),
    "a list for a metric": (("metrics", "mse"), [0.1]),
    "a metric without definition": (("metrics", "beauty"), {"value": 1.0, "reason": None}),
    "a setting that is a list": (("settings", "grid"), {"frame_s": [0.1]}),
    "no gain": (("wav", "gains", "resynth.wav"), 0),
    "a negative gain": (("wav", "gains", "residual.wav"), -0.5),
    "a pass without blocks": (("training", "stages", 0), {"name": "sine"}),
    "a loss that is text": (("training", "stages", 0, "blocks", 0, 0, "losses"), [{"mse": "low"}]),
    "a key of its own": (("colour",), "blue"),
    "a schema that is text": (("schema",), str(SCHEMA)),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_type_is_damage(whole: Path, broken: Path, what: str) -> None:
    path, value = WRONG[what]
    said = refusal_of(broken, json.dumps(changed(whole, path, value)))
    assert is_one_line_that_says(said, (f"{str(broken / REPORT)!r} is damaged at $", str(path[0]), AGAIN))


@given(value=st.text(alphabet=st.characters(exclude_categories=()), max_size=3000))
@settings(deadline=None, max_examples=25)
def test_damage_is_told_in_one_short_line(whole: Path, broken: Path, value: str) -> None:
    said = refusal_of(broken, json.dumps(changed(whole, ("recording", "sample_rate"), value)))
    assert is_one_line_that_says(said, (str(broken / REPORT), "is damaged at $.recording.sample_rate", AGAIN))
    assert len(said) < 500 + len(str(broken))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize(
    "path",
    [
        ("metrics", "snr_db", "value"),
        ("bands", 0, "snr_db"),
        ("recording", "duration_s"),
        ("wav", "gains", "resynth.wav"),
        ("goal", "asked"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_a_number_that_is_none_is_damage(whole: Path, broken: Path, path: tuple[str | int, ...], number: str) -> None:
    """JSON has no such numbers, and nothing that pages or figures are made of may be one."""
    text = json.dumps(changed(whole, path, "@")).replace('"@"', number)
    assert is_one_line_that_says(refusal_of(broken, text), (f"{str(broken / REPORT)!r} is damaged", AGAIN))


# --- sounds -----------------------------------------------------------------------------------------------------------


@cache
def loud(peak: float) -> FitResult:
    """A stereo sound of which the fit leaves so much that the residual clips as well if ``peak`` is high."""
    left = tones([440.0, 1000.0], [peak, peak / 2], [0.0, 1.0], 0.1)
    right = tones([300.0], [peak / 3], [0.0], 0.1)
    noise = torch.rand(2, left.shape[1], generator=torch.Generator().manual_seed(1)) - 0.5
    return fit(Recording(torch.cat([left, right]) + peak * noise, RATE, "loud.wav"), steps=0, budget=30)


@pytest.mark.parametrize("encoding", ["pcm16", "pcm24", "float32"])
@pytest.mark.parametrize("peak", [0.3, 4.0])
def test_the_original_is_the_sum_of_the_other_two(tmp_path: Path, encoding: Encoding, peak: float) -> None:
    made = loud(peak)
    made = replace(made, options=made.options.with_settings({"encoding": encoding}))
    report = save_fit(made, tmp_path / "fit", html=False)
    gains = [report["wav"]["gains"][name] for name in WAVS]
    clipping = peak > 1 and encoding != "float32"
    assert all(gain < 0.6 for gain in gains) if clipping else gains == [1.0, 1.0]
    sounds = read_audio(tmp_path / "fit", read_report(tmp_path / "fit"))
    assert sounds.sample_rate == RATE
    scale = float(made.recording.samples[:, :].abs().max())
    # PCM is rounded to the nearest step of what was scaled; then a few roundings of float32 on the way.
    slack = 4 * 2.0**-24 * scale
    roundings = [STEP[encoding] / 2 / gain + slack if encoding != "float32" else slack for gain in gains]
    for read, was, rounding in zip((sounds.resynthesis, sounds.residual), (made.estimate, made.residual), roundings, strict=True):
        assert tuple(read.shape) == (2, 800)
        error = float((read[:, :].double() - was[:, :].double()).abs().max())
        assert error <= rounding
        assert encoding != "pcm16" or error > rounding / 4, "the bound has a meaning"
    original, resynthesis, residual = (sound[:, :].double() for sound in sounds)
    assert float((original - made.recording.samples[:, :].double()).abs().max()) <= sum(roundings)
    assert float((original - resynthesis - residual).abs().max()) <= slack


@given(first=st.integers(-900, 900), last=st.integers(-900, 900))
@settings(deadline=None, max_examples=20)
def test_sounds_are_read_slice_by_slice(whole: Path, first: int, last: int) -> None:
    sounds = read_audio(whole, read_report(whole))
    for sound in sounds:
        assert torch.equal(sound[:, first:last], sound[:, :][:, first:last])


def test_long_sounds_need_not_be_in_memory(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [sound[:, :] for sound in read_audio(whole, read_report(whole))]
    monkeypatch.setattr(io_samples, "IN_MEMORY_SAMPLES", 100)
    monkeypatch.setattr(io_samples, "BLOCK_SAMPLES", 64)
    assert isinstance(ddaudio.read(whole / "resynth.wav").samples, io_samples.DiskSamples)
    after = read_audio(whole, read_report(whole))
    assert all(torch.equal(one[:, :], other) for one, other in zip(after, before, strict=True))


def as_text(path: Path) -> None:
    path.write_text("Dear diary, this is not a sound.\n" * 100)


def rewritten(change: Callable[[np.ndarray], np.ndarray], rate: int = RATE) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
        soundfile.write(path, change(samples), rate, subtype="FLOAT", format="WAV")

    return write


def cut(n_bytes: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:n_bytes])

    return write


def as_nan(samples: np.ndarray) -> np.ndarray:
    samples[7] = math.nan
    return samples


NOT_WHOLE: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "missing": (Path.unlink, ("incomplete", "it is missing")),
    "text": (as_text, ("incomplete", "it holds text, not sound")),
    "empty": (cut(0), ("incomplete", "it is empty")),
    "header cut": (cut(30), ("incomplete", "it begins like a WAV file")),
    "cut": (cut(1000), ("does not match report.json",)),
    "shorter by one": (rewritten(lambda samples: samples[:-1]), ("does not match report.json",)),
    "longer by one": (rewritten(lambda samples: np.pad(samples, ((0, 1), (0, 0)))), ("does not match",)),
    "stereo": (rewritten(lambda samples: samples.repeat(2, axis=1)), ("does not match report.json",)),
    "another rate": (rewritten(lambda samples: samples, 2 * RATE), ("does not match report.json",)),
    "not finite": (rewritten(as_nan), ("incomplete", "1 of 800 samples are NaN or infinite")),
}


@pytest.mark.parametrize("name", WAVS)
@pytest.mark.parametrize("what", NOT_WHOLE)
def test_a_sound_that_is_not_the_fits_is_refused(folder: Path, name: str, what: str) -> None:
    damage, words = NOT_WHOLE[what]
    report = read_report(folder)
    damage(folder / name)
    said = refusal(lambda: read_audio(folder, report))
    assert is_one_line_that_says(said, (name, str(folder), AGAIN, *words))
    assert said == refusal(lambda: FitRecord.read(folder))


def test_a_folder_in_place_of_a_sound_is_refused(folder: Path) -> None:
    report = read_report(folder)
    (folder / "residual.wav").unlink()
    (folder / "residual.wav").mkdir()
    assert is_one_line_that_says(refusal(lambda: read_audio(folder, report)), ("residual.wav", "it is a folder", AGAIN))


def test_evidence_of_a_folder_is_that_of_its_fit(result: FitResult, whole: Path) -> None:
    made, read = FitRecord.of(result), FitRecord.read(whole)
    assert {**made.report, "files": read.report["files"], "wav": read.report["wav"]} == read.report
    for one, other in zip(made.sounds, read.sounds, strict=True):
        # One float32 addition after one subtraction.
        assert torch.allclose(one[:, :], other[:, :], rtol=0, atol=1e-7)
    assert read.network.n_parameters() == result.n_parameters
