"""Creation of losses by name, from their rows in `ddaudio.options.LOSSES`."""

from functools import partial

from ddaudio.errors import OptionError, PluginError
from ddaudio.losses import spectral
from ddaudio.losses.auraloss_adapter import Auraloss
from ddaudio.losses.base import Loss, Plain
from ddaudio.losses.differences import Pdl, Pointwise
from ddaudio.losses.pointwise import huber
from ddaudio.losses.whole_spectrum import WholeSpectrum
from ddaudio.options import HUBER_DELTA, LOSSES, Choice, parse_loss
from ddaudio.options.registry import REMEDY, load


def make_loss(name: str, sample_rate: int | None = None) -> Loss:
    """Create a loss by name, such as ``pdl:all-pairs``; ``sample_rate`` in Hz is needed only by ``mel``.

    Raises `OptionError` if `ddaudio.options.parse_loss` rejects the name or a required rate is missing, and `PluginError` if a
    loss of another package is broken.
    """
    choice = parse_loss(name)
    spec = LOSSES[choice.kind]
    code = load(spec)
    if not callable(code):
        raise PluginError(f"the loss {name!r} cannot be used: {spec.path} is a {type(code).__name__}", hint=REMEDY)
    if isinstance(code, type) and issubclass(code, Loss):
        code = code()
    found = code(choice, sample_rate) if spec.is_factory else code
    return found if isinstance(found, Loss) else Plain(found)


def pdl_loss(choice: Choice, _: int | None) -> Loss:
    """Create the proximal difference loss."""
    lags = [int(lag) for lag in choice.values] or choice.variants["lags"]
    return Pdl(lags, choice.variants["weights"], choice.variants["distance"])


def huber_loss(choice: Choice, _: int | None) -> Loss:
    """Create the Huber loss."""
    delta = choice.values[0] if choice.values else HUBER_DELTA
    return Pointwise(partial(huber, delta=delta), "huber", delta)


def dft_loss(choice: Choice, _: int | None) -> Loss:
    """Create the loss on the spectrum of the whole signal."""
    return WholeSpectrum(choice.variants["spectrum"])


def mss_loss(choice: Choice, _: int | None) -> Loss:
    """Create the multi-scale spectrogram loss."""
    return spectral.PRESETS[choice.variants["preset"]]


def mel_loss(_: Choice, sample_rate: int | None) -> Loss:
    """Create the mel loss; raises `OptionError` without a sample rate."""
    if sample_rate is None:
        raise OptionError("which needs the sample rate", setting="losses", value="mel", verb="names")
    return spectral.mel(sample_rate)


def auraloss_loss(choice: Choice, _: int | None) -> Loss:
    """Create a loss of auraloss."""
    return Auraloss(choice.variants["class"])
