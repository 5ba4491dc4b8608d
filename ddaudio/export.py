"""Files: a fit's folder, the model, tables of partials. Everything appears whole or not at all."""

import csv
import hashlib
import io
import json
import math
import os
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ddaudio import report
from ddaudio.errors import ModelError, OptionError, OutputError, nearest
from ddaudio.fitting import FitResult
from ddaudio.models import NETWORKS, FramedNetwork, Network, SumNetwork
from ddaudio.options import TreeOptions
from ddaudio.tree import decode, encode
from ddaudio.wav import write_wav

MODEL_VERSION = "3"
"""Version of the model file; files of another one are refused."""
CODE = "division"
"""Tensor of a model file that says how time is divided."""
FILES = ("resynth.wav", "residual.wav", "model.safetensors", "fit.toml", "report.json")
"""What a fit's folder holds, in the order of writing: the report comes last and marks the fit as complete."""


def default_folder(source: str) -> Path:
    """Return where the fit of the file ``source`` goes unless told otherwise: ``NAME-fit`` in the current folder."""
    return Path(f"{Path(source).stem}-fit")


def check_folder(folder: str | os.PathLike[str], source: str, *, force: bool) -> None:
    """Raise `OutputError` if a fit of ``source`` cannot go to ``folder``: call it before the work.

    Refused are a folder that holds a fit already (unless ``force``), one that cannot be made or written to, and one
    where writing would replace the recording itself.
    """
    folder = Path(folder)
    if Path(source).exists() and any((folder / name).resolve() == Path(source).resolve() for name in FILES):
        raise OutputError(f"{str(folder)!r} holds the recording itself as {Path(source).name!r}; name another folder with --out")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{str(folder)!r} is a file, not a folder; name another one with --out")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise OutputError(f"{str(folder)!r} holds a fit already ({there[-1]}); name another folder with --out, or use --force")
    above = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise OutputError(f"{str(folder)!r} cannot be made: {str(above)!r} cannot be written to; name another folder with --out")


def save_fit(result: FitResult, folder: str | os.PathLike[str], *, force: bool = False) -> dict[str, Any]:
    """Write a fit to ``folder`` and return its report, as it stands in ``report.json``.

    All files are first written beside the folder, then moved in, the report last. On any failure the folder is as it
    was. Raises `OutputError` when the folder holds a fit and ``force`` is not given, or when it cannot be written.
    """
    folder = Path(folder)
    check_folder(folder, result.recording.source, force=force)
    try:
        # Inside the folder where there is one: it may be mounted, or its parent closed to us.
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = folder if folder.exists() else folder.parent
        with tempfile.TemporaryDirectory(prefix=f".{folder.name[:100]}.tmp-", dir=place) as beside:
            contents = _write_all(result, Path(beside))
            _move_in(Path(beside), folder)
    except OSError as error:
        raise OutputError(f"cannot write to {str(folder)!r}: {error.strerror or error}; free some space or use --out") from error
    return contents


def _move_in(beside: Path, folder: Path) -> None:
    """Move `FILES` from ``beside`` into ``folder``, the report last; whatever stops it, ``folder`` is as it was."""
    old, is_new, done = beside / "old", not folder.exists(), False
    folder.mkdir(exist_ok=True)
    old.mkdir()
    there = [name for name in FILES if (folder / name).exists()]
    try:
        for name in reversed(there):
            (folder / name).replace(old / name)
        for name in FILES:
            (beside / name).replace(folder / name)
        done = True
    finally:
        for name in () if done else FILES:
            if (old / name).exists():
                (old / name).replace(folder / name)
            elif name not in there:
                (folder / name).unlink(missing_ok=True)
        if is_new and not done:
            folder.rmdir()


