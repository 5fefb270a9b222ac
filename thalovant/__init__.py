"""Clients for Thalovant and HiveMind hubs, their identities, and a hub of your own (`thalovant.hub`).

Importing this package is cheap: a name is loaded when it is first used.
"""

import os

from ._version import __version__

TYPE_CHECKING = False  # as type checkers know it, without the time that `typing` takes
if TYPE_CHECKING:
    from .agent import AsyncThalovantAgent as AsyncThalovantAgent, ThalovantAgent as ThalovantAgent
    from .async_client import AsyncThalovantClient as AsyncThalovantClient
    from .client import ThalovantClient as ThalovantClient
    from .context import (
        build_client_context as build_client_context,
        build_location as build_location,
        request_context as request_context,
    )
    from .control import (
        CONNECTION_TYPE_HOME_ASSISTANT as CONNECTION_TYPE_HOME_ASSISTANT,
        DEFAULT_CONTROL_API_URL as DEFAULT_CONTROL_API_URL,
        HOME_ASSISTANT_CLIENT_ID as HOME_ASSISTANT_CLIENT_ID,
        HOME_ASSISTANT_SCOPES as HOME_ASSISTANT_SCOPES,
        ApiToken as ApiToken,
        AsyncThalovantControlPlane as AsyncThalovantControlPlane,
        BootstrapIdentityResult as BootstrapIdentityResult,
        DeviceAuthorization as DeviceAuthorization,
        DeviceLoginRequest as DeviceLoginRequest,
        HubSkill as HubSkill,
        HubSkillList as HubSkillList,
        HubSkillOperation as HubSkillOperation,
        HubSkillOperationState as HubSkillOperationState,
        HubSkillState as HubSkillState,
        OperationResource as OperationResource,
        OperationStatus as OperationStatus,
        ThalovantControlPlane as ThalovantControlPlane,
    )
    from .conversation import (
        AsyncThalovantConversation as AsyncThalovantConversation,
        ThalovantConversation as ThalovantConversation,
    )
    from .errors import (
        ThalovantAdmissionFailedError as ThalovantAdmissionFailedError,
        ThalovantAdmissionTimeoutError as ThalovantAdmissionTimeoutError,
        ThalovantAlreadyLinkedError as ThalovantAlreadyLinkedError,
        ThalovantAPIError as ThalovantAPIError,
        ThalovantAPIUnreachableError as ThalovantAPIUnreachableError,
        ThalovantAuthError as ThalovantAuthError,
        ThalovantClientKeyRejectedError as ThalovantClientKeyRejectedError,
        ThalovantConnectionError as ThalovantConnectionError,
        ThalovantDeviceLoginDenied as ThalovantDeviceLoginDenied,
        ThalovantDeviceLoginExpired as ThalovantDeviceLoginExpired,
        ThalovantDeviceLoginPending as ThalovantDeviceLoginPending,
        ThalovantDisplacedError as ThalovantDisplacedError,
        ThalovantDowngradeError as ThalovantDowngradeError,
        ThalovantError as ThalovantError,
        ThalovantHubKeyChangedError as ThalovantHubKeyChangedError,
        ThalovantHubRefusedError as ThalovantHubRefusedError,
        ThalovantIdentityError as ThalovantIdentityError,
        ThalovantPlanError as ThalovantPlanError,
        ThalovantPolicyDeniedError as ThalovantPolicyDeniedError,
        ThalovantQuota as ThalovantQuota,
        ThalovantRuntimeError as ThalovantRuntimeError,
        ThalovantTimeoutError as ThalovantTimeoutError,
        ThalovantUnansweredError as ThalovantUnansweredError,
        ThalovantUnsupportedConnectionTypeError as ThalovantUnsupportedConnectionTypeError,
        ThalovantUnsupportedProtocolError as ThalovantUnsupportedProtocolError,
    )
    from .events import (
        EVENT_AUDIO_QUEUE as EVENT_AUDIO_QUEUE,
        EVENT_INTENT_DESCRIBE as EVENT_INTENT_DESCRIBE,
        EVENT_INTENT_DESCRIBE_RESPONSE as EVENT_INTENT_DESCRIBE_RESPONSE,
        EVENT_INTENT_FAILURE as EVENT_INTENT_FAILURE,
        EVENT_INTENT_LIST as EVENT_INTENT_LIST,
        EVENT_INTENT_LIST_RESPONSE as EVENT_INTENT_LIST_RESPONSE,
        EVENT_INTENT_UNMATCHED as EVENT_INTENT_UNMATCHED,
        EVENT_OVOS_UTTERANCE_SPEAK as EVENT_OVOS_UTTERANCE_SPEAK,
        EVENT_POLICY_DENIED as EVENT_POLICY_DENIED,
        EVENT_QUERY_TIMEOUT as EVENT_QUERY_TIMEOUT,
        EVENT_RECOGNIZER_LOOP_UTTERANCE as EVENT_RECOGNIZER_LOOP_UTTERANCE,
        EVENT_SPEAK as EVENT_SPEAK,
        EVENT_UTTERANCE_HANDLED as EVENT_UTTERANCE_HANDLED,
        HIVE_BROADCAST as HIVE_BROADCAST,
        HIVE_ESCALATE as HIVE_ESCALATE,
        HIVE_INTERCOM as HIVE_INTERCOM,
        HIVE_KINDS as HIVE_KINDS,
        HIVE_PROPAGATE as HIVE_PROPAGATE,
        HIVE_RENDEZVOUS as HIVE_RENDEZVOUS,
        HOME_REQUEST as HOME_REQUEST,
        HOME_RESPONSE as HOME_RESPONSE,
        AudioEvent as AudioEvent,
        EventField as EventField,
        EventHandler as EventHandler,
        EventPredicate as EventPredicate,
        IntentFailureEvent as IntentFailureEvent,
        IntentUnmatchedEvent as IntentUnmatchedEvent,
        OvosSpeakEvent as OvosSpeakEvent,
        PolicyDeniedEvent as PolicyDeniedEvent,
        SpeakEvent as SpeakEvent,
        ThalovantBinary as ThalovantBinary,
        ThalovantEvent as ThalovantEvent,
        UtteranceHandledEvent as UtteranceHandledEvent,
    )
    from .home import (
        HomeAnswer as HomeAnswer,
        HomeRequest as HomeRequest,
        answer_home_requests as answer_home_requests,
    )
    from .hubs import hub_display_name as hub_display_name
    from .identity import (
        MqttBrokerCredentials as MqttBrokerCredentials,
        ThalovantIdentity as ThalovantIdentity,
        default_config_path as default_config_path,
    )
    from .intents import (
        HubIntent as HubIntent,
        HubIntentInventory as HubIntentInventory,
        HubSkillIntents as HubSkillIntents,
        IntentDefinition as IntentDefinition,
        IntentRegistration as IntentRegistration,
        speakable as speakable,
    )
    from .inventory import (
        Intent as Intent,
        Inventory as Inventory,
        InventoryCache as InventoryCache,
        Skill as Skill,
        common_affix as common_affix,
        friendly_title as friendly_title,
        humanize as humanize,
        languages_present as languages_present,
        sort_key as sort_key,
        strip_affix as strip_affix,
    )
    from .listing import as_sentence as as_sentence
    from .models import (
        THALOVANT_CLAIMED_META_KEY as THALOVANT_CLAIMED_META_KEY,
        ThalovantConnectionInfo as ThalovantConnectionInfo,
        ThalovantDoctorCheck as ThalovantDoctorCheck,
        ThalovantDoctorReport as ThalovantDoctorReport,
        ThalovantHealth as ThalovantHealth,
        ThalovantReply as ThalovantReply,
    )
    from .native_auth import (
        DEFAULT_NATIVE_SCOPES as DEFAULT_NATIVE_SCOPES,
        NativeSignIn as NativeSignIn,
        begin_native_sign_in as begin_native_sign_in,
        challenge_for as challenge_for,
        is_thalovant_url as is_thalovant_url,
        new_verifier as new_verifier,
    )
    from .protocols import (
        DEFAULT_PROTOCOL_PREFERENCE as DEFAULT_PROTOCOL_PREFERENCE,
        HubDataPlaneEndpoints as HubDataPlaneEndpoints,
        HubProtocol as HubProtocol,
        HubProtocolSettings as HubProtocolSettings,
        SelectedHubEndpoint as SelectedHubEndpoint,
        select_data_plane_endpoint as select_data_plane_endpoint,
    )
    from .rich import ThalovantDisplayItem as ThalovantDisplayItem, strip_ssml as strip_ssml
    from .session import (
        AsyncHubSession as AsyncHubSession,
        HubSession as HubSession,
        HubSessionPolicy as HubSessionPolicy,
        OriginPreference as OriginPreference,
        hub_hostname as hub_hostname,
        preferred_origin as preferred_origin,
    )
    from .subscriptions import (
        AsyncThalovantSubscription as AsyncThalovantSubscription,
        ThalovantSubscription as ThalovantSubscription,
    )
    from .transport import (
        HiveMindMQTTTransport as HiveMindMQTTTransport,
        MqttTopicSet as MqttTopicSet,
        mqtt_topics_for_identity as mqtt_topics_for_identity,
    )
    from .trust_store import TrustStore as TrustStore

