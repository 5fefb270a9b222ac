"""The error of a hub that cannot start."""

from __future__ import annotations

from typing import Any

from ..errors import ThalovantError


class HubSetupError(ThalovantError):
    """The hub cannot start as it was told to. `setting` is the parameter of `Hub` to change ("state", "wss_port")."""

    name: str = "hub_setup"

    def __init__(self, message: str = "", *, setting: str = "", **details: Any) -> None:
        self.setting = setting
        super().__init__(message, **details)
