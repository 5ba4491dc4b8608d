"""``ddaudio import``: a file of another program as a model."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ddaudio.options import Encoding

from .console import print_gain, print_message, print_result
from .flags import Whole


def import_file(
    file: Path,
    /,
    *,
    out: Path,
    sample_rate: Whole | None = None,
    html: bool = True,
    encoding: Encoding = "float32",
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Read tracks of another program as a model, which can be rendered, edited and exported.

    The formats are SDIF, ATS, SPEAR text, MIDI, and CSV and JSON as export writes them; docs/formats.md describes them.

    Args:
        file: The file; its format is recognised by its contents.
        out: Folder to write: sound, model, report and page.
        sample_rate: Sample rate, 1000 to 384000 Hz (default: that of the file, or 44100).
        html: Write the page.
        encoding: Sample format of the sounds.
        force: Overwrite a fit or a model in the folder.
    """
    from ddaudio.report.import_files import import_to_folder  # noqa: PLC0415 - imports torch, which takes its time

    made = import_to_folder(file, out, sample_rate=sample_rate, force=force, html=html, encoding=encoding)
    for note in made.notes:
        print_message("note", note)
    for name, gain in made.report["wav"]["gains"].items():
        print_gain(str(out / name), gain, encoding)
    sound, size = made.report["sound"], made.report["model"]
    print_result(
        f"wrote {out}: {sound['duration_s']:.3g} s in {sound['channels']} channel{'s' * (sound['channels'] > 1)} at "
        f"{sound['sample_rate']} Hz from {made.file_format}, model {size['name']} with {size['n_parameters']} parameters\n"
        f"files {', '.join(made.report['files'])}"
    )
