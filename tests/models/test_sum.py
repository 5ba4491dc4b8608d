"""Sums of networks: what they say, their Jacobian, what is left out first, and what a file and a table of them hold."""

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import RATE, noise
from torch import Tensor

import ddaudio
from ddaudio.editing.render import render
from ddaudio.errors import ModelError
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Budget, DoubleDutchNetwork, FramedNetwork, Network, SineNetwork, SumNetwork
from ddaudio.models.file import load_model, model_bytes
from ddaudio.options import DoubleDutchOptions

N_SAMPLES = 2000
ROWS = [[512, 256, 128, 64, 64, 512, 512], [256, 64, 64, 128, 512, 512, 512]]
LEARNED = DoubleDutchOptions(depth=5, cutoffs="learned")
QUADRATURE = DoubleDutchOptions(depth=4, pair="quadrature")


def made(options: DoubleDutchOptions = LEARNED) -> SumNetwork:
    """Two networks that say nothing yet: partials in cells of many lengths, and trees in equal ones; two signals."""
    cells = TimeGrid.of_sizes(RATE, N_SAMPLES, ROWS, "gate")
    return SumNetwork([SineNetwork(cells), DoubleDutchNetwork(TimeGrid.uniform(RATE, 2, N_SAMPLES, 256 / RATE, 0.0), options)])


def fitted(options: DoubleDutchOptions = LEARNED) -> SumNetwork:
    """Each network fitted to noise of its own: 30 partials, and 50 ropes or about as many."""
    network = made(options)
    for seed, (term, most) in enumerate(zip(network.terms, (30, 50), strict=True)):
        term.initialise(noise(0.25, 2, seed), Budget(most), "peaks", torch.Generator())
    return network


def energy(signals: Tensor) -> float:
    return float(signals.detach().double().square().sum())


# --- what a sum is --------------------------------------------------------------------------------------------------


def test_a_sum_says_what_its_networks_say() -> None:
    network = fitted()
    one, two = network.terms
    assert torch.equal(network.estimate(), one.estimate() + two.estimate())
    assert one.estimate().any()
    assert two.estimate().any()
    assert (network.title, network.sample_rate, network.shape) == ("sine+double-dutch", RATE, (2, N_SAMPLES))
    assert network.n_prunable() == one.n_prunable() + two.n_prunable() == network.component_energies().numel()
    assert torch.equal(network.amplitudes(), torch.cat([one.amplitudes(), two.amplitudes()]))
    assert network.n_parameters() == one.n_parameters() + two.n_parameters()


def test_a_network_alone_is_a_sum_of_itself() -> None:
    network = fitted()
    for term, name in zip(network.terms, ("sine", "double-dutch"), strict=True):
        assert isinstance(term, FramedNetwork)
        assert term.terms == [term]
        assert (term.title, term.shape, term.sample_rate) == (name, (2, N_SAMPLES), RATE)


def test_gradients_reach_all_parameters_of_all_networks() -> None:
    network = fitted()
    (network.estimate() - noise(0.25, 2, 7)).square().sum().backward()
    assert len(list(network.parameters())) == 5
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) > 0


def test_layers_are_those_of_the_networks_with_their_places() -> None:
    network = fitted()
    (network.estimate() - noise(0.25, 2, 7)).square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norms, (sine, trees) = network.gradient_norms(gradients), network.terms
    own = {"1 sine": sine.gradient_norms(gradients[:3]), "2 double-dutch": trees.gradient_norms(gradients[3:])}
    assert norms == {f"{term}: {layer}": norm for term, layers in own.items() for layer, norm in layers.items()}
    assert {"1 sine: frequency", "1 sine: amplitude", "2 double-dutch: cutoff, level 1"} < set(norms)
    # Float64 sums in another order.
    assert math.hypot(*norms.values()) == pytest.approx(math.sqrt(sum(energy(gradient) for gradient in gradients)), rel=1e-9)


