"""The manifest: what an agent promises, read from either shape, and its trust score.

Three rules hold everywhere. A manifest that exists is valid: the constructors check as
strictly as the loader. One fact has one place: the flat names of 0.x are read and served,
never kept. Nothing but `ManifestError` comes out of a bad document, whoever wrote it.

A peer's manifest differs from ours in two ways: its unknown fields are ignored, and where
two of its fields contradict each other, the one that earns less trust holds.
Protocol sections 3 and 4.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from iatp.values.manifest_rules import (
    MOST_PROBLEMS,
    Choice,
    Exactly,
    Flag,
    ManifestError,
    Rule,
    Share,
    Span,
    Text,
    Texts,
    UnfitError,
    Whole,
    complaint,
    nearest,
    shown,
)
from iatp.values.manifest_text import parse

PROTOCOL_VERSION = "1.0"
SCHEMA_ID = "http://inter-agent-trust.org/v1/schema"
"""Identifier of the published schema; what a manifest's `$schema` says."""

_DAY_S = 86_400


class TrustLevel(enum.StrEnum):
    """How far the agent is trusted before anything else counts."""

    VERIFIED_PARTNER = "verified_partner"
    TRUSTED = "trusted"
    STANDARD = "standard"
    UNKNOWN = "unknown"
    UNTRUSTED = "untrusted"


class ReversibilityLevel(enum.StrEnum):
    """How much of what the agent did can be undone."""

    FULL = "full"
    PARTIAL = "partial"
    NONE = "none"


class RetentionPolicy(enum.StrEnum):
    """How long the agent keeps what it is sent."""

    EPHEMERAL = "ephemeral"
    TEMPORARY = "temporary"
    PERMANENT = "permanent"
    FOREVER = "forever"
    """The same as `permanent`; served as it was given."""


class _Method(enum.StrEnum):
    """The published schema's list of ways to authenticate."""

    NONE = "none"
    API_KEY = "api_key"
    OAUTH2 = "oauth2"
    MUTUAL_TLS = "mutual_tls"
    JWT = "jwt"


TRUST_POINTS: Mapping[str, int] = {
    TrustLevel.VERIFIED_PARTNER: 10,
    TrustLevel.TRUSTED: 7,
    TrustLevel.STANDARD: 5,
    TrustLevel.UNKNOWN: 2,
    TrustLevel.UNTRUSTED: 0,
}
REVERSIBILITY_POINTS: Mapping[str, int] = {
    ReversibilityLevel.FULL: 2,
    ReversibilityLevel.PARTIAL: 2,
    ReversibilityLevel.NONE: 0,
}
RETENTION_POINTS: Mapping[str, int] = {
    RetentionPolicy.EPHEMERAL: 1,
    RetentionPolicy.TEMPORARY: 0,
    RetentionPolicy.PERMANENT: -1,
    RetentionPolicy.FOREVER: -1,
}
HUMAN_IN_LOOP_POINTS = -2
TRAINING_CONSENT_POINTS = -1
LEAST_SCORE, MOST_SCORE = 0, 10


class _Field(msgspec.Struct, frozen=True):
    """One fact of a manifest: where it stands in JSON and where it is kept."""

    path: str
    holder: str
    """Which struct keeps it, by its key in `_HOLDERS`; the manifest itself is empty."""
    name: str
    rule: Any
    older: tuple[tuple[str, Any], ...] = ()
    """Where 0.x puts it, and the rule it follows there."""


_ID = Text(255)
_NOTE = Text(1000)
_COUNT = Whole(0)
_RATE = Whole(1, 10**9, freely=True)
_FLAG = Flag()
_RETENTION = Choice(RetentionPolicy)
_REVERSIBILITY = Choice(ReversibilityLevel)
_ATTESTATION = (
    "agent_id",
    "codebase_hash",
    "config_hash",
    "signature",
    "signing_key_id",
    "timestamp",
    "expires_at",
)


def _plain(section: str, holder: str, names: str, rule: Rule) -> tuple[_Field, ...]:
    return tuple(_Field(f"{section}.{name}", holder, name, rule) for name in names.split())


