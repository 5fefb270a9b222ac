"""The control plane of a hub on this machine: the REST API of the SDK's control plane, over the hub's own storage.

Slow to import: import it where it is used.
"""

from __future__ import annotations

from .plane import LocalControlPlane

__all__ = ["LocalControlPlane"]
