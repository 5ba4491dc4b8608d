"""``ddaudio render``: sound from a saved model."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ddaudio.options import Encoding

from .console import print_gain, print_message, print_result
from .flags import Whole


def render(
    model: Path,
    /,
    *,
    out: Path,
    sample_rate: Whole | None = None,
    partials: Whole | None = None,
    seed: Whole = 0,
    only: Literal["waves", "noise"] | None = None,
    encoding: Encoding = "float32",
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Render a saved model to a WAV file, optionally at another sample rate or with its strongest components only.

    Args:
        model: The folder of a fit, or its model.safetensors.
        out: WAV file to write.
        sample_rate: Sample rate, 1000 to 384000 Hz (default: the recording's); waves above its Nyquist frequency are omitted.
        partials: Number of components to render, the strongest of the model; 0 is silence (default: all).
        seed: Seed of the noise, 0 to 2147483647; the same seed gives the same samples.
        only: Part of the model to render (default: everything).
        encoding: Sample format of the WAV file.
        force: Overwrite the file if it exists; render also what takes more than 2 GB.
    """
    from ddaudio.editing.render import render_file  # noqa: PLC0415 - imports torch, which is slow

    made = render_file(
        model, out, sample_rate=sample_rate, partials=partials, seed=seed, only=only, encoding=encoding, force=force
    )
    if made.n_omitted:
        total = made.n_components + made.n_omitted
        print_message(
            "note",
            f"{made.n_omitted} of {total} components are above the Nyquist frequency for {made.sample_rate} Hz and were omitted",
        )
    print_gain(str(out), made.gain, encoding)
    channels, n_samples = made.shape
    print_result(
        f"wrote {out}: {n_samples / made.sample_rate:.3g} s, {n_samples} samples in {channels} channel{'s' * (channels > 1)} at "
        f"{made.sample_rate} Hz, {encoding}, {made.n_components} components"
    )
