"""The summary of a batch: what is worst by ERB distance, and quantiles of the scores that were asked for."""

import pytest

from ddaudio.batching import summary
from ddaudio.batching.results_table import Row, columns
from ddaudio.batching.summary import Summary, summary_lines
from ddaudio.metrics.registry import METRICS


def row(name: str, erb_db: float | None, snr_db: float, **scores: float) -> Row:
    return Row(name, f"{name}-fit", "fitted", metrics={"erb_db": erb_db, "snr_db": snr_db, **scores}, duration_s=1.0)


def test_the_worst_are_those_with_the_largest_erb_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A high SNR does not help, and silence, which has no distance, is none of them."""
    monkeypatch.setattr(summary, "FEW", 2)
    found = Summary(4)
    for one in (row("a", 2.0, 5.0), row("b", 9.0, 40.0), row("silent", None, 0.0), row("c", 3.0, 20.0)):
        found.add(one)
    contents = found.contents(1.0)
    assert contents["worst"] == [{"path": "b", "erb_db": 9.0}, {"path": "c", "erb_db": 3.0}]
    assert "worst       b (ERB distance 9.0 dB); c (ERB distance 3.0 dB)" in summary_lines(contents)


def test_scores_have_quantiles_and_columns_only_where_there_are_any() -> None:
    with_scores, without = Summary(2), Summary(2)
    for place, score in enumerate((3.0, 4.0)):
        with_scores.add(row(f"{place}", 2.0, 20.0, zimtohrli=score, zimtohrli_silence=1.5))
        without.add(row(f"{place}", 2.0, 20.0))
    found, none = with_scores.contents(1.0)["quantiles"], without.contents(1.0)["quantiles"]
    assert found["zimtohrli"]["50"] == 3.5
    assert found["zimtohrli_silence"]["95"] == 1.5
    assert found["visqol"] is None
    assert none["zimtohrli"] is None
    lines = summary_lines(with_scores.contents(1.0))
    assert any(line.startswith("Zimtohrli MOS of silence 5 %: 1.5,") for line in lines)
    assert not any("MOS" in line for line in summary_lines(without.contents(1.0)))
    flat = row("a", 2.0, 20.0, zimtohrli=3.0).flat()
    assert (flat["zimtohrli"], flat["zimtohrli_white"]) == (3.0, None)
    assert set(METRICS) <= set(columns())
