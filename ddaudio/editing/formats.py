"""Registry of the formats to which models are exported, one row each. Does not import torch."""

import struct
from dataclasses import dataclass
from typing import Literal

from ddaudio.options.registry import Registry

ContentName = Literal["components", "tracks", "model"]


@dataclass(frozen=True)
class FormatSpec:
    """A format of files that are made from models."""

    name: str
    """Name in settings."""
    summary: str
    """Short description for the help."""
    path: str
    """Function that returns the contents of a file, as ``module:function``: their text for named columns of equal length, or
    bytes for a `ddaudio.editing.exchange.track_data.TrackData`, or bytes for settings and tensors, according to `content`."""
    content: ContentName = "components"
    """What a file contains: the table of a network's components, its tracks, or the whole model."""
    reader: str = ""
    """Function that returns a `TrackData`, or settings and tensors, for the bytes of a file; none if it is not read."""
    begins: tuple[bytes, ...] = ()
    """How the files that are read begin; each is of the format of the first row that fits."""
    mono: bool = False
    """Whether a file has a single channel."""
    noise: bool = False
    """Whether a file has the noise beside the tracks."""
    pitch: bool = False
    """Whether a file has the pitch."""


EXCHANGE = "ddaudio.editing.exchange"
FORMATS = Registry(
    "ddaudio.formats",
    FormatSpec,
    [
        FormatSpec("csv", "comma-separated values with a line of headings", "ddaudio.editing.tables:as_csv"),
        FormatSpec("json", "a list of objects, one for each component", "ddaudio.editing.tables:as_json"),
        FormatSpec(
            "tracks-csv",
            "knots of tracks as comma-separated values",
            f"{EXCHANGE}.tracks_csv:write",
            "tracks",
            f"{EXCHANGE}.tracks_csv:read",
            (b"track,signal,time_s", b"\xef\xbb\xbftrack,signal,time_s"),
        ),
        FormatSpec(
            "model-json",
            "the whole model as JSON",
            f"{EXCHANGE}.model_json:write",
            "model",
            f"{EXCHANGE}.model_json:read",
            (b'{"ddaudio_model"',),
        ),
        FormatSpec(
            "sdif", "tracks for Loris (SDIF, RBEP)", f"{EXCHANGE}.sdif:write_rbep", "tracks", f"{EXCHANGE}.sdif:read", (b"SDIF",)
        ),
        FormatSpec("sdif-1trc", "tracks for Csound, Max and OpenMusic (SDIF, 1TRC)", f"{EXCHANGE}.sdif:write_1trc", "tracks"),
        FormatSpec(
            "ats",
            "tracks and noise for Csound and Pure Data (ATS, type 4)",
            f"{EXCHANGE}.ats:write",
            "tracks",
            f"{EXCHANGE}.ats:read",
            (struct.pack("<d", 123), struct.pack(">d", 123)),
            mono=True,
            noise=True,
        ),
        FormatSpec(
            "spear",
            "tracks for SPEAR (text, partials)",
            f"{EXCHANGE}.spear:write",
            "tracks",
            f"{EXCHANGE}.spear:read",
            (b"par-text-",),
            mono=True,
        ),
        FormatSpec(
            "midi",
            "the pitch as notes with bends (MIDI, MPE)",
            f"{EXCHANGE}.midi:write",
            "tracks",
            f"{EXCHANGE}.midi:read",
            (b"MThd",),
            mono=True,
            pitch=True,
        ),
        FormatSpec("supercollider", "tracks as envelopes for SuperCollider", f"{EXCHANGE}.supercollider:write", "tracks"),
    ],
)
"""The formats, by name."""
