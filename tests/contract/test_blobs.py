"""What every blob store keeps, whichever URL opened it."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import s3_server

from davy.blobs import Blobs, open_blobs, reference
from davy.blobs.file import FileBlobs
from davy.blobs.memory import MemoryBlobs
from davy.errors import BlobError, SettingError

ADAPTERS = [
    pytest.param("memory", marks=pytest.mark.fast),
    pytest.param("file", marks=pytest.mark.fast),
    pytest.param("s3", marks=s3_server.ANY),
]
SECOND = 10**9
ABSENT = reference(b"never put", "").hash
PUT_OFTEN = """
import sys
from davy.blobs import open_blobs
blobs = open_blobs(sys.argv[1])
print("ready", flush=True)
for number in range(100):
    blobs.put(b"%d" % (number // 4) * 50_000, "text/plain")
"""


@pytest.fixture(params=ADAPTERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3_url"))
    return {"memory": f"memory://{tmp_path}", "file": f"file:///{tmp_path}/blobs"}[request.param]


@pytest.fixture
def blobs(url: str) -> Blobs:
    return open_blobs(url)


def hashes(blobs: Blobs) -> list[str]:
    return [one.hash for one in blobs.stored()]


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=5000))
def test_any_payload_comes_back_unchanged(blobs: Blobs, data: bytes) -> None:
    found = blobs.put(data, "application/octet-stream")
    assert found == reference(data, "application/octet-stream")
    assert blobs.get(found.hash) == data


def test_large_payloads_come_back_unchanged_after_reopening(url: str, blobs: Blobs) -> None:
    large = os.urandom(2**16) * 300
    found = blobs.put(large, "image/png")
    blobs.close()
    blobs.close()
    assert open_blobs(url).get(found.hash) == large


def test_equal_payloads_are_stored_once(blobs: Blobs) -> None:
    first, second = blobs.put(b"lamp", "text/plain"), blobs.put(b"lamp", "image/png")
    assert first.hash == second.hash
    assert hashes(blobs) == [first.hash]


def test_every_payload_is_listed_with_its_length_and_the_time_it_was_put(blobs: Blobs) -> None:
    before = time.time_ns() - SECOND  # object stores tell whole seconds
    put = {blobs.put(bytes(number), "text/plain").hash: number for number in range(50)}
    listed = list(blobs.stored())
    assert {one.hash: one.length for one in listed} == put
    assert all(before <= one.at <= time.time_ns() for one in listed)


@pytest.mark.fast
def test_a_payload_put_again_is_young_again(tmp_path: Path) -> None:
    now = iter(range(1, 3))
    memory, file = MemoryBlobs(clock=lambda: next(now)), FileBlobs(f"file:///{tmp_path}")
    for blobs, age in ((memory, lambda: None), (file, lambda: os.utime(files(tmp_path)[0], (1, 1)))):
        blobs.put(b"lamp", "text/plain")
        age()
        (old,) = blobs.stored()
        blobs.put(b"lamp", "text/plain")
        (young,) = blobs.stored()
        assert old.at < young.at


def test_a_deleted_payload_is_gone_and_may_be_put_again(blobs: Blobs) -> None:
    hash = blobs.put(b"lamp", "text/plain").hash
    assert blobs.exists(hash)
    blobs.delete(hash)
    blobs.delete(hash)
    assert not blobs.exists(hash)
    with pytest.raises(BlobError, match="not stored here"):
        blobs.get(hash)
    blobs.put(b"lamp", "text/plain")
    assert blobs.get(hash) == b"lamp"


@pytest.mark.parametrize("hash", [ABSENT, "", "../../etc/passwd", "/etc/passwd", "0" * 63, "G" * 64])
def test_what_was_never_put_is_not_there(blobs: Blobs, hash: str) -> None:
    assert not blobs.exists(hash)
    blobs.delete(hash)
    with pytest.raises(BlobError):
        blobs.get(hash)


@pytest.mark.fast
def test_a_hash_never_leads_out_of_the_directory(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep")
    blobs = FileBlobs(f"file:///{tmp_path}/blobs")
    blobs.delete("../outside")
    assert outside.exists()
    assert not blobs.exists("../outside")


def test_threads_may_put_the_same_payload_at_once(blobs: Blobs) -> None:
    start, given = threading.Barrier(8), []

    def put() -> None:
        start.wait()
        given.append(blobs.put(bytes(100_000), "image/png").hash)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(given) == 8
    assert set(given) == set(hashes(blobs))
    assert blobs.get(given[0]) == bytes(100_000)


@pytest.mark.fast
def test_processes_may_put_the_same_payloads_at_once(tmp_path: Path) -> None:
    url = f"file:///{tmp_path}"
    command = [sys.executable, "-c", PUT_OFTEN, url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    outcomes = [(process.communicate(timeout=60)[0], process.returncode) for process in running]
    assert outcomes == [(b"ready\n", 0)] * 3
    blobs = open_blobs(url)
    expected = {reference(b"%d" % number * 50_000, "").hash for number in range(25)}
    assert set(hashes(blobs)) == expected
    assert all(blobs.get(hash) for hash in expected)
    assert len(files(tmp_path)) == 25


@pytest.mark.fast
def test_a_process_killed_while_putting_leaves_no_half_payload(tmp_path: Path) -> None:
    for _ in range(5):
        with subprocess.Popen(
            [sys.executable, "-c", PUT_OFTEN, f"file:///{tmp_path}"], stdout=subprocess.PIPE
        ) as running:
            assert running.stdout is not None
            running.stdout.readline()
            running.kill()
    blobs = open_blobs(f"file:///{tmp_path}")
    assert all(reference(blobs.get(hash), "").hash == hash for hash in hashes(blobs))


@pytest.mark.fast
def test_what_a_killed_process_left_unfinished_is_removed_after_an_hour(tmp_path: Path) -> None:
    left = tmp_path / ".put-abc"
    left.write_bytes(b"half")
    written = left.stat().st_mtime
    assert hashes(FileBlobs(f"file:///{tmp_path}", clock=lambda: written + 3500)) == []
    assert left.exists()
    FileBlobs(f"file:///{tmp_path}", clock=lambda: written + 3700)
    assert not left.exists()


@pytest.mark.fast
def test_a_damaged_payload_is_refused_and_putting_it_again_repairs_it(tmp_path: Path) -> None:
    blobs = FileBlobs(f"file:///{tmp_path}")
    hash = blobs.put(b"lamp", "text/plain").hash
    (path,) = files(tmp_path)
    path.write_bytes(b"lamb")
    with pytest.raises(BlobError, match="damaged"):
        blobs.get(hash)
    blobs.put(b"lamp", "text/plain")
    assert blobs.get(hash) == b"lamp"


@pytest.mark.fast
def test_payloads_lie_in_folders_by_two_digits_and_are_the_owners_alone(tmp_path: Path) -> None:
    hash = FileBlobs(f"file:///{tmp_path}/made").put(b"lamp", "text/plain").hash
    path = tmp_path / "made" / hash[:2] / hash[2:]
    assert path.read_bytes() == b"lamp"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700


@pytest.mark.fast
def test_a_directory_that_cannot_be_used_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BlobError, match="choose a directory"):
        FileBlobs(f"file:///{tmp_path}/file/below")
    with pytest.raises(SettingError, match="file:///relative/directory"):
        FileBlobs("file://host/directory")
    blobs = FileBlobs(f"file:///{tmp_path}/blobs")
    (tmp_path / "blobs").rmdir()
    (tmp_path / "blobs").touch()
    with pytest.raises(BlobError, match=r"cannot be kept: .* a file lies where"):
        blobs.put(b"lamp", "text/plain")


@pytest.mark.fast
def test_memory_blobs_of_one_name_are_one_store() -> None:
    hash = open_blobs("memory://shared-blobs").put(b"lamp", "text/plain").hash
    assert open_blobs("memory://shared-blobs").exists(hash)
    assert not open_blobs("memory://another-blobs").exists(hash)
    assert open_blobs("memory://") is open_blobs("memory://")


@pytest.mark.fast
@pytest.mark.parametrize("reason", [errno.EACCES, errno.EMFILE, errno.EROFS])
@pytest.mark.parametrize("use", ["put", "get", "exists", "delete"])
def test_what_the_system_refuses_says_what_helps(
    use: str, reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {errno.EACCES: "write permission", errno.EMFILE: "ulimit", errno.EROFS: "mount"}
    blobs = FileBlobs(f"file:///{tmp_path}")
    hash = blobs.put(b"lamp", "text/plain").hash

    def refuse(*_: object, **__: object) -> None:
        raise OSError(reason, os.strerror(reason))

    for name in ("read_bytes", "exists", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(BlobError) as caught:
        _ = blobs.put(b"lamp", "text/plain") if use == "put" else getattr(blobs, use)(hash)
    assert words[reason] in caught.value.remedy
