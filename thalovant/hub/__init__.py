"""A hub to develop and test against, on this machine: `Hub` in a program, `thalovant hub` on the command line."""

from __future__ import annotations

from .errors import HubSetupError
from .hub import Hub
from .settings import Settings
from .skills.registry import NoAnswer, Skill, SkillFailure, skill, speech
from .skills.turn import Input, SyncTurn, Turn

__all__ = [
    "Hub",
    "HubSetupError",
    "Input",
    "NoAnswer",
    "Settings",
    "Skill",
    "SkillFailure",
    "SyncTurn",
    "Turn",
    "skill",
    "speech",
]
