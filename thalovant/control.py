"""`ThalovantControlPlane` and `AsyncThalovantControlPlane`: accounts, hubs, clients and their identities, over REST."""

from __future__ import annotations

import json
import os
import sys
import weakref
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from ._control.account import DEFAULT_CONTROL_API_URL, Account, part
from ._control.clients import delete, identity
from ._control.plane import Runtimes
from ._control.signing_in import approved, begin, poll, revoke, sign_in
from ._control.transports import Blocking, Here, Transport, has_credentials, run
from ._control.waiting import SKILL_POLL, admission, operation as finished
from ._internal.options import DEFAULT_USERAGENT, AsyncOnly, SyncOnly
from ._internal.portal import blocking, iterating, shaped
from .errors import ThalovantAPIError, ThalovantUnsupportedProtocolError
from .protocols import (
    DEFAULT_PROTOCOL_PREFERENCE,
    HubProtocol,
    SelectedHubEndpoint,
)
from .render import visible
from .resources import (
    DEFAULT_DEVICE_POLL_INTERVAL,
    ApiToken,
    BootstrapIdentityResult,
    ClientResource,
    DeviceAuthorization,
    DeviceLoginRequest,
    HubResource,
    HubSkill,
    HubSkillList,
    HubSkillOperation,
    HubSkillOperationState,
    HubSkillState,
    OperationResource,
    OperationStatus,
    Page,
)

__all__ = [
    "CONNECTION_TYPE_HOME_ASSISTANT", "DEFAULT_ADMISSION_TIMEOUT", "DEFAULT_CONTROL_API_URL",
    "DEFAULT_CONTROL_USER_AGENT", "DEFAULT_DEVICE_POLL_INTERVAL", "DEFAULT_HUB_SKILL_POLL_INTERVAL",
    "DEFAULT_HUB_SKILL_WAIT_TIMEOUT", "DEFAULT_OPERATION_POLL_INTERVAL", "HOME_ASSISTANT_CLIENT_ID",
    "HOME_ASSISTANT_SCOPES", "ApiToken", "AsyncThalovantControlPlane", "BootstrapIdentityResult", "ClientResource",
    "DeviceAuthorization", "DeviceLoginRequest", "HubResource", "HubSkill", "HubSkillList", "HubSkillOperation",
    "HubSkillOperationState", "HubSkillState", "OperationResource", "OperationStatus", "Page",
    "ThalovantControlPlane", "endpoint_from_domain", "json_dumps",
]  # fmt: skip

USER_AGENT: Final = DEFAULT_USERAGENT
DEFAULT_CONTROL_USER_AGENT: Final = USER_AGENT
DEFAULT_OPERATION_POLL_INTERVAL: Final = 2.0
DEFAULT_ADMISSION_TIMEOUT: Final = 180.0
DEFAULT_HUB_SKILL_POLL_INTERVAL: Final = SKILL_POLL
DEFAULT_HUB_SKILL_WAIT_TIMEOUT: Final = 120.0
CONNECTION_TYPE_HOME_ASSISTANT: Final = "home_assistant"
HOME_ASSISTANT_CLIENT_ID: Final = "thalovant-home-assistant"
HOME_ASSISTANT_SCOPES: Final = ("hubs:read", "clients:read", "clients:write")

_NO_CREDENTIALS: Final = "MQTT is enabled, but the API did not return client-scoped MQTT broker credentials."


def _forwarded(place: str, name: str) -> Any:
    """An attribute that is one of another object."""

    def read(self: Any) -> Any:
        return getattr(getattr(self, place), name)

    def write(self: Any, value: Any) -> None:
        setattr(getattr(self, place), name, value)

    return property(read, write)


class _Settings:
    """What both planes show of themselves."""

    api_url: str = _forwarded("_account", "api_url")
    access_token: str | None = _forwarded("_account", "access_token")
    token_id: str | None = _forwarded("_account", "token_id")
    timeout: float = _forwarded("_account", "timeout")
    user_agent: str = _forwarded("_account", "user_agent")
    session: Any = _forwarded("_transport", "session")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.api_url.rpartition('@')[2]}>"


