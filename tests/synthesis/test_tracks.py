"""Tracks against a plain implementation in numpy, closed forms and finite differences."""

import math

import pytest
import torch
from tracks_reference import random_tracks, reference

from ddaudio.errors import ModelError, OptionError
from ddaudio.synthesis.tracks import Knots, TrackJacobian, check_knots, render_tracks

F = torch.float64
COUNTS = [2, 7, 3, 12]
SIGNAL = torch.tensor([0, 1, 0, 1])


def one_track(position, amplitude=None, frequency=None, phase=None, dtype=F):
    """Return the knots of a single track."""
    n_knots = len(position)
    given = (amplitude, 1.0), (frequency, 0.5), (phase, 0.0)
    values = [torch.tensor([default] * n_knots if value is None else value, dtype=dtype) for value, default in given]
    return Knots(torch.tensor([n_knots]), torch.tensor(position, dtype=F), *values)


@pytest.mark.parametrize("log_amplitude", [False, True])
@pytest.mark.parametrize("first", [0, 57, -30])
@pytest.mark.parametrize(("dtype", "tolerance"), [(F, 1e-11), (torch.float32, 3e-6)])
def test_samples_are_those_of_the_paper(first, log_amplitude, dtype, tolerance):
    """Four tracks: phases of up to 1,300 rad are rounded to 2e-13 in float64; values of up to 4 to 5e-7 in float32."""
    knots = random_tracks(COUNTS, dtype=dtype)
    knots.amplitude[3:5] = 0  # where levels have no logarithm
    found = render_tracks(knots, SIGNAL, (2, 350), first, log_amplitude=log_amplitude)
    assert found.dtype == dtype
    wanted = torch.tensor(reference(knots, SIGNAL, (2, 350), first, log_amplitude=log_amplitude))
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=tolerance)


def test_the_last_knot_belongs_to_its_track_and_silence_is_outside():
    found = render_tracks(
        one_track([2.0, 5.0, 8.0], frequency=[math.pi / 4] * 3, phase=[0.0, 0.0, 0.0]), torch.tensor([0]), (1, 12)
    )
    assert (found[0] != 0).nonzero().squeeze().tolist() == [2, 3, 4, 5, 6, 7, 8]
    between = render_tracks(one_track([2.5, 5.5]), torch.tensor([0]), (1, 12))
    assert (between[0] != 0).nonzero().squeeze().tolist() == [3, 4, 5]


def test_a_linear_glide_is_a_chirp():
    """A chirp's phase is quadratic: knots of its own phase and frequency give it back, whatever their distance."""
    position = torch.tensor([0.0, 100.25, 611.5, 2000.0], dtype=F)
    knots = Knots(torch.tensor([4]), position, torch.ones(4, dtype=F), 0.2 + 1e-3 * position, 0.2 * position + 5e-4 * position**2)
    n = torch.arange(2001, dtype=F)
    found = render_tracks(knots, torch.tensor([0]), (1, 2001))[0]
    torch.testing.assert_close(found, torch.cos(0.2 * n + 5e-4 * n**2), rtol=0, atol=1e-10)  # 2,400 rad, rounded to 5e-13 a step


@pytest.mark.parametrize("dtype", [F, torch.float32])
def test_phases_are_exact_after_ten_minutes(dtype):
    """Required is 1e-4 rad; the sine is asked at its zeros and its extremes, with knots each 441 samples."""
    rate, first = 44100, 44100 * 600
    position = torch.arange(first - 4410, first + 4411, 441, dtype=F)
    hertz = 4400.0  # an integer number of periods in a second: the phase is known at each sample
    frequency = torch.full_like(position, 2 * math.pi * hertz / rate)
    phase = 2 * math.pi * ((position * hertz / rate) % 1)
    knots = Knots(
        torch.tensor([len(position)]), position, *(part.to(dtype) for part in (torch.ones_like(position), frequency, phase))
    )
    n = torch.arange(first - 4000, first + 4000, dtype=torch.int64)
    wanted = torch.cos(2 * math.pi * (n * 4400 % 44100).double() / rate)
    found = render_tracks(knots, torch.tensor([0]), (1, 8000), first - 4000)[0]
    assert float((found.double() - wanted).abs().max()) < (1e-4 if dtype == torch.float32 else 1e-6)


def test_no_track_is_silence():
    none = torch.zeros(0, dtype=F)
    knots = Knots(torch.zeros(0, dtype=torch.int64), none, none, none, none)
    signal = torch.zeros(0, dtype=torch.int64)
    check_knots(knots, signal, 1)
    assert torch.equal(render_tracks(knots, signal, (1, 9)), torch.zeros(1, 9, dtype=F))
    jacobian = TrackJacobian(knots, signal, (1, 9))
    assert [part.shape for part in (*jacobian.adjoint(torch.ones(1, 9, dtype=F)), *jacobian.squares())] == [(0,)] * 6


