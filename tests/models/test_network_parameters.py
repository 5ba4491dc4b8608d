"""Parameters of the whole network: trained, stored, counted and joined like those of components and frames."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import ladder
import pytest
import torch
from extensions import install, site_packages
from ladder import HARMONICS, LadderNetwork

import ddaudio
from ddaudio.analysis.budget import Budget
from ddaudio.errors import ModelError
from ddaudio.fitting import plan as planning
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import ComponentNetwork, Parameter
from ddaudio.models.jacobian import AutomaticJacobian
from ddaudio.models.partial_bank import FREQUENCY
from ddaudio.options import NETWORKS

RATE, BASE_HZ = 8000, 220.0


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with site_packages(tmp_path / "site", monkeypatch, [NETWORKS]) as site:
        install(site, "ladder", "ddaudio.networks", "ladder", Path(ladder.__file__).read_text(encoding="utf-8"))
        NETWORKS.refresh()
        yield


def harmonics(duration_s: float = 0.2) -> torch.Tensor:
    """Three harmonics of `BASE_HZ`, the second rising."""
    time = torch.arange(round(duration_s * RATE)).double() / RATE
    turn = 2 * math.pi * BASE_HZ * time
    return (0.5 * turn.cos() + 0.3 * time / duration_s * (2 * turn).sin() + 0.1 * (3 * turn + 1).cos())[None].float()


def started(n_samples: int = 400, channels: int = 2) -> LadderNetwork:
    grid = TimeGrid.uniform(RATE, channels, n_samples, 0.02)
    network = LadderNetwork(grid)
    network.initialise(torch.zeros(channels, n_samples), Budget(10_000), "peaks", torch.Generator())
    return network


def test_one_frequency_is_learned_for_all_frames_and_comes_back_from_its_file(tmp_path: Path) -> None:
    recording = ddaudio.Recording(harmonics(), RATE)
    budget = 100
    result = ddaudio.fit(recording, model="ladder", budget=budget, frame_s=0.04, steps=40, exchanges=0)
    stored = result.network.to_tensors()
    assert stored["base_hz"].shape == (1,)
    # The amplitude that rises within a frame is all that the model cannot say.
    assert float(stored["base_hz"]) == pytest.approx(BASE_HZ, abs=0.1)
    assert result.snr_db is not None
    assert result.snr_db > 40
    frames = result.network.terms[0].grid.n_frames
    assert result.n_parameters == 1 + frames + 2 * HARMONICS * frames <= budget
    ddaudio.save_fit(result, tmp_path / "fit", html=False)
    loaded = ddaudio.load_model(tmp_path / "fit")
    assert torch.equal(loaded.estimate(), result.network.estimate())
    table = loaded.describe()
    assert table["base_hz"].tolist() == pytest.approx([float(stored["base_hz"])] * frames)


def test_squares_of_the_jacobian_are_those_of_explicit_columns() -> None:
    network = started(160).double()
    parameters = list(network.parameters())
    squares = [torch.zeros_like(one) for one in parameters]
    for sample in network.estimate().flatten():
        rows = torch.autograd.grad(sample, parameters, retain_graph=True)
        squares = [total + row.square() for total, row in zip(squares, rows, strict=True)]
    assert float(squares[0]) > 0
    for one, wanted in zip(AutomaticJacobian(network, exact_probes=10**6).squares(), squares, strict=True):
        torch.testing.assert_close(one, wanted.detach(), rtol=1e-9, atol=1e-14)  # float64


def test_it_has_a_layer_a_frequency_and_bounds_of_its_own() -> None:
    network = started()
    assert [part.shape for part in network.layers(list(network.parameters()))["base"]] == [(1,)]
    with torch.no_grad():
        network.base.fill_(1e9)
    network.project()
    assert float(network.natural()["base"]) == pytest.approx(math.pi)
    assert network.at_bounds().held == 1
    tensors = started().to_tensors()
    with pytest.raises(ModelError, match="base_hz must be from 0 to 4000 Hz"):
        network.from_tensors({**tensors, "base_hz": torch.tensor([4001.0])})
    with pytest.raises(ModelError, match="base_hz must be 1 float32"):
        network.from_tensors({**tensors, "base_hz": torch.tensor([100.0, 100.0])})


class GainNetwork(ComponentNetwork):
    """Partials with a gain of the whole network."""

    name = "gain"
    PARAMETERS = (FREQUENCY, Parameter("amplitude", "full scale", scale=0.1), Parameter("gain", per="network"))

    def waveforms(self, values: Mapping[str, torch.Tensor], position: torch.Tensor) -> torch.Tensor:
        level = values["gain"] * values["amplitude"]
        return level[:, None] * torch.cos(values["frequency"][:, None] * position)

    def initialise(self, *_: object) -> None:
        values = {"frequency": torch.tensor([0.1, 0.4, 0.2]), "amplitude": torch.ones(3), "gain": torch.ones(1)}
        self.set_components(torch.tensor([1, 2]), values)


def test_its_frequency_is_the_geometric_mean_of_all() -> None:
    network = GainNetwork(TimeGrid.uniform(RATE, 1, 320, 0.02, 0.0))
    assert [part.tolist() for part in network.frequencies()] == [[], [], [1.0]]
    network.initialise()
    *own, gain = network.frequencies()
    assert all(part.tolist() == pytest.approx([0.1, 0.4, 0.2]) for part in own)
    assert gain.tolist() == pytest.approx([(0.1 * 0.4 * 0.2) ** (1 / 3)])


def test_parts_keep_it_and_parts_that_differ_are_not_joined() -> None:
    network, other = started(), started()
    assert torch.equal(network.pruned(1).natural()["base"], network.natural()["base"])
    cells = torch.arange(network.grid.n_frames)
    first, second = (torch.where(cells % 2 == place, cells, -1) for place in (0, 1))
    joined = network.regridded(network.grid, [(network, first), (other, second)])
    torch.testing.assert_close(joined.estimate(), network.estimate(), rtol=0, atol=1e-6)  # float32, through natural units
    with torch.no_grad():
        other.base.mul_(1.01)
    with pytest.raises(ValueError, match="different values of 'base'"):
        network.regridded(network.grid, [(network, first), (other, second)])


def test_a_long_recording_is_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "BLOCK_SAMPLES", 4096)
    recording = ddaudio.Recording(harmonics(4.0), RATE)
    ranges = {
        model: len(ddaudio.plan_fit(recording, model=model, frame_s=0.02).stages[0].blocks.ranges) for model in ("sine", "ladder")
    }
    assert ranges["sine"] > 1
    assert ranges["ladder"] == 1
