"""Policy files: what loads, and everything that does not, with the key that is wrong."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
import pytest

from iatp.values.exchange import FINDINGS, KINDS
from iatp.values.manifest import RetentionPolicy, TrustLevel
from iatp.values.policy import (
    DEFAULT,
    DEFAULT_FILE,
    Action,
    AnswerAction,
    Mode,
    Open,
    Policy,
    PolicyError,
    Rule,
    load_policy,
)

ROOT = Path(__file__).parent.parent.parent
REST = '[[rules]]\nname = "rest"\naction = "allow"\n'


def problems(text: str | bytes) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        load_policy(text.encode() if isinstance(text, str) else text)
    return caught.value.problems


def test_all_that_a_file_can_say() -> None:
    text = """
    mode = "observe"
    [kinds]
    email = false
    [[open]]
    paths = ["/", "/tasks/*/notes", "/a b", "/files/**"]
    methods = ["GET", "M-SEARCH"]
    [[rules]]
    name = "r1"
    kinds = ["ssn", "iban"]
    retention = ["ephemeral"]
    trust_level = ["trusted", "unknown"]
    score_below = 10
    action = "warn"
    reason = "Ask Ada"
    """
    assert load_policy((text + REST).encode()) == Policy(
        mode=Mode.OBSERVE,
        kinds={"email": False},
        open=(
            Open(paths=("/", "/tasks/*/notes", "/a b", "/files/**"), methods=("GET", "M-SEARCH")),
        ),
        rules=(
            Rule(
                name="r1",
                kinds=("ssn", "iban"),
                retention=(RetentionPolicy.EPHEMERAL,),
                trust_level=(TrustLevel.TRUSTED, TrustLevel.UNKNOWN),
                score_below=10,
                action=Action.WARN,
                reason="Ask Ada",
            ),
            Rule(name="rest", action=Action.ALLOW),
        ),
    )


def test_what_a_file_leaves_out_is_the_default() -> None:
    assert load_policy(b'mode = "observe"') == msgspec.structs.replace(DEFAULT, mode=Mode.OBSERVE)
    assert load_policy(b"") == DEFAULT == load_policy(DEFAULT_FILE.read_bytes())
    assert all(DEFAULT.is_on(kind) for kind in KINDS)
    assert not load_policy(b"kinds.ssn = false").is_on("ssn")


def test_a_secret_goes_before_secrets() -> None:
    policy = load_policy(
        b"[kinds]\nsecret = false\n'secret.jwt' = true\n'secret.npm_token' = false\nssn = true\n"
        b"[answers]\n'secret.jwt' = 'pass'\nsecret = 'block'\n'secret.npm_token' = 'block'\n"
    )
    assert [name for name in FINDINGS if policy.is_on(name)] == [
        "credit_card", "ssn", "email", "iban", "secret.jwt",
    ]  # fmt: skip
    assert policy.answer("secret.jwt") == AnswerAction.PASS
    assert policy.answer("secret.npm_token") == policy.answer("secret.password") == "block"
    # Only what differs from what holds without it is kept, so that what says the same is the same.
    assert policy.kinds == {"secret": False, "secret.jwt": True}
    assert policy.answers == {"secret": AnswerAction.BLOCK, "secret.jwt": AnswerAction.PASS}


def test_the_examples_of_the_document_load() -> None:
    page = (ROOT / "docs" / "policy.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?s)```toml\n(.*?)```", page)
    assert len(blocks) == 6
    assert [len(load_policy(block.encode()).rules) for block in blocks] == [4, 3, 5, 5, 5, 5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # B30.
        ('action = "DENY"', "rules[0].action is 'DENY': meant: block; allowed: allow, redact,"),
        ('action = "Block"', "rules[0].action is 'Block': meant: block; allowed: "),
        ("action = 3", "rules[0].action is 3: allowed: "),
        ('action = "allow"\nkind = ["ssn"]', "rules[0].kind: there is no such key; meant: kinds"),
        ('action = "allow"\nif = 1', "rules[0].if: there is no such key; known are name, "),
        ('action = "allow"\n"a.b\\u001b" = 1', r"rules[0].'a.b\x1b': there is no such key; "),
        ('action = "allow"\nkinds = ["SSN"]', "rules[0].kinds[0] is 'SSN': meant: ssn; "),
        (
            'action = "allow"\nkinds = ["Credit-Card"]',
            "rules[0].kinds[0] is 'Credit-Card': meant: credit_",
        ),
        ('action = "allow"\nkinds = []', "rules[0].kinds is []: it must be a list with at least"),
        ('action = "allow"\nkinds = "ssn"', "rules[0].kinds is 'ssn': it must be a list"),
        (
            'action = "allow"\nkinds = ["secret.aws_acces_key"]',
            "rules[0].kinds[0] is 'secret.aws_acces_key': meant: secret.aws_access_key; allowed: "
            "credit_card, ssn, email, secret, iban, custom, a secret's own name such as secret.jwt",
        ),
        ('action = "allow"\nkinds = ["jwt"]', "rules[0].kinds[0] is 'jwt': "),
        (
            'action = "allow"\nretention = ["Forever"]',
            "rules[0].retention[0] is 'Forever': meant: forever; allowed: ephemeral, ",
        ),
        (
            'action = "allow"\nretention = ["forever", "forever"]',
            "rules[0].retention[1] is 'forever': it stands there twice",
        ),
        (
            'action = "allow"\ntrust_level = ["verified-partner"]',
            "rules[0].trust_level[0] is 'verified-partner': meant: verified_partner",
        ),
        ('action = "allow"\nscore_below = 0', "rules[0].score_below is 0: allowed: a whole"),
        ('action = "allow"\nscore_below = true', "rules[0].score_below is true: allowed: "),
        ('action = "allow"\nscore_below = 7.0', "rules[0].score_below is 7.0: allowed: "),
        ('action = "redact"\nscore_below = 7', "rules[0].action is 'redact': that needs kinds"),
        ('action = "allow"\nreason = "x"', "rules[0].reason: nobody is told why"),
        ('action = "block"\nkinds = ["ssn"]\nreason = ""', "rules[0].reason is '': allowed: "),
        ('action = "block"\nkinds = ["ssn"]\nreason = "\\n"', r"rules[0].reason is '\n': "),
        ('kinds = ["ssn"]', "rules[0].action is missing"),
        (
            'action = "allow"',
            "rules[1]: it can never apply, because rules[0] before it has no conditions",
        ),
    ],
)
def test_rules_that_are_refused(text: str, said: str) -> None:
    found = problems(f'[[rules]]\nname = "a"\n{text}\n{REST}')
    assert any(each.startswith(said) for each in found), found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('modus = "observe"', "modus: there is no such key; meant: mode"),
        ('mode = "Observe"', "mode is 'Observe': meant: observe; allowed: enforce or observe"),
        ("mode = true", "mode is true: allowed: enforce or observe"),
        (
            '[answers]\nssn = "DENY"',
            "answers.ssn is 'DENY': meant: block; allowed: pass, redact or",
        ),
        (
            '[answers]\nssn = "allow"',
            "answers.ssn is 'allow': meant: pass; allowed: pass, redact or",
        ),
        ("[answers]\nssn = true", "answers.ssn is true: allowed: pass, redact or block"),
        ('[answers]\ncards = "pass"', "answers.cards: there is no such key; "),
        ('answers = "pass"', "answers is 'pass': it must be a table, [answers]"),
        ("[patterns]\nx = 1", "patterns is a table: it must be tables, each under [[patterns]]"),
        (
            "[kinds]\ncreditcard = true",
            "kinds.creditcard: there is no such key; meant: credit_card",
        ),
        ("[kinds]\nssn = 0", "kinds.ssn is 0: allowed: true or false, without quotes"),
        (
            "[kinds]\nsecret.jwt = false",
            'kinds.secret is a table: a name with a dot stands in quotes, such as "secret.jwt"',
        ),
        (
            "[kinds]\n'secret.jwtt' = false",
            'kinds."secret.jwtt": there is no such key; meant: secret.jwt',
        ),
        ("[kinds]\n'secret.jwt' = 1", 'kinds."secret.jwt" is 1: allowed: true or false, '),
        (
            "[answers]\nsecret.jwt = 'block'",
            'answers.secret is a table: a name with a dot stands in quotes, such as "secret.jwt"',
        ),
        (
            "[answers]\n'secret.jwt' = 'deny'",
            "answers.\"secret.jwt\" is 'deny': meant: block; allowed: pass, redact or block",
        ),
        ("kinds = 1", "kinds is 1: it must be a table, [kinds]"),
        ("rules = []", "rules is empty: "),
        ("rules = [1]", "rules is [1]: it must be tables, each under [[rules]]"),
        ("open = []", "open is empty: "),
        ("[open]\npaths = []", "open is a table: it must be tables, each under [[open]]"),
        ('[[open]]\npaths = ["/a"]', "open[0].methods is missing"),
        ('[[open]]\nmethods = ["GET"]', "open[0].paths is missing"),
        (
            '[[rules]]\nname = "b"\nscore_below = 3\naction = "warn"',
            "rules[0]: the last rule has no conditions, ",
        ),
        (f"{REST}{REST}", "rules[1].name is 'rest': another rule has this name"),
        ("[[rules]]\nname = 'override'\naction = 'allow'", "rules[0].name is 'override': it is"),
        ("[[rules]]\nname = 'not_found'\naction = 'allow'", "rules[0].name is 'not_found': it is"),
        ("[[rules]]\nname = 'a\"b'\naction = 'allow'", "rules[0].name is 'a\"b': allowed: a to z"),
        ("[[rules]]\naction = 'allow'", "rules[0].name is missing"),
        ("a = ", "it is not TOML: "),
        (b"\xef\xbb\xbfmode = 'observe'", "it begins with a byte order mark"),
        (b"mode = '\xff'", "it is not UTF-8 at byte 8"),
        ("a = " + "[" * 5000, "it is not TOML: "),
    ],
)
def test_files_that_are_refused(text: str | bytes, said: str) -> None:
    found = problems(text)
    assert any(each.startswith(said) for each in found), found


def pattern(regex: str, name: str = "x", more: str = "") -> str:
    return f"[[patterns]]\nname = '{name}'\nregex = '{regex}'\n{more}"


def test_patterns_have_names_of_their_own() -> None:
    policy = load_policy(
        (
            pattern(r"\bEMP-\d{6}\b", "employee", 'description = "an employee number"\n')
            + pattern("(?i)falcon|^kestrel$", "project_2")
            + "[kinds]\ncustom = false\n'custom.employee' = true\n"
            "[answers]\n'custom.employee' = 'block'\n"
            "[[rules]]\nname = 'a'\nkinds = ['custom', 'custom.employee']\naction = 'warn'\n" + REST
        ).encode()
    )
    assert policy.findings == (*FINDINGS, "custom.employee", "custom.project_2")
    assert policy.patterns[0].description == "an employee number"
    assert [name for name in policy.findings if not policy.is_on(name)] == ["custom.project_2"]
    assert policy.answer("custom.employee") == "block"
    assert policy.answer("custom.project_2") == "pass"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (pattern("a("), "patterns[0].regex (of 'x') is 'a(': missing ): a("),
        (pattern("a)(b"), "patterns[0].regex (of 'x') is 'a)(b': unexpected ): "),
        (pattern("(?=a)"), "patterns[0].regex (of 'x') is '(?=a)': invalid perl operator: (?="),
        (pattern(r"(a)\1"), r"patterns[0].regex (of 'x') is '(a)\\1': invalid escape sequence"),
        (pattern("a*"), "patterns[0].regex (of 'x') is 'a*': it matches where there is nothing"),
        (pattern(r"\b"), r"patterns[0].regex (of 'x') is '\\b': it matches where there is nothing"),
        (pattern("a|$"), "patterns[0].regex (of 'x') is 'a|$': it matches where there is nothing"),
        (pattern(r"\Aa"), r"patterns[0].regex (of 'x') is '\\Aa': \A is not to be used; ^ and $ "),
        (pattern("(?i-m)a"), "patterns[0].regex (of 'x') is '(?i-m)a': (?i-m is not to be used"),
        (pattern("[A-Z_]{9}"), "patterns[0].regex (of 'x') is '[A-Z_]{9}': it matches [CREDIT_C"),
        (pattern(r"\pL{999}"), "patterns[0].regex (of 'x') is '\\\\pL{999}': pattern too large"),
        (pattern("a{999}b{999}c{999}"), "patterns: together they are "),
        (pattern("a" * 1001), "patterns[0].regex is 'aaa"),
        (pattern(""), "patterns[0].regex is '': allowed: a text of 1 to 1000 characters"),
        (pattern("a", "X"), "patterns[0].name is 'X': allowed: a to z, 0 to 9 and _, at most 64"),
        (pattern("a", "x" * 65), "patterns[0].name is 'xxx"),
        (pattern("a") * 2, "patterns[1].name is 'x': another pattern has this name"),
        (pattern("a", more="flags = 'i'\n"), "patterns[0].flags: there is no such key; "),
        (pattern("a", more="description = ''\n"), "patterns[0].description is '': allowed: 1 to"),
        ("[[patterns]]\nname = 'x'\n", "patterns[0].regex is missing"),
        ("[[patterns]]\nregex = 'x'\n", "patterns[0].name is missing"),
        ("".join(pattern("a", f"x{at}") for at in range(65)), "patterns: 65 tables are more than"),
        (
            pattern("a", "mine") + "[kinds]\n'custom.mine2' = false\n",
            'kinds."custom.mine2": there is no such key; meant: custom.mine',
        ),
    ],
)
def test_patterns_that_are_refused(text: str, said: str) -> None:
    found = problems(text)
    assert any(each.startswith(said) for each in found), found


def test_64_patterns_are_taken() -> None:
    policy = load_policy("".join(pattern(f"a{at}b", f"x{at}") for at in range(64)).encode())
    assert len(policy.patterns) == 64


@pytest.mark.parametrize("module", ["raise ImportError", "compile = None"])
def test_patterns_need_re2(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not there, or another package has its name."""
    (tmp_path / "re2.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "re2", raising=False)
    said = "patterns: they are looked for by RE2, which is not installed: "
    assert problems(pattern("a")) == [f"{said}pip install 'iatp-sidecar[patterns]'"]


@pytest.mark.parametrize(
    "path",
    ["", "tasks", "/../x", "/a/./b", "/a?b", "/a#b", "/a%20b", "/**/x", "/a*", "//a", "/a\\b", 1],
)
def test_paths_that_are_refused(path: object) -> None:
    shown = msgspec.json.encode(path).decode()
    found = problems(f'[[open]]\npaths = [{shown}]\nmethods = ["GET"]\n')
    assert len(found) == 1
    assert found[0].startswith("open[0].paths[0] is ")


@pytest.mark.parametrize("method", ["get", "CONNECT", "TRACE", "", "G T", 1])
def test_methods_that_are_refused(method: object) -> None:
    shown = msgspec.json.encode(method).decode()
    found = problems(f'[[open]]\npaths = ["/a"]\nmethods = [{shown}]\n')
    assert len(found) == 1
    assert found[0].startswith("open[0].methods[0] is ")
    assert ("meant: GET" in found[0]) is (method == "get")


def test_everything_is_said_at_once_but_not_without_end() -> None:
    text = 'mode = "x"\n[kinds]\ny = 1\n[[open]]\n' + '[[rules]]\naction = "z"\n' * 2
    assert len(problems(text)) == 9
    many = problems("".join(f"k{at} = 1\n" for at in range(1000)))
    assert len(many) == 21
    assert many[-1] == "and more problems like these"


def test_a_value_is_shown_short_and_harmless() -> None:
    (said,) = problems(f'mode = "\\u001b[2J{"x" * 5000}"\n')
    assert len(said) < 300
    assert not re.search("[\x00-\x1f]", said)
