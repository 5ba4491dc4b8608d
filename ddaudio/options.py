"""Settings of a fit: frozen dataclasses, checked when made.

The command line, TOML files and the documentation all come from these classes. Nothing here imports torch, so that
``ddaudio --help`` answers at once. A setting is known by its field's name everywhere (``target_snr_db``); the groups
are the tables of a TOML file.
"""

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from ddaudio.errors import OptionError, nearest

GOALS = ("target_snr_db", "numbers", "partials")
"""Settings that say how large a model gets: only one of them may be asked for."""
LOSSES = ("mae", "mse", "mss", "pdl")
MODELS = ("sine", "double-dutch")
WindowName = Literal["hann", "sine", "triangle", "gate"]
StartName = Literal["peaks", "random", "equal"]
OptimiserName = Literal["gauss-newton", "adam", "sgd", "lbfgs"]
RopeName = Literal["cosine", "sine", "square"]
PairName = Literal["opposite", "quadrature"]
ReadingName = Literal["every", "leaf", "binary"]
GatingName = Literal["hard", "soft", "beam"]
CutoffsName = Literal["fixed", "learned"]
LeavesName = Literal["waves", "sine"]
ScheduleName = Literal["cosine", "constant", "warm-up"]
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1_000, 384_000
MIN_FRAME_S, MAX_FRAME_S = 0.0005, 5.0
MIN_NUMBERS, MIN_NUMBERS_PER_SAMPLE = 4, 0.0001
Encoding = Literal["pcm16", "pcm24", "float32"]


def _check_range(options: object, name: str, low: float, high: float, unit: str = "") -> None:
    """Refuse a value out of range; a whole number given for a float becomes one, so that equal settings are equal."""
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise OptionError(f"{name} is {value!r}; allowed is {low:.12g} to {high:.12g}{unit and ' ' + unit}")
    object.__setattr__(options, name, float(value))


