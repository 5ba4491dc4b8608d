"""Estimators: sinusoids found from random frequencies by gradient alone; their landscapes against closed forms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refused
from scipy.optimize import linear_sum_assignment
from scipy.stats import wasserstein_distance
from sounds import fit_waves as fit
from torch import Tensor

from ddaudio.analysis import annihilating_filter, growing_windows, optimal_transport
from ddaudio.analysis.annihilating_filter import Notches, silence
from ddaudio.analysis.by_descent import descended
from ddaudio.analysis.frequencies import find_frequencies, most_sinusoids
from ddaudio.analysis.growing_windows import Windows, grow
from ddaudio.analysis.levenberg_marquardt import Normal, descend
from ddaudio.analysis.optimal_transport import carry, spectrum, transport_cost
from ddaudio.errors import OptionError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.options import FitOptions

N_SAMPLES = 1024
BIN = 2 * math.pi / N_SAMPLES


def drawn(starts: int, count: int, range_db: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return signals of sinusoids at least four bins apart, their frequencies, and uniformly random ones."""
    generator = torch.Generator().manual_seed(seed)
    uniform = torch.rand(4, starts, count, generator=generator, dtype=torch.float64)
    truth = (2 + uniform[0].sort(1).values * (N_SAMPLES / 2 - 4 * count) + 4 * torch.arange(count)) * BIN
    phase, amplitude = 2 * math.pi * uniform[1], 10 ** (-range_db / 20 * uniform[2])
    waves = torch.cos(truth[..., None] * torch.arange(N_SAMPLES) + phase[..., None])
    return (amplitude[..., None] * waves).sum(1), truth, math.pi * uniform[3]


def share_found(found: Tensor, truth: Tensor) -> float:
    """Return the share of starts with all frequencies within half a bin, each oscillator assigned to one sinusoid."""
    hits = 0
    for mine, true in zip(found.numpy(), truth.numpy(), strict=True):
        distance = np.abs(mine[:, None] - true)
        hits += bool(distance[linear_sum_assignment(distance)].max() <= BIN / 2)
    return hits / len(truth)


def folded(signals: Tensor, n_notches: int) -> Tensor:
    """Return all windows of the signals, their halves added up, as they come: the noise in them is kept."""
    rows = signals.unfold(1, 2 * n_notches + 1, 1)
    early, late = rows[..., :n_notches].flip(2), rows[..., n_notches + 1 :]
    every = torch.cat([rows[..., n_notches : n_notches + 1], (early + late) / math.sqrt(2)], 2)
    return torch.linalg.qr(every / signals.square().sum(1).sqrt()[:, None, None], mode="r")[1]


