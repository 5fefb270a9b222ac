"""What hangs on an object: for tests of secrets that have to go, and of memory that is bounded."""

from __future__ import annotations

import gc
from types import FunctionType, ModuleType


def reachable(root: object) -> list[object]:
    """Every object that can be reached from one, what modules and classes hold aside."""
    found, queue = {id(root): root}, [root]
    while queue:
        each = queue.pop()
        closure = each.__closure__ or () if isinstance(each, FunctionType) else None
        for other in gc.get_referents(each) if closure is None else closure:
            if id(other) not in found and not isinstance(other, type | ModuleType):
                found[id(other)] = other
                queue.append(other)
    return list(found.values())


def retained(root: object) -> int:
    """The bytes of all texts and byte strings among them."""
    return sum(len(each) for each in reachable(root) if isinstance(each, str | bytes | bytearray))
