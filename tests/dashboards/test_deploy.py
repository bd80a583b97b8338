"""What deploy/ holds fits together: checked by rules of our own, as no container engine is needed to read it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_server import PROMTOOL
from services import service_or_skip

from davy.config import Settings, describe, load
from davy.runner import targets
from davy_dashboards.rules import JOB, RULES

pytestmark = pytest.mark.fast
ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
INSTRUCTIONS = [
    line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if line and not line.startswith("#")
]
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*")


def example() -> dict[str, str]:
    lines = (DEPLOY / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def environment(service: str) -> dict[str, str]:
    text = json.dumps(SERVICES[service].get("environment", {}))
    return json.loads(re.sub(r"\$\{(\w+):[?-][^}]*\}", lambda m: example()[m[1]], text))  # type: ignore[no-any-return]


def volumes() -> list[tuple[str, str]]:
    return [tuple(one.split(":")[:2]) for body in SERVICES.values() for one in body.get("volumes", [])]  # type: ignore[misc]


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_by_a_version(name: str) -> None:
    assert PINNED.fullmatch(SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_comes_back(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_bound_to_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_exists_and_is_waited_for_until_healthy(name: str) -> None:
    for target, how in SERVICES[name].get("depends_on", {}).items():
        assert target in SERVICES
        assert how == {"condition": "service_healthy"}


def test_every_mounted_file_exists_and_every_volume_is_declared() -> None:
    named = set()
    for source, _ in volumes():
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
        else:
            named.add(source)
    assert named == set(COMPOSE["volumes"])
    secrets = {secret for body in SERVICES.values() for secret in body.get("secrets", [])}
    assert secrets == set(COMPOSE["secrets"])


def test_the_example_holds_every_variable_and_no_other() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{(\w+)", text)) | {
        secret["environment"] for secret in COMPOSE["secrets"].values()
    }
    assert used == set(example())


def test_a_secret_has_no_default() -> None:
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    secret = {name for name, value in example().items() if value == "change-me"}
    assert {one.variable for one in describe(Settings()) if one.secret} & set(example()) <= secret
    for name in secret:
        assert not re.search(rf"\$\{{{name}(:-|-|\}})", text), name


def test_davy_accepts_its_settings_and_listens_on_its_port() -> None:
    settings = load(env=environment("davy"))
    assert settings.gateway.host == "0.0.0.0"
    assert settings.gateway.api_key
    ports = SERVICES["davy"]["ports"][0].split(":")
    assert int(ports[-1]) == settings.gateway.port
    directory = "/" + settings.url.removeprefix("sqlite:////")
    assert directory in [target for _, target in volumes()]


def test_davy_and_label_studio_agree_on_address_and_token() -> None:
    davy, labelstudio = environment("davy"), environment("labelstudio")
    assert davy["DAVY_LABELSTUDIO_API_KEY"] == labelstudio["LABEL_STUDIO_USER_TOKEN"]
    assert davy["DAVY_LABELSTUDIO_PUBLIC_URL"] == labelstudio["LABEL_STUDIO_HOST"]
    assert davy["DAVY_LABELSTUDIO_URL"] == "http://labelstudio:8080"
    assert labelstudio["POSTGRE_PASSWORD"] == environment("postgres")["POSTGRES_PASSWORD"]
    assert labelstudio["POSTGRE_HOST"] in SERVICES


def test_label_studio_runs_the_version_the_tests_run() -> None:
    pins = (ROOT / "requirements" / "labelstudio.txt").read_text(encoding="utf-8")
    found = re.search(r"^label-studio==(\S+)", pins, re.MULTILINE)
    assert found is not None
    assert SERVICES["labelstudio"]["image"].endswith(f":{found[1]}")


def test_prometheus_scrapes_davy_with_the_key_and_reads_the_rules() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    (job,) = [one for one in config["scrape_configs"] if one["job_name"] == JOB]
    assert job["static_configs"] == [{"targets": ["davy:8321"]}]
    secret = Path(job["authorization"]["credentials_file"])
    assert secret.parent == Path("/run/secrets")
    assert secret.name in SERVICES["prometheus"]["secrets"]
    mounted = dict(volumes())
    assert Path(mounted["../dashboards/alerts/davy.yml"]).match(config["rule_files"][0])


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "davy.yml").read_text())["providers"]
    mounted = dict(volumes())
    assert mounted["../dashboards/grafana"] == provider["options"]["path"]
    assert mounted["./grafana/provisioning"] == "/etc/grafana/provisioning"


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

    def test_prometheus_accepts_its_configuration(self, tmp_path: Path) -> None:
        text = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
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


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def has_compose() -> bool:
    return shutil.which("docker") is not None and run("docker", "compose", "version").returncode == 0


@pytest.mark.skipif(not has_compose(), reason="no docker client with compose")
def test_compose_itself_accepts_the_file() -> None:
    done = run(
        "docker",
        "compose",
        "--env-file",
        str(DEPLOY / ".env.example"),
        "-f",
        str(DEPLOY / "compose.yaml"),
        "config",
    )
    assert done.returncode == 0, done.stderr
