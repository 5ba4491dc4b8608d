"""Checks of output files, to be made before any work."""

from pathlib import Path

from ddaudio.errors import OutputError


def check_made_from(path: Path, model: Path, *, force: bool) -> None:
    """Raise `OutputError` if ``path`` exists, is in no folder, or is the file of the ``model`` that the output is made from."""
    _check_place(path)
    if path.resolve() in (model.resolve(), (model / "model.safetensors").resolve()):
        raise OutputError(f"cannot write {str(path)!r}: that is the model itself", hint="choose another {out}")
    _check_there(path, force=force)


def check_new(path: Path, *, force: bool) -> None:
    """Raise `OutputError` if ``path`` exists and not ``force``, or is in no folder."""
    _check_place(path)
    _check_there(path, force=force)


def _check_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputError(
            f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}", hint="create it, or choose another {out}"
        )
    if path.is_dir():
        raise OutputError(f"cannot write {str(path)!r}: it is a folder", hint="give the path of a file with {out}")


def _check_there(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise OutputError(f"{str(path)!r} exists", hint="choose another {out}, or overwrite it with {force=True}")
