"""Stacks of short recordings: what a worker makes of many at once is what each fit alone makes of it."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import soundfile

import ddaudio
from ddaudio.batching import run
from ddaudio.parallel.executors import SerialExecutor
from ddaudio.parallel.threads import one_thread

RATE = 8000
SPOKEN = 2
"""Spoken digits in the stack, of about half a second."""


def odd_members() -> dict[str, np.ndarray]:
    """Return samples ``[T]`` or ``[T, C]`` that are no usual sound, by file name."""
    times = np.arange(800) / RATE
    tone, noise = np.sin(2 * np.pi * 440 * times), np.random.default_rng(5).standard_normal(800)
    return {
        "silence.wav": np.zeros(800),
        "one sample.wav": np.array([0.25]),
        "level.wav": np.full(800, 0.5),
        "clipped.wav": np.clip(3 * tone, -1, 1),
        "stereo.wav": 0.3 * np.stack([tone, noise / 4], 1),
        "not finite.wav": np.where(np.arange(800) == 400, np.nan, tone),
    }


@pytest.fixture
def stack(tmp_path: Path, shared_recordings: Path) -> Path:
    """A folder of spoken digits and odd members, one of which cannot be fitted and one not even read."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, samples in odd_members().items():
        soundfile.write(folder / name, samples, RATE, subtype="FLOAT")
    (folder / "no sound.wav").write_text("Dear diary, this is not a sound.")
    for path in sorted((shared_recordings / "digits").glob("*.wav"))[:SPOKEN]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_stack_is_fitted_as_one_by_one(stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "make_executor", lambda *_: nullcontext(SerialExecutor()))
    output = tmp_path / "out"
    result = ddaudio.batch(stack, output, stack=16)
    rows = {Path(row.path).name: row for row in result.rows()}
    assert {name for name, row in rows.items() if row.status == "failed"} == {"no sound.wav", "not finite.wav"}
    assert len(rows) == len(odd_members()) + 1 + SPOKEN
    for name in rows.keys() - {"no sound.wav", "not finite.wav"}:
        # Batches use one thread; on several, some sums of the noise are rounded differently.
        with one_thread():
            alone, row = ddaudio.fit(stack / name), rows[name]
        ddaudio.save_fit(alone, tmp_path / "alone" / name, html=False)
        # The same samples through the same calls: the same bits.
        for file in ("model.safetensors", "resynth.wav", "residual.wav", "fit.toml"):
            assert (tmp_path / "alone" / name / file).read_bytes() == (output / row.folder / file).read_bytes(), name
        assert (row.n_parameters, row.snr_db, row.fit_status) == (alone.n_parameters, alone.snr_db, alone.status), name
