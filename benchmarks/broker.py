"""A mosquitto of our own on loopback, for the benchmarks that need a broker."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


def program() -> str | None:
    """The program, None if it is not installed."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


@contextlib.contextmanager
def mosquitto(*, tls: bool = False, stock: bool = False) -> Iterator[tuple[int, str | None]]:
    """One that lets everybody in: its port, and with `tls` the file of the authority to trust.

    A `stock` one has Nagle's algorithm on, as distributions ship it: it holds a small packet back until the one before
    is acknowledged, which a system does 40 ms later if it has nothing to say.
    """
    found = program()
    if found is None:
        raise SystemExit("mosquitto is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        # Without `user` it would become another one when root starts it, and could not read its key.
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "persistence false", "log_type error"]
        lines += [f"user {os.environ.get('USER', 'root')}"] if os.getuid() == 0 else []
        lines += [] if stock else ["set_tcp_nodelay true"]
        authority = None
        if tls:
            authority = _certificate(Path(folder))
            lines += [f"certfile {folder}/certificate.pem", f"keyfile {folder}/key.pem"]
        config = Path(folder, "mosquitto.conf")
        config.write_text("\n".join(lines) + "\n")
        process = subprocess.Popen([found, "-c", str(config)])
        try:
            _wait_for(port)
            yield port, authority
        finally:
            process.terminate()
            process.wait()


def _certificate(folder: Path) -> str:
    import trustme

    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    own.private_key_pem.write_to_path(str(folder / "key.pem"))
    for blob in own.cert_chain_pems:
        blob.write_to_path(str(folder / "certificate.pem"), append=True)
    return str(folder / "ca.pem")


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise SystemExit("mosquitto does not come up")
