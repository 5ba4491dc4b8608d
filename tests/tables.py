"""Exported tables as sounds, by the code of docs/export.md."""

import re
from pathlib import Path
from typing import Any

import numpy as np

CODE = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs/export.md").read_text(encoding="utf-8"), re.DOTALL)


def rebuilt(path: Path) -> np.ndarray:
    """Return the sound that the code of the page makes of a table."""
    names: dict[str, Any] = {}
    exec(CODE[0], names)
    sound: np.ndarray = names["rebuild"](path)
    return sound
