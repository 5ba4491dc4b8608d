"""Summary of a batch: counts, quantiles, the worst fits, and speed."""

import heapq
from array import array
from dataclasses import dataclass, field
from typing import Any

from ddaudio.batching.results_table import Row
from ddaudio.metrics.registry import METRICS

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FEW = 5
"""Number of worst fits, and of failures, that are named."""
MEASURED = ("snr_db", "over_mdct_db", "lsd_db", "erb_db", "dead_bands", "parameters_per_sample", "seconds_per_second")
"""Fields whose quantiles are computed, besides those of `scores`."""


def scores() -> dict[str, str]:
    """Return the labels of the perceptual scores and of their controls, by name."""
    return {name: spec.label for name, spec in METRICS.items() if spec.request}


@dataclass
class Summary:
    """Accumulates rows, with about 8 bytes of memory per value."""

    found: int
    """Number of recordings in the batch."""
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("fitted", "kept", "failed"), 0))
    sound_s: float = 0.0
    """Total duration of the fitted recordings, in seconds."""
    values: dict[str, "array[float]"] = field(default_factory=lambda: {name: array("d") for name in (*MEASURED, *scores())})
    worst: list[tuple[float, str]] = field(default_factory=list)
    """ERB distance and path of the worst fits, as a heap."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Path and reason of the first failures."""

    def add(self, row: Row) -> None:
        """Add a row."""
        self.counts[row.status] += 1
        if row.status == "failed":
            if len(self.failures) < FEW:
                self.failures.append((row.path, row.reason or ""))
            return
        if row.status == "fitted":
            self.sound_s += row.duration_s or 0.0
        over = None if row.snr_db is None or row.mdct_snr_db is None else row.snr_db - row.mdct_snr_db
        pace = row.seconds / row.duration_s if row.seconds is not None and row.duration_s else None
        for name in self.values:
            value = {"over_mdct_db": over, "seconds_per_second": pace}.get(name, row.metrics.get(name, getattr(row, name, None)))
            if value is not None:
                self.values[name].append(value)
        if row.erb_db is not None:
            heapq.heappush(self.worst, (row.erb_db, row.path))
            if len(self.worst) > FEW:
                heapq.heappop(self.worst)

    def contents(self, seconds: float) -> dict[str, Any]:
        """Return the summary, serialisable as JSON, of a batch that took ``seconds``."""
        counted = sum(self.counts.values())
        return {
            "recordings": self.found,
            **self.counts,
            "left": self.found - counted,
            "seconds": seconds,
            "sound_s": self.sound_s,
            "sound_per_second": self.sound_s / seconds if seconds else None,
            "quantiles": {name: quantiles(values) for name, values in self.values.items()},
            "worst": [{"path": path, "erb_db": distance_db} for distance_db, path in sorted(self.worst, reverse=True)],
            "failures": [{"path": path, "reason": reason} for path, reason in self.failures],
        }


def quantiles(values: "array[float]") -> dict[str, float] | None:
    """Return quantiles by percentage, linearly interpolated; None without values."""
    if not values:
        return None
    ordered = sorted(values)
    found = {}
    for share in QUANTILES:
        place = share * (len(ordered) - 1)
        below = int(place)
        above = min(below + 1, len(ordered) - 1)
        found[f"{round(100 * share)}"] = ordered[below] + (place - below) * (ordered[above] - ordered[below])
    return found


def summary_lines(contents: dict[str, Any]) -> list[str]:
    """Format a summary in a few lines."""
    lines = [
        f"recordings  {contents['recordings']}: {contents['fitted']} fitted, {contents['kept']} done before, "
        f"{contents['failed']} failed" + (f", {contents['left']} left for another time" if contents["left"] else "")
    ]
    if contents["fitted"]:
        lines.append(
            f"speed       {contents['sound_s']:.1f} s of sound in {contents['seconds']:.1f} s: "
            f"{contents['sound_per_second']:.2f} s per second"
        )
    names = {
        "erb_db": "ERB dist",
        "dead_bands": "dead bands",
        "snr_db": "SNR",
        "over_mdct_db": "over MDCT",
        "parameters_per_sample": "per sample",
        "seconds_per_second": "s per s",
        **scores(),
    }
    for name, title in names.items():
        found = contents["quantiles"][name]
        if found is not None:
            unit = " dB" if name.endswith("_db") else ""
            parts = ", ".join(f"{percent} %: {value:.3g}{unit}" for percent, value in found.items())
            lines.append(f"{title:11} {parts}")
    if contents["worst"]:
        lines.append(
            "worst       " + "; ".join(f"{one['path']} (ERB distance {one['erb_db']:.1f} dB)" for one in contents["worst"])
        )
    lines += [f"failed      {one['path']}: {one['reason']}" for one in contents["failures"]]
    if contents["failed"] > len(contents["failures"]):
        lines.append(f"failed      and {contents['failed'] - len(contents['failures'])} more, see results.csv")
    return lines
