"""The HiveMind protocol without I/O, in both roles: bytes and time in, events and bytes out.

Start with `ClientStack` (a client) or `HubPeer` (a hub's end of one client); the machines below them are public too.
Names are loaded when they are first used, so that a program pays only for the links that it takes.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .carrier import Carrier as Carrier
    from .carrier import CloseKind as CloseKind
    from .carrier import Credentials as Credentials
    from .carrier import Frame as Frame
    from .carrier import FrameType as FrameType
    from .carrier import Target as Target
    from .connection import HubConnection as HubConnection
    from .dial import DialFailed as DialFailed
    from .dial import DialFault as DialFault
    from .errors import CredentialsMissing as CredentialsMissing
    from .errors import CredentialsRefused as CredentialsRefused
    from .errors import DecodeError as DecodeError
    from .errors import DowngradeRefused as DowngradeRefused
    from .errors import HandshakeTimeout as HandshakeTimeout
    from .errors import LocalProtocolError as LocalProtocolError
    from .errors import PeerKeyChanged as PeerKeyChanged
    from .errors import ProtocolError as ProtocolError
    from .errors import RemoteProtocolError as RemoteProtocolError
    from .events import Binary as Binary
    from .events import BinType as BinType
    from .events import Broadcast as Broadcast
    from .events import Bus as Bus
    from .events import Cascade as Cascade
    from .events import ClearHello as ClearHello
    from .events import ClientHello as ClientHello
    from .events import Closed as Closed
    from .events import Escalate as Escalate
    from .events import Event as Event
    from .events import Generation as Generation
    from .events import HandshakeCompleted as HandshakeCompleted
    from .events import HubHello as HubHello
    from .events import IntentFailure as IntentFailure
    from .events import Intercom as Intercom
    from .events import Kk1 as Kk1
    from .events import Message as Message
    from .events import Noise2 as Noise2
    from .events import Noise3 as Noise3
    from .events import Offer as Offer
    from .events import Ping as Ping
    from .events import PolicyDenied as PolicyDenied
    from .events import Proof as Proof
    from .events import ProofAnswer as ProofAnswer
    from .events import Propagate as Propagate
    from .events import Proven as Proven
    from .events import Query as Query
    from .events import Rendezvous as Rendezvous
    from .events import SealedHandshake as SealedHandshake
    from .events import SharedBus as SharedBus
    from .events import Speak as Speak
    from .events import ThirdParty as ThirdParty
    from .events import Utterance as Utterance
    from .events import UtteranceHandled as UtteranceHandled
    from .events import Xx1 as Xx1
    from .failures import Failure as Failure
    from .failures import FailureKind as FailureKind
    from .handshake import ClientSide as ClientSide
    from .handshake_hub import HubSide as HubSide
    from .kdf import DeriveKey as DeriveKey
    from .kdf import derive as derive
    from .limits import Limits as Limits
    from .links.base import Accepted as Accepted
    from .links.base import FrameReceived as FrameReceived
    from .links.base import Link as Link
    from .links.base import LinkClosed as LinkClosed
    from .links.base import LinkEvent as LinkEvent
    from .links.base import LinkOpened as LinkOpened
    from .links.https_client import HttpsClientLink as HttpsClientLink
    from .links.https_server import HttpsServerHub as HttpsServerHub
    from .links.mqtt.client_link import MqttClientLink as MqttClientLink
    from .links.mqtt.hub_link import MqttHubGateway as MqttHubGateway
    from .links.wss_client import WssClientLink as WssClientLink
    from .links.wss_server import WssServerLink as WssServerLink
    from .outcomes import AskEnded as AskEnded
    from .outcomes import AskFailed as AskFailed
    from .outcomes import AskFault as AskFault
    from .outcomes import AskPiece as AskPiece
    from .outcomes import Connected as Connected
    from .outcomes import Delivered as Delivered
    from .outcomes import Outcome as Outcome
    from .outcomes import SendFailed as SendFailed
    from .outcomes import Sent as Sent
    from .outcomes import SessionState as SessionState
    from .outcomes import StateChanged as StateChanged
    from .outcomes import TrustChanged as TrustChanged
    from .peer import HubPeer as HubPeer
    from .peer import PeerClosed as PeerClosed
    from .peer import PeerIdentified as PeerIdentified
    from .routes import Route as Route
    from .secret import Secret as Secret
    from .session import ClientConfig as ClientConfig
    from .stack import ClientLink as ClientLink
    from .stack import ClientStack as ClientStack
    from .stack import Dial as Dial
    from .stack import Run as Run
    from .stack import Stop as Stop
    from .stack import Wait as Wait
    from .state import IGNORED as IGNORED
    from .state import TRANSITIONS as TRANSITIONS
    from .state import Role as Role
    from .state import State as State
    from .trust import Trust as Trust

# Where each public name lives; a test compares this with the imports above.
_HOME = {
    "HubConnection": "connection",
    "DialFailed": "dial",
    "DialFault": "dial",
    "CredentialsMissing": "errors",
    "CredentialsRefused": "errors",
    "DecodeError": "errors",
    "DowngradeRefused": "errors",
    "HandshakeTimeout": "errors",
    "LocalProtocolError": "errors",
    "PeerKeyChanged": "errors",
    "ProtocolError": "errors",
    "RemoteProtocolError": "errors",
    "BinType": "events",
    "Binary": "events",
    "Broadcast": "events",
    "Bus": "events",
    "Cascade": "events",
    "ClearHello": "events",
    "ClientHello": "events",
    "Closed": "events",
    "Escalate": "events",
    "Event": "events",
    "Generation": "events",
    "HandshakeCompleted": "events",
    "HubHello": "events",
    "IntentFailure": "events",
    "Intercom": "events",
    "Kk1": "events",
    "Message": "events",
    "Noise2": "events",
    "Noise3": "events",
    "Offer": "events",
    "Ping": "events",
    "PolicyDenied": "events",
    "Proof": "events",
    "ProofAnswer": "events",
    "Propagate": "events",
    "Proven": "events",
    "Query": "events",
    "Rendezvous": "events",
    "SealedHandshake": "events",
    "SharedBus": "events",
    "Speak": "events",
    "ThirdParty": "events",
    "Utterance": "events",
    "UtteranceHandled": "events",
    "Xx1": "events",
    "Failure": "failures",
    "FailureKind": "failures",
    "ClientSide": "handshake",
    "HubSide": "handshake_hub",
    "DeriveKey": "kdf",
    "derive": "kdf",
    "Limits": "limits",
    "Accepted": "links.base",
    "Carrier": "carrier",
    "CloseKind": "carrier",
    "Credentials": "carrier",
    "Frame": "carrier",
    "FrameReceived": "links.base",
    "FrameType": "carrier",
    "Link": "links.base",
    "LinkClosed": "links.base",
    "LinkEvent": "links.base",
    "LinkOpened": "links.base",
    "Target": "carrier",
    "HttpsClientLink": "links.https_client",
    "HttpsServerHub": "links.https_server",
    "MqttClientLink": "links.mqtt.client_link",
    "MqttHubGateway": "links.mqtt.hub_link",
    "WssClientLink": "links.wss_client",
    "WssServerLink": "links.wss_server",
    "AskEnded": "outcomes",
    "AskFailed": "outcomes",
    "AskFault": "outcomes",
    "AskPiece": "outcomes",
    "Connected": "outcomes",
    "Delivered": "outcomes",
    "Outcome": "outcomes",
    "SendFailed": "outcomes",
    "Sent": "outcomes",
    "SessionState": "outcomes",
    "StateChanged": "outcomes",
    "TrustChanged": "outcomes",
    "HubPeer": "peer",
    "PeerClosed": "peer",
    "PeerIdentified": "peer",
    "Route": "routes",
    "Secret": "secret",
    "ClientConfig": "session",
    "ClientLink": "stack",
    "ClientStack": "stack",
    "Dial": "stack",
    "Run": "stack",
    "Stop": "stack",
    "Wait": "stack",
    "IGNORED": "state",
    "Role": "state",
    "State": "state",
    "TRANSITIONS": "state",
    "Trust": "trust",
}

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
