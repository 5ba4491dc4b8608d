"""The memory that reading, measuring and writing take does not grow with the recording."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

SCRIPT = """
    import sys
    from pathlib import Path
    import numpy as np, soundfile, torch
    from ddaudio.io import samples as io_samples
    from ddaudio.io.audio import read, resample
    from ddaudio.io.samples import Difference, DiskSamples, blocks
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
        estimate = DiskSamples(1)
        for block in blocks(recording.samples):
            estimate.append(block / 2)
        metrics = measure(estimate, recording.samples, rate)
        best_k_snr(recording.samples, 1000 * seconds)
        write_wav(folder / "b.wav", Difference(recording.samples, estimate), rate, "pcm16")
        again = resample(recording, 22_050)
        return recording.samples, recording.content_hash, metrics["snr_db"].value, again.n_samples

    def peak_kb(seconds):
        Path("/proc/self/clear_refs").write_text("5")
        found = through(seconds)
        # Not by getrusage: its peak includes that of the process before this one replaced it.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]), found

    through(50)  # what is imported late, tables, and buffers of the libraries
    short_kb, _ = peak_kb(50)
    long_kb, (samples, digest, snr_db, n_samples) = peak_kb(250)
    assert isinstance(samples, DiskSamples) and samples.shape == (1, 250 * rate) and n_samples == 125 * rate
    print(snr_db, (long_kb - short_kb) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells and resets the peak of memory")
def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)]
    # Each thread has workspace of its own; blocks that are freed go back to the system instead of staying in the heap.
    steady = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    steady |= {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
    done = subprocess.run(command, env=os.environ | steady, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    snr_db, grown_mb = (float(word) for word in done.stdout.split())
    assert snr_db == pytest.approx(6.0206, abs=1e-4)
    # Both recordings are kept on disk, so both take the same blocks. The longer one has 34 MB more of float32: a whole copy of
    # it anywhere goes far beyond.
    assert grown_mb < 17
