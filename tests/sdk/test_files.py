"""Files with secrets: private under any umask, whole or not at all, never through a link, one writer at a time."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from thalovant._internal.secret_files import (
    MAX_SIZE,
    LockHeld,
    NotAFile,
    TooPermissive,
    create_secret,
    locked,
    private_folder,
    read_secret,
    write_secret,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links are POSIX")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o077, 0o777], ids=oct)
def umask(request, tmp_path) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture(params=[write_secret, create_secret], ids=["write", "create"])
def put(request):
    return request.param


def test_private_under_any_umask(put, umask, tmp_path):
    """0600 in 0700, folders on the way included, whatever the process inherited."""
    path = tmp_path / "a" / "b" / "secret"

    put(path, b"content")

    assert path.read_bytes() == b"content"
    assert [mode(path), mode(path.parent), mode(path.parent.parent)] == [0o600, 0o700, 0o700]


def test_lock_file_is_private_under_any_umask(umask, tmp_path):
    """The lock can be taken again, and by nobody else."""
    for _ in range(2):
        with locked(tmp_path / "a" / "lock"):
            assert mode(tmp_path / "a" / "lock") & 0o077 == 0


def test_overwriting_makes_private(tmp_path):
    """A file that others could read is private once we have written it."""
    path = tmp_path / "secret"
    path.write_bytes(b"old")
    path.chmod(0o666)

    write_secret(path, b"new")

    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


def test_existing_folder_of_a_file_is_left_alone(put, tmp_path):
    """Writing a file in somebody's project does not close the project to others."""
    tmp_path.chmod(0o755)

    put(tmp_path / "secret", b"content")

    assert mode(tmp_path) == 0o755


def test_folder_for_secrets_is_closed(tmp_path):
    """A folder that is there for secrets is closed to others, if it was open."""
    tmp_path.chmod(0o777)

    private_folder(tmp_path)
    private_folder(tmp_path / "new" / "er")

    assert [mode(tmp_path), mode(tmp_path / "new" / "er")] == [0o700, 0o700]


def test_create_does_not_replace(tmp_path):
    """Who comes second learns so, and the first one's content stays."""
    assert create_secret(tmp_path / "secret", b"first")
    assert not create_secret(tmp_path / "secret", b"second")

    assert (tmp_path / "secret").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["secret"]


def test_write_refuses_links(tmp_path):
    """Nothing is written to where a link leads, and the link stays."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"as it was")
    link = tmp_path / "link"
    link.symlink_to(victim)

    with pytest.raises(NotAFile):
        write_secret(link, b"secret")
    assert not create_secret(link, b"secret")

    assert victim.read_bytes() == b"as it was"
    assert link.is_symlink()


def test_dangling_link_is_not_written_through(put, tmp_path):
    """A link to nothing would make a file at a place of somebody else's choice."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")

    if put is write_secret:
        with pytest.raises(NotAFile):
            put(link, b"secret")
    else:
        assert not put(link, b"secret")

    assert not (tmp_path / "elsewhere").exists()


def test_lock_refuses_links(tmp_path):
    """A lock through a link would be no lock among those who see different links, and would make files elsewhere."""
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass

    assert not (tmp_path / "elsewhere").exists()


def test_write_refuses_a_folder(tmp_path):
    """A folder in the place of the file is not replaced."""
    (tmp_path / "secret").mkdir()

    with pytest.raises(NotAFile):
        write_secret(tmp_path / "secret", b"content")

    assert (tmp_path / "secret").is_dir()


def test_failed_write_changes_nothing(tmp_path):
    """What cannot be written leaves the old file and no remains."""
    write_secret(tmp_path / "secret", b"old")

    with pytest.raises(TypeError):
        write_secret(tmp_path / "secret", "text is not bytes")

    assert (tmp_path / "secret").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["secret"]


def test_readers_see_whole_files(tmp_path):
    """While one writes, others read the old content or the new, never a part."""
    path = tmp_path / "secret"
    contents = {bytes([value]) * 100_000 for value in range(8)}
    write_secret(path, next(iter(contents)))

    def rewrite() -> None:
        for content in contents:
            write_secret(path, content)

    writer = threading.Thread(target=rewrite)
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(read_secret(path))
    writer.join()

    assert seen <= contents


@pytest.mark.parametrize("bits", [0o040, 0o004, 0o020, 0o002, 0o010, 0o001])
def test_read_refuses_what_others_may_read(tmp_path, bits):
    """Any bit for group or others."""
    path = tmp_path / "secret"
    path.write_bytes(b"content")
    path.chmod(0o600 | bits)

    for follow in (False, True):
        with pytest.raises(TooPermissive):
            read_secret(path, follow=follow)


