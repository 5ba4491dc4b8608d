"""The file ``curve.json`` of a fit of a comparison: its run and its loss curve."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from ddaudio.comparing.runs import Curve, Run
from ddaudio.io.json_text import parse_json

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

CURVE = "curve.json"
"""File with run and curve in the folder of a fit; written last, it marks the fit as complete."""


@dataclass(frozen=True)
class CurveFile:
    """Contents of the file."""

    key: str
    """Hash of all that the fit depends on."""
    html: bool
    """Whether the fit has a page."""
    run: Run
    curve: Curve

    def data(self) -> bytes:
        """Return the file."""
        return json.dumps(asdict(self), allow_nan=False).encode()

    @classmethod
    def parse(cls, data: bytes) -> "CurveFile":
        """Return the contents of a file; raises ValueError if it is damaged."""
        found = parse_json(data)
        problem = next(iter(_validator().iter_errors(found)), None)
        if problem is not None:
            raise ValueError(f"at {problem.json_path}: {problem.message[:200]}")
        curve = Curve(**found["curve"])
        if len({len(getattr(curve, column.name)) for column in fields(Curve)}) > 1:
            raise ValueError("the columns of the curve have different lengths")
        return cls(found["key"], found["html"], Run(**found["run"]), curve)


@cache
def _validator() -> "Validator":
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow to import

    return Draft202012Validator(_schema(CurveFile))


def _schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema of a type: of dataclasses, all of whose fields are required, and of what they contain."""
    if isinstance(kind, UnionType):
        return {"anyOf": [_schema(each) for each in get_args(kind)]}
    if (origin := get_origin(kind)) is list:
        return {"type": "array", "items": _schema(get_args(kind)[0])}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(get_args(kind)[1])}
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    if kind in names:
        return {"type": names[kind]}
    members = {name: _schema(each) for name, each in get_type_hints(kind).items()}
    return {"type": "object", "properties": members, "required": [*members], "additionalProperties": False}