class TestRecipes:
    @pytest.mark.parametrize(
        ("estimator", "range_db"), [("annihilating-filter", 0.0), ("annihilating-filter", 20.0), ("optimal-transport", 0.0)]
    )
    @pytest.mark.parametrize(("count", "least"), [(1, 1.0), (2, 1.0), (8, 0.9)])
    def test_sinusoids_are_found_from_random_starts(self, estimator, range_db, count, least):
        signals, truth, start = drawn(24, count, range_db, seed=count)
        found = find_frequencies(signals, start, estimator)
        assert bool((found.diff(dim=1) >= 0).all())
        assert share_found(found, truth) >= least  # 8: measured 100 % of 1,000 at 4,096 samples; two short of 24 may be unlucky

    def test_what_is_found_is_exact(self):
        signals, truth, start = drawn(20, 2, 20.0)
        error = (find_frequencies(signals, start) - truth).abs().max()
        assert error < 1e-9  # float64: phases of 1,024 samples are exact to 1e-13

    def test_growing_windows_alone_find_little(self):
        """The first stage is the key: without it most starts fail."""
        signals, truth, start = drawn(10, 8)
        assert share_found(grow(signals, start), truth) < 0.2

    def test_without_growing_windows_noise_spoils_the_notches(self):
        signals, truth, start = drawn(40, 2)
        generator = torch.Generator().manual_seed(1)
        signals = signals + 0.3 * torch.randn(signals.shape, generator=generator, dtype=torch.float64)
        assert share_found(silence(signals, start), truth) < 0.5
        assert share_found(find_frequencies(signals, start), truth) > 0.7

    def test_taking_off_the_noise_is_worth_it(self, monkeypatch):
        signals, truth, start = drawn(40, 2)
        generator = torch.Generator().manual_seed(1)
        signals = signals + 0.03 * torch.randn(signals.shape, generator=generator, dtype=torch.float64)
        with_it = share_found(silence(signals, start), truth)
        monkeypatch.setattr(annihilating_filter, "_triangle", folded)
        assert with_it > share_found(silence(signals, start), truth) + 0.2

    def test_transport_fails_where_sinusoids_are_not_equally_strong(self):
        signals, truth, start = drawn(40, 2, 20.0)
        assert share_found(find_frequencies(signals, start, "optimal-transport"), truth) < 0.2

    def test_a_batch_is_its_rows_in_any_precision(self):
        signals, _, start = drawn(3, 2)
        together = find_frequencies(signals, start)
        alone = torch.cat([find_frequencies(signals[row : row + 1], start[row : row + 1]) for row in range(3)])
        assert together == pytest.approx(alone, abs=1e-9)  # sums in another order, a few dozen steps
        single = find_frequencies(signals.float(), start.float())
        assert single.dtype == torch.float32
        assert single == pytest.approx(together.float(), abs=1e-6)  # float32 at pi

    @settings(deadline=None, max_examples=30)
    @given(
        n_samples=st.integers(6, 200), count=st.integers(1, 8), kind=st.sampled_from(["silence", "constant", "noise", "click"])
    )
    def test_every_signal_gives_frequencies(self, n_samples, count, kind):
        count = min(count, most_sinusoids(n_samples))
        generator = torch.Generator().manual_seed(n_samples)
        signals = torch.zeros(2, n_samples, dtype=torch.float64)
        signals += {"constant": 1.0, "click": torch.arange(n_samples) == 3}.get(kind, 0.0)
        signals += torch.randn(2, n_samples, generator=generator, dtype=torch.float64) * (kind == "noise")
        for estimator in ("annihilating-filter", "optimal-transport"):
            found = find_frequencies(signals, math.pi * torch.rand(2, count, generator=generator), estimator)
            assert found.shape == (2, count)
            assert bool(((found >= 0) & (found <= math.pi)).all())

    @pytest.mark.parametrize(
        ("signals", "start", "estimator", "said"),
        [
            (torch.zeros(1, 100), torch.ones(1, 2), "notchs", "allowed: annihilating-filter, optimal-transport"),
            (torch.zeros(100), torch.ones(1, 2), "annihilating-filter", r"allowed: \[B, N\] and \[B, K\]"),
            (torch.zeros(2, 100), torch.ones(1, 2), "annihilating-filter", "as many rows"),
            (torch.zeros(1, 100), torch.ones(1, 0), "annihilating-filter", "K 1 or more"),
            (torch.zeros(1, 9), torch.ones(1, 2), "annihilating-filter", "2 sinusoids of 9 samples; allowed: 10 samples or more"),
            (
                torch.full((1, 100), torch.nan),
                torch.ones(1, 2),
                "annihilating-filter",
                "100 of 100 values NaN",
            ),
        ],
    )
    def test_bad_input_is_refused(self, signals, start, estimator, said):
        with pytest.raises(OptionError, match=said):
            find_frequencies(signals, start, estimator)

    @pytest.mark.parametrize("wrong", [-0.1, 3.25, math.inf])
    def test_a_start_out_of_range_is_refused_with_its_value(self, wrong):
        with refused(setting="start", value=pytest.approx(wrong), allowed="0 to pi radians per sample"):
            find_frequencies(torch.zeros(1, 100), torch.tensor([[1.0, wrong]]))


