"""`report.html` in a real browser: what people see, hear and can do there."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from browser import Watched, opened
from playwright.sync_api import Browser
from sounds import RATE, noise, pluck, tones
from sounds import fit_waves as fit

from ddaudio.io.audio import Recording
from ddaudio.report.page import PAGE, write_page
from ddaudio.results.read import FitAudio
from ddaudio.results.record import FitRecord

HOSTILE = """"'`><img src=x onerror=window.hacked=1><!--${window.hacked=1}{{hacked}}<script>window.hacked=1.wav"""
SOURCE = f"</title></script><script>window.hacked=1</script>/{HOSTILE}"
"""A name that would like to be a script, in a folder of the same kind."""
SECONDS = 4.0
PLOTS = ("sight", "average", "lines", "levels", "bands", "training")
TIMED = ("sight", "lines", "levels")
"""Pictures over time."""


def with_sounds(evidence: FitRecord, original: torch.Tensor, resynthesis: torch.Tensor) -> FitRecord:
    """Return evidence whose sounds are others, of their own length."""
    report = copy.deepcopy(evidence.report)
    report["recording"] |= {"samples": original.shape[1], "duration_s": original.shape[1] / RATE, "channels": len(original)}
    return FitRecord(report, FitAudio(original, resynthesis, original - resynthesis, RATE), evidence.network)


@pytest.fixture(scope="module")
def stereo() -> FitRecord:
    """A tone of 1 kHz on the left and of 3 kHz on the right, under a name that would like to be a script."""
    sound = torch.cat([tones([1000.0], [0.5], [0.0], 1.0), tones([3000.0], [0.25], [0.0], 1.0)]) + noise(1.0, 2) / 100
    return FitRecord.of(fit(Recording(sound, RATE, SOURCE), steps=2))


