"""The parts of pages that follow from the code, made when the site is built: a hook of mkdocs.

A page has a line such as `<!-- generated: errors -->` where the part belongs. Nothing is stored, so nothing is stale.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

import thalovant
from thalovant import cli, errors
from thalovant._internal.error_mapping import link_error
from thalovant_proto.failures import Failure, FailureKind

ROOT: Final = Path(__file__).parent.parent
_TWINS: Final = ("ThalovantClient", "ThalovantConversation")
_QUOTED: Final = re.compile(r"(?<=: )(['\"])(.*?)\1(?= =|,?$)", re.MULTILINE)
#: Names of calls whose time is up, without a cause; with one, the error is the cause's.
_OUT_OF_TIME: Final = {
    "connect_timeout": "ThalovantConnectionError",
    "send_timeout": "ThalovantTimeoutError",
}
_MARK: Final = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs for each page."""
    return _MARK.sub(lambda mark: PARTS[mark[1]](), markdown)


def error_classes() -> list[type[errors.ThalovantError]]:
    """Every error class, in the order in which they are defined."""
    found = (value for value in vars(errors).values() if isinstance(value, type))
    return [value for value in found if issubclass(value, errors.ThalovantError)]


def error_names() -> dict[str, str]:
    """Every `name` that an error can have, and the class that has it first, as the source says it."""
    found = {kind.name: kind.__name__ for kind in error_classes()} | _OUT_OF_TIME
    links = [link_error(Failure(kind=kind, message="")) for kind in FailureKind]
    found |= {error.name: type(error).__name__ for error in links}
    for path in sorted((ROOT / "thalovant").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            made = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
            if made.startswith("Thalovant") and made.endswith("Error"):
                names = (word.value for word in call.keywords if word.arg == "name")
                found |= {
                    name.value: found.get(name.value, made)
                    for name in names
                    if isinstance(name, ast.Constant) and name.value is not None
                }
    return dict(sorted(found.items()))


def _errors() -> str:
    return "\n\n".join(_error(kind) for kind in error_classes())


def _error(kind: type[errors.ThalovantError]) -> str:
    bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
    again = "yes" if kind.retryable else "no"
    hint = errors._HINTS.get(kind.name, "")
    next_step = f"\n\nNext step: {hint}" if hint else ""
    return (
        f"### {kind.__name__}\n\n`name`: `{kind.name}` · is a {bases} · retryable: {again}\n\n"
        f"{inspect.getdoc(kind)}{next_step}"
    )


def _error_names() -> str:
    rows = (
        f"| `{name}` | [{kind}](#{kind.lower()}) | {errors._HINTS.get(name, '')} |"
        for name, kind in error_names().items()
    )
    return "\n".join(("| `name` | of | next step, unless the error knows a better one |", "|---|---|---|", *rows))


def commands(group: click.Command = cli.cli, path: str = "thalovant") -> Iterator[tuple[str, click.Context]]:
    """Every command with its path, the group first."""
    context = click.Context(group, info_name=path, terminal_width=86)
    yield path, context
    if isinstance(group, click.Group):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not command.hidden:
                yield from commands(command, f"{path} {name}")


def _commands() -> str:
    parts = (f"### `{path}`\n\n```text\n{context.get_help()}\n```" for path, context in commands())
    return "\n\n".join(parts)


def _reference() -> str:
    """Every public name of `thalovant`, by the module that it comes from."""
    parts: list[str] = []
    for module, names in thalovant._NAMES.items():
        about = (inspect.getdoc(importlib.import_module(f"thalovant.{module}")) or "").partition("\n")[0]
        parts += [f"## `thalovant.{module}`", about]
        parts += [_twin(name) if name in _TWINS else f"::: thalovant.{module}.{name}" for name in names.split()]
    return "\n\n".join(parts)


def _twin(name: str) -> str:
    """A synchronous class: its methods are made of those of the asynchronous one, which only the class itself shows."""
    kind = getattr(thalovant, name)
    parts = [f"### {name}", _signature(name, kind), inspect.getdoc(kind) or ""]
    for own, value in ((own, getattr(kind, own)) for own in sorted(dir(kind)) if not own.startswith("_")):
        parts.append(f"#### {own} {{ #thalovant.{name}.{own} }}")
        if callable(value):
            parts.append(_signature(own, value))
        parts.append(inspect.getdoc(value) or "")
    return "\n\n".join(parts)


def _signature(name: str, value: Callable[..., object]) -> str:
    shown = inspect.signature(value)
    parts = [str(one) for one in shown.parameters.values() if one.name != "self"]
    kinds = [one.kind for one in shown.parameters.values() if one.name != "self"]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        parts.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    result = re.sub(r"AsyncGenerator\[(\w+), None\]", r"Iterator[\1]", str(shown.return_annotation))
    result = result.replace("AsyncThalovant", "Thalovant")
    inside = ", ".join(parts)
    if len(name + inside + result) > 86:
        inside = "".join(f"\n    {part}," for part in parts) + "\n"
    # Annotations are texts in these modules, shown without their quotes.
    inside = _QUOTED.sub(r"\2", inside)
    return f"```python\n{name}({inside}) -> {result}\n```"


def _proto() -> str:
    """Every public name of `thalovant_proto`, by the module that it comes from."""
    import thalovant_proto

    homes: dict[str, list[str]] = {}
    for name in thalovant_proto.__all__:
        home = getattr(getattr(thalovant_proto, name), "__module__", "")
        homes.setdefault(home if home.startswith("thalovant_proto.") else "", []).append(name)
    parts: list[str] = []
    for module in sorted(filter(None, homes)):
        parts += [f"## `{module}`", *(f"::: {module}.{name}" for name in homes[module])]
    return "\n\n".join(parts)


PARTS: Final = {
    "errors": _errors,
    "error_names": _error_names,
    "commands": _commands,
    "reference": _reference,
    "proto": _proto,
}
