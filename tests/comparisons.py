"""Settings of comparisons that take no time."""

from typing import Any

QUICK: dict[str, Any] = {"steps": 4, "frame_s": 0.05, "evaluate_every": 2}
"""Settings of a fit that takes a tenth of a second."""
