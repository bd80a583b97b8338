"""What a file is, told by how it begins."""

from __future__ import annotations

from typing import Final

NPY: Final = "application/x-npy"
PACKED: Final = "application/x-davy-array"
"""An array packed without loss, as `davy.fields.payloads` does."""
_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x93NUMPY", NPY),
    (b"\x93DAVY\x01", PACKED),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
    (b"\x1aE\xdf\xa3", "video/webm"),
)
_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_ISO: Final = {b"avif": "image/avif", b"heic": "image/heic", b"M4A ": "audio/mp4"}
_BMP_HEAD: Final = 26


def media_type(data: bytes) -> str:
    """Return the media type of a file.

    Examples
    --------
    >>> media_type(b"GIF89a..."), media_type(b"..."), media_type(b"RIFF....WEBPVP8 ")
    ('image/gif', 'application/octet-stream', 'image/webp')
    """
    if data[:4] == b"RIFF" and data[8:12] in _RIFF:
        return _RIFF[data[8:12]]
    if data[4:8] == b"ftyp":
        return _ISO.get(data[8:12], "video/mp4")
    if data[:2] == b"BM" and (len(data) < _BMP_HEAD or data[6:10] != bytes(4)):  # any text may begin so
        return "application/octet-stream"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), "application/octet-stream")
