"""Names of the files and folders of a fit."""

RESYNTHESIS, RESIDUAL = "resynth.wav", "residual.wav"
MODEL = "model.safetensors"
SETTINGS = "fit.toml"
PAGE = "report.html"
REPORT = "report.json"
"""The report; a folder that contains one is a complete fit."""
FILES = (RESYNTHESIS, RESIDUAL, MODEL, SETTINGS, PAGE, REPORT)
"""Files of a fit's folder in the order of writing, the report last."""
ENDING = "-fit"
"""Ending of the name of a fit's folder, and of no other folder of a batch."""
CHECKPOINT = "checkpoint"
"""Name of the folder of a checkpoint inside a fit's folder; beside it, the ending after a dot."""


def fit_files(*, html: bool = True) -> tuple[str, ...]:
    """Return the names of the files of a fit, with or without the page, in the order of writing."""
    return tuple(name for name in FILES if html or name != PAGE)