# The public names of each module; a test compares this with the imports above.
_NAMES = {
    "agent": "AsyncThalovantAgent ThalovantAgent",
    "async_client": "AsyncThalovantClient",
    "client": "ThalovantClient",
    "context": "build_client_context build_location request_context",
    "control": (
        "CONNECTION_TYPE_HOME_ASSISTANT DEFAULT_CONTROL_API_URL HOME_ASSISTANT_CLIENT_ID HOME_ASSISTANT_SCOPES "
        "ApiToken AsyncThalovantControlPlane BootstrapIdentityResult DeviceAuthorization DeviceLoginRequest HubSkill "
        "HubSkillList HubSkillOperation HubSkillOperationState HubSkillState OperationResource OperationStatus "
        "ThalovantControlPlane"
    ),
    "conversation": "AsyncThalovantConversation ThalovantConversation",
    "errors": (
        "ThalovantAdmissionFailedError ThalovantAdmissionTimeoutError ThalovantAlreadyLinkedError ThalovantAPIError "
        "ThalovantAPIUnreachableError ThalovantAuthError ThalovantClientKeyRejectedError ThalovantConnectionError "
        "ThalovantDeviceLoginDenied ThalovantDeviceLoginExpired ThalovantDeviceLoginPending ThalovantDisplacedError "
        "ThalovantDowngradeError ThalovantError ThalovantHubKeyChangedError ThalovantHubRefusedError "
        "ThalovantIdentityError ThalovantPlanError ThalovantPolicyDeniedError ThalovantQuota ThalovantRuntimeError "
        "ThalovantTimeoutError ThalovantUnansweredError ThalovantUnsupportedConnectionTypeError "
        "ThalovantUnsupportedProtocolError"
    ),
    "events": (
        "EVENT_AUDIO_QUEUE EVENT_INTENT_DESCRIBE EVENT_INTENT_DESCRIBE_RESPONSE EVENT_INTENT_FAILURE "
        "EVENT_INTENT_LIST EVENT_INTENT_LIST_RESPONSE EVENT_INTENT_UNMATCHED EVENT_OVOS_UTTERANCE_SPEAK "
        "EVENT_POLICY_DENIED EVENT_QUERY_TIMEOUT EVENT_RECOGNIZER_LOOP_UTTERANCE EVENT_SPEAK "
        "EVENT_UTTERANCE_HANDLED HIVE_BROADCAST HIVE_ESCALATE HIVE_INTERCOM HIVE_KINDS HIVE_PROPAGATE "
        "HIVE_RENDEZVOUS HOME_REQUEST HOME_RESPONSE AudioEvent EventField EventHandler EventPredicate "
        "IntentFailureEvent IntentUnmatchedEvent OvosSpeakEvent PolicyDeniedEvent SpeakEvent ThalovantBinary "
        "ThalovantEvent UtteranceHandledEvent"
    ),
    "home": "HomeAnswer HomeRequest answer_home_requests",
    "hubs": "hub_display_name",
    "identity": "MqttBrokerCredentials ThalovantIdentity default_config_path",
    "intents": ("HubIntent HubIntentInventory HubSkillIntents IntentDefinition IntentRegistration speakable"),
    "inventory": (
        "Intent Inventory InventoryCache Skill common_affix friendly_title humanize languages_present sort_key "
        "strip_affix"
    ),
    "listing": "as_sentence",
    "models": (
        "THALOVANT_CLAIMED_META_KEY ThalovantConnectionInfo ThalovantDoctorCheck ThalovantDoctorReport "
        "ThalovantHealth ThalovantReply"
    ),
    "native_auth": (
        "DEFAULT_NATIVE_SCOPES NativeSignIn begin_native_sign_in challenge_for is_thalovant_url new_verifier"
    ),
    "protocols": (
        "DEFAULT_PROTOCOL_PREFERENCE HubDataPlaneEndpoints HubProtocol HubProtocolSettings SelectedHubEndpoint "
        "select_data_plane_endpoint"
    ),
    "rich": "ThalovantDisplayItem strip_ssml",
    "session": ("AsyncHubSession HubSession HubSessionPolicy OriginPreference hub_hostname preferred_origin"),
    "subscriptions": "AsyncThalovantSubscription ThalovantSubscription",
    "transport": "HiveMindMQTTTransport MqttTopicSet mqtt_topics_for_identity",
    "trust_store": "TrustStore",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604

if not TYPE_CHECKING:  # type checkers see the imports above, and no name that is not there

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value


if _level := os.environ.get("THALOVANT_LOG"):  # set up once, and nothing is loaded where nobody asked for it
    from .logs import set_up

    set_up(_level)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
