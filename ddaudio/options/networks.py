"""Settings of the networks."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from ddaudio.errors import OptionError, nearest
from ddaudio.options.checks import check_choice, check_range, check_whole, parse_row

MODELS = ("sine", "double-dutch")
StartName = Literal["peaks", "random", "equal"]
RopeName = Literal["cosine", "sine", "square"]
PairName = Literal["opposite", "quadrature"]
ReadingName = Literal["every", "leaf", "binary"]
GatingName = Literal["hard", "soft", "beam"]
CutoffsName = Literal["fixed", "learned"]
LeavesName = Literal["waves", "sine"]
MIN_NUMBERS, MIN_NUMBERS_PER_SAMPLE = 4, 0.0001


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
        if self.shares is not None and (len(self.terms) == 1 or len(parse_row("shares", self.shares)) != len(self.terms)):
            raise OptionError(f"shares is {self.shares!r}, but model is {self.model!r}: give one share for each network of a sum")
        if not all(0 < share < float("inf") for share in self.parsed_shares):
            raise OptionError(f"shares is {self.shares!r}; each must be above 0")
        check_range(self, "target_snr_db", -10, 140, "dB")
        check_range(self, "max_numbers_per_sample", MIN_NUMBERS_PER_SAMPLE, 4)
        check_whole(self, "numbers", MIN_NUMBERS, 10**12)
        check_whole(self, "partials", 1, 10000)
        check_choice(self, "start", get_args(StartName))
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
        row = (1.0,) * len(self.terms) if self.shares is None else parse_row("shares", self.shares)
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
            check_choice(self, name, get_args(known))
        if self.gating is not None:
            check_choice(self, "gating", get_args(GatingName))
        check_choice(self, "leaves", get_args(LeavesName))
        if self.cutoffs is not None:
            check_choice(self, "cutoffs", get_args(CutoffsName))
        check_whole(self, "depth", 1, 24)
        check_whole(self, "beam", 1, 64)
        if not isinstance(self.above_nyquist, bool):
            raise OptionError(f"above_nyquist is {self.above_nyquist!r}; it must be true or false")
        if self.depth is not None and self.denominators is not None:
            raise OptionError(f"depth is {self.depth} and denominators is {self.denominators!r}; give only one of the two")
        if not all(1e-6 <= each <= 1 for each in parse_row("transition_s", self.transition_s)):
            raise OptionError(f"transition_s is {self.transition_s!r}; allowed is 1e-6 to 1 s")
        if self.denominators is not None:
            parse_row("denominators", self.denominators)
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
        return () if self.denominators is None else parse_row("denominators", self.denominators)

    def transitions_s(self, depth: int) -> tuple[float, ...]:
        """Return the transition of each of ``depth`` levels, or one for all; raises `OptionError` for another number of them."""
        row = parse_row("transition_s", self.transition_s)
        if len(row) not in (1, depth):
            raise OptionError(f"transition_s is {self.transition_s!r}: {len(row)} values for {depth} levels; give one or {depth}")
        return row

    def table(self) -> dict[str, Any]:
        """Return the settings by name, without those that have no value."""
        return {name: value for name, value in asdict(self).items() if value is not None}
