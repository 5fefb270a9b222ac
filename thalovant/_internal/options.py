"""Options of clients: defaults, checks, and the constructors that take them. Cheap to import."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Final, Self

from .._version import __version__

if TYPE_CHECKING:
    from ..identity import ThalovantIdentity

DEFAULT_USERAGENT: Final = f"ThalovantPythonSDK/{__version__}"
#: The warning about a client that was neither closed nor left by its `with`.
UNCLOSED: Final = "a Thalovant client was not closed: use it in a `with` block, or call close()"
#: Events that wait for the consumer of `listen`; beyond it the subscription ends with an error.
LISTEN_BUFFER: Final = 256


def seconds(timeout: float) -> float:
    """A timeout that can be counted. Raises `ValueError` for what is no number."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise ValueError(f"a timeout must be a number of seconds, not {timeout!r}")
    return timeout


def check_times(**times: float) -> None:
    """Raises `ValueError` that names the first of these settings that is no positive number."""
    for name, value in times.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


class FromStored:
    """A class whose objects are made of an identity and options."""

    def __init__(self, identity: ThalovantIdentity, **options: Any) -> None:
        raise NotImplementedError

    @classmethod
    def from_identity_file(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """A client for the identity in a JSON file; `options` are the constructor's."""
        from ..identity import ThalovantIdentity

        return cls(ThalovantIdentity.from_file(path), **options)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A client for the identity in `THALOVANT_*` variables; `options` are the constructor's."""
        from ..identity import ThalovantIdentity

        return cls(ThalovantIdentity.from_env(), **options)

    @classmethod
    def from_config(
        cls, path: str | os.PathLike[str] | None = None, *, profile: str | None = None, **options: Any
    ) -> Self:
        """A client for a profile of the config file; `options` are the constructor's."""
        from ..identity import ThalovantIdentity

        return cls(ThalovantIdentity.from_config(path, profile=profile), **options)
