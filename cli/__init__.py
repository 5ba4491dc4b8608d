"""The command ``ddaudio``: a command line, translated into calls of the library."""

import logging
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 invalid input, 130 stopped by Ctrl-C."""
    # Waiting threads spin, by default for so long that a second busy process makes a fit 20 times slower; with a short
    # spin a fit is nearly as fast as alone. Must be set before torch is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    try:
        from .interrupts import sure_interrupts  # noqa: PLC0415
        from .streams import open_closed_streams, set_columns  # noqa: PLC0415

        open_closed_streams()
        set_columns()
        # Without a home folder, matplotlib logs the location of its cache.
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        with sure_interrupts():
            from .app import run  # noqa: PLC0415 - Ctrl-C while this loads must not show a traceback

            return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print("ddaudio: stopped", file=sys.stderr)  # noqa: T201
        return 130
