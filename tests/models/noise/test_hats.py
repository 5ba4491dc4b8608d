"""Hats on dyadic divisions, against their definition written down."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddaudio.models.noise.hats import hat_energies, hat_products, nodes_of_hats, pack_places, unpack_places

ROUNDING = {"rtol": 0, "atol": 1e-12}
"""Float64: sums of some hundred terms of size 1."""


def hats(n_nodes: int) -> torch.Tensor:
    """Return each hat's values at the nodes, ``[hat, node]``, by the definition: named by its middle, with its support."""
    last = n_nodes - 1
    places = torch.arange(n_nodes, dtype=torch.float64)
    rows = [torch.ones(n_nodes, dtype=torch.float64)]
    for middle in range(1, last):
        half = middle & -middle  # the largest power of two that divides it
        rows.append((1 - (places - middle).abs() / half).clamp(min=0))
    rows.append(places / last)
    return torch.stack(rows)


SIZES = st.integers(0, 6).map(lambda power: (1 << power) + 1)


@settings(deadline=None)
@given(n_nodes=SIZES, seed=st.integers(0, 99))
def test_nodes_products_and_energies_are_those_of_the_hats(n_nodes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    heights, values, weights = (torch.rand(n_nodes, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    matrix = hats(n_nodes)
    torch.testing.assert_close(nodes_of_hats(heights), matrix.T @ heights, **ROUNDING)
    torch.testing.assert_close(hat_products(values), matrix @ values, **ROUNDING)
    torch.testing.assert_close(hat_energies(weights), matrix.square() @ weights, **ROUNDING)


@settings(deadline=None)
@given(places=st.sets(st.integers(0, 5000)))
def test_places_come_back_and_take_a_byte_each_where_they_are_dense(places: set[int]) -> None:
    rising = torch.tensor(sorted(places), dtype=torch.int64)
    packed = pack_places(rising)
    assert packed.dtype == torch.int32
    torch.testing.assert_close(unpack_places(packed), rising, rtol=0, atol=0)
    escapes = sum(gap // 255 for gap in torch.diff(rising, prepend=torch.tensor([-1])).sub(1).tolist())
    assert packed.numel() == -(-(len(rising) + escapes) // 4)


def test_heights_have_gradients() -> None:
    heights = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(nodes_of_hats, (heights,))
