"""Losses as they are named in settings."""

import re

from ddaudio.errors import OptionError, nearest

LOSSES = ("mae", "mse", "mss", "pdl")


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
