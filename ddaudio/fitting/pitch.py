"""Pitch of a fit, by the method of its settings."""

import torch

from ddaudio.analysis.pitch import PitchCurve, pitch_by_pyin, pitch_of_partials
from ddaudio.io.audio import Recording
from ddaudio.io.samples import Samples
from ddaudio.models import Network
from ddaudio.models.partial_bank import PartialBankNetwork
from ddaudio.models.tracks.network import TracksNetwork
from ddaudio.options.recording import PitchMethod


def find_pitch(network: Network, recording: Recording, waves: Samples, method: PitchMethod) -> PitchCurve | None:
    """Return the pitch of a fit over time; None for method ``none``, and of ``partials`` for a model without partials.

    Knots of tracks count as partials that last from the knot before to the knot after.

    Args:
        network: the model.
        recording: what was modelled.
        waves: signals of all networks but the noise, ``[C, T]``.
        method: partials, pyin or none.

    """
    if method == "none":
        return None
    if method == "pyin":
        return pitch_by_pyin(recording.samples, recording.sample_rate)
    tables = [term.describe() for term in network.terms if isinstance(term, (PartialBankNetwork, TracksNetwork))]
    if not tables:
        return None
    names = dict.fromkeys(name for table in tables for name in table)
    columns = {name: torch.cat([table.get(name, torch.zeros_like(table["time_s"])) for table in tables]) for name in names}
    return pitch_of_partials(columns, recording.duration_s, recording.sample_rate, recording.samples, waves)