@given(seed=st.integers(0, 99))
@settings(deadline=None, max_examples=5)
def test_the_jacobian_is_that_of_the_networks_in_the_order_of_parameters(seed: int) -> None:
    network = fitted()
    generator = torch.Generator().manual_seed(seed)
    parameters = list(network.parameters())
    changes = [torch.randn(parameter.shape, generator=generator) for parameter in parameters]
    signals = torch.randn(2, N_SAMPLES, generator=generator)
    tangent, terms = network.jacobian(), [term.jacobian() for term in network.terms]
    own = [changes[:3], changes[3:]]
    there, here = tangent.forward(changes), tangent.adjoint(signals)
    assert torch.equal(there, terms[0].forward(own[0]) + terms[1].forward(own[1]))
    rows = [row for term in terms for row in term.adjoint(signals)]
    squares = [row for term in terms for row in term.squares()]
    assert [row.shape for row in here] == [parameter.shape for parameter in parameters]
    assert all(torch.equal(row, wanted) for row, wanted in zip(here, rows, strict=True))
    assert all(torch.equal(row, wanted) for row, wanted in zip(tangent.squares(), squares, strict=True))
    forward = float((there.double() * signals).sum())
    adjoint = sum(float((change.double() * row).sum()) for change, row in zip(changes, here, strict=True))
    # Float32: sums of 4000 products, some of them large.
    assert forward == pytest.approx(adjoint, rel=1e-3, abs=1e-5 * math.sqrt(energy(there) * energy(signals)))


def test_each_network_is_bounded_and_projected_by_its_own_rule() -> None:
    network = fitted()
    changes = [torch.full(parameter.shape, 9.0) for parameter in network.parameters()]
    bounded = network.clip_step(changes, 0.5)
    wanted = [*network.terms[0].clip_step(changes[:3], 0.5), *network.terms[1].clip_step(changes[3:], 0.5)]
    assert all(torch.equal(row, other) for row, other in zip(bounded, wanted, strict=True))
    # Frequencies and cutoffs are kept from jumping, amplitudes are not.
    assert [float(row.max()) for row in bounded] == [0.5, 9.0, 9.0, 9.0, 0.5]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1e6)
    network.project()
    sine, trees = network.terms
    assert float(sine.describe()["frequency_hz"].max()) == pytest.approx(RATE / 2)
    assert isinstance(trees, DoubleDutchNetwork)
    assert float(trees.cutoffs.max()) == 1


@pytest.mark.parametrize("keep", [0, 1, 7, 40, 10_000])
def test_what_is_kept_are_the_strongest_of_all_networks(keep: int) -> None:
    network = fitted()
    kept = network.pruned(min(keep, network.n_prunable()))
    assert isinstance(kept, SumNetwork)
    assert kept.n_prunable() == min(keep, network.n_prunable())
    assert len(kept.terms) == 2
    strongest = network.component_energies().sort(descending=True).values[:keep]
    # Units there and back: float32 rounding.
    torch.testing.assert_close(kept.component_energies().sort(descending=True).values, strongest, rtol=1e-5, atol=0)
    if not keep:
        assert not kept.estimate().any()
    if keep >= network.n_prunable():
        assert torch.allclose(kept.estimate(), network.estimate(), atol=1e-6)


def test_a_network_much_louder_than_another_is_kept_alone() -> None:
    network = fitted()
    with torch.no_grad():
        network.terms[0].cosine.mul_(1e-3)  # type: ignore[union-attr, operator]
        network.terms[0].sine.mul_(1e-3)  # type: ignore[union-attr, operator]
    kept = network.pruned(10)
    assert [term.n_prunable() for term in kept.terms] == [0, 10]


# --- files ----------------------------------------------------------------------------------------------------------


def test_stored_and_restored_it_is_the_same() -> None:
    network, copy = fitted(), made()
    stored = network.to_tensors()
    assert {name.partition(".")[0] for name in stored} == {"0", "1"}
    assert {name for name in stored if name.startswith("1.")} == {f"1.{name}" for name in network.terms[1].to_tensors()}
    copy.from_tensors(stored)
    # A frequency goes through Hz in float32 (1e-7 relative), and phase grows with 512 samples: a few 1e-5.
    assert torch.allclose(copy.estimate(), network.estimate(), atol=5e-5)


