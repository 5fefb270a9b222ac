"""What the API speaks of, as types. One cattrs converter structures them, made when it is first needed.

Two kinds: values with fields (`OperationResource`, `HubSkill` …), and resources, which are the API's own dicts, unknown
fields and all, whose known fields can also be read as attributes of their type.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeAlias, TypeVar, get_type_hints

from ._control.account import missing
from ._control.answers import next_cursor
from ._internal.redact import names_secret
from .errors import ThalovantAPIError

if TYPE_CHECKING:
    from cattrs import Converter

    from .identity import ThalovantIdentity
    from .protocols import HubProtocol, SelectedHubEndpoint

T = TypeVar("T")

OperationStatus: TypeAlias = Literal["requested", "committed", "applied", "ready", "failed", "timed_out"]
HubSkillState: TypeAlias = Literal["pending", "installed", "failed", "removing", "drifted", "quarantined", "unmanaged"]
HubSkillOperationState: TypeAlias = Literal["installing", "updating", "removing", "installed", "removed"]

DEFAULT_DEVICE_POLL_INTERVAL: Final = 5.0  # RFC 8628 §3.2
DEVICE_EXPIRES_IN: Final = 900


def structured(kind: type[T], value: object, where: str) -> T:
    """The value as that type. Raises `ThalovantAPIError` that names the place of what is wrong, and quotes nothing."""
    import cattrs

    try:
        return _converter().structure(value, kind)
    except Exception as error:  # cattrs passes on whatever a constructor raises
        faults = cattrs.transform_error(error, path=where, format_exception=_fault)
        raise ThalovantAPIError(f"Thalovant API returned an unexpected response shape: {faults[0]}.") from None


@functools.cache
def _converter() -> Converter:
    import cattrs

    converter = cattrs.Converter()
    for kind in (str, bool, int, float):
        converter.register_structure_hook(kind, _exactly)
    # An operation may come into a state that is not known here; it has not ended then.
    converter.register_structure_hook_func(lambda kind: kind == OperationStatus, lambda value, _: _exactly(value, str))
    return converter


class _Unfit(TypeError):
    """A value of another type, which the message names."""


def _exactly(value: Any, kind: type[Any]) -> Any:
    if type(value) is kind or (kind is float and type(value) is int):
        return value
    raise _Unfit(f"no {kind.__name__}")


def _fault(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, _Unfit) else "invalid value"


class Resource(dict[str, Any]):
    """A resource as the API gives it, a dict. Fields named in its class are attributes too, None where they may be.

    Reading an attribute whose value is of another type raises `ThalovantAPIError`, which names it.
    """

    def __getattr__(self, name: str) -> Any:
        kinds = _kinds(type(self))
        if name not in kinds:
            raise AttributeError(f"{type(self).__name__} has no field {name!r}: read what else is there by its key")
        return structured(kinds[name], self.get(name), f"{type(self).__name__}.{name}")


@functools.cache
def _kinds(kind: type[Resource]) -> dict[str, Any]:
    return {name: of for name, of in get_type_hints(kind).items() if not name.startswith("_")}


class HubResource(Resource):
    """A hub, as the API tells of it.

    Example:
        >>> hub["title"], hub.slug
        ('Joke Garden', 'joke-garden')
    """

    id: str
    name: str | None
    slug: str | None
    title: str | None
    public_ref: str | None
    domain: str | None
    etag: str | None
    spec: dict[str, Any] | None


class ClientResource(Resource):
    """A client of a hub, as the API tells of it."""

    id: str
    hub_id: str
    name: str | None
    active: bool | None
    etag: str | None
    spec: dict[str, Any] | None


class Page(Resource):
    """One page of a list: `page["data"]`, and `page.next`, the cursor of the page after it, None after the last."""

    data: list[dict[str, Any]]

    _link: str | None = None

    @property
    def next(self) -> str | None:
        """The cursor of the next page."""
        return next_cursor(self, self._link)


# --- values with fields ----------------------------------------------------------------------------------------------


class Value:
    """Base of values with fields: read as attributes, or like a dict."""

    __slots__ = ()
    _required: ClassVar[tuple[str, ...]] = ()
    _absent: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> Self:
        """Read what the API says. Raises `ThalovantAPIError` that names the field which is missing or wrong."""
        for key in cls._required:
            missing(payload, key)
        there = {key: value for key, value in payload.items() if value is not None}
        nothing = dict.fromkeys(one.name for one in fields(cls) if one.default is MISSING)  # type: ignore[arg-type]
        return structured(cls, {**nothing, **cls._absent, **there}, cls.__name__)

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    def __getitem__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(self, name):
            raise KeyError(name)
        return getattr(self, name)


@dataclass(frozen=True)
class OperationResource(Value):
    """Something that the API has taken on and will finish later. Times are texts of ISO 8601.

    Example:
        >>> api.wait_for_operation(result.operation).status
        'ready'
    """

    id: str
    kind: str
    aggregate_type: str
    aggregate_id: str | None
    status: OperationStatus
    details: dict[str, Any]
    git_commit_sha: str | None
    error_code: str | None
    error_message: str | None
    created_at: str
    updated_at: str
    committed_at: str | None
    applied_at: str | None
    ready_at: str | None
    terminal_at: str | None
    links: dict[str, str | None]

    _required = ("id", "kind", "aggregate_type", "status")
    _absent: ClassVar[Mapping[str, Any]] = {"details": {}, "links": {}, "created_at": "", "updated_at": ""}


@dataclass(frozen=True)
class HubSkill(Value):
    """A skill of a hub: what is wanted, what is there, and what there could be.

    Example:
        >>> [(one.title, one.latest_version) for one in api.list_hub_skills("hub-id").data if one.update_available]
        [('Weather', '2.1')]
    """

    skill: str
    state: HubSkillState
    title: str | None = None
    marketplace_skill_id: str | None = None
    package_name: str | None = None
    source_type: str | None = None
    install_source: str | None = None
    version: str | None = None
    version_pin: str | None = None
    installed_version: str | None = None
    observed_version: str | None = None
    previous_version: str | None = None
    latest_version: str | None = None
    available_version: str | None = None
    update_available: bool = False
    changelog: str | None = None
    active: bool = True
    operator_phase: str | None = None
    operator_message: str | None = None
    operator_last_error: str | None = None
    last_transition_at: str | None = None

    _required = ("skill", "state")


@dataclass(frozen=True)
class HubSkillList(Value):
    """The skills of a hub.

    Example:
        >>> [one.skill for one in api.list_hub_skills("hub-id").data]
        ['thalovant-skill-weather']
    """

    hub_id: str
    data: list[HubSkill]
    runtime_group_id: str | None = None
    observed_at: str | None = None
    source: str | None = None
    operator_phase: str | None = None
    operator_message: str | None = None

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> Self:
        """Read a listing. Raises `ThalovantAPIError` for rows that are malformed, and drops none."""
        rows = payload.get("data")
        if not isinstance(rows, list):
            raise ThalovantAPIError("Thalovant API returned an unexpected hub skill listing shape.")
        if not all(isinstance(row, Mapping) for row in rows):
            raise ThalovantAPIError("Thalovant API returned an unexpected hub skill row shape.")
        missing(payload, "hub_id")
        return replace(super().from_dict({**payload, "data": []}), data=[HubSkill.from_dict(row) for row in rows])


@dataclass(frozen=True)
class HubSkillOperation(Value):
    """A change to the skills of a hub that the API has taken on.

    Example:
        >>> api.install_hub_skill("hub-id", "thalovant-skill-weather", wait=True).state
        'installed'
    """

    operation_id: str
    skill: str
    version: str | None
    state: HubSkillOperationState
    hub_id: str | None = None
    runtime_group_id: str | None = None
    previous_version: str | None = None
    operation: OperationResource | None = None

    _required = ("operation_id", "skill", "state")

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> Self:
        """Read what the API answers to a change."""
        return super().from_dict({key: value for key, value in payload.items() if key != "operation"})


@dataclass(frozen=True)
class DeviceAuthorization(Value):
    """A sign-in that a person has to approve: where, and with which code. `interval` and `expires_in` are seconds.

    Example:
        >>> started = api.begin_device_login(client_name="Kiosk")
        >>> print(started.verification_uri, started.user_code)
        https://thalovant.com/activate WDJB-MJHT
    """

    device_code: str = field(repr=False)
    user_code: str
    verification_uri: str
    verification_uri_complete: str | None
    interval: float
    expires_in: int

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> Self:
        """Read what the API answers. Raises `ThalovantAPIError` for addresses that no browser should be sent to."""
        texts = [payload.get(key) for key in ("device_code", "user_code", "verification_uri")]
        if not all(isinstance(text, str) and text for text in texts):
            raise ThalovantAPIError("Thalovant API device authorization response was incomplete.")
        complete = payload.get("verification_uri_complete")
        for url in (texts[2], complete):
            if url is not None and not _browsable(url):
                raise ThalovantAPIError("Device verification URLs must use HTTP or HTTPS without embedded credentials.")
        expires = _number(payload.get("expires_in"), DEVICE_EXPIRES_IN)
        interval = _number(payload.get("interval"), DEFAULT_DEVICE_POLL_INTERVAL)
        return cls(*map(str, texts), complete, interval, int(expires))  # type: ignore[arg-type,call-arg]


@dataclass(frozen=True)
class ApiToken(Value):
    """A token that the API accepts.

    Example:
        >>> api.poll_device_login(started).expires_at.year
        2027
    """

    access_token: str = field(repr=False)
    token_type: str
    scopes: tuple[str, ...]
    expires_at: datetime | None
    token_id: str | None

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> Self:
        """Read what the API answers to a sign-in."""
        kind, token_id = payload.get("token_type"), payload.get("token_id")
        return cls(
            access_token=token_of(payload),
            token_type=kind if isinstance(kind, str) and kind else "bearer",
            scopes=_texts(payload.get("scopes")),
            expires_at=_time(payload.get("expires_at")),
            token_id=token_id if isinstance(token_id, str) and token_id else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields, the token with them, ready for JSON."""
        return {**asdict(self), "scopes": [*self.scopes], "expires_at": self.expires_at and self.expires_at.isoformat()}


