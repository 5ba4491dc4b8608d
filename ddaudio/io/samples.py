"""Samples `[C, T]` of any length: a protocol for reading in slices, and storage in a temporary file.

Hours of sound do not fit into memory. Functions for recordings of any length therefore take `Samples` and read them in `blocks`;
the samples may be in a tensor, in a temporary file (`DiskSamples`), or computed on access (`Difference`).
"""

import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ddaudio.errors import OutputError

BLOCK_SAMPLES = 1 << 20
"""Number of samples over all channels in a block: 4 MB of float32."""
IN_MEMORY_SAMPLES = 1 << 24
"""Largest number of samples over all channels in a tensor: 64 MB, six minutes of mono at 44.1 kHz."""

_BYTES = 4
_WHOLE = slice(None)


class Samples(Protocol):
    """Samples read in slices, `[C, T]`, full scale 1.0; a `torch.Tensor` of that shape satisfies the protocol."""

    @property
    def shape(self) -> Sequence[int]:
        """Two whole numbers: channels C and samples in each channel T."""
        ...

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        """Return `samples[:, first:last]` as a tensor `[C, last - first]`, with the bounds that a tensor's slices have."""
        ...


class DiskSamples:
    """Samples in an unnamed temporary file, deleted with the object; they are appended and read in slices.

    The file is read, not mapped, since mapped pages would count as memory of the process. It is created by `tempfile`, so the
    environment variable TMPDIR selects the disk.

    >>> spool = DiskSamples(2)
    >>> spool.append(torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]))
    >>> spool.append(torch.tensor([[0.7], [0.8]]))
    >>> spool.shape, spool[:, 2:4].tolist() == torch.tensor([[0.3, 0.7], [0.6, 0.8]]).tolist()
    ((2, 4), True)
    """

    def __init__(self, n_channels: int) -> None:
        """Create an empty file for `n_channels`, at least 1; raises OutputError if no temporary file can be made."""
        if n_channels < 1:
            raise ValueError(f"n_channels is {n_channels}: it must be at least 1")
        self._n_channels, self._n_samples = n_channels, 0
        try:
            # Unbuffered: data rejected by a full disk must not remain in a buffer and fail again on closing.
            self._file = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - closed with the object
        except OSError as error:
            raise OutputError(f"cannot make a temporary file: {_reason(error)}", hint=_REMEDY) from error
        weakref.finalize(self, self._file.close)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of channels C, and number of samples T appended so far."""
        return self._n_channels, self._n_samples

    def append(self, block: Tensor) -> None:
        """Append samples `[C, n]`, rounded to float32; n may be 0.

        Raises ValueError if the number of channels differs; OutputError if the disk is full, without changing the samples.
        """
        if block.ndim != 2 or len(block) != self._n_channels:
            raise ValueError(f"the block has shape {list(block.shape)}: it must be [{self._n_channels}, n]")
        frames = np.ascontiguousarray(on_cpu(block).T.numpy())
        left = frames.reshape(-1).view(np.uint8).data
        try:
            self._file.seek(self._n_samples * self._n_channels * _BYTES)
            if not np.frombuffer(left, np.uint8).any():  # silence takes no room on disks with sparse files
                self._file.truncate((self._n_samples + len(frames)) * self._n_channels * _BYTES)
                left = left[:0]
            while left:  # an unbuffered write may be partial
                left = left[self._file.write(left) :]
        except OSError as error:
            where = f"a temporary file in {tempfile.gettempdir()!r}"
            size_mb = (self._n_samples + len(frames)) * self._n_channels * _BYTES / 1e6
            raise OutputError(f"cannot store {size_mb:.0f} MB of sound in {where}: {_reason(error)}", hint=_REMEDY) from error
        self._n_samples += len(frames)

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        """Return the slice as a new tensor, float32 on the CPU.

        Raises TypeError if the index is not two slices, ValueError if a step is not 1.
        """
        if not (isinstance(index, tuple) and len(index) == 2 and all(isinstance(part, slice) for part in index)):
            raise TypeError(f"a spool is read as spool[:, first:last], not with the index {index!r}")
        (top, bottom, row_step), (first, last, step) = index[0].indices(self._n_channels), index[1].indices(self._n_samples)
        if (row_step, step) != (1, 1):
            raise ValueError(f"a spool is read with step 1, not with the index {index!r}")
        frames = np.empty((max(last - first, 0), self._n_channels), np.float32)
        left = frames.reshape(-1).view(np.uint8).data
        self._file.seek(first * self._n_channels * _BYTES)
        while left:
            count = self._file.readinto(left)
            if not count:
                raise EOFError("the temporary file of a spool has been cut by something else")
            left = left[count:]
        return torch.from_numpy(np.ascontiguousarray(frames.T[top:bottom]))

    def tensor(self) -> Tensor:
        """Return all samples in memory, `[C, T]`."""
        return self[_WHOLE, _WHOLE]


class Difference:
    """Target minus estimate, the residual, computed on access.

    >>> residual = Difference(torch.ones(1, 5), torch.full((1, 5), 0.25))
    >>> residual.shape, residual[:, 3:].tolist()
    ((1, 5), [[0.75, 0.75]])
    """

    def __init__(self, target: Samples, estimate: Samples) -> None:
        """Create from two signals of shape `[C, T]`; raises ValueError if their shapes differ."""
        if tuple(target.shape) != tuple(estimate.shape):
            raise ValueError(f"target {tuple(target.shape)} and estimate {tuple(estimate.shape)} must have the same shape")
        self._target, self._estimate = target, estimate

    @property
    def shape(self) -> tuple[int, int]:
        """Channels C and samples T."""
        n_channels, n_samples = self._target.shape
        return n_channels, n_samples

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        """Return the slice as a new tensor, float32 on the CPU, without gradient."""
        return on_cpu(self._target[index]) - on_cpu(self._estimate[index])


class Scaled:
    """A signal times a factor, computed on access.

    >>> Scaled(torch.ones(1, 5), 0.5)[:, 3:].tolist()
    [[0.5, 0.5]]
    """

    def __init__(self, samples: Samples, factor: float) -> None:
        """Create from a signal `[C, T]` and its factor."""
        self._samples, self._factor = samples, factor

    @property
    def shape(self) -> tuple[int, int]:
        """Channels C and samples T."""
        n_channels, n_samples = self._samples.shape
        return n_channels, n_samples

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        """Return the slice as a new tensor, float32 on the CPU, without gradient."""
        return on_cpu(self._samples[index]) * self._factor


class Total:
    """The sum of several signals, computed on access.

    >>> Total([torch.ones(1, 5), torch.full((1, 5), 0.25)])[:, 3:].tolist()
    [[1.25, 1.25]]
    """

    def __init__(self, parts: Sequence[Samples]) -> None:
        """Create from one or more signals of shape `[C, T]`; raises ValueError if their shapes differ."""
        if len({tuple(part.shape) for part in parts}) != 1:
            raise ValueError(f"signals of the shapes {[tuple(part.shape) for part in parts]} cannot be added: they must have one")
        self._parts = parts

    @property
    def shape(self) -> tuple[int, int]:
        """Channels C and samples T."""
        n_channels, n_samples = self._parts[0].shape
        return n_channels, n_samples

    def __getitem__(self, index: tuple[slice, slice], /) -> Tensor:
        """Return the slice as a new tensor, float32 on the CPU, without gradient."""
        return torch.stack([on_cpu(part[index]) for part in self._parts]).sum(0)


def added(samples: Samples, more: Samples | None) -> Samples:
    """Return the sum of two signals ``[C, T]``: a tensor if the first is one; the first itself for None."""
    if more is None:
        return samples
    total = Total([samples, more])
    return total[:, :] if isinstance(samples, Tensor) else total


def on_cpu(samples: Tensor) -> Tensor:
    """Return samples of any shape as float32 on the CPU, without gradient; without a copy if they are that already."""
    return samples.detach().to("cpu", torch.float32)


def block_length(n_channels: int) -> int:
    """Return the number of samples per channel in a block, at least 1."""
    return max(1, BLOCK_SAMPLES // max(1, n_channels))


def blocks(samples: Samples) -> Iterator[Tensor]:
    """Yield all samples in order, `[C, n]` with n up to `block_length`, as float32 on the CPU, without gradient."""
    n_channels, n_samples = samples.shape
    step = block_length(n_channels)
    for first in range(0, n_samples, step):
        yield on_cpu(samples[:, first : first + step])


def collect(pieces: Iterable[Tensor]) -> Tensor | DiskSamples:
    """Concatenate one or more pieces `[C, n]`: a tensor up to `IN_MEMORY_SAMPLES` over all channels, else `DiskSamples`.

    At most that many samples and one piece are held in memory. Raises OutputError as `DiskSamples`.
    """
    kept: list[Tensor] = []
    count, spool = 0, None
    for piece in pieces:
        kept.append(piece)
        count += piece.numel()
        if count > IN_MEMORY_SAMPLES:
            spool = spool or DiskSamples(len(piece))
            while kept:
                spool.append(kept.pop(0))
    return torch.cat(kept, dim=1) if spool is None else spool


_REMEDY = "set the environment variable TMPDIR to a folder on a disk with room"


def _reason(error: OSError) -> str:
    """Return the message of the system."""
    return error.strerror or str(error)
