"""The archive in a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs, parquet
from support import s3_server
from support.archived import drain, envelope, loop_of, numbered, runtime_of, send
from support.s3_server import S3Server
from support.streams import id_of

from davy.archive.keeper import ArchiveKeeper
from davy.archive.places import open_place
from davy.errors import ArchiveError
from davy.forgetting import Forgetting

pytestmark = s3_server.LOCAL


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with S3Server(tmp_path) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.mark.usefixtures("server")
def test_files_lie_in_the_bucket_below_the_prefix_and_are_read_as_one(tmp_path: Path) -> None:
    runtime = runtime_of("memory", tmp_path, rows=100)
    send(runtime, [envelope(first, 50) for first in range(0, 200, 50)])
    drain(loop_of(runtime, open_place("s3://davy/models/archive")))
    bucket, root = fs.FileSystem.from_uri("s3://davy/models/archive")
    found = parquet.read_table(f"{root}/inferences", filesystem=bucket)
    assert sorted(found["id"].to_pylist()) == sorted(numbered(200))
    assert set(found["model"].to_pylist()) == {"fraud:3"}


@pytest.mark.usefixtures("server")
def test_a_large_file_is_written_over_an_older_one_whole() -> None:
    place = open_place("s3://davy/archive")
    for data in (b"old", bytes(12 * 2**20)):
        place.put("flags/model=m%3A1/day=2026-11-25/0-1-2.parquet", data)
    bucket, root = fs.FileSystem.from_uri("s3://davy/archive")
    (found,) = bucket.get_file_info(fs.FileSelector(f"{root}/flags/model=m%3A1/day=2026-11-25"))
    assert found.size == 12 * 2**20


@pytest.mark.usefixtures("server")
def test_forgotten_rows_leave_the_objects_and_an_object_without_rows_goes(tmp_path: Path) -> None:
    url = "s3://davy/models/archive"
    runtime = runtime_of("memory", tmp_path, rows=50, url=url)
    send(runtime, [envelope(first, 50) for first in (0, 50)])
    loop = loop_of(runtime, open_place(url))
    drain(loop)
    loop.close()
    ids = frozenset(map(id_of, range(51)))
    outcome = Forgetting(runtime, [ArchiveKeeper(runtime)]).forget(ids)
    assert (outcome.problems, outcome.counts["inferences"], outcome.counts["archive"]) == ([], 0, 2)
    bucket, root = fs.FileSystem.from_uri(url)
    (left,) = (
        one.path
        for one in bucket.get_file_info(fs.FileSelector(f"{root}/inferences", recursive=True))
        if one.is_file
    )
    assert parquet.read_table(left, filesystem=bucket)["id"].to_pylist() == [
        id_of(n).hex() for n in range(51, 100)
    ]


@pytest.mark.usefixtures("server")
def test_a_bucket_that_is_not_there_is_named_with_a_remedy() -> None:
    with pytest.raises(ArchiveError, match="is the bucket there"):
        open_place("s3://nowhere/archive").put("flags/0-1-2.parquet", b"x")
    with pytest.raises(ArchiveError, match="is the bucket there"):
        open_place("s3://nowhere/archive").paths("flags")
    assert list(open_place("s3://davy/nothing-yet").paths("flags")) == []


def test_the_endpoint_may_stand_in_the_url(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = server.endpoint.removeprefix("http://").rstrip("/")
    open_place(f"s3://davy/a?scheme=http&endpoint_override={host}&region=us-east-1").put("x.parquet", b"x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    bucket, root = fs.FileSystem.from_uri("s3://davy/a")
    assert [one.path for one in bucket.get_file_info(fs.FileSelector(root))] == ["davy/a/x.parquet"]
