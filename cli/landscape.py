"""``ddaudio landscape``: losses as functions of frequency, as a plot and a table."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ddaudio.errors import OptionError, OutputError
from ddaudio.io.output_files import check_new

from .console import print_result
from .flags import Whole


@Parameter(name="*")
@dataclass(frozen=True)
class View:
    """Range and resolution; each flag has its help."""

    frequencies: Annotated[Whole, Parameter(help="Number of frequencies that are varied, 1 or 2; two give a map.")] = 1
    span: Annotated[
        float | None,
        Parameter(help="Range on both sides, in Hz (default: 16 bins, 8 in maps, limited by 0 Hz and the Nyquist frequency)."),
    ] = None
    span_bins: Annotated[float | None, Parameter(help="Range in bins of sample rate / samples.")] = None
    samples: Annotated[Whole, Parameter(help="Length of the excerpt, 64 to 1048576 samples.")] = 4096
    sample_rate: Annotated[Whole, Parameter(help="Sample rate of test tones, 1000 to 384000 Hz.")] = 8000


def landscape(
    recording: Path | None = None,
    /,
    *,
    tone: Annotated[list[float] | None, Parameter(negative="")] = None,
    losses: str | None = None,
    draw: Literal["losses", "alias"] = "losses",
    view: View | None = None,
    out: Path = Path("landscape.png"),
    force: Annotated[bool, Parameter(negative="", show_default=False)] = False,
) -> None:
    """Plot losses over one or two frequencies around their true values, for test tones or the strongest partial of a recording.

    Most losses have one narrow minimum. Writes a PNG file, and a CSV file of the same name.

    Args:
        recording: Sound file, of which the loudest excerpt is used (or give --tone).
        tone: Frequency of a test tone in Hz; repeat it for a mixture, of which the first ones are varied.
        losses: Names separated by commas, of losses and of windows, windows:512 (or another length), surrogate,
            annihilating-filter and optimal-transport (default: all).
        draw: What is drawn: losses, or alias: one tone above the Nyquist frequency, its samples and its alias, as PNG alone.
        view: Range and resolution.
        out: PNG file to write.
        force: Overwrite the files if they exist.
    """
    view = view or View()
    if draw == "alias":
        if recording is not None or losses is not None or len(tone or []) != 1 or view != View(sample_rate=view.sample_rate):
            raise OptionError(setting="draw", value=draw, hint="give one {tone=HZ}, and nothing else but {sample_rate} and {out}")
        _draw_alias((tone or [])[0], view.sample_rate, out, force=force)
        return
    if (recording is None) == (not tone):
        raise OptionError("no sound, or two", hint="give either a recording or {tone=HZ}")
    _check_png(out)
    if view.span is not None and view.span_bins is not None:
        raise OptionError(setting="span", value=view.span, others={"span_bins": view.span_bins}, hint="give only one of the two")
    table = out.with_suffix(".csv")
    for path in (out, table):
        check_new(path, force=force)
    from ddaudio.comparing import landscape as library  # noqa: PLC0415
    from ddaudio.comparing.landscape_figure import figure  # noqa: PLC0415
    from ddaudio.io import atomic, audio  # noqa: PLC0415 - imports torch, which takes its time

    if recording is None:
        scene = library.scene_of_tones(tone or [], view.sample_rate, view.samples, view.frequencies)
    else:
        scene = library.scene_of_recording(audio.read(recording), view.samples, view.frequencies)
    names = library.ALL if losses is None else [name for name in re.split(r"[,\s]+", losses) if name]
    span_hz = view.span if view.span_bins is None else view.span_bins * scene.sample_rate / len(scene.target)
    drawn = library.landscape(scene, names, span_hz)
    with atomic.whole_file(table) as stream:
        stream.write(drawn.csv().encode())
    with atomic.whole_file(out) as stream:
        figure(drawn).savefig(stream, format="png", dpi=120)
    truth = " and ".join(f"{hz:.6g}" for hz in drawn.truth_hz)
    print_result(f"wrote {out} and {table}: {len(drawn.values)} losses around {truth} Hz, a bin is {drawn.bin_hz:.3g} Hz")


def _check_png(out: Path) -> None:
    if out.suffix.lower() != ".png":
        raise OutputError(f"cannot write {str(out)!r}: only PNG is written", hint="give {out} a name that ends in .png")


def _draw_alias(hz: float, sample_rate: int, out: Path, *, force: bool) -> None:
    """Draw a wave above the Nyquist frequency, its samples and its alias."""
    _check_png(out)
    check_new(out, force=force)
    from ddaudio.comparing.aliasing_figure import alias_hz, aliasing_figure  # noqa: PLC0415 - imports torch, which takes its time
    from ddaudio.io import atomic  # noqa: PLC0415

    figure = aliasing_figure(hz, sample_rate)
    with atomic.whole_file(out) as stream:
        figure.savefig(stream, format="png", dpi=120)
    print_result(f"wrote {out}: {hz:.6g} Hz has the samples of {alias_hz(hz, sample_rate):.6g} Hz at {sample_rate} Hz")
