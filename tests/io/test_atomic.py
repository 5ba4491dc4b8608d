"""Files and folders appear whole or not at all, and nothing outside is ever overwritten, renamed or removed."""

import ast
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from batches import QUICK, write_tone

import ddaudio
from ddaudio.errors import CheckpointError, OutputError
from ddaudio.io import atomic
from ddaudio.io.atomic import (
    check_inside,
    clear_leftovers,
    exclusive,
    install,
    remove_empty,
    remove_file,
    scratch_folder,
    whole_file,
)
from ddaudio.io.storage import LocalStorage, open_storage
from ddaudio.training import checkpoint_files, checkpoints

ROOT = Path(__file__).parents[2]
NAMES = ("a.wav", "page.html", "report.json")
MARK = json.dumps({"ddaudio": "scratch", "host": socket.gethostname(), "pid": 1 << 22})
"""The mark of a process of this machine that has ended: Linux gives out no higher number than this less one."""


def tree(folder: Path) -> dict[str, str]:
    """All below a folder, links not followed, with what files contain."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        found[name] = str(path.readlink()) if path.is_symlink() else "" if path.is_dir() else path.read_text()
    return found


def put(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of somebody's, three days old, which nothing may change."""
    folder = put(tmp_path / "outside" / "docs", thesis="mine")
    put(folder, owner="mine")
    (folder / "owner.json").write_text(MARK)
    (folder / "report.json").write_text("mine")
    for path in (*folder.iterdir(), folder, folder.parent):
        os.utime(path, (time.time() - 3 * 86_400,) * 2)
    return folder.parent


