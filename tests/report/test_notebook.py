"""Notebooks: a fit shows itself in a real IPython, with sounds at their levels, and a hostile name harms nobody."""

import base64
import io
import json
import math
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from sounds import RATE, noise, pluck, tones
from sounds import fit_waves as fit

from ddaudio.fitting.result import FitResult
from ddaudio.io.audio import Recording
from ddaudio.report import notebook
from ddaudio.results.read import FitAudio
from ddaudio.results.record import FitRecord

HOSTILE = '<script>alert(1)</script>" onload="alert(2).wav'


class Shown(HTMLParser):
    """Tags with their attributes, and text, of some HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def sounds(self) -> list[tuple[torch.Tensor, int]]:
        """Return the samples ``[C, T]`` and rate of each player."""
        found = []
        for player in self.all("audio"):
            head, _, data = player["src"].partition(",")
            assert head == "data:audio/flac;base64"
            samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)), dtype="float64", always_2d=True)
            found.append((torch.from_numpy(samples.T), rate))
        return found


@pytest.fixture(scope="module")
def plucked() -> FitResult:
    return fit(pluck(), steps=4)


def test_the_players_hold_the_sounds_at_one_level(plucked: FitResult) -> None:
    shown = Shown(notebook.fit_html(plucked))
    players = shown.all("audio")
    assert [player["aria-label"] for player in players] == ["original", "resynthesis", "residual"]
    assert all("controls" in player for player in players)
    sounds = plucked.recording.samples, plucked.estimate, plucked.residual[:, :]
    for (played, rate), sound in zip(shown.sounds(), sounds, strict=True):
        assert rate == RATE
        # 16 bits round to half of 2^-15; the residual was rounded once before, in steps of half as much or less.
        assert torch.allclose(played, sound.double(), rtol=0, atol=2**-15)
    assert "All are played" not in shown.text
    snr_db = 20 * math.log10(float(sounds[0].square().mean().sqrt() / sounds[2].square().mean().sqrt()))
    assert f"The residual is {snr_db:.1f} dB softer than the original." in shown.text


@pytest.mark.parametrize(("factor", "told"), [(2.0**-5, "louder"), (2.0**4, "softer")])
def test_what_the_players_were_raised_or_lowered_by_is_told(plucked: FitResult, factor: float, told: str) -> None:
    evidence = FitRecord.of(plucked)
    scaled = FitAudio(*(factor * sound[:, :] for sound in evidence.sounds), RATE)
    shown = Shown(notebook.fit_html(FitRecord(evidence.report, scaled, evidence.network)))
    assert f"All are played {abs(20 * math.log10(factor)):.0f} dB {told} than their original level." in shown.text
    for (played, _), sound in zip(shown.sounds(), scaled, strict=True):
        assert torch.allclose(played * factor, sound.double(), rtol=0, atol=factor * 2**-15)


def test_a_residual_louder_than_the_sound_does_not_clip(plucked: FitResult) -> None:
    evidence = FitRecord.of(plucked)
    tone = tones([440.0], [0.9], [0.0], 0.5)
    sounds = FitAudio(tone, -2 * tone, 3 * tone, RATE)
    shown = Shown(notebook.fit_html(FitRecord(evidence.report, sounds, evidence.network)))
    for (played, _), sound in zip(shown.sounds(), sounds, strict=True):
        assert torch.allclose(4 * played, sound.double(), rtol=0, atol=4 * 2**-15)
    assert "The residual is 9.5 dB louder than the original. All are played 12 dB softer than their original level." in shown.text


def test_a_long_recording_is_heard_where_it_is_worst(plucked: FitResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "LONGEST_SAMPLES", 2 * 800)
    evidence = FitRecord.of(plucked)
    ramp = torch.arange(4000.0).expand(2, -1) / 8000
    residual = torch.zeros(2, 4000)
    residual[:, 2000:2400] = 0.25
    shown = Shown(
        notebook.fit_html(FitRecord(evidence.report, FitAudio(ramp, ramp - residual, residual, RATE), evidence.network))
    )
    (original, _), _, (heard, _) = shown.sounds()
    assert heard.shape == (2, 800)
    assert int((heard > 0.2).sum()) == 2 * 400, "all of the error lies within the excerpt"
    start_s = 0.5 * float(original[0, 0])  # the ramp, played at twice its level, tells the time
    said = f"Long recording: excerpt from {start_s:.1f} to {start_s + 0.1:.1f} s of 0.5 s, where the error is largest."
    assert said in shown.text


def test_the_picture_has_words_for_those_who_do_not_see_it(plucked: FitResult) -> None:
    picture, spectrum = Shown(notebook.fit_html(plucked)).all("img")
    assert spectrum["alt"].startswith("Long-term average spectra of the original")
    assert picture["alt"].startswith("Waveforms above spectrograms of original, resynthesis and residual of pluck.wav,")
    head, _, data = picture["src"].partition(",")
    assert head == "data:image/png;base64"
    content = base64.b64decode(data)
    assert content.startswith(b"\x89PNG")
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    assert [width, height] == [round(inches * notebook.PICTURE_DPI) for inches in notebook.PICTURE_IN]


def test_doubts_come_first(plucked: FitResult) -> None:
    doubtful = fit(Recording(noise(0.2, 9), RATE, "noise.wav"), steps=1)
    assert doubtful.warnings
    html = notebook.fit_html(doubtful)
    shown = Shown(html)
    places = [shown.text.index(text) for text in ("noise.wav", *doubtful.warnings, "Goal missed", doubtful.reason)]
    assert places == sorted(places)
    assert html.index("</ul>") < html.index("<audio") < html.index("<img")
    assert "Only the first 8 of 9 channels are played." in shown.text
    trusted = Shown(notebook.fit_html(plucked))
    assert ("No warnings." in trusted.text) == (not plucked.warnings) == (not trusted.all("ul"))


def test_a_hostile_name_is_harmless(plucked: FitResult) -> None:
    recording = Recording(plucked.recording.samples, RATE, HOSTILE)
    shown = Shown(notebook.fit_html(fit(recording, steps=0)))
    assert {tag for tag, _ in shown.tags} <= {"div", "p", "strong", "ul", "li", "figure", "figcaption", "audio", "small", "img"}
    assert {name for _, attributes in shown.tags for name in attributes} <= {
        "class",
        "style",
        "controls",
        "src",
        "alt",
        "aria-label",
    }
    name = Path(HOSTILE).name  # what follows the last slash
    assert name in shown.text
    assert name in shown.all("img")[0]["alt"]


def test_a_name_that_is_no_text_can_be_kept_in_a_notebook(plucked: FitResult) -> None:
    name = os.fsdecode(b"caf\xe9.wav")
    html = notebook.fit_html(fit(Recording(plucked.recording.samples, RATE, name), steps=0))
    assert json.loads(json.dumps(html, ensure_ascii=False).encode()) == html
    assert "caf\\udce9.wav" in html


def test_silence_and_a_single_sample_are_shown() -> None:
    for samples in (torch.zeros(1, 800), torch.full((1, 1), 0.5)):
        shown = Shown(notebook.fit_html(fit(Recording(samples, RATE))))
        for (played, _), sound in zip(shown.sounds(), (samples, samples, torch.zeros_like(samples)), strict=True):
            assert torch.allclose(played, sound.double(), rtol=0, atol=2**-15)
        assert shown.text.count("Nothing left to fit") == 1


SHELL = """
import base64, json, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
{before}
from ddaudio.fitting import fit
from ddaudio.io.audio import Recording
import torch
result = fit(Recording(torch.sin(torch.arange(800.0))[None] / 2, 8000, "hum.wav"), steps=1)
{after}
data, metadata = shell.display_formatter.format(result)
print(json.dumps({{"data": data, "report": "ddaudio.report" in sys.modules}}))
"""


def run(script: str, home: Path) -> str:
    environment = os.environ | {"IPYTHONDIR": str(home), "HOME": str(home)}
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import ddaudio.report", ""),
        ("", "import ddaudio.report"),
        ("import ddaudio.report", "from ddaudio.results.record import FitRecord; result = FitRecord.of(result)"),
    ],
)
def test_a_fit_shows_itself_once_the_reports_are_imported(before: str, after: str, tmp_path: Path) -> None:
    found = json.loads(run(SHELL.format(before=before, after=after), tmp_path).splitlines()[-1])
    shown = Shown(found["data"]["text/html"])
    ((played, _), *_) = shown.sounds()
    # 16 bits round to half of 2^-15.
    assert torch.allclose(played, torch.sin(torch.arange(800.0))[None].double() / 2, rtol=0, atol=2**-16 + 1e-7)
    assert len(shown.all("audio")) == 5  # the recording, everything, the residual, waves and noise
    assert "hum.wav" in shown.text
    assert "text/plain" in found["data"]


def test_a_fit_alone_loads_no_reports_and_shows_as_text(tmp_path: Path) -> None:
    found = json.loads(run(SHELL.format(before="", after=""), tmp_path).splitlines()[-1])
    assert list(found["data"]) == ["text/plain"]
    assert not found["report"]


def test_without_a_shell_nothing_happens(tmp_path: Path) -> None:
    script = "import sys, ddaudio.report; assert 'IPython' not in sys.modules\n"
    script += "import IPython; ddaudio.report.notebook.register(); assert IPython.get_ipython() is None"
    run(script, tmp_path)
