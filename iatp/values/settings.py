"""Every setting of the sidecar (protocol section 9): one struct and one table about it.

A row of `SETTINGS` says how a setting is called, read and explained; nothing else in the
project repeats a default or a range. Names follow from the variable: `IATP_MAX_BODY` is
the flag `--max-body` and the TOML key `max_body`; the field adds its unit.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from iatp.values.address import AgentAddress, socket_path
from iatp.values.manifest import RetentionPolicy, ReversibilityLevel, TrustLevel
from iatp.values.texts import (
    AgentUrl,
    BindHost,
    Choice,
    Duration,
    PathText,
    Reader,
    SecondsOrDuration,
    Secret,
    Size,
    Switch,
    Text,
    Token,
    Whole,
)

PREFIX = "IATP_"


class OverrideMode(enum.StrEnum):
    """What a valid `X-User-Override` is (section 6)."""

    HEADER = "header"
    TICKET = "ticket"
    SECRET = "secret"  # noqa: S105  (a mode's name)
    OFF = "off"


class ControlOnData(enum.StrEnum):
    """Whether the data port answers control reads of loopback peers (section 1)."""

    LOOPBACK = "loopback"
    OFF = "off"


class Durability(enum.StrEnum):
    """What a record that counts as written survives (section 7)."""

    PROCESS = "process"
    """The end of any process of the sidecar."""
    POWER = "power"
    """That of the machine."""


class RecordFailure(enum.StrEnum):
    """What becomes of requests while the flight recorder cannot write."""

    CLOSED = "closed"
    OPEN = "open"


class LogLevel(enum.StrEnum):
    """From which weight on the sidecar's own log says something."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """How the sidecar's own log is written."""

    TEXT = "text"
    JSON = "json"


class LogCompression(enum.StrEnum):
    """What becomes of a closed segment (docs/records.md)."""

    ZSTD = "zstd"
    OFF = "off"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings in force; the fields of the manifest among them."""

    agent_url: AgentAddress
    host: str
    """`unix:` and a path: the data listener is a Unix socket."""
    port: int | None
    """0: a free port; None: a Unix socket has none."""
    admin_host: str
    admin_port: int
    """0: no admin listener."""
    admin_token: Secret | None
    metrics_port: int | None
    """None: no metrics listener; 0: a free port."""
    control_on_data: ControlOnData
    agent_id: str
    trust_level: TrustLevel
    reversibility: ReversibilityLevel
    retention: RetentionPolicy
    human_in_loop: bool
    training_consent: bool
    idempotency: bool
    concurrency_limit: int
    sla_latency_ms: int
    manifest_file: str | None
    log_dir: str
    record_body_bytes: int
    durability: Durability
    record_failure: RecordFailure
    log_segment_bytes: int
    log_segment_age_s: float
    log_max_size_bytes: int
    log_max_age_s: float
    log_compress: LogCompression
    log_compress_after_s: float
    log_key_file: str | None
    """None: segments are not encrypted."""
    key_file: str
    signing_key_file: str
    workers: int
    agent_timeout_s: float
    stream_idle_timeout_s: float
    stream_timeout_s: float
    max_body_bytes: int
    max_buffered_bytes: int
    max_connections: int
    queue_limit: int
    queue_timeout_s: float
    drain_s: float
    ready_check_agent: bool
    policy_file: str | None
    """None: the default policy."""
    override: OverrideMode
    override_token: Secret | None
    log_level: LogLevel
    log_format: LogFormat

    @property
    def metrics_host(self) -> str:
        """Where the metrics listener binds."""
        return metrics_host(self.host)


def metrics_host(host: str) -> str:
    """Where the metrics listener binds, beside a data listener there: TCP, and no wider."""
    return "127.0.0.1" if socket_path(host) else host


