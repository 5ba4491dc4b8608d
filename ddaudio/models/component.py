"""Networks whose frames are sums of components, each a function of time."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ddaudio.analysis.budget import Budget
from ddaudio.grid.time_grid import TimeGrid
from ddaudio.models.declared import DeclaredNetwork


class ComponentNetwork(DeclaredNetwork):
    """A network that declares its parameters and implements two methods, `waveforms` and `initialise`.

    All samples of all components of a group of frames are computed at once, with 4 bytes of memory each, which is suitable for
    up to about ten thousand components. Faster networks implement `forward` themselves, as ``sine`` does.
    """

    def __init__(self, grid: TimeGrid, options: object = None) -> None:
        """Create a network without components."""
        super().__init__(grid, options)
        rows = {"component": 0, "frame": grid.n_frames, "network": 1}
        empty = {one.name: torch.zeros(rows[one.per], *one.shape) for one in self.stored()}
        self.set_components(torch.zeros(grid.n_frames, dtype=torch.int64), empty)

    @abstractmethod
    def waveforms(self, values: Mapping[str, Tensor], position: Tensor) -> Tensor:
        """Return the samples ``[P, L]`` of some components.

        Args:
            values: natural values of the declared parameters, ``[P, ...]`` each, by name; values per frame or network are
                repeated for its components.
            position: time of each sample, ``[P, L]`` float32 or float64, in samples of the network's own rate from the first
                sample of the component's frame.

        """

    def forward(self) -> list[Tensor]:
        """Return the frames of all signals, one tensor a group of the grid."""
        groups = self.grid.groups
        nowhere = [torch.zeros(group.windows.shape[0]) for group in groups]
        return [self._sums(place, nowhere[place], group.length, 1.0) for place, group in enumerate(groups)]

    @torch.no_grad()
    def frames_at_rate(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the frames of a group at ``ratio`` times the sample rate, without components above the Nyquist frequency."""
        return self._sums(group, offset, length, ratio)

    def _sums(self, group: int, offset: Tensor, length: int, ratio: float) -> Tensor:
        """Return the sums ``[N, length]`` of the components of a group's frames."""
        share = self.layout.shares[group]
        own = torch.arange(self.layout.frame_of_partial.numel())[share]
        waves = self.wave_frequencies()
        if ratio < 1 and waves is not None:
            own = own[waves[own] < ratio * torch.pi]
        frame = self.layout.frame_of_partial[own]
        row = frame - self.grid.groups[group].frames.start
        samples = self._samples(own, (offset[row, None].double() + torch.arange(length)) / ratio)
        return samples.new_zeros(offset.numel(), length).index_add(0, row, samples)

    def _samples(self, own: Tensor, position: Tensor) -> Tensor:
        """Return the samples ``[P, L]`` of some components."""
        frame = self.layout.frame_of_partial[own]
        rows = {"component": own, "frame": frame, "network": torch.zeros_like(own)}
        values = {one.name: self.value(one.name)[rows[one.per]] for one in self.declared()}
        return self.waveforms(values, position.to(next(self.parameters())))

    @torch.no_grad()
    def component_energies(self) -> Tensor:
        """Return the energy of each component on its own: the sum of squares of its windowed samples."""
        energies = [next(self.parameters()).new_zeros(0)]
        for group, share in zip(self.grid.groups, self.layout.shares, strict=True):
            own = torch.arange(self.layout.frame_of_partial.numel())[share]
            row = self.layout.frame_of_partial[own] - group.frames.start
            samples = self._samples(own, torch.arange(group.length).expand(len(own), -1))
            energies.append((samples * group.windows[row].to(samples)).square().sum(1))
        return torch.cat(energies)

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add components that model the residual of ``target``, within ``size``."""
        before, more = self.n_prunable(), self.silent(self.grid)
        with torch.no_grad():
            left = target - self.estimate()
        more.initialise(left, replace(size, most=size.most - before), "peaks", torch.Generator())
        every = [(one, torch.arange(one.n_components()), one.layout.frame_of_partial) for one in (self, more)]
        both = self.assembled(self.grid, every)
        if both.n_prunable() > before:
            self.set_components(both.layout.counts, both.natural())
        return self.n_prunable() > before
