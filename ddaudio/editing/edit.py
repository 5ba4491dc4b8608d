"""Edits of models: from a model to a model."""

from collections.abc import Callable, Mapping
from typing import Any

from ddaudio.editing.editable import Edit, editable, network_of
from ddaudio.editing.edits import EDITS, setting_owners
from ddaudio.errors import OptionError, closest
from ddaudio.models import Network
from ddaudio.options.registry import load


def edit(network: Network, **settings: Any) -> Network:
    """Return an edited model; the given one is unchanged.

    Edits are applied in the order of `ddaudio.editing.edits.EDITS`. Settings that change nothing, such as ``stretch=1``, return
    the model itself. Otherwise the result is a model of tracks and noise, which can be edited again.

    Args:
        network: a model of partials or tracks, with or without noise, such as from `ddaudio.load_model`.
        **settings: settings of the edits, by name.

    Raises:
        OptionError: a setting is unknown or out of range, or the model cannot be edited.

    Example:
        >>> slow = edit(load_model("bark-fit"), stretch=2)  # doctest: +SKIP

    """
    steps = edits_of(settings)
    if not steps:
        return network
    sound = editable(network)
    for step in steps:
        sound = step(sound)
    return network_of(sound)


def edits_of(settings: Mapping[str, Any]) -> list[Edit]:
    """Return the edits that settings ask for, in their order, without those that change nothing; None is no setting.

    Raises `OptionError` for an unknown setting or one that is out of range, before anything is edited.
    """
    known = setting_owners()
    for name, value in settings.items():
        if name not in known:
            raise OptionError("which is no setting of an edit", setting=name, value=value, hint=closest(name, known))
    steps: list[Edit] = []
    for spec in EDITS.values():
        names = [setting.name for setting in spec.settings]
        given = {name: settings[name] for name in names if settings.get(name) is not None}
        if given:
            make: Callable[..., Edit | None] = load(spec)
            step = make(**given)
            steps += [] if step is None else [step]
    return steps
