"""Figures: what is drawn is what was measured, in units, in safe colours, as vectors, and nothing global is touched."""

import copy
import io
import math
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from sounds import RATE, noise, pluck, tones
from sounds import fit_waves as fit

from ddaudio.errors import OptionError
from ddaudio.fitting.result import FitResult
from ddaudio.io.audio import Recording
from ddaudio.report import figures, level_data, plot_data
from ddaudio.report.figure_style import CYCLE, RANGE_DB
from ddaudio.results.read import FitAudio
from ddaudio.results.record import FitRecord

OKABE_ITO = {"#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"}
"""The palette as its authors give it (https://jfly.uni-koeln.de/color)."""
ALL = (figures.overview, figures.average_spectrum, figures.noise, figures.partials, figures.tree, figures.error, figures.training)


@pytest.fixture(scope="module")
def tone() -> FitResult:
    """1 kHz at half of full scale."""
    return fit(Recording(tones([1000.0], [0.5], [0.3], 0.5), RATE, "tone.wav"), steps=3)


@pytest.fixture(scope="module")
def plucked() -> FitRecord:
    return FitRecord.of(fit(pluck(), steps=6))


@pytest.fixture(scope="module")
def stereo() -> FitRecord:
    left, right = tones([500.0], [0.25], [0.0], 0.5), tones([2000.0, 3000.0], [0.5, 0.2], [0.0, 0.0], 0.5)
    return FitRecord.of(fit(Recording(torch.cat([left, right]), RATE), steps=0))


@pytest.fixture(scope="module")
def mixed() -> FitRecord:
    return FitRecord.of(fit(pluck(), model="sine+double-dutch", steps=4))


def saved(figure: Figure, form: str) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=form)
    return stream.getvalue()


def spectrograms(figure: Figure) -> list[Any]:
    return [axis.images[0] for axis in figure.axes[3:6]]


