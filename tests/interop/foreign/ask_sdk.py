"""Asks a hub one thing with a published thalovant SDK, in that SDK's environment, by its public API only.

    ask_sdk.py IDENTITY wss|https|mqtt TEXT CA [SECONDS]

The endpoint is the one that the identity names for the protocol. Prints one JSON line:
{"ok": bool, "replies": [str], "error": str | null}.
"""

import json
import os
import sys
from typing import Any

# Logs and warnings are not the answer.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def main() -> None:
    identity, protocol, text, ca, *rest = sys.argv[1:]
    seconds = float(rest[0]) if rest else 20.0
    # Read by ssl, requests and websocket-client, in this order; before any of them is imported.
    os.environ.update({"SSL_CERT_FILE": ca, "REQUESTS_CA_BUNDLE": ca, "WEBSOCKET_CLIENT_CA_BUNDLE": ca})
    answer: dict[str, Any] = {"ok": False, "replies": [], "error": None}
    try:
        from thalovant import ThalovantClient

        options = {"protocol": protocol, "connect_timeout": seconds, "handshake_timeout": seconds}
        with ThalovantClient.from_identity_file(identity, **options) as client:
            reply = client.ask(text, timeout=seconds)
            answer["replies"] = list(reply.utterances)
            answer["ok"] = reply.failure_event is None
            if reply.failure_event:
                answer["error"] = f"{reply.failure_event.name}: {reply.failure_event.data}"
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(answer), file=answers, flush=True)
    os._exit(0 if answer["ok"] else 1)  # threads that an SDK leaves behind would wait for ever


main()
