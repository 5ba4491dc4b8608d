"""The budget of a set of partials."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """Limits and stopping rule of a pursuit.

    With a goal, each round advances by an equal number of decibels towards it; with a least gain, each round takes the peaks
    above a threshold that decreases to it; otherwise each round spends an equal part of the budget.
    """

    most: int
    """Largest number of partials over all frames, 0 or more."""
    goal_energy: float = 0.0
    """Sum of squares of the residual at which the pursuit stops."""
    most_per_frame: int | None = None
    """Largest number of partials in a frame."""
    n_parameters: int | None = None
    """Largest number of parameters in total, for networks whose components differ in size."""
    least_gain: float = 0.0
    """Energy that a partial must remove to justify its parameters; if above 0, only the limits stop the pursuit otherwise."""
