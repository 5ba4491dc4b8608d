"""Batches of recordings: on one machine, on a cluster, in object storage; the entry point is `ddaudio.batch`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddaudio.batching.run import BatchProgress, BatchResult, batch, in_words
    from ddaudio.options.batch import BatchOptions

__all__ = ["BatchOptions", "BatchProgress", "BatchResult", "batch", "in_words"]


def __getattr__(name: str) -> object:
    # Loaded lazily: the help of the command needs only the options.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("ddaudio.options.batch" if name == "BatchOptions" else "ddaudio.batching.run"), name)
