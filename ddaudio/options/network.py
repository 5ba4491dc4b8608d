"""Base class of the settings of networks."""

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class NetworkOptions:
    """Settings of one network: base of the option classes, and the option class of networks without settings."""

    training_only: ClassVar[tuple[str, ...]] = ()
    """Settings that concern only the fit, and are not stored in model files."""

    @property
    def second_order(self) -> bool:
        """Whether Gauss-Newton is the default optimiser with these settings, if it is the network's."""
        return True

    @property
    def fitted_as(self) -> str | None:
        """Name of the network fitted instead, with the grid's gates as windows; None for the network itself."""
        return None

    def check_start(self, initialisation: str) -> None:
        """Raise `OptionError` for settings in conflict with the initialisation."""

    def check_sample_rate(self, sample_rate: int) -> None:
        """Raise `OptionError` for settings in conflict with the sample rate of the recording in Hz."""

    def check_optimiser(self, optimiser: str | None) -> None:
        """Raise `OptionError` for settings in conflict with the optimiser."""

    def changes(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, by name."""
        values = {member.name: (getattr(self, member.name), member.default) for member in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    def table(self) -> dict[str, Any]:
        """Return the settings needed to recreate the network, by name, without those that have no value."""
        return {name: value for name, value in asdict(self).items() if value is not None and name not in self.training_only}
