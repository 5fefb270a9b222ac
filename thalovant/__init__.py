"""Talk to Thalovant and HiveMind hubs: clients, agents, identities, the control plane, and a hub of your own.

Importing this package is cheap: every name is loaded when it is first used.
"""

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from .async_client import AsyncThalovantClient as AsyncThalovantClient
    from .client import ThalovantClient as ThalovantClient
    from .context import build_client_context as build_client_context
    from .context import build_location as build_location
    from .context import request_context as request_context
    from .conversation import AsyncThalovantConversation as AsyncThalovantConversation
    from .conversation import ThalovantConversation as ThalovantConversation
    from .errors import ThalovantAdmissionFailedError as ThalovantAdmissionFailedError
    from .errors import ThalovantAdmissionTimeoutError as ThalovantAdmissionTimeoutError
    from .errors import ThalovantAlreadyLinkedError as ThalovantAlreadyLinkedError
    from .errors import ThalovantAPIError as ThalovantAPIError
    from .errors import ThalovantAPIUnreachableError as ThalovantAPIUnreachableError
    from .errors import ThalovantAuthError as ThalovantAuthError
    from .errors import ThalovantClientKeyRejectedError as ThalovantClientKeyRejectedError
    from .errors import ThalovantConnectionError as ThalovantConnectionError
    from .errors import ThalovantDeviceLoginDenied as ThalovantDeviceLoginDenied
    from .errors import ThalovantDeviceLoginExpired as ThalovantDeviceLoginExpired
    from .errors import ThalovantDeviceLoginPending as ThalovantDeviceLoginPending
    from .errors import ThalovantDisplacedError as ThalovantDisplacedError
    from .errors import ThalovantDowngradeError as ThalovantDowngradeError
    from .errors import ThalovantError as ThalovantError
    from .errors import ThalovantHubKeyChangedError as ThalovantHubKeyChangedError
    from .errors import ThalovantHubRefusedError as ThalovantHubRefusedError
    from .errors import ThalovantIdentityError as ThalovantIdentityError
    from .errors import ThalovantPlanError as ThalovantPlanError
    from .errors import ThalovantPolicyDeniedError as ThalovantPolicyDeniedError
    from .errors import ThalovantQuota as ThalovantQuota
    from .errors import ThalovantRuntimeError as ThalovantRuntimeError
    from .errors import ThalovantTimeoutError as ThalovantTimeoutError
    from .errors import ThalovantUnansweredError as ThalovantUnansweredError
    from .errors import ThalovantUnsupportedConnectionTypeError as ThalovantUnsupportedConnectionTypeError
    from .errors import ThalovantUnsupportedProtocolError as ThalovantUnsupportedProtocolError
    from .events import EVENT_AUDIO_QUEUE as EVENT_AUDIO_QUEUE
    from .events import EVENT_INTENT_DESCRIBE as EVENT_INTENT_DESCRIBE
    from .events import EVENT_INTENT_DESCRIBE_RESPONSE as EVENT_INTENT_DESCRIBE_RESPONSE
    from .events import EVENT_INTENT_FAILURE as EVENT_INTENT_FAILURE
    from .events import EVENT_INTENT_LIST as EVENT_INTENT_LIST
    from .events import EVENT_INTENT_LIST_RESPONSE as EVENT_INTENT_LIST_RESPONSE
    from .events import EVENT_INTENT_UNMATCHED as EVENT_INTENT_UNMATCHED
    from .events import EVENT_OVOS_UTTERANCE_SPEAK as EVENT_OVOS_UTTERANCE_SPEAK
    from .events import EVENT_POLICY_DENIED as EVENT_POLICY_DENIED
    from .events import EVENT_QUERY_TIMEOUT as EVENT_QUERY_TIMEOUT
    from .events import EVENT_RECOGNIZER_LOOP_UTTERANCE as EVENT_RECOGNIZER_LOOP_UTTERANCE
    from .events import EVENT_SPEAK as EVENT_SPEAK
    from .events import EVENT_UTTERANCE_HANDLED as EVENT_UTTERANCE_HANDLED
    from .events import HIVE_BROADCAST as HIVE_BROADCAST
    from .events import HIVE_ESCALATE as HIVE_ESCALATE
    from .events import HIVE_INTERCOM as HIVE_INTERCOM
    from .events import HIVE_KINDS as HIVE_KINDS
    from .events import HIVE_PROPAGATE as HIVE_PROPAGATE
    from .events import HIVE_RENDEZVOUS as HIVE_RENDEZVOUS
    from .events import HOME_REQUEST as HOME_REQUEST
    from .events import HOME_RESPONSE as HOME_RESPONSE
    from .events import EventHandler as EventHandler
    from .events import EventPredicate as EventPredicate
    from .events import ThalovantEvent as ThalovantEvent
    from .identity import MqttBrokerCredentials as MqttBrokerCredentials
    from .identity import ThalovantIdentity as ThalovantIdentity
    from .identity import default_config_path as default_config_path
    from .models import THALOVANT_CLAIMED_META_KEY as THALOVANT_CLAIMED_META_KEY
    from .models import ThalovantConnectionInfo as ThalovantConnectionInfo
    from .models import ThalovantDoctorCheck as ThalovantDoctorCheck
    from .models import ThalovantDoctorReport as ThalovantDoctorReport
    from .models import ThalovantHealth as ThalovantHealth
    from .models import ThalovantReply as ThalovantReply
    from .protocols import DEFAULT_PROTOCOL_PREFERENCE as DEFAULT_PROTOCOL_PREFERENCE
    from .protocols import HubDataPlaneEndpoints as HubDataPlaneEndpoints
    from .protocols import HubProtocol as HubProtocol
    from .protocols import HubProtocolSettings as HubProtocolSettings
    from .protocols import SelectedHubEndpoint as SelectedHubEndpoint
    from .protocols import select_data_plane_endpoint as select_data_plane_endpoint
    from .rich import ThalovantDisplayItem as ThalovantDisplayItem
    from .rich import strip_ssml as strip_ssml
    from .subscriptions import AsyncThalovantSubscription as AsyncThalovantSubscription
    from .subscriptions import ThalovantSubscription as ThalovantSubscription
    from .trust_store import TrustStore as TrustStore

