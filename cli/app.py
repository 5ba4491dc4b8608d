"""The app with its subcommands, and printing of errors."""

import io
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

import ddaudio
from ddaudio.errors import DdaudioError
from ddaudio.io.paths import quoted
from ddaudio.metrics.registry import METRICS

from .batch import batch
from .compare import compare
from .console import print_message
from .edit import edit
from .export import export
from .fit import fit
from .flags import LABORATORY_HINT
from .help import COMPLETE, HELP_FLAGS, LABORATORY
from .import_file import import_file
from .info import info
from .landscape import landscape
from .morph import morph
from .play import play
from .refusals import in_flags, usage_problem
from .render import render
from .report import report
from .search import search
from .streams import discard_stdout, stdout_problem

COMPARED = ", ".join(spec.heading for spec in METRICS.values() if spec.is_compared)
"""Columns of a comparison."""
app = App(
    name="ddaudio",
    help="Turn a recording into a small, trainable model of waves, and back into sound.",
    help_format="plaintext",
    help_epilogue="Exit codes: 0 done (warnings are printed), 1 failed, 2 invalid input, 130 stopped by Ctrl-C.",
    version=ddaudio.__version__,
    help_flags=HELP_FLAGS,
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)
app.command(fit, sort_key=1, help_epilogue=LABORATORY_HINT)
app.command(batch, sort_key=2, help_epilogue=LABORATORY_HINT)
app.command(compare, sort_key=3, help_epilogue=f"Metrics in the table: {COMPARED}. {LABORATORY_HINT}")
app.command(search, sort_key=4, help_epilogue=LABORATORY_HINT)
app.command(render, sort_key=5)
app.command(edit, sort_key=6)
app.command(morph, sort_key=7)
app.command(info, sort_key=8)
app.command(export, sort_key=9)
app.command(import_file, name="import", sort_key=9)
app.command(play, sort_key=10)
app.command(report, sort_key=11)
app.command(landscape, sort_key=12)
app.register_install_completion_command(help="Install completion for your shell (bash, zsh, fish, PowerShell).")


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; an error is one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may contain characters that a terminal cannot show
    LABORATORY.is_shown = COMPLETE in arguments
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
        sys.stdout.flush()
    except (CycloptsError, DdaudioError) as error:
        print_message("error", in_flags(error) if isinstance(error, DdaudioError) else usage_problem(error, arguments))
        return 2
    except BrokenPipeError:  # the reader has closed the pipe
        discard_stdout()
        return 0
    except OSError as error:
        if error.filename is not None:  # such as a name that is too long, or a folder that must not be entered
            print_message("error", f"cannot use {quoted(error.filename)}: {error.strerror}")
            return 2
        problem = stdout_problem()
        if problem is None:
            raise
        discard_stdout()
        print_message("error", f"cannot write to standard output: {problem}")
        return 1
    return code if isinstance(code, int) else 0
