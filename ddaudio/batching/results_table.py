"""Result rows of a batch, and the tables ``results.csv`` and ``results.parquet``."""

import csv
import json
import os
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, get_type_hints

from ddaudio.errors import BatchError, DdaudioError, OutputError
from ddaudio.io.paths import csv_cell, printable
from ddaudio.metrics.registry import METRICS

if TYPE_CHECKING:
    import pyarrow  # type: ignore[import-untyped]

ROWS_AT_ONCE = 1000
"""Rows that are held in memory while a table is written."""


@dataclass(frozen=True)
class Row:
    """Result of one recording; unknown values are None."""

    path: str
    """Path or URL of the recording; bytes that are not UTF-8 are escaped."""
    folder: str
    """Folder of its fit, relative to the output."""
    status: str
    """``fitted`` by this batch, ``kept`` because it was up to date, or ``failed``."""
    reason: str | None = None
    """Reason of the failure."""
    attempts: int = 0
    """Number of attempts in this batch."""
    sha256: str | None = None
    """Hash of the samples."""
    settings_sha256: str | None = None
    """Hash of the resolved settings."""
    duration_s: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    fit_status: str | None = None
    """How training ended."""
    goal_reached: bool | None = None
    warnings: str | None = None
    """Warnings, joined by ``; ``."""
    model: str | None = None
    n_parameters: int | None = None
    parameters_per_sample: float | None = None
    n_components: int | None = None
    """Partials or ropes."""
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    """Value of each metric, by name; one column each."""
    mdct_snr_db: float | None = None
    """SNR of the best-k MDCT baseline at equal size."""
    training_gain_db: float | None = None
    seconds: float | None = None
    """Wall-clock time of reading, fitting and measuring."""

    @classmethod
    def of_report(cls, place: str, folder: str, status: str, report: Mapping[str, Any], attempts: int = 0) -> "Row":
        """Return the row of a fit from its report; raises KeyError or TypeError if the report is damaged."""
        recording, model, seconds = report["recording"], report["model"], report["seconds"]
        return cls(
            path=printable(place),
            folder=folder,
            status=status,
            attempts=attempts,
            sha256=recording["sha256"],
            settings_sha256=report["settings_sha256"],
            duration_s=recording["duration_s"],
            sample_rate=recording["sample_rate"],
            channels=recording["channels"],
            fit_status=report["status"],
            goal_reached=report["goal"]["reached"],
            warnings="; ".join(report["warnings"]) or None,
            model=model["name"],
            n_parameters=model["n_parameters"],
            parameters_per_sample=model["parameters_per_sample"],
            n_components=model["n_components"],
            metrics={name: metric["value"] for name, metric in report["metrics"].items()},
            mdct_snr_db=report["baseline"]["snr_db"],
            training_gain_db=report["training"]["gain_db"],
            seconds=seconds["reading"] + seconds["fitting"] + seconds["measuring"],
        )

    @classmethod
    def failure(cls, place: str, folder: str, reason: str, attempts: int) -> "Row":
        """Return the row of a recording that could not be fitted; the reason is put on one line."""
        return cls(printable(place), folder, "failed", " ".join(printable(reason).split()), attempts)

    @property
    def snr_db(self) -> float | None:
        """Signal-to-noise ratio."""
        return self.metrics.get("snr_db")

    @property
    def erb_db(self) -> float | None:
        """ERB distance, by which fits are ranked."""
        return self.metrics.get("erb_db")

    def flat(self) -> dict[str, Any]:
        """Return the values of all `columns`, by name."""
        row = asdict(self)
        metrics = row.pop("metrics")
        return {name: row[name] if name in row else metrics.get(name) for name in columns()}

    @classmethod
    def of_flat(cls, values: Mapping[str, Any]) -> "Row":
        """Return the row with the given columns; missing ones are unknown."""
        own = {name: value for name, value in values.items() if name not in METRICS}
        return cls(**own, metrics={name: value for name, value in values.items() if name in METRICS})

    def tried(self, attempts: int) -> "Row":
        """Return a copy with another number of attempts."""
        return replace(self, attempts=attempts)


class Outcome(NamedTuple):
    """Result of one attempt at a recording."""

    row: Row
    again: bool
    """Whether a retry may succeed."""


