"""ddaudio turns a recording into a small, trainable model made of waves, and back into sound.

>>> import ddaudio
>>> result = ddaudio.fit("recordings/bark.wav", target_snr_db=20)
>>> ddaudio.save_fit(result, "bark-fit")  # doctest: +SKIP

Names are loaded when first used: importing the package does not import torch.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ddaudio.batching import BatchOptions, BatchResult, batch
    from ddaudio.comparing import CompareOptions, Comparison, Search, SearchOptions, compare, search
    from ddaudio.editing.edit import edit
    from ddaudio.editing.exchange.exporting import export_file, export_model
    from ddaudio.editing.exchange.importing import import_file, import_model
    from ddaudio.editing.morph import morph
    from ddaudio.editing.render import render
    from ddaudio.editing.tables import partials_table
    from ddaudio.errors import (
        BatchError,
        CheckpointError,
        DdaudioError,
        ExchangeError,
        ModelError,
        OptionError,
        OutputError,
        PlaybackError,
        RecordingError,
        ReportError,
    )
    from ddaudio.fitting.plan import FitPlan
    from ddaudio.fitting.result import FitResult
    from ddaudio.fitting.run import fit, fit_many, plan_fit
    from ddaudio.grid.time_grid import TimeGrid
    from ddaudio.io.audio import Recording, read
    from ddaudio.io.wav import write_wav
    from ddaudio.models.file import load_model
    from ddaudio.options import FitOptions, read_settings
    from ddaudio.report import summary
    from ddaudio.report.edit_files import edit_to_folder, morph_to_folder
    from ddaudio.report.import_files import import_to_folder
    from ddaudio.report.save import fit_to_folder, save_fit
    from ddaudio.report.save_model import save_model

__version__ = version("ddaudio")

_HOMES = {
    "batching": ("BatchOptions", "BatchResult", "batch"),
    "comparing": ("CompareOptions", "Comparison", "Search", "SearchOptions", "compare", "search"),
    "editing.edit": ("edit",),
    "editing.morph": ("morph",),
    "editing.exchange.exporting": ("export_file", "export_model"),
    "editing.exchange.importing": ("import_file", "import_model"),
    "editing.render": ("render",),
    "editing.tables": ("partials_table",),
    "errors": (
        "BatchError",
        "CheckpointError",
        "DdaudioError",
        "ExchangeError",
        "ModelError",
        "OptionError",
        "OutputError",
        "PlaybackError",
        "RecordingError",
        "ReportError",
    ),
    "fitting": ("FitPlan", "FitResult", "fit", "fit_many", "plan_fit"),
    "grid": ("TimeGrid",),
    "io.audio": ("Recording", "read"),
    "io.wav": ("write_wav",),
    "models.file": ("load_model",),
    "options": ("FitOptions", "read_settings"),
    "report.edit_files": ("edit_to_folder", "morph_to_folder"),
    "report.import_files": ("import_to_folder",),
    "report.save": ("fit_to_folder", "save_fit"),
    "report.save_model": ("save_model",),
    "results.summary": ("summary",),
}

__all__ = [
    "BatchError",
    "BatchOptions",
    "BatchResult",
    "CheckpointError",
    "CompareOptions",
    "Comparison",
    "DdaudioError",
    "ExchangeError",
    "FitOptions",
    "FitPlan",
    "FitResult",
    "ModelError",
    "OptionError",
    "OutputError",
    "PlaybackError",
    "Recording",
    "RecordingError",
    "ReportError",
    "Search",
    "SearchOptions",
    "TimeGrid",
    "batch",
    "compare",
    "edit",
    "edit_to_folder",
    "export_file",
    "export_model",
    "fit",
    "fit_many",
    "fit_to_folder",
    "import_file",
    "import_model",
    "import_to_folder",
    "load_model",
    "morph",
    "morph_to_folder",
    "partials_table",
    "plan_fit",
    "read",
    "read_settings",
    "render",
    "save_fit",
    "save_model",
    "search",
    "summary",
    "write_wav",
]


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"ddaudio.{module}"), name)
    raise AttributeError(f"module 'ddaudio' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
