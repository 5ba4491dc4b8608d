"""``ddaudio export``: a model as a table of its components, or as a file of another program."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ddaudio.editing.formats import FORMATS
from ddaudio.errors import OptionError
from ddaudio.io.output_files import check_made_from

from .console import print_message, print_result
from .flags import Whole

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(FORMATS)]


def export(
    model: Path,
    /,
    *,
    table_format: Annotated[FormatName, Parameter(name="--format")] = "csv",
    only: Literal["waves", "noise", "pitch"] | None = None,
    channel: Whole | None = None,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Write a model as a table of its components, or as a file of another program.

    The columns of tables, and the formula that rebuilds the sound from them, are in docs/export.md; the other formats are
    described in docs/formats.md.

    Args:
        model: The folder of a fit, or its model.safetensors.
        table_format: Format of the file: csv and json are tables.
        only: Part in a table: the waves of the model, the levels of its noise, or the pitch in the report of the fit (default:
            the waves, if it has any).
        channel: The only channel to write, from 0, in formats of tracks (default: all).
        out: File to write (default: standard output, for tables).
        force: Overwrite the file if it exists.
    """
    if FORMATS[table_format].content != "components":
        _export_file(model, table_format, only, channel, out, force=force)
    elif channel is not None:
        raise OptionError("but a table has all channels", setting="channel", value=channel, others={"format": table_format})
    else:
        _export_table(model, table_format, only, out, force=force)


def _export_file(model: Path, file_format: str, only: str | None, channel: int | None, out: Path | None, *, force: bool) -> None:
    """Write a file of another program."""
    if only is not None:
        problem = "but it is for tables only"
        raise OptionError(problem, setting="only", value=only, others={"format": file_format})
    if out is None:
        raise OptionError("which is written to files only", setting="format", value=file_format, hint="give {out} as well")
    check_made_from(out, model, force=force)
    from ddaudio.editing.exchange.exporting import export_file  # noqa: PLC0415 - imports torch, which takes its time

    for note in export_file(model, out, file_format, channel=channel, force=force):
        print_message("note", note)


def _export_table(model: Path, table_format: str, only: str | None, out: Path | None, *, force: bool) -> None:
    """Write or print a table of components."""
    if out is not None:
        check_made_from(out, model, force=force)
    from ddaudio.editing import tables  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.models import file as model_file  # noqa: PLC0415 - imports torch, which takes its time

    if only == "pitch":
        _write(tables.pitch_table(_pitch(model), table_format), out)
        return
    network = model_file.load_model(model)
    noise = [term.is_noise for term in network.terms]
    if only is None and any(noise) and not all(noise):
        print_message("note", "the levels of the noise are a table of their own: --only noise")
    as_noise = only == "noise" or (only is None and all(noise))
    text = (tables.noise_table if as_noise else tables.partials_table)(network, table_format)
    _write(text, out)


def _pitch(folder: Path) -> dict[str, Any]:
    """Return the pitch in the report of a fit; raises `OptionError` if it has none."""
    from ddaudio.results.read import read_report  # noqa: PLC0415 - imports torch, which takes its time

    f0 = read_report(folder)["f0"]
    if f0 is None:
        problem, hint = f"but the report of {str(folder)!r} has no pitch", "fit the recording again with {pitch=pyin}"
        raise OptionError(problem, setting="only", value="pitch", hint=hint)
    return dict(f0)


def _write(text: str, out: Path | None) -> None:
    """Print a table, or write it to a file."""
    if out is None:
        print_result(text.removesuffix("\n"))
        return
    from ddaudio.io import audio  # noqa: PLC0415 - imports torch, which takes its time

    with audio.whole_file(out) as stream:
        stream.write(text.encode())
