"""The example of a fleet: its files name the same ports, files, variables and networks, and what the locks pin."""

import ipaddress
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.policy.lint import examine
from engine.policy.sources import configured, judged_settings
from engine.policy.trial import run_tests
from engine.settings import load_settings
from engine.settings.model import Settings

from .test_examples import TODAY

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
REPLICAS = ["lexgate-1", "lexgate-2", "lexgate-3"]
STORE = "postgresql://lexgate:pw@postgres:5432/lexgate"
ENVIRON = {"LEXGATE_STORE": STORE, "LEXGATE_BACKENDS__OPENAI__API_KEY": "no-key"}


@pytest.fixture
def settings() -> Settings:
    return load_settings(DEPLOY / "lexgate.yaml", ENVIRON).settings


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def test_the_configuration_is_a_team_endpoint_that_several_machines_can_share(settings: Settings) -> None:
    assert (settings.server.mode, settings.state.reveal()) == ("team", STORE)
    assert settings.server.workers > 1


def test_its_policies_have_no_findings_and_pass_their_tests() -> None:
    found = examine(configured(judged_settings(DEPLOY / "lexgate.yaml", ENVIRON)), TODAY)
    assert [f"{each.where}: {each.message}" for each in found.diagnostics] == []
    assert all(case.passed for policy in found.compiled.checked for case in run_tests(policy))


def test_nginx_and_prometheus_know_every_replica_by_its_port(compose: Any, settings: Settings) -> None:
    assert [name for name in compose["services"] if name.startswith("lexgate-")] == REPLICAS
    targets = [f"{name}:{settings.server.port}" for name in REPLICAS]
    assert re.findall(r"^\s+server (\S+) max_fails", text("nginx.conf"), re.M) == targets
    scraped = yaml.safe_load(text("prometheus.yml"))["scrape_configs"][0]
    assert scraped["static_configs"] == [{"targets": targets}]
    assert f"EXPOSE {settings.server.port}\n" in text("Dockerfile")
    assert f"127.0.0.1:{settings.server.port}/healthz" in text("Dockerfile")
    listens = re.search(r"listen (\d+);", text("nginx.conf"))
    assert listens is not None
    assert compose["services"]["nginx"]["ports"] == [f"127.0.0.1:{listens[1]}:{listens[1]}"]


def test_nginx_passes_streams_on_as_they_come_and_waits_longer_than_a_backend_may(settings: Settings) -> None:
    said = dict(re.findall(r"^\s+(\w+) ([^;]+);", text("nginx.conf"), re.M))
    assert (said["proxy_buffering"], said["proxy_http_version"], said["gzip"]) == ("off", "1.1", "off")
    longest = max(float(each.timeouts.first_byte) for each in settings.backends.values())
    assert float(said["proxy_read_timeout"].removesuffix("s")) > longest
    assert int(said["client_max_body_size"].removesuffix("m")) * 1_000_000 >= int(settings.server.max_body)
    assert said["proxy_next_upstream"] == "error"
    assert "$request_uri" not in text("nginx.conf")
    assert "$args" not in text("nginx.conf")


def test_an_idle_connection_is_closed_by_nginx_and_not_by_the_replica(settings: Settings) -> None:
    kept = re.search(r"keepalive 64;.*?keepalive_timeout (\d+)s;", text("nginx.conf"), re.S)
    assert kept is not None
    assert float(kept[1]) < float(settings.server.keep_alive)


def test_a_replica_runs_as_nobody_on_a_root_that_it_cannot_write(compose: Any, settings: Settings) -> None:
    for name in REPLICAS:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        mounted = {each.split(":")[1]: each.split(":")[2:] for each in service["volumes"]}
        assert {place for place, mode in mounted.items() if mode != ["ro"]} == {"/var/lib/lexgate"}
        assert float(service["stop_grace_period"].removesuffix("s")) > float(settings.server.drain) + 15
    written = (settings.audit.path, settings.record.path, settings.reload.last_good)
    assert all(each.startswith("/var/lib/lexgate/") for each in written)
    final = text("Dockerfile").rpartition("FROM ")[2]
    assert re.search(r"^USER 10001:10001$", final, re.M)
    assert "pip install" not in final


def test_only_the_proxy_in_front_is_believed_about_addresses(compose: Any, settings: Settings) -> None:
    subnet = compose["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    assert settings.server.trusted_proxies == (subnet,)
    assert ipaddress.ip_network(subnet).is_private


def test_every_variable_and_secret_that_is_used_is_given(compose: Any) -> None:
    names = set(re.findall(r"(?<!\$)\$\{(\w+)", text("compose.yaml")))
    known = set(re.findall(r"^(?:# )?(\w+)=", text("env.example"), re.M))
    assert names == known
    assert set(re.findall(r"\$\{(\w+)", text("lexgate.yaml"))) <= set(compose["x-lexgate"]["environment"])
    used = {each for service in compose["services"].values() for each in service.get("secrets", ())}
    assert used == set(compose["secrets"])
    assert "file:/run/secrets/openai_api_key" in text("lexgate.yaml")
    assert "/run/secrets/metrics_key" in text("prometheus.yml")


def test_every_file_that_is_mounted_or_copied_is_there(compose: Any) -> None:
    mounted = {each.split(":")[0] for service in compose["services"].values() for each in service.get("volumes", ())}
    assert all((DEPLOY / each).exists() for each in mounted if each.startswith("./"))
    copied = [each for line in re.findall(r"^COPY (?!--)(.+) \S+$", text("Dockerfile"), re.M) for each in line.split()]
    assert copied
    assert all((ROOT / each).exists() for each in copied)


def test_the_drivers_are_those_of_the_lock() -> None:
    lock = (ROOT / "requirements" / "dev.lock").read_text()
    pinned = text("stores.lock").partition("\n")[2]
    for entry in re.split(r"\n(?=\w)", pinned.strip()):
        assert entry in lock
    assert re.findall(r"^([\w-]+)==", pinned, re.M) == ["psycopg", "psycopg-binary", "redis"]


def test_the_commands_of_the_readme_name_what_there_is() -> None:
    readme = text("README.md")
    for name in re.findall(r"`([\w./-]+\.(?:yaml|conf|yml|lock|example))`", readme):
        assert (DEPLOY / name).exists() or (ROOT / name).exists(), name