class TestNotches:
    def test_one_notch_leaves_a_parabola_in_the_cosine(self):
        """``x(n-1) - 2 c x(n) + x(n+1) = 2 (cos w0 - c) x(n)`` for a sinusoid at ``w0``."""
        signal = torch.cos(1.1 * torch.arange(500, dtype=torch.float64) + 0.3)[None]
        problem = Notches(signal, 1)
        for cosine in (-0.9, 0.0, 0.4, 1.0):
            energy = 4 * (math.cos(1.1) - cosine) ** 2 * float(signal[:, 1:-1].square().sum() / signal.square().sum())
            assert float(problem.normal(torch.tensor([[cosine]], dtype=torch.float64)).energy) == pytest.approx(energy, rel=1e-9)

    def test_the_energy_is_that_of_filters_in_a_row_less_the_least(self):
        generator = torch.Generator().manual_seed(0)
        signal = torch.randn(1, 300, generator=generator, dtype=torch.float64)
        cosine = torch.tensor([[0.8, 0.1, -0.6]], dtype=torch.float64)
        taps = np.ones(1)
        for one in cosine[0].tolist():
            taps = np.convolve(taps, [1, -2 * one, 1])
        passed = np.convolve(signal[0].numpy(), taps, mode="valid")
        rows = np.stack([signal[0].numpy()[n : n + 7] for n in range(294)])
        folded = np.concatenate([rows[:, 3:4], (rows[:, 2::-1] + rows[:, 4:]) / math.sqrt(2)], 1)
        least = np.linalg.eigvalsh(folded.T @ folded)[0] * (taps @ taps)
        wanted = (passed @ passed - least) / float(signal.square().sum())
        assert float(Notches(signal, 3).normal(cosine).energy) == pytest.approx(wanted, rel=1e-9)


class TestWindows:
    def test_the_energy_is_what_least_squares_leaves(self):
        signals, _, start = drawn(2, 3)
        found = Windows(signals, 256).normal(start)
        for row in range(2):
            phase = np.arange(256)[:, None] * start[row].numpy()
            basis = np.concatenate([np.cos(phase), np.sin(phase)], 1)
            cut = signals[row].numpy().reshape(4, 256).T
            left = cut - basis @ np.linalg.lstsq(basis, cut, rcond=None)[0]
            assert float(found.energy[row]) == pytest.approx((left**2).sum(), rel=1e-9)

    @pytest.mark.parametrize("kind", ["windows", "annihilating-filter"])
    def test_the_slope_is_half_the_gradient(self, kind):
        signals, truth, _ = drawn(2, 3)
        value = truth + 0.01 if kind == "windows" else (truth + 0.01).cos()
        problem = Windows(signals, 64) if kind == "windows" else Notches(signals, 3)
        normal = problem.normal(value)
        for column in range(3):
            step = 1e-6 * torch.nn.functional.one_hot(torch.tensor(column), 3)
            rise = (problem.normal(value + step).energy - problem.normal(value - step).energy) / 2e-6
            assert 2 * normal.slope[:, column] == pytest.approx(rise, rel=1e-4, abs=1e-6)  # central differences

    def test_windows_grow_by_two_up_to_the_whole(self):
        assert growing_windows.lengths(4096, 8) == [64, 128, 256, 512, 1024, 2048, 4096]
        assert growing_windows.lengths(34, 8) == [34]
        assert all(length >= 4 * 3 + 2 for length in growing_windows.lengths(1000, 3))


class TestTransport:
    @settings(deadline=None, max_examples=30)
    @given(st.integers(1, 6), st.integers(0, 1000))
    def test_the_cost_is_the_least_over_all_ways(self, count, seed):
        """Against scipy's distance between the distributions, for cost by distance, through quantiles for its square."""
        generator = torch.Generator().manual_seed(seed)
        power = torch.rand(1, 40, generator=generator, dtype=torch.float64)
        power = power / power.sum()
        frequency = math.pi * torch.rand(1, count, generator=generator, dtype=torch.float64)
        place = np.linspace(0, math.pi, 40)
        edges = np.unique(np.concatenate([np.cumsum(power[0].numpy()), np.arange(1, count + 1) / count, [0.0, 1.0]]).clip(0, 1))
        middles = (edges[1:] + edges[:-1]) / 2
        quantile = place[np.searchsorted(np.cumsum(power[0].numpy()), middles).clip(max=39)]
        ordered = np.sort(frequency[0].numpy())[np.minimum((middles * count).astype(int), count - 1)]
        wanted = (np.diff(edges) * (ordered - quantile) ** 2).sum()
        assert float(transport_cost(frequency, power)) == pytest.approx(wanted, rel=1e-6, abs=1e-9)
        linear = (np.diff(edges) * np.abs(ordered - quantile)).sum()
        assert linear == pytest.approx(wasserstein_distance(frequency[0].numpy(), place, v_weights=power[0].numpy()), rel=1e-6)

    def test_a_lone_oscillator_goes_to_the_centre_of_the_power(self):
        signals, _, start = drawn(3, 1, seed=3)
        power = spectrum(signals)
        centre = power @ torch.linspace(0, math.pi, power.shape[1], dtype=power.dtype)
        assert carry(signals, start)[:, 0] == pytest.approx(centre, abs=1e-9)  # 40 steps halve the way 40 times


