"""Base class of banks of partials."""

from abc import ABC, abstractmethod

from torch import Tensor


class LinearBank(ABC):
    """Partials of fixed frequency in frames: a linear map from amplitudes to samples, and its adjoint."""

    @abstractmethod
    def forward(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """Return the frames ``[F, L]`` for amplitudes ``[P]``."""

    @abstractmethod
    def weighted_forward(self, plain: tuple[Tensor, Tensor], weighted: tuple[Tensor, Tensor]) -> Tensor:
        """Return the frames ``[F, L]`` for amplitudes ``plain``, and those for ``weighted`` times ``n - origin`` added."""

    def adjoint(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return each partial's product with ``frames [F, L]``: its cosine's and its sine's, ``[P]`` each."""
        (products,) = self._products(frames, weighted=False)
        return products

    def weighted_adjoint(self, frames: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return the adjoint of ``frames [F, L]``, and of the frames weighted by ``n - origin``."""
        return self._products(frames, weighted=True)

    @abstractmethod
    def _products(self, frames: Tensor, *, weighted: bool) -> list[tuple[Tensor, Tensor]]:
        """Return a pair of products ``[P]`` for each weighting: none, and with ``weighted`` also ``n - origin``."""
