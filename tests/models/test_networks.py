"""The networks cascade, surrogate, stack and siren: what each is by definition, and fits from end to end."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sounds import RATE, noise, pluck, tones
from sounds import fit_waves as fit

import ddaudio
from ddaudio.analysis.partials import Partials
from ddaudio.editing.render import render
from ddaudio.errors import OptionError
from ddaudio.fitting.plan import make_plan
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Samples
from ddaudio.models import Budget, CascadeNetwork, SineNetwork, SirenNetwork, StackNetwork, SurrogateNetwork
from ddaudio.models.file import model_bytes
from ddaudio.options import CascadeOptions, FitOptions, SirenOptions, StackOptions
from ddaudio.report import save as saving
from ddaudio.training.gauss_newton import GaussNewton

FITS: dict[str, dict[str, Any]] = {
    "cascade": {"model": "cascade"},
    "octave": {"model": "cascade", "ladder": "octave", "frame_s": 0.02},
    "linear": {"model": "cascade", "ladder": "linear", "frame_s": 0.02},
    "above-nyquist": {"model": "cascade", "ladder": "above-nyquist"},
    "centred": {"model": "cascade", "phase": "centred"},
    "greedy": {"model": "cascade", "greedy": True},
    "tanh": {"model": "cascade", "activation": "tanh", "layer_decay": 0.98, "partials": 3, "steps": 10},
    "local": {"model": "cascade", "local": True, "partials": 3, "steps": 10, "exchanges": 0},
    "surrogate": {"model": "surrogate"},
    "stack": {"model": "stack", "steps": 20},
    "siren": {"model": "siren", "steps": 20},
    "sum": {"model": "sine+siren", "steps": 5},
    "whole": {"model": "stack", "whole": True, "widths": "20,4,1", "steps": 5},
}


@pytest.fixture(scope="module", params=FITS)
def fitted(request: pytest.FixtureRequest) -> ddaudio.FitResult:
    return fit(pluck(), **FITS[request.param])


def whole(samples: Samples) -> torch.Tensor:
    return samples[:, :]


def test_a_fit_comes_back_from_its_files(fitted: ddaudio.FitResult, tmp_path: Path) -> None:
    saving.save_fit(fitted, tmp_path / "fit", html=False)
    network = ddaudio.load_model(tmp_path / "fit")
    # Float32 values in natural units there and back, through sines of phases of some hundred radians.
    assert torch.allclose(whole(render(network)), whole(fitted.estimate), atol=1e-4)
    assert network.n_parameters() == fitted.n_parameters
    assert network.n_components() == fitted.network.n_components() > 0
    again = fit(pluck(), FitOptions().with_settings(ddaudio.options.read_settings(tmp_path / "fit" / "fit.toml")))
    assert again.snr_db == fitted.snr_db
    # At twice the rate every other sample is one of the old, but for windows that end between samples.
    double = whole(render(network, 2 * RATE))[:, ::2]
    inside = slice(400, -400)
    difference = (double - whole(fitted.estimate))[:, inside].square().mean().sqrt()
    assert float(difference) < 1e-3 * float(whole(fitted.estimate).square().mean().sqrt()) + 1e-4


def test_a_tree_with_sine_leaves_is_fitted_again_from_its_own_settings(tmp_path: Path) -> None:
    """Its model is a network of partials with the window of a gate, and its settings those of a tree."""
    result = fit(pluck(0.1), model="double-dutch", leaves="sine", steps=3)
    saving.save_fit(result, tmp_path / "fit", html=False)
    options = FitOptions().with_settings(ddaudio.options.read_settings(tmp_path / "fit" / "fit.toml"))
    assert options == result.options
    assert options.grid.window == "gate"
    again = fit(pluck(0.1), options)
    assert model_bytes(again.network) == (tmp_path / "fit" / "model.safetensors").read_bytes()


def test_a_fit_is_better_than_silence(fitted: ddaudio.FitResult) -> None:
    assert fitted.snr_db is not None
    assert fitted.snr_db > 0.5 or fitted.status == "not fitted"
    assert fitted.stages[0].blocks[0][0].evaluations[-1].gradients


@pytest.mark.parametrize("model", ["cascade", "surrogate"])
def test_partials_reach_a_goal_and_stop(model: str) -> None:
    result = fit(pluck(), model=model, target_snr_db=15)
    assert 15 <= result.snr_db < 17


def test_budgets_are_kept_by_all_networks() -> None:
    for model in ("cascade", "surrogate", "stack", "siren"):
        for numbers in (150, 900):
            result = fit(pluck(), model=model, budget=numbers, steps=0)
            assert 0.5 * numbers < result.n_parameters <= numbers, model


def test_silent_frames_of_stack_and_siren_take_no_numbers() -> None:
    sound = torch.zeros(2, 8000)
    sound[:, 3000:4000] = noise(0.125, channels=2)
    for model in ("stack", "siren"):
        result = fit(Recording(sound, RATE, "burst.wav"), model=model, budget=800, steps=0)
        assert result.n_parameters > 500
        assert not whole(result.estimate)[:, :2400].any()


def test_a_long_recording_is_fitted_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ddaudio.fitting.plan.BLOCK_SAMPLES", 2000)
    for model in ("cascade", "surrogate", "stack", "siren"):
        result = fit(Recording(noise(1.0), RATE, "noise.wav"), model=model, frame_s=0.03, budget=2000, steps=2, exchanges=0)
        assert len(result.stages[0].blocks) > 1
        assert result.n_parameters <= 2000
        # The whole network says what its blocks did: float32 sums in another order.
        assert torch.allclose(result.network.estimate(), whole(result.estimate), atol=1e-4)


# --- cascade --------------------------------------------------------------------------------------------------------


def test_octaves_and_linear_ladders_have_their_frequencies() -> None:
    target = noise(0.032)
    network = CascadeNetwork(TimeGrid.of_sizes(RATE, 256, [[256]]), CascadeOptions(ladder="octave"))
    network.initialise(target, Budget(100), "peaks", torch.Generator())
    np.testing.assert_allclose(network.describe()["frequency_hz"].numpy(), [RATE / 2**k for k in range(1, 9)], rtol=1e-6)
    network = CascadeNetwork(TimeGrid.of_sizes(RATE, 256, [[256]]), CascadeOptions(ladder="linear"))
    network.initialise(target, Budget(4), "peaks", torch.Generator())
    np.testing.assert_allclose(network.describe()["frequency_hz"].numpy(), [3500, 2500, 1500, 500], rtol=1e-6)


def test_a_wave_above_nyquist_is_its_alias_and_trains_like_it() -> None:
    """On whole samples the same signal, the same gradient but for its sign: each step of descent is the same."""
    target, size = noise(0.1), Budget(20)
    grids = [TimeGrid.of_sizes(RATE, 800, [[200, 100, 100, 400]]) for _ in range(2)]
    plain, above = (CascadeNetwork(g, CascadeOptions(ladder=x)) for g, x in zip(grids, ("free", "above-nyquist"), strict=True))
    energies = []
    for network in (plain, above):
        network.initialise(target.double(), size, "peaks", torch.Generator())
        descent = GaussNewton(network, target.double())
        energies.append([descent.energy, *(descent.energy for _ in range(3) if descent.step())])
    np.testing.assert_allclose(energies[0], energies[1], rtol=1e-6)
    own = above.to_tensors()["frequency_hz"]
    assert float(own.min()) >= RATE / 2
    # A table and a rendering at another rate speak of what is heard.
    assert float(above.describe()["frequency_hz"].max()) <= RATE / 2


def test_distance_from_the_cost_changes_no_gradient_in_a_pure_sum() -> None:
    """The gradient of each layer is that of a bank without layers; with a decay it shrinks layer by layer."""
    target = noise(0.032)
    grid = TimeGrid.of_sizes(RATE, 256, [[256]])
    gradients = []
    for decay in (1.0, 0.9):
        network = CascadeNetwork(grid, CascadeOptions(layer_decay=decay))
        network.initialise(target, Budget(5), "peaks", torch.Generator())
        (network.estimate() - 2 * target).square().sum().backward()
        gradients.append(network.amplitude.grad.clone() / network.unit)
    bank = SineNetwork(grid)
    bank.replace_partials(network.partials)
    (bank.estimate() - 2 * target).square().sum().backward()
    phase = network._phases().detach()
    cosine, sine = (part.grad / bank.unit for part in (bank.cosine, bank.sine))
    torch.testing.assert_close(gradients[0], torch.cos(phase) * cosine - torch.sin(phase) * sine, rtol=1e-3, atol=1e-3)
    factors = torch.tensor([0.9**after for after in (4, 3, 2, 1, 0)])
    torch.testing.assert_close(gradients[1], gradients[0] * factors, rtol=1e-3, atol=1e-3)


def test_layers_climb_by_their_formula() -> None:
    options = CascadeOptions(activation="tanh", layer_decay=0.95)
    network = CascadeNetwork(TimeGrid.of_sizes(RATE, 256, [[256]]), options)
    network.initialise(0.5 * torch.sign(noise(0.032)), Budget(4), "peaks", torch.Generator())
    stored = {name: tensor.double().numpy() for name, tensor in network.to_tensors().items()}
    d = np.arange(256) - 127.5
    total = np.zeros(256)
    for hz, amplitude, phase in zip(*(stored[name] for name in ("frequency_hz", "amplitude", "phase_rad")), strict=True):
        total = 0.95 * np.tanh(total) + amplitude * np.cos(2 * math.pi * hz / RATE * d + phase)
    # Float32 sums of a few waves of about 0.5.
    np.testing.assert_allclose(network.estimate()[0].detach().numpy(), total, atol=1e-5)
    assert bool((np.diff(stored["frequency_hz"]) <= 0).all()), "the highest frequency comes first"


def test_a_local_layer_learns_from_its_own_loss_alone() -> None:
    target = noise(0.032)
    network = CascadeNetwork(TimeGrid.of_sizes(RATE, 256, [[256]]), CascadeOptions(local=True))
    network.initialise(target, Budget(4), "peaks", torch.Generator())
    estimates = network.estimates()
    assert len(estimates) == 4
    torch.testing.assert_close(estimates[-1], network.estimate())
    for layer, estimate in enumerate(estimates):
        network.zero_grad()
        (estimate - 2 * target).square().sum().backward(retain_graph=True)
        reached = network.amplitude.grad.abs() > 0
        assert reached.tolist() == [other == layer for other in range(4)]


# --- surrogate ------------------------------------------------------------------------------------------------------


def test_a_damped_tone_is_found_with_its_decay() -> None:
    n = torch.arange(800, dtype=torch.float64)
    target = (0.5 * torch.exp(-0.01 * n) * torch.cos(0.7 * n + 0.4))[None]
    network = SurrogateNetwork(TimeGrid.of_sizes(RATE, 800, [[800]]))
    network.initialise(target, Budget(1), "peaks", torch.Generator())
    descent = GaussNewton(network, target)
    for _ in range(60):
        descent.step()
    table = network.describe()
    # Float64 least squares on a signal that the model can say: limited by the steps alone.
    assert float(table["decay_per_s"]) == pytest.approx(0.01 * RATE, rel=1e-4)
    assert float(table["frequency_hz"]) == pytest.approx(0.7 * RATE / (2 * math.pi), rel=1e-6)
    assert float(table["amplitude"]) == pytest.approx(0.5, rel=1e-4)
    assert float(table["phase_rad"]) == pytest.approx(0.4, abs=1e-4)


def test_exponentials_are_powers_of_z_and_stay_within_the_circle() -> None:
    network = SurrogateNetwork(TimeGrid.of_sizes(RATE, 64, [[64]]))
    columns = (torch.tensor(row, dtype=torch.float64) for row in ([0.3, 2.0], [0.5, -0.2], [0.1, 0.4], [0.05, 0.0]))
    network.replace_partials(Partials(torch.tensor([0, 0]), *columns))
    z = torch.complex(network.real * network.step_rad, network.imaginary * network.step_rad).detach()
    c = torch.complex(network.cosine, -network.sine).detach() * network.unit
    wanted = (c[:, None] * z[:, None] ** torch.arange(64)).real.sum(0)
    torch.testing.assert_close(network.estimate()[0].detach(), wanted, rtol=1e-9, atol=1e-12)  # float64
    with torch.no_grad():
        network.real.mul_(3)
        network.imaginary.mul_(3)
    network.project()
    modulus = torch.hypot(network.real * network.step_rad, network.imaginary * network.step_rad).detach()
    assert float(modulus.max()) <= 1 + 1e-12


# --- stack and siren ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("positive", ["softplus", "relu", "project"])
@pytest.mark.parametrize("pass_on", [False, True])
def test_a_stack_is_sines_of_sums_of_sines(positive: str, pass_on: bool) -> None:
    options = StackOptions(widths="5,3,1", positive=positive, pass_on=pass_on, span="4,7")
    network = StackNetwork(TimeGrid.of_sizes(RATE, 128, [[128]]), options)
    network.initialise(noise(0.016).double(), Budget(1000), "random", torch.Generator().manual_seed(1))
    values = {name: value.detach().numpy()[0] for name, value in network.values().items()}
    x, passed = np.linspace(4, 7, 128), (0.0, 0.0)
    for layer in (1, 2, 3):
        frequency, phase = values[f"frequency_{layer}"], values[f"phase_{layer}"]
        assert min(frequency.min(), phase.min()) >= 0
        if pass_on:
            frequency, phase = frequency + passed[0], phase + passed[1]
            passed = frequency.mean(), phase.mean()
        x = (values[f"amplitude_{layer}"] * np.sin(frequency * x[:, None] + phase)).sum(1)
    # Float64, with phases of some hundred radians.
    np.testing.assert_allclose(network.estimate()[0].detach().numpy(), x, atol=1e-9)


def test_a_stack_begins_as_a_bank_of_its_peaks() -> None:
    target = tones([500.0, 1200.0], [0.3, 0.2], [0.4, 1.0], 0.1)
    network = StackNetwork(TimeGrid.of_sizes(RATE, 800, [[800]]), StackOptions(widths="2,2,1"))
    network.initialise(target, Budget(1000), "peaks", torch.Generator())
    left = float((network.estimate() - target).detach().square().sum() / target.square().sum())
    # Two layers that bend by up to 1 % each.
    assert left < 1e-3


def test_siren_is_the_published_network() -> None:
    options = make_plan(
        pluck(), FitOptions().with_settings({"model": "siren", "whole": True, "widths": "256,256,256,256"})
    ).options.network("siren")
    network = SirenNetwork(TimeGrid.of_sizes(RATE, 256, [[256]]), options)
    network.initialise(noise(0.032), Budget(10**6, n_parameters=10**6), "peaks", torch.Generator().manual_seed(0))
    values = {name: value.detach().double().numpy()[0] for name, value in network.values().items()}
    # 5 layers: 1 to 256, three times 256 to 256, 256 to 1; and the level.
    assert sum(value.size for value in values.values()) == 512 + 3 * (256 * 256 + 256) + 257 + 1
    x = np.linspace(-100, 100, 256)[:, None]
    for layer in range(1, 5):
        x = np.sin(30 * (x @ values[f"weight_{layer}"].T + values[f"bias_{layer}"]))
    said = values["level"] * (x @ values["weight_5"].T + values["bias_5"])[:, 0]
    # Float32 phases of up to 3,000 radians err by 2e-4 and pass through three layers more.
    np.testing.assert_allclose(network.estimate()[0].detach().numpy(), said, atol=5e-3 * values["level"])
    for layer, bound in ((1, 1.0), *((layer, math.sqrt(6 / 256) / 30) for layer in range(2, 6))):
        weights = np.abs(values[f"weight_{layer}"])
        # The largest of n uniform values is below its bound by about bound / n.
        assert 0.97 * bound < weights.max() <= bound * (1 + 1e-6)
        assert weights.mean() == pytest.approx(bound / 2, rel=0.1)


def test_siren_computed_piece_by_piece_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    network = SirenNetwork(TimeGrid.uniform(RATE, 1, 800, 0.05, 0.1), SirenOptions(widths="8,8", span="-5,5"))
    network.initialise(noise(0.1), Budget(10**6), "peaks", torch.Generator().manual_seed(0))
    found = []
    for units in (1 << 26, 700):
        monkeypatch.setattr("ddaudio.models.siren.PIECE_UNITS", units)
        network.zero_grad()
        estimate = network.estimate()
        estimate.square().sum().backward()
        found.append([estimate.detach(), network.weight_1.grad.clone()])
    # The same sums in another order, float32.
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": "cascad"}, "did you mean 'cascade'"),
        ({"model": "cascade", "ladder": "octav"}, "did you mean 'octave'"),
        ({"model": "sine", "ladder": "octave"}, "ladder is 'octave' and model is 'sine', but it is a setting of cascade"),
        ({"model": "sine", "whole": True}, "it is a setting of cascade or surrogate or stack or siren"),
        ({"model": "stack", "omega": 20.0}, "it is a setting of siren"),
        ({"model": "cascade", "local": True, "optimiser": "gauss-newton"}, "error of the sum.*use optimiser='adam'"),
        ({"model": "siren", "partials": 3}, "give budget or target_snr_db in place of partials"),
        (
            {"model": "siren", "widths": "256,256", "budget": 100},
            "budget is 100, but these widths take 66562 parameters in each frame",
        ),
        ({"model": "stack", "widths": "10,5"}, "widths is '10,5'; allowed: of stack, widths that end with one unit"),
        ({"model": "stack", "widths": "10,x,1"}, "numbers separated by commas"),
        ({"model": "stack", "widths": "10,2.5,1"}, "whole numbers from 1 to 4096"),
        ({"model": "stack", "widths": "0,1"}, "whole numbers from 1 to 4096"),
        ({"model": "stack", "span": "7,4"}, "two rising numbers"),
        ({"model": "stack", "span": "4"}, "two rising numbers"),
        ({"model": "cascade", "layer_decay": 0.5}, "allowed: 0.9 to 1"),
        ({"model": "cascade", "greedy": "yes"}, "allowed: true or false"),
        (
            {"model": "cascade", "greedy": True, "initialisation": "random"},
            "greedy is True and initialisation is 'random', but a greedy cascade has its own initialisation",
        ),
        ({"model": "cascade", "whole": True, "frame_s": 0.1}, "whole is True and frame_s is 0.1"),
        ({"model": "siren", "initialisation": "equal"}, "siren is always initialised at random, as published"),
        ({"model": "noise", "initialisation": "random"}, "but noise has no frequencies"),
        (
            {"model": "double-dutch", "reading": "binary", "initialisation": "random"},
            "initialisation is 'random' and reading is 'binary', but its amplitudes are always initialised by least squares",
        ),
        ({"model": "double-dutch", "ropes": "square", "cutoffs": "learned"}, "same for all cutoffs; use ropes='cosine'"),
        (
            {"model": "cascade", "rates": "layer 17=2", "optimiser": "adam"},
            "did you mean 'layer 1 to 16'",
        ),
        ({"model": "sine", "rates": "layer 1=2", "optimiser": "adam"}, "rates names 'layer 1', but sine has no such parameters"),
        ({"model": "double-dutch", "rates": "layer 1=2", "optimiser": "adam"}, "level 1 to 24"),
        ({"model": "stack", "rates": "level 1=2"}, "layer 1 to 99"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(given: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        fit(pluck(), **given)
    assert "\n" not in str(caught.value)


def test_a_recording_too_long_for_one_frame_is_refused() -> None:
    with pytest.raises(OptionError, match=r"lasts 61\.0 s; allowed: recordings of up to 60 s; give frame_s"):
        fit(Recording(torch.zeros(1, 61 * 1000), 1000, "long.wav"), model="siren", whole=True)