class Older(msgspec.Struct, frozen=True, kw_only=True):
    """A published older name of a variable."""

    env: str
    reader: Reader[Any]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row: how a setting is called, read and explained."""

    env: str
    field: str
    reader: Reader[Any]
    default: str | None
    """As it would be written; None: nothing, or what `default_note` says."""
    default_note: str = ""
    meaning: str
    reason: str
    """Why the default is what it is."""
    secret: bool = False
    in_manifest: bool = False
    """Whether a manifest file gives it where it is not set."""
    older: tuple[Older, ...] = ()

    @property
    def key(self) -> str:
        """Key in the TOML file and of `create_sidecar`."""
        return self.env.removeprefix(PREFIX).lower()

    @property
    def flag(self) -> str:
        """Flag on the command line."""
        return f"--{self.key.replace('_', '-')}"

    @property
    def default_text(self) -> str:
        """The default as a person reads it."""
        return self.default_note or self.default or "none"


_SWITCH = Switch()
_AGENT_URL = AgentUrl()
_BIND_HOST = BindHost()
_OVERRIDE_TOKEN = Token(least=16)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        env="IATP_AGENT_URL",
        field="agent_url",
        reader=_AGENT_URL,
        default="http://localhost:8000",
        meaning="where the agent listens, path included; every address of the name is tried",
        reason="the port that uvicorn and its kin start on, on the same machine",
        older=(Older(env="IATP_BACKEND_URL", reader=_AGENT_URL),),
    ),
    Setting(
        env="IATP_HOST",
        field="host",
        reader=BindHost(unix=True),
        default="0.0.0.0",
        meaning="address of the data listener, and of the metrics listener, which is on "
        "127.0.0.1 where this is a Unix socket",
        reason="callers are on other machines",
    ),
    Setting(
        env="IATP_PORT",
        field="port",
        reader=Whole(0, 65535, " (0: a free port)"),
        default="8001",
        meaning="port of the data listener; not with a Unix socket",
        reason="the port that published clients use",
    ),
    Setting(
        env="IATP_ADMIN_HOST",
        field="admin_host",
        reader=_BIND_HOST,
        default="127.0.0.1",
        meaning="address of the admin listener; wider than loopback it needs IATP_ADMIN_TOKEN",
        reason="traces are for the operator of this machine alone",
    ),
    Setting(
        env="IATP_ADMIN_PORT",
        field="admin_port",
        reader=Whole(0, 65535, " (0: no admin listener)"),
        default="9901",
        meaning="port of the admin listener; 0 switches it off",
        reason="the admin port that operators know from Envoy",
    ),
    Setting(
        env="IATP_ADMIN_TOKEN",
        field="admin_token",
        reader=Token(),
        default=None,
        meaning="what control requests carry as `Authorization: Bearer`",
        reason="loopback needs none; no secret has a default",
        secret=True,
    ),
    Setting(
        env="IATP_METRICS_PORT",
        field="metrics_port",
        reader=Whole(0, 65535, " (0: a free port)"),
        default=None,
        meaning="port of a listener with /metrics, /livez and /readyz alone, for scrapers",
        reason="a port that nobody scrapes need not be open",
    ),
    Setting(
        env="IATP_CONTROL_ON_DATA",
        field="control_on_data",
        reader=Choice(ControlOnData),
        default="loopback",
        meaning="whether the data port answers control reads of direct loopback peers",
        reason="published clients read traces there; nobody from outside can",
    ),
    Setting(
        env="IATP_AGENT_ID",
        field="agent_id",
        reader=Text("1 to 255 printable characters", 255, "ID"),
        default="default-agent",
        meaning="unique name of the agent",
        reason="the name that published sidecars use",
        in_manifest=True,
    ),
    Setting(
        env="IATP_TRUST_LEVEL",
        field="trust_level",
        reader=Choice(TrustLevel),
        default="standard",
        meaning="how far the agent is trusted",
        reason="as published; with the other defaults the score is 7, which passes",
        in_manifest=True,
    ),
    Setting(
        env="IATP_REVERSIBILITY",
        field="reversibility",
        reader=Choice(ReversibilityLevel),
        default="partial",
        meaning="whether what the agent does can be undone",
        reason="as published; a manifest file that does not say so means `none`",
        in_manifest=True,
    ),
    Setting(
        env="IATP_RETENTION",
        field="retention",
        reader=Choice(RetentionPolicy),
        default="temporary",
        meaning="how long the agent keeps what it is sent",
        reason="as published; social security numbers are not sent to such an agent",
        in_manifest=True,
    ),
    Setting(
        env="IATP_HUMAN_IN_LOOP",
        field="human_in_loop",
        reader=_SWITCH,
        default="false",
        meaning="whether people read what the agent is sent",
        reason="as published",
        in_manifest=True,
        older=(Older(env="IATP_HUMAN_REVIEW", reader=_SWITCH),),
    ),
    Setting(
        env="IATP_TRAINING_CONSENT",
        field="training_consent",
        reader=_SWITCH,
        default="false",
        meaning="whether the agent trains on what it is sent",
        reason="as published",
        in_manifest=True,
    ),
    Setting(
        env="IATP_IDEMPOTENCY",
        field="idempotency",
        reader=_SWITCH,
        default="false",
        meaning="whether the agent takes duplicates safely; only then is a POST or PATCH to which "
        "no byte of an answer came sent again, and only with X-Idempotency-Key",
        reason="a payment must not be made twice",
        in_manifest=True,
    ),
    Setting(
        env="IATP_CONCURRENCY_LIMIT",
        field="concurrency_limit",
        # 2**20 is how many slots the memory that workers share can hold.
        reader=Whole(1, 1 << 20),
        default="100",
        meaning="requests that the agent takes at once; more wait here",
        reason="the published manifest's default",
        in_manifest=True,
    ),
    Setting(
        env="IATP_SLA_LATENCY_MS",
        field="sla_latency_ms",
        reader=Whole(0, 86_400_000),
        default="2000",
        meaning="95th percentile of its answer time that the agent promises, in ms",
        reason="the published manifest's default",
        in_manifest=True,
    ),
    Setting(
        env="IATP_MANIFEST",
        field="manifest_file",
        reader=PathText(),
        default=None,
        meaning="a manifest file (JSON); variables that are set override it",
        reason="the variables above are enough to begin with",
    ),
    Setting(
        env="IATP_LOG_DIR",
        field="log_dir",
        reader=PathText(),
        default="./iatp-logs",
        meaning="the flight recorder's folder; one sidecar locks it",
        reason="can be written by whoever starts the sidecar, without root",
    ),
    Setting(
        env="IATP_RECORD_BODY",
        field="record_body_bytes",
        reader=Size("0B", "16MiB"),
        default="8KiB",
        meaning="how much of a payload a record keeps",
        reason="holds most tool calls whole; a record stays one quick write",
    ),
    Setting(
        env="IATP_DURABILITY",
        field="durability",
        reader=Choice(Durability),
        default="process",
        meaning="what a record survives before anything leaves: the sidecar's end (`process`), or "
        "the machine's too (`power`: synced to the disk)",
        reason="a sync costs milliseconds; a power cut takes the agent and its caller as well",
    ),
    Setting(
        env="IATP_RECORD_FAILURE",
        field="record_failure",
        reader=Choice(RecordFailure),
        default="closed",
        meaning="while the flight recorder cannot write: refuse with 503 (`closed`), or go on "
        "without a record (`open`)",
        reason="no record, no traffic",
    ),
    Setting(
        env="IATP_LOG_SEGMENT",
        field="log_segment_bytes",
        reader=Size("4KiB", "16GiB"),
        default="64MiB",
        meaning="size at which a log file is closed and the next one begun",
        reason="small enough to copy and search, large enough to be few",
    ),
    Setting(
        env="IATP_LOG_SEGMENT_AGE",
        field="log_segment_age_s",
        reader=Duration("1s", "3650d"),
        default="24h",
        meaning="age at which a log file is closed and the next one begun, if it holds anything",
        reason="a quiet sidecar closes a file a day, so that retention by age reaches it",
    ),
    Setting(
        env="IATP_LOG_MAX_SIZE",
        field="log_max_size_bytes",
        reader=Size("4KiB", "1024TiB"),
        default="10GiB",
        meaning="size of all log files together, above which the oldest are deleted",
        reason="fits a small disk",
    ),
    Setting(
        env="IATP_LOG_MAX_AGE",
        field="log_max_age_s",
        reader=Duration("1s", "3650d"),
        default="30d",
        meaning="age at which a log file is deleted",
        reason="a month's audit, and no data kept for ever",
    ),
    Setting(
        env="IATP_LOG_COMPRESS",
        field="log_compress",
        reader=Choice(LogCompression),
        default="zstd",
        meaning="how closed log files are kept",
        reason="a log takes a tenth of the room, and is read as it was",
    ),
    Setting(
        env="IATP_LOG_COMPRESS_AFTER",
        field="log_compress_after_s",
        reader=Duration("0s", "3650d"),
        default="10m",
        meaning="how long a closed log file stays plain; an encrypted one is compressed at once",
        reason="log shippers have read it to its end by then",
    ),
    Setting(
        env="IATP_LOG_KEY_FILE",
        field="log_key_file",
        reader=PathText(),
        default=None,
        default_note="log files are not encrypted",
        meaning="keys of the log, 64 hex digits a line: the first encrypts, all decrypt",
        reason="a key is worth only what its keeping is: that is for you to arrange",
    ),
    Setting(
        env="IATP_KEY_FILE",
        field="key_file",
        reader=PathText(),
        default=None,
        default_note="made at first start, beside the log folder",
        meaning="the installation's key, from which MAC and ticket keys come; replicas share it",
        reason="outside the folder, so that copied logs do not carry the key of their MACs",
    ),
    Setting(
        env="IATP_SIGNING_KEY_FILE",
        field="signing_key_file",
        reader=PathText(),
        default=None,
        default_note="made at first start, beside the log folder",
        meaning="the Ed25519 key (PEM) that signs the log's seals; its public key lies beside it",
        reason="outside the folder: who can change only the logs cannot seal them anew",
    ),
    Setting(
        env="IATP_WORKERS",
        field="workers",
        reader=Whole(1, 64),
        default="1",
        meaning="processes that share the port",
        reason="one sidecar per agent shares its machine with it",
    ),
    Setting(
        env="IATP_AGENT_TIMEOUT",
        field="agent_timeout_s",
        reader=Duration("10ms", "1d"),
        default="30s",
        meaning="from the sent request to the complete head of the agent's answer, then 504",
        reason="published sidecars wait as long",
        older=(Older(env="IATP_BACKEND_TIMEOUT", reader=SecondsOrDuration("10ms", "1d")),),
    ),
    Setting(
        env="IATP_STREAM_IDLE_TIMEOUT",
        field="stream_idle_timeout_s",
        reader=Duration("10ms", "1d"),
        default="60s",
        meaning="longest pause of the agent inside its answer",
        reason="the HTML standard advises event streams to send a comment every 15 s",
    ),
    Setting(
        env="IATP_STREAM_TIMEOUT",
        field="stream_timeout_s",
        reader=Duration("10ms", "30d"),
        default="15m",
        meaning="longest answer of the agent in all",
        reason="a long run of an agent; a forgotten stream ends",
    ),
    Setting(
        env="IATP_MAX_BODY",
        field="max_body_bytes",
        reader=Size("1B", "1GiB"),
        default="10MiB",
        meaning="largest request body, decoded; above it 413",
        reason="room for documents in tool calls",
    ),
    Setting(
        env="IATP_MAX_BUFFERED",
        field="max_buffered_bytes",
        reader=Size("1B", "1TiB"),
        default="64MiB",
        meaning="bytes that wait here in all, above which requests get 503; each worker has an "
        "even share, and room for IATP_MAX_BODY",
        reason="beside the 56 MB of an idle worker it stays under 128 MiB",
    ),
    Setting(
        env="IATP_MAX_CONNECTIONS",
        field="max_connections",
        reader=Whole(1, 1_000_000),
        default="10000",
        meaning="callers' connections at once, to each worker",
        reason="more than the callers of one agent need",
    ),
    Setting(
        env="IATP_QUEUE_LIMIT",
        field="queue_limit",
        reader=Whole(0, 1_000_000),
        default="10000",
        meaning="requests that wait for the agent in each worker, above which 503",
        reason="as many as there are connections",
    ),
    Setting(
        env="IATP_QUEUE_TIMEOUT",
        field="queue_timeout_s",
        reader=Duration("0s", "1d"),
        default="30s",
        meaning="longest wait for the agent, then 503",
        reason="callers give up by then",
    ),
    Setting(
        env="IATP_DRAIN",
        field="drain_s",
        reader=Duration("0s", "1d"),
        default="25s",
        meaning="time for accepted requests after SIGTERM",
        reason="Kubernetes kills after 30 s",
    ),
    Setting(
        env="IATP_READY_CHECK_AGENT",
        field="ready_check_agent",
        reader=_SWITCH,
        default="true",
        meaning="whether /readyz asks for the agent's port to answer",
        reason="traffic before the agent is up would get 502",
    ),
    Setting(
        env="IATP_POLICY",
        field="policy_file",
        reader=PathText(),
        default=None,
        default_note="the table of the protocol, `iatp/values/policy.toml`",
        meaning="a policy file (TOML): which findings may reach which agent, and which paths "
        "are open",
        reason="the protocol's own table",
    ),
    Setting(
        env="IATP_OVERRIDE",
        field="override",
        reader=Choice(OverrideMode),
        default="header",
        default_note="`header`; `secret` where IATP_OVERRIDE_TOKEN is set",
        meaning="what confirms a warning; `ticket` is for production",
        reason="the published protocol",
    ),
    Setting(
        env="IATP_OVERRIDE_TOKEN",
        field="override_token",
        reader=_OVERRIDE_TOKEN,
        default=None,
        meaning="what confirms a warning in mode `secret`",
        reason="no secret has a default",
        secret=True,
        older=(Older(env="IATP_TRUSTED_USER_OVERRIDE_TOKEN", reader=_OVERRIDE_TOKEN),),
    ),
    Setting(
        env="IATP_LOG_LEVEL",
        field="log_level",
        reader=Choice(LogLevel),
        default="info",
        meaning="how much the sidecar's own log says, on standard error; never a payload",
        reason="starts, stops and what goes wrong",
    ),
    Setting(
        env="IATP_LOG_FORMAT",
        field="log_format",
        reader=Choice(LogFormat),
        default=None,
        default_note="`text` on a terminal, else `json`",
        meaning="how the sidecar's own log is written",
        reason="people read terminals, machines read the rest",
    ),
)

BY_KEY: dict[str, Setting] = {setting.key: setting for setting in SETTINGS}

RETIRED: dict[str, str] = {
    "IATP_ALLOW_OVERRIDE": "IATP_OVERRIDE=off switches overrides off",
    "IATP_TRUST_THRESHOLD": "the protocol fixes it at 7",
    "IATP_CONFIG": "a TOML file is given with --config",
}
"""Names that were published without ever having an effect, and what to do instead."""
