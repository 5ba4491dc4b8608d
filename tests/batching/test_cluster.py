"""Batches on Dask: a local cluster, a scheduler with workers of its own, and what happens when processes are killed."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from batches import FLAGS, QUICK, assert_same_sounds, fits, models, write_tone, write_tones
from distributed.comm.core import connect
from distributed.security import Security

import ddaudio
from ddaudio.batching import BatchProgress
from ddaudio.errors import BatchError
from ddaudio.io.paths import TABLES
from ddaudio.io.storage import MARK
from ddaudio.parallel.clusters import make_executor

QUICK_BUT_STEPS = {name: value for name, value in QUICK.items() if name != "steps"}
WAIT_S = 300.0
"""Longest that anything here may take, on a busy machine."""


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "ddaudio_cli", "batch", *map(str, arguments), *FLAGS]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=WAIT_S, check=False)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds") / "in"
    write_tones(folder, 8)
    # One that takes some seconds, to be caught in the middle.
    write_tone(folder / "long.wav", 50, 6.0)
    return folder


@pytest.fixture(scope="module")
def undisturbed(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run in which nothing happens, by the command on a local cluster."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    done = run(sounds, "--out", output, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert "9 fitted, 0 done before, 0 failed" in done.stdout
    # Without a terminal, progress comes in lines, and workers say nothing of their own.
    assert all(line.startswith("ddaudio: ") for line in done.stderr.splitlines())
    assert "fitting: 0/9 files" in done.stderr
    again = run(sounds, "--out", output, "--workers", "2", "--json")
    assert json.loads(again.stdout)["kept"] == 9
    return output


def test_a_cluster_fits_what_one_process_fits(sounds: Path, undisturbed: Path, tmp_path: Path) -> None:
    ddaudio.batch(sounds / "tone 0.wav", tmp_path / "out", **QUICK)
    (folder,) = fits(tmp_path / "out")
    assert models(tmp_path / "out")[folder] == models(undisturbed)["tone 0.wav-fit"]


def test_workers_have_one_thread_and_keep_freed_memory() -> None:
    """Dask would have them give memory back at once, and take it again for the next tensor: that took a third of the time."""
    with make_executor(2, 2) as workers:
        found = workers.call(os.getenv, ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_"])
    assert found == ["1", "1", os.environ.get("MALLOC_TRIM_THRESHOLD_")]


def test_the_local_cluster_listens_on_loopback_alone(tmp_path: Path) -> None:
    """Looked at while it works: all sockets of this process and of those it has started."""
    addresses: set[str] = set()

    def look(progress: BatchProgress) -> None:
        if progress.stage == "fitting" and progress.workers:
            here = psutil.Process()
            for process in (here, *here.children(recursive=True)):
                found = process.net_connections("inet")
                addresses.update(each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN)

    result = ddaudio.batch(write_tones(tmp_path / "in", 3), tmp_path / "out", progress=look, workers=2, **QUICK)
    assert result.contents["fitted"] == 3
    assert addresses == {"127.0.0.1"}


def test_nobody_without_its_key_reaches_the_local_cluster() -> None:
    """Neither without TLS nor with another key: who reaches a scheduler or a worker can run programs there."""
    with make_executor(2, 2) as workers:
        client = workers._client
        places = [client.scheduler.address, *client.scheduler_info(n_workers=-1)["workers"]]
        assert len(places) == 3
        assert {place.partition("://")[0] for place in places} == {"tls"}
        for place in places:
            for address, security in ((place, Security.temporary()), (place.replace("tls:", "tcp:"), Security())):
                with pytest.raises(OSError, match=r"in <TCP|in: |Timed out|TLS certificate"):
                    knock(address, security)
            knock(place, client.security)
        assert workers.call(os.getenv, ["OMP_NUM_THREADS"]) == ["1"]


def knock(address: str, security: Security) -> None:
    """Connect, as a client of Dask does, and shake hands; in a thread, since a browser of other tests may run a loop here."""

    async def shake_hands() -> None:
        (await connect(address, timeout=3, **security.get_connection_args("client"))).abort()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, shake_hands()).result()


def workers_of(client: psutil.Process) -> list[psutil.Process]:
    """The worker processes of a local cluster: not those that a client starts itself, but what these have forked."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process for process in client.children(recursive=True) if process.ppid() != client.pid]
    return []


