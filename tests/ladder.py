"""A network with a parameter of the whole network: harmonics of one frequency that is learned; installed by a test."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.models import ComponentNetwork, Parameter
from ddaudio.options import NetworkSpec, StartingPoint

HARMONICS = 3
FIRST_HZ = 216.0
"""Where the frequency starts."""


class LadderNetwork(ComponentNetwork):
    """``s_f(n) = sum_k a_fk cos(k w n) + b_fk sin(k w n)`` in each frame, ``w`` the same in all of them."""

    name = "ladder"
    PARAMETERS = (
        Parameter("base", "Hz", per="network", scale=0.01, bounds=(0.0, math.pi), usually_at_bounds=0.0),
        Parameter("cosine", "full scale", kind="amplitude", shape=(HARMONICS,), scale=0.1, linear=True),
        Parameter("sine", "full scale", kind="amplitude", shape=(HARMONICS,), scale=0.1, linear=True),
    )

    def waveforms(self, values: Mapping[str, Tensor], position: Tensor) -> Tensor:
        """Return the samples of some components, each of them all harmonics of a frame."""
        turn = values["base"][:, None, None] * torch.arange(1, HARMONICS + 1)[:, None] * position[:, None]
        return (values["cosine"][..., None] * turn.cos() + values["sine"][..., None] * turn.sin()).sum(1)

    def initialise(self, target: Tensor, size: Budget, start: StartingPoint, generator: torch.Generator) -> None:
        """Set equal harmonics of `FIRST_HZ` in as many frames as there is room for."""
        del start, generator
        count = min(self.grid.n_frames, size.most)
        values = {name: torch.full((count, HARMONICS), 0.1).to(target) for name in ("cosine", "sine")}
        values["base"] = torch.tensor([2 * math.pi * FIRST_HZ / self.grid.sample_rate]).to(target)
        self.set_components((torch.arange(self.grid.n_frames) < count).long(), values)


SPEC = NetworkSpec(
    "ladder",
    "harmonics of one frequency",
    "ladder:LadderNetwork",
    component_name="harmonics",
    parameters_per_frame=1,
    parameters_per_component=2 * HARMONICS,
    kinds=("base", "amplitude"),
    parameters_per_network=1,
)
