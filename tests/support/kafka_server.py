"""Real Apache Kafka brokers in processes of their own, for tests."""

from __future__ import annotations

import fcntl
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

import pytest

from support.network import Proxy
from support.services import Service, freeze, service_or_skip

ROOT = Path(__file__).parents[2]
USER, PASSWORD = "davy", "p@ss/word"
_JARS = ROOT / ".kafka" / "jars"
_MISSING = "" if shutil.which("java") and shutil.which("mvn") else "install a Java 17 runtime and maven"
_STARTS = 60.0
_JAVA_OPTIONS = (
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # a quick start matters more than the last speed
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


def jars() -> str:
    """Return the class path of Kafka; Maven copies it once, whoever asks first."""
    _JARS.parent.mkdir(exist_ok=True)
    with (_JARS.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _JARS.is_dir():
            fresh = _JARS.with_name("fresh")
            shutil.rmtree(fresh, ignore_errors=True)
            pom = ROOT / "tests" / "kafka_pom.xml"
            command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
            subprocess.run([*command, f"-DoutputDirectory={fresh}"], check=True)
            fresh.rename(_JARS)
    return f"{_JARS}/*"


class Broker:
    """One broker, which is a controller too; `ports` by listener: plain, sasl, tls, distant and controller.

    `network` lies between its listener ``distant`` and whoever connects to that.
    """

    def __init__(
        self, number: int, ports: Mapping[str, int], folder: Path, settings: Mapping[str, str]
    ) -> None:
        self.number = number
        self.network = Proxy(ports["distant"])
        self.servers = f"127.0.0.1:{ports['plain']}"
        self._port = ports["plain"]
        self._folder = folder
        self._log = folder / "log.txt"
        self._file = folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None
        shown = {**ports, "distant": self.network.port}
        del shown["controller"]
        own = {
            "node.id": str(number),
            "log.dirs": str(folder / "data"),
            "listeners": _listeners(ports),
            "advertised.listeners": _listeners(shown),
        }
        folder.mkdir(parents=True)
        self._file.write_text("".join(f"{name}={value}\n" for name, value in {**settings, **own}.items()))

    def format(self, cluster_id: str) -> None:
        """Prepare the empty folder for its first start."""
        _java("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self._file))

    def start(self) -> None:
        """Start it, without waiting; what runs already is left alone."""
        if not self.runs:
            command = ["java", *_JAVA_OPTIONS, "-cp", jars(), "kafka.Kafka", str(self._file)]
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)

    def wait(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + _STARTS
        while not _accepts(self._port):
            if not self.runs or time.monotonic() > deadline:
                raise AssertionError(f"the broker did not start\n{self._log.read_text()[-3000:]}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def process(self) -> int:
        """Its process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Keep it from running for a while: connections stay open and nothing is answered."""
        assert self._process is not None
        freeze(self._process.pid)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


class Cluster:
    """Brokers that form one cluster; a context manager that starts and kills them.

    The listener ``plain`` asks for nothing, ``sasl`` for `USER` and `PASSWORD`, ``tls`` shows the certificate in
    `certificate`, and ``distant`` lies behind the `network` of each broker.
    """

    def __init__(self, size: int, folder: Path) -> None:
        names = ("plain", "sasl", "tls", "distant", "controller")
        found = iter(_free_ports(size * len(names)))
        self.ports = [{name: next(found) for name in names} for _ in range(size)]
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, store = _make_certificate(folder)
        voters = ",".join(f"{i + 1}@127.0.0.1:{ports['controller']}" for i, ports in enumerate(self.ports))
        settings = _settings(size, voters, store)
        self.brokers = [
            Broker(number, ports, folder / str(number), settings)
            for number, ports in enumerate(self.ports, start=1)
        ]
        self.servers = self.servers_of("plain")

    def servers_of(self, listener: str) -> str:
        """Return the addresses of one listener, separated by commas."""
        if listener == "distant":
            return ",".join(f"127.0.0.1:{broker.network.port}" for broker in self.brokers)
        return ",".join(f"127.0.0.1:{ports[listener]}" for ports in self.ports)

    def heal(self) -> None:
        """Start again what a test killed, mend what it cut."""
        for broker in self.brokers:
            broker.network.mend()
            broker.start()
        for broker in self.brokers:
            broker.wait()

    def __enter__(self) -> Self:
        cluster_id = _java("kafka.tools.StorageTool", "random-uuid").split()[-1]
        for broker in self.brokers:
            broker.network.__enter__()
            broker.format(cluster_id)
        try:
            self.heal()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self.brokers:
            broker.kill()
            broker.network.__exit__()


@contextmanager
def _container() -> Iterator[str]:
    from testcontainers.community.kafka import KafkaContainer

    with KafkaContainer().with_kraft() as kafka:
        yield kafka.get_bootstrap_server()


KAFKA = Service("kafka", _container, _MISSING)


def needs_brokers() -> Any:
    """Return the marks of tests that kill or stall brokers, or need their listeners: those of this machine."""
    return [*service_or_skip("kafka", not _MISSING, _MISSING), pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def kafka_servers(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of a Kafka of any origin."""
    with KAFKA.running(lambda: nullcontext(request.getfixturevalue("kafka_broker").servers)) as servers:
        yield servers


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker."""
    with Cluster(1, tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def shared_kafka_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three brokers, started once."""
    with Cluster(3, tmp_path_factory.mktemp("kafka-cluster")) as cluster:
        yield cluster


@pytest.fixture
def kafka_cluster(shared_kafka_cluster: Cluster) -> Iterator[Cluster]:
    """Three brokers; what a test kills is started again for the next one."""
    yield shared_kafka_cluster
    shared_kafka_cluster.heal()


def fresh_prefix() -> str:
    """Return a prefix of topics and groups that nobody used before."""
    return f"t{uuid.uuid4().hex[:12]}"


def _listeners(ports: Mapping[str, int]) -> str:
    return ",".join(f"{name.upper()}://127.0.0.1:{port}" for name, port in ports.items())


def _settings(size: int, voters: str, store: Path) -> dict[str, str]:
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    return {
        "process.roles": "broker,controller",
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAIN",
        "listener.security.protocol.map": (
            "PLAIN:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,DISTANT:PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "listener.name.sasl.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl.plain.sasl.jaas.config": f'{login} user_{USER}="{PASSWORD}";',
        "listener.name.tls.ssl.keystore.location": str(store),
        "listener.name.tls.ssl.keystore.password": PASSWORD,
        "listener.name.tls.ssl.keystore.type": "PKCS12",
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(size),
        "min.insync.replicas": str(min(size, 2)),
        "offsets.topic.replication.factor": str(size),
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": str(size),
        "transaction.state.log.min.isr": str(min(size, 2)),
        "group.initial.rebalance.delay.ms": "0",
    }


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for this machine; return it and the store with its key."""
    certificate, store = folder / "certificate.pem", folder / "store.p12"
    common = ["-alias", "davy", "-keystore", str(store), "-storepass", PASSWORD, "-storetype", "PKCS12"]
    pair = ["-genkeypair", "-keyalg", "RSA", "-dname", "CN=localhost", "-ext", "san=ip:127.0.0.1"]
    for command in (pair, ["-exportcert", "-rfc", "-file", str(certificate)]):
        subprocess.run(["keytool", *command, *common], check=True, capture_output=True)
    return certificate, store


def _java(*arguments: str) -> str:
    command = ["java", *_JAVA_OPTIONS, "-cp", jars(), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in found]


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
