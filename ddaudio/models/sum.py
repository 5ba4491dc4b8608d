"""Sums of networks, which can be trained together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ddaudio.analysis.budget import Budget
from ddaudio.errors import ModelError
from ddaudio.models.base import Jacobian, Network, Term


class SumNetwork(Network):
    """Two networks or more on the same signals, each with its own division of time."""

    def __init__(self, terms: Sequence[Term]) -> None:
        """Create the sum of networks."""
        super().__init__()
        self._terms = nn.ModuleList(terms)

    @property
    def terms(self) -> list[Term]:
        """The networks, in the order in which they were fitted."""
        return list(self._terms)  # type: ignore[arg-type]

    def estimate(self) -> Tensor:
        """Return the signals ``[B, T]``."""
        return torch.stack([term.estimate() for term in self.terms]).sum(0)

    def jacobian(self) -> "SumTangent":
        """Return the Jacobian by the parameters of all networks."""
        return SumTangent(self)

    def amplitudes(self) -> Tensor:
        """Return the amplitude of each wave of each network."""
        return torch.cat([term.amplitudes() for term in self.terms])

    def component_energies(self) -> Tensor:
        """Return the energy of each component of each network."""
        return torch.cat([term.component_energies() for term in self.terms])

    def weighted_energies(self) -> Tensor:
        """Return the energies by which the components of each network are ranked."""
        return torch.cat([term.weighted_energies() for term in self.terms])

    def n_components(self) -> int:
        """Return the number of components of all networks."""
        return sum(term.n_components() for term in self.terms)

    def pruned(self, keep: int) -> "SumNetwork":
        """Return a copy with the ``keep`` components of highest energy over all networks."""
        owner = torch.arange(len(self.terms)).repeat_interleave(torch.tensor([term.n_prunable() for term in self.terms]))
        strongest = owner[torch.argsort(self.weighted_energies(), descending=True, stable=True)[:keep]]
        return SumNetwork([term.pruned(int((strongest == place).sum())) for place, term in enumerate(self.terms)])

    def extend(self, target: Tensor, size: Budget) -> bool:
        """Add components to the last network that model the residual of the sum."""
        *others, last = self.terms
        with torch.no_grad():
            left = target - torch.stack([term.estimate() for term in others]).sum(0)
        return last.extend(left, replace(size, most=size.most - sum(term.n_prunable() for term in others)))

    def to_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of each network, with its index before each name: ``0.amplitude``."""
        return {f"{place}.{name}": tensor for place, term in enumerate(self.terms) for name, tensor in term.to_tensors().items()}

    def from_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the parameters from the result of `to_tensors`; raises `ModelError` if the tensors do not fit."""
        parts: list[dict[str, Tensor]] = [{} for _ in self.terms]
        for name, tensor in tensors.items():
            place, _, own = name.partition(".")
            if not place.isdecimal() or int(place) >= len(parts):
                raise ModelError(f"the tensor {name!r} belongs to none of the {len(parts)} networks of this sum")
            parts[int(place)][own] = tensor
        for term, part in zip(self.terms, parts, strict=True):
            term.from_tensors(part)

    def describe(self) -> dict[str, Tensor]:
        """Return the tables of all networks of waves, concatenated; NaN where one lacks a column.

        Of several such networks, the first column is the index of the network.
        """
        tables = [term.describe() for term in self.terms if not term.is_noise]
        if len(tables) == 1:
            return tables[0]
        names = list(dict.fromkeys(name for table in tables for name in table))
        lengths = [table["signal"].numel() for table in tables]
        columns = {"network": torch.arange(len(tables)).repeat_interleave(torch.tensor(lengths))}
        for name in names:
            everywhere = all(name in table for table in tables)
            parts = [table.get(name, torch.full((length,), torch.nan)) for table, length in zip(tables, lengths, strict=True)]
            columns[name] = torch.cat(parts if everywhere else [part.double() for part in parts])
        return columns

    def project(self) -> None:
        """Clamp the parameters of each network to their bounds."""
        for term in self.terms:
            term.project()

    def clip_step(self, changes: Sequence[Tensor], most: float) -> list[Tensor]:
        """Return the changes, limited by the rules of each network."""
        return [part for term, own in zip(self.terms, self.shares(changes), strict=True) for part in term.clip_step(own, most)]

    def layers(self, values: Sequence[Tensor]) -> dict[str, list[Tensor]]:
        """Return the layers of each network, with its index and name before each: ``1 sine: frequency``."""
        return {
            f"{place} {term.name}: {layer}": parts
            for place, (term, own) in enumerate(zip(self.terms, self.shares(values), strict=True), 1)
            for layer, parts in term.layers(own).items()
        }

    def frequencies(self) -> list[Tensor]:
        """Return the frequencies of all parameters; empty unless all networks have frequencies."""
        found = [term.frequencies() for term in self.terms]
        return [one for row in found for one in row] if all(found) else []

    def natural_steps(self) -> list[Tensor]:
        """Return those of all parameters."""
        return [one for term in self.terms for one in term.natural_steps()]

    def amplitudes_of_values(self) -> list[Tensor]:
        """Return the amplitudes of all parameters; empty unless all networks have them."""
        found = [term.amplitudes_of_values() for term in self.terms]
        return [one for row in found for one in row] if all(found) else []

    def shares(self, changes: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        """Split changes of all parameters by network."""
        counts = [len(list(term.parameters())) for term in self.terms]
        firsts = [sum(counts[:place]) for place in range(len(counts))]
        return [changes[first : first + count] for first, count in zip(firsts, counts, strict=True)]


class SumTangent(Jacobian):
    """The Jacobian of a sum: those of its networks, concatenated."""

    def __init__(self, network: SumNetwork) -> None:
        self._network, self._tangents = network, [term.jacobian() for term in network.terms]

    def forward(self, changes: Sequence[Tensor]) -> Tensor:
        """Return the change of the signals."""
        shares = self._network.shares(changes)
        return torch.stack([one.forward(own) for one, own in zip(self._tangents, shares, strict=True)]).sum(0)

    def adjoint(self, signals: Tensor) -> list[Tensor]:
        """Return the gradients of all parameters."""
        return [part for tangent in self._tangents for part in tangent.adjoint(signals)]

    def squares(self) -> list[Tensor]:
        """Return the energies of all parameters."""
        return [part for tangent in self._tangents for part in tangent.squares()]
