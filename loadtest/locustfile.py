"""Callers of one sidecar whose agent stores for good: clean requests pass, cards are blocked.

Started by `python -m loadtest`, which brings the sidecar and its agent along.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

from locust import FastHttpUser, constant, events, task

CLEAN = json.dumps({"text": "How many words are in this text? " * 10})
MAIL = json.dumps({"text": "Send the result to ada@example.org, please."})
CARD = json.dumps({"text": "Pay with 4111 1111 1111 1111."})
BROKEN = '{"text": '
LARGE = json.dumps({"text": "All the words of a long document. " * 3000})

JSON_TYPE = {"Content-Type": "application/json"}

answers: Counter[int] = Counter()
"""By status, whether it was the right one or not; 0 where no answer came."""


@events.quitting.add_listener
def write_answers(**_: Any) -> None:
    """What was answered, for whoever compares it with the records."""
    Path(os.environ["LOADTEST_ANSWERS"]).write_text(json.dumps(answers))


class Caller(FastHttpUser):
    """Sends one request after another; an answer with another status is a failure."""

    wait_time = constant(0)
    connection_timeout = 10.0
    network_timeout = 30.0

    def send(self, name: str, body: str, status: int) -> None:
        """One request whose answer must have this status."""
        with self.client.post(
            "/proxy", data=body, headers=JSON_TYPE, name=name, catch_response=True
        ) as answer:
            answers[answer.status_code] += 1
            if answer.status_code == status:
                answer.success()
            else:
                answer.failure(f"{answer.status_code} instead of {status}")

    @task(20)
    def clean(self) -> None:
        """Forwarded."""
        self.send("clean", random.choice((CLEAN, MAIL)), 200)

    @task(4)
    def card(self) -> None:
        """Blocked."""
        self.send("card", CARD, 403)

    @task(2)
    def broken(self) -> None:
        """Refused."""
        self.send("not JSON", BROKEN, 400)

    @task(1)
    def large(self) -> None:
        """100 KB, forwarded."""
        self.send("100 KB", LARGE, 200)
