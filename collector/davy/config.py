"""Every setting, its default and its meaning, in one place.

Settings come from, in rising order: the defaults here, ``davy.toml`` (tables as below), environment
variables ``DAVY_<SECTION>_<NAME>`` (the root section has no middle part), arguments.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from davy._conversions import ADDRESSES, MEANINGS, POLICIES, SECTIONS, bounds, convert, no_such
from davy._near import meant
from davy._settings_file import from_file
from davy._urls import without_password
from davy.errors import SettingError

T = TypeVar("T")


def _setting(
    default: Any,
    text: str,
    *,
    least: float = -math.inf,
    most: float = math.inf,
    secret: bool = False,
    one_of: tuple[str, ...] = (),
    begins: tuple[str, ...] = (),
) -> Any:
    limits = {"least": least, "most": most, "one_of": one_of, "begins": begins}
    return field(default=default, metadata={"help": text, "secret": secret, **limits})


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkSettings:
    """How the SDK behaves inside a serving app."""

    queue_items: int = _setting(10_000, "inferences held before new ones are dropped and counted", least=1)
    queue_bytes: int = _setting(64 * 2**20, "bytes held before new inferences are dropped", least=1024)
    envelope_rows: int = _setting(200, "inferences joined into one envelope", least=1)
    flush_seconds: float = _setting(0.2, "longest time an inference waits for company", least=0.001)
    exit_seconds: float = _setting(1.0, "longest time the process exit is held up", least=0)
    inline_bytes: int = _setting(256 * 1024, "largest field carried inside the envelope", least=1)
    payload_bytes: int = _setting(
        16 * 2**20, "largest field put into the blob store; what is larger is summarised or dropped", least=1
    )
    fields: tuple[tuple[str, str], ...] = _setting(
        (),
        "what becomes of which field, first match first: inline, blob, summary, hash or drop",
        one_of=POLICIES,
        begins=SECTIONS,
    )
    oversize: str = _setting(
        "blob", "what becomes of arrays above inline_bytes: blob or summary", one_of=("blob", "summary")
    )
    deny_tags: str = _setting(
        "password, passwd, passphrase, secret, token, jwt, api_key, apikey, access_key, secret_key, private_key,"
        " authorization, cookie, cookies, session, sessionid, credentials",
        "what names of tags and inputs that never leave the process end in, unless a rule of fields names them",
    )
    deny_outputs: str = _setting(
        "password, passwd, passphrase, secret, jwt, api_key, apikey, access_key, secret_key, private_key,"
        " authorization, cookie, cookies, credentials, sessionid, access_token, api_token, auth_token, bearer_token,"
        " csrf_token, id_token, refresh_token, session_token",
        "the same for outputs, where a token alone is a part of a text",
    )
    salt: str = _setting("", "secret that pseudonyms are made with; empty draws one a process", secret=True)
    sample_rate: float = _setting(1.0, "share of inferences captured, by a hash of the id", least=0, most=1)
    spool: str = _setting(
        "", "directory for envelopes the sink does not take, until it does; empty keeps none"
    )
    spool_bytes: int = _setting(256 * 2**20, "bytes a process keeps in the spool", least=64 * 1024)
    spool_hours: float = _setting(24.0, "age at which what is in the spool is given up", least=0)
    enabled: bool = _setting(True, "false makes every call of the SDK a no-op")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """How long the log keeps what."""

    keep_hours: float = _setting(7 * 24.0, "age at which records may be deleted", least=0)
    keep_bytes: int = _setting(20 * 2**30, "size at which the oldest records are deleted", least=2**20)
    orphan_hours: float = _setting(
        48.0, "age at which a payload nothing refers to is deleted; more than sdk.spool_hours", least=1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to speak to Kafka, when the log is one; each may stand in the URL's query instead, but for passwords."""

    partitions: int = _setting(8, "partitions of a topic that Davy creates", least=1)
    replication: int = _setting(
        0, "copies of a topic that Davy creates; 0 leaves it to the cluster", least=0, most=32767
    )
    shards: int = _setting(
        1,
        "keys that the inferences of one model are spread over; 1 keeps their order in one partition",
        least=1,
    )
    message_bytes: int = _setting(
        32 * 2**20, "largest message; topics that Davy creates take it", least=1024, most=10**9
    )
    compression: str = _setting(
        "lz4", "how producers compress: none, gzip, lz4 or zstd", one_of=("none", "gzip", "lz4", "zstd")
    )
    answer_seconds: float = _setting(
        10.0, "longest wait for an answer to what is asked of topics and offsets", least=0.1
    )
    security: str = _setting(
        "",
        "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL; empty is SASL_SSL with a user, else PLAINTEXT",
        one_of=("", "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
    )
    mechanism: str = _setting(
        "PLAIN",
        "how the user logs in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
        one_of=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"),
    )
    user: str = _setting("", "who logs in; better than in the URL")
    password: str = _setting("", "the user's password; better than in the URL", secret=True)
    ca_file: str = _setting("", "certificates to trust, PEM; empty trusts the system's")
    cert_file: str = _setting("", "certificate of this client, PEM, where brokers ask for one")
    key_file: str = _setting("", "key of that certificate, PEM")
    key_password: str = _setting("", "password of that key", secret=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectSettings:
    """What counts as an alarm and as a flag."""

    false_alarm_every: float = _setting(
        1_000_000, "mean number of inferences of a model between false alarms that you accept", least=1000
    )
    tolerance: float = _setting(
        0.0, "smallest shift worth an alarm, in standard deviations of a bin score", least=0
    )
    window_seconds: float = _setting(
        0.05, "event time whose inferences are counted together and tested at once", least=0.001
    )
    lateness_seconds: float = _setting(
        1.0, "time after a window before it is tested, in which its inferences should have arrived", least=0
    )
    restate_seconds: float = _setting(
        60.0, "time for which a tested epoch is tested again when inferences come late", least=1
    )
    reference_error: float = _setting(
        0.05, "probability that the reference-error band misses the truth", least=1e-12, most=1
    )
    quiet_events: int = _setting(
        2_000, "inferences without new evidence before an incident is resolved", least=1
    )
    flag_share: float = _setting(
        0.01, "share of clean traffic each score may flag for the miner", least=0, most=1
    )
    control_share: float = _setting(
        0.02, "share of all traffic flagged at random, for unbiased estimates", least=0, most=1
    )
    blind_seconds: float = _setting(
        300.0, "silence after which a model is shown as blind instead of healthy", least=1
    )
    models: int = _setting(
        1_000,
        "models counted by name; those beyond, without a reference, are counted together and not shown",
        least=1,
    )
    idle_days: float = _setting(
        30.0, "silence after which a model is retired until it sends again; 0 retires none", least=0
    )
    retired_days: float = _setting(
        60.0,
        "time after which totals, reference and incidents of a retired model are forgotten; 0 keeps them",
        least=0,
    )
    incident_days: float = _setting(
        90.0, "time for which a resolved incident is kept; 0 keeps the newest 200 of each model", least=0
    )
    poll_records: int = _setting(64, "log records handled in one store transaction", least=1)
    fields: tuple[tuple[str, str], ...] = _setting(
        (),
        "what a field is where guessing fails, first match first: ignore, categorical, numeric, text or time; a pattern"
        " may begin with a model and a slash",
        one_of=MEANINGS,
    )
    arms: tuple[tuple[str, str, Any], ...] = _setting(
        (), "settings of arms that are plug-ins, a table for each, [detect.arms.NAME]; or NAME.SETTING=VALUE"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MineSettings:
    """How the label budget is spent."""

    budget: int = _setting(100, "labels bought in one selection round", least=1)
    round_seconds: float = _setting(3600.0, "time between selection rounds; 0 runs none on its own", least=0)
    greedy_share: float = _setting(0.5, "part of the budget spent on the highest scores", least=0, most=1)
    similarity: float = _setting(
        0.0,
        "cosine above which two samples are duplicates; 0 calibrates it on the control arm",
        least=0,
        most=1,
    )
    poll_seconds: float = _setting(30.0, "time between two looks for new annotations", least=0.05)
    pool: int = _setting(
        20_000,
        "candidates of a model that may wait, and chosen ones that new ones are compared with",
        least=1,
    )
    unanswered: int = _setting(
        2_000,
        "chosen candidates of a model that may wait for an answer; while there are more no round is run",
        least=1,
    )
    estimate_days: float = _setting(
        90.0,
        "age of the random arm from which the error rate is estimated; its near-duplicates go then",
        least=1,
    )
    datasets: str = _setting(
        "", "directory of dataset versions; empty puts it beside the store, needed where that is not SQLite"
    )
    last_word: str = _setting(
        "majority",
        "whose answer counts where people differ: majority, newest or unanimous; without one it is disputed",
        one_of=("majority", "newest", "unanimous"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Where the gateway listens and who may speak to it."""

    host: str = _setting("127.0.0.1", "address to listen on; anything but loopback needs an API key")
    port: int = _setting(8321, "port to listen on; 0 lets the system choose", least=0, most=65535)
    public_url: str = _setting(
        "", "address annotators' browsers reach the gateway by; empty is host and port", begins=ADDRESSES
    )
    hosts: str = _setting(
        "",
        "names it is reached by, separated by commas; addresses, localhost and public_url's need no mention",
    )
    api_key: str = _setting("", "key that clients send as 'Authorization: Bearer …'", secret=True)
    api_key_file: str = _setting(
        "", "file with that key in its first line, read again whenever it changes; before `api_key`"
    )
    media_secret: str = _setting(
        "", "secret that signs media links; empty makes one and keeps it in the store", secret=True
    )
    media_hours: float = _setting(30 * 24.0, "time a media link stays valid", least=0.001)
    body_bytes: int = _setting(16 * 2**20, "largest request body accepted", least=1024)
    request_rows: int = _setting(10_000, "most inferences accepted in one request", least=1)
    requests_per_second: float = _setting(
        0.0, "writing requests accepted from one key, or one address without a key; 0 sets no limit", least=0
    )
    connections: int = _setting(
        1_000, "connections held at once; those that send no request make room for others", least=1
    )
    requests_at_once: int = _setting(256, "requests being read and written; those beyond get 503", least=1)
    bytes_at_once: int = _setting(
        64 * 2**20, "bytes of requests being read and written; those beyond get 503", least=1024
    )
    read_seconds: float = _setting(
        30.0, "longest time the head of a request may take to arrive, and its body", least=0.01
    )
    models: int = _setting(
        1_000,
        "models written at once, in all; one that is silent for a day makes room for a new one",
        least=1,
    )
    key_models: int = _setting(
        200, "of these, models that one key, or one address without a key, sent first", least=1
    )
    model_fields: int = _setting(
        4_096, "names of fields that a model may have, over all its inferences", least=1
    )
    recent_ids: int = _setting(
        200_000, "ids remembered, so that an inference sent again is stored once; 0 remembers none", least=0
    )
    join_seconds: float = _setting(
        60.0, "time a logged request waits for its response, and a response for its request", least=0
    )
    join_events: int = _setting(10_000, "logged requests and responses that wait at once", least=1)

    @property
    def has_key(self) -> bool:
        """Whether there is a key that opens everything."""
        return bool(self.api_key or self.api_key_file)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """Where a process without a gateway shows health and metrics."""

    host: str = _setting("127.0.0.1", "address to listen on; anything but loopback needs an API key")
    port: int = _setting(
        0, "port to listen on; 0 lets the system choose, and the process says which", least=0, most=65535
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioSettings:
    """Which Label Studio to use."""

    url: str = _setting("", "address of Label Studio; empty leaves candidates in Davy's queue")
    public_url: str = _setting(
        "", "address people reach Label Studio by, for links; empty is the address above", begins=ADDRESSES
    )
    api_key: str = _setting("", "legacy or personal access token", secret=True)
    timeout_seconds: float = _setting(60.0, "longest wait for one call", least=1)
    settle_seconds: float = _setting(
        120.0, "wait before a batch of unknown fate is looked up again and, if absent, sent again", least=0
    )
    batch: int = _setting(200, "tasks sent in one call", least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """Whether what the log holds is kept as Parquet, and how large the files are."""

    url: str = _setting(
        "",
        "where Parquet files go: file:///directory or s3://bucket/prefix; empty keeps no archive",
        begins=("file://", "s3://"),
    )
    rows: int = _setting(100_000, "rows of one partition that are written at once", least=1)
    seconds: float = _setting(
        600.0, "longest time a record waits for its file; keep it well below log.keep_hours", least=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of Davy; frozen, so what a process started with is what it runs with."""

    url: str = _setting(
        "sqlite:///.davy",
        "the log: sqlite:///directory, kafka://host:port,…/prefix, memory:// or http(s)://gateway (SDK only)",
    )
    store_url: str = _setting(
        "", "the state store: sqlite:///directory, redis[s]://host or memory://; empty puts it beside the log"
    )
    blob_url: str = _setting(
        "",
        "the payloads: file:///directory, s3://, gs://, az:// or memory://; empty puts them beside the log",
    )
    log_format: str = _setting(
        "text", "what a role logs, a line an event: text or json", one_of=("text", "json")
    )
    log_level: str = _setting(
        "info",
        "the least that a role logs: debug, info, warning or error",
        one_of=("debug", "info", "warning", "error"),
    )
    sdk: SdkSettings = field(default_factory=SdkSettings)
    log: LogSettings = field(default_factory=LogSettings)
    kafka: KafkaSettings = field(default_factory=KafkaSettings)
    detect: DetectSettings = field(default_factory=DetectSettings)
    mine: MineSettings = field(default_factory=MineSettings)
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    health: HealthSettings = field(default_factory=HealthSettings)
    labelstudio: LabelStudioSettings = field(default_factory=LabelStudioSettings)
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)


@dataclass(frozen=True, slots=True)
class Described:
    """One setting as the documentation and `davy doctor` show it: a URL without its password."""

    key: str
    variable: str
    value: Any
    default: Any
    help: str
    secret: bool
    bounds: str

    @property
    def shown(self) -> Any:
        """The value as anybody may see it: no secret, and no password in a URL."""
        if self.secret:
            return "set" if self.value else ""
        return without_password(self.value) if isinstance(self.value, str) else self.value


def load(
    *,
    env: Mapping[str, str] | None = None,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read the settings of this process.

    Parameters
    ----------
    env
        Environment to read; this process's by default.
    file
        A TOML file; ``davy.toml`` in the working directory, when there is one, by default.
    overrides
        Values by dotted key (``{"detect.poll_records": 20}``) that win over everything else.

    Raises
    ------
    SettingError
        Names the setting, what was found and what is accepted.

    Examples
    --------
    >>> load(env={"DAVY_DETECT_POLL_RECORDS": "20"}).detect.poll_records
    20
    """
    env = os.environ if env is None else env
    found: dict[str, Any] = {}
    known = {described.key: described for described in describe(Settings())}
    found.update(from_file(file or Path("davy.toml"), required=file is not None))
    for described in known.values():
        if described.variable in env:
            found[described.key] = env[described.variable]
    for variable in sorted(env):
        _refuse_unknown_variable(variable, env[variable], known)
    found.update(overrides or {})
    for key, value in found.items():
        if key not in known:
            raise no_such(key, value, {one.key: one.secret for one in known.values()})
    settings: Settings = _build(Settings(), found, "")
    return settings


def amend(section: T, values: Mapping[str, Any], name: str) -> T:
    """Return a section with some of its values replaced, converted and checked as `load` does.

    Examples
    --------
    >>> amend(KafkaSettings(), {"partitions": "3"}, "kafka").partitions
    3
    """
    known = {item.name for item in fields(section)}  # type: ignore[arg-type]
    for key, value in values.items():
        if key not in known:
            remedy = f"no such setting; {meant(key, known)}known are {', '.join(sorted(known))}"
            raise SettingError(f"{name}.{key}", value, remedy)
    amended: T = _build(section, {f"{name}.{key}": value for key, value in values.items()}, f"{name}.")
    return amended


def describe(settings: Settings) -> list[Described]:
    """List every setting with its variable, value, default and help, in order of declaration."""
    return list(_walk(settings, Settings(), ""))


def _refuse_unknown_variable(variable: str, value: str, known: Mapping[str, Described]) -> None:
    of_tests = variable == "DAVY_REQUIRE_SERVICES" or variable.startswith("DAVY_TEST_")
    if not variable.startswith("DAVY_") or of_tests:
        return
    variables = {described.variable: described.secret for described in known.values()}
    if variable not in variables:
        raise no_such(variable, value, variables)


def _walk(settings: Any, defaults: Any, prefix: str) -> Any:
    for item in fields(settings):
        value, default = getattr(settings, item.name), getattr(defaults, item.name)
        key = f"{prefix}{item.name}"
        if is_dataclass(value):
            yield from _walk(value, default, f"{key}.")
            continue
        yield Described(
            key=key,
            variable=f"DAVY_{key.upper().replace('.', '_')}",
            value=_as_given(value),
            default=_as_given(default),
            help=item.metadata["help"],
            secret=item.metadata["secret"],
            bounds=bounds(item.metadata),
        )


def _as_given(value: Any) -> Any:
    if not isinstance(value, tuple):
        return value
    return ", ".join(f"{'.'.join(name)}={found}" for *name, found in value)


def _build(section: Any, found: Mapping[str, Any], prefix: str) -> Any:
    hints = get_type_hints(type(section))
    changes: dict[str, Any] = {}
    for item in fields(section):
        key = f"{prefix}{item.name}"
        value = getattr(section, item.name)
        if is_dataclass(value):
            changes[item.name] = _build(value, found, f"{key}.")
        elif key in found:
            changes[item.name] = convert(key, found[key], hints[item.name], item.metadata)
    return replace(section, **changes)
