"""A process that fits, is killed by SIGKILL again and again, and goes on: run by `test_checkpoints`.

``python killed_fits.py SEED`` writes for each case, as a line of JSON, how often it was killed, and whether model and history
are those of a fit that was not. Each attempt is a process of its own, forked before any work, so that torch is loaded once.
"""

import json
import os
import random
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from sounds import pluck

from ddaudio.fitting import plan
from ddaudio.fitting.result import FitResult
from ddaudio.fitting.run import fit
from ddaudio.models.file import model_bytes
from ddaudio.training import checkpoint_files
from ddaudio.training.checkpoints import Checkpoint

GRADIENT = {"optimiser": "adam", "learning_rate": 0.02, "tolerance": 0.0, "partials": 4, "frame_s": 0.05}
CASES: dict[str, dict[str, Any]] = {
    "gauss-newton": {"steps": 5, "target_snr_db": 22, "exchanges": 2},
    "sum of losses": {"steps": 4, "target_snr_db": 20, "exchanges": 1, "losses": "mse=1,pdl=0.5,mss=0.01"},
    "stages": {"model": "sine+double-dutch", "target_snr_db": 12, "exchanges": 1, "steps": 3},
    "blocks": {"steps": 4, "frame_s": 0.05, "budget": 500, "exchanges": 1},
    "adam": {**GRADIENT, "steps": 24, "evaluate_every": 4, "exchanges": 1},
    "adam, all at once": {
        **GRADIENT,
        "losses": "mse=1,mss=0.01",
        "steps": 30,
        "evaluate_every": 5,
        "exchanges": 1,
        "crop_s": 0.1,
        "crops": True,
        "grow": 2,
        "ema": 0.9,
        "teacher": 0.5,
        "rates": "frequency=0.5",
        "rate_tilt": -0.5,
        "momentum_delay": 3,
        "schedule": "rise",
    },
    "sgd": {**GRADIENT, "optimiser": "sgd", "steps": 20, "momentum_delay": 2, "ema": 0.8, "exchanges": 0},
    "layers by themselves": {
        **GRADIENT,
        "model": "cascade",
        "local": True,
        "phase": "centred",
        "partials": 2,
        "losses": "mse=1,pdl:long-range=0.5",
        "penalties": "zero=0.01",
        "steps": 12,
        "ema": 0.9,
        "teacher": 0.5,
        "exchanges": 1,
    },
    "networks": {"model": "surrogate+stack+siren", "budget": 600, "steps": 6, "evaluate_every": 2},
    "lbfgs": {**GRADIENT, "optimiser": "lbfgs", "learning_rate": 0.5, "steps": 8, "grow": 1, "evaluate_every": 2, "exchanges": 0},
}


def outcome(result: FitResult) -> dict[str, Any]:
    """Return what must be equal bit for bit, as JSON has it: its floats are exact."""
    history = [[[asdict(run) for run in runs] for runs in one.blocks] for one in result.stages]
    return json.loads(json.dumps({"model": model_bytes(result.network).hex(), "history": history, "status": result.status}))


def die_at(event: int, middle_of_writing: bool) -> None:
    """Let this process be killed at an event: a step or the end of a run, or the middle of writing a file."""
    count = 0

    def counted(method: Any) -> Any:
        def wrapper(*arguments: Any) -> Any:
            nonlocal count
            count += 1
            if count == event:
                os.kill(os.getpid(), signal.SIGKILL)
            return method(*arguments)

        return wrapper

    if middle_of_writing:
        Path.replace = counted(Path.replace)
    else:
        Checkpoint.note = counted(Checkpoint.note)
        Checkpoint.end = counted(Checkpoint.end)


def attempt(settings: dict[str, Any], folder: Path, event: int, middle_of_writing: bool) -> bool:
    """Go on in a process of its own until an event; return whether it came to the end."""
    child = os.fork()
    if not child:
        die_at(event, middle_of_writing)
        result = fit(pluck(0.4), checkpoint=folder / "checkpoint", resume=True, **settings)
        (folder / "outcome.json").write_text(json.dumps(outcome(result)))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status == 0 or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL), status
    return status == 0


def compare(case: str, seed: int) -> None:
    """Fit unbroken, and broken; compare."""
    plan.BLOCK_SAMPLES = 1024 if case == "blocks" else 1 << 20
    chance, settings = random.Random(seed), CASES[case]
    unbroken = outcome(fit(pluck(0.4), **settings))
    killed = same = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for every_s in (0.0, 0.004):
            while not attempt({**settings, "checkpoint_every_s": every_s}, folder, chance.randint(2, 9), killed % 3 == 2):
                killed += 1
                assert killed < 200
            found = json.loads((folder / "outcome.json").read_text())
            same += found == unbroken
            checkpoint_files.discard(folder / "checkpoint")
    runs = sum(len(runs) for one in unbroken["history"] for runs in one)
    told = {"case": case, "killed": killed, "same": same == 2, "runs": runs, "stages": len(unbroken["history"])}
    sys.stdout.write(json.dumps(told | {"blocks": len(unbroken["history"][0])}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in CASES:
        compare(name, int(sys.argv[1]))
