"""The description of the API (OpenAPI 3.1), made from the table of routes and the models."""

from __future__ import annotations

from itertools import count
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

from attrs import NOTHING, fields

from ..._version import __version__
from .models import RULES
from .routing import ROUTES, Call, Route, route

_TYPES: Final = {str: "string", int: "integer", bool: "boolean", dict: "object"}
_PROBLEM: Final = {"schema": {"type": "object", "required": ["type", "title", "status", "detail"]}}
_REFUSED: Final = {"description": "A problem (RFC 9457).", "content": {"application/problem+json": _PROBLEM}}


@route("GET /openapi.json", scope=None)
def describe(call: Call) -> dict[str, Any]:
    """This description."""
    paths: dict[str, dict[str, Any]] = {}
    for one in ROUTES:
        numbers = count(1)
        named = "/".join(f"{{id{next(numbers)}}}" if part == "{}" else part for part in one.parts)
        paths.setdefault(f"/{named}", {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "The control plane of a Thalovant hub on this machine", "version": __version__},
        "servers": [{"url": call.parts.url}],
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(route: Route) -> dict[str, Any]:
    page = route.path in ("/activate", "/authorize")
    content = {"text/html" if page else "application/json": {"schema": {"type": "string" if page else "object"}}}
    answer = {"description": "Done."} | ({"content": content} if route.status != 204 else {})
    found: dict[str, Any] = {
        "summary": (route.handler.__doc__ or "").partition("\n")[0] or f"{route.method} {route.path}",
        "parameters": [
            {"name": f"id{number}", "in": "path", "required": True, "schema": {"type": "string"}}
            for number in range(1, route.parts.count("{}") + 1)
        ],
        "responses": {str(route.status): answer, "default": _REFUSED},
        "security": [] if route.scope is None else [{"token": []}],
    }
    if route.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(route.body)}}}
    return found


def _schema(kind: Any) -> dict[str, Any]:
    """The JSON schema of a model, or of the type of a field."""
    if get_origin(kind) in (Union, UnionType):
        return {"anyOf": [_schema(one) if one is not type(None) else {"type": "null"} for one in get_args(kind)]}
    if get_origin(kind) is list:
        return {"type": "array", "items": _schema(get_args(kind)[0])}
    if (rule := RULES.get(get_origin(kind) or kind)) is not None:
        return {"type": _TYPES[rule[0]]} | ({"pattern": f"^({rule[1]})$"} if rule[0] is str else {})
    needed = [one.name for one in fields(kind) if one.default is NOTHING]
    return {
        "type": "object",
        "required": needed,
        "properties": {one.name: _schema(one.type) for one in fields(kind)},
    }
