"""Refusals by their facts: an error carries setting, value, allowed and hint."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ddaudio.errors import DdaudioError, OptionError


@contextmanager
def refused(kind: type[DdaudioError] = OptionError, **facts: object) -> Iterator[pytest.ExceptionInfo[DdaudioError]]:
    """Expect an error with these facts, and a sentence of one line."""
    with pytest.raises(kind) as caught:
        yield caught
    assert {name: getattr(caught.value, name) for name in facts} == facts
    assert "\n" not in str(caught.value)
