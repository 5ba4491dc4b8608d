"""Settings of a fit: frozen dataclasses, checked when made.

The command line, TOML files and the documentation all come from these classes. Nothing here imports torch, so that
``ddaudio --help`` answers at once. A setting is known by its field's name everywhere (``target_snr_db``); the groups
are the tables of a TOML file.
"""

from ddaudio.options.fit import GOALS, FitOptions, read_settings, setting_docs, setting_groups
from ddaudio.options.losses import (
    HUBER_DELTA,
    LOSSES,
    PENALTIES,
    ZERO_WIDTH,
    Choice,
    check_lags,
    parse_loss,
    parse_penalties,
    parse_penalty,
    parse_terms,
)
from ddaudio.options.networks import (
    MIN_NUMBERS,
    MIN_NUMBERS_PER_SAMPLE,
    MODELS,
    CutoffsName,
    GatingName,
    LeavesName,
    ModelOptions,
    PairName,
    ReadingName,
    RopeName,
    StartName,
    TreeOptions,
)
from ddaudio.options.recordings import (
    MAX_FRAME_S,
    MAX_SAMPLE_RATE,
    MIN_FRAME_S,
    MIN_SAMPLE_RATE,
    Encoding,
    GridOptions,
    InputOptions,
    OutputOptions,
    WindowName,
)
from ddaudio.options.training import GrowFromName, OptimiserName, ScheduleName, TrainingOptions, parse_rates

__all__ = [
    "GOALS",
    "HUBER_DELTA",
    "LOSSES",
    "MAX_FRAME_S",
    "MAX_SAMPLE_RATE",
    "MIN_FRAME_S",
    "MIN_NUMBERS",
    "MIN_NUMBERS_PER_SAMPLE",
    "MIN_SAMPLE_RATE",
    "MODELS",
    "PENALTIES",
    "ZERO_WIDTH",
    "Choice",
    "CutoffsName",
    "Encoding",
    "FitOptions",
    "GatingName",
    "GridOptions",
    "GrowFromName",
    "InputOptions",
    "LeavesName",
    "ModelOptions",
    "OptimiserName",
    "OutputOptions",
    "PairName",
    "ReadingName",
    "RopeName",
    "ScheduleName",
    "StartName",
    "TrainingOptions",
    "TreeOptions",
    "WindowName",
    "check_lags",
    "parse_loss",
    "parse_penalties",
    "parse_penalty",
    "parse_rates",
    "parse_terms",
    "read_settings",
    "setting_docs",
    "setting_groups",
]
