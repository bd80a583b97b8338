"""Payloads in a real S3 server that hangs, lacks the bucket, or refuses."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support import s3_server
from support.s3_server import S3Server

from davy.blobs import objects, open_blobs, reference
from davy.blobs.objects import ObjectBlobs
from davy.errors import BlobError, SettingError

pytestmark = s3_server.LOCAL
HOUR = 3600 * 10**9


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    with S3Server(tmp_path) as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def test_payloads_lie_under_the_prefix_in_folders_by_two_digits_with_their_media_type(
    server: S3Server,
) -> None:
    hash = open_blobs("s3://davy/models/one").put(b"lamp", "text/plain").hash
    assert server.read(f"models/one/{hash[:2]}/{hash[2:]}") == b"lamp"
    assert open_blobs("s3://davy/models/two").exists(hash) is False
    assert list(open_blobs("s3://davy").stored()) == []


def test_what_others_put_beside_is_neither_listed_nor_an_error(server: S3Server) -> None:
    blobs = open_blobs("s3://davy/p")
    hash = blobs.put(b"lamp", "text/plain").hash
    for stranger in ("readme.txt", hash[:2] + "/short", f"{hash[:3]}/{hash[3:]}"):
        server.write(f"p/{stranger}", b"?")
    assert [found.hash for found in blobs.stored()] == [hash]


def test_a_damaged_object_is_refused_and_one_of_another_length_repaired_by_putting_again(
    server: S3Server,
) -> None:
    blobs = open_blobs("s3://davy")
    hash = blobs.put(b"lamp", "text/plain").hash
    server.write(f"{hash[:2]}/{hash[2:]}", b"lam")
    with pytest.raises(BlobError, match="damaged"):
        blobs.get(hash)
    blobs.put(b"lamp", "text/plain")
    assert blobs.get(hash) == b"lamp"


def test_a_payload_put_again_is_sent_again_after_an_hour_only(server: S3Server) -> None:
    blobs = open_blobs("s3://davy")
    hash = blobs.put(b"lamp", "text/plain").hash
    (stored,) = blobs.stored()
    path = f"{hash[:2]}/{hash[2:]}"
    server.write(path, b"lamb")  # of the same length, so that only sending shows
    for age, expected in ((HOUR // 2, b"lamb"), (2 * HOUR, b"lamp")):
        ObjectBlobs("s3://davy", clock=lambda age=age: stored.at + age).put(b"lamp", "text/plain")
        assert server.read(path) == expected


def test_a_missing_bucket_is_named_with_a_remedy(server: S3Server) -> None:
    with pytest.raises(BlobError, match=r"s3://absent/p has no such bucket: make it.*404, NoSuchBucket"):
        open_blobs("s3://absent/p").put(b"lamp", "text/plain")
    with pytest.raises(BlobError, match="not stored here"):
        open_blobs("s3://absent/p").get(reference(b"lamp", "").hash)


def test_a_server_that_hangs_or_is_gone_is_an_error_in_time(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "_TIMEOUTS", {"connect_timeout": "300ms", "timeout": "300ms"})
    monkeypatch.setattr(objects, "_RETRIES", {"max_retries": 1, "retry_timeout": timedelta(seconds=2)})
    blobs = open_blobs("s3://davy")
    hash = blobs.put(b"lamp", "text/plain").hash
    server.pause()
    begun = time.monotonic()
    for call in (lambda: blobs.put(b"other", ""), lambda: blobs.get(hash), lambda: list(blobs.stored())):
        with pytest.raises(BlobError, match=r"look at the endpoint.*Timeout"):
            call()
    assert time.monotonic() - begun < 10
    server.resume()
    assert blobs.get(hash) == b"lamp"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(BlobError, match=r"look at the endpoint.*Connect"):
        open_blobs("s3://davy").delete(hash)


def test_wrong_credentials_are_named_and_never_shown(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.refuse_strangers()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "wr0ng")
    with pytest.raises(BlobError, match="correct the credentials, or let them") as caught:
        open_blobs("s3://davy").put(b"lamp", "text/plain")
    assert "wr0ng" not in f"{caught.value} {caught.value.__cause__}"


def test_plain_http_is_for_loopback_or_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://user:s3cret@minio.example:9000")
    with pytest.raises(SettingError, match=re.escape("AWS_ENDPOINT_URL: 'http://user@minio.example:9000'")):
        open_blobs("s3://davy")
    assert open_blobs("s3://davy?http=true").url == "s3://davy?http=true"


@pytest.mark.parametrize(
    "url", ["s3://", "s3://key:s3cret@davy", "s3://davy?https=true", "az://davy", "s4://key:s3cret@davy"]
)
def test_a_wrong_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        open_blobs(url)
    assert "s3cret" not in str(caught.value)


def test_other_providers_open_by_their_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "davy")
    assert open_blobs("gs://davy/p").url == "gs://davy/p"
    assert open_blobs("az://davy/p").url == "az://davy/p"
