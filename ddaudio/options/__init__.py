"""Settings of a fit: frozen dataclasses, checked when created.

The command line, TOML files and the documentation are generated from these classes. Nothing here imports torch, so that the help
of the command line is fast. Settings have the name of their field everywhere (``target_snr_db``); groups are TOML tables.
"""

from ddaudio.options.cascade import ActivationName, BaseName, CascadeOptions, LadderName, PhaseName
from ddaudio.options.double_dutch import (
    CutoffsName,
    DoubleDutchOptions,
    GatingName,
    LeavesName,
    PairName,
    ReadingName,
    RopeName,
)
from ddaudio.options.fit import (
    GOALS,
    FitOptions,
    field_docs,
    is_setting_of,
    option_tables,
    read_settings,
    setting_docs,
    setting_groups,
)
from ddaudio.options.loss_specs import HUBER_DELTA, LOSSES, PENALTIES, ZERO_WIDTH, LossSpec, PenaltySpec
from ddaudio.options.losses import Choice, check_lags, has_curvature, parse_loss, parse_penalties, parse_penalty, parse_terms
from ddaudio.options.model import (
    HIGHEST_SNR_DB,
    MAX_PARAMETERS_PER_SAMPLE,
    MIN_PARAMETERS,
    MIN_PARAMETERS_PER_SAMPLE,
    EstimatorName,
    InitialisationName,
    ModelOptions,
    StartingPoint,
)
from ddaudio.options.network import NetworkOptions
from ddaudio.options.networks import NETWORKS, NetworkSpec
from ddaudio.options.recording import (
    MAX_FRAME_S,
    MAX_SAMPLE_RATE,
    MAX_WHOLE_S,
    MIN_FRAME_S,
    MIN_SAMPLE_RATE,
    Encoding,
    GridOptions,
    InputOptions,
    OutputOptions,
    WindowName,
)
from ddaudio.options.sine import SineOptions
from ddaudio.options.siren import SirenOptions
from ddaudio.options.stack import PositiveName, StackOptions
from ddaudio.options.surrogate import SurrogateOptions
from ddaudio.options.training import (
    MOST_STEPS,
    GrowFromName,
    OptimiserName,
    ScheduleName,
    TrainingOptions,
    count_batches,
    parse_rates,
)
from ddaudio.options.units import MOST_UNITS, UnitOptions

__all__ = [
    "GOALS",
    "HIGHEST_SNR_DB",
    "HUBER_DELTA",
    "LOSSES",
    "MAX_FRAME_S",
    "MAX_PARAMETERS_PER_SAMPLE",
    "MAX_SAMPLE_RATE",
    "MAX_WHOLE_S",
    "MIN_FRAME_S",
    "MIN_PARAMETERS",
    "MIN_PARAMETERS_PER_SAMPLE",
    "MIN_SAMPLE_RATE",
    "MOST_STEPS",
    "MOST_UNITS",
    "NETWORKS",
    "PENALTIES",
    "ZERO_WIDTH",
    "ActivationName",
    "BaseName",
    "CascadeOptions",
    "Choice",
    "CutoffsName",
    "DoubleDutchOptions",
    "Encoding",
    "EstimatorName",
    "FitOptions",
    "GatingName",
    "GridOptions",
    "GrowFromName",
    "InitialisationName",
    "InputOptions",
    "LadderName",
    "LeavesName",
    "LossSpec",
    "ModelOptions",
    "NetworkOptions",
    "NetworkSpec",
    "OptimiserName",
    "OutputOptions",
    "PairName",
    "PenaltySpec",
    "PhaseName",
    "PositiveName",
    "ReadingName",
    "RopeName",
    "ScheduleName",
    "SineOptions",
    "SirenOptions",
    "StackOptions",
    "StartingPoint",
    "SurrogateOptions",
    "TrainingOptions",
    "UnitOptions",
    "WindowName",
    "check_lags",
    "count_batches",
    "field_docs",
    "has_curvature",
    "is_setting_of",
    "option_tables",
    "parse_loss",
    "parse_penalties",
    "parse_penalty",
    "parse_rates",
    "parse_terms",
    "read_settings",
    "setting_docs",
    "setting_groups",
]
