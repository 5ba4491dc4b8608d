"""Schedules in closed form, pieces that grow, and shares of the rate."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sounds import pluck

from ddaudio.errors import OptionError
from ddaudio.fitting.plan import make_plan
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models import Budget, CascadeNetwork, Network, SineNetwork, SumNetwork, make_network
from ddaudio.models.partial_bank import PartialBankNetwork
from ddaudio.options import NETWORKS, CascadeOptions, DoubleDutchOptions, FitOptions, SirenOptions, StackOptions
from ddaudio.training.schedules import LATE_FLOOR, crop_at, grown, rate_factor, rate_shares, settled_from

RATE = 8000

WAVES = [name for name, spec in NETWORKS.items() if not spec.is_noise and spec.frames != "none"]
"""Networks in cells."""


def test_schedules_in_closed_form() -> None:
    assert [rate_factor("constant", step, 10) for step in (0, 9)] == [1.0, 1.0]
    assert rate_factor("cosine", 0, 10) == 1.0
    assert rate_factor("cosine", 5, 10) == pytest.approx(0.5)
    assert rate_factor("cosine", 9, 12) == pytest.approx(0.5 - math.sqrt(0.125))
    assert rate_factor("warm-up", 0, 80) == pytest.approx(1 / 8)
    assert rate_factor("warm-up", 40, 80) == pytest.approx(0.5)
    # Low for half of the steps, a quarter of the way up the cosine at 2/3, half at 3/4, at the top at the end.
    assert [rate_factor("rise", step, 12) for step in (0, 3, 5)] == pytest.approx([0.1, 0.1, 0.1])
    assert [rate_factor("rise", step, 12) for step in (7, 8, 11)] == pytest.approx([0.1 + 0.9 / 4, 0.1 + 0.9 / 2, 1.0])
    rising = [rate_factor("rise", step, 33) for step in range(33)]
    assert rising == sorted(rising)


@given(st.sampled_from(["constant", "cosine", "warm-up", "rise"]), st.integers(1, 500), st.data())
def test_a_rate_is_never_zero_nor_above_its_largest(schedule: str, steps: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < rate_factor(schedule, step, steps) <= 1  # type: ignore[arg-type]


def test_a_piece_doubles_until_it_is_the_whole() -> None:
    pieces = [grown(step, 8, 3, 1000) for step in range(8)]
    assert pieces == [(437, 562)] * 2 + [(375, 625)] * 2 + [(250, 750)] * 2 + [(0, 1000)] * 2
    assert [grown(step, 4, 3, 1000, "start") for step in range(4)] == [(0, 125), (0, 250), (0, 500), (0, 1000)]
    assert settled_from("constant", 8, 3) == 6
    assert (settled_from("constant", 80, 0), settled_from("rise", 80, 0), settled_from("rise", 80, 3)) == (0, 40, 60)


@given(st.integers(1, 60), st.integers(0, 16), st.integers(1, 5000), st.sampled_from(["middle", "start"]))
def test_pieces_hold_those_before_and_end_with_the_whole(steps: int, doublings: int, n_samples: int, start: str) -> None:
    pieces = [grown(step, steps, doublings, n_samples, start) for step in range(steps)]  # type: ignore[arg-type]
    assert all(0 <= first < last <= n_samples for first, last in pieces)
    for (first, last), (later_first, later_last) in pairwise(pieces):
        assert later_first <= first
        assert later_last >= last
    assert pieces[-1] == (0, n_samples)
    settled = settled_from("constant", steps, doublings)
    assert pieces[settled] == (0, n_samples)
    if n_samples > 1 << doublings:
        assert not settled or pieces[settled - 1] != (0, n_samples)


@given(st.integers(1, 500), st.integers(1, 600), st.data())
def test_a_crop_lies_inside_and_holds_its_sample(n_samples: int, length: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, n_samples - 1))
    first, last = crop_at(place, n_samples, length)
    assert 0 <= first <= place < last <= n_samples
    assert last - first == min(length, n_samples)


def networks() -> dict[str, Network]:
    """Every network, and a sum, with what it can learn."""
    target = pluck(0.25).samples
    own = {
        "cascade": CascadeOptions(phase="centred"),
        "double-dutch": DoubleDutchOptions(cutoffs="learned", depth=5),
        "stack": StackOptions(widths="4,2,1"),
        "siren": SirenOptions(widths="4,2,1"),
    }
    found: dict[str, Network] = {}
    for name in WAVES:
        network = make_network(name, TimeGrid.uniform(RATE, 1, 2000, 0.064, 0.0), own.get(name))
        network.initialise(target, Budget(40), "random", torch.Generator().manual_seed(0))
        found[name] = network
    return found | {"sum": SumNetwork(list(found.values()))}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [*WAVES, "sum"])
def test_layers_are_named_by_kinds(name: str) -> None:
    network = networks()[name]
    kinds = {kind for term in network.terms for kind in NETWORKS[term.name].kinds}
    for layer in network.layers(list(network.parameters())):
        pieces = layer.split(": ")[-1].split(", ")
        assert all(piece in kinds or piece.split()[0] in ("level", "layer") for piece in pieces), layer


@pytest.mark.parametrize("name", [*WAVES, "sum"])
def test_rates_hold_for_the_layers_of_their_name_and_no_others(name: str) -> None:
    network = networks()[name]
    parameters = list(network.parameters())
    assert rate_shares(network, {}, 0.0) is None
    shares = rate_shares(network, {"amplitude": 2.0, "frequency": 0.5, "level 2": 3.0}, 0.0)
    assert shares is not None
    assert [share.shape for share in shares] == [parameter.shape for parameter in parameters]
    for layer, parts in network.layers(shares).items():
        wanted = (2.0 if "amplitude" in layer else 1.0) * (0.5 if "frequency" in layer else 1.0)
        wanted *= 3.0 if layer.endswith("level 2") else 1.0
        assert all(bool((part == wanted).all()) for part in parts), layer


def test_a_tilt_goes_by_frequency() -> None:
    """Three octaves: rates go as the frequency to the tilt, about their geometric mean."""
    network = SineNetwork(TimeGrid.uniform(RATE, 1, 2000, 0.5, 0.0))
    hz = torch.tensor([100.0, 200.0, 400.0])
    tensors = {"frequency_hz": hz, "cosine": torch.ones(3), "sine": torch.ones(3)}
    network.from_tensors(tensors | {"partials_in_cell": torch.tensor([3], dtype=torch.int32)})
    for tilt in (-1.0, 0.5, 1.0):
        shares = rate_shares(network, {"frequency": 2.0}, tilt)
        assert shares is not None
        wanted = (hz / 200) ** tilt
        # Frequencies went through float32 radians.
        torch.testing.assert_close(shares[1], wanted, rtol=1e-5, atol=0)
        torch.testing.assert_close(shares[0], 2 * wanted, rtol=1e-5, atol=0)
    bounded = rate_shares(network, {}, -2.0)
    assert bounded is not None
    torch.testing.assert_close(bounded[0], torch.tensor([4.0, 1.0, 0.25]), rtol=1e-5, atol=0)


def test_a_tilt_stays_within_a_factor_of_ten() -> None:
    network = SineNetwork(TimeGrid.uniform(RATE, 1, 2000, 0.5, 0.0))
    tensors = {"frequency_hz": torch.tensor([0.0, 20.0, 4000.0]), "cosine": torch.ones(3), "sine": torch.ones(3)}
    network.from_tensors(tensors | {"partials_in_cell": torch.tensor([3], dtype=torch.int32)})
    shares = rate_shares(network, {}, -2.0)
    assert shares is not None
    assert (float(shares[0].min()), float(shares[0].max())) == pytest.approx((0.1, 10.0))
    assert bool(shares[0].isfinite().all()), "also of a partial at 0 Hz"


def test_a_tilt_knows_the_levels_of_a_tree() -> None:
    trees = networks()["double-dutch"]
    shares = rate_shares(trees, {}, 1.0)
    assert shares is not None
    for kind in ("amplitude", "cutoff"):
        found = [parts[0] for layer, parts in trees.layers(shares).items() if kind in layer]
        assert len(found) > 2
        for lower, higher in pairwise(found):
            # The waves of a level are an octave above those of the level before; all of a level move alike.
            torch.testing.assert_close(higher.flatten(), (2 * lower.flatten()[:1]).expand(higher.numel()))


def test_a_tilt_by_amplitude_is_the_share_of_the_mean() -> None:
    network = SineNetwork(TimeGrid.uniform(RATE, 1, 2000, 0.5, 0.0))
    tensors = {"frequency_hz": torch.tensor([200.0, 300.0, 400.0]), "cosine": torch.tensor([0.4, 0.0, 0.0])}
    tensors |= {"sine": torch.tensor([0.0, 0.1, 0.2]), "partials_in_cell": torch.tensor([3], dtype=torch.int32)}
    network.from_tensors(tensors)
    shares = rate_shares(network, {}, 0.0, 1.0)
    assert shares is not None
    for share in shares:  # the geometric mean of 0.4, 0.1 and 0.2 is 0.2; frequency, cosine and sine of a partial move alike
        torch.testing.assert_close(share, torch.tensor([2.0, 0.5, 1.0]), rtol=1e-5, atol=0)
    both = rate_shares(network, {"amplitude": 3.0}, 0.0, 1.0)
    assert both is not None
    torch.testing.assert_close(both[1], 3 * shares[1])


@pytest.mark.parametrize("name", WAVES)
def test_amplitudes_of_values_have_the_shapes_of_the_parameters(name: str) -> None:
    network = networks()[name]
    found = network.amplitudes_of_values()
    assert bool(found) == NETWORKS[name].has_frequencies
    if found:
        assert [one.shape for one in found] == [parameter.shape for parameter in network.parameters()]
        assert all(bool((one >= 0).all()) and bool(one.isfinite().all()) and not one.requires_grad for one in found)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.8])
def test_a_rise_begins_where_it_is_set_and_ends_at_the_whole_rate(share: float) -> None:
    factors = [rate_factor("rise", step, 100, share) for step in range(100)]
    low = [step for step, factor in enumerate(factors) if factor == LATE_FLOOR]
    assert low == list(range(round(100 * share)))
    assert factors[-1] == 1.0
    assert all(one < other for one, other in pairwise(factors[len(low) :]))
    assert settled_from("rise", 100, 0, share) == round(100 * share)


@pytest.mark.parametrize("name", WAVES)
def test_networks_say_their_frequencies_or_that_they_have_none(name: str) -> None:
    network = networks()[name]
    found = network.frequencies()
    assert bool(found) == NETWORKS[name].has_frequencies
    if found:
        assert [one.shape for one in found] == [parameter.shape for parameter in network.parameters()]
        assert all(bool((one >= 0).all()) and bool(one.isfinite().all()) and not one.requires_grad for one in found)


@pytest.mark.parametrize("name", ["sine", "cascade", "surrogate"])
def test_frequencies_of_partials_are_those_of_their_table(name: str) -> None:
    network = networks()[name]
    assert isinstance(network, PartialBankNetwork)
    order = torch.argsort(network.grid.order[network.layout.frame_of_partial], stable=True)
    hz = network.describe()["frequency_hz"]
    for parameter, frequency in zip(network.parameters(), network.frequencies(), strict=True):
        if parameter.numel() == hz.numel():
            # The way through float32 radians.
            torch.testing.assert_close(frequency.double()[order] * (RATE / (2 * math.pi)), hz, rtol=1e-6, atol=0)


def test_a_centre_has_the_mean_frequency_of_its_frame_and_an_empty_one_that_of_all() -> None:
    network = CascadeNetwork(TimeGrid.uniform(RATE, 1, 2000, 0.125, 0.0), CascadeOptions(phase="centred"))
    counts = torch.tensor([2, 0], dtype=torch.int32)
    stored = {"frequency_hz": torch.tensor([400.0, 100.0]), "amplitude": torch.ones(2), "phase_rad": torch.zeros(2)}
    network.from_tensors(stored | {"partials_in_cell": counts, "centre_rad": torch.zeros(2)})
    centre = network.frequencies()[2] * (RATE / (2 * math.pi))
    # Two octaves: their geometric mean lies an octave above the lower; float32.
    torch.testing.assert_close(centre, torch.tensor([200.0, 200.0]), rtol=1e-5, atol=0)
    counts = torch.tensor([2, 1], dtype=torch.int32)
    stored = {"frequency_hz": torch.tensor([400.0, 100.0, 3200.0]), "amplitude": torch.ones(3), "phase_rad": torch.zeros(3)}
    network.from_tensors(stored | {"partials_in_cell": counts, "centre_rad": torch.zeros(2)})
    centre = network.frequencies()[2] * (RATE / (2 * math.pi))
    torch.testing.assert_close(centre, torch.tensor([200.0, 3200.0]), rtol=1e-5, atol=0)
    shares = rate_shares(network, {}, 0.5)
    assert shares is not None
    amplitude, phase, centred, *_ = shares
    torch.testing.assert_close(phase, amplitude, rtol=0, atol=0)
    torch.testing.assert_close(centred[0].square(), phase[0] * phase[1], rtol=1e-5, atol=0)


@pytest.mark.parametrize("model", ["stack", "siren", "sine+stack"])
def test_a_tilt_is_refused_before_any_work_where_frequencies_are_unknown(model: str) -> None:
    with pytest.raises(OptionError, match=r"rate_tilt is -1.*, but parameters of (stack|siren) have no frequency"):
        make_plan(pluck(0.1), FitOptions().with_settings({"rate_tilt": -1, "model": model, "optimiser": "adam"}))


def test_a_tilt_needs_frequencies(monkeypatch: pytest.MonkeyPatch) -> None:
    network = networks()["sine"]
    monkeypatch.setattr(SineNetwork, "frequencies", Network.frequencies)
    with pytest.raises(OptionError, match=r"rate_tilt is -1.*, but parameters of this network have no frequency"):
        rate_shares(network, {}, -1.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"rates": "frequncy=1", "model": "sine"},
            "rates names 'frequncy', but sine has no such parameters; did you mean 'frequency'?",
        ),
        ({"rates": "cutoff=1"}, "known: amplitude, frequency"),
        ({"rates": "frequency=2", "model": "double-dutch"}, "known: amplitude, cutoff, level 1 to 24"),
        ({"rates": "phase=2", "model": "sine+double-dutch"}, "known: amplitude, cutoff, frequency, level 1 to 24"),
        ({"rates": "phase=2", "model": "surrogate"}, "known: amplitude, z"),
        ({"rates": "frequency=2", "model": "siren"}, "known: bias, layer 1 to 99, level, weight"),
    ],
)
def test_rates_of_what_no_network_has_are_refused_before_any_work(settings: dict[str, str], said: str) -> None:
    with pytest.raises(OptionError) as caught:
        make_plan(pluck(0.1), FitOptions().with_settings({**settings, "optimiser": "adam"}))
    assert said in str(caught.value)
    make_plan(pluck(0.1), FitOptions().with_settings({"rates": "level 1=2", "optimiser": "adam", "model": "double-dutch"}))
