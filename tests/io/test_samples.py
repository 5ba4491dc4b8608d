"""A spool, and all else that is read slice by slice, gives what a tensor of the same samples gives."""

import doctest
import errno
import os
import tempfile
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from soundchecks import is_one_line_that_says, noise, spooled

from ddaudio.errors import OutputError
from ddaudio.io import samples as io_samples
from ddaudio.io.samples import Difference, DiskSamples, blocks, collect

BOUNDS = st.none() | st.integers(-130, 130)


class Grudging:
    """A file that takes and gives a few bytes at a time, and none beyond its room."""

    def __init__(self, file: Any, at_a_time: int, room: int = 1 << 30) -> None:
        self.file, self.at_a_time, self.room = file, at_a_time, room
        self.seek, self.close = file.seek, file.close

    def write(self, data: memoryview) -> int:
        if self.file.tell() + self.at_a_time > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self.file.write(data[: self.at_a_time]))

    def readinto(self, data: memoryview) -> int:
        return int(self.file.readinto(data[: self.at_a_time]))


# Spool


@settings(deadline=None)
@given(
    n_channels=st.integers(1, 4),
    lengths=st.lists(st.integers(0, 40), max_size=6),
    bounds=st.tuples(BOUNDS, BOUNDS, BOUNDS, BOUNDS),
)
def test_a_spool_has_the_slices_of_a_tensor_after_any_append(
    n_channels: int, lengths: list[int], bounds: tuple[int | None, ...]
) -> None:
    samples, spool = noise(sum(lengths), n_channels), DiskSamples(n_channels)
    index = slice(*bounds[:2]), slice(*bounds[2:])
    for number, block in enumerate(samples.split(lengths, dim=1), start=1):
        spool.append(block)
        so_far = samples[:, : sum(lengths[:number])]
        assert spool.shape == so_far.shape
        part = spool[index]
        assert torch.equal(part, so_far[index])
        assert part.is_contiguous()
    assert torch.equal(spool.tensor(), samples)
    assert torch.equal(spool[:, ::], samples)


def test_a_slice_is_a_copy() -> None:
    spool = spooled(noise(10))
    spool[:, :].zero_()
    assert torch.equal(spool.tensor(), noise(10))


def test_what_is_appended_becomes_float32_without_gradient() -> None:
    samples = noise(10, 2).double().add(1e-12).requires_grad_()
    assert torch.equal(spooled(samples).tensor(), samples.detach().float())


def test_files_that_take_and_give_a_little_at_a_time_are_written_and_read_whole() -> None:
    spool = DiskSamples(3)
    spool._file = Grudging(spool._file, at_a_time=7)  # type: ignore[assignment]
    spool.append(noise(50, 3))
    assert torch.equal(spool.tensor(), noise(50, 3))


def test_a_full_disk_is_reported_and_leaves_the_spool_as_it_was() -> None:
    spool = spooled(noise(100, 2))
    plenty, spool._file = spool._file, Grudging(spool._file, at_a_time=64, room=1000)  # type: ignore[assignment]
    with pytest.raises(OutputError) as caught:
        spool.append(noise(1_000_000, 2))
    words = ("cannot store 8 MB", repr(tempfile.gettempdir()), "No space left on device", "TMPDIR")
    assert is_one_line_that_says(str(caught.value), words)
    spool._file = plenty
    assert torch.equal(spool.tensor(), noise(100, 2))
    spool.append(noise(5, 2, seed=1))
    assert torch.equal(spool[:, 100:], noise(5, 2, seed=1))


def test_no_place_for_temporary_files_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match="No usable temporary directory found; set the environment variable TMPDIR"):
        DiskSamples(1)


def test_a_file_that_something_else_cut_is_an_error() -> None:
    spool = spooled(noise(100))
    spool._file.truncate(200)
    with pytest.raises(EOFError, match="has been cut"):
        spool.tensor()


@pytest.mark.skipif(not hasattr(os, "pread"), reason="elsewhere the file has a name, and no number to look up")
def test_the_file_has_no_name_and_goes_with_the_object(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = spooled(noise(100))
    number = spool._file.fileno()
    assert os.fstat(number).st_size == 400
    assert list(tmp_path.iterdir()) == []
    del spool
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.parametrize("block", [torch.zeros(5), torch.zeros(1, 5), torch.zeros(3, 5), torch.zeros(2, 5, 1)])
def test_blocks_of_another_shape_are_refused(block: torch.Tensor) -> None:
    spool = DiskSamples(2)
    with pytest.raises(ValueError, match=r"it must be \[2, n\]"):
        spool.append(block)
    with pytest.raises(ValueError, match="at least 1"):
        DiskSamples(0)


@pytest.mark.parametrize("index", [0, slice(None), (0, slice(None)), (slice(None), 3), (slice(None),) * 3, ...])
def test_only_slices_are_read(index: Any) -> None:
    with pytest.raises(TypeError, match="first:last"):
        spooled(noise(10))[index]


@pytest.mark.parametrize("step", [2, -1])
def test_only_step_1_is_read(step: int) -> None:
    for index in ((slice(None), slice(None, None, step)), (slice(None, None, step), slice(None))):
        with pytest.raises(ValueError, match="step 1"):
            spooled(noise(10))[index]


# Difference


@given(n_channels=st.integers(1, 3), bounds=st.tuples(BOUNDS, BOUNDS, BOUNDS, BOUNDS))
def test_a_difference_has_the_slices_of_the_residual(n_channels: int, bounds: tuple[int | None, ...]) -> None:
    target, estimate = noise(100, n_channels), noise(100, n_channels, seed=1).requires_grad_()
    residual = target - estimate.detach()
    index = slice(*bounds[:2]), slice(*bounds[2:])
    for difference in (Difference(target, estimate), Difference(spooled(target), spooled(estimate))):
        assert difference.shape == residual.shape
        assert torch.equal(difference[index], residual[index])
        assert not difference[index].requires_grad


def test_a_difference_of_other_shapes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"target \(1, 5\) and estimate \(2, 5\) must have the same shape"):
        Difference(torch.zeros(1, 5), torch.zeros(2, 5))


# Blocks


@settings(deadline=None)
@given(n_channels=st.integers(1, 5), n_samples=st.integers(1, 60), size=st.integers(1, 200))
def test_blocks_are_all_samples_in_order_and_no_longer_than_asked(n_channels: int, n_samples: int, size: int) -> None:
    samples = noise(n_samples, n_channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io_samples, "BLOCK_SAMPLES", size)
        for source in (samples, samples.double().requires_grad_(), spooled(samples)):
            parts = list(blocks(source))
            assert torch.equal(torch.cat(parts, dim=1), samples)
            assert all(1 <= part.shape[1] <= max(1, size // n_channels) for part in parts)
            assert not any(part.requires_grad for part in parts)


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("n_samples", [0, 1, 99, 100, 101, 350])
def test_what_is_collected_is_a_tensor_up_to_the_limit_and_a_spool_beyond(
    n_samples: int, n_channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_samples, "IN_MEMORY_SAMPLES", 100 * n_channels)
    samples = noise(n_samples, n_channels)
    collected = collect(iter(samples.split(30, dim=1)))
    assert isinstance(collected, DiskSamples if n_samples > 100 else torch.Tensor)
    assert torch.equal(collected[:, :], samples)


def test_the_examples_run() -> None:
    results = doctest.testmod(io_samples)
    assert (results.failed, results.attempted > 0) == (0, True)
