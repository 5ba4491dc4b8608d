"""``ddaudio fit``: fit a recording, write resynthesis, model and report."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import ddaudio
from ddaudio.options import FitOptions

from .console import print_gain, print_json, print_result, print_stopped
from .flags import FILES, Settings, resolve
from .progress import progress_bar


def _output(text: str, **more: Any) -> Parameter:
    return Parameter(help=text, group=FILES, **more)


@dataclass(frozen=True)
class Destination:
    """Where results are written."""

    out: Annotated[Path | None, _output("Folder for the results (default: NAME-fit in the current folder).")] = None
    force: Annotated[bool, _output("Overwrite an earlier fit, or an unfinished one.", negative="", show_default=False)] = False
    resume: Annotated[
        bool,
        _output(
            "Resume an interrupted fit; without a checkpoint, start a new one.",
            negative="",
            show_default=False,
        ),
    ] = False
    html: Annotated[bool, _output("Write report.html, a page with plots and players.")] = True


def fit(
    recording: Path,
    /,
    *,
    to: Annotated[Destination | None, Parameter(name="*")] = None,
    config: Path | None = None,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    quiet: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    json: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,
) -> int:
    """Fit a small model of waves to a recording, and write a WAV file, the model and a report to a folder.

    Ctrl-C during training saves the best model so far; a second Ctrl-C stops at once.

    A checkpoint is kept in NAME-fit.checkpoint, next to the results, until the fit is complete.

    Args:
        recording: A WAV, FLAC, OGG, MP3 or AIFF file.
        to: Where results are written.
        config: TOML file with settings, such as the fit.toml of an earlier fit; flags take precedence.
        dry_run: Print the plan of the fit (stages, frames, blocks, size, training, files) and write nothing.
        quiet: Print no progress and no results, only errors and warnings.
        json: Print the report, or with --dry-run the plan, as JSON.
        settings: Single settings.
    """
    options, to = resolve(settings or {}, config), to or Destination()
    if dry_run:
        _print_plan(recording, to, options, as_json=json)
        return 0
    with progress_bar(quiet=quiet) as tell:
        from ddaudio.report.save import fit_to_folder  # noqa: PLC0415 - imports torch, which is slow

        asked = {"force": to.force, "resume": to.resume, "html": to.html}
        saved = fit_to_folder(recording, to.out, options, progress=tell, **asked)
    for name, gain in saved.report["wav"]["gains"].items():
        print_gain(name, gain, saved.report["wav"]["encoding"])
    if json:
        print_json(saved.report)
    elif not quiet:
        print_result("\n".join([*ddaudio.summary(saved.result), _files_line(saved.folder, saved.report["files"])]))
    if saved.checkpoint is not None:
        print_stopped(str(saved.checkpoint))
    return 130 if saved.result.stopped else 0


def _print_plan(recording: Path, to: Destination, options: FitOptions, *, as_json: bool) -> None:
    from ddaudio.report.save import plan_to_folder  # noqa: PLC0415 - imports torch, which is slow
    from ddaudio.results.plan_text import plan_facts, plan_summary  # noqa: PLC0415 - imports torch, which is slow

    plan, folder, files = plan_to_folder(recording, to.out, options, force=to.force, resume=to.resume, html=to.html)
    if as_json:
        print_json(plan_facts(plan) | {"output": {"folder": str(folder), "files": list(files)}})
    else:
        print_result("\n".join([*plan_summary(plan), _files_line(folder, files)]))


def _files_line(folder: Path, files: Sequence[str]) -> str:
    return f"files    {folder}: {', '.join(files)}"
