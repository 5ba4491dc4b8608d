"""Comparisons on the same recordings, and searches of settings; the entry points are `ddaudio.compare` and `ddaudio.search`."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddaudio.comparing.results import Comparison
    from ddaudio.comparing.run import CompareProgress, compare
    from ddaudio.comparing.searching import Search, search
    from ddaudio.options.compare import CompareOptions
    from ddaudio.options.search import SearchOptions

_HOMES = {
    "CompareOptions": "options.compare",
    "CompareProgress": "comparing.run",
    "Comparison": "comparing.results",
    "Search": "comparing.searching",
    "SearchOptions": "options.search",
    "compare": "comparing.run",
    "search": "comparing.searching",
}

__all__ = ["CompareOptions", "CompareProgress", "Comparison", "Search", "SearchOptions", "compare", "search"]


def __getattr__(name: str) -> object:
    # Loaded lazily: the help of the command needs only the options.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"ddaudio.{_HOMES[name]}"), name)
