"""What deploy/ holds fits together: read by docker compose itself, which needs no container engine for it."""

from __future__ import annotations

import json
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml
from support.prometheus_server import PROMTOOL
from support.services import service_or_skip

from davy.config import Settings, describe, load
from davy.errors import SettingError
from davy.placeholders import PLACEHOLDER, placeholders, refuse_placeholders
from davy.runner import beside_the_log, targets
from davy.runtime import Runtime
from davy_dashboards.rules import JOB, RULES
from davy_miner.dataset.versions import directory

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = ("compose.yaml", "compose.scale.yaml")
ROLES = {"compose.yaml": ["davy"], "compose.scale.yaml": ["gateway", "detect", "mine", "archive", "retain"]}
ONCE = {"buckets"}
"""Services that do their work and end."""
HERE = sys.platform == "linux" and platform.machine() == "x86_64"
DOCKERFILE = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
INSTRUCTIONS = [
    line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")
]
PINNED = re.compile(r"[\w./-]+:(v?\d+\.\d+[\w.-]*|RELEASE\.[\dTZ-]+)")

pytestmark = pytest.mark.fast
needs_compose = pytest.mark.skipif(not HERE, reason="docker compose is pinned for Linux on x86-64 only")


def example() -> dict[str, str]:
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def run(*command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, env=env)


