"""Modules of ddaudio for networks of your own: `DoubleDutch`, a tree of wave pairs as the head of any network."""

from ddaudio.nn.double_dutch import DoubleDutch, PredictsName

__all__ = ["DoubleDutch", "PredictsName"]
