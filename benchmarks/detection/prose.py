"""The words between the values: a few of our own, or Faker's in fourteen languages.

The sample of the tests has to do without Faker, which is no requirement of theirs; the whole
corpus is made with it.
"""

from __future__ import annotations

import importlib
from random import Random
from typing import Any, Protocol

LOCALES = (
    *("en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "pl_PL"),
    *("ru_RU", "el_GR", "zh_CN", "ja_JP", "ko_KR", "ar_AA", "he_IL"),
)


class Prose(Protocol):
    """Each call says something else, by the generator's state alone."""

    def seed(self, rng: Random) -> None: ...
    def sentence(self) -> str: ...
    def name(self) -> str: ...
    def address(self) -> str: ...
    def company(self) -> str: ...
    def agent(self) -> str: ...


SENTENCES = (
    "Please check what arrived and tell me which of the two is missing.",
    "The build of last night failed in step 14 of 22, after 318 seconds.",
    "Can you sum up the notes of our call on Tuesday in three lines?",
    "We ship within 2 to 5 working days; returns are free for 30 days.",
    "Die Lieferung vom 14.03.2026 ist unvollständig, es fehlen 12 Stück.",
    "Le train de 8 h 15 a été supprimé, le suivant part à 9 h 02.",
    "La reunión empieza a las 10:30 y dura unos 45 minutos.",
    "Встреча перенесена на 15:00, захватите, пожалуйста, отчёт за 2025 год.",
    "会议改到下午三点,请带上2025年的报告。",
    "明日の会議は15時からです。資料は12ページあります。",
    "회의는 오후 3시에 시작하며 자료는 12쪽입니다.",
    "يبدأ الاجتماع في الساعة ٣ ويستمر ٤٥ دقيقة.",
    "הפגישה נדחתה לשעה 15:00, נא להביא את הדוח.",
    "Η σύσκεψη αρχίζει στις 10:30 και κρατά 45 λεπτά.",
    "Ship it 🚀 — “done” isn’t done until it’s measured: 99.95 % of 1,204,551 calls.",
)


class PlainProse:
    """From the lists of this file."""

    def __init__(self) -> None:
        self.rng = Random(0)

    def seed(self, rng: Random) -> None:
        self.rng = rng

    def sentence(self) -> str:
        return self.rng.choice(SENTENCES)

    def name(self) -> str:
        return self.rng.choice(["Ada Brook", "Jürgen Groß", "李小龙", "Ольга Иванова", "Zoë Ngô"])

    def address(self) -> str:
        number = self.rng.randrange(1, 400)
        return self.rng.choice(
            [f"{number} Hill Street, Springfield, IL 62704", f"Ringstraße {number}, 50667 Köln"]
        )

    def company(self) -> str:
        return self.rng.choice(["Brook & Sons", "Groß GmbH", "Acme Ltd", "株式会社サンプル"])

    def agent(self) -> str:
        return "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


class FakerProse:
    """From Faker; raises ImportError where it is not installed."""

    def __init__(self) -> None:
        faker: Any = importlib.import_module("faker")
        # Without weights, names come from a plain choice: the same for each version of Python.
        self.fakers = [faker.Faker(locale, use_weighting=False) for locale in LOCALES]
        self.fake = self.fakers[0]

    def seed(self, rng: Random) -> None:
        self.fake = rng.choice(self.fakers)
        self.fake.seed_instance(rng.getrandbits(32))

    def sentence(self) -> str:
        return str(self.fake.sentence())

    def name(self) -> str:
        return str(self.fake.name())

    def address(self) -> str:
        return str(self.fake.address()).replace("\n", ", ")

    def company(self) -> str:
        return str(self.fake.company())

    def agent(self) -> str:
        return str(self.fake.user_agent())
