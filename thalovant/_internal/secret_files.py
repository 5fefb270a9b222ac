"""The one place that reads and writes files with secrets in them.

Written files are 0600 in folders of 0700 under any umask, whole or not at all, on the disk when the call returns, and
never through a symbolic link. Files that group or others may read are refused. Everything raises `OSError`; the callers
say which file of which purpose it was.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

MAX_SIZE: Final = 1 << 20  # identities and trust are a few kB; more is not what was meant
#: How long to wait for a lock, in seconds. A save on a slow disk takes a few; who holds it longer is frozen.
LOCK_TIME: Final = 10.0
_LOCK_PAUSE: Final = 0.01  # between two tries
_BINARY: Final = getattr(os, "O_BINARY", 0)
_NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK: Final = getattr(os, "O_NONBLOCK", 0)  # a FIFO in the place of a file must not hang the reader


class TooPermissive(OSError):
    """Group or others may read the file (or write it, where that is all that matters)."""


class LockHeld(TimeoutError):
    """Another process, or thread, did not give the lock back in time."""


class NotAFile(OSError):
    """A symbolic link, a folder or a device where a plain file must be."""


def read_secret(path: Path, *, follow: bool = False, forbidden: int = 0o077, limit: int = MAX_SIZE) -> bytes:
    """The file's bytes, at most `limit`.

    `follow` takes symbolic links, as those that people and Kubernetes make for identity files; the file behind is held
    to the same rule. `forbidden` are the mode bits that must not be set.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _BINARY | _NONBLOCK | (0 if follow else _NOFOLLOW))
    except OSError:
        if path.is_symlink() and not follow:
            raise NotAFile("it is a symbolic link") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotAFile("it is not a plain file")
        if os.name == "posix" and status.st_mode & forbidden and not (follow and _is_projected(path)):
            raise TooPermissive("its mode lets others in")
        if status.st_size > limit:
            raise NotAFile(f"it is larger than {limit} bytes")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    finally:
        os.close(descriptor)


def write_secret(path: Path, data: bytes) -> None:
    """Replace the file, or make it."""
    private_parents(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise NotAFile("it is a symbolic link or no plain file")
    with _written(path, data) as whole:
        os.replace(whole, path)
    _sync_folder(path.parent)


def create_secret(path: Path, data: bytes) -> bool:
    """Make the file unless there is one; whether it was made. Of several processes exactly one makes it."""
    private_parents(path)
    with _written(path, data) as whole:
        try:
            os.link(whole, path)
        except FileExistsError:
            return False
    _sync_folder(path.parent)
    return True


def private_parents(path: Path) -> None:
    """Make the folders above `path` that are missing, for nobody but us."""
    missing = []
    folder = path.parent
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.mkdir(folder, 0o700)
            os.chmod(folder, 0o700)  # a umask may have taken our own bits away


def private_folder(folder: Path) -> None:
    """Make the folder for secrets if it is missing, and keep others out of one that is ours."""
    private_parents(folder / "_")
    status = folder.stat()
    if os.name == "posix" and status.st_mode & 0o077 and status.st_uid == os.geteuid():
        os.chmod(folder, 0o700)


# Descriptors whose locks are held, so that a forked child can let go of its copies.
_held: set[int] = set()


@contextlib.contextmanager
def locked(path: Path, *, within: float = LOCK_TIME) -> Iterator[None]:
    """Hold the lock file `path` alone, among processes and threads; it is released when this process dies.

    Raises `LockHeld` if it cannot be had `within` so many seconds.
    """
    private_parents(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _BINARY | _NOFOLLOW, 0o600)
    _held.add(descriptor)
    try:
        if os.fstat(descriptor).st_mode & 0o600 != 0o600:
            os.chmod(path, 0o600)  # a umask took our own bits away
        deadline = time.monotonic() + within
        while not _lock(descriptor):
            if time.monotonic() >= deadline:
                raise LockHeld(f"another process has held its lock for {within:g} s")
            time.sleep(_LOCK_PAUSE)
        yield
    finally:
        if descriptor in _held:  # otherwise this is a child that was forked meanwhile: the lock is its parent's
            _held.remove(descriptor)
            _unlock(descriptor)
            os.close(descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        with contextlib.suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        return False

    def _unlock(descriptor: int) -> None:
        """Closing does it: no other process can have a copy of the descriptor there."""

    def _sync_folder(folder: Path) -> None:
        """A folder cannot be opened there."""

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def _unlock(descriptor: int) -> None:
        # Closing is not enough: a child that was forked at the wrong moment has a copy, and would keep the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _forked() -> None:
        for descriptor in _held:
            os.close(descriptor)
        _held.clear()

    os.register_at_fork(after_in_child=_forked)

    def _sync_folder(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | _BINARY)
        try:
            with contextlib.suppress(OSError):  # some network file systems cannot
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    """The data whole and on disk, in a file beside `path` that is gone afterwards if it still has that name."""
    beside = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY | _NOFOLLOW, 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.chmod(beside, 0o600)  # a umask may have taken our own bits away
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        yield beside
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)


def _is_projected(path: Path) -> bool:
    """Whether Kubernetes put the file there: such files are readable for all inside a pod, and links into `..data`."""
    return (
        bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and path.is_symlink() and (path.parent / "..data").is_symlink()
    )
