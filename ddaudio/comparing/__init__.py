"""Comparisons of networks, losses and seeds on the same recordings; the entry point is `ddaudio.compare`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddaudio.comparing.results import Comparison
    from ddaudio.comparing.run import CompareProgress, compare
    from ddaudio.options.compare import CompareOptions

__all__ = ["CompareOptions", "CompareProgress", "Comparison", "compare"]


def __getattr__(name: str) -> object:
    # Loaded lazily: the help of the command needs only the options.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = {"CompareOptions": "options.compare", "Comparison": "comparing.results"}.get(name, "comparing.run")
    return getattr(import_module(f"ddaudio.{home}"), name)
