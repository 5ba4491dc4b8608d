"""Settings of the double-dutch tree."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

from ddaudio.errors import OptionError, closest
from ddaudio.options.checks import check_choice, check_one_of, check_switch, check_whole, parse_row
from ddaudio.options.network import NetworkOptions

RopeName = Literal["cosine", "sine", "square"]
PairName = Literal["opposite", "quadrature", "shifted", "sigmoid"]
ReadingName = Literal["every", "leaf", "binary", "gates"]
GatingName = Literal["hard", "soft", "beam"]
CutoffsName = Literal["fixed", "learned", "shared"]
LeavesName = Literal["waves", "sine"]


@dataclass(frozen=True)
class DoubleDutchOptions(NetworkOptions):
    """The network ``double-dutch``: a tree of wave pairs."""

    depth: int | None = None
    """Levels of the tree, 1 to 24 (default: as often as a frame can be halved)."""
    denominators: str | None = None
    """Samples per period of each level's wave, falling, as in 4096,2048,1000 (default: halved from twice the frame)."""
    above_nyquist: bool = False
    """Allow denominators below 2."""
    ropes: RopeName = "cosine"
    """Shape of the waves: cosine, sine or square."""
    pair: PairName = "opposite"
    """Waveforms of a pair of ropes: a wave and its negative (opposite), a sine and a cosine each (quadrature), two waves a
    quarter period apart (shifted), or +1 and -1 with one amplitude for all of a level (sigmoid)."""
    reading: ReadingName = "every"
    """Levels that make the output: every level, the deepest (leaf), or the deepest gates as two learned levels (binary) or as
    ones and zeros, without amplitudes (gates)."""
    gating: GatingName | None = None
    """Gates that open smoothly (soft), at once (hard), or smoothly along the most open paths only (beam) (default: soft; hard
    with reading binary or gates)."""
    beam: int = 4
    """Paths of the gating beam, 1 to 64."""
    transition_s: str = "0.0001"
    """Length of the gates' transitions, 1e-6 to 1 s: one for all levels, limited to an eighth of a level's cell, or one for each
    level, as in 0.001,0.0005."""
    cutoffs: str | None = None
    """Whether the cutoffs of the gates are fixed at 0, learned for each node, or one is learned for all of a tree (shared); or
    the cutoff of all gates, -1 to 1, as in 0.1 (default: fixed; learned with reading binary or gates). Those of square ropes
    are fixed."""
    leaves: LeavesName = "waves"
    """Content of the deepest cells: the tree's own waves, or partials (sine); the tree is then divided adaptively, and its gates
    are the windows of the network sine."""

    def __post_init__(self) -> None:
        for name, known in (("ropes", RopeName), ("pair", PairName), ("reading", ReadingName)):
            check_choice(self, name, get_args(known))
        if self.gating is not None:
            check_choice(self, "gating", get_args(GatingName))
        check_choice(self, "leaves", get_args(LeavesName))
        if self.cutoffs is not None:
            self._check_cutoffs()
        check_whole(self, "depth", 1, 24)
        check_whole(self, "beam", 1, 64)
        check_switch(self, "above_nyquist")
        check_one_of(self, "depth", "denominators")
        if not all(1e-6 <= each <= 1 for each in parse_row("transition_s", self.transition_s)):
            raise OptionError(setting="transition_s", value=self.transition_s, allowed="1e-6 to 1 s")
        if self.denominators is not None:
            parse_row("denominators", self.denominators)
        self._check_pair()
        if self.reading == "gates" and (self.ropes == "square" or self.cutoffs not in (None, "learned", "shared")):
            others = {"ropes": self.ropes} if self.ropes == "square" else {"cutoffs": self.cutoffs}
            problem, hint = (
                "which has no parameters but learned cutoffs",
                "use {cutoffs=learned} and {ropes=cosine} or {ropes=sine}",
            )
            raise OptionError(problem, setting="reading", value=self.reading, others=others, hint=hint)
        if self.ropes == "square" and self.cutoffs not in (None, "fixed"):
            problem, other = "but the gates of square ropes are the same for all cutoffs", {"ropes": self.ropes}
            hint = "use {ropes=cosine} or {ropes=sine}"
            raise OptionError(problem, setting="cutoffs", value=self.cutoffs, others=other, hint=hint)

    def _check_cutoffs(self) -> None:
        """Raise `OptionError` for cutoffs that are neither a name nor a value from -1 to 1."""
        try:
            inside = self.cutoffs in get_args(CutoffsName) or -1 <= float(str(self.cutoffs)) <= 1
        except ValueError:
            inside = False
        if not inside:
            names = get_args(CutoffsName)
            allowed, hint = f"{', '.join(names)}, or a cutoff from -1 to 1", closest(str(self.cutoffs), list(names))
            raise OptionError(setting="cutoffs", value=self.cutoffs, allowed=allowed, hint=hint)

    @property
    def learns_cutoffs(self) -> bool:
        """Whether cutoffs are parameters."""
        return self.cutoffs in ("learned", "shared")

    @property
    def given_cutoff(self) -> float:
        """Cutoff of all gates where none is learned."""
        return 0.0 if self.cutoffs in (None, *get_args(CutoffsName)) else float(str(self.cutoffs))

    def _check_pair(self) -> None:
        """Raise `OptionError` for a pair that the ropes or the reading do not have."""
        if self.pair in ("quadrature", "shifted") and (self.ropes == "square" or self.is_binary):
            other = {"ropes": self.ropes} if self.ropes == "square" else {"reading": self.reading}
            hint = "use {ropes=cosine} or {ropes=sine}, and another {reading} than binary or gates"
            raise OptionError(f"but a {self.pair} pair needs waves", setting="pair", value=self.pair, others=other, hint=hint)
        if self.pair == "sigmoid" and self.is_binary:
            problem, hint = "which has two levels, not one for each level of the tree", "use {reading=every} or {reading=leaf}"
            raise OptionError(problem, setting="pair", value=self.pair, others={"reading": self.reading}, hint=hint)

    @property
    def is_full(self) -> bool:
        """Whether all ropes are active, with amplitudes that they share."""
        return self.is_binary or self.pair == "sigmoid"

    @property
    def is_binary(self) -> bool:
        """Whether the output is that of the deepest gates alone, with two levels."""
        return self.reading in ("binary", "gates")

    def check_start(self, initialisation: str) -> None:
        """Raise `OptionError` for another initialisation of amplitudes that ropes share."""
        if self.is_full and initialisation != "peaks":
            problem = "but its amplitudes are always initialised by least squares"
            others = {"reading": self.reading} if self.is_binary else {"pair": self.pair}
            hint = "use {reading=every} and {pair=opposite}"
            raise OptionError(problem, setting="initialisation", value=initialisation, others=others, hint=hint)

    @property
    def fitted_as(self) -> str | None:
        """The network of the leaves, if they hold partials."""
        return "sine" if self.leaves == "sine" else None

    def filled(self) -> "DoubleDutchOptions":
        """Return these options with gating and cutoffs filled in."""
        binary = self.is_binary
        gating = self.gating or ("hard" if binary else "soft")
        learned = binary and self.ropes != "square"
        return replace(self, gating=gating, cutoffs=self.cutoffs or ("learned" if learned else "fixed"))

    @property
    def parsed_denominators(self) -> tuple[float, ...]:
        """The denominators as numbers; none where they are not given."""
        return () if self.denominators is None else parse_row("denominators", self.denominators)

    def transitions_s(self, depth: int) -> tuple[float, ...]:
        """Return the transition of each of ``depth`` levels, or one for all; raises `OptionError` for any other number."""
        row = parse_row("transition_s", self.transition_s)
        if len(row) not in (1, depth):
            problem = f"{len(row)} values for {depth} levels"
            raise OptionError(problem, setting="transition_s", value=self.transition_s, allowed=f"1 value or {depth}")
        return row
