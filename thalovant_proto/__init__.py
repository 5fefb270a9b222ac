"""The HiveMind protocol without I/O, in both roles: bytes and time in, events and bytes out.

Start with `ClientStack` (a client) or `HubPeer` (a hub's end of one client); the machines below them are public too.
Names are loaded when they are first used, so that a program pays only for the links that it takes.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # fmt: off
    # isort: off
    from .carrier import (
        Carrier as Carrier, CloseKind as CloseKind, Credentials as Credentials, Frame as Frame, FrameType as FrameType,
        Target as Target,
    )
    from .client.config import ClientConfig as ClientConfig
    from .client.routes import Route as Route
    from .client.stack import (
        ClientLink as ClientLink, ClientStack as ClientStack, Dial as Dial, Run as Run, Step as Step, Stop as Stop,
        Wait as Wait,
    )
    from .client.subscriptions import Filter as Filter
    from .connection import HubConnection as HubConnection
    from .crypto.kdf import DeriveKey as DeriveKey, Kdf as Kdf, derive as derive
    from .dial import DialFailed as DialFailed, DialFault as DialFault
    from .entropy import Entropy as Entropy
    from .errors import (
        CredentialsMissing as CredentialsMissing, CredentialsRefused as CredentialsRefused, DecodeError as DecodeError,
        DowngradeRefused as DowngradeRefused, HandshakeTimeout as HandshakeTimeout,
        LocalProtocolError as LocalProtocolError, MalformedMessage as MalformedMessage,
        PeerKeyChanged as PeerKeyChanged, ProtocolError as ProtocolError, RemoteProtocolError as RemoteProtocolError,
    )
    from .events import (
        BinType as BinType, Binary as Binary, Broadcast as Broadcast, Bus as Bus, Cascade as Cascade,
        ClearHello as ClearHello, ClientHello as ClientHello, Closed as Closed, Escalate as Escalate, Event as Event,
        Generation as Generation, HandshakeCompleted as HandshakeCompleted, HubHello as HubHello,
        IntentFailure as IntentFailure, Intercom as Intercom, Json as Json, Kk1 as Kk1, Message as Message,
        Noise2 as Noise2, Noise3 as Noise3, Offer as Offer, Ping as Ping, PolicyDenied as PolicyDenied, Proof as Proof,
        ProofAnswer as ProofAnswer, Propagate as Propagate, Proven as Proven, Query as Query, Rendezvous as Rendezvous,
        SealedHandshake as SealedHandshake, SharedBus as SharedBus, Skipped as Skipped, Speak as Speak,
        ThirdParty as ThirdParty, Utterance as Utterance, UtteranceHandled as UtteranceHandled, WireKind as WireKind,
        Xx1 as Xx1,
    )
    from .failures import Failure as Failure, FailureKind as FailureKind
    from .handshake.client import ClientSide as ClientSide
    from .handshake.hub import HubSide as HubSide
    from .hub.peer import HubPeer as HubPeer, PeerClosed as PeerClosed, PeerIdentified as PeerIdentified
    from .limits import Limits as Limits
    from .links.admission import AdmissionLimit as AdmissionLimit
    from .links.base import (
        Accepted as Accepted, FrameReceived as FrameReceived, Link as Link, LinkClosed as LinkClosed,
        LinkEvent as LinkEvent, LinkOpened as LinkOpened,
    )
    from .links.https.client import HttpsClientLink as HttpsClientLink
    from .links.https.cookies import Cookies as Cookies
    from .links.https.server import HttpsServerConnection as HttpsServerConnection, HttpsServerHub as HttpsServerHub
    from .links.https.session import HttpsSession as HttpsSession, HttpsSessionEnd as HttpsSessionEnd
    from .links.https.stream import HttpsLimits as HttpsLimits
    from .links.mqtt.client import MqttClientLink as MqttClientLink
    from .links.mqtt.gateway import (
        EchoMissed as EchoMissed, GatewayClosed as GatewayClosed, GatewayEvent as GatewayEvent,
        GatewayReady as GatewayReady, MqttHubGateway as MqttHubGateway, MqttPeerLink as MqttPeerLink,
        PeerArrived as PeerArrived, PeerEnded as PeerEnded, PeerInput as PeerInput, RivalSeen as RivalSeen,
    )
    from .links.mqtt.limits import MqttLimits as MqttLimits
    from .links.mqtt.topics import Topics as Topics
    from .links.wss.client import WssClientLink as WssClientLink
    from .links.wss.common import WssLimits as WssLimits
    from .links.wss.server import WssServerLink as WssServerLink
    from .outcomes import (
        AskEnded as AskEnded, AskFailed as AskFailed, AskFault as AskFault, AskHandled as AskHandled,
        AskPiece as AskPiece, Connected as Connected, Delivered as Delivered, Delivery as Delivery,
        FilterFailed as FilterFailed, Outcome as Outcome, SendFailed as SendFailed, Sent as Sent,
        SessionState as SessionState, StateChanged as StateChanged, TrustChanged as TrustChanged,
    )
    from .secret import Secret as Secret
    from .state import IGNORED as IGNORED, Role as Role, State as State, TRANSITIONS as TRANSITIONS
    from .trust import PskEntry as PskEntry, Trust as Trust
    # isort: on
    # fmt: on

# The public names of each module; a test compares this with the imports above.
_NAMES = {
    "carrier": "Carrier CloseKind Credentials Frame FrameType Target",
    "client.routes": "Route",
    "client.config": "ClientConfig",
    "client.stack": "ClientLink ClientStack Dial Run Step Stop Wait",
    "client.subscriptions": "Filter",
    "connection": "HubConnection",
    "crypto.kdf": "DeriveKey Kdf derive",
    "dial": "DialFailed DialFault",
    "entropy": "Entropy",
    "errors": (
        "CredentialsMissing CredentialsRefused DecodeError DowngradeRefused HandshakeTimeout LocalProtocolError "
        "MalformedMessage PeerKeyChanged ProtocolError RemoteProtocolError"
    ),
    "events": (
        "BinType Binary Broadcast Bus Cascade ClearHello ClientHello Closed Escalate Event Generation "
        "HandshakeCompleted HubHello IntentFailure Intercom Json Kk1 Message Noise2 Noise3 Offer Ping PolicyDenied "
        "Proof ProofAnswer Propagate Proven Query Rendezvous SealedHandshake SharedBus Skipped Speak ThirdParty "
        "Utterance UtteranceHandled WireKind Xx1"
    ),
    "failures": "Failure FailureKind",
    "handshake.client": "ClientSide",
    "handshake.hub": "HubSide",
    "hub.peer": "HubPeer PeerClosed PeerIdentified",
    "limits": "Limits",
    "links.admission": "AdmissionLimit",
    "links.base": "Accepted FrameReceived Link LinkClosed LinkEvent LinkOpened",
    "links.https.client": "HttpsClientLink",
    "links.https.cookies": "Cookies",
    "links.https.server": "HttpsServerConnection HttpsServerHub",
    "links.https.session": "HttpsSession HttpsSessionEnd",
    "links.https.stream": "HttpsLimits",
    "links.mqtt.client": "MqttClientLink",
    "links.mqtt.gateway": (
        "EchoMissed GatewayClosed GatewayEvent GatewayReady MqttHubGateway MqttPeerLink PeerArrived PeerEnded "
        "PeerInput RivalSeen"
    ),
    "links.mqtt.limits": "MqttLimits",
    "links.mqtt.topics": "Topics",
    "links.wss.client": "WssClientLink",
    "links.wss.common": "WssLimits",
    "links.wss.server": "WssServerLink",
    "outcomes": (
        "AskEnded AskFailed AskFault AskHandled AskPiece Connected Delivered Delivery FilterFailed Outcome SendFailed "
        "Sent SessionState StateChanged TrustChanged"
    ),
    "secret": "Secret",
    "state": "IGNORED Role State TRANSITIONS",
    "trust": "PskEntry Trust",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [*_HOME]  # noqa: PLE0604

if not TYPE_CHECKING:  # type checkers see the imports above, and no name that is not there

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
