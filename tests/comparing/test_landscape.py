"""Landscapes against closed forms; the command, what it writes and what it refuses."""

import contextlib
import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from ddaudio_cli import main
from ddaudio_cli.app import app
from sounds import tones

from ddaudio.comparing.landscape import ALL, IDEAS, Landscape, landscape, scene_of_recording, scene_of_tones
from ddaudio.comparing.landscape_figure import figure
from ddaudio.errors import OptionError, RecordingError
from ddaudio.io.audio import Recording
from ddaudio.options import LOSSES

RATE, N_SAMPLES = 8000, 512


def run(*arguments: str | Path) -> tuple[int, str, str]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def dirichlet(radians: np.ndarray, n_samples: int) -> np.ndarray:
    """Return ``sum_n cos(radians (n - m))`` over ``n_samples`` samples, ``m`` their middle."""
    return np.sin(n_samples * radians / 2) / np.where(radians == 0, 1, np.sin(radians / 2)) + n_samples * (radians == 0)


@pytest.fixture(scope="module")
def drawn() -> Landscape:
    return landscape(scene_of_tones([1000.0], RATE, N_SAMPLES), span_hz=990.0)


class TestCurves:
    def test_the_squared_error_between_sinusoids_is_a_kernel_of_dirichlet(self, drawn):
        """``sum (cos w d - cos v d)^2 = N + (D(2w) + D(2v)) / 2 - D(w - v) - D(w + v)``, ``d`` counted from the middle."""
        w, v = 2 * math.pi * drawn.axes_hz[0].numpy() / RATE, 2 * math.pi * 1000 / RATE
        terms = (dirichlet(2 * w, N_SAMPLES) + dirichlet(np.array([2 * v]), N_SAMPLES)) / 2
        cross = dirichlet(np.round(w - v, 12), N_SAMPLES) + dirichlet(w + v, N_SAMPLES)
        wanted = (N_SAMPLES + terms - cross) / ((N_SAMPLES + dirichlet(np.array([2 * v]), N_SAMPLES)) / 2)  # over the target's
        assert drawn.values["mse"].numpy() == pytest.approx(wanted, abs=1e-5)  # the loss is taken in float32

    def test_notches_are_a_parabola_in_the_cosine(self, drawn):
        w, v = 2 * math.pi * drawn.axes_hz[0].numpy() / RATE, 2 * math.pi * 1000 / RATE
        shape = (np.cos(w) - math.cos(v)) ** 2
        values = drawn.values["annihilating-filter"].numpy()
        assert values / values.max() == pytest.approx(shape / shape.max(), abs=1e-9)

    @pytest.mark.parametrize("name", ["annihilating-filter", "optimal-transport"])
    def test_some_ideas_have_one_valley(self, drawn, name):
        rises = np.diff(drawn.values[name].numpy()) > 0
        assert np.count_nonzero(rises[1:] != rises[:-1]) == 1

    @pytest.mark.parametrize("name", ["mse", "mae", "pdl", "windows"])
    def test_the_others_have_many(self, drawn, name):
        rises = np.diff(drawn.values[name].numpy()) > 0
        assert np.count_nonzero(rises[1:] != rises[:-1]) > 20

    def test_short_windows_have_wide_valleys(self, drawn):
        """A window of 64 samples is wide open where one of 512 has long been level."""
        near = (drawn.axes_hz[0] - 1000).abs() < 60
        for name, wide in (("windows:64", True), ("windows:512", False)):
            rises = np.diff(drawn.values[name][near].numpy()) > 0
            assert (np.count_nonzero(rises[1:] != rises[:-1]) == 1) == wide

    @pytest.mark.parametrize("name", ALL)
    def test_the_truth_is_lowest(self, drawn, name):
        middle = len(drawn.axes_hz[0]) // 2
        assert float(drawn.axes_hz[0][middle]) == 1000
        assert float(drawn.values[name][middle]) == float(drawn.values[name].min())

    def test_the_complex_spectrum_is_the_signal_and_correlation_half_of_its_error(self):
        drawn = landscape(
            scene_of_tones([1000.0], RATE, N_SAMPLES), ["mse", "dft:complex", "dft", "dft:log", "correlation"], 100.0
        )
        mse = drawn.values["mse"].numpy()
        np.testing.assert_allclose(drawn.values["dft:complex"].numpy(), mse, rtol=1e-6)  # Parseval, float64
        # A sinusoid of another frequency has nearly the same level: the sum at twice the frequency is below a hundredth.
        np.testing.assert_allclose(drawn.values["correlation"].numpy() * 2, mse, atol=0.02)
        assert (drawn.values["dft"].numpy() <= mse * (1 + 1e-6)).all()  # magnitudes differ at most as the spectra do
        assert float(drawn.values["dft:log"].max()) > 1

    def test_damping_only_helps(self, drawn):
        assert bool((drawn.values["surrogate"] <= drawn.values["windows"] + 1e-12).all())  # no damping is among the dampings


