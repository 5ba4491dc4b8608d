"""``python -m benchmarks fit | losses | speed | memory``: measure, print and write the section of that name."""

import sys

from benchmarks import fits, losses, process
from benchmarks.results import write_section

COMMANDS = {"fit": fits.run, "losses": losses.run, "speed": process.speed, "memory": process.memory}


def main() -> int:
    """Run the benchmarks named on the command line."""
    names = sys.argv[1:]
    if not names or any(name not in COMMANDS for name in names):
        print(f"usage: python -m benchmarks {' | '.join(COMMANDS)}", file=sys.stderr)
        return 2
    for name in names:
        title, lines = COMMANDS[name]()
        write_section(name, title, lines)
    return 0


sys.exit(main())
