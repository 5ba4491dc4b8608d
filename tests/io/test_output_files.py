"""Checks of output files."""

from pathlib import Path

import pytest

from ddaudio.errors import OutputError
from ddaudio.io.output_files import check_made_from, check_new


def test_an_output_file_has_a_folder_and_replaces_nothing(tmp_path: Path) -> None:
    new, old = tmp_path / "new.wav", tmp_path / "old.wav"
    old.touch()
    check_new(new, force=False)
    check_new(old, force=True)
    for path, force, problem in (
        (old, False, "exists"),
        (tmp_path, True, "is a folder"),
        (tmp_path / "none" / "a.wav", True, "there is no folder"),
    ):
        with pytest.raises(OutputError, match=problem):
            check_new(path, force=force)


@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_model_is_not_replaced_by_what_is_made_from_it(named: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.touch()
    model = tmp_path if named == "folder" else file
    with pytest.raises(OutputError, match="the model itself"):
        check_made_from(file, model, force=True)
    check_made_from(tmp_path / "a.wav", model, force=False)