_FIELDS: tuple[_Field, ...] = (
    _Field("$schema", "", "schema", _NOTE),
    _Field("identity.agent_id", "", "agent_id", _ID, (("agent_id", _ID),)),
    *_plain("identity", "", "owner contact", _ID),
    _Field(
        "identity.verification_key",
        "",
        "verification_key",
        Text(1000, "'ed25519:' and the key", r"ed25519:[!-~]+"),
    ),
    _Field("trust_level", "", "trust_level", Choice(TrustLevel)),
    _Field("scopes", "", "scopes", Texts(_ID, 1000)),
    _Field("agent_version", "", "agent_version", _ID),
    _Field(
        "protocol_version",
        "",
        "protocol_version",
        Exactly(PROTOCOL_VERSION, r"[01]\.[0-9]{1,9}"),
    ),
    _Field(
        "manifest_version",
        "",
        "manifest_version",
        Text(255, "three numbers such as 1.0.0", r"[0-9]+\.[0-9]+\.[0-9]+"),
    ),
    _Field("updated_at", "", "updated_at", _ID),
    _Field("capabilities.idempotency", "capabilities", "idempotency", _FLAG),
    *_plain("capabilities", "capabilities", "idempotency_duration_seconds", _COUNT),
    *_plain("capabilities", "capabilities", "concurrency_limit", Whole(1)),
    _Field(
        "capabilities.sla_latency_ms",
        "capabilities",
        "sla_latency_ms",
        _COUNT,
        (("capabilities.sla_latency", Span(1)),),
    ),
    _Field("capabilities.sla_availability", "capabilities", "sla_availability", Share()),
    _Field(
        "reversibility.level",
        "capabilities",
        "reversibility",
        _REVERSIBILITY,
        (("capabilities.reversibility", _REVERSIBILITY),),
    ),
    _Field(
        "reversibility.undo_window_seconds",
        "capabilities",
        "undo_window_seconds",
        _COUNT,
        (("capabilities.undo_window", Span(1000)),),
    ),
    *_plain("reversibility", "capabilities", "compensation_method", _ID),
    *_plain("reversibility", "capabilities", "compensation_sla_ms", _COUNT),
    *_plain("reversibility", "capabilities", "compensation_endpoint", _NOTE),
    *_plain("reversibility", "capabilities", "compensation_notes", Text(1000, lines=True)),
    *_plain("reversibility.undo_conditions", "undo_conditions", "until_state", _ID),
    *_plain("reversibility.undo_conditions", "undo_conditions", "check_endpoint", _NOTE),
    _Field(
        "privacy.retention_policy",
        "privacy_contract",
        "retention",
        _RETENTION,
        (("privacy_contract.retention", _RETENTION),),
    ),
    *_plain("privacy", "privacy_contract", "retention_duration_seconds", _COUNT),
    _Field(
        "privacy.human_in_loop",
        "privacy_contract",
        "human_in_loop",
        _FLAG,
        (("privacy_contract.human_review", _FLAG), ("privacy_contract.human_in_loop", _FLAG)),
    ),
    *(
        _Field(
            f"privacy.{name}",
            "privacy_contract",
            name,
            rule,
            ((f"privacy_contract.{name}", rule),),
        )
        for name, rule in (
            ("storage_location", _ID),
            ("training_consent", _FLAG),
            ("encryption_at_rest", _FLAG),
            ("encryption_in_transit", _FLAG),
        )
    ),
    *_plain("privacy", "privacy_contract", "data_processing_addendum", _NOTE),
    _Field(
        "authentication.methods",
        "authentication",
        "methods",
        Texts(Choice(_Method), len(_Method)),
    ),
    *_plain("authentication", "authentication", "required", _FLAG),
    *_plain("rate_limiting", "rate_limiting", "requests_per_second", _RATE),
    _Field(
        "rate_limiting.requests_per_minute",
        "rate_limiting",
        "requests_per_minute",
        _RATE,
        (("capabilities.rate_limit", _RATE),),
    ),
    *_plain("rate_limiting", "rate_limiting", "requests_per_hour burst_limit", _RATE),
    *_plain("attestation", "attestation", " ".join(_ATTESTATION), Text(8192)),
)

_PATHS = [path for field in _FIELDS for path in (field.path, *(old for old, _ in field.older))]
_SECTIONS = sorted({path.rpartition(".")[0] for path in _PATHS} - {""})
_BY_HOLDER: dict[str, tuple[_Field, ...]] = {
    holder: tuple(field for field in _FIELDS if field.holder == holder)
    for holder in {field.holder for field in _FIELDS}
}