@dataclass(frozen=True)
class DeviceLoginRequest(Value):
    """What a device asks for, for the person who is to approve it. Only a verified `client_id` says who asks.

    Example:
        >>> api.describe_device_login("WDJB-MJHT").scopes
        ('hubs:read',)
    """

    scopes: tuple[str, ...]
    client_name: str | None
    expires_at: datetime | None
    client_id: str | None = None
    client_verified: bool = False
    device_name: str | None = None

    @classmethod
    def from_dict(cls, payload: Mapping[str, Any]) -> Self:
        """Read what the API tells of it."""
        name, client_id, device = (
            text if isinstance(text := payload.get(key), str) and text else None
            for key in ("client_name", "client_id", "device_name")
        )
        verified = payload.get("client_verified") is True and client_id is not None
        return cls(_texts(payload.get("scopes")), name, _time(payload.get("expires_at")), client_id, verified, device)


@dataclass(frozen=True)
class BootstrapIdentityResult:
    """A new client: its identity, the hub, the API's resource of it, and the operation that admits it.

    Example:
        >>> result = api.create_client_identity("hub-id", name="kiosk-1")
        >>> result.client_id, result.selected_protocol
        ('c0ffee00', 'wss')
    """

    identity: ThalovantIdentity
    hub: dict[str, Any]
    client: dict[str, Any] = field(repr=False)
    endpoint: SelectedHubEndpoint | None
    operation: OperationResource | None = None

    @property
    def selected_protocol(self) -> HubProtocol | None:
        """The protocol of `endpoint`."""
        return self.endpoint.protocol if self.endpoint else None

    @property
    def client_id(self) -> str | None:
        """The id of the client, by which it can be deleted."""
        return client_id if isinstance(client_id := self.client.get("id"), str) else None

    @property
    def connection_type(self) -> str | None:
        """The kind of connection that the API made."""
        return kind_of(self.client)

    def as_dict(self, *, include_secrets: bool = False) -> dict[str, Any]:
        """The whole, ready for JSON; without secrets unless asked for."""
        return {
            "identity": self.identity.as_dict(include_secrets=include_secrets),
            "hub": self.hub,
            "client": self.client if include_secrets else without_secrets(self.client),
            "selected_protocol": self.selected_protocol,
            "selected_endpoint": self.endpoint.endpoint if self.endpoint else None,
            "operation": self.operation.as_dict() if self.operation else None,
        }


