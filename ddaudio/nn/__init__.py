"""Modules of ddaudio for networks of your own: a tree of wave pairs, and synthesis of tracks and of noise."""

from ddaudio.nn.double_dutch import DoubleDutch, PredictsName
from ddaudio.nn.noise import NoiseSynth, synthesise_noise
from ddaudio.nn.tracks import TrackSynth, synthesise_tracks

__all__ = ["DoubleDutch", "NoiseSynth", "PredictsName", "TrackSynth", "synthesise_noise", "synthesise_tracks"]