class _Clash(msgspec.Struct, frozen=True):
    """Two fields of one struct that cannot both be true."""

    holder: str
    names: tuple[str, ...]
    holds: Callable[[Mapping[str, Any]], bool]
    sentence: str
    for_peers: dict[str, Any]
    """What is read instead in a peer's manifest; None is absent."""


def _irreversible(values: Mapping[str, Any]) -> bool:
    return bool(values.get("reversibility", "none") == "none")


_CLASHES: tuple[_Clash, ...] = (
    _Clash(
        "capabilities",
        ("idempotency", "idempotency_duration_seconds"),
        lambda values: bool(
            not values.get("idempotency") and values.get("idempotency_duration_seconds")
        ),
        "capabilities.idempotency_duration_seconds contradicts capabilities.idempotency, "
        "which is false: leave the duration out or declare idempotency",
        {"idempotency_duration_seconds": None},
    ),
    _Clash(
        "capabilities",
        ("reversibility", "undo_window_seconds"),
        lambda values: _irreversible(values) and bool(values.get("undo_window_seconds")),
        "reversibility.undo_window_seconds contradicts reversibility.level, which is none: "
        "leave the window out or make the level full or partial",
        {"undo_window_seconds": None},
    ),
    _Clash(
        "capabilities",
        ("reversibility", "compensation_method"),
        lambda values: (
            _irreversible(values) and values.get("compensation_method") not in (None, "none")
        ),
        "reversibility.compensation_method contradicts reversibility.level, which is none: "
        "leave the method out or make the level full or partial",
        {"compensation_method": None},
    ),
    _Clash(
        "capabilities",
        ("reversibility", "compensation_endpoint"),
        lambda values: _irreversible(values) and values.get("compensation_endpoint") is not None,
        "reversibility.compensation_endpoint contradicts reversibility.level, which is none: "
        "leave the endpoint out or make the level full or partial",
        {"compensation_endpoint": None},
    ),
    _Clash(
        "privacy_contract",
        ("retention", "retention_duration_seconds"),
        lambda values: bool(
            values.get("retention") == "ephemeral"
            and (values.get("retention_duration_seconds") or 0) > _DAY_S
        ),
        "privacy.retention_duration_seconds contradicts privacy.retention_policy, which is "
        "ephemeral: what is kept for more than a day is temporary",
        {"retention": RetentionPolicy.TEMPORARY},
    ),
    _Clash(
        "privacy_contract",
        ("retention", "retention_duration_seconds"),
        lambda values: bool(
            values.get("retention") in ("permanent", "forever")
            and values.get("retention_duration_seconds")
        ),
        "privacy.retention_duration_seconds contradicts privacy.retention_policy, which keeps "
        "data for good: leave the duration out or make the policy temporary",
        {"retention_duration_seconds": None},
    ),
    _Clash(
        "authentication",
        ("methods", "required"),
        lambda values: bool(values.get("required") and "none" in values.get("methods", ())),
        "authentication.methods holds none, which contradicts authentication.required",
        {"required": None},
    ),
)


