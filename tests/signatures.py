"""Types that the signatures of public names speak of, as they are written there."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, TypeVar

OURS = ("thalovant_proto", "thalovant_io", "thalovant")
SHOWN = ("__init__", "__call__", "__iter__", "__aiter__", "__next__", "__anext__", "__enter__", "__aenter__")


def hidden(
    public: Iterable[object], importable: Iterable[object] | None = None, *, made: Iterable[type] = ()
) -> dict[str, str]:
    """Types of ours, aliases included, that signatures of `public` name and that are not `importable`, and where.

    `importable` is `public` itself if nothing is said. The constructors of classes in `made` do not count.
    """
    public = list(public)
    shown = public if importable is None else list(importable)
    apart = {f"{cls.__qualname__}.__init__" for cls in made}
    return {
        name: where
        for thing in public
        for where, annotation, module in annotations(thing)
        if where not in apart
        for name, named in names(annotation, module)
        if ours(named) and not any(named is one for one in shown)
    }


def annotations(thing: object) -> Iterator[tuple[str, object, str]]:
    """Of a function, or of the fields, methods and properties that a class shows: where, the annotation, its module."""
    if isinstance(thing, FunctionType):
        for annotation in thing.__annotations__.values():
            yield thing.__qualname__, annotation, thing.__module__
    if not isinstance(thing, type):
        return
    for cls in thing.__mro__:
        if not cls.__module__.startswith(OURS):
            continue
        for name, annotation in (*vars(cls).get("__annotations__", {}).items(), *attributes(cls)):
            if not name.startswith("_"):
                yield f"{cls.__qualname__}.{name}", annotation, cls.__module__
        for name, member in vars(cls).items():
            if isinstance(member, type) and member.__qualname__ != f"{cls.__qualname__}.{name}":
                continue  # it is only named here
            if not name.startswith("_") or (name in SHOWN and not hasattr(cls, "__attrs_attrs__")):
                member = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                yield from annotations(inspect.unwrap(member))


def attributes(cls: type) -> Iterator[tuple[str, str]]:
    """Attributes that methods of a class annotate."""
    for node in ast.walk(classes(cls.__module__)[cls.__qualname__]):
        match node:
            case ast.AnnAssign(target=ast.Attribute(value=ast.Name(id="self"), attr=name), annotation=annotation):
                yield name, ast.unparse(annotation)


@cache
def classes(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def names(annotation: object, module: str) -> Iterator[tuple[str, object]]:
    """The names in an annotation, and what they mean in its module."""
    if not isinstance(annotation, str):
        return
    for node in ast.walk(ast.parse(annotation, mode="eval")):
        if isinstance(node, ast.Name | ast.Attribute):
            yield ast.unparse(node), eval(ast.unparse(node), scope(module))


@cache
def scope(name: str) -> dict[str, Any]:
    """What is known in a module, with what only type checkers import there."""
    module = sys.modules[name]
    known = dict(vars(module))
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec(compile(ast.Module(node.body, []), name, "exec"), known)
    return known


def ours(named: object) -> bool:
    """Whether it is a class of ours, or an alias, which has no module of its own."""
    if isinstance(named, type):
        return named.__module__.startswith(OURS)
    return not isinstance(named, ModuleType | TypeVar) and not any(named is form for form in vars(typing).values())
