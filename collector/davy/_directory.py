"""From a URL to a directory on this host, refused where file locks cannot be trusted."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from davy.errors import DavyError, SettingError

UNFINISHED: Final = ".put-"
_ABANDONED_SECONDS: Final = 3600.0
_MOUNTS: Final = Path("/proc/self/mounts")
_NETWORK: Final = re.compile(
    r"9p|afs|beegfs|gpfs|lustre|ncpfs|nfs4?|smb2|smb3|smbfs|(fuse\.)?(ceph|cephfs|cifs|glusterfs)"
    r"|fuse\.(davfs|gcsfuse|goofys|juicefs|mfs|rclone|s3fs|seaweedfs|smbnetfs|sshfs)"
)


_FREE: Final = "free space on that disk"
_PERMIT: Final = "give this user write permission"
_CLOSE: Final = "too many files are open: raise the limit (`ulimit -n`), or end what holds them"
_AWAY: Final = "a file lies where a directory should be: move it away"
_DISK: Final = "see that the disk is well"
_WAYS_OUT: Final = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EACCES: _PERMIT,
    errno.EPERM: _PERMIT,
    errno.EMFILE: _CLOSE,
    errno.ENFILE: _CLOSE,
    errno.ENOENT: "it is gone: put it back, or start Davy again",
    errno.EROFS: "mount the file system for writing",
    errno.ENOTDIR: _AWAY,
    errno.EEXIST: _AWAY,
}
_READ: Final = "be the user it belongs to, or let this one read it"
_WAYS_IN: Final = {
    errno.EACCES: _READ,
    errno.EPERM: _READ,
    errno.EISDIR: "move it away",
    errno.ENOENT: "look for it under another name, or put it back",
    errno.ENOTDIR: _AWAY,
    errno.ELOOP: "links lead in a circle: mend them",
}


def directory_of(url: str) -> Path:
    """Return the directory a URL names: three slashes for a relative path, four for an absolute one.

    Raises
    ------
    SettingError
        The URL names a host or no path.

    Examples
    --------
    >>> directory_of("sqlite:///.davy").as_posix(), directory_of("file:////var/lib/davy").as_posix()
    ('.davy', '/var/lib/davy')
    """
    scheme, _, rest = url.partition("://")
    if not rest.startswith("/") or len(rest) == 1:
        remedy = f"write {scheme}:///relative/directory or {scheme}:////absolute/directory"
        raise SettingError("url", url, remedy)
    return Path(rest[1:])


def make_directory(path: Path, error: type[DavyError]) -> Path:
    """Make a directory that only its owner may read, unless it is there; raises `error` when it cannot be."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as failure:
        remedy = f"choose a directory this user may write to ({failure.strerror})"
        raise error("directory", str(path), remedy) from failure
    return path


def unwritten(failure: OSError) -> str:
    """Return why a file could not be written, and the way out that fits.

    Examples
    --------
    >>> unwritten(NotADirectoryError(20, "Not a directory"))
    'Not a directory: a file lies where a directory should be: move it away'
    >>> unwritten(PermissionError(13, "Permission denied"))
    'Permission denied: give this user write permission'
    """
    return f"{failure.strerror}: {way_out(failure)}"


def way_out(failure: OSError, otherwise: str = _DISK) -> str:
    """Return what to do about what the system refuses; `otherwise` where its reason says nothing.

    Examples
    --------
    >>> way_out(OSError(28, "No space left on device")), way_out(OSError(5, "Input/output error"))
    ('free space on that disk', 'see that the disk is well')
    """
    return _WAYS_OUT.get(failure.errno or 0, otherwise)


def unread(failure: OSError) -> str:
    """Return why a file could not be read, and the way out that fits.

    Examples
    --------
    >>> unread(PermissionError(13, "Permission denied"))
    'Permission denied: be the user it belongs to, or let this one read it'
    >>> unread(IsADirectoryError(21, "Is a directory"))
    'Is a directory: move it away'
    """
    return f"{failure.strerror}: {_WAYS_IN.get(failure.errno or 0, 'see that the disk is well')}"


def write_whole(path: Path, data: bytes, *, beside: Path) -> None:
    """Write a file such that whoever finds its name finds all of its bytes, also after a power failure.

    Parameters
    ----------
    path
        The file; folders that are missing are made, for their owner only.
    data
        Its bytes.
    beside
        Where the file is until it is whole: a directory on the same file system. What a process that was killed
        leaves there begins with ``.put-``.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync(folder.parent)
    handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=beside)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def remove_abandoned(directory: Path, *, now: float) -> None:
    """Remove what processes left unfinished in `directory` an hour before `now`, seconds since the epoch."""
    for path in directory.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):  # another process removed or finished it
            if path.stat().st_mtime < now - _ABANDONED_SECONDS:
                path.unlink()


def filesystem_type(path: Path, mounts: str | None = None) -> str:
    r"""Name the file system a path lies on, as the kernel lists it; empty where the system has no such list.

    Parameters
    ----------
    path
        A file or directory.
    mounts
        Lines as in ``/proc/self/mounts``, which is read when this is not given.

    Examples
    --------
    >>> mounts = "/dev/sda1 / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0"
    >>> filesystem_type(Path("/home/ann/.davy"), mounts), filesystem_type(Path("/homes"), mounts)
    ('nfs4', 'ext4')
    """
    if mounts is None:
        if not _MOUNTS.exists():
            return ""
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    place, found, depth = path.resolve(), "", 0
    for line in mounts.splitlines():
        _, point, kind, *_ = line.split(" ")
        mount = Path(_unescape(point))
        # A later line with the same mount point covers an earlier one.
        if place.is_relative_to(mount) and len(mount.parts) >= depth:
            found, depth = kind, len(mount.parts)
    return found


def is_network(filesystem: str) -> bool:
    """Whether a file system of this type may be shared by hosts, so that its locks and mappings are not safe.

    Examples
    --------
    >>> is_network("nfs4"), is_network("fuse.sshfs"), is_network("ext4")
    (True, True, False)
    """
    return _NETWORK.fullmatch(filesystem) is not None


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
