"""Names of folders: inside the output, one for each recording, the same whatever else there is."""

import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddaudio.io.paths import TABLES, apart, folder_of

ANY_PART = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=80)
ODD_PART = st.sampled_from(
    [
        *("..", ".", "a", "A", "a.wav", "a.wav-fit", "A.WAV", "a.flac", "\u00e4.wav", "a\u0308.wav", "con", "con.wav", "aux."),
        *("~", "-fit", "x" * 255, "x" * 254 + "y", "\u00e9" * 127, "\udcff.wav", "\ud800", "a\n.wav", " a", "a ", "a.", ".a"),
        *("\u00df", "ss", "\u017f", "s", *TABLES),
    ]
)
ROOTS = st.sampled_from(["", "/", "s3://"])
PATHS = st.lists(ANY_PART | ODD_PART, min_size=1, max_size=4)


def as_seen(folder: str) -> str:
    """A folder as a file system sees it that ignores case and spelling."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", folder).casefold())


@given(PATHS, ROOTS)
def test_a_folder_stays_inside_and_can_be_made_everywhere(parts: list[str], root: str) -> None:
    folder = folder_of(parts, root)
    found = folder.split("/")
    assert len(found) == len(parts)
    for part in found:
        assert part not in ("", ".", "..")
        assert not set(part) & set('\\:*?"<>|\0')
        assert part.isprintable()
        # A temporary name adds some 30 bytes to it; 255 is what file systems allow.
        assert len(part.encode()) <= 150
        assert part[0] not in ".~- "
        assert part[-1] not in ". "
    assert found[-1].endswith("-fit")
    assert not any(part.casefold().endswith("-fit") or part.casefold() in TABLES for part in found[:-1])
    assert not PurePosixPath(folder).is_absolute()


@given(st.lists(st.tuples(PATHS, ROOTS), min_size=2, max_size=12))
def test_no_two_paths_share_a_folder_even_where_case_and_spelling_do_not_count(paths: list[tuple[list[str], str]]) -> None:
    distinct = {(tuple(parts), root) for parts, root in paths}
    folders = list(apart([folder_of(parts, root) for parts, root in distinct]).values())
    assert len(set(map(as_seen, folders))) == len(distinct)
    # Nor does one lie inside another.
    assert not any(one != other and as_seen(other).startswith(as_seen(one) + "/") for one in folders for other in folders)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a.wav"], ["a.flac"]),
        (["A.wav"], ["a.wav"]),
        (["B", "a.wav"], ["b", "a.wav"]),
        (["\u00e4.wav"], ["a\u0308.wav"]),
        (["x" * 255], ["x" * 254 + "y"]),
        (["..", "a.wav"], ["_.", "a.wav"]),
        (["a.wav-fit", "b.wav"], ["a.wav-fit_", "b.wav"]),
        (["\udcff"], ["\udcfe"]),
        (["\u017f.wav"], ["s.wav"]),
    ],
)
def test_paths_that_look_alike_have_folders_of_their_own(one: list[str], other: list[str]) -> None:
    assert len(set(map(as_seen, apart([folder_of(one), folder_of(other)]).values()))) == 2


@pytest.mark.parametrize(
    "parts", [["a.wav"], ["birds", "take 2 (b).wav"], ["0_george_0.wav"], ["x" * 100], ["Birds", "1-100032-A.ogg"]]
)
def test_a_plain_path_is_mirrored_as_it_is(parts: list[str]) -> None:
    assert folder_of(parts) == "/".join(parts) + "-fit"


def test_a_path_that_is_not_plain_can_still_be_recognised() -> None:
    folder = folder_of(["Field", "Ein schöner Tag.WAV"])
    assert folder.startswith("Field/Ein schöner Tag.WAV~")
    assert folder == folder_of(["Field", "Ein schöner Tag.WAV"])
    assert folder != folder_of(["Field", "Ein schöner Tag.WAV"], "/")