class _Constructor(msgspec.StructMeta):
    """Takes the keyword names of 0.x as well; None is absent, as null is in JSON."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805  (a metaclass)
        given: dict[str, Any] = {}
        problems: list[str] = []
        older: Mapping[str, tuple[str, Rule | None]] = getattr(cls, "_older", {})
        for name, value in kwargs.items():
            if value is None:
                continue
            kept, rule = older.get(name, (name, None))
            if rule is not None:
                try:
                    value = rule.read(value)  # noqa: PLW2901
                except UnfitError as unfit:
                    problems.append(complaint(name, value, rule, unfit))
                    continue
            if given.setdefault(kept, value) != value:
                problems.append(f"{kept} and {name} contradict each other")
        if problems:
            raise ManifestError(problems)
        return super().__call__(*args, **given)


class _Part(msgspec.Struct, frozen=True, kw_only=True, metaclass=_Constructor):
    """A struct whose fields are checked whenever it is made."""

    _holder: ClassVar[str]
    _older: ClassVar[Mapping[str, tuple[str, Rule | None]]] = {}

    def __post_init__(self) -> None:
        problems: list[str] = []
        values: dict[str, Any] = {}
        for field in _BY_HOLDER[self._holder]:
            value = getattr(self, field.name)
            if value is None:
                continue
            try:
                values[field.name] = field.rule.read(value)
            except UnfitError as unfit:
                problems.append(complaint(field.path, value, field.rule, unfit))
            else:
                msgspec.structs.force_setattr(self, field.name, values[field.name])
        problems += [
            clash.sentence
            for clash in _CLASHES
            if clash.holder == self._holder and not problems and clash.holds(values)
        ]
        if problems:
            raise ManifestError(problems)


class UndoConditions(_Part, frozen=True, kw_only=True):
    """What else limits an undo besides time."""

    _holder = "undo_conditions"

    until_state: str | None = None
    """The state from which on nothing can be undone, such as `shipped`."""
    check_endpoint: str | None = None


class AgentCapabilities(_Part, frozen=True, kw_only=True):
    """What the agent can do, and how much of it can be undone.

    `undo_window="24h"`, `sla_latency="2000ms"` and `rate_limit=100` (a minute; the manifest
    moves it to `rate_limiting`) work as older names.
    """

    _holder = "capabilities"
    _older = {
        "undo_window": ("undo_window_seconds", Span(1000)),
        "sla_latency": ("sla_latency_ms", Span(1)),
    }

    idempotency: bool = False
    idempotency_duration_seconds: int | None = None
    concurrency_limit: int = 100
    """Requests that the agent takes at once."""
    sla_latency_ms: int = 2000
    """Target of the 95th percentile."""
    sla_availability: float | None = None
    reversibility: ReversibilityLevel = ReversibilityLevel.NONE
    undo_window_seconds: int = 0
    """0: no limit."""
    compensation_method: str | None = None
    compensation_sla_ms: int | None = None
    compensation_endpoint: str | None = None
    compensation_notes: str | None = None
    undo_conditions: UndoConditions | None = None
    rate_limit: int | None = None
    """None in every manifest: 0.x has the rate here, we have it in `rate_limiting`."""

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            idempotency: bool | None = None,
            idempotency_duration_seconds: int | None = None,
            concurrency_limit: int | None = None,
            sla_latency_ms: int | None = None,
            sla_availability: float | None = None,
            reversibility: ReversibilityLevel | str | None = None,
            undo_window_seconds: int | None = None,
            compensation_method: str | None = None,
            compensation_sla_ms: int | None = None,
            compensation_endpoint: str | None = None,
            compensation_notes: str | None = None,
            undo_conditions: UndoConditions | None = None,
            rate_limit: int | None = None,
            undo_window: str | None = None,
            sla_latency: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Check the fields. Raises: ManifestError."""
        super().__post_init__()
        if self.rate_limit is not None:
            _require("capabilities.rate_limit", self.rate_limit, _RATE)
        _require_part(self, "undo_conditions", UndoConditions)


class PrivacyContract(_Part, frozen=True, kw_only=True):
    """What becomes of the data. `human_review=` works as an older name of `human_in_loop=`."""

    _holder = "privacy_contract"
    _older = {"human_review": ("human_in_loop", None)}

    retention: RetentionPolicy = RetentionPolicy.TEMPORARY
    retention_duration_seconds: int | None = None
    storage_location: str | None = None
    human_in_loop: bool = False
    training_consent: bool = False
    encryption_at_rest: bool = False
    encryption_in_transit: bool = True
    data_processing_addendum: str | None = None

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            retention: RetentionPolicy | str | None = None,
            retention_duration_seconds: int | None = None,
            storage_location: str | None = None,
            human_in_loop: bool | None = None,
            training_consent: bool | None = None,
            encryption_at_rest: bool | None = None,
            encryption_in_transit: bool | None = None,
            data_processing_addendum: str | None = None,
            human_review: bool | None = None,
        ) -> None: ...

    @property
    def human_review(self) -> bool:
        """The older name of `human_in_loop`."""
        return self.human_in_loop


class Authentication(_Part, frozen=True, kw_only=True):
    """How callers authenticate."""

    _holder = "authentication"

    methods: tuple[str, ...] = ()
    """Of none, api_key, oauth2, mutual_tls, jwt."""
    required: bool = False


class RateLimiting(_Part, frozen=True, kw_only=True):
    """How many requests each caller may make; every limit that is set holds."""

    _holder = "rate_limiting"

    requests_per_second: int | None = None
    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    burst_limit: int | None = None