@contextlib.contextmanager
def meanwhile(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Let a thread work until all is over."""
    over = threading.Event()
    thread = threading.Thread(target=work, args=(over,))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def is_at_work(process: psutil.Process) -> bool:
    """Whether a worker has computed for longer than it takes to start: one that is killed before is not known yet."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.cpu_times().user > 1.5)
    return False


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_recording_whose_workers_are_always_killed_is_a_row(tmp_path: Path) -> None:
    sounds, output = write_tones(tmp_path / "in", 3), tmp_path / "out"
    write_tone(sounds / "zz.wav", 50, 300.0)  # so long that no machine is done with it before its worker is killed
    others_done = threading.Event()

    def look(progress: BatchProgress) -> None:
        if progress.done == 3:
            others_done.set()

    def kill_all(over: threading.Event) -> None:
        while not over.wait(0.02):
            if others_done.is_set():
                kill([process for process in workers_of(psutil.Process()) if is_at_work(process)])

    environment = dict(os.environ)
    with meanwhile(kill_all):
        result = ddaudio.batch(sounds, output, progress=look, workers=2, retries=1, stack=1, steps=30, **QUICK_BUT_STEPS)
    assert dict(os.environ) == environment, "nothing of what workers are started with stays"
    assert (result.contents["fitted"], result.failed) == (3, 1)
    (row,) = (row for row in result.rows() if row.status == "failed")
    assert (Path(row.path).name, row.attempts) == ("zz.wav", 2)
    assert "the worker was killed in each of 2 attempts" in str(row.reason)
    assert set(fits(output)) == {"tone 0.wav-fit", "tone 1.wav-fit", "sub/tone 2.wav-fit"}


def test_killed_workers_and_clients_lose_nothing(sounds: Path, undisturbed: Path, tmp_path: Path) -> None:
    """Three workers and two clients, at random moments; then a second run, and all is as if nothing had been."""
    output, chance = tmp_path / "out", random.Random(6)
    begun = threading.Event()

    def kill_three(over: threading.Event) -> None:
        begun.wait(WAIT_S)
        for _ in range(3):
            if over.wait(chance.uniform(0, 0.4)):
                return
            kill(workers_of(psutil.Process())[:1])

    with meanwhile(kill_three):
        ddaudio.batch(
            sounds, output, progress=lambda now: begun.set() if now.workers else None, workers=2, retries=0, limit=5, **QUICK
        )
    for _ in range(2):
        with subprocess.Popen(command(sounds, "--out", output, "--workers", "2", "--force"), stderr=subprocess.PIPE) as client:
            assert client.stderr is not None
            while b"fitting" not in client.stderr.readline():
                assert client.poll() is None
            time.sleep(chance.uniform(0, 2))
            started = psutil.Process(client.pid).children(recursive=True)
            client.kill()
        # Nothing of it stays behind: workers end when their client does.
        assert not psutil.wait_procs(started, WAIT_S)[1]
    done = run(sounds, "--out", output, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert_same_sounds(output, undisturbed)
    assert [path.name for path in output.rglob(".*")] == [MARK], "no scratch folder stays"
    assert {path.name for path in output.iterdir() if path.is_file()} == {MARK, *TABLES}


def test_ctrl_c_ends_it_with_tables_and_without_a_traceback(sounds: Path, tmp_path: Path) -> None:
    """A terminal sends it to the client and to all of its workers."""
    output = tmp_path / "out"
    words = command(sounds, "--out", output, "--workers", "2", "--stack", "1")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as client:
        assert client.stderr is not None
        while "fitting" not in client.stderr.readline():
            assert client.poll() is None
        os.killpg(client.pid, signal.SIGINT)
        out, err = client.communicate(timeout=WAIT_S)
    assert client.returncode == 130
    assert "recordings  9: " in out
    assert "Traceback" not in err
    assert (output / "results.csv").exists()


def test_two_batches_at_once_on_one_output(sounds: Path, undisturbed: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(run, sounds, "--out", output, "--workers", "1", "--force") for _ in range(2)]
        done = [each.result() for each in both]
    assert [each.returncode for each in done] == [0, 0], done
    assert_same_sounds(output, undisturbed)
    assert not [*output.glob("**/.ddaudio-*")]


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    """A scheduler and two workers, each started by itself, on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    places = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
    worker = ["dask_worker", address, *places, "--nthreads", "1", "--local-directory", str(tmp_path / "dask")]
    commands = [["dask_scheduler", *places, "--port", address.rpartition(":")[2]], worker, worker]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [
        subprocess.Popen([sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:]], **quiet) for words in commands
    ]
    try:
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(WAIT_S)


def test_a_scheduler_with_workers_of_its_own(scheduler: str, sounds: Path, undisturbed: Path, tmp_path: Path) -> None:
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(scheduler.rpartition(":")[2])), 1).close()
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    done = run(sounds, "--out", tmp_path / "out", "--scheduler", scheduler)
    assert done.returncode == 0, done.stderr
    assert_same_sounds(tmp_path / "out", undisturbed)
    assert "dashboard http://127.0.0.1:" in done.stderr


def test_a_scheduler_that_does_not_answer_is_told_in_time(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # it takes connections, and says nothing
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(BatchError, match=rf"the scheduler 'tcp://127\.0\.0\.1:{port}' does not respond"):
            ddaudio.batch(write_tones(tmp_path / "in", 2), tmp_path / "out", scheduler=f"tcp://127.0.0.1:{port}", **QUICK)
        assert time.monotonic() - began < 10
    with pytest.raises(BatchError, match="does not respond"):
        ddaudio.batch(tmp_path / "in", tmp_path / "out", scheduler="nonsense", **QUICK)
    assert not (tmp_path / "out").exists()
