"""More knots: in tracks, and as further tracks, where they take away most of the residual for each parameter."""

import torch
from torch import Tensor

from ddaudio.models.tracks.knots import Tracks
from ddaudio.models.tracks.pursuit import pursue_tracks
from ddaudio.synthesis.tracks import TrackJacobian

PER_KNOT, PER_TRACK = 3.25, 0.75
"""Parameters of a knot and of a track: three values and about a byte, and about three bytes."""


def grown(tracks: Tracks, residual: Tensor, sample_rate: int, step: int, room: int) -> Tracks:
    """Return tracks with up to ``room`` more knots for the ``residual [B, T]``."""
    if room <= 0:
        return tracks
    where, gains = _insertions(tracks, residual, step)
    new = pursue_tracks(residual, sample_rate, step, room)
    costs = PER_KNOT * new.knots.counts + PER_TRACK
    worth = torch.cat([gains / PER_KNOT, new.track_energies() / costs])
    knots = torch.cat([torch.ones_like(where), new.knots.counts])
    order = torch.argsort(worth, descending=True, stable=True)
    order = order[worth[order] > 0]
    taken = order[knots[order].cumsum(0) <= room]
    inserted, added = taken[taken < len(where)], taken[taken >= len(where)] - len(where)
    if len(inserted):
        tracks = tracks.halved(where[inserted].sort().values, step)[0]
    chosen = torch.zeros(len(new.signal), dtype=torch.bool)
    chosen[added] = True
    return tracks.joined(new.keep(chosen[new.owner]))


def _insertions(tracks: Tracks, residual: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Return the segments that can be divided, by their left knots, and by how much a knot in each could reduce the error."""
    left = tracks.lefts
    length = tracks.knots.position[left + 1] - tracks.knots.position[left]
    left = left[length >= 2 * step]
    if not len(left):
        return left, torch.zeros(0, dtype=torch.float64)
    halved, is_new = tracks.halved(left, step)
    knots = halved.knots._replace(amplitude=halved.knots.amplitude.to(residual))
    n_signals, n_samples = residual.shape
    jacobian = TrackJacobian(knots, halved.signal, (n_signals, n_samples), log_amplitude=tracks.is_log)
    gains = torch.zeros(int(is_new.sum()), dtype=torch.float64)
    for slope, square in zip(jacobian.adjoint(residual), jacobian.squares(), strict=True):
        own, norm = slope[is_new].double(), square[is_new].double()
        gains += torch.where(norm > 0, own.square() / norm, 0)
    return left, gains
