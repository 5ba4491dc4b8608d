"""The memory that reading, measuring and writing take does not grow with the recording."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
    import resource, sys
    from pathlib import Path
    import numpy as np, soundfile, torch
    from ddaudio.io import samples as io_samples
    from ddaudio.io.audio import read, resample
    from ddaudio.io.samples import Difference, Spool, blocks
    from ddaudio.io.wav import write_wav
    from ddaudio.metrics.mdct_baseline import best_k_snr
    from ddaudio.metrics.measure import measure

    io_samples.IN_MEMORY_SAMPLES = 1 << 21
    folder, rate = Path(sys.argv[1]), 44_100

    def through(seconds):
        second = np.random.default_rng(0).uniform(-0.5, 0.5, rate).astype(np.float32)
        with soundfile.SoundFile(folder / "a.wav", "w", rate, 1, "PCM_16") as file:
            for number in range(seconds):
                file.write(second * (1 + number % 7) / 7)
        recording = read(folder / "a.wav")
        estimate = Spool(1)
        for block in blocks(recording.samples):
            estimate.append(block / 2)
        metrics = measure(estimate, recording.samples, rate)
        best_k_snr(recording.samples, 1000 * seconds)
        write_wav(folder / "b.wav", Difference(recording.samples, estimate), rate, "pcm16")
        again = resample(recording, 22_050)
        return recording.samples, recording.content_hash, metrics["snr_db"].value, again.n_samples

    def reset_peak():
        Path("/proc/self/clear_refs").write_text("5")  # imports reach higher than what they leave

    through(20)  # what is imported late, tables, and buffers of the libraries
    reset_peak()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    samples, digest, snr_db, n_samples = through(360)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(samples, Spool) and samples.shape == (1, 360 * rate) and n_samples == 180 * rate
    print(snr_db, (after - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells and resets the peak of memory")
def test_six_minutes_go_through_in_less_memory_than_they_are(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # each has workspace of its own
    done = subprocess.run(command, env=one_thread, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    snr_db, grown_mb = (float(word) for word in done.stdout.split())
    assert snr_db == pytest.approx(6.0206, abs=1e-4)
    # The samples are 64 MB as float32, so one whole copy of them anywhere goes beyond. About 40 are needed: kept in
    # memory may be 8 MB, and every block is one of 4 MB with a few products of it.
    assert grown_mb < 60
