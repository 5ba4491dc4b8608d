"""How much a set of partials may cost."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """How far a pursuit goes, never beyond the caps.

    With a goal, each round goes an equal number of decibels towards it; with a least gain, each round takes what gains
    more than a threshold that falls to it; with neither, each spends an equal part of what may be spent.
    """

    most: int
    """Partials over all frames, 0 or more."""
    goal_energy: float = 0.0
    """Sum of squares of the residual that is good enough."""
    most_per_frame: int | None = None
    """Partials in any one frame."""
    n_parameters: int | None = None
    """Numbers that all parts may take together, for networks whose parts do not all cost the same."""
    least_gain: float = 0.0
    """Energy that a partial must take away to be worth its numbers; above 0 nothing but the caps stops it otherwise."""