@pytest.fixture(scope="module")
def stereo_page(stereo: FitRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(tmp_path_factory.mktemp("stereo"), stereo)


@pytest.fixture(scope="module")
def ramp_page(stereo: FitRecord, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds whose every sample says where it is: ramps to 0.8, 0.4 and 0.4 of full scale."""
    ramp = torch.arange(round(SECONDS * RATE))[None] / (SECONDS * RATE)
    return write_page(tmp_path_factory.mktemp("ramp"), with_sounds(stereo, 0.8 * ramp, 0.4 * ramp))


@pytest.fixture(scope="module")
def tree_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    evidence = FitRecord.of(fit(pluck(), model="sine+double-dutch", steps=2, budget=400))
    return write_page(tmp_path_factory.mktemp("tree"), evidence)


@pytest.fixture(scope="module")
def failed_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    evidence = FitRecord.of(fit(Recording(noise(0.5), RATE, "noise.wav"), max_parameters_per_sample=0.002, steps=1))
    assert evidence.report["status"] == "not fitted"
    return write_page(tmp_path_factory.mktemp("failed"), evidence)


@pytest.fixture(scope="module")
def noisy_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tone on the left, noise from 0.5 s on on the right."""
    sound = torch.cat([tones([440.0], [0.5], [0.0], 1.0), noise(1.0)])
    sound[1, : RATE // 2] = 0
    evidence = FitRecord.of(fit(Recording(sound, RATE, "noisy.wav"), model="sine+noise", budget=900, steps=2))
    return write_page(tmp_path_factory.mktemp("noisy"), evidence)


@pytest.fixture
def page_of(stereo_page: Path, ramp_page: Path, tree_page: Path, failed_page: Path, noisy_page: Path) -> Callable[[str], Path]:
    pages = {"stereo": stereo_page, "ramp": ramp_page, "tree": tree_page, "failed": failed_page, "noisy": noisy_page}
    return pages.__getitem__


EVERY = pytest.mark.parametrize("name", ["stereo", "ramp", "tree", "failed", "noisy"])


ONLY_CURVES = ".playhead, .infolayer, .colorbar { visibility: hidden !important; } #listen { position: static !important; }"


def coloured(page: Watched, plot: str, folder: Path) -> int:
    """Return how many pixels of a picture have a colour: those of curves, bars and images, not of axes and text."""
    picture = page.picture(f"#{plot}", folder)
    return int((np.ptp(picture, axis=2) > 40).sum())


@EVERY
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_whole_asks_for_nothing_and_is_for_everybody(
    name: str, scheme: Any, page_of: Callable[[str], Path], browser: Browser, tmp_path: Path
) -> None:
    """All pictures are drawn, nothing is loaded, nothing complained of, and an accessibility checker finds nothing."""
    with opened(browser, page_of(name), color_scheme=scheme) as page:
        # What a page holds itself (data, blobs) comes from no network and no disk.
        assert [url for url in page.requests if not url.startswith(("data:", "blob:"))] == [page_of(name).as_uri()]
        assert page.run("document.getElementById('failure').hidden")
        page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        found = Axe().run(page.page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
        page.page.add_style_tag(content=ONLY_CURVES)
        plots = page.run("[...document.querySelectorAll('.plot')].map((one) => one.id)")
        assert set(plots) == {*PLOTS, *{"tree": ("tree-0", "loudest-0"), "noisy": ("noise",)}.get(name, ())}
        assert {plot: coloured(page, plot, tmp_path) for plot in plots if coloured(page, plot, tmp_path) < 50} == {}
        page.run("Plotly.react('levels', levels.data.map((one) => ({ ...one, y: [] })), levels.layout)")
        assert coloured(page, "levels", tmp_path) == 0, "a picture without its curves counts as blank"


def brightness(page: Watched, folder: Path, place: int, seconds: float, hz: float) -> float:
    """Return how bright a spectrogram is at a place, 0 to 255."""
    script = """([place, seconds, hz]) => {
        const { xaxis, yaxis } = sight._fullLayout._plots[`x${place ? place + 1 : ""}y${2 * place + 2}`];
        return [xaxis._offset + xaxis.d2p(seconds), yaxis._offset + yaxis.d2p(hz)];
    }"""
    across, down = page.run(script, [place, seconds, hz])
    picture = page.picture("#sight", folder)
    return float(picture[round(down) - 1 : round(down) + 2, round(across) - 1 : round(across) + 2].max())


def test_spectrograms_show_what_sounds_where_it_sounds(stereo_page: Path, browser: Browser, tmp_path: Path) -> None:
    """Original and resynthesis are bright at their tones, the residual is not; one channel has one tone."""
    with opened(browser, stereo_page) as page:

        def bright(place: int) -> list[int]:
            """Return at which frequencies a spectrogram is bright."""
            return [hz for hz in (500, 1000, 2000, 3000) if brightness(page, tmp_path, place, 0.5, hz) > 200]

        page.page.add_style_tag(content=ONLY_CURVES)
        # The line of the pitch is as bright as a tone.
        page.page.add_style_tag(content="#sight .scatterlayer { visibility: hidden }")
        assert [bright(place) for place in range(3)] == [[1000, 3000], [1000, 3000], []]
        page.page.get_by_label("logarithmic frequency").check()
        page.page.wait_for_function("sight.layout.yaxis2.type === 'log'")
        page.page.wait_for_timeout(500)
        assert [bright(place) for place in range(3)] == [[1000, 3000], [1000, 3000], []]
        page.page.get_by_label("Channel").select_option(label="2")
        page.page.wait_for_timeout(1000)
        assert [bright(place) for place in range(3)] == [[3000], [3000], []]


def test_partials_much_shorter_than_a_pixel_are_seen(stereo: FitRecord, browser: Browser, tmp_path: Path) -> None:
    report = copy.deepcopy(stereo.report)
    report["recording"]["duration_s"] = 50_000.0
    with opened(browser, write_page(tmp_path, FitRecord(report, stereo.sounds, stereo.network))) as page:
        page.page.add_style_tag(content=ONLY_CURVES)
        assert coloured(page, "lines", tmp_path) >= 4


def test_pointing_reads_levels(stereo_page: Path, browser: Browser) -> None:
    """A tone of amplitude 0.5 has a level of -6 dB; the arrow keys read it, too."""
    with opened(browser, stereo_page) as page:
        said = page.page.locator("#readout")
        page.run("ddaudio.pictures.read(0.5, 1000)")
        assert said.inner_text().startswith("0.500 s, 1000 Hz: original -6 dB, resynthesis -6 dB, residual -")
        page.run("document.getElementById('readout').textContent = ''")
        page.page.keyboard.press("ArrowRight")
        assert said.inner_text().startswith("0.050 s, 1000 Hz: original -6 dB")


def test_hovering_anywhere_on_a_partial_reads_it(stereo_page: Path, browser: Browser) -> None:
    with opened(browser, stereo_page) as page:
        page.page.locator("#lines").scroll_into_view_if_needed()
        points = page.run("lines.data.at(-2).customdata")
        hz, level_db, label = max(points, key=lambda point: point[1])
        assert label.startswith("track ")
        assert hz == pytest.approx(1000, abs=1)
        assert level_db == pytest.approx(20 * math.log10(0.5), abs=0.2)
        place = """(hz) => {
            const { xaxis, yaxis } = lines._fullLayout, at = lines.getBoundingClientRect();
            const shown = lines.data.at(-2).customdata.flatMap(([own], i) => (own === hz ? [lines.data.at(-2).x[i]] : []));
            const seconds = Math.min(...shown) + 0.1 * (Math.max(...shown) - Math.min(...shown));
            return [at.left + xaxis._offset + xaxis.d2p(seconds), at.top + yaxis._offset + yaxis.d2p(hz)];
        }"""
        page.page.mouse.move(*page.run(place, hz))
        page.page.wait_for_timeout(300)
        assert f"{label}{hz:.1f} Hz, {level_db:.1f} dB" in page.page.locator("#lines .hoverlayer").text_content()


def test_a_name_is_text_wherever_it_stands(stereo_page: Path, browser: Browser) -> None:
    with opened(browser, stereo_page) as page:
        page.page.wait_for_timeout(200)
        assert page.run("window.hacked") is None
        assert page.page.locator("h1").inner_text() == HOSTILE
        assert page.page.title() == f"{HOSTILE} \N{EN DASH} ddaudio"
        assert page.run("document.querySelectorAll('img').length") == 0
        assert page.page.locator("#command").inner_text().count("onerror") == 1
        assert SOURCE in page.page.locator("dl.facts").inner_text()


HEARD = """async () => {
    const tap = new AnalyserNode(ddaudio.player.context, { fftSize: 256 }), samples = new Float32Array(256);
    ddaudio.player.output.connect(tap);
    window.heard = () => { tap.getFloatTimeDomainData(samples); return [samples.at(-1), ddaudio.player.position]; };
}"""


def test_switching_keeps_the_place_that_is_heard(ramp_page: Path, browser: Browser) -> None:
    """What comes out of the player tells its place: original, resynthesis and residual are ramps."""
    with opened(browser, ramp_page) as page:
        page.page.keyboard.press("Space")
        page.page.wait_for_function("ddaudio.player.playing && ddaudio.player.position > 0.1")
        page.run(HEARD)
        sources = page.run("window.sources = ddaudio.player.sources; sources.length")
        assert sources == 3
        places = []
        for key, peak in (("1", 0.8), ("2", 0.4), ("3", 0.4), ("1", 0.8), ("3", 0.4), ("2", 0.4)):
            page.page.keyboard.press(key)
            page.page.wait_for_timeout(100)  # longer than the fade
            level, position = page.run("heard()")
            places.append(position)
            # The clock runs on in steps of what the device takes at a time, here some milliseconds.
            assert level / peak * SECONDS == pytest.approx(position, abs=0.02)
            assert page.page.locator("button.sound[aria-pressed=true]").get_attribute("aria-keyshortcuts") == key
        assert places == sorted(places)
        assert places[-1] > places[0] + 0.4
        assert page.run("sources === ddaudio.player.sources"), "nothing was stopped and started again: there is no gap"


def test_pressed_in_haste_it_plays_once_and_draws_once_a_frame(ramp_page: Path, browser: Browser) -> None:
    with opened(browser, ramp_page) as page:
        page.run("""() => {
            window.begun = 0;
            const { start } = AudioBufferSourceNode.prototype;
            AudioBufferSourceNode.prototype.start = function (...given) { window.begun++; return start.apply(this, given); };
            return Promise.all([ddaudio.player.play(), ddaudio.player.play()]);
        }""")
        assert page.run("begun") == 3
        drawn, frames = page.run("""async () => {
            const { mark } = ddaudio.pictures;
            let drawn = 0, frames = 0;
            ddaudio.pictures.mark = function (...given) { drawn++; return mark.apply(this, given); };
            for (let i = 0; i < 20; i++) ddaudio.player.select(i % 3);
            while (frames < 10) { frames++; await new Promise(requestAnimationFrame); }
            return [drawn, frames];
        }""")
        assert drawn <= frames + 1
        page.run("ddaudio.player.pause()")
        assert page.run("ddaudio.player.sources") is None


def test_one_channel_of_two_can_be_heard(stereo_page: Path, browser: Browser) -> None:
    """Of tones to 0.5 on the left and 0.25 on the right, in the middle of the sound."""
    with opened(browser, stereo_page) as page:
        loudest = """async () => {
            const tap = new AnalyserNode(ddaudio.player.context, { fftSize: 2048 }), samples = new Float32Array(2048);
            ddaudio.player.output.connect(tap);
            let most = 0;
            for (let tries = 0; most < 0.1 && tries < 50; tries++) {  // a busy machine may miss the end of the sound
                ddaudio.player.seek(0.2);
                await new Promise((done) => setTimeout(done, 200));
                tap.getFloatTimeDomainData(samples);
                most = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
            }
            return most;
        }"""
        page.page.keyboard.press("Space")
        page.page.wait_for_function("ddaudio.player.playing")
        for label, level in (("1", 0.5), ("2", 0.25)):
            page.page.get_by_label("Channel").select_option(label=label)
            # The noise beside the tones has an RMS of 0.001.
            assert page.run(loudest) == pytest.approx(level, abs=0.01)


def test_a_residual_can_be_as_loud_as_the_original(ramp_page: Path, browser: Browser) -> None:
    with opened(browser, ramp_page) as page:
        for key in (" ", "3", "m"):
            page.page.keyboard.press("Space" if key == " " else key)
        page.page.wait_for_function("ddaudio.player.position > 0.5")
        page.run(HEARD)
        page.page.wait_for_timeout(100)
        level, position = page.run("heard()")
        # A ramp to 0.4 under the loudness of one to 0.8.
        assert level / 0.8 * SECONDS == pytest.approx(position, abs=0.02)


def test_a_stretch_that_is_shown_can_be_looped(ramp_page: Path, browser: Browser) -> None:
    with opened(browser, ramp_page) as page:
        page.run("ddaudio.pictures.show([1.0, 1.3])")
        page.page.keyboard.press("l")
        page.page.keyboard.press("Space")
        page.page.wait_for_function("ddaudio.player.playing")
        page.run(HEARD)
        places = []
        for _ in range(12):
            page.page.wait_for_timeout(60)
            level, position = page.run("heard()")
            places.append(position)
            assert 0.98 <= level / 0.8 * SECONDS <= 1.32
        assert 1.0 <= min(places) < max(places) < 1.3
        assert places != sorted(places), "it began again"
        assert page.page.locator("#loop").inner_text() == "Loop 1.00 to 1.30 s"
        page.run("ddaudio.pictures.show([0, 2])")
        left, width = page.run("""() => {
            const { xaxis } = levels._fullLayout, box = document.querySelector("#levels .loop");
            return [xaxis.p2d(parseFloat(box.style.left) - xaxis._offset), xaxis.p2d(parseFloat(box.style.width))];
        }""")
        assert (left, width) == pytest.approx((1.0, 0.3), abs=0.02)  # four pixels
        page.page.keyboard.press("l")
        assert page.run("ddaudio.player.loop") is None


def head_at(page: Watched, plot: str) -> list[float]:
    """Return the places in time at which the playheads of a picture stand, as its axes have them."""
    script = """(id) => [...document.querySelectorAll(`#${id} .playhead`)].filter((head) => !head.hidden).map((head, i) => {
        const axis = document.getElementById(id)._fullLayout[`xaxis${i ? i + 1 : ""}`];
        return axis.p2d(parseFloat(head.style.left) - axis._offset);
    })"""
    places: list[float] = page.run(script, plot)
    return places


def test_the_playhead_stands_in_every_picture_of_time(ramp_page: Path, browser: Browser) -> None:
    with opened(browser, ramp_page) as page:
        page.page.locator("#position").fill("2.5")
        page.page.wait_for_timeout(200)
        assert page.run("ddaudio.player.position") == pytest.approx(2.5, abs=0.001)
        for plot in TIMED:
            heads = head_at(page, plot)
            assert len(heads) == (3 if plot == "sight" else 1)
            assert heads == pytest.approx([2.5] * len(heads), abs=0.02)  # two pixels
        page.run("ddaudio.pictures.show([0, 2])")
        assert [head_at(page, plot) for plot in TIMED] == [[], [], []]


INSIDE = """(id) => {
    const place = document.getElementById(id), { xaxis, yaxis } = place._fullLayout._plots.xy, at = place.getBoundingClientRect();
    return [at.left + xaxis._offset, xaxis._length, at.top + yaxis._offset + yaxis._length / 2];
}"""
"""Left end, width and middle height of a picture's first axes on the screen, in pixels."""


def ranges(page: Watched) -> list[list[float]]:
    script = """(ids) => ids.flatMap((id) => {
        const plot = document.getElementById(id)._fullLayout;
        return [plot.xaxis, plot.xaxis2, plot.xaxis3].filter(Boolean).map((axis) => axis.range.map(Number));
    })"""
    found: list[list[float]] = page.run(script, list(TIMED))
    return found


def test_noise_is_drawn_in_time_and_follows_channel_zoom_and_playhead(noisy_page: Path, browser: Browser) -> None:
    """The levels in the picture's data are those of its channel, at their times."""
    loudest = """() => {
        const { z, x0, dx } = noise.data[0], inside = (i, from, to) => x0 + i * dx > from && x0 + i * dx < to;
        const known = (row, from, to) => row.filter((level, i) => level !== null && inside(i, from, to));
        const of = (from, to) => Math.max(-200, ...z.flatMap((row) => known(row, from, to)));
        return [of(0, 0.4), of(0.6, 1)];
    }"""
    with opened(browser, noisy_page) as page:
        before, after = page.run(loudest)
        assert after > before + 20
        # White noise of RMS 0.1 in 16 bands that get wider: the widest has a seventh of its power, -17 - 8.5 dB.
        assert after == pytest.approx(-25, abs=5)
        page.page.locator("#position").fill("0.75")
        page.page.wait_for_timeout(200)
        assert head_at(page, "noise") == pytest.approx([0.75], abs=0.01)
        page.page.locator("#channel").select_option("0")
        page.run("async () => { await ddaudio.pictures.drawAll(); }")
        assert page.run(loudest)[1] < after - 20
        page.run("ddaudio.pictures.show([0.5, 1])")
        assert page.run("noise._fullLayout.xaxis.range") == pytest.approx([0.5, 1])


def test_zoom_is_one_for_all_pictures_of_time(ramp_page: Path, browser: Browser) -> None:
    with opened(browser, ramp_page) as page:
        assert ranges(page) == [[0, SECONDS]] * 5
        box = page.run(INSIDE, "sight")
        left, width, middle = box
        page.page.mouse.move(left + 0.25 * width, middle)
        page.page.mouse.down()
        page.page.mouse.move(left + 0.5 * width, middle, steps=5)
        page.page.mouse.up()
        page.page.wait_for_timeout(500)
        assert np.allclose(ranges(page), [[1, 2]] * 5, atol=0.05)
        page.page.keyboard.press("0")
        page.page.wait_for_timeout(300)
        assert ranges(page) == [[0, SECONDS]] * 5


def test_zoomed_in_a_waveform_has_its_samples(ramp_page: Path, browser: Browser) -> None:
    with opened(browser, ramp_page) as page:
        page.run("ddaudio.pictures.show([2.0, 2.02])")
        first, step, values = page.run("[sight.data[0].x0, sight.data[0].dx, [...sight.data[0].y]]")
        assert step == pytest.approx(1 / RATE)
        times = first + step * np.arange(len(values))
        # 16 bits.
        assert np.allclose(values, 0.8 * times / SECONDS, atol=2**-15)
        assert (times[0], times[-1]) == pytest.approx((2.0, 2.02), abs=0.001)


def test_zoomed_in_all_channels_are_drawn(stereo_page: Path, browser: Browser) -> None:
    with opened(browser, stereo_page) as page:
        page.run("ddaudio.pictures.show([0.5, 0.51])")
        assert max(page.run("[...sight.data[0].y]")) == pytest.approx(0.5, abs=0.02)
        page.run("ddaudio.player.buffers[0].getChannelData(0).fill(0)")
        page.run("ddaudio.pictures.reshape()")
        assert max(page.run("[...sight.data[0].y]")) == pytest.approx(0.25, abs=0.02), "the right one alone"


def test_a_picture_that_is_drawn_anew_keeps_one_playhead(stereo_page: Path, browser: Browser) -> None:
    with opened(browser, stereo_page) as page:
        heads = "document.querySelectorAll('.playhead').length"
        before = page.run(heads)
        page.run("ddaudio.pictures.drawAll()")
        page.run("ddaudio.pictures.mark(0.5)")
        assert page.run(heads) == before == 5


def test_a_click_on_a_picture_goes_there(ramp_page: Path, browser: Browser) -> None:
    with opened(browser, ramp_page) as page:
        page.page.locator("#levels").scroll_into_view_if_needed()
        left, width, middle = page.run(INSIDE, "levels")
        page.page.mouse.click(left + 0.75 * width, middle)
        page.page.wait_for_timeout(200)
        assert page.run("ddaudio.player.position") == pytest.approx(3.0, abs=0.02)


def test_the_keyboard_alone_suffices(stereo_page: Path, browser: Browser) -> None:
    """Keys play, move and zoom; Tab reaches all that can be used, in the order of the page, and shows where it is."""
    with opened(browser, stereo_page) as page:
        keyboard = page.page.keyboard
        keyboard.press("ArrowRight")
        assert page.run("ddaudio.player.position") == pytest.approx(0.05, abs=0.001)
        keyboard.press("ArrowRight")
        keyboard.press("ArrowLeft")
        assert page.run("ddaudio.player.position") == pytest.approx(0.05, abs=0.001)
        keyboard.press("+")
        page.page.wait_for_timeout(200)
        low, high = page.run("ddaudio.pictures.view")
        assert high - low == pytest.approx(0.5)
        keyboard.press("-")
        keyboard.press("Space")
        page.page.wait_for_function("ddaudio.player.playing")
        keyboard.press("Space")
        page.page.wait_for_function("!ddaudio.player.playing")
        usable = page.run(
            "window.usable = [...document.querySelectorAll('a[href], button, input, select, summary, [tabindex]')]"
            ".filter((one) => one.checkVisibility() && !one.disabled); usable.length"
        )
        reached = []
        for _ in range(usable):
            keyboard.press("Tab")
            reached.append(page.run("usable.indexOf(document.activeElement)"))
            outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
            assert outline not in ("none", ""), f"nothing shows the focus on element {reached[-1]}"
        assert reached == list(range(usable))
        # A button that has the focus is pressed by Space, and plays nothing.
        page.page.locator("#match").focus()
        keyboard.press("Space")
        assert page.run("[ddaudio.player.matched, ddaudio.player.playing]") == [True, False]


@EVERY
def test_a_phone_need_not_scroll_sideways(name: str, page_of: Callable[[str], Path], browser: Browser) -> None:
    wide = """[...document.querySelectorAll('body *')]
        .filter((one) => one.checkVisibility() && !one.closest('.scroll, .plot'))
        .filter((one) => one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 80))"""
    with opened(browser, page_of(name), viewport={"width": 768, "height": 800}, has_touch=True) as page:
        for width in (768, 390, 320):
            page.page.set_viewport_size({"width": width, "height": 800})
            page.page.wait_for_timeout(300)
            assert page.run("document.documentElement.scrollWidth") <= width
            assert page.run(wide) == []


def test_paper_is_white_and_has_no_buttons(stereo_page: Path, browser: Browser) -> None:
    with opened(browser, stereo_page, color_scheme="dark") as page:
        page.page.emulate_media(media="print", color_scheme="dark")
        page.run("window.dispatchEvent(new Event('beforeprint'))")
        assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not page.page.locator("#play").is_visible()
        assert page.page.locator("#sight").is_visible()
        widths = page.run("[...document.querySelectorAll('.plot .main-svg')].map((one) => one.getBoundingClientRect().width)")
        assert max(widths) <= 700, "as wide as A4 and Letter are within their margins"
        labels = page.run("[...document.querySelectorAll('.metrics summary')].map((one) => one.checkVisibility())")
        assert labels, "metrics have their names"
        assert all(labels)
        assert not page.page.locator("#copy").is_visible()


def test_without_scripts_the_numbers_are_there(stereo_page: Path, stereo: FitRecord, browser: Browser) -> None:
    with opened(browser, stereo_page, java_script_enabled=False) as page:
        text = page.page.locator("main").inner_text()
        assert f"{stereo.report['metrics']['snr_db']['value']:.2f} dB" in text
        assert "need JavaScript" in text


def test_a_shared_script_that_is_gone_is_told(stereo: FitRecord, browser: Browser, tmp_path: Path) -> None:
    path = write_page(tmp_path, stereo, script="gone.js")
    context = browser.new_context()
    page = context.new_page()
    page.goto(path.as_uri())
    page.locator("#failure").wait_for()
    assert (
        "which several pages share, is not where it was; make this page anew with ddaudio report"
        in page.locator("#failure").inner_text()
    )
    assert page.locator("#play").is_enabled(), "sounds need no script of others"
    context.close()


def test_the_page_of_five_seconds_in_stereo_is_small(stereo: FitRecord, tmp_path: Path) -> None:
    """At most 8 MB, for the sound that FLAC can do least about: white noise."""
    generator = torch.Generator().manual_seed(0)
    original, resynthesis = 0.2 * torch.randn(2, 2, 5 * 44_100, generator=generator)
    evidence = with_sounds(stereo, original, resynthesis)
    loud = FitRecord(evidence.report, FitAudio(*evidence.sounds, 44_100), evidence.network)
    assert write_page(tmp_path, loud).stat().st_size < 8e6
    assert (tmp_path / PAGE).is_file()
