"""``ddaudio morph``: a model between two others."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from cyclopts import Parameter

from ddaudio.editing.edits import MORPH_SETTINGS
from ddaudio.options import Encoding

from .edit import edit_flag, print_model

if TYPE_CHECKING:
    MorphSettings = dict[str, Any]
else:
    MorphSettings = TypedDict("MorphSettings", {one.name: edit_flag(one) for one in MORPH_SETTINGS}, total=False)
    MorphSettings.__doc__ = "The settings of a morph that were given as flags, by name; the others are absent."


def morph(
    first: Path,
    second: Path,
    /,
    *,
    out: Path,
    settings: Annotated[MorphSettings | None, Parameter(name="*")] = None,
    html: bool = True,
    encoding: Encoding = "float32",
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Morph two models of one sample rate and number of channels: amounts are 0 for the first and 1 for the second.

    Harmonics of equal number become one where both have a pitch; elsewhere, the power of partials is transported over frequency.

    Args:
        first: The folder of a fit or of an edited model, or its model.safetensors.
        second: The other model.
        out: Folder to write: sound, model, report and page.
        settings: The amounts.
        html: Write the page.
        encoding: Sample format of the sounds.
        force: Overwrite a fit or a model in the folder.
    """
    from ddaudio.report.edit_files import morph_to_folder  # noqa: PLC0415 - imports torch, which takes its time

    report = morph_to_folder(first, second, out, force=force, html=html, encoding=encoding, **(settings or {}))
    print_model(out, report, encoding)
