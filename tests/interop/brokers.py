"""A broker that others wrote, of a test's own: Debian's mosquitto with TLS, passwords and an access list."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path

import trustme

from thalovant import ThalovantIdentity

from .rigs import SCRIPTS, RigError

PATIENCE = 30.0
HUB = "hub"

# What a client may do follows from its user name, so that one list fits all.
ACCESS = """\
user hub
topic readwrite hivemind/#

pattern write hivemind/%u/in
pattern read hivemind/%u/out
pattern readwrite hivemind/%u/status
"""


def mosquitto_program() -> str:
    """The program, installed if it can be.

    Raises:
        RigError: it cannot be had.
    """
    sys.path.insert(0, str(SCRIPTS))
    try:
        loader = SourceFileLoader("rig_up", str(SCRIPTS / "up"))
        spec = importlib.util.spec_from_loader("rig_up", loader)
        assert spec is not None
        rig_up = importlib.util.module_from_spec(spec)
        loader.exec_module(rig_up)
        return str(rig_up.broker_binary())
    except (SystemExit, subprocess.CalledProcessError) as error:
        raise RigError(str(error)) from None
    finally:
        sys.path.remove(str(SCRIPTS))


class Broker:
    """A mosquitto of the test's own, on one TLS port of this machine."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = int(server.getsockname()[1])
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        self.ca = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        self.hub_password = secrets.token_urlsafe(16)
        self.allow()

    @property
    def url(self) -> str:
        """Where it is, and who the hub is there."""
        return f"mqtts://{HUB}:{self.hub_password}@localhost:{self.port}"

    def allow(self, *identities: ThalovantIdentity) -> None:
        """Let the hub and these clients in, from its next start on."""
        users = {HUB: self.hub_password}
        users |= {one.mqtt.username: one.mqtt.password for one in identities if one.mqtt is not None}
        passwords = self._folder / "passwords"
        passwords.write_text("".join(f"{name}:{password}\n" for name, password in users.items()))
        tool = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"
        subprocess.run([tool, "-U", str(passwords)], check=True)
        (self._folder / "access").write_text(ACCESS)
        settings = [
            "per_listener_settings false",
            "allow_anonymous false",
            f"password_file {passwords}",
            f"acl_file {self._folder / 'access'}",
            "persistence false",
            *([] if os.geteuid() else ["user root"]),
            f"listener {self.port} 127.0.0.1",
            f"certfile {self._folder / 'cert.pem'}",
            f"keyfile {self._folder / 'key.pem'}",
        ]
        (self._folder / "mosquitto.conf").write_text("\n".join(settings) + "\n")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self._folder / "log").open("ab") as log:
            command = [self._program, "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        with socket.socket() as probe:
            while probe.connect_ex(("127.0.0.1", self.port)):
                assert self._process.poll() is None, "mosquitto has ended"

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signum)
            process.wait(PATIENCE)
