"""Input and output in object storage: a server of moto's on loopback."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from batches import FILES, QUICK, models, work_alone, write_tone, write_tones
from moto.server import ThreadedMotoServer

import ddaudio
from ddaudio.batching import in_words, run, worker
from ddaudio.errors import BatchError, OutputError
from ddaudio.io import storage


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    _, port = moto.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    moto.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A bucket, with nothing in it but three tones below ``in``; everybody who asks for S3 is led to it."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "me",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="sounds")
    for path in write_tones(tmp_path / "in", 3).rglob("*.wav"):
        client.upload_file(str(path), "sounds", str(path.relative_to(tmp_path)))
    storage._file_system.cache_clear()
    yield client
    for each in client.list_objects_v2(Bucket="sounds").get("Contents", []):
        client.delete_object(Bucket="sounds", Key=each["Key"])
    client.delete_bucket(Bucket="sounds")
    client.close()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    work_alone(monkeypatch, run)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    iterate_fits = worker.iterate_fits

    def counted(recordings: Any, options: Any) -> Any:
        names.extend(recording.source for recording in recordings)
        return iterate_fits(recordings, options)

    monkeypatch.setattr(worker, "iterate_fits", counted)
    return names


def keys(bucket: Any, prefix: str = "") -> set[str]:
    return {each["Key"] for each in bucket.list_objects_v2(Bucket="sounds", Prefix=prefix).get("Contents", [])}


@pytest.mark.usefixtures("alone")
def test_a_bucket_is_fitted_into_a_bucket_as_a_folder_into_a_folder(bucket: Any, tmp_path: Path) -> None:
    result = ddaudio.batch("s3://sounds/in", "s3://sounds/out/", **QUICK)
    assert (result.failed, result.problem) == (0, None)
    local = ddaudio.batch(tmp_path / "in", tmp_path / "out", **QUICK)
    expected = {f"out/{path.relative_to(tmp_path / 'out')}" for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert keys(bucket, "out/") == expected
    assert len(expected) == 5 + 3 * len(FILES)  # three tables, a gallery, and the mark
    for folder, model in models(tmp_path / "out").items():
        stored = bucket.get_object(Bucket="sounds", Key=f"out/{folder}/model.safetensors")["Body"].read()
        assert stored == model
    rows, same = list(result.rows()), list(local.rows())
    assert [(row.folder, row.snr_db, row.sha256) for row in rows] == [(row.folder, row.snr_db, row.sha256) for row in same]
    assert rows[0].path == "s3://sounds/in/sub/tone 2.wav"
    page = bucket.get_object(Bucket="sounds", Key="out/index.html")["Body"].read().decode()
    assert 'href="tone%200.wav-fit/report.json"' in page
    assert "resynth.wav" in page


@pytest.mark.usefixtures("alone")
def test_in_a_bucket_too_only_what_is_missing_or_changed_is_fitted(
    bucket: Any, fitted: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ddaudio.batch("s3://sounds/in", "s3://sounds/out", **QUICK)
    bucket.delete_object(Bucket="sounds", Key="out/tone 0.wav-fit/report.json")
    bucket.upload_file(str(write_tone(tmp_path / "other.wav", 9)), "sounds", "in/tone 1.wav")
    fitted.clear()
    fetched = []
    fetch = worker._fetched
    monkeypatch.setattr(worker, "_fetched", lambda item: fetched.append(item.place) or fetch(item))
    result = ddaudio.batch("s3://sounds/in", "s3://sounds/out", **QUICK)
    assert sorted(fitted) == ["s3://sounds/in/tone 0.wav", "s3://sounds/in/tone 1.wav"]
    assert sorted(fetched) == sorted(fitted), "what is done is not even fetched"
    assert [row.status for row in result.rows()] == ["kept", "fitted", "fitted"]
    fitted.clear()
    ddaudio.batch("s3://sounds/in", "s3://sounds/out", html=True, **QUICK)
    assert fitted == []
    assert sum(key.endswith("/report.html") for key in keys(bucket)) == 3
    ddaudio.batch("s3://sounds/in", "s3://sounds/out", force=True, **QUICK)
    assert not any(key.endswith("/report.html") for key in keys(bucket)), "a page of an older fit must not stay"


@pytest.mark.usefixtures("alone")
def test_between_a_bucket_and_a_folder(bucket: Any, tmp_path: Path) -> None:
    assert ddaudio.batch("s3://sounds/in", tmp_path / "out", **QUICK).contents["fitted"] == 3
    down = models(tmp_path / "out")
    ddaudio.batch(tmp_path / "in", "s3://sounds/up", **QUICK)
    for folder, model in down.items():
        assert bucket.get_object(Bucket="sounds", Key=f"up/{folder}/model.safetensors")["Body"].read() == model
    (tmp_path / "list.txt").write_text("in/tone 0.wav\ns3://sounds/in/tone 1.wav\n")
    result = ddaudio.batch(tmp_path / "list.txt", tmp_path / "mixed", dry_run=True, **QUICK)
    assert result.planned_sound_s == pytest.approx(0.2)
    result = ddaudio.batch(tmp_path / "list.txt", tmp_path / "mixed", **QUICK)
    assert [row.folder.split("~")[0] for row in result.rows()] == ["in/tone 0.wav-fit", "s3/sounds/in/tone 1.wav"]


@pytest.mark.usefixtures("alone")
def test_the_report_comes_last_and_the_old_one_goes_first(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between any two files, a fit is not taken for done."""
    ddaudio.batch("s3://sounds/in/tone 0.wav", "s3://sounds/out", **QUICK)
    system, _ = storage.remote("s3://sounds/out")
    put, seen = system.put_file, []

    def counted(local: str, remote: str) -> None:
        seen.append(remote.rpartition("/")[2])
        assert not any(key.endswith("report.json") for key in keys(bucket, "out/"))
        put(local, remote)
        if seen[-1] == "model.safetensors":
            raise OSError("the network is gone")

    monkeypatch.setattr(system, "put_file", counted)
    result = ddaudio.batch("s3://sounds/in/tone 0.wav", "s3://sounds/out", force=True, retries=0, **QUICK)
    assert seen[:3] == ["resynth.wav", "residual.wav", "model.safetensors"], "and no other file of the fit"
    assert "the network is gone" in result.contents["failures"][0]["reason"]
    monkeypatch.undo()


