"""The policy as a value: which findings may reach which agent, and which paths are open.

`load_policy` reads a `policy.toml` strictly. Every problem is found before the first is
reported, with the path of its key, what was given, and what is allowed or was meant. The file
policy.toml beside this module says what the default is, protocol section 6, and how to write
another. What follows from a policy is decided in `iatp.decisions.policy`.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from iatp.values.errors import FAILURES, ConfigurationError
from iatp.values.exchange import FINDINGS, KINDS, kind_of
from iatp.values.manifest import RetentionPolicy, TrustLevel
from iatp.values.patterns import (
    LONGEST_REGEX,
    MOST_OWN,
    NotInstalledError,
    PatternError,
    check_pattern,
    compile_patterns,
)
from iatp.values.texts import nearest

DEFAULT_FILE = Path(__file__).with_name("policy.toml")

MOST_RULES = 256
MOST_PATTERNS = 1000
_MOST_PROBLEMS = 20

RULE_OVERRIDE = "override"
"""The record's rule where a warning was confirmed."""
RULE_OBSERVE = "observe"
"""The record's rule of everything that passes because the policy only observes."""


class Mode(enum.StrEnum):
    """Whether the policy decides, or only says what it would have decided."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class Action(enum.StrEnum):
    """What a rule does, from the weakest to the strongest."""

    ALLOW = "allow"
    REDACT = "redact"
    WARN = "warn"
    BLOCK = "block"


class AnswerAction(enum.StrEnum):
    """What becomes of an answer in which a kind was found."""

    PASS = "pass"  # noqa: S105
    REDACT = "redact"
    BLOCK = "block"


STRENGTH: dict[Action, int] = {action: strength for strength, action in enumerate(Action)}


_NAME_PATTERN = r"^[a-z][a-z0-9_]{0,63}\Z"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the table: it applies where all its conditions hold."""

    name: Annotated[str, msgspec.Meta(pattern=_NAME_PATTERN)]
    """Stands as `rule` in the record, and as `code` in a 403 or 449."""
    action: Action
    kinds: tuple[str, ...] = ()
    """Kinds of findings it judges, or single ones of them such as `secret.jwt`; empty: the
    request as a whole, whatever is in it."""
    retention: tuple[RetentionPolicy, ...] = ()
    """Of the agent; empty: any. `permanent` and `forever` mean the same."""
    trust_level: tuple[TrustLevel, ...] = ()
    """Of the agent; empty: any."""
    score_below: int | None = None
    """The agent's trust score is lower than this, 1 to 10."""
    reason: str = ""
    """What the caller is told instead of the sentence made from the conditions."""

    @property
    def is_bare(self) -> bool:
        """Whether it applies to every request."""
        return not (self.kinds or self.retention or self.trust_level) and self.score_below is None