@pytest.mark.parametrize(("bits", "refused"), [(0o044, False), (0o020, True), (0o002, True)])
def test_read_of_what_others_may_see_but_not_change(tmp_path, bits, refused):
    """Some files hold no secret, but who may write them decides whom we trust."""
    path = tmp_path / "pins"
    path.write_bytes(b"content")
    path.chmod(0o600 | bits)

    if refused:
        with pytest.raises(TooPermissive):
            read_secret(path, forbidden=0o022)
    else:
        assert read_secret(path, forbidden=0o022) == b"content"


def test_read_does_not_follow_links(tmp_path):
    """Unless it is asked to: then the target is held to the rule."""
    write_secret(tmp_path / "secret", b"content")
    (tmp_path / "link").symlink_to("secret")

    with pytest.raises(NotAFile, match="symbolic link"):
        read_secret(tmp_path / "link")
    assert read_secret(tmp_path / "link", follow=True) == b"content"


def test_read_of_other_things(tmp_path):
    """Folders, pipes and devices are no files, and nothing hangs."""
    os.mkfifo(tmp_path / "pipe", 0o600)

    for path in (tmp_path, tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(NotAFile, match="not a plain file"):
            read_secret(path)
    with pytest.raises(FileNotFoundError):
        read_secret(tmp_path / "nothing")


def test_read_is_bounded(tmp_path):
    """An endless file does not become an endless read."""
    write_secret(tmp_path / "most", bytes(MAX_SIZE))
    write_secret(tmp_path / "more", bytes(MAX_SIZE + 1))

    assert len(read_secret(tmp_path / "most")) == MAX_SIZE
    with pytest.raises(NotAFile, match="larger"):
        read_secret(tmp_path / "more")


def test_files_are_closed(tmp_path):
    """Nothing stays open, refusals included."""
    write_secret(tmp_path / "secret", b"content")
    (tmp_path / "open").write_bytes(b"x")
    before = os.listdir("/dev/fd")

    read_secret(tmp_path / "secret")
    for path in (tmp_path, tmp_path / "open"):
        with pytest.raises(OSError):
            read_secret(path, forbidden=0o777)
    with pytest.raises(RuntimeError), locked(tmp_path / "lock"):
        raise RuntimeError

    assert len(os.listdir("/dev/fd")) == len(before)


COUNT = """
import sys
from pathlib import Path
from thalovant._internal.secret_files import locked, read_secret, write_secret
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
for _ in range(rounds):
    with locked(folder / "lock"):
        write_secret(folder / "count", str(int(read_secret(folder / "count")) + 1).encode())
"""


def test_lock_among_processes(tmp_path):
    """Processes that read, change and write under the lock lose no change."""
    write_secret(tmp_path / "count", b"0")

    others = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path), "40"]) for _ in range(4)]

    assert [other.wait() for other in others] == [0] * 4
    assert read_secret(tmp_path / "count") == b"160"


def test_lock_among_threads(tmp_path):
    """The lock holds among threads of one process too."""
    counts = [0]

    def count() -> None:
        for _ in range(40):
            with locked(tmp_path / "lock"):
                value = counts[0]
                read_secret(Path(__file__), forbidden=0)  # gives other threads their turn
                counts[0] = value + 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert counts == [160]


HOLD = """
import sys
from pathlib import Path
from thalovant._internal.secret_files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds `lock`, until it is killed or its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process


def test_lock_dies_with_its_holder(holder, tmp_path):
    """A process that is killed leaves no lock behind."""
    holder.kill()
    holder.communicate()

    with locked(tmp_path / "lock"):
        assert holder.returncode != 0


def test_lock_that_is_not_given_back(holder, tmp_path):
    """Waiting for it ends, with an error that says so; what it guards is not touched."""
    with (
        pytest.raises(LockHeld, match="another process has held its lock for 0 s"),
        locked(tmp_path / "lock", within=0),
    ):
        raise AssertionError


FORK = """
import os, sys
from pathlib import Path
from thalovant._internal.secret_files import locked
with locked(Path(sys.argv[1])):
    child = os.fork()
    if child:
        print("held", flush=True)
        sys.stdin.readline()
if child:
    print("left", flush=True)
    sys.stdin.read()
else:
    os.read(int(sys.argv[2]), 1)
"""


@pytest.mark.parametrize("ends", ["leaves", "killed"])
def test_lock_does_not_stay_with_a_forked_child(ends, tmp_path):
    """A child that was forked under the lock lives on, without it; nor can it give back what the parent holds."""
    living, end = os.pipe()  # the child's life, whatever becomes of its parent
    command = [sys.executable, "-c", FORK, str(tmp_path / "lock"), str(living)]
    with (
        open(end, "wb"),
        open(living, "rb"),
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[living]) as parent,
    ):
        assert parent.stdout.readline() == b"held\n"
        with pytest.raises(LockHeld), locked(tmp_path / "lock", within=0):
            raise AssertionError
        if ends == "killed":
            parent.kill()
            parent.wait()
        else:
            parent.stdin.write(b"\n")
            parent.stdin.flush()
            assert parent.stdout.readline() == b"left\n"

        with locked(tmp_path / "lock"):
            pass
