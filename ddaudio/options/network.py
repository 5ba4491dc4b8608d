"""What the settings of all networks have in common."""

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class NetworkOptions:
    """Settings of one network: base of the option class of each, and the class itself of networks without any."""

    training_only: ClassVar[tuple[str, ...]] = ()
    """Settings that a model's file does not need, since they concern the fit alone."""

    @property
    def second_order(self) -> bool:
        """Whether Gauss-Newton is the default optimiser with these settings, if it is the network's."""
        return True

    @property
    def fitted_as(self) -> str | None:
        """Another network that these settings ask for, with the grid's gates as its windows; None for the network itself."""
        return None

    def check_start(self, initialisation: str) -> None:
        """Raise `OptionError` for settings that contradict the starting point that was chosen."""

    def check_optimiser(self, optimiser: str | None) -> None:
        """Raise `OptionError` for settings that contradict the optimiser that was chosen."""

    def changes(self) -> dict[str, Any]:
        """Return the settings that are not the defaults, by name."""
        values = {member.name: (getattr(self, member.name), member.default) for member in fields(self)}
        return {name: value for name, (value, default) in values.items() if value != default}

    def table(self) -> dict[str, Any]:
        """Return the settings that make a network again, by name, without those that have no value."""
        return {name: value for name, value in asdict(self).items() if value is not None and name not in self.training_only}
