"""A fine histogram of magnitudes, for the energy of all but the k largest of more values than fit into memory."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The upper 16 bits of a positive float32 are its exponent and the first 7 bits of its mantissa. They are the index of a bin,
# ascending with the value: 128 bins of equal width per octave, 0.5 % to 0.8 % of the value wide.
_SHIFT = 16
_BINS = 1 << (31 - _SHIFT)


class MagnitudeHistogram:
    """Counts and energies of float32 values by absolute value, in bins of at most 0.8 % of it.

    >>> histogram = MagnitudeHistogram()
    >>> histogram.add(np.array([3.0, -4.0, 1.0, 2.0], np.float32))
    >>> histogram.energy_of_all_but(2)
    5.0
    """

    def __init__(self) -> None:
        """Create an empty histogram."""
        self._counts = np.zeros(_BINS, np.int64)
        self._energies = np.zeros(_BINS)

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        """Add finite values of any shape, rounded to float32."""
        magnitudes = np.abs(values.ravel().astype(np.float32, copy=False))
        bins = magnitudes.view(np.int32) >> _SHIFT
        self._counts += np.bincount(bins, minlength=_BINS)
        self._energies += np.bincount(bins, np.square(magnitudes, dtype=np.float64), minlength=_BINS)

    def energy_of_all_but(self, count: int) -> float:
        """Return the sum of squares of all values but the `count` largest in magnitude.

        Counts and energies of whole bins are exact, and only the bin that holds the edge is split: every value in it
        is taken to have the bin's mean energy. That is off by less than 0.4 % of what that one bin holds.
        """
        edge, share = self._edge(count)
        return float(self._energies[:edge].sum() + (1.0 - share) * self._energies[edge]) if edge >= 0 else 0.0

    def edge_of(self, count: int) -> float:
        """Return the magnitude above which there are `count` values, taken as evenly spread within a bin; 0 if fewer."""
        edge, share = self._edge(count)
        if edge < 0:
            return 0.0
        low, high = (np.array([edge, edge + 1], np.int32) << _SHIFT).view(np.float32).tolist()
        return float(high - share * (high - low))

    def _edge(self, count: int) -> tuple[int, float]:
        """Return the bin in which the `count` largest values end, and the share of it among them; -1 if they are all."""
        if count >= int(self._counts.sum()):
            return -1, math.nan
        above = np.cumsum(self._counts[::-1])
        place = int(np.searchsorted(above, count, side="right"))  # the first with more values than count
        edge = _BINS - 1 - place
        return edge, 1.0 - float(above[place] - count) / float(self._counts[edge])
