"""The model file: ``model.safetensors``, read without executing anything, and refused if it was changed."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ddaudio.errors import ModelError, OptionError
from ddaudio.grid.coding import decode, encode
from ddaudio.io.tensor_file import checksum, checksummed_safetensors
from ddaudio.models import FramedNetwork, Network, SumNetwork
from ddaudio.models.registry import make_network
from ddaudio.options import NETWORKS

MODEL_VERSION = "3"
"""Version of the model file; files of another one are refused."""
CODE = "division"
"""Tensor of a model file that says how time is divided."""


def model_bytes(network: Network) -> bytes:
    """Return the network as a safetensors file: its `stored` tensors, and nothing but settings in the metadata."""
    terms: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for place, term in enumerate(network.terms):
        division, code = encode(term.grid)
        terms.append({"model": term.name, "window": term.grid.window, **division, "network": term.settings()})
        tensors |= {f"{place}.{name}": tensor for name, tensor in (term.to_tensors() | {CODE: code}).items()}
    signals, samples = network.shape
    settings = {"signals": signals, "samples": samples, "sample_rate": network.sample_rate, "terms": terms}
    return checksummed_safetensors("ddaudio_model", MODEL_VERSION, json.dumps(settings), tensors)


def load_model(path: str | os.PathLike[str]) -> Network:
    """Read a network from ``model.safetensors``; nothing in the file is ever executed.

    Raises `ModelError` when the file is missing, is not a ddaudio model, is of another version, or was changed.
    """
    path = Path(path)
    if path.is_dir() and (path / "model.safetensors").is_file():
        path = path / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"there is no model file {str(path)!r}", hint="give the folder of a fit, or its model.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as a model: {error}", hint="give model.safetensors of a fit") from None
    found = metadata.get("ddaudio_model")
    if found is None:
        raise ModelError(f"{str(path)!r} is a safetensors file, but not a ddaudio model", hint="give model.safetensors of a fit")
    if found != MODEL_VERSION:
        raise ModelError(
            f"{str(path)!r} is a model of version {found}; this ddaudio reads version {MODEL_VERSION}",
            hint="fit the recording again",
        )
    text = metadata.get("settings", "")
    if metadata.get("sha256") != checksum(text, tensors):
        raise ModelError(f"{str(path)!r} was changed after it was written: its checksum differs", hint="fit the recording again")
    return _build(path, text, tensors)


def _build(path: Path, text: str, tensors: dict[str, Tensor]) -> Network:
    try:
        settings = json.loads(text)
        terms = [_build_term(settings, place, tensors) for place in range(len(settings["terms"]))]
        if tensors:
            raise ModelError(f"the tensors {', '.join(sorted(tensors))} belong to no network")
        network = SumNetwork(terms) if len(terms) > 1 else terms[0]
    except (KeyError, IndexError, TypeError, ValueError, ModelError, OptionError) as error:
        raise ModelError(
            f"{str(path)!r} holds no model that fits its settings: {error}", hint="fit the recording again"
        ) from None
    return network


def _build_term(settings: Mapping[str, Any], place: int, tensors: dict[str, Tensor]) -> FramedNetwork:
    """Return the network at a place of a sum; what it takes leaves ``tensors``."""
    term, start = settings["terms"][place], f"{place}."
    own = {name.removeprefix(start): tensors.pop(name) for name in list(tensors) if name.startswith(start)}
    sample_rate, signals, samples = (settings[name] for name in ("sample_rate", "signals", "samples"))
    grid = decode(sample_rate, signals, samples, term["window"], term, own.pop(CODE))
    network = make_network(term["model"], grid, NETWORKS[term["model"]].options(**term["network"]))
    network.from_tensors(own)
    return network
