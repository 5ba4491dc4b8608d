"""Help in two lengths: ``--help`` shows the most common settings, ``--help-all`` all settings."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

COMPLETE = "--help-all"
HELP_FLAGS = ("--help", "-h", COMPLETE)
COMMON = (
    "model",
    "target_snr_db",
    "budget",
    "max_parameters_per_sample",
    "partials",
    "losses",
    "optimiser",
    "steps",
    "frame_s",
    "seed",
    "sample_rate",
    "encoding",
    "quality",
)
"""Settings of a fit that ``--help`` shows, in this order."""


class OnDemand:
    """Formatter of panels that are shown only by ``--help-all``; called by cyclopts instead of its own."""

    def __init__(self) -> None:
        self.is_shown = False

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Print the panel, or nothing."""
        from cyclopts.help.formatters import DefaultFormatter  # noqa: PLC0415 - imports rich, which only the help needs

        if self.is_shown:
            DefaultFormatter()(console, options, panel)


LABORATORY = OnDemand()
"""Formatter of all panels with less common settings."""
