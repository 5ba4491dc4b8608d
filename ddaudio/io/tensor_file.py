"""Tensors and settings in a safetensors file with a checksum; reading it executes no code."""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ddaudio.io.json_text import parse_json

_TYPES = (
    *(torch.float32, torch.float64),
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool),
)
"""Supported types of tensors, all of which exist in numpy."""


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return metadata and tensors of any safetensors file; the path may be any bytes.

    Raises OSError if the file cannot be read, and ValueError with a reason if it is not a safetensors file.
    """
    data = Path(path).read_bytes()
    try:
        tensors = load(data)
        (size,) = struct.unpack_from("<Q", data)
        metadata = json.loads(data[8 : 8 + size]).get("__metadata__") or {}
    except (SafetensorError, KeyError, TypeError, RuntimeError, OverflowError, RecursionError, struct.error) as error:
        raise ValueError(f"{error}") from None
    for name, tensor in tensors.items():
        if tensor.dtype not in _TYPES:
            raise ValueError(f"the tensor {name!r} is of the type {tensor.dtype}")
    return metadata, tensors


def read_settings(text: str) -> dict[str, Any]:
    """Parse settings in the metadata of a file; raises ValueError if they are not a JSON object of finite numbers."""
    try:
        found = parse_json(text)
    except ValueError as error:
        raise ValueError(f"the settings cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("the settings are not a JSON object")
    return found


def checksum(settings: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, in hexadecimal digits, of settings and of tensors on the CPU, independent of their order."""
    digest = hashlib.sha256(settings.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + struct.pack("<q", tensors[name].numel()))
        digest.update(tensors[name].numpy().astype(tensors[name].numpy().dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def checksummed_safetensors(kind: str, version: str, settings: str, tensors: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file with metadata of three entries: ``kind`` the version, the settings and their checksum."""
    metadata = {kind: version, "settings": settings, "sha256": checksum(settings, tensors)}
    return _in_fixed_order(save(dict(tensors), metadata), metadata)


def _in_fixed_order(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file with its metadata in the given order, which the library does not preserve."""
    end = 8 + int(struct.unpack_from("<Q", data)[0])
    header = json.loads(data[8:end]) | {"__metadata__": dict(metadata)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[end:]
