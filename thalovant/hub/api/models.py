"""What the API takes: a model for each kind of body, structured strictly, each fault named by its path."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NewType, get_args, get_origin

import cattrs
from attrs import NOTHING, Factory, field, make_class
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn

from .http import invalid

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


def _model(**types: Any) -> type[Any]:
    """A frozen class of fields: required ones, those that may be None, and those with a default beside their type."""
    made = {
        name: field(type=kind[0], default=kind[1])
        if isinstance(kind, tuple)
        else field(type=kind, default=None if type(None) in get_args(kind) else NOTHING)
        for name, kind in types.items()
    }
    return make_class("Model", made, frozen=True, kw_only=True)


_SOME: Final = Text | None
_LONG: Final = Long | None
_OBJECT: Final = dict[str, Any] | None

LOGIN: Final = _model(email=Text, password=Long, scope=_SOME, otp_code=_SOME, recovery_code=_SOME)
DEVICE_REQUEST: Final = _model(scopes=(list[Scope], Factory(list)), client_name=_SOME, client_id=_SOME)
DEVICE_CODE: Final = _model(device_code=Text)
NATIVE_CODE: Final = _model(code=Text, code_verifier=Verifier, client_id=Text, redirect_uri=Long)
CLIENT_SPEC: Final = _model(
    version=(Text, "1"), apiKey=Key | None, password=Key | None, cryptoKey=Key | None, siteId=_SOME,
    connection_type=ConnectionType | None,
)  # fmt: skip
CLIENT: Final = _model(
    hub_id=Text, name=Text, active=(bool, True), owner_id=_SOME, spec=(CLIENT_SPEC, CLIENT_SPEC())
)  # fmt: skip
_HUB: Final = {"title": _SOME, "description": _LONG, "public": (bool, False), "active": (bool, True)}
_SPEC: Final = _model(version=Text)
HUB: Final = _model(name=Text, spec=_SPEC, slug=Slug | None, **_HUB)
HUB_CHANGE: Final = _model(name=_SOME, spec=_SPEC | None, **_HUB)
RELEASE: Final = _model(channel=_SOME, mode=_SOME, version=_SOME, images=_OBJECT, reason=_LONG)
RATING: Final = _model(rating=Stars)
GROUP: Final = _model(name=Text, description=_LONG, spec=_OBJECT)
GROUP_CHANGE: Final = _model(name=_SOME, description=_LONG, spec=_OBJECT)
GROUP_CONFIG: Final = _model(config=dict[str, Any], personas=_OBJECT, expected_revision=_SOME)
SKILL_VERSION: Final = _model(version=(Text, "latest"))
HUB_SKILL: Final = _model(skill=Text, version=(Text, "latest"))
GROUP_SKILL: Final = _model(
    skill_id=Text, marketplace_skill_id=_SOME, source_type=(Text, "catalog"), source_ref=_LONG, version_pin=_SOME,
    active=(bool, True),
)  # fmt: skip
MEMORY: Final = _model(scope=Text, kind=Text, hub_id=_SOME, expires_at=_SOME)
MEMORY_CHANGE: Final = _model(scope=_SOME, kind=_SOME, hub_id=_SOME, expires_at=_SOME)


class _Wrong(TypeError):
    """A value that is not as it must be; its text does not hold the value."""


def structure(model: type[Any], body: dict[str, Any]) -> Any:
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
