"""Signs in to a control plane with a published thalovant SDK, makes an identity and asks with it; its public API only.

    provision_sdk.py URL wss|https|mqtt TEXT CA SECONDS

Prints one JSON line, as `ask_sdk.py` does. What an SDK of its age has not is left out.
"""

import json
import os
import sys
from typing import Any

# Logs and warnings are not the answer.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def main() -> None:
    url, protocol, text, ca, seconds = sys.argv[1:]
    # Read by ssl, requests and websocket-client, in this order; before any of them is imported.
    os.environ.update({"SSL_CERT_FILE": ca, "REQUESTS_CA_BUNDLE": ca, "WEBSOCKET_CLIENT_CA_BUNDLE": ca})
    answer: dict[str, Any] = {"ok": False, "replies": [], "error": None}
    try:
        from thalovant import ThalovantClient, ThalovantControlPlane

        api = ThalovantControlPlane(url)
        if hasattr(api, "list_public_hubs"):
            assert [hub["slug"] for hub in api.list_public_hubs()["data"]] == ["joke-garden"]
            assert api.get_public_hub("joke-garden")["title"] == "Joke Garden"
        api.login("you@example.com", "password")
        result = api.create_client_identity("hub-id", name="old kiosk")
        operation = getattr(result, "operation", None)
        if hasattr(api, "wait_for_admission"):
            api.wait_for_admission(result, timeout=float(seconds), poll_interval=0.2)
        elif operation is not None:
            api.wait_for_operation(operation, timeout=float(seconds), poll_interval=0.2)
        options = {"protocol": protocol, "connect_timeout": float(seconds), "handshake_timeout": float(seconds)}
        with ThalovantClient(result.identity, **options) as client:
            answer["replies"] = list(client.ask(text, timeout=float(seconds)).utterances)
        if hasattr(api, "list_clients"):
            manage(api, result.client_id)
        answer["ok"] = True
    except Exception as error:
        answer["error"] = f"{type(error).__name__}: {error}"
    print(json.dumps(answer), file=answers, flush=True)
    os._exit(0 if answer["ok"] else 1)  # threads that an SDK leaves behind would wait for ever


def manage(api: Any, client_id: str) -> None:
    """What the newest SDK does beside that, as far as it checks the answers."""
    assert [client["name"] for client in api.list_clients()["data"]] == ["old kiosk"]
    api.delete_client(client_id)
    assert api.get_profile()["email"] == "you@example.com"
    hub = api.create_hub({"name": "Mine", "spec": {"version": "1"}})
    assert api.install_hub_skill(hub["id"], "weather", wait=True).state == "installed"
    assert [skill.state for skill in api.list_hub_skills(hub["id"]).data] == ["installed"]
    assert api.remove_hub_skill(hub["id"], "weather", wait=True).state == "removed"
    hub = api.update_hub(hub["id"], {"title": "Ours"}, etag=hub["etag"])
    api.delete_hub(hub["id"], etag=hub["etag"])
    group = api.create_runtime_group({"name": "Mine"})["id"]
    api.update_runtime_group_config(group, {"a": {"b": 1}})
    assert api.update_runtime_group_config(group, {"a": {"c": 2}})["config"] == {"a": {"b": 1, "c": 2}}
    api.install_runtime_group_skill(group, "weather")
    api.uninstall_runtime_group_skill(group, "weather")
    api.delete_runtime_group(group)
    item = api.create_memory_item({"scope": "user", "kind": "fact", "hubId": "hub-id"})
    assert [one["hub_id"] for one in api.list_memory_items(scope="user")["data"]] == ["hub-id"]
    api.delete_memory_item(item["id"])
    assert api.get_analytics_overview(range="7d")["totals"]["clients"] == 0
    api.set_hub_rating("hub-id", 5)
    made = api.create_client_identity("hub-id", name="Home", connection_type="home_assistant")
    assert made.connection_type == "home_assistant"
    grant = api.begin_device_login(scopes=["hubs:read"], client_name="x")
    assert api.describe_device_login(grant.user_code).client_name == "x"
    for call, expected in (
        (lambda: api.create_client_identity("hub-id", name="Home", connection_type="home_assistant"),
         "ThalovantAlreadyLinkedError"),
        (lambda: api.create_client_identity("hub-id", name="x", connection_type="none"),
         "ThalovantUnsupportedConnectionTypeError"),
        (lambda: api.poll_device_login(grant), "ThalovantDeviceLoginPending"),
        (lambda: api.login("you@example.com", "wrong"), "ThalovantAuthError"),
    ):  # fmt: skip
        try:
            raise AssertionError(f"{expected} was not raised: {call()}")
        except Exception as error:
            if type(error).__name__ != expected:
                raise


main()
