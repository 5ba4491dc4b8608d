"""The code of a division: a bit a cell, against a tree that is walked here, and back."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ddaudio.errors import ModelError
from ddaudio.grid.coding import WORD, decode, encode
from ddaudio.grid.time_grid import TimeGrid


@st.composite
def trees(draw):
    """Smallest cell, levels, length, and for each signal its trees: True for a cell, else a pair."""
    smallest, levels = 2 * draw(st.integers(1, 20)), draw(st.integers(1, 5))
    n_samples = draw(st.integers(1, 6 * smallest << (levels - 1)))

    def grown(first, level):
        """A tree over ``smallest << level`` samples; nothing beyond the end."""
        if first >= n_samples:
            return None
        if level == 0 or draw(st.booleans()):
            return True
        return grown(first, level - 1), grown(first + (smallest << (level - 1)), level - 1)

    largest = smallest << (levels - 1)
    rows = [
        [grown(root * largest, levels - 1) for root in range(math.ceil(n_samples / largest))]
        for _ in range(draw(st.integers(1, 3)))
    ]
    return smallest, levels, n_samples, rows


def leaves(tree, size):
    """Sizes of the cells of a tree."""
    if tree is None:
        return []
    return [size] if tree is True else [*leaves(tree[0], size // 2), *leaves(tree[1], size // 2)]


def bits_of(tree, size, smallest, largest):
    """The code of a tree as the head of `encode` has it; cells above the largest that there is have no bit."""
    if tree is None or size <= smallest:
        return []
    below = (
        [] if tree is True else [*bits_of(tree[0], size // 2, smallest, largest), *bits_of(tree[1], size // 2, smallest, largest)]
    )
    return [*([int(tree is not True)] if size <= largest else []), *below]


def grid_of(smallest, levels, n_samples, rows, longest_fade=None):
    root = smallest << (levels - 1)
    sizes = [[size for tree in row for size in leaves(tree, root)] for row in rows]
    return TimeGrid.of_sizes(8000, n_samples, sizes, "sine", longest_fade)


@given(tree=trees(), longest_fade=st.none() | st.integers(0, 50))
@example(tree=(4, 3, 1, [[True]]), longest_fade=None)
@example(tree=(2, 2, 300, [[True, (True, True)] * 37 + [True]]), longest_fade=None)
@settings(deadline=None, max_examples=100)
def test_a_division_comes_back_from_its_code(tree, longest_fade):
    grid = grid_of(*tree, longest_fade)
    options, code = encode(grid)
    assert code.dtype == torch.int32
    again = decode((8000, grid.n_signals, grid.n_samples), "sine", options, code)
    assert all(torch.equal(one, two) for one, two in zip(grid.cells, again.cells, strict=True))
    assert again.window == "sine"


@given(tree=trees())
@example(tree=(2, 4, 16, [[((True, (True, True)), True)]]))
@example(tree=(2, 2, 260, [[(True, True)] * 65]))
@settings(deadline=None, max_examples=100)
def test_the_code_is_a_bit_a_cell_on_the_way_down(tree):
    smallest, levels, _, rows = tree
    grid = grid_of(*tree)
    options, code = encode(grid)
    least, most = int(grid.cells.size.min()), int(grid.cells.size.max())
    assert (options["smallest_cell"], options["largest_cell"]) == (least, most)
    wanted = [bit for row in rows for one in row for bit in bits_of(one, smallest << (levels - 1), least, most)]
    found = [(int(word) >> place) & 1 for word in code for place in range(WORD)]
    assert len(code) == math.ceil(len(wanted) / 32)
    assert found[: len(wanted)] == wanted
    assert not any(found[len(wanted) :])


def test_equal_cells_have_no_code():
    for grid in (TimeGrid.uniform(8000, 2, 5000, 0.02), TimeGrid.uniform(8000, 1, 5000, 0.013, 0.2)):
        options, code = encode(grid)
        assert code.shape == (0,)
        assert options["smallest_cell"] == options["largest_cell"] == int(grid.cells.size[0])
        again = decode((8000, grid.n_signals, 5000), "hann", options, code)
        assert all(torch.equal(one, two) for one, two in zip(grid.cells, again.cells, strict=True))


@pytest.mark.parametrize("words", [0, 1, 3])
def test_a_code_of_another_division_is_refused(words):
    grid = TimeGrid.of_sizes(8000, 8 * 40, [[4, 4, 8] * 20])
    options, code = encode(grid)
    assert code.shape == (2,)  # 40 roots of 8 samples, a bit each
    wrong = torch.cat([code, code])[:words]
    with pytest.raises(ModelError, match="the division of time"):
        decode((8000, 1, 8 * 40), "hann", options, wrong)


def test_the_highest_bit_of_a_word_is_a_bit_as_any_other():
    for divided in (31, 32):  # root 31 has the sign bit of the first word, root 32 the first of the second
        rows = [[8] * divided + [4, 4] + [8] * (39 - divided)]
        grid = TimeGrid.of_sizes(8000, 320, rows)
        options, code = encode(grid)
        assert code.tolist() == ([-(2**31), 0] if divided == 31 else [0, 1])
        assert decode((8000, 1, 320), "hann", options, code).cells.size.tolist() == rows[0]