@pytest.mark.parametrize("log_amplitude", [False, True])
def test_gradients_are_those_of_finite_differences(log_amplitude):
    """By positions too: the signal is continuous in them as long as no sample changes its segment."""
    knots = random_tracks([2, 4], span=(0, 40), lowest=0.2)

    def render(*values):
        return render_tracks(Knots(knots.counts, *values), torch.tensor([0, 1]), (2, 40), 3, log_amplitude=log_amplitude)

    assert torch.autograd.gradcheck(render, [value.clone().requires_grad_() for value in knots[1:]])


@pytest.mark.parametrize("log_amplitude", [False, True])
def test_the_jacobian_is_that_of_autograd(log_amplitude):
    knots = random_tracks(COUNTS, span=(0, 90), lowest=0.2)
    knots.amplitude[5:7] = 0

    def render(*values):
        return render_tracks(Knots(knots.counts, knots.position, *values), SIGNAL, (2, 80), 5, log_amplitude=log_amplitude)

    jacobian = TrackJacobian(knots, SIGNAL, (2, 80), 5, log_amplitude=log_amplitude)
    wanted = torch.autograd.functional.jacobian(render, tuple(knots[2:]))
    if log_amplitude:  # at an amplitude of 0 the slope changes: see the neighbours of silent knots
        positive = knots.amplitude > 0
        wanted = (wanted[0] * positive, *wanted[1:])
    generator = torch.Generator().manual_seed(0)
    changes = [torch.randn(len(knots.position), generator=generator, dtype=F) for _ in range(3)]
    if log_amplitude:
        changes[0] = changes[0] * positive
    moved = sum(part @ change for part, change in zip(wanted, changes, strict=True))
    torch.testing.assert_close(jacobian.forward(changes), moved)
    signals = torch.randn(2, 80, generator=generator, dtype=F)
    for kind, (found, column) in enumerate(zip(jacobian.adjoint(signals), wanted, strict=True)):
        mask = positive if log_amplitude and kind == 0 else torch.ones_like(found)
        torch.testing.assert_close(found * mask, torch.einsum("bt,btk->k", signals, column))


@pytest.mark.parametrize("log_amplitude", [False, True])
def test_squares_are_those_of_columns(log_amplitude):
    """But for beats: of 120 samples and more between knots at 0.34 to 2.8 radians, 3 / (2 * 120 sin 0.34), 4 %; ends are cut."""
    knots = random_tracks([4, 4], span=(0, 2), lowest=0.2)
    knots = knots._replace(position=torch.tensor([-9.0, 130.5, 300.0, 420.0] * 2, dtype=F), frequency=0.3 + knots.frequency / 1.2)
    signal = torch.tensor([0, 1])

    def render(*values):
        return render_tracks(Knots(knots.counts, knots.position, *values), signal, (2, 400), log_amplitude=log_amplitude)

    columns = torch.autograd.functional.jacobian(render, tuple(knots[2:]))
    for found, column in zip(TrackJacobian(knots, signal, (2, 400), log_amplitude=log_amplitude).squares(), columns, strict=True):
        # A growth from 0.2 to 1 moves the energy of a segment to its last quarter.
        torch.testing.assert_close(found, column.square().sum((0, 1)), atol=0, rtol=0.12 if log_amplitude else 0.04)


BAD = {
    "positions rise": one_track([5.0, 5.0]),
    "above 0: positions rise": one_track([5.0, 9.0, 7.0]),
    "1 sample or more": one_track([5.0, 5.9]),
    "2 or more": one_track([5.0]),
    "1 values are not allowed, first 0;.*below pi": one_track([1.0, 9.0], frequency=[0.0, 1.0]),
    "2 of 2 values.*below pi": one_track([1.0, 9.0], frequency=[math.pi, 3.2]),
    "amplitude: 1 of 2 values are not allowed, first -0.5": one_track([1.0, 9.0], amplitude=[0.0, -0.5]),
    "phase: 1 of 2 values.*finite": one_track([1.0, 9.0], phase=[0.0, math.nan]),
    "position: 1 of 2 values.*finite": one_track([1.0, math.inf]),
    "one value per knot": one_track([1.0, 9.0])._replace(counts=torch.tensor([3])),
    "float64": one_track([1.0, 9.0])._replace(position=torch.tensor([1.0, 9.0])),
    "int64": one_track([1.0, 9.0])._replace(counts=torch.tensor([2.0])),
}


@pytest.mark.parametrize("message", BAD)
def test_knots_that_are_no_tracks_are_refused(message):
    with pytest.raises(OptionError, match=message.replace("1 values are", "1 of 2 values are")):
        check_knots(BAD[message], torch.tensor([0]), 1)


def test_signals_that_do_not_exist_are_refused():
    with pytest.raises(ModelError, match="allowed: 0 to 1"):
        check_knots(one_track([1.0, 9.0]), torch.tensor([2]), 2, ModelError)
    with pytest.raises(OptionError, match="signal is torch"):
        check_knots(one_track([1.0, 9.0]), torch.tensor([0, 0]), 2)
    check_knots(one_track([1.0, 9.0]), torch.tensor([1]), 2)
