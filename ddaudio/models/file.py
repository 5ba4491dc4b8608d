"""The model file ``model.safetensors``: reading executes no code, and changed files are refused."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddaudio.errors import DdaudioError, ModelError
from ddaudio.io.fit_files import MODEL
from ddaudio.io.formats import MODEL_FORMAT
from ddaudio.io.paths import quoted
from ddaudio.io.statistics import MAX_CHANNELS
from ddaudio.io.tensor_file import checksum, checksummed_safetensors, read_settings, read_tensors
from ddaudio.models import Network, SumNetwork
from ddaudio.models.base import Signals, Term
from ddaudio.models.registry import network_class
from ddaudio.options import MAX_SAMPLE_RATE, NETWORKS
from ddaudio.synthesis.drift import Drift

MOST_SAMPLES = 1 << 40
"""Largest number of samples of a signal: a month of sound at 384 kHz."""
_UNFIT = (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RuntimeError, RecursionError, DdaudioError)
"""Exceptions raised by settings and tensors that do not fit a network."""
DRIFT = "drift"
"""Name of the tensor with the coefficients of the drift, if there is one."""


def model_parts(network: Network) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings of a network, and its tensors by name."""
    terms: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for place, term in enumerate(network.terms):
        division, divided = term.division()
        terms.append({"model": term.name, **division, "network": term.settings()})
        tensors |= {f"{place}.{name}": tensor for name, tensor in (term.to_tensors() | divided).items()}
    if network.drift is not None:
        tensors[DRIFT] = network.drift.coefficients
    signals, samples = network.shape
    settings = {"signals": signals, "samples": samples, "sample_rate": network.sample_rate, "terms": terms}
    return settings, tensors


def model_bytes(network: Network) -> bytes:
    """Return the network as a safetensors file: its tensors, with only settings in the metadata."""
    return parts_bytes(*model_parts(network))


def parts_bytes(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """Return the settings and tensors of `model_parts` as a safetensors file."""
    return checksummed_safetensors("ddaudio_model", MODEL_FORMAT.text, json.dumps(settings), tensors)


def load_model(path: str | os.PathLike[str]) -> Network:
    """Read a network from ``model.safetensors`` without executing any code.

    Raises `ModelError` if the file is missing, is not a ddaudio model, is of another format, or was changed.
    """
    return build_model(quoted(model_file(path)), *read_parts(path))


def model_file(path: str | os.PathLike[str]) -> Path:
    """Return the path of the model in a fit's folder, or the given one."""
    path = Path(path)
    return path / MODEL if os.path.isfile(path / MODEL) else path  # noqa: PTH113 - no error where it cannot be looked at


def read_parts(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the settings and the tensors of a model file, as `model_parts` does of its network; raises as `load_model` does."""
    path = model_file(path)
    if not os.path.isfile(path):  # noqa: PTH113 - no error where it cannot be looked at
        raise ModelError(f"there is no model file {quoted(path)}", hint="give the folder of a fit, or its model.safetensors")
    try:
        metadata, tensors = read_tensors(path)
    except OSError as error:
        raise ModelError(f"{quoted(path)} cannot be read: {error.strerror or error}", hint="check the permissions") from None
    except ValueError as error:
        raise ModelError(f"{quoted(path)} cannot be read as a model: {error}", hint="give model.safetensors of a fit") from None
    found = metadata.get("ddaudio_model")
    if found is None:
        raise ModelError(f"{quoted(path)} is a safetensors file, but not a ddaudio model", hint="give model.safetensors of a fit")
    if found != MODEL_FORMAT.text:
        raise ModelError(**MODEL_FORMAT.mismatch(path, found))
    text = metadata.get("settings", "")
    if metadata.get("sha256") != checksum(text, tensors):
        raise ModelError(f"{quoted(path)} was changed after it was written: its checksum differs", hint="fit the recording again")
    try:
        return read_settings(text), tensors
    except ValueError as error:
        raise _unfit(quoted(path), error) from None


def _unfit(name: str, error: Exception) -> ModelError:
    return ModelError(f"{name} contains no model that fits its settings: {error}", hint="fit the recording again")


def build_model(name: str, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Network:
    """Return the network of `model_parts`; ``name`` is that of the file in errors.

    Raises `ModelError` if they do not fit each other.
    """
    tensors = dict(tensors)
    try:
        _check_shape(settings)
        drift = _drift(settings, tensors.pop(DRIFT, None))
        terms = [_build_term(settings, place, tensors) for place in range(len(settings["terms"]))]
        if tensors:
            raise ModelError(f"the tensors {', '.join(sorted(tensors))} belong to no network")
        network = SumNetwork(terms) if len(terms) > 1 else terms[0]
        network.drift = drift
    except _UNFIT as error:
        raise _unfit(name, error) from None
    return network


def _check_shape(settings: Mapping[str, Any]) -> None:
    """Raise ValueError for impossible shapes of signals."""
    allowed = {"signals": MAX_CHANNELS, "samples": MOST_SAMPLES, "sample_rate": MAX_SAMPLE_RATE}
    for name, most in allowed.items():
        value = settings[name]
        if type(value) is not int or not 1 <= value <= most:
            raise ValueError(f"{name} is {value!r:.50}; allowed: 1 to {most}")


def _drift(settings: Mapping[str, Any], coefficients: Tensor | None) -> Drift | None:
    """Return a stored drift; raises `ModelError` or ValueError if it is not one."""
    if coefficients is None:
        return None
    n_signals = settings["signals"]
    if coefficients.dtype != torch.float32 or coefficients.ndim != 2 or len(coefficients) != n_signals:
        raise ModelError(f"{DRIFT} must be float32 [{n_signals}, K]")
    if not bool(coefficients.isfinite().all()):
        raise ModelError(f"{DRIFT} must be finite")
    drift = Drift(coefficients, settings["sample_rate"], settings["samples"])
    _ = drift.interval  # raises ValueError for a K that no spline has
    return drift


def _build_term(settings: Mapping[str, Any], place: int, tensors: dict[str, Tensor]) -> Term:
    """Return one term of a sum; its tensors are removed from ``tensors``."""
    term, start = settings["terms"][place], f"{place}."
    own = {name.removeprefix(start): tensors.pop(name) for name in list(tensors) if name.startswith(start)}
    signals = Signals(*(settings[name] for name in ("sample_rate", "signals", "samples")))
    options = NETWORKS[term["model"]].options(**term["network"])
    division = {name: value for name, value in term.items() if name not in ("model", "network")}
    return network_class(term["model"]).restored(signals, division, options, own)