def test_renaming_and_deleting_have_one_home() -> None:
    """`Path.replace` has one argument, `str.replace` two."""
    deleting = {"unlink", "rmdir", "rmtree", "rename", "renames", "remove", "removedirs", "move", "copyfile", "symlink_to"}
    found = {}
    for path in [*(ROOT / "ddaudio").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = node.func.attr
                of_module = isinstance(node.func.value, ast.Name) and node.func.value.id == "dataclasses"
                if name in deleting or (name == "replace" and not of_module and len(node.args) + len(node.keywords) == 1):
                    found.setdefault(path.relative_to(ROOT).as_posix(), set()).add(name)
    assert found == {"ddaudio/io/atomic.py": {"unlink", "rmdir", "rmtree", "rename", "replace"}}


# One test for each call that deletes, overwrites or renames: given a link, it must leave alone what the link leads to.


def test_a_file_replaces_a_link_and_not_what_it_leads_to(tmp_path: Path, outside: Path) -> None:
    before = tree(outside)
    (tmp_path / "a.txt").symlink_to(outside / "docs" / "thesis.txt")
    with whole_file(tmp_path / "a.txt") as stream:
        stream.write(b"new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert not (tmp_path / "a.txt").is_symlink()
    assert tree(outside) == before


def test_a_file_that_is_being_written_is_a_new_one(tmp_path: Path, outside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever guesses its name and puts a link there gets an error, and keeps what the link leads to."""
    before = tree(outside)
    monkeypatch.setattr("secrets.token_hex", lambda _: "00")
    link = tmp_path / f"{atomic.SCRATCH}00"
    link.symlink_to(outside / "docs" / "thesis.txt")
    with pytest.raises(OutputError), whole_file(tmp_path / "a.txt"):
        pass
    assert tree(outside) == before
    assert link.is_symlink(), "what this call has not made it does not remove"


@pytest.mark.parametrize("links", [(), ("new",), ("link inside",)])
def test_a_scratch_folder_is_removed_without_what_links_in_it_lead_to(
    links: tuple[str, ...], tmp_path: Path, outside: Path
) -> None:
    before = tree(outside)
    with scratch_folder(tmp_path) as new:
        if "new" in links:
            new.rmdir()
            new.symlink_to(outside)
        elif links:
            (new / "link").symlink_to(outside)
    assert tree(outside) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]


Maker = Callable[[Path, Path], None]
"""Puts something into an output that looks like a leftover; is given the output and a folder outside."""


def a_link(output: Path, outside: Path) -> None:
    (output / ".ddaudio-abcd").symlink_to(outside / "docs")


def the_old_home_of_leftovers(output: Path, outside: Path) -> None:
    (output / ".unfinished").symlink_to(outside)


def a_linked_mark(output: Path, outside: Path) -> None:
    put(output / ".ddaudio-abcd", mine="mine")
    (output / ".ddaudio-abcd" / "owner.json").symlink_to(outside / "docs" / "owner.json")


def no_mark(output: Path, _: Path) -> None:
    put(output / ".ddaudio-abcd", mine="mine")


def another_mark(output: Path, _: Path) -> None:
    put(output / ".ddaudio-abcd", mine="mine")
    (output / ".ddaudio-abcd" / "owner.json").write_text("[1")


def another_name(output: Path, _: Path) -> None:
    put(output / ".unfinished" / "abcd", mine="mine")
    (output / ".unfinished" / "abcd" / "owner.json").write_text(MARK)


@pytest.mark.parametrize("make", [a_link, the_old_home_of_leftovers, a_linked_mark, no_mark, another_mark, another_name])
def test_only_what_carries_our_mark_is_a_leftover(make: Maker, tmp_path: Path, outside: Path) -> None:
    output = put(tmp_path / "out")
    make(output, outside)
    for path in output.rglob("*"):
        os.utime(path, (0, 0), follow_symlinks=False)
    before = tree(tmp_path)
    clear_leftovers(output)
    assert tree(tmp_path) == before


def test_leftovers_of_ended_processes_are_removed_and_those_of_others_are_not(tmp_path: Path) -> None:
    def mark(name: str, age_s: float = 0.0, **owner: object) -> Path:
        folder = put(tmp_path / f"{atomic.SCRATCH}{name}", half="half")
        (folder / "owner.json").write_text(json.dumps(json.loads(MARK) | owner))
        os.utime(folder, (time.time() - age_s,) * 2)
        return folder

    gone = [mark("ended"), mark("elsewhere", 100_000, host="elsewhere", pid=1)]
    stays = [mark("runs", 100_000, pid=os.getpid()), mark("new", 10, host="elsewhere", pid=1)]
    with scratch_folder(tmp_path) as new:
        clear_leftovers(tmp_path)
        assert [folder.exists() for folder in (*gone, *stays, new)] == [False, False, True, True, True]


def test_files_of_a_fit_are_installed_over_links_and_what_they_lead_to_stays(tmp_path: Path, outside: Path) -> None:
    before, folder = tree(outside), put(tmp_path / "fit", mine="mine")
    (folder / "report.json").symlink_to(outside / "docs" / "report.json")
    (folder / "page.html").symlink_to(outside)
    with scratch_folder(tmp_path) as new:
        (new / "report.json").write_text("new")
        install(new, folder, NAMES)
    assert tree(folder) == {"mine.txt": "mine", "report.json": "new"}
    assert tree(outside) == before


def test_a_place_behind_a_link_is_refused(tmp_path: Path, outside: Path) -> None:
    before, output = tree(outside), put(tmp_path / "out")
    (output / "sub").symlink_to(outside)
    (output / "inner").symlink_to("other")
    put(output / "other")
    storage = LocalStorage(str(output))
    with storage.making() as made:
        (made / "report.json").write_text("new")
        for name in ("sub/docs", "sub", "inner/fit", "inner", "../outside/docs"):
            with pytest.raises(OutputError, match="a link leads to"):
                storage.publish(made, name, NAMES)
            with pytest.raises(OutputError, match="a link leads to"):
                storage.write(f"{name}/report.json", b"new")
    assert (tree(outside), tree(output / "other")) == (before, {})
    for root, path, message in ((output, output / "sub" / "x", "link"), (output, tmp_path, "link")):
        with pytest.raises(OutputError, match=message):
            check_inside(root, path)
    (tmp_path / "named").symlink_to(output)  # a link that the user names as the output is what is meant
    check_inside(tmp_path / "named", tmp_path / "named" / "x")


def test_a_file_behind_a_link_is_not_removed(tmp_path: Path, outside: Path) -> None:
    before, output = tree(outside), put(tmp_path / "out", a="a")
    (output / "sub").symlink_to(outside)
    (output / "link.txt").symlink_to(outside / "docs" / "thesis.txt")
    with pytest.raises(OutputError, match="a link leads to"):
        remove_file(output / "sub" / "docs" / "thesis.txt", output)
    for name in ("link.txt", "a.txt", "none.txt"):
        remove_file(output / name, output)
    remove_empty(output / "sub")
    assert (tree(outside), list(tree(output))) == (before, ["sub"])


def test_a_checkpoint_is_not_removed_through_a_link_or_without_its_mark(tmp_path: Path, outside: Path) -> None:
    docs = outside / "docs"
    for name in (checkpoint_files.HEAD, checkpoint_files.STATE, "run-00000.safetensors", ".ddaudio-0123456789abcdef"):
        (docs / name).write_text("mine")
    before = tree(outside)
    (tmp_path / "fit.checkpoint").symlink_to(docs)
    for folder in (docs, tmp_path / "fit.checkpoint"):
        checkpoint_files.discard(folder)
        for how in ({"resume": True}, {"force": True}):
            with pytest.raises(CheckpointError, match=r"is a link|is not a checkpoint: it has no mark"):
                checkpoints.Checkpoint(folder, {}, 0.0, **how)
    assert tree(outside) == before
    (docs / checkpoint_files.MARK).write_text("")
    checkpoint_files.discard(tmp_path / "fit.checkpoint")
    assert len(tree(outside)) == len(before) + 1
    checkpoint_files.discard(docs)
    assert set(tree(docs)) == {"thesis.txt", "owner.txt", "owner.json", "report.json"}


def test_a_batch_removes_nothing_outside_its_output(tmp_path: Path, outside: Path) -> None:
    """The sentence of the issue, from the input to the end."""
    before = tree(outside)
    output = put(tmp_path / "o")
    (output / ".unfinished").symlink_to(outside)
    (output / ".ddaudio-x").symlink_to(outside)
    write_tone(tmp_path / "in" / "a.wav")
    assert ddaudio.batch(tmp_path / "in", output, **QUICK).contents["fitted"] == 1
    assert tree(outside) == before


@pytest.mark.parametrize("name", ["index.html", "results.csv", "results.parquet", "summary.json"])
def test_an_output_with_files_of_somebody_else_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="not of a batch of ddaudio"):
        open_storage(tmp_path).prepare()
    assert tree(tmp_path) == before
    (tmp_path / name).unlink()
    open_storage(tmp_path).prepare()
    (tmp_path / name).write_text("ours")
    open_storage(tmp_path).prepare()


def test_an_address_of_the_local_file_system_is_a_local_path(tmp_path: Path) -> None:
    """Else the checks for links would not apply."""
    assert open_storage(f"local://{tmp_path}") == open_storage(f"file://{tmp_path}") == LocalStorage(str(tmp_path))


# A process that is killed.

KILLED = """
import os, signal, sys
from pathlib import Path
from ddaudio.io.atomic import install, scratch_folder
folder, event = Path(sys.argv[1]), int(sys.argv[2])
replace, count = Path.replace, 0
def counted(self, to):
    global count
    count += 1
    if count == event:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, to)
Path.replace = counted
with scratch_folder(folder.parent) as new:
    for name in ("a.wav", "report.json"):
        (new / name).write_text("new")
    install(new, folder, ("a.wav", "page.html", "report.json"))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a signal")
def test_a_move_that_is_killed_anywhere_is_completed_or_undone(tmp_path: Path) -> None:
    """Killed at each of its renames: the journal's own, three of old files, two of new ones."""
    old, new = dict.fromkeys(NAMES, "old"), {"a.wav": "new", "report.json": "new"}
    outcomes = []
    for event in range(1, 8):
        folder = tmp_path / str(event) / "fit"
        put(folder, mine="mine")
        for name in NAMES:
            (folder / name).write_text("old")
        ended = subprocess.run([sys.executable, "-c", KILLED, folder, str(event)], check=False).returncode
        clear_leftovers(folder.parent)
        assert [path.name for path in folder.parent.iterdir()] == ["fit"], "no leftover stays"
        found = tree(folder)
        assert found.pop("mine.txt") == "mine"
        outcomes.append((ended, "old" if found == old else "new" if found == new else found))
    killed = -signal.SIGKILL
    assert outcomes == [(killed, "old"), *[(killed, "new")] * 5, (0, "new")]


@pytest.mark.parametrize("to", ["../outside/docs", "/", "sub/docs", 3, None])
def test_a_journal_leads_to_no_other_folder(to: object, tmp_path: Path, outside: Path) -> None:
    """A folder that somebody else has made may hold anything, with our mark."""
    output = put(tmp_path / "out")
    (output / "sub").symlink_to(outside)
    home = put(output / ".ddaudio-abcd")
    put(home / "new")
    (home / "owner.json").write_text(MARK)
    (home / "new" / "report.json").write_text("evil")
    (home / "journal.json").write_text(json.dumps({"to": to, "names": ["report.json"], "new": ["report.json"]}))
    before = tree(outside)
    clear_leftovers(output)
    assert tree(outside) == before


# Two at once.


def test_one_lock_at_a_time_and_none_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / ".ddaudio-lock"
    with exclusive(path, "another fit goes there"):
        with (
            pytest.raises(OutputError, match=rf"another fit goes there \(process {os.getpid()} on "),
            exclusive(path, "another fit goes there"),
        ):
            pass
        assert path.exists()
    assert list(tmp_path.iterdir()) == []
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(OutputError, match="is not a lock of ddaudio"), exclusive(path, "x"):
        pass
    assert path.read_text() == "mine"


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / ".ddaudio-lock"
    killed = "import os, signal, sys; from pathlib import Path; from ddaudio.io.atomic import exclusive\n"
    killed += "with exclusive(Path(sys.argv[1]), 'x'): os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", killed, path], check=False)
    assert path.exists()
    with exclusive(path, "x"):
        pass
    assert not path.exists()


@pytest.mark.parametrize(
    ("inside", "age_s", "stays"),
    [
        ((), 2 * atomic.STALE_S, False),
        ((atomic.OWNER,), 2 * atomic.STALE_S, False),
        ((), 10, True),
        (("something",), 2 * atomic.STALE_S, True),
        ((atomic.OWNER, "something"), 2 * atomic.STALE_S, True),
    ],
)
def test_an_empty_scratch_folder_without_a_mark_is_removed(
    inside: tuple[str, ...], age_s: float, stays: bool, tmp_path: Path
) -> None:
    """Its process was killed before it wrote the mark; what holds anything is not touched."""
    home = tmp_path / f"{atomic.SCRATCH}abc"
    home.mkdir()
    for name in inside:
        (home / name).touch()
    os.utime(home, (time.time() - age_s,) * 2)
    atomic.clear_leftovers(tmp_path)
    assert home.exists() == stays
    assert not stays or {path.name for path in home.iterdir()} == set(inside)