def kind_of(client: Mapping[str, Any]) -> str | None:
    """The kind of connection of a client."""
    spec = client.get("spec")
    kind = spec.get("connection_type") if isinstance(spec, Mapping) else None
    return kind if isinstance(kind, str) else None


def without_secrets(value: Any) -> Any:
    """A copy without what names a secret, however deep; references to secrets (`apiKeyRef`) stay."""
    if isinstance(value, Mapping):
        return {key: without_secrets(item) for key, item in value.items() if not _secret(str(key))}
    return [without_secrets(item) for item in value] if isinstance(value, list) else value


def _secret(key: str) -> bool:
    plain = key.lower().replace("_", "")
    return plain == "initialidentify" or (
        names_secret(key) and not plain.endswith(("ref", "refs", "reference", "references"))
    )


def token_of(payload: Mapping[str, Any]) -> str:
    """The token of an answer to a sign-in. Raises `ThalovantAPIError`."""
    if isinstance(token := payload.get("access_token"), str) and token.strip():
        return token
    raise ThalovantAPIError("Thalovant API token response did not include access_token.")


def _browsable(url: object) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url) if isinstance(url, str) and url.isprintable() else None
    except ValueError:
        return False
    return bool(parts and parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc)


def _number(value: object, default: float) -> float:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53
    return float(value) if fits else default  # type: ignore[arg-type]


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
