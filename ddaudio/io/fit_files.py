"""Names of the files and folders of a fit."""

RESYNTHESIS, RESIDUAL = "resynth.wav", "residual.wav"
"""Everything that the model holds, and the recording minus its waves."""
WAVES, NOISE = "waves.wav", "noise.wav"
"""The two parts of the resynthesis of a model with noise."""
MODEL = "model.safetensors"
SETTINGS = "fit.toml"
PAGE = "report.html"
REPORT = "report.json"
"""The report; a folder that contains one is a complete fit."""
FILES = (RESYNTHESIS, WAVES, NOISE, RESIDUAL, MODEL, SETTINGS, PAGE, REPORT)
"""Files of a fit's folder in the order of writing, the report last."""
ENDING = "-fit"
"""Ending of the name of a fit's folder, and of no other folder of a batch."""
CHECKPOINT = "checkpoint"
"""Name of the folder of a checkpoint inside a fit's folder; beside it, the ending after a dot."""


def fit_files(*, html: bool = True, noise: bool = False) -> tuple[str, ...]:
    """Return the names of the files of a fit, with or without the page and the parts of a model with noise, in order."""
    left_out = (() if html else (PAGE,)) + (() if noise else (WAVES, NOISE))
    return tuple(name for name in FILES if name not in left_out)
