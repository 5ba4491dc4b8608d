"""``ddaudio edit``: a model stretched, shifted, or otherwise changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from cyclopts import Parameter

from ddaudio.editing.edits import EDITS, EditSetting
from ddaudio.options import Encoding

from .console import print_gain, print_result
from .refusals import flag

TYPES: dict[str, Any] = {"curve": str, "number": float, "text": str, "texts": list[str], "switch": bool}
"""Type of the flag of each kind of setting."""


def edit_flag(setting: EditSetting) -> Any:
    """Return the annotation of the flag of a setting."""
    hint = TYPES[setting.kind]
    reading: dict[str, Any] = {"negative": ""} if setting.kind in ("switch", "texts") else {"allow_leading_hyphen": True}
    if setting.kind == "texts":
        reading |= {"consume_multiple": False}
    return Annotated[hint, Parameter(name=flag(setting.name), help=setting.help, show_default=False, **reading)]


if TYPE_CHECKING:
    EditSettings = dict[str, Any]
else:
    EditSettings = TypedDict(
        "EditSettings", {one.name: edit_flag(one) for row in EDITS.values() for one in row.settings}, total=False
    )
    EditSettings.__doc__ = "The settings of edits that were given as flags, by name; the others are absent."


def edit(
    model: Path,
    /,
    *,
    out: Path,
    settings: Annotated[EditSettings | None, Parameter(name="*")] = None,
    html: bool = True,
    encoding: Encoding = "float32",
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Edit a model: change its time, pitch, formants, or balance. The result is a model, and can be edited again.

    Edits are applied in the order of this list, whatever the order of the flags.

    Args:
        model: The folder of a fit or of an edited model, or its model.safetensors; of partials or tracks, with or without noise.
        out: Folder to write: sound, model, report and page.
        settings: The edits.
        html: Write the page.
        encoding: Sample format of the sounds.
        force: Overwrite a fit or a model in the folder.
    """
    from ddaudio.report.edit_files import edit_to_folder  # noqa: PLC0415 - imports torch, which takes its time

    print_model(out, edit_to_folder(model, out, force=force, html=html, encoding=encoding, **(settings or {})), encoding)


def print_model(out: Path, report: dict[str, Any], encoding: Encoding) -> None:
    """Print what was written to a folder, and the gains that avoid clipping."""
    for name, gain in report["wav"]["gains"].items():
        print_gain(str(out / name), gain, encoding)
    sound, size = report["sound"], report["model"]
    print_result(
        f"wrote {out}: {sound['duration_s']:.3g} s in {sound['channels']} channel{'s' * (sound['channels'] > 1)} at "
        f"{sound['sample_rate']} Hz, model {size['name']} with {size['n_parameters']} parameters\n"
        f"files {', '.join(report['files'])}"
    )
