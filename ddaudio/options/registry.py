"""Registries of networks, losses, metrics and formats, without torch.

A row contains the facts needed for settings, help, planning and reports, and the import path of the code, which is loaded when
it is first used. Other packages register rows through entry points, see ``docs/extending.md``.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Protocol, TypeVar

from ddaudio.errors import OptionError, PluginError, closest

NAME = re.compile(r"[a-z][a-z0-9_-]*")
"""Pattern of names, which must be valid in flags, TOML tables and sums such as ``sine+cascade``."""


REMEDY = "update or uninstall the package"
"""Hint of errors about rows of other packages."""


class Row(Protocol):
    """Protocol of the rows of a registry."""

    @property
    def name(self) -> str:
        """Name in settings, files and tables."""

    @property
    def summary(self) -> str:
        """Short description for the help, without capital and full stop."""

    @property
    def path(self) -> str:
        """Import path of its code, such as ``ddaudio.models.sine:SineNetwork``."""


RowT = TypeVar("RowT", bound=Row)


class Registry(Mapping[str, RowT], Generic[RowT]):
    """Rows by name: those of ddaudio in order, then those of other packages, sorted by name.

    Args:
        group: Group of the entry points, such as ``ddaudio.networks``.
        row_type: Class of the rows.
        rows: The rows of ddaudio.
        check: Raises `ValueError` for an invalid row of another package, given all rows before it.

    """

    def __init__(
        self,
        group: str,
        row_type: type[RowT],
        rows: Iterable[RowT],
        check: Callable[[RowT, Mapping[str, RowT]], None] | None = None,
    ) -> None:
        self.group, self._row_type, self._checks = group, row_type, [check] if check else []
        self._own = {row.name: row for row in rows}

    @cached_property
    def _found(self) -> tuple[dict[str, RowT], dict[str, str]]:
        """Usable rows, and the problems of others, by name."""
        rows, problems = dict(self._own), dict[str, str]()
        for point in sorted(_entry_points().select(group=self.group), key=lambda point: (point.name, point.value)):
            try:
                row = self._loaded(point)
                if row.name in rows:
                    raise ValueError("the name is taken")
                for check in self._checks:
                    check(row, rows)
            except Exception as error:  # errors of other packages are reported when their row is used
                problems.setdefault(point.name, f"{_origin(point)}: {type(error).__name__}: {error}")
            else:
                rows[row.name] = row
        # Of two rows with the same name neither is used, since the choice would be arbitrary.
        return {name: row for name, row in rows.items() if name not in problems}, problems

    def _loaded(self, point: EntryPoint) -> RowT:
        row = point.load()
        if not isinstance(row, self._row_type):
            raise TypeError(f"it is a {type(row).__name__}, not a {self._row_type.__name__}")
        if row.name != point.name:
            raise ValueError(f"the row has another name, {row.name!r}")
        if not NAME.fullmatch(row.name):
            raise ValueError("a name has lower-case letters, digits, - and _ only")
        return row

    def __getitem__(self, name: str) -> RowT:
        """Return a row; raises `PluginError` for a broken row of another package, `KeyError` for an unknown name."""
        rows, problems = self._found
        if name in problems:
            raise PluginError(f"{self.group} {name!r} cannot be used: {problems[name]}", hint=REMEDY)
        return rows[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the usable rows."""
        return iter(self._found[0])

    def __len__(self) -> int:
        """Return the number of usable rows."""
        return len(self._found[0])

    def __contains__(self, name: object) -> bool:
        """Return whether a name is known, including names of broken rows."""
        return name in self._found[0] or name in self._found[1]

    @property
    def problems(self) -> Mapping[str, str]:
        """Problems of rows of other packages, by name."""
        return self._found[1]

    def check(self) -> None:
        """Raise `PluginError` if any row of another package is broken."""
        for name in self.problems:
            self[name]

    def look_up(self, name: str, setting: str, verb: str = "names") -> RowT:
        """Return the row named by a setting; raises `OptionError` with the nearest known name, or `PluginError`."""
        if name not in self:
            raise OptionError(setting=setting, value=name, verb=verb, allowed=", ".join(self), hint=closest(name, self))
        return self[name]

    def add_check(self, check: Callable[[RowT, Mapping[str, RowT]], None]) -> None:
        """Add a check of rows of other packages, for checks that need modules loaded later."""
        self._checks.append(check)
        self.__dict__.pop("_found", None)

    def refresh(self) -> None:
        """Read the entry points again, for example after an installation in the same process."""
        _entry_points.cache_clear()
        self.__dict__.pop("_found", None)


@cache
def _entry_points() -> Any:
    """Return the entry points of all installed packages, which takes some milliseconds."""
    return entry_points()


def _origin(point: EntryPoint) -> str:
    package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "a package"
    return f"{package} registers {point.value}"


def load(row: Row) -> Any:
    """Import and return the code of a row; raises `PluginError` if that fails."""
    module, _, name = row.path.partition(":")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{row.name!r} cannot be loaded from {row.path}: {error}", hint=REMEDY) from error
