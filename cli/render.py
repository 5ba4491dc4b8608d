"""``ddaudio render``: sound from a saved model."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ddaudio.errors import OutputError
from ddaudio.options import Encoding

from .console import print_gain, print_message, print_result
from .flags import Whole
from .output_paths import check_file


def render(
    model: Path,
    /,
    *,
    out: Path,
    sample_rate: Whole | None = None,
    partials: Whole | None = None,
    encoding: Encoding = "float32",
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Render a saved model to a WAV file, optionally at another sample rate or with its strongest components only.

    Args:
        model: The folder of a fit, or its model.safetensors.
        out: WAV file to write.
        sample_rate: Sample rate, 1000 to 384000 Hz (default: the recording's); waves above its Nyquist frequency are omitted.
        partials: Number of components to render, the strongest of the model; 0 is silence (default: all).
        encoding: Sample format of the WAV file.
        force: Overwrite the file if it exists.
    """
    if out.suffix.lower() not in (".wav", ".wave", ""):
        raise OutputError(f"cannot write {str(out)!r}: only WAV is written", hint="give {out} a name that ends in .wav")
    check_file(out, model, force=force)
    from ddaudio.editing import render as rendering  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.io import wav  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.models import file as model_file  # noqa: PLC0415 - imports torch, which takes its time

    network = model_file.load_model(model)
    rate = network.sample_rate if sample_rate is None else sample_rate
    samples = rendering.render(network, rate, partials)
    gain = wav.write_wav(out, samples, rate, encoding)
    kept = network if partials is None else network.pruned(min(partials, network.n_prunable()))
    beyond = int((kept.describe()["frequency_hz"] >= rate / 2).sum()) if rate < network.sample_rate else 0
    if beyond:
        print_message(
            "note",
            f"{beyond} of {kept.n_components()} components are above the Nyquist frequency for {rate} Hz and were omitted",
        )
    print_gain(str(out), gain, encoding)
    channels, n_samples = samples.shape
    print_result(
        f"wrote {out}: {n_samples / rate:.3g} s, {n_samples} samples in {channels} channel{'s' * (channels > 1)} at "
        f"{rate} Hz, {encoding}, {kept.n_components() - beyond} components"
    )
