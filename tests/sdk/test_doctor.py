"""The doctor: a report on every check, whatever is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from thalovant import AsyncThalovantClient, ThalovantClient, ThalovantIdentity, cli

from .lab import Lab, free_port

NAMES = ["identity", "endpoint", "connect", "transport"]


def _moved(identity: ThalovantIdentity, url: str) -> ThalovantIdentity:
    return replace(identity, data_plane_endpoints=replace(identity.data_plane_endpoints, wss=url))


def test_all_is_well(each: Lab) -> None:
    """Four checks, in order; the connection is timed, and stays."""
    with each.client(protocol="wss") as client:
        report = client.doctor()
        assert client.connection_info().phase == "ready"

    assert report.ok
    assert [check.name for check in report.checks] == NAMES
    details = [check.detail for check in report.checks]
    endpoint = each.identity().endpoint_for("wss")
    assert details == ["site_id=shared", endpoint, "connected and handshake completed", "WSS is alive"]
    assert report.checks[2].duration_ms > 0
    assert str(report).startswith("Thalovant doctor: ok\n- identity: ok - site_id=shared\n")


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("access key", {"access_key": "AK-no"}, "access_key"),
    ("password", {"password": "PW-no"}, "password"),
    ("authority", {"ca_file": None}, "ca_file"),
    ("CA file", {"ca_file": "/no/ca.pem"}, "/no/ca.pem"),
]


@pytest.mark.parametrize(("fields", "says"), [pytest.param(*case[1:], id=case[0]) for case in WRONG])
async def test_what_is_wrong(v3: Lab, tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    """The connection's check has the reason and what to do; those before it are as they are."""
    identity = replace(v3.stranger(), **fields)
    client = AsyncThalovantClient(identity, noise_state_dir=tmp_path / "state", protocol="wss")
    report = await client.doctor()
    await client.close()
    assert not report.ok
    assert [check.ok for check in report.checks] == [True, True, False, False]
    assert says in report.checks[2].detail


def test_no_trust_folder(v3: Lab) -> None:
    """Not only the network can be wrong."""
    client = ThalovantClient(v3.identity(), noise_state_dir=__file__, protocol="wss")
    report = client.doctor()
    client.close()

    assert [check.ok for check in report.checks] == [True, True, False, False]
    assert "trust file" in report.checks[2].detail


def test_nothing_secret(v3: Lab, tmp_path: Path) -> None:
    """Neither the query of the endpoint nor a credential is in any form of the report."""
    identity = replace(
        _moved(v3.identity(), f"wss://127.0.0.1:{free_port()}/x?authorization=QA-planted"),
        access_key="AK-planted",
        password="PW-planted",
        crypto_key="CK-planted",
    )
    client = ThalovantClient(identity, noise_state_dir=tmp_path / "state", protocol="wss")
    report = client.doctor()
    client.close()
    shown = f"{report} {report!r} {json.dumps(report.as_dict())}"

    assert "planted" not in shown
    assert "127.0.0.1" in shown


def test_command(v3: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report as text or JSON, and an exit code that says whether all is well; also where nothing is."""
    good = v3.identity().save(tmp_path / "good.json")
    bad = replace(_moved(v3.identity(), f"wss://127.0.0.1:{free_port()}"), source_path=None).save(tmp_path / "bad.json")
    common = ["--state-dir", str(v3.state_dir()), "--protocol", "wss"]

    assert cli.main(["-i", str(good), *common, "doctor"]) == 0
    assert capsys.readouterr().out.startswith("Thalovant doctor: ok\n")
    assert cli.main(["-i", str(bad), *common, "doctor"]) == 1
    out, err = capsys.readouterr()
    assert (err, "- connect: failed" in out) == ("", True)
    assert cli.main(["-i", str(bad), *common, "--json", "doctor"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["ok"], [check["name"] for check in found["checks"]]) == (False, NAMES)