def test_a_map_is_symmetric_in_oscillators_of_equal_standing():
    scene = scene_of_tones([1000.0, 1100.0], RATE, N_SAMPLES, 2)
    drawn = landscape(scene, ["mse", "windows", "annihilating-filter", "optimal-transport"], 100.0)
    assert all(values.shape == (len(drawn.axes_hz[0]),) * 2 for values in drawn.values.values())
    middle = len(drawn.axes_hz[0]) // 2
    for name, values in drawn.values.items():
        assert float(values[middle, middle]) == pytest.approx(float(values.min()), abs=1e-6), name
    # The oscillators exchanged: 1000 + x takes the place of 1100 + y where both axes hold both frequencies.
    low, high = drawn.axes_hz[0] >= 999.9, drawn.axes_hz[1] <= 1100.1
    for name in ("windows", "annihilating-filter", "optimal-transport"):
        shared = drawn.values[name][low][:, high]
        assert shared == pytest.approx(shared.T, abs=1e-6), name


def test_a_recording_is_looked_at_where_it_is_loudest():
    quiet = 0.01 * tones([700.0], [1.0], [0.0], 0.2)
    loud = tones([1500.0, 2501.0, 1520.0], [1.0, 0.3, 0.4], [0.0, 1.0, 2.0], 0.2)
    sound = torch.cat([torch.cat([quiet, loud], 1), torch.cat([quiet, quiet], 1)])
    scene = scene_of_recording(Recording(sound, RATE), 1024, 2)
    hz = scene.frequency * RATE / (2 * math.pi)
    assert float(hz[0]) == pytest.approx(1500, abs=0.1)
    assert float(hz[1]) == pytest.approx(2501, abs=0.1)  # 1520 Hz is louder, but within four bins of the first
    left = scene.target - scene.estimates(scene.frequency[None, :2])[0]
    assert float(left.square().sum()) < 1e-4 * float(scene.target.square().sum())
    drawn = landscape(scene, ["mse"])
    middle = len(drawn.axes_hz[0]) // 2
    assert int(drawn.values["mse"].argmin()) == middle * len(drawn.axes_hz[0]) + middle


@pytest.mark.parametrize(
    ("names", "span_hz", "said"),
    [
        (["msw"], None, "did you mean 'ms"),
        (["auraloss"], None, "without a class"),
        (["pdl:nearly"], None, "did you mean 'near'"),
        (["windowss"], None, "did you mean 'windows'"),
        (["windows:5"], None, "windows of 6 to 512 samples"),
        (["windows:513"], None, "windows of 6 to 512 samples"),
        (["mse", "mse"], None, "each once"),
        ([], None, "one or more"),
        (["mse"], 1001.0, "span is 1001.0, around 1000 Hz; allowed: above 0, up to 1000 Hz"),
        (["mse"], 0.0, "allowed: above 0"),
        (["mse"], math.nan, "allowed: above 0"),
    ],
)
def test_bad_views_are_refused(names, span_hz, said):
    with pytest.raises(OptionError, match=said):
        landscape(scene_of_tones([1000.0], RATE, N_SAMPLES), names, span_hz)


def test_bad_scenes_are_refused():
    for arguments, said in (
        (([4000.0], RATE, 512), "below 4000 Hz"),
        (([1000.0], RATE, 63), "samples is 63; allowed: 64"),
        (([1000.0], 10, 512), "sample_rate is 10"),
        (([1000.0], RATE, 512, 2), "frequencies is 2"),
        (([1000.0], RATE, 512, 3), "frequencies is 3"),
    ):
        with pytest.raises(OptionError, match=said):
            scene_of_tones(*arguments)
    with pytest.raises(RecordingError, match="silent"):
        scene_of_recording(Recording(torch.zeros(1, 1000), RATE))
    with pytest.raises(RecordingError, match="63 samples; allowed: 64 samples or more"):
        scene_of_recording(Recording(torch.ones(1, 63), RATE))


@pytest.mark.parametrize("moving", [1, 2])
def test_the_picture_has_a_panel_for_each_loss(moving):
    scene = scene_of_tones([1000.0, 1100.0], RATE, 64, moving)
    drawn = landscape(scene, ["mse", "windows", "annihilating-filter", "optimal-transport"], 200.0)
    axes = [axis for axis in figure(drawn).axes if axis.axison]
    assert [axis.get_title() for axis in axes] == ["mse", "windows", "annihilating-filter", "optimal-transport"]
    assert all(len(axis.images) == moving - 1 for axis in axes)