def _write_all(result: FitResult, folder: Path) -> dict[str, Any]:
    encoding, sample_rate = result.options.output.encoding, result.recording.sample_rate
    gains = {
        name: write_wav(folder / name, samples, sample_rate, encoding)
        for name, samples in (("resynth.wav", result.estimate), ("residual.wav", result.residual))
    }
    (folder / "model.safetensors").write_bytes(model_bytes(result.network))
    recording = {"source": result.recording.source, "sha256": result.recording.content_hash}
    (folder / "fit.toml").write_text(tomli_w.dumps({"recording": recording, **result.options.tables()}), encoding="utf-8")
    contents = report.build(result) | {"files": list(FILES), "wav": {"encoding": encoding, "gains": gains}}
    text = json.dumps(contents, indent=1, allow_nan=False, ensure_ascii=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
    return contents


def model_bytes(network: Network) -> bytes:
    """Return the network as a safetensors file: its `stored` tensors, and nothing but settings in the metadata."""
    terms: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    for place, term in enumerate(network.terms):
        division, code = encode(term.grid)
        terms.append({"model": term.name, "window": term.grid.window, **division, "network": term.settings()})
        tensors |= {f"{place}.{name}": tensor for name, tensor in (term.stored() | {CODE: code}).items()}
    signals, samples = network.shape
    settings = {"signals": signals, "samples": samples, "sample_rate": network.sample_rate, "terms": terms}
    text = json.dumps(settings)
    metadata = {"ddaudio_model": MODEL_VERSION, "settings": text, "sha256": _checksum(text, tensors)}
    return _in_fixed_order(save(tensors, metadata), metadata)


def _in_fixed_order(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a safetensors file with its metadata in the order given: the library shuffles it anew each time."""
    end = 8 + int(struct.unpack_from("<Q", data)[0])
    header = json.loads(data[8:end]) | {"__metadata__": dict(metadata)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[end:]


def _checksum(settings: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(settings.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + struct.pack("<q", tensors[name].numel()))
        digest.update(tensors[name].numpy().astype(tensors[name].numpy().dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def load_model(path: str | os.PathLike[str]) -> Network:
    """Read a network from ``model.safetensors``; nothing in the file is ever executed.

    Raises `ModelError` when the file is missing, is not a ddaudio model, is of another version, or was changed.
    """
    path = Path(path)
    if path.is_dir() and (path / "model.safetensors").is_file():
        path = path / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"there is no model file {str(path)!r}; give a fit's folder or its model.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{str(path)!r} cannot be read as a model: {error}; give a fit's model.safetensors") from None
    found = metadata.get("ddaudio_model")
    if found is None:
        raise ModelError(f"{str(path)!r} is a safetensors file, but not a ddaudio model; give a fit's model.safetensors")
    if found != MODEL_VERSION:
        raise ModelError(f"{str(path)!r} is a model of version {found}; this ddaudio reads version {MODEL_VERSION}: fit it again")
    text = metadata.get("settings", "")
    if metadata.get("sha256") != _checksum(text, tensors):
        raise ModelError(f"{str(path)!r} was changed after it was written: its checksum differs; fit the recording again")
    return _build(path, text, tensors)


def _build(path: Path, text: str, tensors: dict[str, Tensor]) -> Network:
    try:
        settings = json.loads(text)
        terms = [_build_term(settings, place, tensors) for place in range(len(settings["terms"]))]
        if tensors:
            raise ModelError(f"the tensors {', '.join(sorted(tensors))} belong to no network")
        network = SumNetwork(terms) if len(terms) > 1 else terms[0]
    except (KeyError, IndexError, TypeError, ValueError, ModelError, OptionError) as error:
        raise ModelError(f"{str(path)!r} holds no model that fits its settings: {error}; fit the recording again") from None
    return network


def _build_term(settings: Mapping[str, Any], place: int, tensors: dict[str, Tensor]) -> FramedNetwork:
    """Return the network at a place of a sum; what it takes leaves ``tensors``."""
    term, start = settings["terms"][place], f"{place}."
    own = {name.removeprefix(start): tensors.pop(name) for name in list(tensors) if name.startswith(start)}
    sample_rate, signals, samples = (settings[name] for name in ("sample_rate", "signals", "samples"))
    grid = decode(sample_rate, signals, samples, term["window"], term, own.pop(CODE))
    network = NETWORKS[term["model"]].make(grid, TreeOptions(**term["network"]))
    network.restore(own)
    return network


def _as_csv(columns: Mapping[str, list[Any]]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def _as_json(columns: Mapping[str, list[Any]]) -> str:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps(rows, indent=1) + "\n"


TABLE_WRITERS: dict[str, Callable[[Mapping[str, list[Any]]], str]] = {"csv": _as_csv, "json": _as_json}
"""Formats of a table of partials, by name."""


def partials_table(network: Network, table_format: str) -> str:
    """Return the network's parameters in natural units, a row a partial or rope, as ``csv`` or ``json`` text.

    Raises `OptionError` for another format.
    """
    if table_format not in TABLE_WRITERS:
        raise OptionError(f"format is {table_format!r}, which is unknown; {nearest(table_format, TABLE_WRITERS)}")
    return TABLE_WRITERS[table_format](table_columns(network))


def table_columns(network: Network) -> dict[str, list[Any]]:
    """Return the network's parameters in natural units, column by column; None where one of a sum has no such value."""
    whole = {name for term in network.terms for name, column in term.describe().items() if not column.is_floating_point()}

    def known(name: str, value: float) -> float | None:
        """Return a value, or None for NaN; whole numbers as such."""
        return None if math.isnan(value) else int(value) if name in whole else value

    return {name: [known(name, value) for value in column.tolist()] for name, column in network.describe().items()}