class Open(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Paths below `/proxy` that callers may use, and with which methods."""

    paths: tuple[str, ...]
    """As the agent decodes them; `*` is one segment, `**` at the end one or more."""
    methods: tuple[str, ...]


class Pattern(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What else to look for."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9_]{1,64}\Z")]
    """Its findings are called `custom.` and this."""
    regex: str
    """In RE2's syntax."""
    description: str = ""
    """What callers are told it is, such as "an employee number"."""

    @property
    def finding(self) -> str:
        """What its findings are called in rules, records and metrics."""
        return f"custom.{self.name}"


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a policy file says."""

    mode: Mode = Mode.ENFORCE
    patterns: tuple[Pattern, ...] = ()
    kinds: dict[str, bool] = {}
    """Kinds that are off, each with False: neither judged nor counted. What is said of a single
    finding goes before what is said of its kind."""
    answers: dict[str, AnswerAction] = {}
    """What becomes of agents' answers, by the kind that is in them; else they pass. Here too
    a single finding goes before its kind."""
    open: tuple[Open, ...] = ()
    """Empty: every path and method is open."""
    rules: tuple[Rule, ...]

    @property
    def findings(self) -> tuple[str, ...]:
        """What can be found under it, by name."""
        return (*FINDINGS, *(pattern.finding for pattern in self.patterns))

    def is_on(self, finding: str) -> bool:
        """Whether what is found under this name is judged and counted."""
        return self.kinds.get(finding, self.kinds.get(kind_of(finding), True))

    def answer(self, finding: str) -> AnswerAction:
        """What becomes of an answer in which this is found."""
        of_kind = self.answers.get(kind_of(finding), AnswerAction.PASS)
        return self.answers.get(finding, of_kind)


class PolicyError(ConfigurationError):
    """A policy that cannot be used. `problems`: one sentence each, the key's path first."""


def load_policy(data: bytes) -> Policy:
    """Return the policy that a TOML file holds; what it leaves out is the default's.

    Raises:
        PolicyError: with every problem.
    """
    document = _parse(data)
    reading = _Reading(document)
    reading.check()
    problems = reading.problems
    if len(problems) > _MOST_PROBLEMS:
        problems = [*problems[:_MOST_PROBLEMS], "and more problems like these"]
    if problems:
        raise PolicyError(problems)
    # What says the same is the same policy, and has the same version.
    document["kinds"] = _telling(document.get("kinds", {}), default=True)
    document["answers"] = _telling(document.get("answers", {}), default="pass")
    if "rules" not in document:
        document["rules"] = DEFAULT.rules
    try:
        return msgspec.convert(document, Policy)
    except msgspec.ValidationError as error:
        raise PolicyError([str(error)]) from None


def _telling(table: dict[str, Any], *, default: object) -> dict[str, Any]:
    """Return, in one order, what differs from what holds without it."""
    return {
        name: value
        for name, value in sorted(table.items())
        if value != (default if name in KINDS else table.get(kind_of(name), default))
    }


_STORED = (RetentionPolicy.PERMANENT, RetentionPolicy.FOREVER)

DEFAULT = Policy(
    rules=(
        Rule(
            name="credit_card_retention",
            kinds=("credit_card",),
            retention=_STORED,
            action=Action.BLOCK,
        ),
        Rule(name="secret_retention", kinds=("secret",), retention=_STORED, action=Action.BLOCK),
        Rule(
            name="ssn_retention",
            kinds=("ssn",),
            retention=(RetentionPolicy.TEMPORARY, *_STORED),
            action=Action.BLOCK,
        ),
        Rule(name="low_trust", score_below=7, action=Action.WARN),
        Rule(name="trust_score", action=Action.ALLOW),
    )
)
"""Protocol section 6. The same as DEFAULT_FILE says (a test compares them), so that a sidecar
without a policy file starts without reading any TOML."""


def _parse(data: bytes) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415

    if data.startswith(b"\xef\xbb\xbf"):
        raise PolicyError(["it begins with a byte order mark; save it as plain UTF-8"])
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise PolicyError([f"it is not UTF-8 at byte {error.start}"]) from None
    except tomllib.TOMLDecodeError as error:
        raise PolicyError([f"it is not TOML: {error}"]) from None
    except (ValueError, RecursionError):
        raise PolicyError(
            ["it is not TOML: a number is too long, or it is nested too deeply"]
        ) from None


_NAME = re.compile(_NAME_PATTERN)
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_NEVER_SERVED = ("CONNECT", "TRACE")
# What a path pattern is made of: a segment holds no control character and no separator.
_SEGMENT = re.compile(r"[^\x00-\x1f\x7f/\\?#*]+")
_RESERVED = frozenset((*FAILURES, RULE_OVERRIDE, RULE_OBSERVE))

_TRUE_OR_FALSE = "allowed: true or false, without quotes"
_NAMED = (*KINDS, *(name for name in FINDINGS if name not in KINDS))
_ANY_KIND = (
    f"{', '.join(KINDS)}, a secret's own name such as secret.jwt (docs/secrets.md), or "
    "custom. and the name of one of the patterns"
)

_OTHER_WORDS = {
    "deny": ("block",),
    "reject": ("block",),
    "permit": ("allow", "pass"),
    "pass": ("allow",),
    "allow": ("pass",),
    "mask": ("redact",),
    "scrub": ("redact",),
    "confirm": ("warn",),
    "dry_run": ("observe",),
    "on": ("enforce",),
}
"""What other policies call the same."""

_TOP = ("mode", "kinds", "answers", "patterns", "open", "rules")
_PATTERN = ("name", "regex", "description")
_RULE = ("name", "action", "kinds", "retention", "trust_level", "score_below", "reason")
_OPEN = ("paths", "methods")
_OWN = re.compile(r"[a-z0-9_]{1,64}")
_NOT_INSTALLED = (
    "patterns: they are looked for by RE2, which is not installed: "
    "pip install 'iatp-sidecar[patterns]'"
)


class _Reading:
    """One pass over a document, which gathers what is wrong."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self.problems: list[str] = []
        self.named = _NAMED
        """What rules and tables may name."""

    def check(self) -> None:
        """Fill `problems`."""
        self._no_others(self.document, _TOP, "")
        if "mode" in self.document:
            self._one_of(list(Mode), "mode", self.document["mode"])
        self._check_patterns()
        self._check_kinds()
        self._check_answers()
        for at, table in self._tables("open", MOST_PATTERNS):
            self._check_open(f"open[{at}]", table)
        self._check_rules()

    def _say(self, path: str, given: object, complaint: str) -> None:
        self.problems.append(f"{path} is {_shown(given)}: {complaint}")

    def _no_others(
        self, table: Mapping[str, Any], known: Iterable[str], path: str, said: str = ""
    ) -> None:
        for key in table:
            if key not in known:
                meant = nearest(key.lower(), list(known))
                hint = f"meant: {meant}" if meant else f"known are {said or ', '.join(known)}"
                self.problems.append(f"{path}{_shown_key(key)}: there is no such key; {hint}")

    def _one_of(self, names: Sequence[str], path: str, given: object, said: str = "") -> bool:
        known = [str(name) for name in names]
        if given in known and isinstance(given, str):
            return True
        allowed = "allowed: " + (said or f"{', '.join(known[:-1])} or {known[-1]}")
        meant = ""
        if isinstance(given, str):
            plain = given.strip().lower().replace("-", "_")
            same = (plain, *_OTHER_WORDS.get(plain, ()))
            meant = next((word for word in same if word in known), nearest(plain, known))
        self._say(path, given, f"meant: {meant}; {allowed}" if meant else allowed)
        return False

    def _list(
        self, path: str, given: object, check: Callable[[str, object], object], most: int
    ) -> None:
        if not isinstance(given, list) or not given:
            self._say(path, given, "it must be a list with at least one item; leave it out for any")
            return
        if len(given) > most:
            self.problems.append(f"{path}: {len(given)} items are more than {most}")
            return
        for at, item in enumerate(given):
            check(f"{path}[{at}]", item)
            if item in given[:at]:
                self._say(f"{path}[{at}]", item, "it stands there twice")

    def _tables(self, name: str, most: int) -> list[tuple[int, dict[str, Any]]]:
        given = self.document.get(name)
        if given is None:
            return []
        if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
            self._say(name, given, f"it must be tables, each under [[{name}]]")
            return []
        if not given:
            self.problems.append(f"{name} is empty: leave it out, or write a [[{name}]]")
        if len(given) > most:
            self.problems.append(f"{name}: {len(given)} tables are more than {most}")
            return []
        return list(enumerate(given))

    def _check_patterns(self) -> None:
        tables = self._tables("patterns", MOST_OWN)
        before = len(self.problems)
        names: list[str] = []
        for at, table in tables:
            path = f"patterns[{at}]"
            self._no_others(table, _PATTERN, f"{path}.")
            name = table.get("name")
            if name is None:
                self.problems.append(f"{path}.name is missing")
            elif not isinstance(name, str) or not _OWN.fullmatch(name):
                self._say(f"{path}.name", name, "allowed: a to z, 0 to 9 and _, at most 64")
            elif name in names:
                self._say(f"{path}.name", name, "another pattern has this name")
            else:
                names.append(name)
            self._check_text(f"{path}.description", table.get("description"))
        self.named = (*_NAMED, *(f"custom.{name}" for name in names))
        try:
            for at, table in tables:
                self._check_regex(f"patterns[{at}]", table)
            if tables and len(self.problems) == before:
                compile_patterns([table["regex"] for _, table in tables])
        except NotInstalledError:
            self.problems.append(_NOT_INSTALLED)
        except PatternError as error:
            self.problems.append(f"patterns: {error}")

    def _check_regex(self, path: str, table: dict[str, Any]) -> None:
        regex, name = table.get("regex"), table.get("name")
        if regex is None:
            self.problems.append(f"{path}.regex is missing")
        elif not isinstance(regex, str) or not 1 <= len(regex) <= LONGEST_REGEX:
            self._say(f"{path}.regex", regex, f"allowed: a text of 1 to {LONGEST_REGEX} characters")
        else:
            try:
                check_pattern(regex)
            except PatternError as error:
                self._say(f"{path}.regex (of {_shown(name)})", regex, str(error))

    def _check_text(self, path: str, given: object) -> None:
        if given is not None and not (
            isinstance(given, str) and 1 <= len(given) <= 200 and given.isprintable()
        ):
            self._say(path, given, "allowed: 1 to 200 printable characters")

    def _check_kinds(self) -> None:
        given = self.document.get("kinds")
        if given is None:
            return
        if not isinstance(given, dict):
            self._say("kinds", given, "it must be a table, [kinds]")
            return
        self._no_others(given, self.named, "kinds.", _ANY_KIND)
        for kind, value in given.items():
            if kind in self.named and not isinstance(value, bool):
                path = f"kinds.{_shown_key(kind)}"
                self._say(path, value, _dotted(kind, value) or _TRUE_OR_FALSE)

    def _check_answers(self) -> None:
        given = self.document.get("answers")
        if given is None:
            return
        if not isinstance(given, dict):
            self._say("answers", given, "it must be a table, [answers]")
            return
        self._no_others(given, self.named, "answers.", _ANY_KIND)
        for kind, action in given.items():
            if hint := _dotted(kind, action):
                self._say(f"answers.{_shown_key(kind)}", action, hint)
            elif kind in self.named:
                self._one_of(list(AnswerAction), f"answers.{_shown_key(kind)}", action)

    def _check_open(self, path: str, table: dict[str, Any]) -> None:
        self._no_others(table, _OPEN, f"{path}.")
        for key, check in (("paths", self._check_path), ("methods", self._check_method)):
            if key in table:
                self._list(f"{path}.{key}", table[key], check, MOST_PATTERNS)
            else:
                self.problems.append(f"{path}.{key} is missing")

    def _check_path(self, path: str, given: object) -> None:
        allowed = (
            "allowed: a path below /proxy such as /tasks, /tasks/* (one segment) or /files/** "
            "(all below), decoded and without a query"
        )
        if isinstance(given, str) and "%" in given:
            self._say(path, given, f"write it decoded, without %; {allowed}")
        elif not isinstance(given, str) or not _is_pattern(given):
            self._say(path, given, allowed)

    def _check_method(self, path: str, given: object) -> None:
        allowed = "allowed: the name of a method in capitals, but CONNECT and TRACE"
        if not isinstance(given, str) or given in _NEVER_SERVED or not given.isascii():
            self._say(path, given, allowed)
        elif not _METHOD.fullmatch(given):
            meant = given.upper() if _METHOD.fullmatch(given.upper()) else ""
            self._say(path, given, f"meant: {meant}; {allowed}" if meant else allowed)

    def _check_rules(self) -> None:
        tables = self._tables("rules", MOST_RULES)
        names: set[object] = set()
        for at, table in tables:
            path = f"rules[{at}]"
            self._no_others(table, _RULE, f"{path}.")
            self._check_name(f"{path}.name", table, names)
            self._check_conditions(path, table)
            self._check_action(path, table)
        if not tables:
            return
        bare = [at for at, table in tables if not set(table) & set(_RULE[2:6])]
        last = len(tables) - 1
        if last not in bare:
            self.problems.append(
                f"rules[{last}]: the last rule has no conditions, so that it says what happens "
                "to everything else"
            )
        self.problems += [
            f"rules[{at + 1}]: it can never apply, because rules[{at}] before it has no conditions"
            for at in bare
            if at != last
        ]

    def _check_name(self, path: str, table: dict[str, Any], names: set[object]) -> None:
        name = table.get("name")
        if name is None:
            self.problems.append(f"{path} is missing")
        elif not isinstance(name, str) or not _NAME.match(name):
            self._say(path, name, "allowed: a to z, 0 to 9 and _, at most 64, a letter first")
        elif name in _RESERVED:
            self._say(path, name, "it is the sidecar's own code for something else")
        elif name in names:
            self._say(path, name, "another rule has this name")
        else:
            names.add(name)

    def _check_conditions(self, path: str, table: dict[str, Any]) -> None:
        checks: dict[str, tuple[Sequence[str], str]] = {
            "kinds": (self.named, _ANY_KIND),
            "retention": (list(RetentionPolicy), ""),
            "trust_level": (list(TrustLevel), ""),
        }
        for key, (names, said) in checks.items():
            if key not in table:
                continue
            is_known = functools.partial(self._one_of, names, said=said)
            self._list(f"{path}.{key}", table[key], is_known, len(names))
        score = table.get("score_below")
        if score is not None and (
            isinstance(score, bool) or not isinstance(score, int) or not 1 <= score <= 10
        ):
            self._say(f"{path}.score_below", score, "allowed: a whole number from 1 to 10")

    def _check_action(self, path: str, table: dict[str, Any]) -> None:
        action, reason = table.get("action"), table.get("reason")
        if action is None:
            self.problems.append(f"{path}.action is missing")
        elif self._one_of(list(Action), f"{path}.action", action):
            if action == Action.REDACT and "kinds" not in table:
                self.problems.append(
                    f"{path}.action is 'redact': that needs kinds, which say what is replaced"
                )
            if reason is not None and action not in (Action.BLOCK, Action.WARN):
                self.problems.append(
                    f"{path}.reason: nobody is told why with the action {_shown(action)}"
                )
        self._check_text(f"{path}.reason", reason)


def _is_pattern(text: str) -> bool:
    first, *segments = text.split("/")
    if first or not segments:
        return False
    *before, last = segments
    return (last in ("", "*", "**") or _is_segment(last)) and all(
        segment == "*" or _is_segment(segment) for segment in before
    )


def _is_segment(text: str) -> bool:
    return bool(_SEGMENT.fullmatch(text)) and text not in (".", "..")


def _dotted(kind: str, value: object) -> str:
    """Return what is wrong where TOML took the dot in a name for a table in a table."""
    if not isinstance(value, dict):
        return ""
    name = next(iter(value), "name")
    return f"a name with a dot stands in quotes, such as {_shown_key(f'{kind}.{name}')}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    shown = repr(value)
    return shown if len(shown) <= 100 else shown[:100] + "…"


def _shown_key(key: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key):
        return key
    return f'"{key}"' if re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", key) else _shown(key)
