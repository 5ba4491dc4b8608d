"""``ddaudio export``: the components of a model as a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from ddaudio.editing.formats import FORMATS
from ddaudio.io.output_files import check_made_from

from .console import print_message, print_result

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(FORMATS)]


def export(
    model: Path,
    /,
    *,
    table_format: Annotated[FormatName, Parameter(name="--format")] = "csv",
    only: Literal["waves", "noise"] | None = None,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Print the components of a model as a table: signal, time (s), frequency (Hz), amplitude and further columns.

    The columns, and the formula that rebuilds the sound from them, are in docs/export.md.

    Args:
        model: The folder of a fit, or its model.safetensors.
        table_format: Format of the table.
        only: Part of the model to export: its waves, or the levels of its noise (default: the waves, if it has any).
        out: File to write (default: standard output).
        force: Overwrite the file if it exists.
    """
    if out is not None:
        check_made_from(out, model, force=force)
    from ddaudio.editing import tables  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.io import audio  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.models import file as model_file  # noqa: PLC0415 - imports torch, which takes its time

    network = model_file.load_model(model)
    noise = [term.is_noise for term in network.terms]
    if only is None and any(noise) and not all(noise):
        print_message("note", "the levels of the noise are a table of their own: --only noise")
    as_noise = only == "noise" or (only is None and all(noise))
    text = (tables.noise_table if as_noise else tables.partials_table)(network, table_format)
    if out is None:
        print_result(text.removesuffix("\n"))
        return
    with audio.whole_file(out) as stream:
        stream.write(text.encode())
