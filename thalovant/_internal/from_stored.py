"""Constructors that both clients share: from an identity file, from the environment, from a profile."""

from __future__ import annotations

import os
from typing import Any, Self

from ..identity import ThalovantIdentity


class FromStored:
    """A class whose objects are made of an identity and options."""

    def __init__(self, identity: ThalovantIdentity, **options: Any) -> None:
        raise NotImplementedError

    @classmethod
    def from_identity_file(cls, path: str | os.PathLike[str], **options: Any) -> Self:
        """A client for the identity in a JSON file; `options` are the constructor's."""
        return cls(ThalovantIdentity.from_file(path), **options)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """A client for the identity in `THALOVANT_*` variables; `options` are the constructor's."""
        return cls(ThalovantIdentity.from_env(), **options)

    @classmethod
    def from_config(
        cls, path: str | os.PathLike[str] | None = None, *, profile: str | None = None, **options: Any
    ) -> Self:
        """A client for a profile of the config file; `options` are the constructor's."""
        return cls(ThalovantIdentity.from_config(path, profile=profile), **options)
