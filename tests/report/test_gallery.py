"""`ddaudio report`: pages made again from folders, and the gallery over them; in a real browser where it matters."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from axe_playwright_python.sync_playwright import Axe
from browser import opened
from commands import contents, run
from playwright.sync_api import Browser
from sounds import RATE, noise, tones
from sounds import fit_waves as fit

from ddaudio.errors import OptionError, OutputError, ReportError
from ddaudio.io.audio import Recording
from ddaudio.metrics.perceptual import zimtohrli_mos
from ddaudio.report import gallery as gallery_rows
from ddaudio.report import write_pages
from ddaudio.report.save import save_fit
from ddaudio.results.record import FitRecord

HOSTILE = "<img src=x onerror=window.hacked=1>'\".wav"
SOUNDS = {
    # name: samples, settings; by SNR b > a > hostile, the silent one has none
    "a.wav": (tones([440.0], [0.5], [0.0], 0.4) + noise(0.4) / 20, {}),
    "b.wav": (tones([300.0], [0.5], [0.0], 0.3), {"target_snr_db": 60.0}),
    "silent.wav": (torch.zeros(1, 800), {}),
    HOSTILE: (noise(0.5, 2), {"max_parameters_per_sample": 0.01}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fits of a few recordings, which lie beside them, in folders of their own."""
    home = tmp_path_factory.mktemp("fits")
    for place, (name, (samples, settings)) in enumerate(SOUNDS.items()):
        source = home / name
        soundfile.write(source, samples.T.numpy(), RATE, subtype="FLOAT")
        save_fit(fit(Recording(samples, RATE, str(source)), steps=1, **settings), home / "deeper" / f"fit {place}#?%", html=False)
    return home


@pytest.fixture
def fits(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "fits"))


def folders(fits: Path) -> list[Path]:
    return sorted(path.parent for path in fits.rglob("report.json"))


def test_scores_are_added_to_reports_pages_and_galleries(fits: Path) -> None:
    """Those of the sounds in the folder, with their controls; a second time the same, and a wrong name changes nothing."""
    (folder,) = (
        one for one in folders(fits) if json.loads((one / "report.json").read_text())["recording"]["source"].endswith("a.wav")
    )
    before = contents(folder)
    code, _, err = run("report", folder, "--quality", "zimtohrly")
    assert code != 0
    assert "did you mean 'zimtohrli'" in err
    assert contents(folder) == before
    gallery_page = fits / "gallery.html"
    assert run("report", folder, "--quality", "zimtohrli", "--gallery", gallery_page)[0] == 0
    old, new = json.loads(before["report.json"]), json.loads(contents(folder)["report.json"])
    assert {name: new["metrics"].pop(name)["reason"] for name in list(new["metrics"]) if "zimtohrli" in name} == {
        "zimtohrli": None,
        "zimtohrli_silence": None,
        "zimtohrli_white": None,
    }
    assert new == old
    scores = json.loads(contents(folder)["report.json"])["metrics"]
    sounds = FitRecord.read(folder).sounds
    assert scores["zimtohrli"]["value"] == zimtohrli_mos(sounds.resynthesis[:, :], sounds.original[:, :], RATE)
    told = f"{scores['zimtohrli']['value']:.2f}"
    for page in (folder / "report.html", gallery_page):
        text = page.read_text(encoding="utf-8")
        assert told in text
        assert f"controls: silence {scores['zimtohrli_silence']['value']:.2f}, white noise" in text


def test_a_page_is_made_again_from_what_the_folder_holds(fits: Path) -> None:
    folder = folders(fits)[0]
    before = contents(folder)
    code, out, err = run("report", folder)
    assert (code, out, err) == (0, f"{folder / 'report.html'}\n", "")
    after = contents(folder)
    first = after.pop("report.html")
    assert after == before
    run("report", folder)
    assert contents(folder)["report.html"] == first, "the same again, byte for byte"
    # The page shows what the report says, whoever changed it.
    report = json.loads((folder / "report.json").read_text())
    report["warnings"] = ["somebody doubts it"]
    (folder / "report.json").write_text(json.dumps(report))
    run("report", folder)
    assert "<li>somebody doubts it</li>" in (folder / "report.html").read_text()


def test_a_folder_above_stands_for_all_fits_below(fits: Path) -> None:
    code, out, _ = run("report", fits)
    assert code == 0
    assert out.splitlines() == [str(folder / "report.html") for folder in folders(fits)]
    assert all((folder / "report.html").is_file() for folder in folders(fits))


