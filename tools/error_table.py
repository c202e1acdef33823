"""Writes docs/errors.md, the one table of all codes, from what the sidecar itself uses.

python tools/error_table.py
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"

_BEFORE = """\
# Errors

Written by `tools/error_table.py`; a test checks that it is current.

An answer that the sidecar makes itself is JSON:

```json
{"error": "<sentence>", "code": "<stable name>", "trace_id": "…"}
```

The `code` is stable and means one thing; the sentence is for people and may change, and some
answers say more than the sentence here. It never holds a file path, a stack trace or a piece
of what was sent. `X-IATP-Decision` tells such an answer from one of the agent with the same
status: `refuse` is what the sidecar turned away, `error` is what broke, `block` and `warn`
are verdicts. Every one of them leaves a record if the request was for `/proxy`.
"""

_VERDICTS = """\
## Verdicts

The request was understood and judged. A block cannot be overridden; a warning can (see
`message` in its body). A blocked answer also holds `"blocked": true` and `trust_score`; a
warning has `warning`, `requires_override`, `trust_score` and `message` in place of `error`.
These are the rules of the default policy; the code of a rule of one's own is its name
([policy.md](policy.md)).

| Code | Status | Decision | When |
|---|---|---|---|
"""

_FAILURES = """\
## Failures

*Fault* is whose turn it is to change something. *Again* says after how many seconds the same
request may succeed (`Retry-After`); of `rate_limited` that is the least, and the answer says how
long. Where *closes* is yes, the connection ends with the answer, since what follows on it cannot
be trusted. So it does where the answer is given before the body has come, as `body_too_large` and
`rate_limited` often are.

| Code | Status | Decision | Fault | Again | Closes | Sentence |
|---|---|---|---|---|---|---|
"""


def render() -> str:
    """Return the whole page."""
    from iatp.values.errors import FAILURES  # noqa: PLC0415 - the path is set below
    from iatp.values.policy import DEFAULT, Action  # noqa: PLC0415

    verdicts = []
    for rule in DEFAULT.rules:
        when = []
        if rule.kinds:
            when.append("a finding of this kind")
        if rule.retention:
            when.append(f"retention {', '.join(f'`{each}`' for each in rule.retention)}")
        if rule.score_below is not None:
            when.append(f"a trust score below {rule.score_below}, and no valid override")
        if rule.action in (Action.BLOCK, Action.WARN):
            status = 403 if rule.action == Action.BLOCK else 449
            verdicts.append(f"| `{rule.name}` | {status} | `{rule.action}` | {'; '.join(when)} |\n")
    failures = [
        f"| `{failure.code}` | {failure.status} | `{failure.decision}` | {failure.fault.value} "
        f"| {failure.retry_after_s or ''} | {'yes' if failure.closes else ''} "
        f"| {failure.sentence} |\n"
        for failure in sorted(FAILURES.values(), key=lambda each: (each.status, each.code))
    ]
    note = (
        "\n`caller_gone` (499) is never sent: it stands in the record of a request whose caller"
        " went away.\n"
    )
    return "".join([_BEFORE, "\n", _VERDICTS, *verdicts, "\n", _FAILURES, *failures, note])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(render(), encoding="utf-8")