# Where each public name lives. A new one is a line here and a line above; a test compares the two.
_HOME = {
    "AsyncThalovantClient": "async_client",
    "AsyncThalovantSubscription": "subscriptions",
    "ThalovantClient": "client",
    "ThalovantSubscription": "subscriptions",
    "build_client_context": "context",
    "build_location": "context",
    "request_context": "context",
    "AsyncThalovantConversation": "conversation",
    "ThalovantConversation": "conversation",
    "ThalovantAdmissionFailedError": "errors",
    "ThalovantAdmissionTimeoutError": "errors",
    "ThalovantAlreadyLinkedError": "errors",
    "ThalovantAPIError": "errors",
    "ThalovantAPIUnreachableError": "errors",
    "ThalovantAuthError": "errors",
    "ThalovantClientKeyRejectedError": "errors",
    "ThalovantConnectionError": "errors",
    "ThalovantDeviceLoginDenied": "errors",
    "ThalovantDeviceLoginExpired": "errors",
    "ThalovantDeviceLoginPending": "errors",
    "ThalovantDisplacedError": "errors",
    "ThalovantDowngradeError": "errors",
    "ThalovantError": "errors",
    "ThalovantHubKeyChangedError": "errors",
    "ThalovantHubRefusedError": "errors",
    "ThalovantIdentityError": "errors",
    "ThalovantPlanError": "errors",
    "ThalovantPolicyDeniedError": "errors",
    "ThalovantQuota": "errors",
    "ThalovantRuntimeError": "errors",
    "ThalovantTimeoutError": "errors",
    "ThalovantUnansweredError": "errors",
    "ThalovantUnsupportedConnectionTypeError": "errors",
    "ThalovantUnsupportedProtocolError": "errors",
    "EVENT_AUDIO_QUEUE": "events",
    "EVENT_INTENT_DESCRIBE": "events",
    "EVENT_INTENT_DESCRIBE_RESPONSE": "events",
    "EVENT_INTENT_FAILURE": "events",
    "EVENT_INTENT_LIST": "events",
    "EVENT_INTENT_LIST_RESPONSE": "events",
    "EVENT_INTENT_UNMATCHED": "events",
    "EVENT_OVOS_UTTERANCE_SPEAK": "events",
    "EVENT_POLICY_DENIED": "events",
    "EVENT_QUERY_TIMEOUT": "events",
    "EVENT_RECOGNIZER_LOOP_UTTERANCE": "events",
    "EVENT_SPEAK": "events",
    "EVENT_UTTERANCE_HANDLED": "events",
    "HIVE_BROADCAST": "events",
    "HIVE_ESCALATE": "events",
    "HIVE_INTERCOM": "events",
    "HIVE_KINDS": "events",
    "HIVE_PROPAGATE": "events",
    "HIVE_RENDEZVOUS": "events",
    "HOME_REQUEST": "events",
    "HOME_RESPONSE": "events",
    "EventHandler": "events",
    "EventPredicate": "events",
    "ThalovantEvent": "events",
    "MqttBrokerCredentials": "identity",
    "ThalovantIdentity": "identity",
    "default_config_path": "identity",
    "THALOVANT_CLAIMED_META_KEY": "models",
    "ThalovantConnectionInfo": "models",
    "ThalovantDoctorCheck": "models",
    "ThalovantDoctorReport": "models",
    "ThalovantHealth": "models",
    "ThalovantReply": "models",
    "DEFAULT_PROTOCOL_PREFERENCE": "protocols",
    "HubDataPlaneEndpoints": "protocols",
    "HubProtocol": "protocols",
    "HubProtocolSettings": "protocols",
    "SelectedHubEndpoint": "protocols",
    "select_data_plane_endpoint": "protocols",
    "ThalovantDisplayItem": "rich",
    "strip_ssml": "rich",
    "TrustStore": "trust_store",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604

if not TYPE_CHECKING:  # type checkers see the imports above, and no name that is not there

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