class Attestation(_Part, frozen=True, kw_only=True):
    """A control plane's signed word on the code that the agent runs (0.x's record)."""

    _holder = "attestation"

    agent_id: str | None = None
    codebase_hash: str | None = None
    config_hash: str | None = None
    signature: str | None = None
    signing_key_id: str | None = None
    timestamp: str | None = None
    expires_at: str | None = None


class CapabilityManifest(_Part, frozen=True, kw_only=True):
    """All that an agent promises. Raises ManifestError when it is made of what can't be."""

    _holder = ""

    agent_id: str
    owner: str | None = None
    """None: the same as the agent_id."""
    contact: str | None = None
    verification_key: str | None = None
    trust_level: TrustLevel = TrustLevel.STANDARD
    scopes: tuple[str, ...] = ()
    capabilities: AgentCapabilities = msgspec.field(default_factory=AgentCapabilities)
    privacy_contract: PrivacyContract = msgspec.field(default_factory=PrivacyContract)
    authentication: Authentication | None = None
    rate_limiting: RateLimiting | None = None
    attestation: Attestation | None = None
    agent_version: str | None = None
    manifest_version: str | None = None
    updated_at: str | None = None
    protocol_version: str = PROTOCOL_VERSION
    schema: str = SCHEMA_ID

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            agent_id: str,
            owner: str | None = None,
            contact: str | None = None,
            verification_key: str | None = None,
            trust_level: TrustLevel | str | None = None,
            scopes: Iterable[str] | None = None,
            capabilities: AgentCapabilities | None = None,
            privacy_contract: PrivacyContract | None = None,
            authentication: Authentication | None = None,
            rate_limiting: RateLimiting | None = None,
            attestation: Attestation | None = None,
            agent_version: str | None = None,
            manifest_version: str | None = None,
            updated_at: str | None = None,
            protocol_version: str | None = None,
            schema: str | None = None,
        ) -> None: ...

    def __post_init__(self) -> None:
        """Check the fields and move an older `rate_limit`. Raises: ManifestError."""
        super().__post_init__()
        for name, part in _OWN_PARTS.items():
            _require_part(self, name, part)
        if self.owner == self.agent_id:
            msgspec.structs.force_setattr(self, "owner", None)
        rate = self.capabilities.rate_limit
        if rate is None:
            return
        limits = self.rate_limiting or RateLimiting()
        if limits.requests_per_minute not in (None, rate):
            raise ManifestError(
                [
                    f"rate_limiting.requests_per_minute, {limits.requests_per_minute}, and "
                    f"capabilities.rate_limit, {rate}, contradict each other"
                ]
            )
        limits = msgspec.structs.replace(limits, requests_per_minute=rate)
        bare = msgspec.structs.replace(self.capabilities, rate_limit=None)
        msgspec.structs.force_setattr(self, "rate_limiting", limits)
        msgspec.structs.force_setattr(self, "capabilities", bare)

    def trust_score(self) -> int:
        """The score of section 4, 0 to 10."""
        return sum(points for _, points in explain(self))

    def calculate_trust_score(self) -> int:
        """The older name of `trust_score`."""
        return self.trust_score()


_OWN_PARTS: dict[str, type[_Part]] = {
    "capabilities": AgentCapabilities,
    "privacy_contract": PrivacyContract,
    "authentication": Authentication,
    "rate_limiting": RateLimiting,
    "attestation": Attestation,
}


def explain(manifest: CapabilityManifest) -> list[tuple[str, int]]:
    """The parts of the trust score, whose points add up to it.

    The trust level always comes first; of the others, those that count. Where the sum
    leaves 0 to 10, the last part says by how much it was cut.
    """
    privacy = manifest.privacy_contract
    reversibility = manifest.capabilities.reversibility
    parts = [
        (f"trust_level: {manifest.trust_level}", TRUST_POINTS[manifest.trust_level]),
        (f"reversibility: {reversibility}", REVERSIBILITY_POINTS[reversibility]),
        (f"retention: {privacy.retention}", RETENTION_POINTS[privacy.retention]),
        ("human_in_loop", HUMAN_IN_LOOP_POINTS if privacy.human_in_loop else 0),
        ("training_consent", TRAINING_CONSENT_POINTS if privacy.training_consent else 0),
    ]
    total = sum(points for _, points in parts)
    score = max(LEAST_SCORE, min(MOST_SCORE, total))
    parts[1:] = [part for part in parts[1:] if part[1]]
    if score != total:
        parts.append((f"limited to {LEAST_SCORE}–{MOST_SCORE}", score - total))
    return parts


