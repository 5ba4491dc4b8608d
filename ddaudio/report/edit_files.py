"""Edits of saved models, from folder to folder."""

import os
from pathlib import Path
from typing import Any

from ddaudio.editing.edit import edit, edits_of
from ddaudio.editing.morph import morph
from ddaudio.errors import OptionError
from ddaudio.models.file import load_model
from ddaudio.options import Encoding
from ddaudio.report.save_model import check_model_folder, save_model
from ddaudio.results.model_report import Origin


def edit_to_folder(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    html: bool = True,
    encoding: Encoding = "float32",
    **settings: Any,
) -> dict[str, Any]:
    """Edit a saved model, write the result to a folder, and return its report.

    Args:
        model: folder of a fit or of a model, or its ``model.safetensors``.
        out: folder to write, see `ddaudio.report.save_model.save_model`.
        force: overwrite a fit or a model that is there.
        html: write the page.
        encoding: sample format of the sounds.
        **settings: settings of the edits, as `ddaudio.edit` takes them; at least one.

    Raises:
        OutputError: the folder cannot be written, or there is something in it and ``force`` is not given.
        ModelError: the model cannot be read.
        OptionError: as `ddaudio.edit` does, or no setting is given.

    """
    given = {name: value for name, value in settings.items() if value is not None}
    if not given:
        raise OptionError("no edit is given", hint="give one, such as {stretch=2}")
    edits_of(given)  # before anything is read or rendered
    check_model_folder(out, [os.fspath(model)], force=force)
    network = edit(load_model(model), **given)
    origin = Origin("edit", (str(Path(model)),), {name: _plain(value) for name, value in given.items()})
    return save_model(network, out, origin, force=force, html=html, encoding=encoding)


def morph_to_folder(
    first: str | os.PathLike[str],
    second: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    force: bool = False,
    html: bool = True,
    encoding: Encoding = "float32",
    **settings: Any,
) -> dict[str, Any]:
    """Morph two saved models, write the result to a folder, and return its report.

    Args:
        first: folder of a fit or of a model, or its ``model.safetensors``.
        second: the other one.
        out: folder to write, see `ddaudio.report.save_model.save_model`.
        force: overwrite a fit or a model that is there.
        html: write the page.
        encoding: sample format of the sounds.
        **settings: as `ddaudio.morph` takes them.

    Raises:
        OutputError: the folder cannot be written, or there is something in it and ``force`` is not given.
        ModelError: a model cannot be read.
        OptionError: as `ddaudio.morph` does.

    """
    given = {name: value for name, value in settings.items() if value is not None}
    sources = (str(Path(first)), str(Path(second)))
    check_model_folder(out, sources, force=force)
    network = morph(load_model(first), load_model(second), **given)
    origin = Origin("morph", sources, {name: _plain(value) for name, value in given.items()})
    return save_model(network, out, origin, force=force, html=html, encoding=encoding)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    return value if isinstance(value, str | int | float | bool | list) else str(value)