@pytest.mark.usefixtures("alone")
def test_bad_input_in_a_bucket(bucket: Any) -> None:
    with pytest.raises(BatchError, match="1 of 1 inputs are missing"):
        ddaudio.batch("s3://sounds/none", "s3://sounds/out", **QUICK)
    with pytest.raises(BatchError, match="is inside the input"):
        ddaudio.batch("s3://sounds/in", "s3://sounds/in/out", **QUICK)
    with pytest.raises(BatchError, match="are the same"):
        ddaudio.batch("s3://sounds/in", "s3://sounds/in/", **QUICK)
    with pytest.raises(BatchError, match="missing"):
        ddaudio.batch("s3://nobucket/in", "s3://sounds/out", **QUICK)
    with pytest.raises(OutputError, match="cannot write 's3://nobucket/out"):
        ddaudio.batch("s3://sounds/in", "s3://nobucket/out", **QUICK)
    bucket.put_object(Bucket="sounds", Key="in/bad.wav", Body=b"hello")
    result = ddaudio.batch("s3://sounds/in", "s3://sounds/out", **QUICK)
    assert result.failed == 1
    assert "cannot read 's3://sounds/in/bad.wav': it holds text" in "\n".join(in_words(result))


def test_a_local_cluster_works_on_a_bucket(bucket: Any) -> None:
    result = ddaudio.batch("s3://sounds/in", "s3://sounds/out", workers=1, **QUICK)
    assert (result.contents["fitted"], result.failed) == (3, 0)
    assert len(keys(bucket, "out/")) == 5 + 3 * len(FILES)  # three tables, a gallery, and the mark