def load_manifest(data: bytes | str | dict[str, Any], *, ours: bool = True) -> CapabilityManifest:
    """The manifest in a document of either shape, or of both mixed.

    `ours=False` reads a peer's: unknown fields are ignored, and of contradicting promises
    the one that earns less trust holds.

    Raises:
        ManifestError: with every problem at once, each with the path of its field.
    """
    document = data if isinstance(data, dict) else parse(data)
    reading = _Reading(document, ours=ours)
    manifest = reading.manifest()
    if manifest is None or reading.problems:
        problems = reading.problems
        if len(problems) > MOST_PROBLEMS:
            problems = [*problems[:MOST_PROBLEMS], "and more problems like these"]
        raise ManifestError(problems)
    return manifest


class _Reading:
    """One pass over a document, which gathers what is wrong."""

    def __init__(self, document: dict[str, Any], *, ours: bool) -> None:
        self.ours = ours
        self.problems: list[str] = []
        self.unread: set[str] = set()
        """Paths of fields that are there and could not be read."""
        self.sections: dict[str, dict[str, Any]] = {"": document}
        for path in _SECTIONS:
            self._open(path)
        if ours:
            for path in self.sections:
                self._refuse_unknown(path)

    def _open(self, path: str) -> None:
        parent, _, name = path.rpartition(".")
        value = self.sections.get(parent, {}).get(name)
        if isinstance(value, dict):
            self.sections[path] = value
        elif value is not None:
            self.problems.append(f"{path}: {shown(value)} is not allowed; it must be an object")
            self.unread |= {known for known in _PATHS if known.startswith(f"{path}.")}

    def _refuse_unknown(self, path: str) -> None:
        prefix = f"{path}." if path else ""
        known = {
            each.removeprefix(prefix).partition(".")[0]
            for each in _PATHS
            if each.startswith(prefix)
        }
        for key in self.sections[path]:
            if key in known:
                continue
            if len(self.problems) > MOST_PROBLEMS:
                return
            name = f"{prefix}{_bare(key)}"
            meant = _nearest_field(path, _bare(key))
            hint = f"meant: {meant}" if meant else f"known are {', '.join(sorted(known))}"
            self.problems.append(f"{name}: there is no such field; {hint}")

    def manifest(self) -> CapabilityManifest | None:
        """What the document holds, or None where a problem hides it."""
        found: dict[str, dict[str, Any]] = {holder: {} for holder in _BY_HOLDER}
        hidden: set[str] = set()
        for field in _FIELDS:
            before = len(self.problems)
            value = self._field(field)
            if value is not None:
                found[field.holder][field.name] = value
            if len(self.problems) > before or field.path in self.unread:
                hidden.add(f"{field.holder}.{field.name}")
        if "agent_id" not in found[""] and ".agent_id" not in hidden:
            self.problems.append(f"identity.agent_id: it is missing; it must be {_ID.allowed}")
        for clash in _CLASHES:
            self._settle(clash, found[clash.holder], hidden)
        if self.problems:
            return None
        return _assemble(found)

    def _field(self, field: _Field) -> Any:
        """The field's value from wherever it stands; None where it is absent."""
        read: list[tuple[str, Any, object]] = []
        for path, rule in ((field.path, field.rule), *field.older):
            section, _, name = path.rpartition(".")
            given = self.sections.get(section, {}).get(name)
            if given is None:
                continue
            value = self._read(path, given, rule)
            if value is not None:
                read.append((path, value, given))
        if not read:
            return None
        path, value, given = read[0]
        for other_path, other, other_given in read[1:]:
            if not _same(value, other):
                self.problems.append(
                    f"{path}, {shown(given)}, and {other_path}, {shown(other_given)}, "
                    "contradict each other"
                )
        return value

    def _read(self, path: str, given: object, rule: Rule) -> Any:
        if not self.ours:
            if isinstance(rule, Exactly) and isinstance(given, str):
                given = rule.text if rule.peers.fullmatch(given) else given
            if type(given) in rule.dropped:
                try:
                    return rule.read(given)
                except UnfitError:
                    return None
        try:
            return rule.read(given)
        except UnfitError as unfit:
            self.problems.append(complaint(path, given, rule, unfit))
            return None

    def _settle(self, clash: _Clash, values: dict[str, Any], hidden: set[str]) -> None:
        if hidden.intersection(f"{clash.holder}.{name}" for name in clash.names):
            return
        if not clash.holds(values):
            return
        if self.ours:
            self.problems.append(clash.sentence)
            return
        for name, value in clash.for_peers.items():
            if value is None:
                values.pop(name)
            else:
                values[name] = value