def compose(name: str, variables: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    import compose as package

    # Not the script of that package, which ends with 0 whatever docker compose ends with.
    binary = Path(package.__file__).with_name("docker-compose")
    return run(
        str(binary), "--env-file", str(variables), "-f", str(DEPLOY / name), "config", *arguments, env={}
    )


@pytest.fixture(scope="module", params=FILES)
def file(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    """Return the name of a file and what docker compose makes of it, with secrets of one's own."""
    variables = tmp_path_factory.mktemp("compose") / "env"
    text = (DEPLOY / ".env.example").read_text(encoding="utf-8")
    variables.write_text(text.replace(f"={PLACEHOLDER}", "=" + "5ecre7" * 7))
    done = compose(request.param, variables, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    return request.param, json.loads(done.stdout)


def plain(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    return found


File = tuple[str, dict[str, Any]]


@needs_compose
class TestEveryService:
    def test_comes_from_an_image_pinned_by_a_version(self, file: File) -> None:
        for service in file[1]["services"].values():
            assert PINNED.fullmatch(service["image"])

    def test_has_a_health_check_and_comes_back(self, file: File) -> None:
        for name, service in file[1]["services"].items():
            if name in ONCE:
                assert service["restart"] == "on-failure"
            else:
                assert service["healthcheck"]["test"][0] == "CMD"
                assert service["restart"] == "unless-stopped"

    def test_is_bound_to_loopback_and_bounded_in_memory_processes_and_logs(self, file: File) -> None:
        for service in file[1]["services"].values():
            assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", []))
            assert 2**28 <= int(service["mem_limit"]) <= 3 * 2**30
            assert service["pids_limit"] == 512
            assert service["logging"] == {
                "driver": "json-file", "options": {"max-file": "5", "max-size": "10m"}
            }  # fmt: skip

    def test_gains_no_rights_and_loses_those_of_root_but_a_few(self, file: File) -> None:
        for name, service in file[1]["services"].items():
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["cap_drop"] == ["ALL"]
            assert bool(service.get("cap_add")) == (name in {"postgres", "redis"})

    def test_waits_for_what_is_there_and_no_role_of_davys_for_label_studio(self, file: File) -> None:
        name, found = file
        for service, body in found["services"].items():
            for target, how in body.get("depends_on", {}).items():
                wanted = "service_completed_successfully" if target in ONCE else "service_healthy"
                assert how["condition"] == wanted
                assert target in found["services"]
            if service in ROLES[name]:
                assert set(body.get("depends_on", {})) <= {"kafka", "redis", "buckets"}

    def test_finds_what_it_mounts(self, file: File) -> None:
        _, found = file
        mounts = [one for body in found["services"].values() for one in body.get("volumes", [])]
        assert {one["source"] for one in mounts if one["type"] == "volume"} == set(found["volumes"])
        assert all(Path(one["source"]).exists() for one in mounts if one["type"] == "bind")
        secrets = {one["source"] for body in found["services"].values() for one in body.get("secrets", [])}
        assert secrets == set(found["secrets"])


@needs_compose
class TestDavy:
    def test_runs_every_role(self, file: File) -> None:
        name, found = file
        commands = [found["services"][service]["command"] for service in ROLES[name]]
        if name == "compose.yaml":
            assert commands == [["up"]]
        else:
            assert sorted(role for _, role in commands) == sorted(targets())
            assert {verb for verb, _ in commands} == {"run"}

    def test_runs_as_its_image_does_and_writes_only_where_it_keeps_data(self, file: File) -> None:
        name, found = file
        for service in ROLES[name]:
            body = found["services"][service]
            assert body["image"] == found["services"][ROLES[name][0]]["image"]
            assert (body["read_only"], body["tmpfs"]) == (True, ["/tmp"])
            assert "user" not in body

    def test_accepts_its_settings_and_listens_where_it_is_asked(self, file: File) -> None:
        name, found = file
        for service in ROLES[name]:
            body = found["services"][service]
            settings = load(env=body["environment"])
            beside_the_log(settings)
            refuse_placeholders(settings)
            section = settings.health if service not in {"davy", "gateway"} else settings.gateway
            assert (section.host, section.port) == ("0.0.0.0", 8321)
            assert f":{section.port}/readyz" in body["healthcheck"]["test"][-1]
            if settings.url.startswith("sqlite:///"):
                directory = "/" + settings.url.removeprefix("sqlite:////")
                assert directory in [one["target"] for one in body["volumes"]]

    def test_keeps_dataset_versions_on_a_volume_that_all_roles_share(self, file: File) -> None:
        name, found = file
        sources = set()
        for service in ROLES[name]:
            body = found["services"][service]
            settings = beside_the_log(load(env=body["environment"]))
            store = SimpleNamespace(url=settings.store_url)
            home = directory(cast("Runtime", SimpleNamespace(settings=settings, store=store)))
            place = Path("/") / home
            mounts = [one for one in body["volumes"] if place.is_relative_to(one["target"])]
            sources |= {(one["source"], one.get("read_only", False)) for one in mounts}
        assert sources == {("davy-data", False)}
        assert ["VOLUME", "/data"] in INSTRUCTIONS  # so that a new volume belongs to the image's user

    def test_knows_each_secret_and_its_services_by_the_same_name(self, file: File) -> None:
        name, found = file
        services = found["services"]
        davy, labelstudio = services[ROLES[name][0]]["environment"], services["labelstudio"]["environment"]
        assert davy["DAVY_LABELSTUDIO_API_KEY"] == labelstudio["LABEL_STUDIO_USER_TOKEN"]
        assert davy["DAVY_LABELSTUDIO_PUBLIC_URL"] == labelstudio["LABEL_STUDIO_HOST"]
        assert davy["DAVY_LABELSTUDIO_URL"] == "http://labelstudio:8080"
        assert labelstudio["POSTGRE_PASSWORD"] == services["postgres"]["environment"]["POSTGRES_PASSWORD"]
        assert labelstudio["POSTGRE_HOST"] in services
        if "redis" in services:
            assert services["redis"]["command"][-1] in davy["DAVY_STORE_URL"]
            assert davy["AWS_SECRET_ACCESS_KEY"] == services["s3"]["environment"]["MINIO_ROOT_PASSWORD"]
            buckets = {f"s3://{name.removeprefix('store/')}" for name in services["buckets"]["command"][2:]}
            assert {davy[one].partition("?")[0] for one in ("DAVY_BLOB_URL", "DAVY_ARCHIVE_URL")} == buckets

    def test_is_scraped_with_the_key_in_every_process_by_rules_that_are_mounted(self, file: File) -> None:
        name, found = file
        prometheus = found["services"]["prometheus"]
        mounted = {one["target"]: one["source"] for one in prometheus["volumes"]}
        config = yaml.safe_load(Path(mounted["/etc/prometheus/prometheus.yml"]).read_text())
        (job,) = [one for one in config["scrape_configs"] if one["job_name"] == JOB]
        if name == "compose.yaml":
            assert job["static_configs"] == [{"targets": ["davy:8321"]}]
        else:
            (by_name,) = job["dns_sd_configs"]
            assert sorted(by_name["names"]) == sorted(ROLES[name])
            assert (by_name["type"], by_name["port"]) == ("A", 8321)
        secret = Path(job["authorization"]["credentials_file"])
        assert secret.parent == Path("/run/secrets")
        assert secret.name in [one["source"] for one in prometheus["secrets"]]
        assert Path("/etc/prometheus/rules/davy.yml").match(config["rule_files"][0])
        assert mounted["/etc/prometheus/rules/davy.yml"] == str(ROOT / "dashboards" / "alerts" / "davy.yml")

    def test_shows_its_dashboard(self, file: File) -> None:
        provisioning = DEPLOY / "grafana" / "provisioning"
        (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())[
            "datasources"
        ]
        assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
        (provider,) = yaml.safe_load((provisioning / "dashboards" / "davy.yml").read_text())["providers"]
        mounted = {one["source"]: one["target"] for one in file[1]["services"]["grafana"]["volumes"]}
        assert mounted[str(ROOT / "dashboards" / "grafana")] == provider["options"]["path"]
        assert mounted[str(provisioning)] == "/etc/grafana/provisioning"


@needs_compose
@pytest.mark.parametrize("name", FILES)
def test_compose_refuses_a_file_without_secrets_and_names_the_example(name: str, tmp_path: Path) -> None:
    (tmp_path / "env").touch()
    done = compose(name, tmp_path / "env")
    assert done.returncode != 0
    assert "copy deploy/.env.example to deploy/.env" in done.stderr


@needs_compose
@pytest.mark.parametrize("name", FILES)
def test_compose_refuses_what_is_no_key_of_its_own(name: str, tmp_path: Path) -> None:
    """Or the other tests would prove nothing."""
    assert compose(name, DEPLOY / ".env.example", "--quiet").returncode == 0
    broken = tmp_path / name
    broken.write_text((DEPLOY / name).read_text().replace("mem_limit:", "memory_limit:"))
    for other in {*FILES} - {name}:
        shutil.copy(DEPLOY / other, tmp_path / other)
    done = compose(str(broken), DEPLOY / ".env.example", "--quiet")
    assert done.returncode != 0
    assert "memory_limit" in done.stderr


@needs_compose
@pytest.mark.parametrize("name", FILES)
def test_davy_does_not_start_on_the_example_as_it_is(name: str) -> None:
    done = compose(name, DEPLOY / ".env.example", "--format", "json")
    settings = load(env=json.loads(done.stdout)["services"][ROLES[name][0]]["environment"])
    with pytest.raises(SettingError, match=r"DAVY_GATEWAY_API_KEY|DAVY_STORE_URL"):
        refuse_placeholders(settings)
    assert {"gateway.api_key", "labelstudio.api_key"} <= set(placeholders(settings))


def test_the_example_holds_every_variable_that_has_no_default_and_no_other_that_nobody_reads() -> None:
    text = "".join((DEPLOY / name).read_text(encoding="utf-8") for name in FILES)
    assert set(re.findall(r"\$\{(\w+):\?", text)) <= set(example())
    assert set(example()) <= set(re.findall(r"\$\{(\w+)", text))


def test_a_secret_has_no_default() -> None:
    text = "".join((DEPLOY / name).read_text(encoding="utf-8") for name in FILES)
    secret = {name for name, value in example().items() if value == PLACEHOLDER}
    assert {one.variable for one in describe(Settings()) if one.secret} & set(example()) <= secret
    for name in secret:
        assert not re.search(rf"\$\{{{name}(:-|-|\}})", text), name


def test_label_studio_runs_the_version_the_tests_run() -> None:
    pins = (ROOT / "requirements" / "labelstudio.txt").read_text(encoding="utf-8")
    found = re.search(r"^label-studio==(\S+)", pins, re.MULTILINE)
    assert found is not None
    assert plain("compose.yaml")["services"]["labelstudio"]["image"].endswith(f":{found[1]}")


def test_every_severity_reaches_a_receiver_and_every_silenced_alert_exists() -> None:
    config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    receivers = {receiver["name"] for receiver in config["receivers"]}
    assert {rule.severity for rule in RULES} <= receivers
    named = set(re.findall(r"Davy\w+", json.dumps(config["inhibit_rules"])))
    assert named <= {rule.name for rule in RULES}


def test_the_image_is_pinned_runs_as_a_user_of_its_own_and_copies_what_exists() -> None:
    bases = [arguments.split()[0] for name, arguments in INSTRUCTIONS if name == "FROM"]
    assert all(PINNED.fullmatch(base) for base in bases)
    last = max(i for i, (name, _) in enumerate(INSTRUCTIONS) if name == "FROM")
    users = [arguments for name, arguments in INSTRUCTIONS[last:] if name == "USER"]
    assert users
    assert users[-1] not in {"root", "0"}
    for name, arguments in INSTRUCTIONS:
        if name == "COPY" and not arguments.startswith("--from="):
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source


def test_the_build_context_lets_through_what_the_image_copies_and_no_more() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    copied = {
        source.split("/")[0]
        for name, arguments in INSTRUCTIONS
        if name == "COPY" and not arguments.startswith("--from=")
        for source in arguments.split()[:-1]
    }
    assert lines[0] == "**"
    assert let_through == copied


def test_the_image_installs_pinned_versions_of_extras_that_exist() -> None:
    (install,) = [arguments for name, arguments in INSTRUCTIONS if name == "RUN" and "/src[" in arguments]
    assert "--constraints /src/requirements/dev.txt" in install
    extras = re.search(r'"/src\[([\w,]+)\]"', install)
    assert extras is not None
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras[1].split(","))
    assert set(extras[1].split(",")) == {"server", "cluster", "librdkafka"}, "every client, and no demo"


def test_the_commands_in_the_deployment_guide_name_files_and_roles_that_exist() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    words = {word for block in blocks for word in shlex.split(block, comments=True)}
    paths = {word for word in words if word.startswith("deploy/") and word != "deploy/.env"}
    assert paths
    assert all((ROOT / path).exists() for path in paths)
    assert set(re.findall(r"davy run (\w+)", text)) <= set(targets())


class TestWithTools:
    pytestmark = service_or_skip("prometheus", PROMTOOL is not None, "install Debian's package prometheus")

    @pytest.mark.parametrize("name", ["prometheus.yml", "prometheus.scale.yml"])
    def test_prometheus_accepts_its_configuration(self, name: str, tmp_path: Path) -> None:
        text = (DEPLOY / "prometheus" / name).read_text(encoding="utf-8")
        key = tmp_path / "davy_api_key"
        key.write_text("key")
        text = text.replace("/run/secrets/davy_api_key", str(key))
        text = text.replace("/etc/prometheus/rules", str(ROOT / "dashboards" / "alerts"))
        path = tmp_path / "prometheus.yml"
        path.write_text(text.replace("/*.yml", "/davy.yml"))
        done = run(str(PROMTOOL), "check", "config", str(path))
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 rule files found" in done.stdout

    @pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is missing")
    def test_alertmanager_accepts_its_configuration_and_routes_by_severity(self) -> None:
        path = str(DEPLOY / "alertmanager" / "alertmanager.yml")
        done = run("amtool", "check-config", path)
        assert done.returncode == 0, done.stdout + done.stderr
        for severity in {rule.severity for rule in RULES}:
            routed = run(
                "amtool", "config", "routes", "test", f"--config.file={path}", f"severity={severity}"
            )
            assert routed.stdout.strip() == severity
