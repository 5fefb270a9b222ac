"""What it means when a broker refuses a CONNECT, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...errors import CredentialsRefused, RemoteProtocolError
from .packets import ConnectCode


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