_NO_MEMORY = ("allocate memory", "out of memory")
"""Parts of the messages of torch's RuntimeError when memory is exhausted, on the CPU and on a GPU."""


def outcome_of(place: str, folder: str, error: Exception, passing: tuple[type[Exception], ...]) -> Outcome:
    """Return the outcome of a failed attempt; errors of the types ``passing`` are temporary and may be retried."""
    known = isinstance(error, (DdaudioError, *passing))
    reason = str(error) if known and str(error) else f"{type(error).__name__}: {error}"
    lacks_memory = isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    again = isinstance(error, (OutputError, MemoryError, *passing)) and not isinstance(error, ValueError | ImportError)
    again = again or lacks_memory
    return Outcome(Row.failure(place, folder, reason, 1), again or isinstance(error.__cause__, OSError))


def columns() -> tuple[str, ...]:
    """Return the columns of the tables in order: the fields of a row, with ``metrics`` replaced by a column per metric."""
    names = [[*METRICS] if member.name == "metrics" else [member.name] for member in fields(Row)]
    return tuple(name for some in names for name in some)


class RowStore:
    """Rows by index in the batch, stored in an unnamed temporary file; needs 8 bytes of memory per row."""

    def __init__(self, n_rows: int) -> None:
        """Create an empty store for ``n_rows`` rows; raises `OutputError` if no temporary file can be made."""
        self._places = array("q", [-1]) * n_rows
        try:
            self._file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by `close`
        except OSError as error:
            problem = f"cannot make a temporary file: {error.strerror or error}"
            raise OutputError(problem, hint="set the environment variable TMPDIR to a folder on a disk with room") from error

    def put(self, place: int, row: Row) -> None:
        """Store a row at an index, replacing an earlier one."""
        self._places[place] = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(asdict(row)).encode() + b"\n")

    def has(self, place: int) -> bool:
        """Return whether there is a row at an index."""
        return self._places[place] >= 0

    def get(self, place: int) -> Row:
        """Return the row at an index, which must be there."""
        self._file.seek(self._places[place])
        return Row(**json.loads(self._file.readline()))

    def __iter__(self) -> Iterator[Row]:
        """Yield the stored rows, in order."""
        for place in range(len(self._places)):
            if self.has(place):
                yield self.get(place)

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()


def schema() -> "pyarrow.Schema":
    """Return the schema of ``results.parquet``."""
    import pyarrow  # noqa: PLC0415 - slow to import

    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    hints = get_type_hints(Row)
    # For a type such as ``float | None`` the first one is used.
    types = {name: getattr(hint, "__args__", (hint,))[0] for name, hint in hints.items()}
    return pyarrow.schema([(name, kinds[float if name in METRICS else types[name]]) for name in columns()])


def write_tables(rows: RowStore, csv_path: Path, parquet_path: Path) -> None:
    """Write both tables in chunks of rows."""
    import pyarrow  # noqa: PLC0415 - slow to import
    from pyarrow import parquet  # noqa: PLC0415

    types = schema()
    with (
        csv_path.open("w", encoding="utf-8", newline="") as file,
        parquet.ParquetWriter(parquet_path, types, write_page_checksum=True) as writer,
    ):
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns())
        for some in _some_at_a_time(iter(rows)):
            table.writerows([csv_cell(value) for value in row.values()] for row in some)
            writer.write_table(pyarrow.Table.from_pylist(some, types))


def _some_at_a_time(rows: Iterator[Row]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row.flat())
        if len(some) == ROWS_AT_ONCE:
            yield some
            some = []
    yield some


def read_table(file: IO[bytes] | Path) -> Iterator[Row]:
    """Yield the rows of ``results.parquet``, read in chunks; unknown columns are ignored.

    Raises `BatchError` if the file is damaged.
    """
    from pyarrow import ArrowException, parquet  # noqa: PLC0415 - slow to import

    try:
        table = parquet.ParquetFile(file, page_checksum_verification=True)
        names = [name for name in columns() if name in table.schema_arrow.names]
        for batch in table.iter_batches(ROWS_AT_ONCE, columns=names):
            for values in batch.to_pylist():
                yield Row.of_flat(values)
    except (ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        problem = f"the table of results is damaged: {' '.join(str(error).split())[:200]}"
        raise BatchError(problem, hint="run the batch again") from None