def _check_whole(options: object, name: str, low: int, high: int, unit: str = "") -> None:
    value = getattr(options, name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionError(f"{name} is {value!r}; it must be a whole number from {low} to {high}{unit and ' ' + unit}")
    if not low <= value <= high:
        raise OptionError(f"{name} is {value!r}; allowed is {low} to {high}{unit and ' ' + unit}")


def _check_choice(options: object, name: str, known: tuple[str, ...]) -> None:
    value = getattr(options, name)
    if value not in known:
        raise OptionError(f"{name} is {value!r}, which is unknown; {nearest(str(value), known)}")


def parse_terms(text: str) -> dict[str, float]:
    """Read named, weighted terms such as ``mse=1,pdl=0.5`` or ``mse+mss`` (weight 1 each), in the order given.

    Raises `OptionError` on an unknown name (the nearest known one is given), a repeated name, or a weight that is not
    a positive, finite number.
    """
    if not isinstance(text, str):
        raise OptionError(f"losses is {text!r}; it must be text such as 'mse=1,pdl=0.5'")
    terms: dict[str, float] = {}
    for part in re.split(r",|\+(?=\s*[a-z])", text):
        name, _, number = (piece.strip() for piece in part.partition("="))
        if name not in LOSSES:
            raise OptionError(f"losses names {name!r}, which is unknown; {nearest(name, LOSSES)}")
        if name in terms:
            raise OptionError(f"losses names {name!r} twice; give each loss once, as in mse=1,pdl=0.5")
        try:
            weight = float(number or 1)
        except ValueError:
            raise OptionError(f"losses has the weight {number!r} for {name}; it must be a number, as in {name}=0.5") from None
        if not 0 < weight < float("inf"):
            raise OptionError(f"losses has the weight {weight:g} for {name}; it must be above 0 and finite")
        terms[name] = weight
    return terms


@dataclass(frozen=True)
class InputOptions:
    """How the recording is read."""

    sample_rate: int | None = None
    """Resample to this rate before fitting, 1000 to 384000 Hz (default: the recording's own rate)."""

    def __post_init__(self) -> None:
        _check_whole(self, "sample_rate", MIN_SAMPLE_RATE, MAX_SAMPLE_RATE, "Hz")


@dataclass(frozen=True)
class GridOptions:
    """How the recording is cut into frames."""

    frame_s: float | None = None
    """Length of all frames, 0.0005 to 5 s (default: frames of 6 to 770 ms, as the sound asks for; 0.05 s with partials;
    double-dutch takes the nearest power of two samples, by default to 0.1 s)."""
    overlap: float | None = None
    """Share of a frame that it has in common with the next one, 0 to 0.5, with frame_s (default: 0.5; 0 for double-dutch)."""
    window: WindowName | None = None
    """Shape of the crossfade between frames (default: hann; gate, a tree's own, with leaves sine)."""

    def __post_init__(self) -> None:
        _check_range(self, "frame_s", MIN_FRAME_S, MAX_FRAME_S, "s")
        _check_range(self, "overlap", 0, 0.5)
        if self.window is not None:
            _check_choice(self, "window", get_args(WindowName))
        if self.overlap not in (None, 0.5) and self.frame_s is None:
            raise OptionError(f"overlap is {self.overlap:g}, but frames are as long as the sound asks for; give frame_s as well")


@dataclass(frozen=True)
class ModelOptions:
    """Which network, how large, and where it starts."""

    model: str = "sine"
    """The network: ``sine``, a bank of partials in each frame, ``double-dutch``, a tree of wave pairs in each, or a sum such as
    ``sine+double-dutch``, in which each network fits what those before it leave over."""
    shares: str | None = None
    """How numbers, or the decibels aimed at, are shared out over the networks of a sum, as in 3,1 (default: equally)."""
    target_snr_db: float = 25.0
    """Stop spending numbers when this SNR is reached, -10 to 140 dB."""
    max_numbers_per_sample: float = 0.25
    """Cap on what the goal may cost, 0.0001 to 4 numbers per sample; one partial a channel always fits."""
    numbers: int | None = None
    """Spend this many numbers instead of aiming at an SNR, 4 or more."""
    partials: int | None = None
    """Give every frame this many partials instead of aiming at an SNR, 1 to 10000."""
    start: StartName = "peaks"
    """Starting point: spectral peaks, random or equally spaced frequencies."""

    def __post_init__(self) -> None:
        for name in self.terms:
            if name not in MODELS:
                raise OptionError(f"model names {name!r}, which is unknown; {nearest(name, MODELS)}")
        if self.shares is not None and (len(self.terms) == 1 or len(_parse_row("shares", self.shares)) != len(self.terms)):
            raise OptionError(f"shares is {self.shares!r}, but model is {self.model!r}: give one share for each network of a sum")
        if not all(0 < share < float("inf") for share in self.parsed_shares):
            raise OptionError(f"shares is {self.shares!r}; each must be above 0")
        _check_range(self, "target_snr_db", -10, 140, "dB")
        _check_range(self, "max_numbers_per_sample", MIN_NUMBERS_PER_SAMPLE, 4)
        _check_whole(self, "numbers", MIN_NUMBERS, 10**12)
        _check_whole(self, "partials", 1, 10000)
        _check_choice(self, "start", get_args(StartName))
        if self.partials is not None and self.terms != ("sine",):
            raise OptionError(f"partials is {self.partials}, but a {self.model} network is sized by numbers or target_snr_db")
        if self.numbers is not None and len(self.terms) > 1 and self.numbers * min(self.parsed_shares) < MIN_NUMBERS:
            raise OptionError(
                f"numbers is {self.numbers}, too few for {len(self.terms)} networks: each needs {MIN_NUMBERS} or more"
            )
        if self.numbers is not None and self.partials is not None:
            raise OptionError(f"numbers is {self.numbers} and partials is {self.partials}; give only one of the two")

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the networks that add up, at least one."""
        return tuple(name.strip() for name in str(self.model).split("+"))

    @property
    def parsed_shares(self) -> tuple[float, ...]:
        """The share of each network; they sum to 1."""
        row = (1.0,) * len(self.terms) if self.shares is None else _parse_row("shares", self.shares)
        return tuple(share / sum(row) for share in row)


@dataclass(frozen=True)
class TreeOptions:
    """The trees of ``double-dutch``."""

    depth: int | None = None
    """Levels of the tree, 1 to 24 (default: as many as its frame can be halved)."""
    denominators: str | None = None
    """Samples per period of each level's wave, falling, as in 4096,2048,1000 (default: halved from twice the frame)."""
    above_nyquist: bool = False
    """Allow denominators below 2."""
    ropes: RopeName = "cosine"
    """Shape of the waves: cosine, sine or square."""
    pair: PairName = "opposite"
    """What a rope says: its own wave, or a sine and a cosine."""
    reading: ReadingName = "every"
    """What is heard: every level, the deepest alone (leaf), or the deepest gates as ones and zeros (binary)."""
    gating: GatingName | None = None
    """Gates open and shut smoothly (soft), at once (hard), or smoothly along the most open paths alone (beam) (default: soft;
    hard with the reading binary)."""
    beam: int = 4
    """Paths of a beam, 1 to 64."""
    transition_s: str = "0.0001"
    """Length of the gates' transitions, 1e-6 to 1 s: one for all levels, at most an eighth of a level's cell; or one a level, as
    it is given, as in 0.001,0.0005."""
    cutoffs: CutoffsName | None = None
    """Whether the gates' cutoffs stay at 0 or are learned, a number a node (default: fixed; learned with the reading binary)."""
    leaves: LeavesName = "waves"
    """What the tree's deepest cells hold: its own waves, or partials; the tree is then divided as the sound asks for, and its
    gates are the windows of the network sine."""

    def __post_init__(self) -> None:
        for name, known in (("ropes", RopeName), ("pair", PairName), ("reading", ReadingName)):
            _check_choice(self, name, get_args(known))
        if self.gating is not None:
            _check_choice(self, "gating", get_args(GatingName))
        _check_choice(self, "leaves", get_args(LeavesName))
        if self.cutoffs is not None:
            _check_choice(self, "cutoffs", get_args(CutoffsName))
        _check_whole(self, "depth", 1, 24)
        _check_whole(self, "beam", 1, 64)
        if not isinstance(self.above_nyquist, bool):
            raise OptionError(f"above_nyquist is {self.above_nyquist!r}; it must be true or false")
        if self.depth is not None and self.denominators is not None:
            raise OptionError(f"depth is {self.depth} and denominators is {self.denominators!r}; give only one of the two")
        if not all(1e-6 <= each <= 1 for each in _parse_row("transition_s", self.transition_s)):
            raise OptionError(f"transition_s is {self.transition_s!r}; allowed is 1e-6 to 1 s")
        if self.denominators is not None:
            _parse_row("denominators", self.denominators)
        if self.pair == "quadrature" and (self.ropes == "square" or self.reading == "binary"):
            raise OptionError("pair is 'quadrature', which needs waves: ropes cosine or sine, and not the reading binary")

    def filled(self) -> "TreeOptions":
        """Return these options with gating and cutoffs filled in."""
        binary = self.reading == "binary"
        gating = self.gating or ("hard" if binary else "soft")
        return replace(self, gating=gating, cutoffs=self.cutoffs or ("learned" if binary else "fixed"))

    @property
    def parsed_denominators(self) -> tuple[float, ...]:
        """The denominators as numbers; none where they are not given."""
        return () if self.denominators is None else _parse_row("denominators", self.denominators)

    def transitions_s(self, depth: int) -> tuple[float, ...]:
        """Return the transition of each of ``depth`` levels, or one for all; raises `OptionError` for another number of them."""
        row = _parse_row("transition_s", self.transition_s)
        if len(row) not in (1, depth):
            raise OptionError(f"transition_s is {self.transition_s!r}: {len(row)} values for {depth} levels; give one or {depth}")
        return row

    def table(self) -> dict[str, Any]:
        """Return the settings by name, without those that have no value."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _parse_row(name: str, text: str) -> tuple[float, ...]:
    """Return the numbers of a setting such as ``4096,2048``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except (ValueError, AttributeError):
        raise OptionError(f"{name} is {text!r}; it must be numbers with commas between them, as in 4096,2048") from None


@dataclass(frozen=True)
class TrainingOptions:
    """How the network is trained."""

    losses: str = "mse=1"
    """Named losses with weights, of mse, mae, pdl, mss."""
    optimiser: OptimiserName | None = None
    """Who moves the parameters (default: gauss-newton for mse alone, which it needs; adam otherwise)."""
    steps: int | None = None
    """Steps of the optimiser, 0 to 1000000 (default: 6 for gauss-newton, 80 otherwise)."""
    exchanges: int | None = None
    """Times that the weakest parts are exchanged for better ones, 0 to 100, each followed by half the steps (default: 2; 8 for
    double-dutch, whose parts are cheap to find)."""
    together: bool = True
    """Train the networks of a sum together at the end, in recordings that are fitted as a whole (up to 24 s of mono)."""
    learning_rate: float = 0.02
    """Largest step of the optimiser, in units of the parameters' scales, 1e-8 to 10; gauss-newton has none."""
    schedule: ScheduleName = "warm-up"
    """The learning rate over the steps: falling to zero, level, or rising over a tenth of them and then falling."""
    judge_every: int = 10
    """Steps between two looks of the judge, 1 to 100000; with gauss-newton it looks at each."""
    tolerance: float = 0.01
    """Stop when the judge's last four looks differ by no more than this share, 0 to 1."""
    crop_s: float = 0.75
    """Spectral losses are trained on crops of this length, 0.05 to 60 s."""
    seed: int = 0
    """Seed of everything random, 0 to 2147483647."""

    def __post_init__(self) -> None:
        parse_terms(self.losses)
        if self.optimiser is not None:
            _check_choice(self, "optimiser", get_args(OptimiserName))
        if self.optimiser == "gauss-newton" and not self.least_squares:
            raise OptionError(f"optimiser is 'gauss-newton', which fits mse alone; losses is {self.losses!r}: use adam")
        _check_choice(self, "schedule", get_args(ScheduleName))
        _check_whole(self, "steps", 0, 10**6)
        _check_whole(self, "exchanges", 0, 100)
        _check_range(self, "learning_rate", 1e-8, 10)
        _check_whole(self, "judge_every", 1, 10**5)
        _check_range(self, "tolerance", 0, 1)
        _check_range(self, "crop_s", 0.05, 60, "s")
        _check_whole(self, "seed", 0, 2**31 - 1)

    @property
    def least_squares(self) -> bool:
        """Whether mse is the only loss."""
        return list(parse_terms(self.losses)) == ["mse"]

    def resolved(self, exchanges: int | None = None) -> "TrainingOptions":
        """Return these options with optimiser, steps and, if given, ``exchanges`` filled in."""
        optimiser = self.optimiser or ("gauss-newton" if self.least_squares else "adam")
        steps = self.steps if self.steps is not None else 6 if optimiser == "gauss-newton" else 80
        return replace(self, optimiser=optimiser, steps=steps, exchanges=exchanges if self.exchanges is None else self.exchanges)


@dataclass(frozen=True)
class OutputOptions:
    """What is written."""

    encoding: Encoding = "float32"
    """Sample format of the WAV files."""

    def __post_init__(self) -> None:
        _check_choice(self, "encoding", get_args(Encoding))


@dataclass(frozen=True)
class FitOptions:
    """All settings of a fit, in groups."""

    input: InputOptions = field(default_factory=InputOptions)
    grid: GridOptions = field(default_factory=GridOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    tree: TreeOptions = field(default_factory=TreeOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    output: OutputOptions = field(default_factory=OutputOptions)

    def with_settings(self, settings: Mapping[str, Any]) -> "FitOptions":
        """Return these options with some settings replaced, each by its field's name, such as ``target_snr_db``.

        A goal that is given replaces whatever goal these options have.
        Raises `OptionError` on an unknown name (the nearest known one is given) or a value out of range.
        """
        homes = setting_groups()
        asked = [name for name in GOALS if settings.get(name) is not None]
        if len(asked) > 1:
            raise OptionError(f"{asked[0]} and {asked[1]} are two goals; give only one of the two")
        if asked:
            settings = {"numbers": None, "partials": None, **settings}
        for name in settings:
            if name not in homes:
                raise OptionError(f"there is no setting {name!r}; {nearest(name, homes)}")
        changes = {
            group: replace(getattr(self, group), **{n: v for n, v in settings.items() if homes[n] == group})
            for group in {homes[name] for name in settings}
        }
        return replace(self, **changes)

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the settings as nested tables, as TOML holds them, without those that have no value or no effect."""
        sized = self.model.numbers is not None or self.model.partials is not None
        idle = {"target_snr_db"} if sized else set()
        return {
            group: {name: value for name, value in table.items() if value is not None and name not in idle}
            for group, table in asdict(self).items()
        }

    def flat(self) -> dict[str, Any]:
        """Return every setting by its name, groups left out."""
        return {name: value for table in asdict(self).values() for name, value in table.items()}


def setting_groups() -> dict[str, str]:
    """Return the group of each setting, by the setting's name; names are unique over all groups."""
    hints = get_type_hints(FitOptions)
    return {member.name: group.name for group in fields(FitOptions) for member in fields(hints[group.name])}


def setting_docs() -> dict[str, str]:
    """Return what each setting means, by its name: the line below its field in this file's source."""
    owners = {hint.__name__ for hint in get_type_hints(FitOptions).values()}
    return {
        line.target.id: " ".join(str(ast.literal_eval(doc.value)).split()).replace("``", "")
        for owner in ast.parse(inspect.getsource(sys.modules[__name__])).body
        if isinstance(owner, ast.ClassDef) and owner.name in owners
        for line, doc in pairwise(owner.body)
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(doc, ast.Expr)
    }


def read_settings(path: str | Path) -> dict[str, Any]:
    """Read the settings of a TOML file such as ``fit.toml`` into one flat mapping for `FitOptions.with_settings`.

    The table ``[recording]``, which ``fit.toml`` adds to say what was fitted, is passed over. Raises `OptionError` when
    the file cannot be read, is not TOML, or names an unknown table or setting.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptionError(f"there is no settings file {str(path)!r}; give a TOML file such as a fit's fit.toml") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise OptionError(f"{str(path)!r} cannot be read as TOML: {error}") from None
    groups, homes = [member.name for member in fields(FitOptions)], setting_groups()
    settings: dict[str, Any] = {}
    for group, table in tables.items():
        if group == "recording":
            continue
        if group not in groups or not isinstance(table, dict):
            raise OptionError(f"{str(path)!r} has {group!r} at its top, which is no table of settings; {nearest(group, groups)}")
        for name, value in table.items():
            if homes.get(name) != group:
                known = [n for n, home in homes.items() if home == group]
                raise OptionError(f"{str(path)!r} has no setting {name!r} in [{group}]; {nearest(name, known)}")
            settings[name] = value
    return settings
