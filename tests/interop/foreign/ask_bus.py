"""Asks a hub one thing with a published hivemind-bus-client, in that client's environment, by its public API only.

    ask_bus.py IDENTITY wss|https TEXT CA [SECONDS]

The endpoint is the one that the identity names for the protocol, so that a copy that names `ws://` or `http://` there
asks without TLS. Prints one JSON line: {"ok": bool, "replies": [str], "error": str | null}.
"""

import json
import os
import sys
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# These clients log to standard output, which is for the answer alone.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def main() -> None:
    identity_file, protocol, text, ca, *rest = sys.argv[1:]
    # Read by ssl, requests and websocket-client, in this order; before any of them is imported.
    os.environ.update({"SSL_CERT_FILE": ca, "REQUESTS_CA_BUNDLE": ca, "WEBSOCKET_CLIENT_CA_BUNDLE": ca})
    answer: dict[str, Any] = {"ok": False, "replies": [], "error": None}
    try:
        ask(json.loads(Path(identity_file).read_text()), protocol, text, float(rest[0]) if rest else 20.0, answer)
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(answer), file=answers, flush=True)
    os._exit(0 if answer["ok"] else 1)  # threads that these clients leave behind would wait for ever


def ask(identity: dict[str, Any], protocol: str, text: str, seconds: float, answer: dict[str, Any]) -> None:
    """Connect, ask, and read until the hub says that the utterance was handled."""
    from hivemind_bus_client.client import HiveMessageBusClient
    from hivemind_bus_client.http_client import HiveMindHTTPClient
    from hivemind_bus_client.message import HiveMessage, HiveMessageType
    from ovos_bus_client.message import Message
    from ovos_bus_client.session import Session

    endpoint = urlsplit(identity["data_plane_endpoints"][protocol])
    make = HiveMessageBusClient if protocol == "wss" else HiveMindHTTPClient
    client = make(
        key=identity["access_key"],
        password=identity["password"] or None,
        crypto_key=identity["crypto_key"],
        host=f"{endpoint.scheme}://{endpoint.hostname}",
        port=endpoint.port,
        useragent="foreign-bus-client",
        self_signed=False,
    )
    ended = threading.Event()

    def on_speak(message: Any) -> None:
        answer["replies"].append(message.data["utterance"])

    def on_handled(message: Any) -> None:
        answer["ok"] = True
        ended.set()

    def on_denied(message: Any) -> None:
        answer["error"] = f"denied: {message.data.get('code')}: {message.data.get('reason')}"
        ended.set()

    def connect() -> None:
        try:
            client.connect(site_id=identity["site_id"])
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
            ended.set()
        connected.set()

    # It waits for a handshake that may never come, so it is not waited for here.
    connected = threading.Event()
    threading.Thread(target=connect, daemon=True).start()
    if not connected.wait(seconds):
        raise TimeoutError(f"not connected within {seconds:g} s")
    if answer["error"]:
        return
    client.on_mycroft("speak", on_speak)
    client.on_mycroft("ovos.utterance.handled", on_handled)
    client.on_mycroft("hive.policy.denied", on_denied)
    # The HTTP client adds none, and a hub may take a message without one for the reserved session "default".
    context = {"session": Session(session_id=str(uuid.uuid4()), site_id=identity["site_id"]).serialize()}
    utterance = Message("recognizer_loop:utterance", {"utterances": [text], "lang": "en-us"}, context)
    client.emit(HiveMessage(HiveMessageType.BUS, utterance))
    if not ended.wait(seconds):
        raise TimeoutError(f"not answered within {seconds:g} s")
    if protocol == "wss":
        client.close()
    else:
        client.disconnect()


main()
