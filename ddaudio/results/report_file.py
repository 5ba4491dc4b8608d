"""Parsing of ``report.json`` and validation against its schema. Does not import torch."""

import json
import os
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ddaudio.errors import ReportError
from ddaudio.io.formats import REPORT_FORMAT
from ddaudio.io.json_text import parse_json
from ddaudio.io.paths import quoted

if TYPE_CHECKING:
    from jsonschema.protocols import Validator


def parse_report(data: bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Parse a report; ``path`` is used in errors.

    Raises `ReportError` if it is damaged, or of another format.
    """
    try:
        contents = parse_json(data)
    except ValueError as error:
        raise ReportError(f"{quoted(path)} is damaged: {error}", hint="fit the recording again") from None
    found = contents.get("schema") if isinstance(contents, dict) else None
    if type(found) is int and found != REPORT_FORMAT.number:
        raise ReportError(**REPORT_FORMAT.mismatch(path, found))
    try:
        is_model = isinstance(contents, dict) and contents.get("kind") == "model"
        validator = _validator("model.schema.json" if is_model else "report.schema.json")
        problem = next(iter(sorted(validator.iter_errors(contents), key=lambda error: error.json_path)), None)
    except RecursionError as error:
        raise ReportError(f"{quoted(path)} is damaged: {error}", hint="fit the recording again") from None
    if problem is not None:
        raise ReportError(
            f"{quoted(path)} is damaged at {problem.json_path}: {problem.message[:200]}", hint="fit the recording again"
        )
    return dict(contents)


@cache
def _validator(name: str) -> "Validator":
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow to import

    return Draft202012Validator(json.loads((files("ddaudio.results") / name).read_text(encoding="utf-8")))
