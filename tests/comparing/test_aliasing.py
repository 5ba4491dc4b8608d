"""A wave above Nyquist and its alias: the same samples, drawn as such; what the command writes and refuses."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from ddaudio_cli import main
from matplotlib.image import imread

from ddaudio.comparing.aliasing_figure import alias_hz, aliasing_figure
from ddaudio.errors import OptionError


@pytest.mark.parametrize(
    ("hz", "alias"),
    [
        (4001.0, 3999.0),
        (7000.0, 1000.0),
        (8000.0, 0.0),
        (9000.0, 1000.0),
        (12000.0, 4000.0),
        (17000.5, 1000.5),
        (63000.0, 1000.0),
    ],
)
def test_a_wave_its_samples_and_its_alias(hz: float, alias: float) -> None:
    assert alias_hz(hz, 8000) == alias
    (axis,) = aliasing_figure(hz, 8000).axes
    wave, other, samples = axis.lines
    assert [line.get_label() for line in axis.lines] == [f"wave: {hz:.6g} Hz", f"alias: {alias:.6g} Hz", "samples"]
    ms, values = samples.get_xdata(), samples.get_ydata()
    np.testing.assert_allclose(np.diff(ms), 1 / 8)
    # Both curves go through every sample: float64 rounding of phases up to 2000 rad.
    for drawn in (hz, alias):
        np.testing.assert_allclose(np.cos(2 * np.pi * drawn * ms / 1000), values, atol=1e-10)
    for line, drawn in ((wave, hz), (other, alias)):
        np.testing.assert_allclose(line.get_ydata(), np.cos(2 * np.pi * drawn * line.get_xdata() / 1000), atol=1e-10)
        # More than two points a period are needed to see it, here at least 20.
        assert np.diff(line.get_xdata()).max() * hz / 1000 < 1 / 20


@pytest.mark.parametrize("hz", [1000.0, 4000.0, 64001.0, float("nan")])
def test_other_frequencies_are_refused(hz: float) -> None:
    with pytest.raises(OptionError, match="above 4000 Hz, half the sample rate, up to 64000 Hz"):
        aliasing_figure(hz, 8000)


def run(*arguments: str | Path) -> tuple[int, str, str]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(["landscape", "--draw", "alias", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def test_the_command_draws_it(tmp_path: Path) -> None:
    out = tmp_path / "alias.png"
    code, said, _ = run("--tone", "15000", "--sample-rate", "16000", "--out", out)
    assert (code, said) == (0, f"wrote {out}: 15000 Hz has the samples of 1000 Hz at 16000 Hz\n")
    assert imread(out).std() > 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["alias.png"]
    code, _, said = run("--tone", "15000", "--out", out)
    assert (code, "exists" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give one --tone"),
        (("--tone", "5000", "--tone", "6000"), "give one --tone"),
        (("a.wav",), "give one --tone"),
        (("--tone", "5000", "--losses", "mse"), "nothing else but --sample-rate and --out"),
        (("--tone", "5000", "--span", "3"), "nothing else but --sample-rate and --out"),
        (("--tone", "1000"), "above 4000 Hz"),
        (("--tone", "5000", "--out", "a.pdf"), "only PNG is written"),
    ],
)
def test_bad_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []
