"""The configuration of a client stack and its links, made of an identity and the client's options.

Every wrong setting is found here, before anything is dialed.
"""

from __future__ import annotations

import os
import ssl
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import evolve, frozen

from thalovant_io.dialer import Timeouts, address_of
from thalovant_proto.client.config import ClientConfig
from thalovant_proto.client.message_context import new_session_id
from thalovant_proto.client.routes import Route
from thalovant_proto.client.stack import ClientLink
from thalovant_proto.limits import DEFAULT_LIMITS
from thalovant_proto.links.endpoint import portable_agent
from thalovant_proto.secret import KEY_SIZE, Secret
from thalovant_proto.trust import Trust

from .. import logs
from .._internal.options import mapping
from ..errors import ThalovantIdentityError, ThalovantUnsupportedProtocolError
from ..identity import MqttBrokerCredentials, ThalovantIdentity
from ..protocols import is_loopback
from ..trust_store import pin_id

if TYPE_CHECKING:
    from thalovant_proto.carrier import Target
    from thalovant_proto.links.mqtt.topics import Topics

    from ..protocols import HubProtocol

_SCHEMES: dict[HubProtocol, str] = {"wss": "wss", "https": "https", "mqtt": "mqtts"}  # with TLS


@frozen(kw_only=True)
class Plan:
    """Configuration and routes of a client, in the order in which they are tried."""

    protocols: tuple[HubProtocol, ...]
    config: ClientConfig
    timeouts: Timeouts
    routes: tuple[Route, ...]
    targets: tuple[Target, ...]  # where each leads

    def where(self, protocol: HubProtocol) -> str:
        """Transport, host and port, for people."""
        if not self.targets:
            return f"{protocol.upper()} (transport=)"
        return f"{protocol.upper()} {address_of(self.targets[self.protocols.index(protocol)])}"

    @property
    def places(self) -> tuple[str, ...]:
        """The routes in logs: protocol, host and port, and nothing else of an endpoint."""
        return tuple(self.where(protocol) for protocol in self.protocols)


def check_identity(identity: object, who: str) -> None:
    """Raises `TypeError` that says how `who` is made of what was given in place of an identity."""
    if isinstance(identity, ThalovantIdentity):
        return
    ways = {
        str: f"{who}.from_identity_file(path)",
        os.PathLike: f"{who}.from_identity_file(path)",
        Mapping: f"{who}(ThalovantIdentity.from_mapping(values))",
    }
    way = next((way for kind, way in ways.items() if isinstance(identity, kind)), f"{who}.from_env()")
    raise TypeError(f"{who} takes a ThalovantIdentity, not {type(identity).__name__}: use {way}")


def make_plan(
    identity: ThalovantIdentity,
    protocol: str | None,
    *,
    fallback: bool,
    user_agent: str,
    connect_timeout: float,
    handshake_timeout: float,
    settle: float,
    auto_reconnect: bool,
    attempts: int | None,
    retry: str,
    allow_insecure: bool,
    allow_legacy: bool,
    verified: bool,
    headers: Mapping[str, str] | None = None,
    empty_wait: float = 5.0,
    injected: bool = False,
) -> Plan:
    """The plan for what `choose_protocols` gives: a later protocol is for where the earlier do not lead to the hub.

    `verified`: the TLS context checks certificates. `injected`: a transport of the user's goes where it wants, so that
    there is nothing to check. Raises `ThalovantIdentityError` for an endpoint that cannot work,
    and for a plain one that is neither on loopback nor allowed; `ValueError` for an unknown `retry`.
    """
    if headers is not None:
        identity = replace(identity, headers={**identity.headers, **mapping(headers, "headers")})
    protocols = _named(identity, protocol) if injected else choose_protocols(identity, protocol, fallback=fallback)
    portable_agent(user_agent)
    if retry not in ("never", "idempotent"):
        raise ValueError(f'retry must be "never" or "idempotent", not {retry!r}')
    config = ClientConfig(
        access_key=Secret(identity.access_key),
        password=Secret(identity.password) if identity.password else None,
        crypto_key=Secret(identity.crypto_key) if identity.crypto_key else None,
        session_id=new_session_id(os.urandom),
        site_id=identity.site_id,
        user_agent=user_agent,
        allow_legacy=allow_legacy,
        settle=settle,
        attempts=attempts,
        auto_reconnect=auto_reconnect,
        idempotent=retry == "idempotent",
        addressed=not injected,
        empty_wait=empty_wait,
        limits=evolve(DEFAULT_LIMITS, handshake_time=handshake_timeout),
    )
    ways = [
        _route(identity, protocol, config, allow_insecure=allow_insecure, verified=verified)
        for protocol in (() if injected else protocols)
    ]
    routes, targets = tuple(route for route, _ in ways), tuple(target for _, target in ways)
    timeouts = Timeouts(dns=connect_timeout, connect=connect_timeout, tls=connect_timeout)
    return Plan(protocols=protocols, config=config, timeouts=timeouts, routes=routes, targets=targets)


def _route(
    identity: ThalovantIdentity, protocol: HubProtocol, config: ClientConfig, *, allow_insecure: bool, verified: bool
) -> tuple[Route, Target]:
    endpoint = identity.endpoint_for(protocol)
    if endpoint is None:
        raise ThalovantUnsupportedProtocolError(f"The identity has no {protocol.upper()} endpoint.")
    name = protocol.upper()
    links = partial(_LINKS[protocol], endpoint, config, identity)
    try:
        # What the link makes of the endpoint counts, whatever scheme and flags say; nothing is dialed before that.
        target = links(secure=False)(Trust(static_key=Secret(bytes(KEY_SIZE)))).target
        pin = pin_id(identity, protocol)
    except ValueError as error:
        raise ThalovantIdentityError(
            f"The {name} endpoint cannot be used: {str(error).rstrip('.')}.",
            hint="Correct it in the identity, or create a fresh one.",
        ) from None
    here = is_loopback(target.host)
    if not target.tls and not allow_insecure and not here:
        raise ThalovantIdentityError(
            f"The {name} endpoint {target.host}:{target.port} is not encrypted and not on this machine.",
            name="insecure_endpoint",
            hint=f"Use {_SCHEMES[protocol]}://, or in a network of your own allow_insecure=True.",
        )
    return Route(name=name, pin_id=pin, make_link=links(secure=verified if target.tls else here)), target


def choose_protocol(identity: ThalovantIdentity, protocol: str | None = None) -> HubProtocol:
    """The protocol for a client of this identity: `protocol` if it can work, without one the best that there is.

    That is WSS, then HTTPS, then MQTT, each if it is on and complete, and HTTPS again where nothing is on. Raises
    `ThalovantUnsupportedProtocolError` where nothing can work.
    """
    match protocol:
        case None:
            return _best(identity)
        case "https":
            return "https"
        case "wss":
            if identity.endpoint_for("wss"):
                return "wss"
            raise _unsupported("WSS is enabled, but the identity does not include a WSS endpoint.")
        case "mqtt":
            if identity.mqtt is not None:
                return "mqtt"
            raise _unsupported("MQTT is enabled, but the identity does not include MQTT broker credentials.")
    raise ThalovantUnsupportedProtocolError(
        f"Unsupported protocol: {protocol}", hint='Use "wss", "https" or "mqtt", in lower case.'
    )


def choose_protocols(identity: ThalovantIdentity, protocol: str | None, *, fallback: bool) -> tuple[HubProtocol, ...]:
    """`choose_protocol`; with `fallback` the others that are on and complete follow, best first."""
    chosen = choose_protocol(identity, protocol)
    others = (other for other in _usable(identity) if other != chosen) if fallback else ()
    return (chosen, *others)


def _named(identity: ThalovantIdentity, protocol: str | None) -> tuple[HubProtocol, ...]:
    """The name of the protocol that a transport of the user's goes by."""
    try:
        return (choose_protocol(identity, protocol),)
    except ThalovantUnsupportedProtocolError:
        return (protocol if protocol in _SCHEMES else "https",)


def _best(identity: ThalovantIdentity) -> HubProtocol:
    if usable := _usable(identity):
        return usable[0]
    if _has_https(identity):
        return "https"
    raise _unsupported("The identity does not include a usable WSS, HTTPS, or MQTT endpoint.")


def _usable(identity: ThalovantIdentity) -> list[HubProtocol]:
    """The protocols that are on and complete, in the order of preference."""
    complete = {
        "wss": bool(identity.endpoint_for("wss")),
        "https": _has_https(identity),
        "mqtt": identity.mqtt is not None,
    }
    return [one for one in identity.enabled_protocols() if complete[one]]


def _has_https(identity: ThalovantIdentity) -> bool:
    base = urlsplit(identity.endpoint_base())
    return base.scheme in ("https", "http") and bool(base.netloc)


def _unsupported(message: str) -> ThalovantUnsupportedProtocolError:
    return ThalovantUnsupportedProtocolError(
        message, hint="Switch the protocol on for the hub and create a fresh identity, or use another protocol."
    )


def verifies(context: ssl.SSLContext) -> bool:
    """Whether a TLS context checks certificate and host name."""
    return context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


def tls_source(
    ca_file: str | os.PathLike[str] | None,
    ssl_context: ssl.SSLContext | None,
    cert_file: str | os.PathLike[str] | None = None,
    key_file: str | os.PathLike[str] | None = None,
    *,
    self_signed: bool = False,
) -> Callable[[], ssl.SSLContext]:
    """Makes the TLS context when it is needed, which takes some milliseconds.

    `self_signed`: certificates are not checked, of which it warns. Raises `ValueError` for a lone key, and for an
    `ssl_context` that has its own say.
    """
    if self_signed:
        if ssl_context is not None:
            raise ValueError("self_signed and ssl_context exclude each other: the context says what is checked")
        warning = "self_signed=True: the certificate of the hub is not checked, so that anybody may stand in for it"
        logs.client.warning("%s", warning)
        warnings.warn(warning, UserWarning, stacklevel=4)
    if key_file is not None and cert_file is None:
        raise ValueError("client_key_file is the key of client_cert_file: name that, too")

    def make() -> ssl.SSLContext:
        from thalovant_io.tls import default_context

        return default_context(
            ca_file, ssl_context=ssl_context, cert_file=cert_file, key_file=key_file, self_signed=self_signed
        )

    return make


_Maker = Callable[["Trust"], ClientLink]


def _wss(endpoint: str, config: ClientConfig, identity: ThalovantIdentity, *, secure: bool) -> _Maker:
    from thalovant_proto.links.wss.client import WssClientLink

    def make(trust: Trust) -> ClientLink:
        return WssClientLink(
            endpoint,
            access_key=config.access_key,
            user_agent=config.user_agent,
            entropy=os.urandom,
            headers=_headers(identity),
            secure=secure,
        )

    return make


def _https(endpoint: str, config: ClientConfig, identity: ThalovantIdentity, *, secure: bool) -> _Maker:
    from thalovant_proto.links.https.client import HttpsClientLink
    from thalovant_proto.links.https.cookies import Cookies

    cookies = Cookies()

    def make(trust: Trust) -> ClientLink:
        return HttpsClientLink(
            endpoint,
            access_key=config.access_key,
            user_agent=config.user_agent,
            cookies=cookies,
            headers=_headers(identity),
            secure=secure,
        )

    return make


def _headers(identity: ThalovantIdentity) -> dict[str, Secret[str]]:
    return {name: Secret(value) for name, value in identity.headers.items()}


def _mqtt(endpoint: str, config: ClientConfig, identity: ThalovantIdentity, *, secure: bool) -> _Maker:
    from thalovant_proto.links.mqtt.client import MqttClientLink

    broker = identity.mqtt
    assert broker is not None  # noqa: S101 - the choice of the protocol has seen to it
    # Another for each process, or brokers end the one's session for the other; the same for all links of one client.
    client_id = f"thalovant-{os.urandom(16).hex()}"

    def make(trust: Trust) -> ClientLink:
        return MqttClientLink(
            endpoint,
            access_key=config.access_key,
            client_id=client_id,
            username=broker.username,
            password=Secret(broker.password),
            topic_prefix=broker.topic_prefix or "",
            topics=explicit_topics(broker),
            hub_id=broker.hub_id,
            hash_topics=broker.hash_topics,
            qos=broker.qos,
            tls=broker.tls,
            secure=secure,
            remembered_layout=trust.mqtt_layout,
        )

    return make


def explicit_topics(broker: MqttBrokerCredentials) -> Topics | None:
    """The topics that credentials name, None where they name a prefix only."""
    from thalovant_proto.links.mqtt.topics import Topics

    if not (broker.c2s_topic and broker.s2c_topic):
        return None
    return Topics(up=broker.c2s_topic, down=broker.s2c_topic, status=broker.status_topic)


_LINKS: dict[HubProtocol, Callable[..., _Maker]] = {
    "wss": _wss,
    "https": _https,
    "mqtt": _mqtt,
}