DAMAGES: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "no place": (lambda t: t.update(sine=t.pop("0.sine")), "'sine' belongs to none of the 2 networks"),
    "no such place": (lambda t: t.update({"2.sine": t.pop("0.sine")}), "'2.sine' belongs to none of the 2 networks"),
    "a place below 0": (lambda t: t.update({"-1.sine": t.pop("0.sine")}), "'-1.sine' belongs to none"),
    "a place in words": (lambda t: t.update({"one.sine": t.pop("0.sine")}), "'one.sine' belongs to none"),
    "the other network": (lambda t: t.update({"1.sine": t.pop("0.sine")}), "holds the tensors"),
    "a tensor missing": (lambda t: t.pop("1.shape"), "holds the tensors"),
    "a name of its own": (lambda t: t.update({"0.more": torch.zeros(1)}), "holds the tensors"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_names_are_refused(name: str) -> None:
    change, message = DAMAGES[name]
    tensors = fitted().to_tensors()
    change(tensors)
    with pytest.raises(ModelError, match=message):
        made().from_tensors(tensors)


def loaded(network: Network, folder: Path) -> Network:
    (folder / "model.safetensors").write_bytes(model_bytes(network))
    return load_model(folder)


@pytest.mark.parametrize("options", [LEARNED, QUADRATURE], ids=["learned", "quadrature"])
def test_a_sum_comes_back_from_its_file(options: DoubleDutchOptions, tmp_path: Path) -> None:
    network = fitted(options)
    network.from_tensors(network.to_tensors())  # as a fit does it: then the file changes nothing more
    again = loaded(network, tmp_path)
    assert isinstance(again, SumNetwork)
    assert again.title == network.title
    assert [term.grid.window for term in again.terms] == ["gate", "hann"]
    assert [term.settings() for term in again.terms] == [term.settings() for term in network.terms]
    assert again.n_parameters() == network.n_parameters()
    # Once rounded to a file's units, a rounding more or less of the last digit.
    assert torch.allclose(again.estimate(), network.estimate(), atol=1e-5)


def test_a_sum_of_three_with_one_that_is_empty(tmp_path: Path) -> None:
    one, two, three = fitted().terms[1], made().terms[0], fitted().terms[0]
    network = SumNetwork([one, two, three])
    again = loaded(network, tmp_path)
    assert again.title == "double-dutch+sine+sine"
    assert [term.n_prunable() for term in again.terms] == [one.n_prunable(), 0, three.n_prunable()]
    assert torch.allclose(again.estimate(), network.estimate(), atol=5e-5)
    assert network.pruned(3).n_prunable() == 3


# --- tables and sound -----------------------------------------------------------------------------------------------


def test_a_table_has_nan_where_a_network_says_nothing() -> None:
    network = fitted()
    table, (sine, trees) = network.describe(), (term.describe() for term in network.terms)
    assert next(iter(table)) == "network"
    assert set(table) == {"network", *sine, *trees}
    assert {len(column) for column in table.values()} == {network.n_prunable()}
    count = len(sine["signal"])
    assert table["network"].tolist() == [0] * count + [1] * len(trees["signal"])
    for name, column in table.items():
        for rows, own in ((slice(None, count), sine), (slice(count, None), trees)):
            if name in own:
                assert torch.equal(column[rows].double(), own[name].double())
            elif name != "network":
                assert bool(column[rows].isnan().all())
    # What both have stays of its type: a signal is a whole number.
    assert table["signal"].dtype == torch.int64
    assert "phase_rad" not in trees
    assert "phase_rad" in fitted(QUADRATURE).terms[1].describe()


def test_exported_there_is_null_or_an_empty_cell() -> None:
    network = fitted()
    table = network.describe()
    rows = json.loads(ddaudio.partials_table(network, "json"))
    table |= {"window": [network.terms[one].grid.window for one in table["network"].tolist()]} | {
        name: torch.full((len(rows),), value)
        for name, value in {"sample_rate": RATE, "n_samples": network.shape[1], "n_signals": network.shape[0]}.items()
    }
    cells = list(csv.DictReader(io.StringIO(ddaudio.partials_table(network, "csv"))))
    assert len(rows) == len(cells) == network.n_prunable()
    for place, (row, cell) in enumerate(zip(rows, cells, strict=True)):
        assert list(row) == list(cell)
        assert [name for name in row if name != "harmonic"] == list(table)
        assert [name for name, value in row.items() if value is None] == (
            ["track", "harmonic", "phase_rad"] if row["network"] else ["level", "address"]
        )
        assert (row.pop("harmonic") is None) == bool(row["network"])  # `tests/analysis/test_pitch.py` has its values
        for name, value in row.items():
            assert cell[name] == ("" if value is None else str(value))
            assert value is None or value == table[name][place]


@pytest.mark.parametrize("rate", [RATE, 16_000, 6000])
def test_a_sum_is_rendered_as_the_sum_of_its_networks(rate: int) -> None:
    network = fitted()
    sound = render(network, rate)[:, :]
    assert sound.shape == (2, math.ceil(N_SAMPLES * rate / RATE))
    assert torch.equal(sound, sum(render(term, rate)[:, :] for term in network.terms))
    if rate == RATE:
        assert torch.equal(sound, network.estimate().detach())


def test_rendered_with_some_parts_it_is_that_of_the_strongest() -> None:
    network = fitted()
    assert torch.equal(render(network, partials=12)[:, :], network.pruned(12).estimate().detach())
    assert not render(network, partials=0)[:, :].any()