def damaged(folder: Path, how: str) -> None:
    report = folder / "report.json"
    contents = json.loads(report.read_text())
    if how == "no report":
        report.unlink()
    elif how == "cut":
        report.write_text(report.read_text()[:1000])
    elif how == "newer":
        report.write_text(json.dumps(contents | {"schema": contents["schema"] + 1}))
    elif how == "no WAV":
        (folder / "residual.wav").unlink()
    elif how == "no model":
        (folder / "model.safetensors").unlink()
    elif how == "another model":
        other = next(one for one in folders(folder.parents[1]) if one != folder)
        shutil.copy(other / "model.safetensors", folder)
    elif how == "foreign files":
        report.write_text(json.dumps(contents | {"files": ["javascript:alert(1)"]}))
    elif how == "no number":
        contents["settings"]["training"]["steps"] = "many"
        report.write_text(json.dumps(contents))
    elif how == "huge":
        contents["metrics"]["mse"]["value"] = 10**400
        report.write_text(json.dumps(contents))
    elif how == "another WAV":
        soundfile.write(folder / "resynth.wav", np.zeros(17), RATE)


DAMAGES = {
    "no report": "has no report.json: no fit was completed there; fit the recording again",
    "cut": "report.json' is damaged: ",
    "newer": "; update ddaudio",
    "no WAV": "residual.wav': it is missing; fit the recording again",
    "no model": "there is no model file",
    "another WAV": "resynth.wav in ",
    "another model": "does not match its report; fit the recording again",
    "foreign files": "is damaged at $.files[0]",
    "no number": "is damaged at $.settings.training.steps",
    "huge": "is no finite number",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_folder_that_is_not_whole_is_told_and_the_others_are_made(how: str, fits: Path) -> None:
    bad, *good = folders(fits)
    damaged(bad, how)
    code, out, err = run("report", *[bad, *good], "--gallery", fits / "index.html")
    assert code == 1
    assert err.count("\n") == 1
    assert err.startswith("ddaudio: error: ")
    assert DAMAGES[how] in err
    assert str(bad) in err
    assert out.splitlines() == [*(str(folder / "report.html") for folder in good), str(fits / "index.html")]
    assert not (bad / "report.html").exists()
    gallery = (fits / "index.html").read_text()
    assert gallery.count("<tr class=") == len(good)
    # Alone, it is refused.
    code, out, err = run("report", bad)
    assert (code, out) == (2, "")
    assert DAMAGES[how] in err


def test_what_cannot_be_a_gallery_is_refused_before_anything_is_made(fits: Path) -> None:
    (fits / "mine.html").write_text("<p>mine</p>")
    before = contents(fits)
    for gallery, words in (
        (fits, "it is a folder; give the path of a file"),
        (fits / "index.pdf", "give a name that ends in .html"),
        (fits / "mine.html", "exists and is not a gallery of ddaudio; name another file"),
        (fits / "nowhere" / "index.html", "there is no folder"),
        (folders(fits)[0] / "report.html", "it is the page of a fit"),
    ):
        code, _, err = run("report", fits, "--gallery", gallery)
        assert code == 2
        assert words in err
        assert contents(fits) == before
    with pytest.raises(OptionError, match="only beside a gallery"):
        write_pages([fits], share_script=True)
    with pytest.raises(OutputError):
        write_pages([fits], gallery=fits)
    (outcome,) = write_pages([fits / "nothing"])
    assert isinstance(outcome.error, ReportError)
    assert "does not exist; give the folder of a fit" in str(outcome.error)


def test_a_gallery_is_replaced_by_its_next_version_but_not_by_none(fits: Path) -> None:
    for _ in range(2):
        assert run("report", fits, "--gallery", fits / "index.html")[0] == 0
    before = contents(fits)
    code, out, _ = run("report", fits / "nothing", fits / "neither", "--gallery", fits / "index.html")
    assert (code, out) == (1, "")
    assert contents(fits) == before


def test_a_recording_that_is_another_by_now_is_not_offered(fits: Path) -> None:
    """Its place is known, but its samples are not those that were fitted."""

    def offers() -> int:
        write_pages([fits], gallery=fits / "index.html")
        return (fits / "index.html").read_text().count("Play original of ")

    assert offers() == 4
    source = Path(json.loads((folders(fits)[0] / "report.json").read_text())["recording"]["source"])
    whole = source.read_bytes()
    try:
        soundfile.write(source, np.zeros(100), RATE)
        assert offers() == 3
        assert f"Play original of {source.name}" not in (fits / "index.html").read_text()
    finally:
        source.write_bytes(whole)


def test_pages_may_share_one_script(fits: Path, browser: Browser) -> None:
    run("report", fits)
    alone = {folder: (folder / "report.html").stat().st_size for folder in folders(fits)}
    run("report", fits, "--gallery", fits / "index.html", "--share-script")
    (script,) = fits.glob("plotly-*.min.js")
    for folder, size in alone.items():
        assert (folder / "report.html").stat().st_size < size - 1_500_000
    # Folders with signs that addresses are made of are found all the same.
    with opened(browser, folders(fits)[0] / "report.html") as page:
        assert page.requests[1:] == [script.as_uri()]
        assert page.run("document.getElementById('sight').data.length") >= 6  # a pitched sound has its pitch, too


@pytest.fixture(scope="module")
def gallery(made: Path) -> Path:
    write_pages([made], gallery=made / "index.html")
    return made / "index.html"


NAMES = "[...document.querySelectorAll('tbody tr:not([hidden]) th a')].map((one) => one.textContent)"


def test_rows_are_sorted_and_what_has_no_value_comes_last(gallery: Path, browser: Browser) -> None:
    with opened(browser, gallery) as page:
        assert set(page.run(NAMES)) == set(SOUNDS)
        distances = "[...document.querySelectorAll('tbody td[data-key=erb_db]')].map((one) => parseFloat(one.dataset.value))"
        ranked = page.run(distances)  # silence has none, and is last
        assert ranked[:3] == sorted(ranked[:3], reverse=True)
        assert page.run(NAMES)[0] == HOSTILE
        assert page.run(NAMES)[3] == "silent.wav"
        classes = page.run("[...document.querySelectorAll('tbody td[data-key=erb_db]')].map((one) => one.className)")
        assert classes == [gallery_rows._standing(value) for value in ranked[:3]] + [""]
        assert classes[0] == "bad"
        head = page.page.get_by_role("columnheader", name="SNR (dB)")
        for way, names in (("descending", ["b.wav", "a.wav", HOSTILE]), ("ascending", [HOSTILE, "a.wav", "b.wav"])):
            head.get_by_role("button").click()
            assert head.get_attribute("aria-sort") == way
            assert page.run(NAMES) == [*names, "silent.wav"]
        page.page.get_by_role("columnheader", name="Recording").get_by_role("button").press("Enter")
        assert page.run(NAMES) == sorted(SOUNDS, key=str.lower)
        assert page.run("document.querySelectorAll('[aria-sort]').length") == 1


def test_rows_are_filtered_by_name_warning_and_rating(gallery: Path, browser: Browser) -> None:
    with opened(browser, gallery) as page:
        search, rating, count = page.page.get_by_label("Filter"), page.page.get_by_label("Show"), page.page.locator("#count")
        search.fill("A.WAV")
        assert page.run(NAMES) == ["a.wav"]
        assert count.inner_text() == "1 of 4 shown"
        search.fill("mostly noise")
        assert page.run(NAMES) == [HOSTILE]
        search.fill("")
        rating.select_option(label="failed")
        assert page.run(NAMES) == [HOSTILE]
        rating.select_option(label="all")
        assert count.inner_text() == ""
        assert len(page.run(NAMES)) == 4


def test_each_row_leads_to_its_report(gallery: Path, browser: Browser) -> None:
    with opened(browser, gallery) as page:
        for name in SOUNDS:
            page.page.get_by_role("link", name=name, exact=True).click()
            page.page.wait_for_url("**/report.html")
            assert page.page.locator("h1").inner_text() == name
            page.run("ddaudio.ready")
            page.page.go_back()


def test_a_row_shows_and_plays_its_sounds_one_at_a_time(gallery: Path, browser: Browser, tmp_path: Path) -> None:
    with opened(browser, gallery) as page:
        row = page.page.locator("tbody tr", has_text="a.wav").first
        row.scroll_into_view_if_needed()
        page.page.wait_for_timeout(300)
        row.locator("canvas").screenshot(path=tmp_path / "row.png")
        picture = page.picture(f"tr[data-place='{row.get_attribute('data-place')}'] canvas", tmp_path)
        assert np.ptp(picture.reshape(-1, 3), axis=0).max() > 100
        buttons = [row.get_by_role("button", name=f"Play {name} of a.wav") for name in ("original", "resynthesis", "residual")]
        for button in buttons:
            button.click()
            assert button.get_attribute("aria-pressed") == "true"
            assert page.run("document.querySelectorAll('button[aria-pressed=true]').length") == 1
            page.page.wait_for_function("player.readyState >= 2 && (player.currentTime > 0 || player.ended)")
            assert page.run("player.error") is None
            assert page.run("player.duration") == pytest.approx(0.4, abs=0.001)
        buttons[0].click()
        page.page.wait_for_function("!player.paused")
        buttons[0].click()
        assert page.run("player.paused")
        assert page.run("document.querySelectorAll('button[aria-pressed=true]').length") == 0


def test_a_gallery_is_for_everybody(gallery: Path, browser: Browser) -> None:
    for scheme in ("light", "dark"):
        with opened(browser, gallery, color_scheme=scheme) as page:
            assert page.run("window.hacked") is None
            assert page.requests == [gallery.as_uri()]
            found = Axe().run(page.page).response["violations"]
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    with opened(browser, gallery, viewport={"width": 360, "height": 700}) as page:
        assert page.run("document.documentElement.scrollWidth") <= 360