class TestCommand:
    def test_it_writes_a_picture_and_a_table(self, tmp_path):
        out = tmp_path / "tone.png"
        code, said, _ = run(
            "landscape", "--tone", "1000", "--losses", "mse,windows:64", "--samples", "256", "--span-bins", "4", "--out", out
        )
        assert code == 0
        assert "2 losses around 1000 Hz, a bin is 31.2 Hz" in said
        assert out.read_bytes().startswith(b"\x89PNG")
        rows = list(csv.reader((tmp_path / "tone.csv").read_text().splitlines()))
        assert rows[0] == ["hz", "mse", "windows:64"]
        hz = [float(row[0]) for row in rows[1:]]
        assert (hz[0], hz[-1]) == (875, 1125)
        assert min(rows[1:], key=lambda row: float(row[1]))[0] == "1000"

    def test_a_map_of_a_recording(self, tmp_path):
        path = tmp_path / "two.wav"
        soundfile.write(path, tones([900.0, 1700.0], [0.5, 0.3], [0.0, 1.0], 0.1)[0].numpy(), RATE, "FLOAT")
        out = tmp_path / "map.png"
        assert run("landscape", path, "--frequencies", "2", "--losses", "mse", "--samples", "512", "--out", out)[0] == 0
        rows = list(csv.reader((tmp_path / "map.csv").read_text().splitlines()))
        assert rows[0] == ["hz_1", "hz_2", "mse"]
        best = min(rows[1:], key=lambda row: float(row[2]))
        assert [float(value) for value in best[:2]] == pytest.approx([900, 1700], abs=0.5)

    def test_nothing_is_overwritten_without_force(self, tmp_path):
        arguments = ("landscape", "--tone", "1000", "--losses", "mse", "--samples", "64", "--out", tmp_path / "a.png")
        (tmp_path / "a.csv").write_text("mine")
        code, _, said = run(*arguments)
        assert code == 2
        assert "a.csv' exists" in said
        assert (tmp_path / "a.csv").read_text() == "mine"
        assert not (tmp_path / "a.png").exists()
        assert run(*arguments, "--force")[0] == 0
        assert (tmp_path / "a.csv").read_text().startswith("hz,mse\n")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "give either a recording or --tone"),
            (("x.wav", "--tone", "1000"), "give either a recording or --tone"),
            (("x.wav",), "'x.wav'"),
            (("--tone", "1000", "--out", "a.pdf"), "only PNG is written"),
            (("--tone", "1000", "--out", "nowhere/a.png"), "there is no folder"),
            (
                ("--tone", "1000", "--span", "2", "--span-bins", "3"),
                "--span is 2.0 and --span-bins is 3.0; give only one of the two",
            ),
            (("--tone", "1000", "--losses", "mset"), "did you mean 'mse'"),
            (("--tone", "5000"), "below 4000 Hz"),
        ],
    )
    def test_bad_input_is_refused(self, tmp_path, monkeypatch, arguments, said):
        monkeypatch.chdir(tmp_path)
        code, out, err = run("landscape", *arguments)
        assert (code, out) == (2, "")
        assert said in err
        assert list(tmp_path.iterdir()) == []

    def test_every_flag_has_help(self):
        shown = [one for one in app["landscape"].assemble_argument_collection(parse_docstring=True) if one.parse and one.show]
        assert len(shown) >= 9
        assert all(one.parameter.help for one in shown)


def test_losses_are_drawn_with_their_variants_and_at_the_level_of_the_target():
    names = ["pdl:1:44", "huber:0.2", "phase", "mel", "auraloss:ESRLoss"]
    loud, quiet = scene_of_tones([1000.0], RATE, N_SAMPLES), scene_of_tones([1000.0], RATE, N_SAMPLES)
    quiet = replace(quiet, **{part: getattr(quiet, part) / 1024 for part in ("target", "cosine", "sine")})
    one, other = landscape(loud, names, 100.0), landscape(quiet, names, 100.0)
    for name in names:
        assert torch.equal(one.values[name], other.values[name]), name  # a power of two: float32 rounds alike
        assert float(one.values[name].max()) > 0.01
    # ESR is the energy of the error over that of the target, and so is mse at the target's level.
    mse = landscape(loud, ["mse"], 100.0).values["mse"]
    torch.testing.assert_close(one.values["auraloss:ESRLoss"], mse, rtol=1e-4, atol=1e-5)


def test_everything_that_can_be_drawn_is_drawn_by_default():
    assert set(ALL) == set(LOSSES) - {"auraloss"} | set(IDEAS)  # which is no loss without the name of a class
