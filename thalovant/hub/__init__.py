"""A hub to develop and test against, on this machine: `Hub` in a program, `thalovant hub` on the command line."""

from __future__ import annotations

from .errors import HubSetupError
from .hub import Hub
from .settings import Settings
from .skills.registry import Skill, skill
from .skills.speech import NoAnswer, SkillFailure, speech
from .skills.turn import SyncTurn, Turn
from .skills.turn_state import Input

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
