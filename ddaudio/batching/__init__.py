"""Many recordings at once: on a laptop, on a cluster, in object storage. `ddaudio.batch` is the verb."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddaudio.batching.run import BatchProgress, BatchResult, batch, in_words
    from ddaudio.options.batch import BatchOptions

__all__ = ["BatchOptions", "BatchProgress", "BatchResult", "batch", "in_words"]


def __getattr__(name: str) -> object:
    # The command's help needs the settings alone, at once.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("ddaudio.options.batch" if name == "BatchOptions" else "ddaudio.batching.run"), name)
