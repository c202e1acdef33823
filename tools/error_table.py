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

| Code | Status | Decision | When |
|---|---|---|---|
"""

_FAILURES = """\
## Failures

*Fault* is whose turn it is to change something. *Again* says after how many seconds the same
request may succeed (`Retry-After`). Where *closes* is yes, the connection ends with the
answer, since what follows on it cannot be trusted.

| Code | Status | Decision | Fault | Again | Closes | Sentence |
|---|---|---|---|---|---|---|
"""


def render() -> str:
    """Return the whole page."""
    from iatp.decisions import policy  # noqa: PLC0415 - the path is set below
    from iatp.values.errors import FAILURES  # noqa: PLC0415
    from iatp.values.manifest import RetentionPolicy  # noqa: PLC0415

    blocked_by: dict[str, list[str]] = {}
    for retention in RetentionPolicy:
        for block in policy.blocks(retention):
            blocked_by.setdefault(block.code, []).append(f"`{retention.value}`")
    verdicts = [
        f"| `{code}` | 403 | `block` | a finding of this kind, where the agent's retention is "
        f"{', '.join(retentions)} |\n"
        for code, retentions in sorted(blocked_by.items())
    ]
    verdicts.append(
        f"| `{policy.RULE_LOW_TRUST}` | 449 | `warn` | the agent's trust score is below "
        f"{policy.SCORE_TO_PASS} and no valid override came |\n"
    )
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
