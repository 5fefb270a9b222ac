"""What the API takes: a model for each kind of body, structured strictly, each fault named by its path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NewType, TypeVar, get_origin

import cattrs
from attrs import field, frozen
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn

from .http import invalid

ModelT = TypeVar("ModelT")

SCOPES: Final = (
    "hubs:read", "hubs:write", "clients:read", "clients:write", "memory:read", "memory:write", "analytics:read",
)  # fmt: skip
#: The kinds of connection that a client may be made for.
CONNECTION_TYPES: Final = ("home_assistant", "voice_satellite", "web_chat", "developer", "embedded")

Text = NewType("Text", str)
Long = NewType("Long", str)
Key = NewType("Key", str)
Slug = NewType("Slug", str)
Verifier = NewType("Verifier", str)
Scope = NewType("Scope", str)
ConnectionType = NewType("ConnectionType", str)
Stars = NewType("Stars", int)
#: What values of each type look like, in a spelling that JSON schemas know, and how that is told.
RULES: Final[dict[Any, tuple[type, str, str]]] = {
    str: (str, r"[\s\S]*", "must be text"),
    bool: (bool, r"True|False", "must be true or false"),
    dict: (dict, r"[\s\S]*", "must be an object"),
    Text: (str, r"(?=.*\S)[^\x00-\x1f\x7f-\x9f]{1,200}", "must be printable text of at most 200 characters"),
    Long: (str, r"[^\x00]{1,4000}", "must be text of 1 to 4000 characters"),
    Key: (str, r"[!-~]{16,256}", "must be 16 to 256 plain characters"),
    Slug: (str, r"(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*", "must be lower-case letters, digits and single hyphens"),
    Verifier: (str, r"[A-Za-z0-9._~-]{43,128}", "must be 43 to 128 unreserved characters"),
    Scope: (str, "|".join(SCOPES), f"must be one of {', '.join(SCOPES)}"),
    ConnectionType: (str, "|".join(CONNECTION_TYPES), f"must be one of {', '.join(CONNECTION_TYPES)}"),
    Stars: (int, "[1-5]", "must be a whole number from 1 to 5"),
}  # fmt: skip


@frozen(kw_only=True)
class Login:
    email: Text
    password: Long
    scope: Text | None = None
    otp_code: Text | None = None
    recovery_code: Text | None = None


@frozen(kw_only=True)
class DeviceRequest:
    scopes: list[Scope] = field(factory=list)
    client_name: Text | None = None
    client_id: Text | None = None


@frozen(kw_only=True)
class DeviceCode:
    device_code: Text


@frozen(kw_only=True)
class NativeCode:
    code: Text
    code_verifier: Verifier
    client_id: Text
    redirect_uri: Long


@frozen(kw_only=True)
class ClientSpec:
    version: Text = Text("1")
    apiKey: Key | None = None
    password: Key | None = None
    cryptoKey: Key | None = None
    siteId: Text | None = None
    connection_type: ConnectionType | None = None


@frozen(kw_only=True)
class Client:
    hub_id: Text
    name: Text
    active: bool = True
    owner_id: Text | None = None
    spec: ClientSpec = ClientSpec()


@frozen(kw_only=True)
class HubSpec:
    version: Text


@frozen(kw_only=True)
class HubChange:
    name: Text | None = None
    spec: HubSpec | None = None
    title: Text | None = None
    description: Long | None = None
    public: bool = False
    active: bool = True


@frozen(kw_only=True)
class Hub(HubChange):
    name: Text
    spec: HubSpec
    slug: Slug | None = None


@frozen(kw_only=True)
class Release:
    channel: Text | None = None
    mode: Text | None = None
    version: Text | None = None
    images: dict[str, Any] | None = None
    reason: Long | None = None


@frozen(kw_only=True)
class Rating:
    rating: Stars


@frozen(kw_only=True)
class GroupChange:
    name: Text | None = None
    description: Long | None = None
    spec: dict[str, Any] | None = None


@frozen(kw_only=True)
class Group(GroupChange):
    name: Text


@frozen(kw_only=True)
class GroupConfig:
    config: dict[str, Any]
    personas: dict[str, Any] | None = None
    expected_revision: Text | None = None


@frozen(kw_only=True)
class SkillVersion:
    version: Text = Text("latest")


@frozen(kw_only=True)
class HubSkill(SkillVersion):
    skill: Text


@frozen(kw_only=True)
class GroupSkill:
    skill_id: Text
    marketplace_skill_id: Text | None = None
    source_type: Text = Text("catalog")
    source_ref: Long | None = None
    version_pin: Text | None = None
    active: bool = True


@frozen(kw_only=True)
class MemoryChange:
    scope: Text | None = None
    kind: Text | None = None
    hub_id: Text | None = None
    expires_at: Text | None = None


@frozen(kw_only=True)
class Memory(MemoryChange):
    scope: Text
    kind: Text


class _Wrong(TypeError):
    """A value that is not as it must be; its text does not hold the value."""


def structure(model: type[ModelT], body: dict[str, Any]) -> ModelT:
    """The body as a model; what the model does not know is left out. Raises `Problem`, with every fault."""
    try:
        return _converter.structure(body, model)
    except cattrs.BaseValidationError as error:
        found = cattrs.transform_error(error, path="body", format_exception=_reason)
    pairs = (line.rpartition(" @ ") for line in found)
    raise invalid(*((where.replace("[", ".").replace("]", "").split("."), reason) for reason, _, where in pairs))


def _reason(error: BaseException, kind: type | None) -> str:
    return str(error) if isinstance(error, _Wrong) else "is missing" if isinstance(error, KeyError) else "is not valid"


def _strictly(wanted: type, reason: str, inner: Callable[[Any, Any], Any], pattern: str = "") -> Callable[..., Any]:
    fits = re.compile(pattern).fullmatch

    def read(value: Any, kind: Any) -> Any:
        if type(value) is not wanted or (pattern and not fits(str(value))):
            raise _Wrong(reason)
        return inner(value, kind)

    return read


_converter: Final = cattrs.Converter()
for _kind, (_type, _pattern, _text) in RULES.items():
    _converter.register_structure_hook(_kind, _strictly(_type, _text, lambda value, kind: value, _pattern))


def _strict_factory(has: Callable[[Any], bool], wanted: type, reason: str, make: Callable[..., Any]) -> None:
    _converter.register_structure_hook_factory(has, lambda kind: _strictly(wanted, reason, make(kind, _converter)))


_strict_factory(lambda kind: get_origin(kind) is list, list, "must be a list", list_structure_factory)
_strict_factory(lambda kind: get_origin(kind) is dict, dict, RULES[dict][2], lambda kind, _: lambda value, _: value)
_strict_factory(lambda kind: hasattr(kind, "__attrs_attrs__"), dict, RULES[dict][2], make_dict_structure_fn)
