"""Morphing: a sound between two others."""

from dataclasses import dataclass, replace

from torch import Tensor

from ddaudio.editing.alignment import common_times, matched, pairs_of
from ddaudio.editing.attacks import attacks_of
from ddaudio.editing.curves import Curve, CurveLike
from ddaudio.editing.editable import Editable, editable, network_of
from ddaudio.editing.morph_noise import morphed_noise
from ddaudio.editing.morph_pairs import paired
from ddaudio.editing.stretch import warped
from ddaudio.editing.time_map import Attacks, values_of
from ddaudio.errors import OptionError
from ddaudio.models import Network


@dataclass(frozen=True)
class Amounts:
    """How far a morph is from the first sound, 0, to the second, 1, over the time of the result."""

    amplitude: Curve
    frequency: Curve
    noise: Curve
    time: float
    """The same for durations."""

    @classmethod
    def of(
        cls,
        amount: CurveLike,
        amplitude: CurveLike | None = None,
        frequency: CurveLike | None = None,
        noise: CurveLike | None = None,
    ) -> "Amounts":
        """Return amounts from settings; those that are None are ``amount``, and time is its mean over its points."""
        whole = Curve.of(amount, "amount", 0, 1)

        def part(given: CurveLike | None, name: str) -> Curve:
            """Return the amount of one part."""
            return whole if given is None else Curve.of(given, name, 0, 1)

        mean = sum(whole.values) / len(whole.values)
        return cls(part(amplitude, "amplitude"), part(frequency, "frequency"), part(noise, "noise"), mean)

    def is_always(self, value: float) -> bool:
        """Return whether all of them have one value at all times."""
        return all(curve.is_always(value) for curve in (self.amplitude, self.frequency, self.noise)) and self.time == value


def morph(
    first: Network,
    second: Network,
    amount: CurveLike = 0.5,
    *,
    amplitude: CurveLike | None = None,
    frequency: CurveLike | None = None,
    noise: CurveLike | None = None,
    pairs: str | None = None,
) -> Network:
    """Return a model between two others.

    Where both have a pitch, harmonics of equal number become one; elsewhere, the power of the partials of the one is
    transported to those of the other over frequency, at the least cost. Frequencies and amplitudes are geometric means, weighted
    by the amounts. What only one of both has gets softer with the distance from it. Times are those between onsets that belong
    together.

    Args:
        first: a model of partials or tracks, with or without noise.
        second: another one, of the same sample rate and number of channels.
        amount: 0 for the first, 1 for the second, or a curve over the seconds of the result.
        amplitude: amount for amplitudes (default: ``amount``).
        frequency: amount for frequencies (default: ``amount``).
        noise: amount for the noise (default: ``amount``).
        pairs: times of both that belong together, in seconds, as in ``0.1=0.2,0.8=1.1`` (default: onsets).

    Raises:
        OptionError: a value is out of range, a model cannot be edited, or rates or channels differ.

    """
    amounts = Amounts.of(amount, amplitude, frequency, noise)
    given = None if pairs is None else pairs_of(pairs)
    check_pair(first, second)
    if amounts.is_always(0) or amounts.is_always(1):
        return first if amounts.is_always(0) else second
    return network_of(morphed(editable(first), editable(second), amounts, given))


def check_pair(first: Network, second: Network) -> None:
    """Raise `OptionError` for models that cannot be morphed, since their rates or channels differ."""
    rates, channels = (first.sample_rate, second.sample_rate), (first.shape[0], second.shape[0])
    if rates[0] != rates[1]:
        raise OptionError(f"the models have {rates[0]} and {rates[1]} Hz", allowed="two models of one sample rate")
    if channels[0] != channels[1]:
        raise OptionError(f"the models have {channels[0]} and {channels[1]} channels", allowed="two models of as many channels")


def morphed(first: Editable, second: Editable, amounts: Amounts, pairs: list[tuple[float, float]] | None) -> Editable:
    """Return a sound between two others of one rate and number of channels; ``pairs`` in seconds (default: onsets)."""
    rate, lengths = first.sample_rate, (first.n_samples, second.n_samples)
    if pairs is None:
        onsets = [attacks_of(sound).onset / sound.n_samples for sound in (first, second)]
        places = [(one * lengths[0], other * lengths[1]) for one, other in matched(*onsets) if one > 0 and other > 0]
    else:
        places = [(one * rate, other * rate) for one, other in pairs]
    maps = common_times(places, lengths, amounts.time)
    first, second = (warped(sound, times, Attacks.none()) for sound, times in zip((first, second), maps, strict=True))
    n_samples = first.n_samples

    def at(curve: Curve, position: Tensor) -> Tensor:
        """Return the amount at positions."""
        return values_of(curve, position / rate)

    knots, signal = paired(first, second, lambda p: at(amounts.amplitude, p), lambda p: at(amounts.frequency, p))
    noise = morphed_noise(first.noise, second.noise, amounts.noise)
    return replace(first, knots=knots, signal=signal, noise=noise, shape=(first.shape[0], n_samples))
