"""Import of files of other programs to folders."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from ddaudio.editing.exchange.importing import import_file
from ddaudio.options import Encoding
from ddaudio.report.save_model import check_model_folder, save_model
from ddaudio.results.model_report import Origin


class ImportedFolder(NamedTuple):
    """A folder with an imported model."""

    report: dict[str, Any]
    """Contents of ``report.json``."""
    file_format: str
    """Name of the format of the file."""
    notes: tuple[str, ...]
    """What was skipped or assumed."""


def import_to_folder(
    file: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    sample_rate: int | None = None,
    force: bool = False,
    html: bool = True,
    encoding: Encoding = "float32",
) -> ImportedFolder:
    """Read a file of another program, and write its model to a folder.

    Args:
        file: file of one of the formats with a reader in `ddaudio.editing.formats.FORMATS`.
        out: folder to write, see `ddaudio.report.save_model.save_model`.
        sample_rate: in Hz (default: that of the file, or 44,100).
        force: overwrite a fit or a model that is there.
        html: write the page.
        encoding: sample format of the sounds.

    Raises:
        OutputError: the folder cannot be written, or there is something in it and ``force`` is not given.
        ExchangeError, ModelError, OptionError: as `ddaudio.editing.exchange.importing.import_model` does.

    """
    check_model_folder(out, (str(Path(file)),), force=force)
    imported = import_file(file, sample_rate=sample_rate)
    settings = {"format": imported.file_format} | ({} if sample_rate is None else {"sample_rate": sample_rate})
    origin = Origin("import", (str(Path(file)),), settings)
    written = imported.network, out, origin
    report = save_model(*written, force=force, html=html, encoding=encoding, model=imported.model)
    return ImportedFolder(report, imported.file_format, imported.notes)
