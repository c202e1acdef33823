"""Callers of two sidecars before one agent: one keeps what it gets, one is a stranger.

Started by `python -m loadtest`, which brings sidecars and agent along and says in
LOADTEST_PLAN where they are and how many users come when.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

from locust import FastHttpUser, LoadTestShape, between, constant, events, task

PLAN = json.loads(os.environ["LOADTEST_PLAN"])
KEEPS, STRANGER = PLAN["keeps"], PLAN["stranger"]
"""Ports of each: data and admin."""

CLEAN = json.dumps({"text": "How many words are in this text? " * 10})
MAIL = json.dumps({"text": "Send the result to ada@example.org, please."})
CARD = json.dumps({"text": "Pay with 4111 1111 1111 1111."})
BROKEN = '{"text": '
LARGE = json.dumps({"text": "All the words of a long document. " * 3000})

JSON_TYPE = {"Content-Type": "application/json"}

answers: dict[str, Counter[int]] = {"keeps": Counter(), "stranger": Counter()}
"""Of each sidecar to /proxy, by status, whether it was the right one or not; 0: none came."""


@events.quitting.add_listener
def write_answers(**_: Any) -> None:
    """What was answered, for whoever compares it with the records."""
    Path(PLAN["answers"]).write_text(json.dumps(answers))


class Shape(LoadTestShape):
    """As many users as the plan has at each time."""

    def tick(self) -> tuple[int, float] | None:
        """Users and how many come or go a second; None at the end."""
        now = self.get_run_time()
        for until, users, spawn_rate in PLAN["steps"]:
            if now < until:
                return users, spawn_rate
        return None


class Asks(FastHttpUser):
    """An answer with another status than it should have is a failure."""

    abstract = True
    host = f"http://127.0.0.1:{KEEPS[0]}"
    connection_timeout = 20.0
    network_timeout = 30.0

    def send(
        self, name: str, to: str, body: str, status: int, headers: dict[str, str] | None = None
    ) -> Any:
        """One request whose answer must have this status; the answer."""
        port = (KEEPS if to == "keeps" else STRANGER)[0]
        with self.client.post(
            f"http://127.0.0.1:{port}/proxy",
            data=body,
            headers=JSON_TYPE | (headers or {}),
            name=name,
            catch_response=True,
        ) as answer:
            answers[to][answer.status_code] += 1
            if answer.status_code == status:
                answer.success()
            else:
                answer.failure(f"{answer.status_code} instead of {status}")
            return answer


class Mix(Asks):
    """Everything that a sidecar decides, one request after another."""

    wait_time = constant(0)

    @task(20)
    def clean(self) -> None:
        """Forwarded."""
        self.send("allow", "keeps", random.choice((CLEAN, MAIL)), 200)

    @task(4)
    def card(self) -> None:
        """Blocked."""
        self.send("block", "keeps", CARD, 403)

    @task(2)
    def broken(self) -> None:
        """Refused."""
        self.send("not JSON", "keeps", BROKEN, 400)

    @task(1)
    def large(self) -> None:
        """100 KB, forwarded."""
        self.send("allow, 100 KB", "keeps", LARGE, 200)

    @task(3)
    def warned(self) -> None:
        """Warned, and left at that."""
        self.send("warn", "stranger", MAIL, 449)

    @task(1)
    def override(self) -> None:
        """Warned, then forwarded with the warning's ticket."""
        warning = self.send("warn", "stranger", CLEAN, 449)
        if warning.status_code == 449:
            said = warning.json()
            headers = {
                "X-User-Override": said["override_token"],
                "X-Agent-Trace-ID": said["trace_id"],
            }
            self.send("override", "stranger", CLEAN, 200, headers)

    @task(1)
    def trace(self) -> None:
        """Forwarded, then both its records are read."""
        sent = self.send("allow", "keeps", CLEAN, 200)
        if sent.status_code != 200:
            return
        trace_id = sent.headers["X-Agent-Trace-ID"]
        url = f"http://127.0.0.1:{KEEPS[1]}/trace/{trace_id}"
        with self.client.get(url, name="trace", catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure(f"{answer.status_code} instead of 200")
            elif [each["type"] for each in answer.json()["logs"]] != ["request", "response"]:
                answer.failure(f"other records: {answer.text[:200]}")
            else:
                answer.success()


class Crowd(Asks):
    """One of thousands: asks now and then, and keeps its connection."""

    wait_time = between(10, 30)

    @task
    def clean(self) -> None:
        """Forwarded."""
        self.send("allow", "keeps", CLEAN, 200)
