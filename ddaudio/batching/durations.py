"""How much sound there is, by the headers of files alone."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ddaudio.batching.finding import Item
from ddaudio.batching.places import AT_ONCE, remote, storage_errors


def seconds_of_sound(items: Sequence[Item]) -> float:
    """Return the seconds of sound in some recordings; one that cannot be read counts as none."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(_duration_s, items))


def _duration_s(item: Item) -> float:
    import soundfile  # type: ignore[import-untyped]  # noqa: PLC0415 - not needed for a batch that is no dry run

    try:
        if item.is_local:
            return float(soundfile.info(item.place).duration)
        system, path = remote(item.place)
        with system.open(path, "rb") as file:
            return float(soundfile.info(file).duration)
    except (*storage_errors(), soundfile.LibsndfileError):
        return 0.0