class TestDescend:
    def test_no_step_raises_the_energy_and_bounds_hold(self):
        energies = []

        def normal(value: Tensor) -> Normal:
            """Rosenbrock's valley, whose minimum at (1, 1) lies beyond the bounds."""
            x, y = value.T
            residual = torch.stack([10 * (y - x**2), 1 - x], 1)
            jacobian = torch.stack([torch.stack([-20 * x, 10 + 0 * x], 1), torch.stack([-1 + 0 * x, 0 * x], 1)], 1)
            found = Normal(
                residual.square().sum(1),
                (jacobian * residual[..., None]).sum(1),
                jacobian.transpose(1, 2) @ jacobian,
            )
            energies.append(float(found.energy))
            return found

        end = descend(normal, torch.tensor([[-0.9, 0.8]], dtype=torch.float64), 200, (-0.95, 0.95))
        assert float(normal(end).energy) == min(energies)
        # On the bound x or y = 0.95 the least is near y = x^2 with y = 0.95.
        assert end[0].tolist() == pytest.approx([0.95, 0.9025], abs=1e-3)


class TestStart:
    def test_a_fit_finds_its_partials_without_peaks(self):
        times = torch.arange(4000) / 8000
        sound = torch.cos(2 * math.pi * 700 * times) + 0.2 * torch.cos(2 * math.pi * 1800.5 * times + 1)
        recording = Recording(sound[None], 8000)
        found = fit(recording, partials=2, estimator="annihilating-filter", exchanges=0, steps=0)
        random = fit(recording, partials=2, initialisation="random", exchanges=0, steps=0)
        assert found.snr_db > 45  # amplitudes are solved by a few conjugate gradient steps
        assert random.snr_db < 10
        hz = found.network.describe()["frequency_hz"][2:-2]  # the first and the last frame reach into silence
        assert (hz - 700).abs().minimum((hz - 1800.5).abs()).max() < 0.1

    def test_silent_and_short_frames_get_what_fits(self):
        generator = torch.Generator().manual_seed(0)
        target = torch.randn(1, 96, generator=generator)
        target[:, :40] = 0
        grid = TimeGrid.of_sizes(8000, 96, [[8, 8, 16, 32, 32]])
        wanted = torch.full((grid.n_frames,), 5) * torch.cat([part.abs().amax(1) > 0 for part in grid.frame(target)])
        partials = descended(target, grid, wanted, "annihilating-filter", generator)
        counts = partials.counts(grid)
        assert bool((counts[wanted == 0] == 0).all())
        for frame, length in enumerate(grid.frames.length.tolist()):
            assert int(counts[frame]) == min(int(wanted[frame]), most_sinusoids(length))

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"estimator": "notch"}, "estimator is 'notch'; allowed: annihilating-filter, optimal-transport"),
            ({"estimator": "annihilating-filter", "initialisation": "random"}, "give only one of the two"),
            ({"estimator": "annihilating-filter", "model": "double-dutch"}, "use model='sine', or leave estimator out"),
        ],
    )
    def test_bad_settings_are_refused(self, given, said):
        with pytest.raises(OptionError, match=said):
            FitOptions().with_settings(given)


def test_steps_are_what_the_module_says():
    assert (annihilating_filter.STEPS, growing_windows.STEPS, optimal_transport.STEPS) == (100, 8, 40)
