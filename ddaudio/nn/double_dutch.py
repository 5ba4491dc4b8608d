"""The double-dutch tree as a module: the head of any network, differentiable in all of its inputs."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ddaudio.errors import OptionError
from ddaudio.models.double_dutch.ladder import Ladder
from ddaudio.options import DoubleDutchOptions, RopeName
from ddaudio.options.checks import check_choice, check_range, check_whole, is_whole

PredictsName = Literal["amplitudes", "cutoffs", "both"]
PairName = Literal["opposite", "sigmoid"]
GatingName = Literal["soft", "hard"]
MOST_DEPTH = 16
"""Largest depth: 131,070 ropes."""


class DoubleDutch(nn.Module):
    """A tree of wave pairs that gate each other, over a window of time.

    Level ``l`` of ``D`` has the wave ``r_l`` and ``2^(l-1)`` nodes. A node with cutoff ``c`` has the gates
    ``g = sigmoid(k_l (r_l - c))`` and ``1 - g``, and adds ``G (g a+ - (1 - g) a-) r_l`` to the output, with ``G`` the product of
    the gates above it.
    With ``pair="sigmoid"`` it adds ``G a_l (2 g - 1)``: two sigmoids of +1 and -1, with one amplitude for each level.

    Amplitudes and cutoffs are parameters, or the outputs of a linear layer of the features, as ``predicts`` selects. Without
    features all are parameters.

    Args:
        n_samples: samples of the window, ``T``, 2 or more.
        depth: levels, ``D``, 1 to 16 with ``2^D <= T``.
        in_features: number of features, or None for a module of its own.
        predicts: what the features determine: ``amplitudes``, ``cutoffs`` or ``both``. The other remains a parameter.
        ropes: waves of the levels: ``cosine``, ``sine`` or ``square``. Square ropes have no cutoffs: their gates are constant.
        pair: ``opposite`` waves with an amplitude each, or ``sigmoid``.
        gating: ``soft`` gates, or ``hard`` ones with the gradient of the soft ones (straight-through).
        transition: length of a gate's transition relative to the cell of its level, 0.0001 to 1.

    Raises `OptionError` for a value out of range or an unknown name.

    Example:
        >>> head = DoubleDutch(n_samples=64, depth=3, in_features=16)
        >>> head(torch.randn(5, 16)).shape  # one window for each row of features
        torch.Size([5, 64])
        >>> weights = head.leaf_weights(torch.randn(5, 16))
        >>> weights.shape, bool(torch.allclose(weights.sum(-1), torch.ones(5, 64)))
        (torch.Size([5, 64, 8]), True)

    """

    def __init__(
        self,
        n_samples: int,
        depth: int,
        *,
        in_features: int | None = None,
        predicts: PredictsName = "both",
        ropes: RopeName = "cosine",
        pair: PairName = "opposite",
        gating: GatingName = "soft",
        transition: float = 0.125,
    ) -> None:
        super().__init__()
        self.n_samples, self.depth, self.in_features, self.predicts = n_samples, depth, in_features, predicts
        self.pair, self.gating, self.transition = pair, gating, transition
        self._check(ropes)
        self.ladder = Ladder.dyadic(n_samples, depth, ropes)
        shapes = {"amplitudes": depth if pair == "sigmoid" else self.ladder.n_ropes, "cutoffs": self.ladder.n_nodes}
        self._sizes = {name: 0 if name == "cutoffs" and ropes == "square" else size for name, size in shapes.items()}
        predicted = () if in_features is None else tuple(shapes) if predicts == "both" else (predicts,)
        self._predicted = {name: self._sizes[name] for name in self._sizes if name in predicted}
        self.predict = None if in_features is None else nn.Linear(in_features, sum(self._predicted.values()))
        for name, size in self._sizes.items():
            if name not in predicted:
                first = torch.randn(size) / depth**0.5 if name == "amplitudes" else torch.zeros(size)
                setattr(self, name, nn.Parameter(first))

    def _check(self, ropes: str) -> None:
        """Raise `OptionError` for a value that is not allowed."""
        DoubleDutchOptions(ropes=ropes)  # type: ignore[arg-type]
        for name, known in (("predicts", PredictsName), ("pair", PairName), ("gating", GatingName)):
            check_choice(self, name, get_args(known))
        for name, least in (("n_samples", 2), ("depth", 1)):
            if not is_whole(getattr(self, name)):
                raise OptionError(setting=name, value=getattr(self, name), allowed=f"whole numbers, {least} or more")
        check_whole(self, "n_samples", 2)
        check_whole(self, "depth", 1, MOST_DEPTH)
        check_whole(self, "in_features", 1)
        check_range(self, "transition", 1e-4, 1)
        if ropes == "square" and self.in_features is not None and self.predicts == "cutoffs":
            hint = "predict the amplitudes, or use cosine or sine ropes"
            problem = "but square ropes have no cutoffs"
            raise OptionError(problem, setting="predicts", value=self.predicts, others={"ropes": ropes}, hint=hint)

    def forward(self, features: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """Return the output, ``[B, T]``.

        Args:
            features: ``[B, F]``, one tree for each row, or ``[B, T, F]``, one for each time; needed if there are ``in_features``.
            time: times ``[T]`` or ``[B, T]`` in units of the window, 0 to 1; outside the waves continue (default: the middles of
                the window's ``n_samples`` samples).

        Raises ValueError for shapes that do not fit. The cost is ``O(T D)`` for a tree for each row and the default times if the
        window can be halved ``D`` times, and ``O(T 2^D)`` otherwise.

        """
        amplitudes, cutoffs = self._values(features)
        if time is None and amplitudes.shape[1] == cutoffs.shape[1] == 1 and self.ladder.halves:
            return self._folded(amplitudes[:, 0], cutoffs[:, 0])
        return self._walked(self._position(time, amplitudes, cutoffs), amplitudes, cutoffs)[0]

    def leaf_weights(self, features: Tensor | None = None, time: Tensor | None = None) -> Tensor:
        """Return the weight of each of the ``2^D`` leaves, the product of the gates above it, ``[B, T, 2^D]``.

        Weights are 0 to 1 and sum to 1. Leaves are in the order of addresses, see `ddaudio.models.double_dutch.ladder`; for
        arguments and errors see `forward`.
        """
        amplitudes, cutoffs = self._values(features)
        weights = self._walked(self._position(time, amplitudes, cutoffs), amplitudes, cutoffs)[1]
        return weights.expand(max(len(weights), len(amplitudes)), -1, -1)

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"n_samples={self.n_samples}, depth={self.depth}, in_features={self.in_features}, predicts={self.predicts!r}, "
            f"ropes={self.ladder.rope!r}, pair={self.pair!r}, gating={self.gating!r}, transition={self.transition:g}"
        )

    def _values(self, features: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return amplitudes ``[B, T or 1, R]`` and cutoffs ``[B, T or 1, N]``; cutoffs are in -1 to 1, as the ropes are."""
        own = {name: getattr(self, name)[None, None] for name in self._sizes if name not in self._predicted}
        if self.predict is not None:
            if features is None or features.ndim not in (2, 3) or features.shape[-1] != self.in_features:
                given = "none" if features is None else list(features.shape)
                raise ValueError(f"features must be [B, {self.in_features}] or [B, T, {self.in_features}], not {given}")
            predicted = self.predict(features if features.ndim == 3 else features[:, None])
            own |= dict(zip(self._predicted, predicted.split(list(self._predicted.values()), -1), strict=True))
        elif features is not None:
            raise ValueError("a head without in_features takes no features")
        return own["amplitudes"], torch.tanh(own["cutoffs"])

    def _position(self, time: Tensor | None, *values: Tensor) -> Tensor:
        """Return the positions in samples, ``[B or 1, T]``."""
        like = values[0]
        if time is None:
            position = (torch.arange(self.n_samples, device=like.device, dtype=like.dtype) + 0.5)[None]
        elif time.ndim in (1, 2):
            position = (time if time.ndim == 2 else time[None]) * self.n_samples
        else:
            raise ValueError(f"time must be [T] or [B, T], not {list(time.shape)}")
        for value in values:
            rows = {len(value), len(position)} - {1}
            if value.shape[1] not in (1, position.shape[1]) or len(rows) > 1:
                shape, times = list(value.shape[:2]), list(position.shape)
                raise ValueError(f"features for {shape} rows and times do not fit times of {times}")
        return position

    def _gate(self, level: int, wave: Tensor, cutoff: Tensor) -> Tensor:
        """Return the gates of a level's nodes."""
        lifted = wave - cutoff
        soft = torch.sigmoid(self.ladder.sharpness(level, self.transition) * lifted)
        return soft if self.gating == "soft" else soft + ((lifted >= 0).to(soft) - soft).detach()

    def _cutoffs_of(self, cutoffs: Tensor, level: int) -> Tensor:
        """Return the cutoffs of a level's nodes, of the last dimension; zeros for square ropes."""
        if not self._sizes["cutoffs"]:
            return cutoffs.new_zeros(*cutoffs.shape[:-1], 2**level)
        return cutoffs[..., 2**level - 1 : 2 ** (level + 1) - 1]

    def _walked(self, position: Tensor, amplitudes: Tensor, cutoffs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output ``[B, T]`` and the weights of the leaves ``[B, T, 2^D]``, from the root down."""
        weight, total = position.new_ones(*position.shape, 1), torch.zeros_like(position)
        for level in range(self.depth):
            wave = self.ladder.wave(level, position)[..., None]
            gate = self._gate(level, wave, self._cutoffs_of(cutoffs, level))
            near, far = weight * gate, weight * (1 - gate)
            if self.pair == "sigmoid":
                total = total + amplitudes[..., level] * (near - far).sum(-1)
            else:
                own = amplitudes[..., 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2]
                total = total + ((near * own[..., ::2] - far * own[..., 1::2]) * wave).sum(-1)
            weight = torch.stack([near, far], -1).flatten(-2)
        return total, weight

    def _folded(self, amplitudes: Tensor, cutoffs: Tensor) -> Tensor:
        """Return the output ``[B, T]`` for amplitudes ``[B, R]`` and cutoffs ``[B, N]``, folded as in ``folded_tree.py``."""
        said = amplitudes.new_zeros(())
        for level in reversed(range(self.depth)):
            cell = round(self.ladder.cell(level))
            wave = self.ladder.wave(level, torch.arange(2 * cell, device=amplitudes.device, dtype=amplitudes.dtype) + 0.5)
            gate = self._gate(level, wave, self._cutoffs_of(cutoffs, level)[..., None])
            if self.pair == "sigmoid":
                own = amplitudes[:, None, level, None, None] * amplitudes.new_tensor([1.0, -1.0])[:, None]
            else:
                own = amplitudes[:, 2 ** (level + 1) - 2 : 2 ** (level + 2) - 2].reshape(len(amplitudes), -1, 2, 1)
                own = torch.stack([own[:, :, 0] * wave, -own[:, :, 1] * wave], 2)
            near, far = (own + said).unbind(2)
            said = far + gate * (near - far)
            if level:
                said = torch.cat([said, said if self.ladder.rope == "sine" else said.flip(-1)], -1)
                said = said.reshape(len(said), -1, 2, said.shape[-1])
        return said[:, 0].expand(max(len(amplitudes), len(cutoffs)), -1)
