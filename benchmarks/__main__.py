"""``python -m benchmarks NAME...``: measure, print and write the section of each name, of those in `COMMANDS`."""

import sys

from benchmarks import (
    batch,
    capacity,
    ear,
    ear_variants,
    ear_weighting,
    edit,
    first_order,
    fits,
    formats,
    frequency,
    from_models,
    harmonic_cells,
    loss_sums,
    losses,
    networks,
    optimisers,
    oscillators,
    pitch,
    process,
    questions,
    report,
    size,
    track_speed,
    tracks,
    tracks_linking,
    training,
    weak,
)
from benchmarks.results import write_section

COMMANDS = {
    "batch": batch.run,
    "capacity": capacity.run,
    "clicks": losses.clicks,
    "ear": ear.run,
    "ear-seconds": ear.seconds,
    "ear-variants": ear_variants.run,
    "ear-weighting": ear_weighting.run,
    "edit": edit.run,
    "first-order": first_order.run,
    "fit": fits.run,
    "formats": formats.run,
    "frequency": frequency.run,
    "from-models": from_models.run,
    "harmonic-cells": harmonic_cells.run,
    "losses": losses.run,
    "losses-heard": loss_sums.heard,
    "losses-sums": loss_sums.run,
    "networks": networks.run,
    "optimisers": optimisers.run,
    "oscillators": oscillators.run,
    "pitch": pitch.run,
    "questions": questions.run,
    "report": report.run,
    "size": size.run,
    "speed": process.speed,
    "surrogate": frequency.surrogate,
    "tracks-speed": track_speed.run,
    "tracks-linking": tracks_linking.run,
    "tracks": tracks.run,
    "training": training.run,
    "memory": process.memory,
    "weak": weak.run,
}


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
