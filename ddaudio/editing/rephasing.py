"""Phases of tracks whose frequencies or times have changed."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ddaudio.editing.editable import Editable
from ddaudio.editing.knots import deviations, located, owners, subdivided, values_at
from ddaudio.editing.phase_lead import Spans
from ddaudio.editing.time_map import Attacks
from ddaudio.synthesis.knots import Knots

MOST_RAD = 1.0
"""Most that the phase of a segment may differ from that of its mean frequency: whole turns are recovered up to pi."""
NEAR_HZ, NEAR_RATIO = 1.5, 0.002
"""Largest distance in frequency of tracks that are one in two channels."""
CONTINUED_HZ, CONTINUED_RATIO = 30.0, 0.03
"""Largest distance in frequency of a track that continues another one of its channel."""
CONTINUED_LEVEL = 0.5
"""Least amplitude of the track that is continued, relative to what the other one reaches within `EARLY_S`."""
EARLY_S, BIN_S = 0.030, 0.005
"""Time after the beginning of a track that counts as its beginning, and the intervals of time in which tracks are compared."""
KEY_SPAN = 32.0
"""More than the difference of any two frequencies and their widths."""
OVERLAP = 0.5
"""Least share of the shorter of two such tracks in which both sound."""


def ready(knots: Knots, most_scale: float) -> Knots:
    """Return knots with more of them, so that phases can advance ``most_scale`` times as much in each segment."""
    for _ in range(2):
        parts = (deviations(knots).abs() * max(1.0, most_scale) / MOST_RAD).ceil().long().clamp(1, 64)
        if not bool((parts > 1).any()):
            break
        knots = subdivided(knots, parts)
    return knots


def rephased(sound: Editable, scale: Tensor, attacks: Attacks) -> Tensor:
    """Return the phases of all knots if the phase of each segment advances ``scale [S]`` times as much, ``[K]`` radians.

    In attacks, where ``scale`` is 1, each track has its stored phases. From one attack to the next, phases get ahead of the
    stored ones by whole turns: for that, all tracks together are sped up or slowed down by a fraction of a period, and what
    each of them still lacks is spread over the time. A track that begins between attacks begins with the lead in phase of the
    track that it continues, or with its stored phase. One that is also in another channel, and louder there, has the lead of
    that.

    Args:
        sound: tracks, with knots at the starts and stops of the attacks.
        scale: see above.
        attacks: the attacks.

    """
    knots = sound.knots
    if not len(sound.signal):
        return knots.phase
    before = predecessors(sound)
    leader = leaders(sound) if sound.shape[0] > 1 else torch.full_like(sound.signal, -1)
    spans = Spans(knots, attacks)
    lead = spans.lead(scale, before)
    if len(attacks.onset):
        scale = scale - spans.common_rates(lead)[spans.of_segment]
        lead = spans.lead(scale, before)
        lead = lead - spans.ramps(lead, before)
    if bool((leader >= 0).any()):
        lead = followed(knots, lead, leader)
    return knots.phase + lead


def predecessors(sound: Editable) -> Tensor:
    """Return the track that each track continues, ``[N]``; -1 for none.

    It is of the same channel, begins before, sounds when the other begins, is near in frequency and not much softer: where a
    sound is cut into cells whose partials are not linked, they fit together in phase.
    """
    knots, n_tracks = sound.knots, len(sound.signal)
    step = BIN_S * sound.sample_rate
    starts = knots.counts.cumsum(0) - knots.counts
    begin, end = knots.position[starts], knots.position[starts + knots.counts - 1]
    early = knots.position <= (begin + EARLY_S * sound.sample_rate)[owners(knots)]
    level = torch.zeros(n_tracks, dtype=torch.float64)
    level = level.scatter_reduce(0, owners(knots)[early], knots.amplitude[early], "amax")
    own = knots.frequency[starts + 1]
    reach = torch.clamp(CONTINUED_RATIO * own, min=CONTINUED_HZ * 2 * math.pi / sound.sample_rate)
    rows = _rows(sound, step)
    order = torch.argsort(rows.key)
    ranked, group = rows.key[order], ((begin / step).floor() * sound.shape[0] + sound.signal) * KEY_SPAN
    first, last = torch.searchsorted(ranked, group + own - reach), torch.searchsorted(ranked, group + own + reach, right=True)
    count = (last - first).clamp(min=0)
    track = torch.arange(n_tracks).repeat_interleave(count)
    row = order[torch.arange(len(track)) - (count.cumsum(0) - count)[track] + first[track]]
    other, amplitude = rows.track[row], rows.amplitude[row]
    fine = (begin[other] < begin[track]) & (end[other] >= begin[track]) & (amplitude >= CONTINUED_LEVEL * level[track])
    gap = (rows.frequency[row] - own[track]) / reach[track]
    worth = (amplitude * torch.exp(-4 * gap.square()))[fine]
    by_worth = torch.argsort(worth, stable=True)
    before = torch.full((n_tracks,), -1)
    before[track[fine][by_worth]] = other[fine][by_worth]
    return before


class _Rows(NamedTuple):
    """Tracks in each of equal intervals of time; columns ``[R]``."""

    track: Tensor
    amplitude: Tensor
    frequency: Tensor
    key: Tensor
    """Interval and channel, times `KEY_SPAN`, plus the frequency."""


def _rows(sound: Editable, step: float) -> _Rows:
    """Return the tracks that sound in each interval of ``step`` samples."""
    knots = sound.knots
    starts = knots.counts.cumsum(0) - knots.counts
    begin, end = knots.position[starts], knots.position[starts + knots.counts - 1]
    first, last = (begin / step).floor().long(), (end / step).floor().long()
    count = last - first + 1
    track = torch.arange(len(begin)).repeat_interleave(count)
    interval = torch.arange(len(track)) - (count.cumsum(0) - count)[track] + first[track]
    position = torch.minimum(torch.maximum((interval + 0.5) * step, begin[track]), end[track])
    found = values_at(knots, *located(knots, track, position))
    key = (interval * sound.shape[0] + sound.signal[track]) * KEY_SPAN + found.frequency.clamp(0, math.pi)
    return _Rows(track, found.amplitude, found.frequency, key)


def leaders(sound: Editable) -> Tensor:
    """Return the track of another channel that each track is one with and that is louder, ``[N]``; -1 for none."""
    knots = sound.knots
    n_tracks, owner = len(sound.signal), owners(knots)
    ends = knots.counts.cumsum(0)
    begin, end = knots.position[ends - knots.counts], knots.position[ends - 1]
    power = knots.amplitude.square() + 1e-30
    energy = torch.zeros(n_tracks, dtype=torch.float64).index_add(0, owner, power)
    frequency = torch.zeros(n_tracks, dtype=torch.float64).index_add(0, owner, power * knots.frequency) / energy
    energy = energy / knots.counts * (end - begin)
    order = torch.argsort(frequency)
    width = torch.clamp(NEAR_RATIO * frequency, min=NEAR_HZ * 2 * math.pi / sound.sample_rate)
    ranked = frequency[order]
    first, last = torch.searchsorted(ranked, frequency - width), torch.searchsorted(ranked, frequency + width, right=True)
    count = last - first
    own = torch.arange(n_tracks).repeat_interleave(count)
    other = order[torch.arange(len(own)) - (count.cumsum(0) - count)[own] + first[own]]
    overlap = torch.minimum(end[own], end[other]) - torch.maximum(begin[own], begin[other])
    shorter = torch.minimum((end - begin)[own], (end - begin)[other])
    louder = (energy[other] > energy[own]) | ((energy[other] == energy[own]) & (other < own))
    fine = (sound.signal[own] != sound.signal[other]) & louder & (overlap >= OVERLAP * shorter)
    own, other = own[fine], other[fine]
    # The loudest of several: written last.
    by_energy = torch.argsort(energy[other], stable=True)
    leader = torch.full((n_tracks,), -1)
    leader[own[by_energy]] = other[by_energy]
    for _ in range(8):
        further = torch.where(leader >= 0, leader[leader.clamp(min=0)], -1)
        leader = torch.where(further >= 0, further, leader)
    return leader


def followed(knots: Knots, lead: Tensor, leader: Tensor) -> Tensor:
    """Return the lead in phase of all knots, with that of the track ``leader [N]`` where both sound; -1 for none."""
    owner = owners(knots)
    follows = leader[owner]
    rows = (follows >= 0).nonzero().flatten()
    starts = knots.counts.cumsum(0) - knots.counts
    target, position = follows[rows], knots.position[rows]
    begin, end = knots.position[starts[target]], knots.position[starts[target] + knots.counts[target] - 1]
    inside = (position >= begin) & (position <= end)
    rows, target, position = rows[inside], target[inside], position[inside]
    shift = torch.full_like(lead, torch.nan)
    shift[rows] = lead_at(knots, lead, target, position) - lead[rows]
    return lead + _filled(shift, knots, owner)


def lead_at(knots: Knots, lead: Tensor, track: Tensor, position: Tensor) -> Tensor:
    """Return the lead in phase of tracks at positions, ``[M]``: as much more of that of a segment as its phase has advanced."""
    left, x = located(knots, track, position)
    share = (values_at(knots, left, x).phase - knots.phase[left]) / (
        values_at(knots, left, torch.ones_like(x)).phase - knots.phase[left]
    )
    return lead[left] + share.nan_to_num(0.0, 0.0, 0.0) * (lead[left + 1] - lead[left])


def _filled(shift: Tensor, knots: Knots, owner: Tensor) -> Tensor:
    """Return values with those of the nearest knot before in the same track, or else after it, in place of NaN; else 0."""
    known = ~shift.isnan()
    index = torch.arange(len(shift))
    before = torch.where(known, index, -1).cummax(0).values
    after = torch.where(known, index, len(shift)).flip(0).cummin(0).values.flip(0)
    starts = knots.counts.cumsum(0) - knots.counts
    first, last = starts[owner], (starts + knots.counts - 1)[owner]
    result = torch.zeros_like(shift)
    for place, fine in ((after, after <= last), (before, before >= first)):
        result = torch.where(fine, shift[place.clamp(0, len(shift) - 1)], result)
    return result