class AsyncThalovantControlPlane(_Settings, Runtimes, AsyncOnly):
    """The control plane: accounts, hubs, clients and their identities, on the running asyncio loop.

    `api_url`: THALOVANT_API_URL if nothing is said, else the public API. `access_token`: THALOVANT_API_TOKEN if None,
    else sign in. `timeout`: of each request, in seconds. `session`: an aiohttp or httpx session that is used instead of
    the client of this package, as it is: it is never closed, and nothing is repeated over it. Without one, requests
    that may be repeated are, up to three times. Use it as `async with`, or call `aclose`.

    Every call raises `ThalovantAPIError` or a class below it.

    Example:
        >>> async with AsyncThalovantControlPlane() as api:
        ...     await api.login("you@example.com", "password")
    """

    def __init__(
        self, api_url: str = DEFAULT_CONTROL_API_URL, *, access_token: str | None = None, timeout: float = 10.0,
        user_agent: str = DEFAULT_CONTROL_USER_AGENT, session: Any = None,
    ) -> None:  # fmt: skip
        if not api_url.strip() or api_url == DEFAULT_CONTROL_API_URL:
            api_url = os.environ.get("THALOVANT_API_URL") or DEFAULT_CONTROL_API_URL
        token = access_token or os.environ.get("THALOVANT_API_TOKEN") or None
        self._account = Account(api_url, token, timeout, user_agent, retries=session is None)
        self._account.own_credentials = has_credentials(session)
        self._transport = Transport(session)

    async def aclose(self) -> None:
        """Close the connections to the API. A session of yours stays open."""
        await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- signing in ---

    async def login(
        self, email: str, password: str, *, scope: str | None = None, otp_code: str | None = None,
        recovery_code: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Sign in by password, with a one-time code or a recovery code where the account has two factors.

        Example:
            >>> api.login("you@example.com", "password")["token_type"]
            'bearer'
        """
        optional = {"scope": scope, "otp_code": otp_code, "recovery_code": recovery_code}
        body = {"email": email, "password": password, **{key: value for key, value in optional.items() if value}}
        return await self._run(sign_in(self._account, "v1/auth/token", body))

    async def login_with_browser(
        self, *, scopes: Iterable[str] | None = None, client_name: str | None = None, open_browser: bool = True,
        prompt: Callable[[dict[str, Any]], None] | None = None, timeout: float = 900.0, client_id: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Sign in by a person who approves it in a browser, here or on another device.

        Where to go is printed, or given to `prompt`. Raises `ThalovantTimeoutError` after `timeout` seconds,
        `ThalovantDeviceLoginDenied` or `ThalovantDeviceLoginExpired`.
        """
        grant = await self.begin_device_login(scopes=scopes, client_name=client_name, client_id=client_id)
        if prompt is not None:
            prompt(grant.as_dict())
        else:
            where, code = visible(grant.verification_uri), visible(grant.user_code)
            sys.stdout.write(f"To sign in, visit {where} and enter the code {code}\n")
            sys.stdout.flush()
        if open_browser:
            url = grant.verification_uri_complete or grant.verification_uri
            with suppress(webbrowser.Error, OSError):
                await self._transport.apart(lambda: webbrowser.open(url))
        return await self._run(approved(self._account, grant, timeout, self._transport.now))

    async def begin_device_login(
        self, *, scopes: Iterable[str] | None = None, client_name: str | None = None, client_id: str | None = None
    ) -> DeviceAuthorization:
        """Begin a sign-in that a person approves elsewhere (RFC 8628): show its address and code, then poll."""
        return await self._run(begin(self._account, [*(scopes or ())], client_name, client_id))

    async def poll_device_login(self, authorization: DeviceAuthorization | str) -> ApiToken:
        """Ask once whether a sign-in was approved, and keep its token.

        Raises `ThalovantDeviceLoginPending` with the `interval` to wait, `ThalovantDeviceLoginExpired` or
        `ThalovantDeviceLoginDenied`.
        """
        return ApiToken.from_dict(await self._run(poll(self._account, authorization)))

    async def describe_device_login(self, user_code: str) -> DeviceLoginRequest:
        """What a device asks for, for the person who is to approve it."""
        return DeviceLoginRequest.from_dict(await self._send("GET", f"v1/auth/device/codes/{part(user_code)}"))

    async def complete_native_sign_in(
        self, code: str, verifier: str, client_id: str, redirect_uri: str
    ) -> dict[str, Any]:
        """Turn the code of `NativeSignIn.code_from` into a token, and keep it."""
        body = {"code": code, "code_verifier": verifier, "client_id": client_id, "redirect_uri": redirect_uri}
        return await self._run(sign_in(self._account, "v1/auth/native/token", body))

    async def revoke_api_token(self, token_id: str | None = None) -> None:
        """Give a token back, that of this sign-in if nothing is said. Doing it again changes nothing."""
        await self._run(revoke(self._account, token_id))

    async def get_profile(self) -> dict[str, Any]:
        """The account that is signed in."""
        reply = await self._send("GET", "v1/users/profile")
        return inner if isinstance(inner := reply.get("data"), dict) else reply

    # --- clients and their identities ---

    async def list_clients(
        self, *, hub_id: str | None = None, limit: int = 100, cursor: str | None = None, owner_id: str | None = None,
        include_spec: bool = True,
    ) -> Page:  # fmt: skip
        """One page of clients, of one hub or of all."""
        spec = None if include_spec else "false"
        return await self._page(
            "v1/clients", limit=limit, hub_id=hub_id, cursor=cursor, owner_id=owner_id, include_spec=spec
        )

    def iter_clients(
        self, *, hub_id: str | None = None, limit: int = 100, owner_id: str | None = None, include_spec: bool = True
    ) -> AsyncIterator[ClientResource]:
        """All clients, page by page, `limit` in each."""
        return self._rows(
            ClientResource,
            lambda cursor: self.list_clients(
                hub_id=hub_id, limit=limit, cursor=cursor, owner_id=owner_id, include_spec=include_spec
            ),
        )

    async def get_client(self, client_id: str) -> ClientResource:
        """A client by its id."""
        return ClientResource(await self._send("GET", f"v1/clients/{part(client_id)}"))

    async def create_client(self, payload: Mapping[str, Any], *, idempotency_key: str | None = None) -> ClientResource:
        """Create a client from the API's own fields; `create_client_identity` makes its secrets too."""
        return ClientResource(await self._create("v1/clients", payload, idempotency_key))

    async def create_client_identity(
        self, hub: str | Mapping[str, Any], *, name: str, site_id: str | None = None,
        spec: Mapping[str, Any] | None = None, owner_id: str | None = None, active: bool = True,
        preferred_protocols: Iterable[HubProtocol] = DEFAULT_PROTOCOL_PREFERENCE, idempotency_key: str | None = None,
        connection_type: str | None = None,
    ) -> BootstrapIdentityResult:  # fmt: skip
        """Create a client of a hub with secrets that are made here, and the identity to connect with.

        `hub`: its id, or the hub as another call gave it. `site_id`: the name if None. `connection_type`: a kind of
        connection that the API must know. The hub lets a new client in after a while; its first connection waits for
        that, or wait yourself: `wait_for_admission`.

        Raises `ThalovantPlanError`, `ThalovantAlreadyLinkedError`, `ThalovantUnsupportedConnectionTypeError`.

        Example:
            >>> result = api.create_client_identity("hub-id", name="kiosk-1")
            >>> api.wait_for_admission(result)
            >>> result.identity.save("_identity.json")
        """
        body: dict[str, Any] = {"name": name, "active": active, "spec": dict(spec or {})}
        if owner_id is not None:
            body["owner_id"] = owner_id
        flow = identity(self._account, hub, body, site_id, tuple(preferred_protocols), idempotency_key, connection_type)
        result = await self._run(flow)
        if result.operation is not None:
            object.__setattr__(result.identity, "_admitted", partial(self._admitted, result))
        return result

    async def _admitted(self, result: BootstrapIdentityResult, timeout: float) -> None:
        """For the first connection of a new identity; where the API cannot tell, the hub says itself what it thinks."""
        for session in (self.session, None):
            transport = Transport(session)  # on the loop of that connection
            waiting = admission(self._account, result, timeout, DEFAULT_OPERATION_POLL_INTERVAL, transport.now())
            try:
                with suppress(ThalovantAPIError):
                    await run(waiting, transport, self._account)
                break
            except RuntimeError:  # libraries raise it for a session that was closed meanwhile, or is another loop's
                if session is None:
                    raise
            finally:
                await transport.aclose()
        object.__setattr__(result.identity, "_admitted", None)

    async def delete_client(self, client_id: str, *, etag: str | None = None) -> None:
        """Delete a client, whoever changed it meanwhile; one that is not there is deleted already."""
        await self._run(delete(self._account, client_id, etag))

    def require_runtime_protocol(
        self, result: BootstrapIdentityResult, *, protocol: HubProtocol | None = None
    ) -> SelectedHubEndpoint:
        """The endpoint of a new identity for a protocol, the selected one if None.

        Raises `ThalovantUnsupportedProtocolError` where there is none.
        """
        wanted = protocol or result.selected_protocol or "wss"
        if wanted not in DEFAULT_PROTOCOL_PREFERENCE:
            raise ThalovantUnsupportedProtocolError(f"Unsupported protocol: {wanted}")
        new = result.identity
        if wanted == "mqtt" and new.protocols.mqtt and new.mqtt is None:
            raise ThalovantUnsupportedProtocolError(_NO_CREDENTIALS)
        endpoint = new.endpoint_for(wanted) if new.supports_protocol(wanted) else None
        if endpoint is None:
            what = f"This hub does not expose a {wanted.upper()} endpoint for the SDK runtime."
            raise ThalovantUnsupportedProtocolError(what)
        return SelectedHubEndpoint(wanted, endpoint)

    # --- operations ---

    async def get_operation(self, operation_id: str) -> OperationResource:
        """How far an operation is."""
        return OperationResource.from_dict(await self._send("GET", f"v1/operations/{part(operation_id)}"))

    async def wait_for_operation(
        self, operation: OperationResource | Mapping[str, Any] | str, *, timeout: float = 120.0,
        poll_interval: float = DEFAULT_OPERATION_POLL_INTERVAL,
    ) -> OperationResource:  # fmt: skip
        """Wait until an operation is ready. Raises `ThalovantTimeoutError`; `ThalovantAPIError` if it failed."""
        return await self._run(finished(self._account, operation, timeout, poll_interval, self._transport.now()))

    async def wait_for_admission(
        self, connection: BootstrapIdentityResult | OperationResource | Mapping[str, Any] | str | None, *,
        timeout: float = DEFAULT_ADMISSION_TIMEOUT, poll_interval: float = DEFAULT_OPERATION_POLL_INTERVAL,
    ) -> None:  # fmt: skip
        """Wait until the hub lets a new client in: its result, its operation, or the operation's id or link.

        Raises `ThalovantAdmissionTimeoutError`, `ThalovantAdmissionFailedError`.
        """
        await self._run(admission(self._account, connection, timeout, poll_interval, self._transport.now()))


_Plane = AsyncThalovantControlPlane


class ThalovantControlPlane(_Settings, SyncOnly):
    """The control plane: accounts, hubs, clients and their identities, from any thread.

    `session`: an object like a `requests.Session` or `httpx.Client` that is used instead of the client of this package.
    All else is as with `AsyncThalovantControlPlane`. Use it as `with`, or call `close`.

    Example:
        >>> with ThalovantControlPlane() as api:
        ...     api.login("you@example.com", "password")
    """

    @shaped(_Plane.__init__)
    def __init__(self, *args: Any, **options: Any) -> None:
        self._original = _Plane(*args, **options)
        self._portal = Here("thalovant-control-plane")
        self._account = self._original._account
        self._transport = self._original._transport = Blocking(self._original.session, self._portal)
        # The thread goes with the last reference.
        weakref.finalize(self, self._portal.drop, self._transport.aclose)

    def _here(self) -> Here:
        return self._portal

    def close(self) -> None:
        """Close the connections to the API. A session of yours stays open."""
        self._portal.end(self._transport.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    login: Final = blocking(_Plane.login)
    login_with_browser: Final = blocking(_Plane.login_with_browser)
    begin_device_login: Final = blocking(_Plane.begin_device_login)
    poll_device_login: Final = blocking(_Plane.poll_device_login)
    describe_device_login: Final = blocking(_Plane.describe_device_login)
    complete_native_sign_in: Final = blocking(_Plane.complete_native_sign_in)
    revoke_api_token: Final = blocking(_Plane.revoke_api_token)
    get_profile: Final = blocking(_Plane.get_profile)
    list_clients: Final = blocking(_Plane.list_clients)
    iter_clients: Final = iterating(_Plane.iter_clients)
    get_client: Final = blocking(_Plane.get_client)
    create_client: Final = blocking(_Plane.create_client)
    create_client_identity: Final = blocking(_Plane.create_client_identity)
    delete_client: Final = blocking(_Plane.delete_client)
    require_runtime_protocol: Final = _Plane.require_runtime_protocol
    get_operation: Final = blocking(_Plane.get_operation)
    wait_for_operation: Final = blocking(_Plane.wait_for_operation)
    wait_for_admission: Final = blocking(_Plane.wait_for_admission)
    list_public_hubs: Final = blocking(_Plane.list_public_hubs)
    iter_public_hubs: Final = iterating(_Plane.iter_public_hubs)
    get_public_hub: Final = blocking(_Plane.get_public_hub)
    list_hubs: Final = blocking(_Plane.list_hubs)
    iter_hubs: Final = iterating(_Plane.iter_hubs)
    get_hub: Final = blocking(_Plane.get_hub)
    create_hub: Final = blocking(_Plane.create_hub)
    update_hub: Final = blocking(_Plane.update_hub)
    delete_hub: Final = blocking(_Plane.delete_hub)
    release_hub: Final = blocking(_Plane.release_hub)
    set_hub_rating: Final = blocking(_Plane.set_hub_rating)
    clear_hub_rating: Final = blocking(_Plane.clear_hub_rating)
    get_hub_runtime_capabilities: Final = blocking(_Plane.get_hub_runtime_capabilities)
    list_hub_skills: Final = blocking(_Plane.list_hub_skills)
    install_hub_skill: Final = blocking(_Plane.install_hub_skill)
    update_hub_skill: Final = blocking(_Plane.update_hub_skill)
    remove_hub_skill: Final = blocking(_Plane.remove_hub_skill)
    list_hub_skill_history: Final = blocking(_Plane.list_hub_skill_history)
    list_runtime_groups: Final = blocking(_Plane.list_runtime_groups)
    get_runtime_group: Final = blocking(_Plane.get_runtime_group)
    create_runtime_group: Final = blocking(_Plane.create_runtime_group)
    update_runtime_group: Final = blocking(_Plane.update_runtime_group)
    delete_runtime_group: Final = blocking(_Plane.delete_runtime_group)
    get_runtime_group_config: Final = blocking(_Plane.get_runtime_group_config)
    update_runtime_group_config: Final = blocking(_Plane.update_runtime_group_config)
    release_runtime_group: Final = blocking(_Plane.release_runtime_group)
    install_runtime_group_skill: Final = blocking(_Plane.install_runtime_group_skill)
    uninstall_runtime_group_skill: Final = blocking(_Plane.uninstall_runtime_group_skill)
    list_runtime_group_marketplace: Final = blocking(_Plane.list_runtime_group_marketplace)
    list_runtime_group_inventory: Final = blocking(_Plane.list_runtime_group_inventory)
    list_marketplace_skills: Final = blocking(_Plane.list_marketplace_skills)
    list_memory_items: Final = blocking(_Plane.list_memory_items)
    get_memory_item: Final = blocking(_Plane.get_memory_item)
    create_memory_item: Final = blocking(_Plane.create_memory_item)
    update_memory_item: Final = blocking(_Plane.update_memory_item)
    delete_memory_item: Final = blocking(_Plane.delete_memory_item)
    get_memory_summary: Final = blocking(_Plane.get_memory_summary)
    get_analytics_overview: Final = blocking(_Plane.get_analytics_overview)


def endpoint_from_domain(domain: str, protocol: HubProtocol) -> str:
    """The endpoint of a hub at a domain, "" for MQTT, which has another.

    Example:
        >>> endpoint_from_domain("jokes.thalovant.io", "wss")
        'wss://jokes.thalovant.io'
    """
    host = domain.strip().partition("://")[2] or domain.strip()
    return f"{protocol}://{host.rstrip('/')}" if host and protocol != "mqtt" else ""


def __getattr__(name: str) -> Any:
    """The names that older releases had here too live in the package."""
    import thalovant

    return getattr(thalovant, name)


def json_dumps(value: Any) -> str:
    """JSON text, as `json.dumps` writes it."""
    return json.dumps(value)
