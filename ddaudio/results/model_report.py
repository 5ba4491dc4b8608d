"""Contents of ``report.json`` of a model that was not fitted: edited, morphed, or imported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch

from ddaudio.io.formats import REPORT_FORMAT
from ddaudio.models import Network

KIND = "model"
"""Value of the key ``kind``, which the report of a fit does not have."""


@dataclass(frozen=True)
class Origin:
    """What a model was made of, and how."""

    command: Literal["edit", "morph", "import"]
    """Which command made it."""
    sources: tuple[str, ...]
    """Paths of the models or of the file that it was made of."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings by name, serialisable as JSON."""

    def as_row(self) -> dict[str, Any]:
        """Return it as a row of the report."""
        return {"command": self.command, "sources": list(self.sources), "settings": dict(self.settings)}


def build_model(network: Network, origin: Sequence[Mapping[str, Any]], peak: float) -> dict[str, Any]:
    """Return the report of a model as nested dicts and lists, serialisable as JSON.

    Args:
        network: the model.
        origin: how it was made: the row of each step, the earliest first.
        peak: highest absolute value of its samples.

    """
    channels, samples = network.shape
    n_parameters = network.n_parameters()
    return {
        "schema": REPORT_FORMAT.number,
        "kind": KIND,
        "versions": {"ddaudio": version("ddaudio"), "torch": torch.__version__, "numpy": np.__version__},
        "origin": [dict(row) for row in origin],
        "sound": {
            "sample_rate": network.sample_rate,
            "channels": channels,
            "samples": samples,
            "duration_s": samples / network.sample_rate,
            "peak": peak,
        },
        "model": {
            "name": network.title,
            "n_parameters": n_parameters,
            "parameters_per_sample": n_parameters / (samples * channels),
            "n_components": network.n_components(),
            "terms": [
                {"name": term.name, "n_components": term.n_components(), "n_parameters": term.n_parameters(), **term.facts()}
                for term in network.terms
            ],
        },
    }


def is_model(report: Mapping[str, Any]) -> bool:
    """Return whether a report is that of a model that was not fitted."""
    return report.get("kind") == KIND