def _assemble(found: dict[str, dict[str, Any]]) -> CapabilityManifest:
    capabilities = found["capabilities"]
    if found["undo_conditions"]:
        capabilities["undo_conditions"] = UndoConditions(**found["undo_conditions"])
    parts: dict[str, Any] = {
        name: part(**found[name]) for name, part in _OWN_PARTS.items() if found[name]
    }
    return CapabilityManifest(**found[""], **parts)


def served_document(manifest: CapabilityManifest) -> bytes:
    """The manifest as JSON in the published shape, with the flat fields of 0.x beside it."""
    document: dict[str, Any] = {}
    kept: dict[str, Any] = {
        "": manifest,
        **{name: getattr(manifest, name) for name in _OWN_PARTS},
        "undo_conditions": manifest.capabilities.undo_conditions,
    }
    for field in _FIELDS:
        value = getattr(kept[field.holder], field.name, None)
        if field.path == "identity.owner" and value is None:
            value = manifest.agent_id
        if value is not None:
            _put(document, field.path, value)
    capabilities, privacy = manifest.capabilities, manifest.privacy_contract
    limits = manifest.rate_limiting or RateLimiting()
    for path, value in (
        ("agent_id", manifest.agent_id),
        ("capabilities.reversibility", capabilities.reversibility),
        ("capabilities.sla_latency", f"{capabilities.sla_latency_ms}ms"),
        ("capabilities.undo_window", _span_text(capabilities.undo_window_seconds)),
        ("capabilities.rate_limit", limits.requests_per_minute),
        ("privacy_contract.retention", privacy.retention),
        ("privacy_contract.storage_location", privacy.storage_location),
        ("privacy_contract.human_review", privacy.human_in_loop),
        ("privacy_contract.training_consent", privacy.training_consent),
        # 0.x takes both to be true where they are absent.
        ("privacy_contract.encryption_at_rest", privacy.encryption_at_rest),
        ("privacy_contract.encryption_in_transit", privacy.encryption_in_transit),
    ):
        if value is not None:
            _put(document, path, value)
    return msgspec.json.encode(document)


def _put(document: dict[str, Any], path: str, value: object) -> None:
    *sections, name = path.split(".")
    for section in sections:
        document = document.setdefault(section, {})
    document[name] = value


def _span_text(seconds: int) -> str | None:
    """Seconds in the largest unit that 0.x knows and that fits; None for no limit."""
    if not seconds:
        return None
    for unit, size in (("d", _DAY_S), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _nearest_field(section: str, name: str) -> str:
    """The path that was probably meant, or empty: the same name elsewhere before a near one."""
    nested = {field.path.rpartition(".")[2]: field.path for field in _FIELDS}
    if name in nested:
        return nested[name]
    here = {path.rpartition(".")[2]: path for path in _PATHS if path.rpartition(".")[0] == section}
    anywhere = {path.rpartition(".")[2]: path for path in _PATHS} | nested
    for known in (here, anywhere):
        if meant := nearest(name, list(known)):
            return known[meant]
    return ""


def _same(one: object, other: object) -> bool:
    kept = {RetentionPolicy.PERMANENT, RetentionPolicy.FOREVER}
    return one == other or (one in kept and other in kept)


def _require(path: str, value: object, rule: Rule) -> None:
    try:
        rule.read(value)
    except UnfitError as unfit:
        raise ManifestError([complaint(path, value, rule, unfit)]) from None


def _require_part(holder: object, name: str, part: type[_Part]) -> None:
    value = getattr(holder, name)
    if value is not None and not isinstance(value, part):
        raise ManifestError([f"{name}: {shown(value)} is not allowed; give {part.__name__}(…)"])


def _bare(key: object) -> str:
    return key if isinstance(key, str) and re.fullmatch(r"[!-~]{1,60}", key) else shown(key)
