"""File formats by their first bytes, for messages about files that cannot be read."""

import struct

_KINDS = {
    0: {
        b".snd": "an AU file",
        b"caff": "a CAF file",
        b"MThd": "a MIDI file, which holds notes and no sound",
        b"wvpk": "a WavPack file",
        b"MAC ": "a Monkey's Audio file",
        b"TTA1": "a TTA file",
        b"DSD ": "a DSD file",
        b"FRM8": "a DSD file",
        b"MPCK": "a Musepack file",
        b"MP+": "a Musepack file",
        b"#!AMR": "an AMR file",
        b"\x0b\x77": "an AC-3 file",
        b"\x30\x26\xb2\x75": "a WMA (ASF) file",
        b"\x1a\x45\xdf\xa3": "a Matroska or WebM file",
        b"riff\x2e\x91\xcf\x11": "a Wave64 file",
    },
    4: {b"ftyp": "an MP4 (M4A, AAC or ALAC) file"},
}
_OGG_CODECS = {b"\x7fFLAC": "FLAC", b"Speex   ": "Speex", b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x80theora": "Theora"}
DECODABLE = ("a WAV", "an AIFF", "an Ogg", "a FLAC", "an MP3")
"""Beginnings of descriptions of what libsndfile may decode."""


def file_description(head: bytes) -> str:
    r"""Return a description of a file from its first bytes, with an article; empty if unknown.

    >>> file_description(b"RIFF....AVI LIST"), file_description(b"hello")
    ('an AVI file', '')
    >>> file_description(b"OggS" + bytes(22) + b"\1" + b"\x1eSpeex   1.2")
    'an Ogg Speex file'
    """
    for place, kinds in _KINDS.items():
        for magic, words in kinds.items():
            if head[place:].startswith(magic):
                return words
    detailed = {b"RIFF": _riff, b"RIFX": _riff, b"RF64": _riff, b"FORM": _form, b"OggS": _ogg, b"fLaC": _flac}
    if head[:4] in detailed:
        return detailed[head[:4]](head)
    has_sync = len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0
    if has_sync and head[1] & 0xF6 == 0xF0:
        return "an AAC (ADTS) file"
    return "an MP3 file" if has_sync or head[:3] == b"ID3" else ""


def _riff(head: bytes) -> str:
    """Describe a RIFF file."""
    return {b"WAVE": "a WAV file", b"AVI ": "an AVI file"}.get(head[8:12], f"a RIFF file of the type {_text(head[8:12])}")


def _ogg(head: bytes) -> str:
    """Describe an Ogg file by the codec of its first stream."""
    packet = head[27 + head[26] :] if len(head) > 26 else b""
    codec = next((name for magic, name in _OGG_CODECS.items() if packet.startswith(magic)), "")
    return f"an Ogg {codec} file" if codec else "an Ogg file"


def _flac(head: bytes) -> str:
    """Describe a FLAC file with its bits per sample."""
    return f"a FLAC file of {((head[20] & 1) << 4 | head[21] >> 4) + 1} bits" if len(head) > 21 else "a FLAC file"


def _form(head: bytes) -> str:
    """Describe a FORM file, of AIFF-C with its codec."""
    if head[8:12] == b"AIFF":
        return "an AIFF file"
    if head[8:12] != b"AIFC":
        return f"an IFF file of the type {_text(head[8:12])}"
    position = 12
    while len(name := head[position : position + 4]) == 4 and len(head) >= position + 8:
        if name == b"COMM" and len(coding := head[position + 26 : position + 30]) == 4:
            return f"an AIFF-C file coded as {_text(coding)}"
        size = int(struct.unpack_from(">I", head, position + 4)[0])
        position += 8 + size + size % 2
    return "an AIFF-C file"


def _text(name: bytes) -> str:
    """Return four characters in quotes, on one line."""
    return repr(name.decode("latin-1"))
