"""``ddaudio export``: a model's partials as a table."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from .console import print_result
from .output_paths import check_file


def export(
    model: Path,
    /,
    *,
    table_format: Annotated[Literal["csv", "json"], Parameter(name="--format")] = "csv",
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Print the partials or ropes of a model, a row each: signal, time (s), frequency (Hz), amplitude, and what else there is.

    Args:
        model: A fit's folder, or its model.safetensors.
        table_format: How the table is written.
        out: File to write (default: print to stdout).
        force: Overwrite the file if it exists.
    """
    if out is not None:
        check_file(out, model, force=force)
    from ddaudio.editing import tables  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.io import audio  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.models import file as model_file  # noqa: PLC0415 - imports torch, which takes its time

    text = tables.partials_table(model_file.load_model(model), table_format)
    if out is None:
        print_result(text.removesuffix("\n"))
        return
    with audio.whole_file(out) as stream:
        stream.write(text.encode())
