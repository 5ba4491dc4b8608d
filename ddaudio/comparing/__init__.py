"""The lab: the same recordings, several networks and losses, several seeds, one table. `ddaudio.compare` is the verb."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddaudio.comparing.results import Comparison
    from ddaudio.comparing.run import CompareProgress, compare
    from ddaudio.options.compare import CompareOptions

__all__ = ["CompareOptions", "CompareProgress", "Comparison", "compare"]


def __getattr__(name: str) -> object:
    # The command's help needs the settings alone, at once.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = {"CompareOptions": "options.compare", "Comparison": "comparing.results"}.get(name, "comparing.run")
    return getattr(import_module(f"ddaudio.{home}"), name)
