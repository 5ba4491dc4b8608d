"""Tensors and settings in one safetensors file that shows if it was changed; nothing in it is ever executed."""

import hashlib
import json
import struct
from collections.abc import Mapping

from safetensors.torch import save
from torch import Tensor


def checksum(settings: str, tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256, in hexadecimal digits, of settings and of tensors on the CPU, whatever their order."""
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
    """Return a safetensors file with its metadata in the order given: the library shuffles it anew each time."""
    end = 8 + int(struct.unpack_from("<Q", data)[0])
    header = json.loads(data[8:end]) | {"__metadata__": dict(metadata)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[end:]
