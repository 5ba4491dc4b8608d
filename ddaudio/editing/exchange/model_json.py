"""A whole model as JSON: its settings and tensors, with all digits."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddaudio.errors import ExchangeError, ModelError
from ddaudio.io.formats import MODEL_FORMAT
from ddaudio.io.json_text import parse_json

KIND = "ddaudio_model"
BEGINS = f'{{"{KIND}"'.encode()
TYPES = {"float32": torch.float32, "int32": torch.int32}
"""Types of the tensors of models."""
DAMAGED = "export the model again"


def write(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return `ddaudio.models.file.model_parts` as a JSON object; what is read back renders the same bits."""
    contents = {
        KIND: MODEL_FORMAT.text,
        "settings": dict(settings),
        "tensors": {name: _tensor(one) for name, one in tensors.items()},
    }
    return json.dumps(contents, allow_nan=False, separators=(",", ":")).replace("},", "},\n").encode() + b"\n"


def _tensor(values: Tensor) -> dict[str, Any]:
    """Return a tensor with the shortest decimals that are read as the same values."""
    kind = next(name for name, dtype in TYPES.items() if dtype == values.dtype)
    flat = values.flatten().numpy()
    numbers = flat.tolist() if kind == "int32" else [float(str(value)) for value in flat]
    return {"type": kind, "shape": list(values.shape), "values": numbers}


def read(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings and tensors of a JSON object.

    Raises:
        ExchangeError: it is not the JSON of a model, or damaged.
        ModelError: it is of another format of models.

    """
    try:
        contents = parse_json(data)
    except ValueError as error:
        raise ExchangeError(f"it cannot be read as JSON: {error}", hint=DAMAGED) from None
    if not isinstance(contents, dict) or not isinstance(contents.get(KIND), str):
        raise ExchangeError("it is not the JSON of a model", hint=DAMAGED)
    if contents[KIND] != MODEL_FORMAT.text:
        raise ModelError(**MODEL_FORMAT.mismatch("the JSON", contents[KIND]))
    settings, tensors = contents.get("settings"), contents.get("tensors")
    if not isinstance(settings, dict) or not isinstance(tensors, dict):
        raise ExchangeError("it has no settings or no tensors", hint=DAMAGED)
    return settings, {str(name): _values(name, one) for name, one in tensors.items()}


def _values(name: str, tensor: Any) -> Tensor:
    """Return a tensor; raises `ExchangeError` if it is none."""
    try:
        kind, shape, numbers = tensor["type"], tensor["shape"], tensor["values"]
        if {type(value) for value in numbers} - {int, float} or math.prod(shape) != len(numbers):
            raise ValueError("values or shape are not of a tensor")
        values = np.array(numbers, dtype=np.float64)
        if kind == "int32" and not np.all((values == np.floor(values)) & (np.abs(values) < 1 << 31)):
            raise ValueError("values are not of the type int32")
        with np.errstate(over="ignore"):
            return torch.from_numpy(values.astype({"float32": np.float32, "int32": np.int32}[kind])).reshape(shape)
    except (TypeError, KeyError, ValueError, IndexError, OverflowError, RuntimeError) as error:
        raise ExchangeError(f"its tensor {name!r:.50} is damaged: {str(error)[:100]}", hint=DAMAGED) from None