def loudest_khz(image: Any) -> tuple[float, float]:
    """Return the middle of the row that is loudest in the middle of time, and the height of a row."""
    levels_db, (_, _, low, high) = image.get_array(), image.get_extent()
    row_khz = (high - low) / len(levels_db)
    return low + (int(levels_db[:, levels_db.shape[1] // 2].argmax()) + 0.5) * row_khz, row_khz


def test_a_tone_stands_at_its_frequency_and_level(tone: FitResult) -> None:
    original, resynthesis, residual = spectrograms(figures.overview(tone))
    for image in (original, resynthesis):
        khz, row_khz = loudest_khz(image)
        assert abs(khz - 1) <= row_khz
        # Between two bins a Hann window shows 1.42 dB less than there is; levels are whole dB.
        assert -6.02 - 1.42 - 0.5 <= image.get_array().max() <= -6.02 + 0.5
    assert residual.get_array().max() < original.get_array().max() - 20


def test_all_three_have_one_scale(plucked: FitRecord) -> None:
    figure = figures.overview(plucked)
    images = spectrograms(figure)
    loudest = max(image.get_array().max() for image in images)
    assert {image.get_clim() for image in images} == {(loudest - RANGE_DB, loudest)}
    for row in (figure.axes[:3], figure.axes[3:6]):
        assert len({axis.get_ylim() for axis in row}) == 1
        assert {axis.get_xlim() for axis in row} == {(0, 0.5)}
    peak = float(plucked.sounds.original[:, :].abs().max())
    low, high = figure.axes[0].get_ylim()
    assert low <= -peak
    assert high >= peak


def test_waveforms_are_where_and_as_high_as_the_sounds() -> None:
    click = torch.zeros(1, RATE)
    click[0, 2400] = 0.75
    silence = torch.zeros(1, RATE)
    evidence = FitRecord.of(fit(Recording(click, RATE), steps=0))
    figure = figures.overview(FitRecord(evidence.report, FitAudio(click, silence, click, RATE), evidence.network))
    for axis, sound in zip(figure.axes, (click, silence, click), strict=False):
        (outline,) = axis.collections
        points = outline.get_paths()[0].vertices
        assert points[:, 1].max() == float(sound.max())
        assert np.ptp(points[:, 0]) > 0.99
    at_s = points[points[:, 1].argmax(), 0]
    assert abs(at_s - 0.3) <= 1 / figures.OUTLINE_COLUMNS
    colours = [to_hex(axis.collections[0].get_facecolor()[0]) for axis in figure.axes[:3]]
    assert colours == ["#0072b2", "#009e73", "#d55e00"]


def test_spectrograms_stand_at_the_time_of_their_sound(tone: FitResult) -> None:
    burst = torch.zeros(1, RATE)
    burst[0, 4800:5600] = 0.5 * torch.sin(torch.arange(800.0))
    quiet = torch.zeros_like(burst)
    report = copy.deepcopy(FitRecord.of(tone).report)
    report["recording"]["duration_s"] = 1.0
    image = spectrograms(figures.overview(FitRecord(report, FitAudio(burst, quiet, burst, RATE), tone.network)))[0]
    first, last, *_ = image.get_extent()
    loud = np.flatnonzero(image.get_array().max(axis=0) > -20)
    seconds = first + (loud + 0.5) * (last - first) / image.get_array().shape[1]
    # A frame of half of 64 ms reaches beyond the sound at either end.
    assert seconds.min() == pytest.approx(0.6, abs=0.033)
    assert seconds.max() == pytest.approx(0.7, abs=0.033)


@pytest.mark.parametrize(("channel", "khz"), [(0, 0.5), (1, 2.0)])
def test_the_channel_asked_for_is_drawn(stereo: FitRecord, channel: int, khz: float) -> None:
    figure = figures.overview(stereo, channel=channel)
    found, row_khz = loudest_khz(spectrograms(figure)[0])
    assert abs(found - khz) <= row_khz
    assert figure.get_suptitle().startswith(f"channel {channel + 1} of 2")
    lines = figures.partials(stereo, channel=channel).axes[0].collections[0]
    strongest = lines.get_segments()[int(np.argmax(lines.get_array()))]
    assert strongest[1][1] == pytest.approx(1000 * khz, rel=0.01)


def test_the_frequency_axis_ends_where_asked(tone: FitResult) -> None:
    assert figures.overview(tone, top_hz=2500).axes[3].get_ylim() == (0, 2.5)
    assert figures.overview(tone).axes[3].get_ylim() == (0, 4)


def test_each_partial_is_a_line_in_its_cell(tone: FitResult, plucked: FitRecord, stereo: FitRecord) -> None:
    axis = figures.partials(tone).axes[0]
    lines, backdrop = axis.collections
    assert isinstance(backdrop, QuadMesh)
    assert len(lines.get_segments()) == tone.network.n_prunable()
    assert axis.get_yscale() == "log"
    strongest = int(np.argmax(lines.get_array()))
    (start_s, start_hz), (middle_s, middle_hz), (end_s, end_hz) = lines.get_segments()[strongest]
    # The fit is good to 25 dB, and the window hides where in a cell a phase turns: a tenth of a period of a 0.1-s cell.
    assert [start_hz, middle_hz, end_hz] == pytest.approx([1000] * 3, abs=2)
    assert middle_s == pytest.approx((start_s + end_s) / 2)
    assert lines.get_array()[strongest] == pytest.approx(20 * math.log10(0.5), abs=0.5)
    assert 0 <= start_s < end_s <= 0.5
    assert len(figures.partials(plucked).axes[0].collections[0].get_segments()) == plucked.network.n_prunable()
    counts = [len(figures.partials(stereo, channel=one).axes[0].collections[0].get_segments()) for one in (0, 1)]
    assert sum(counts) == stereo.network.n_prunable()


def test_behind_the_lines_is_the_spectrogram_of_the_original(tone: FitResult) -> None:
    axis = figures.partials(tone).axes[0]
    _, backdrop = axis.collections
    levels = np.asarray(backdrop.get_array())
    edges_hz = backdrop.get_coordinates()[:, 0, 1]
    row = int(levels.max(1).argmax())
    assert edges_hz[row] <= 1000 <= edges_hz[row + 1]
    assert backdrop.get_zorder() < axis.collections[0].get_zorder()
    # Pale, so that lines stand out: no darker than a third of the way to black.
    assert backdrop.get_cmap()(1.0)[0] > 0.6


def test_the_strongest_partials_are_the_darkest(plucked: FitRecord) -> None:
    figure = figures.partials(plucked)
    lines = figure.axes[0].collections[0]
    figure.draw_without_rendering()
    light = lines.get_colors()[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(light[np.argsort(lines.get_array())]) <= 0.02).all()
    assert light[np.argmax(lines.get_array())] < light[np.argmin(lines.get_array())] - 0.4
    low, high = lines.get_clim()
    assert high == lines.get_array().max()
    assert high - low <= RANGE_DB


def test_partials_that_are_left_out_are_told_of(plucked: FitRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    assert figures.partials(plucked).axes[0].get_title() == ""
    monkeypatch.setattr(plot_data, "MOST_LINES", 3)
    axis = figures.partials(plucked).axes[0]
    assert len(axis.collections[0].get_segments()) == 3
    assert axis.get_title() == f"the strongest 3 of {plucked.network.n_prunable()} partials"


def test_a_partial_of_no_frequency_is_on_the_axis() -> None:
    axis = figures.partials(fit(Recording(torch.full((1, 1), 0.5), RATE))).axes[0]
    ((_, first_hz), _, (_, last_hz)) = axis.collections[0].get_segments()[0]
    low, high = axis.get_ylim()
    assert low < first_hz == last_hz == figures.LOWEST_HZ < high


def test_trees_show_levels_by_frequency(mixed: FitRecord) -> None:
    network = mixed.network.terms[1]
    figure = figures.tree(mixed)
    whole, spoken, gates = (axis for axis in figure.axes if axis.get_title())
    depth = network.plan.ladder.depth
    expected = plot_data.tree(network, figures.TREE_COLUMNS), plot_data.loudest_tree(network, figures.TREE_COLUMNS)
    for axis, picture in ((whole, expected[0]), (spoken, expected[1])):
        shown = axis.images[0].get_array()
        assert np.array_equal(np.ma.filled(shown, np.nan), picture.spoken_db, equal_nan=True)
        assert axis.images[0].get_extent() == [picture.start_s, picture.end_s, depth + 0.5, 0.5]
        # Silence is the lowest colour, not the paper.
        assert to_hex(axis.images[0].cmap.get_bad()) == to_hex(axis.images[0].cmap(0.0))
    assert whole.images[0].get_clim() == spoken.images[0].get_clim()
    assert whole.images[0].get_clim()[1] == max(np.nanmax(one.spoken_db) for one in expected)
    assert np.array_equal(gates.images[0].get_array(), expected[1].gates)
    assert gates.images[0].get_clim() == (0, 1)
    # 2 samples per period is the highest frequency that there is: the last row's name follows from the depth.
    named = dict(zip(whole.get_yticks(), [label.get_text() for label in whole.get_yticklabels()], strict=True))
    for level, name in named.items():
        hz = RATE / network.plan.ladder.denominators[int(level) - 1]
        assert float(name.replace("k", "e3")) == pytest.approx(hz, rel=0.005)
    assert whole.get_ylim() == (depth + 0.5, 0.5)


def test_the_error_is_in_decibels(tone: FitResult) -> None:
    levels, bands = figures.error(tone).axes
    original, residual = levels.lines
    assert (original.get_color().lower(), residual.get_color().lower()) == ("#0072b2", "#d55e00")
    # Root mean square of a sinusoid; windows of 10 ms hold whole periods.
    assert original.get_ydata() == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.01)
    power = 10 ** (residual.get_ydata() / 10)
    assert 10 * math.log10(0.125 / power.mean()) == pytest.approx(tone.snr_db, abs=0.05)
    drawn = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in bands.patches]
    assert drawn == [pytest.approx((band.low_hz, band.high_hz, band.snr_db)) for band in tone.metrics.bands]


def test_bands_without_snr_have_no_bar_and_bad_ones_another_colour(plucked: FitRecord) -> None:
    report = copy.deepcopy(plucked.report)
    values = [None, -3.4, -0.2, 12.6, *[20.0] * (len(report["bands"]) - 5), None]
    for band, value in zip(report["bands"], values, strict=True):
        band["snr_db"] = value
    bars = figures.error(FitRecord(report, plucked.sounds, plucked.network)).axes[1]
    assert [bar.get_height() for bar in bars.patches] == values[1:-1]
    assert [bar.get_x() for bar in bars.patches] == [band["low_hz"] for band in report["bands"][1:-1]]
    assert [text.get_text() for text in bars.texts][:3] == ["-3", "0", "13"]
    assert [to_hex(bar.get_facecolor()) for bar in bars.patches][:3] == ["#d55e00", "#d55e00", "#0072b2"]
    low, high = bars.get_xlim()
    assert (low, high) == (report["bands"][0]["low_hz"], report["bands"][-1]["high_hz"]), "bands without SNR keep their place"


def test_training_shows_what_the_judge_saw(mixed: FitRecord) -> None:
    passes = mixed.report["training"]["stages"]
    figure = figures.training(mixed)
    snr, loss = figure.axes[:2]
    looks = [look for one in passes for runs in one["blocks"] for run in runs for look in run["evaluations"]]
    for axis, values in ((snr, [look["snr_db"] for look in looks]), (loss, [look["terms"]["mse"] for look in looks])):
        drawn = np.array(axis.lines[0].get_ydata())
        assert drawn[np.isfinite(drawn)].tolist() == values
    gaps = np.count_nonzero(np.isnan(snr.lines[0].get_ydata()))
    assert gaps == sum(len(runs) for one in passes for runs in one["blocks"])
    steps = np.array(snr.lines[0].get_xdata())
    assert np.nanmax(steps) == sum(run["evaluations"][-1]["step"] for one in passes for runs in one["blocks"] for run in runs)
    assert (np.diff(steps[np.isfinite(steps)]) >= 0).all()
    assert [text.get_text() for text in snr.texts] == [one["name"] for one in passes] == ["sine", "double-dutch", "together"]
    assert (snr.get_yscale(), loss.get_yscale()) == ("linear", "log")


@pytest.mark.parametrize("count", [2, 12])
def test_training_shows_gradients_by_layer(plucked: FitRecord, count: int) -> None:
    report = copy.deepcopy(plucked.report)
    (only,) = report["training"]["stages"]
    only["blocks"] = [only["blocks"][0][:1]]
    for place, look in enumerate(only["blocks"][0][0]["evaluations"]):
        # The last one comes first: layers are drawn by their numbers.
        look["gradients"] = {f"layer {layer}": 0.1**layer / (place + 1) for layer in reversed(range(count))}
    figure = figures.training(FitRecord(report, plucked.sounds, plucked.network))
    axis = next(axis for axis in figure.axes if axis.get_ylabel() == "gradient norm")
    lines = [line for line in axis.lines if not line.get_label().startswith("_")]
    assert [line.get_label() for line in lines] == [f"layer {layer}" for layer in range(count)]
    assert [line.get_ydata()[0] for line in lines] == [0.1**layer for layer in range(count)]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == count
    named = [text.get_text() for text in axis.get_legend().get_texts()]
    assert named == [f"layer {layer}" for layer in range(0, count, 2 if count > figures.MOST_NAMES else 1)]


def test_without_gradients_there_is_no_empty_panel(plucked: FitRecord) -> None:
    report = copy.deepcopy(plucked.report)
    for runs in report["training"]["stages"][0]["blocks"]:
        for look in (look for run in runs for look in run["evaluations"]):
            look["gradients"] = {}
    figure = figures.training(FitRecord(report, plucked.sounds, plucked.network))
    assert [axis.get_ylabel() for axis in figure.axes] == ["SNR (dB)", "loss"]


@pytest.mark.parametrize("draw", ALL)
def test_axes_have_units(draw: Callable[..., Figure], mixed: FitRecord) -> None:
    without = {"step", "loss", "gradient norm"}
    record = FitRecord.of(fit(Recording(noise(0.2), RATE), model="noise")) if draw is figures.noise else mixed
    for axis in draw(record).axes:
        labels = {axis.get_xlabel(), axis.get_ylabel()} - {""} - without
        assert all(re.search(r"\((s|Hz|kHz|dB|full scale|dB of full scale|0 to 1)\)$", label) for label in labels), labels
    bottom = [axis for axis in draw(record).axes if axis.get_xlabel()]
    assert bottom


@pytest.mark.parametrize("draw", [figures.average_spectrum, figures.error, figures.training])
def test_curves_and_bars_are_safe_for_the_colour_blind(draw: Callable[..., Figure], mixed: FitRecord) -> None:
    for axis in draw(mixed).axes:
        named = {to_hex(line.get_color()) for line in axis.lines if len(line.get_xdata()) > 2}
        named |= {to_hex(bar.get_facecolor()) for bar in axis.patches}
        assert named
        if axis.get_ylabel() == "gradient norm":  # so many that they have shades, which get lighter in grey, too
            lightness = [
                np.dot(to_rgb(line.get_color()), (0.2126, 0.7152, 0.0722))
                for line in axis.lines
                if not line.get_label().startswith("_")
            ]
            assert len(lightness) > len(CYCLE)
            assert (np.diff(lightness) > 0).all()
        else:
            assert named <= OKABE_ITO
    assert {to_hex(to_rgb(colour)) for colour in CYCLE} <= OKABE_ITO
    assert len(set(CYCLE)) == len(CYCLE)


def test_noise_is_drawn_where_it_is_with_its_levels() -> None:
    """Noise in the second half only: the image is dark before it, and has the levels of the layer."""
    sound = noise(1.0)
    sound[:, : RATE // 2] = 0
    evidence = FitRecord.of(fit(Recording(sound, RATE), model="noise"))
    (axis, bar) = figures.noise(evidence).axes
    (image,) = axis.images
    left, right, bottom, top = image.get_extent()
    drawn, levels = np.asarray(image.get_array()), level_data.noise_levels(evidence.network.terms[0], 600).level_db[0]
    assert (left, bottom, top) == (-0.005, -0.5, 16.5)
    assert right == pytest.approx(left + 0.01 * drawn.shape[1])
    assert drawn.max() == np.nanmax(levels)
    assert image.get_clim() == (drawn.max() - RANGE_DB, drawn.max())
    # Frames of 20 ms reach 10 ms into what is before the noise.
    assert np.median(drawn[:, :45]) < np.median(drawn[:, 55:]) - 20
    assert bar.get_ylabel() == "level in band (dB)"


def test_average_spectra_are_drawn_as_they_are() -> None:
    evidence = FitRecord.of(fit(Recording(noise(1.0), RATE), model="sine+noise", steps=2))
    (axis,) = figures.average_spectrum(evidence).axes
    for name, one in level_data.average_spectra(evidence.sounds).items():
        (line,) = (line for line in axis.lines if line.get_label() == name)
        assert np.array_equal(line.get_ydata(), one.level_db)
        assert np.array_equal(line.get_xdata(), one.hz)
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["original", "waves", "resynthesis"]


def test_lines_are_vectors_and_spectrograms_images(plucked: FitRecord) -> None:
    drawing = saved(figures.partials(plucked), "svg").decode()
    lines = drawing[drawing.index('id="LineCollection_1"') :].split("</g>")[0]
    assert lines.count("<path") == plucked.network.n_prunable()
    drawing = saved(figures.overview(plucked), "svg").decode()
    assert drawing.count("<image") >= 3
    assert drawing.count('id="FillBetweenPolyCollection') == 3
    for draw in (figures.overview, figures.partials):
        assert saved(draw(plucked), "pdf").startswith(b"%PDF")


EXTREMES = {
    "one sample": lambda: fit(Recording(torch.full((1, 1), 0.5), RATE)),
    "silence": lambda: fit(Recording(torch.zeros(2, 800), RATE)),
    "a silent tree": lambda: fit(Recording(torch.zeros(1, 800), RATE), model="double-dutch"),
    "eight channels": lambda: fit(Recording(noise(0.2, 8), RATE), steps=1),
    "two trees": lambda: fit(pluck(0.2), model="double-dutch+double-dutch", steps=1),
    "louder than full scale": lambda: fit(Recording(30 * noise(0.2), RATE), steps=1),
    "noise alone": lambda: fit(Recording(noise(0.2, 2), RATE), model="noise"),
    "silent noise": lambda: fit(Recording(torch.zeros(1, 800), RATE), model="noise"),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_are_drawn_without_a_warning(name: str) -> None:
    evidence = FitRecord.of(EXTREMES[name]())
    drawn, refused = 0, []
    for draw, size in zip(ALL, cycle(((7.2, 4.6), (3.4, 3.4))), strict=False):
        try:
            drawn += len(saved(draw(evidence, size=size), "svg")) > 1000
        except OptionError as error:
            refused.append(str(error))
    assert drawn == 5
    assert all("to draw; draw its" in message for message in refused)
    if evidence.report["recording"]["channels"] == 8:
        figures.overview(evidence, channel=7)


def test_a_fit_in_memory_and_one_that_was_read_look_the_same(tone: FitResult) -> None:
    for draw in (figures.overview, figures.partials, figures.error, figures.training):
        assert saved(draw(tone), "png") == saved(draw(FitRecord.of(tone)), "png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda fit: figures.overview(fit, channel=1), "channel is 1; allowed: 0 to 0"),
        (lambda fit: figures.partials(fit, channel=-1), "channel is -1"),
        (lambda fit: figures.overview(fit, top_hz=4001), "top_hz is 4001; allowed: above 0, up to 4000 Hz"),
        (lambda fit: figures.overview(fit, top_hz=0), "top_hz is 0"),
        (lambda fit: figures.noise(fit, channel=2), "channel is 2"),
        (figures.noise, "'sine' has no noise to draw; draw its partials with figures.partials"),
        (figures.tree, "'sine' has no tree to draw; draw its partials with figures.partials"),
    ],
)
def test_what_cannot_be_drawn_is_refused(call: Callable[[FitResult], Figure], message: str, tone: FitResult) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        call(tone)


def test_a_tree_has_no_partials_to_draw() -> None:
    with pytest.raises(OptionError, match=r"'double-dutch' has no partials to draw; draw its tree with figures\.tree"):
        figures.partials(fit(pluck(0.1), model="double-dutch", steps=0))


def test_nothing_global_is_touched() -> None:
    """Without figures matplotlib stays unloaded, with them pyplot, and its settings are as they were."""
    script = """
import sys, io, torch, ddaudio
from ddaudio.report import figures
assert "matplotlib" not in sys.modules, "importing the reports loads matplotlib"
result = ddaudio.fit(ddaudio.Recording(torch.sin(torch.arange(800.0))[None] / 2, 8000), steps=1)
import matplotlib
matplotlib.use("ps")  # with no backend chosen, reading the settings chooses one, and loads pyplot
before = dict(matplotlib.rcParams)
for draw in (figures.overview, figures.partials, figures.error, figures.training):
    draw(result).savefig(io.BytesIO(), format="pdf")
figures.tree(ddaudio.fit(result.recording, model="double-dutch", steps=0)).savefig(io.BytesIO(), format="svg")
assert "matplotlib.pyplot" not in sys.modules, "a figure loads pyplot"
assert dict(matplotlib.rcParams) == before
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
