"""The broker of an MQTT link, as both ends connect to it: its URL, the CONNECT packet and the refusals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...carrier import CloseKind, Target
from ...errors import CredentialsRefused, RemoteProtocolError
from ...secret import Secret
from .packets import Connect, ConnectCode, Will
from .topics import OFFLINE

_URL: Final = re.compile(
    r"(?:(?P<scheme>[A-Za-z]+)://)?(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:/?#@\[\]%\\]+))(?::(?P<port>[0-9]{1,5}))?/?"
)
_SCHEMES: Final = {None: False, "mqtt": False, "tcp": False, "mqtts": True, "ssl": True}


def parse_broker(url: str, *, tls: bool = False) -> Target:
    """The address of the broker at `url`: mqtt, tcp, mqtts or ssl, by default on port 1883 or, with TLS, 8883.

    `tls` asks for TLS whatever the scheme says, which then may be missing. Raises `ValueError` without the URL.
    """
    parts = _URL.fullmatch(url.strip())
    if parts is None:
        raise ValueError("MQTT endpoint must be mqtts://host or mqtts://host:port, without user name or password.")
    scheme = parts["scheme"] and parts["scheme"].lower()
    if scheme not in _SCHEMES:
        raise ValueError("MQTT endpoint must start with mqtt://, mqtts://, tcp:// or ssl://.")
    tls = tls or _SCHEMES[scheme]
    port = int(parts["port"] or (8883 if tls else 1883))
    if not 0 < port < 1 << 16:
        raise ValueError("MQTT endpoint's port must be from 1 to 65535.")
    try:
        host = parts["v6"] or parts["name"].lower().encode("idna").decode()
    except UnicodeError:
        raise ValueError("MQTT endpoint's host is not a valid name.") from None
    return Target(host=host, port=port, tls=tls)


def login(
    client_id: str, username: str | None, password: Secret[str] | None, *, keepalive: int, status: str | None
) -> Connect:
    """The CONNECT of a link, whose will is a retained `offline` on the topic `status`.

    Raises `ValueError` for what cannot be written; the message holds none of it.
    """
    secret = None
    if password is not None:
        try:
            secret = Secret(password.as_bytes())
        except UnicodeEncodeError:  # which holds the password
            raise ValueError("MQTT password holds a surrogate.") from None
    return Connect(
        client_id=client_id,
        keepalive=keepalive,
        username=username,
        password=secret,
        will=None if status is None else Will(topic=status, payload=OFFLINE, qos=1, retain=True),
    )


def kind_of(code: ConnectCode | None) -> CloseKind:
    """The close kind for a CONNACK code, or for none: the broker refused us, or is only gone."""
    return CloseKind.LOST if code in (None, ConnectCode.UNAVAILABLE) else CloseKind.REFUSED


def refusal(code: ConnectCode) -> RemoteProtocolError:
    """The error for one of CONNACK's codes 1, 2, 4 and 5: those that mean this client, and will mean it again."""
    kind, word, reason, hint = _REFUSALS[code]
    return kind(reason, code=word, hint=hint)


_ACCOUNT: Final = "check the user name and the password for the broker, and its access list"
_REFUSALS: Final[Mapping[ConnectCode, tuple[type[RemoteProtocolError], str, str, str]]] = {
    ConnectCode.VERSION: (
        RemoteProtocolError,
        "mqtt_version_refused",
        "the broker does not speak MQTT 3.1.1",
        "have MQTT 3.1.1 switched on at the broker",
    ),
    ConnectCode.IDENTIFIER: (
        RemoteProtocolError,
        "mqtt_client_id_refused",
        "the broker refused the client id",
        "the broker must let its clients choose their ids",
    ),
    ConnectCode.CREDENTIALS: (
        CredentialsRefused,
        "mqtt_credentials_refused",
        "the broker refused the user name or the password",
        _ACCOUNT,
    ),
    ConnectCode.NOT_AUTHORIZED: (
        CredentialsRefused,
        "mqtt_not_authorized",
        "the broker does not authorize this client",
        _ACCOUNT,
    ),
}
