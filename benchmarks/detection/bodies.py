"""The bodies that agents get: chats, tool calls, forms, logs, code, and what else is sent.

A shape takes fragments (values and look-alikes alike) and makes a document that holds each
once, and fills it with words of the kind that stand there in life.
"""

from __future__ import annotations

import base64
import urllib.parse
import zlib
from collections.abc import Callable
from random import Random

from benchmarks.detection import digits
from benchmarks.detection.marks import JSON_TYPE, bare, plain, through
from benchmarks.detection.prose import Prose
from benchmarks.detection.spellings import SENTENCES, Fragment

FORM_TYPE = "application/x-www-form-urlencoded"
Tree = dict[str, object]


class Maker:
    """What every shape needs: chance, words, and the two ways to place a fragment."""

    def __init__(self, rng: Random, prose: Prose, fragments: list[Fragment]) -> None:
        self.rng, self.prose, self.fragments = rng, prose, fragments

    def split(self, fields: float) -> tuple[list[Fragment], list[Fragment]]:
        """Those that become fields, in that share, and those that stand in words."""
        named: list[Fragment] = []
        spoken: list[Fragment] = []
        for each in self.fragments:
            wants = each.assigned or each.only_json or self.rng.random() < fields
            (named if wants else spoken).append(each)
        return named, spoken

    def object(self, fragments: list[Fragment]) -> Tree:
        found: Tree = {}
        for each in fragments:
            name, count = each.key, 1
            while name in found:
                count += 1
                name = f"{each.key}{count}"
            found[name] = each.leaf
        return found

    def said(self, fragment: Fragment) -> str:
        """In a sentence, or behind its key where it needs that."""
        if fragment.assigned:
            return f"{fragment.key}{self.rng.choice([': ', '=', ' = '])}{fragment.text}"
        return self.rng.choice(SENTENCES[fragment.kind]).replace("{}", fragment.text)

    def words(self, fragments: list[Fragment], least: int = 1) -> str:
        """Sentences, those of the fragments among them."""
        parts = [self.prose.sentence() for _ in range(least + self.rng.randrange(3))]
        for each in fragments:
            parts.insert(self.rng.randrange(len(parts) + 1), self.said(each))
        return self.rng.choice([" ", " ", "\n"]).join(parts)

    def moment(self) -> str:
        rng = self.rng
        return (
            f"2026-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}T{rng.randrange(24):02d}:"
            f"{rng.randrange(60):02d}:{rng.randrange(60):02d}.{digits.digits(rng, 6)}Z"
        )

    def dealt(self, fragments: list[Fragment], count: int) -> list[list[Fragment]]:
        """The fragments in that many heaps, some of them empty."""
        heaps: list[list[Fragment]] = [[] for _ in range(count)]
        for each in fragments:
            heaps[self.rng.randrange(count)].append(each)
        return heaps


# JSON.


def chat(m: Maker) -> Tree:
    named, spoken = m.split(0.15)
    heaps = m.dealt(spoken, m.rng.randrange(1, 6))
    turns: list[object] = [
        {"role": ["user", "assistant"][place % 2], "content": m.words(heap)}
        for place, heap in enumerate(heaps)
    ]
    found: Tree = {"model": "large-4", "temperature": 0.7, "messages": turns}
    if named:
        found["metadata"] = m.object(named)
    return found


def parts_chat(m: Maker) -> Tree:
    named, spoken = m.split(0.2)
    content = [{"type": "text", "text": m.words(heap)} for heap in m.dealt(spoken, 2)]
    return {
        "id": "msg_" + digits.letters(m.rng, digits.BASE32, 22),
        "content": content,
        "usage": {"input_tokens": m.rng.randrange(9000), "output_tokens": m.rng.randrange(900)},
        "context": m.object(named),
    }


def tool_call(m: Maker) -> Tree:
    named, spoken = m.split(0.7)
    arguments = m.object(named)
    if spoken:
        arguments["query"] = m.words(spoken)
    return {
        "jsonrpc": "2.0",
        "id": m.rng.randrange(10**6),
        "method": "tools/call",
        "params": {"name": m.rng.choice(["search", "pay", "get_order"]), "arguments": arguments},
    }


def tool_result(m: Maker) -> Tree:
    named, spoken = m.split(0.8)
    rows: list[object] = [
        {
            "id": digits.uuid(m.rng),
            "name": m.prose.name(),
            "address": m.prose.address(),
            "total": bare(f"{m.rng.randrange(10**6) / 100:.2f}"),
            **m.object(heap),
        }
        for heap in m.dealt(named, m.rng.randrange(1, 6))
    ]
    return {
        "tool_call_id": f"call_{digits.hexes(m.rng, 24)}",
        "rows": rows,
        "note": m.words(spoken),
    }


def order(m: Maker) -> Tree:
    named, spoken = m.split(0.85)
    items = [
        {
            "sku": f"{digits.hexes(m.rng, 6)}-{place}",
            "quantity": m.rng.randrange(1, 9),
            "price": 9.5,
        }
        for place in range(m.rng.randrange(1, 5))
    ]
    return {
        "created": m.moment(),
        "customer": {"name": m.prose.name(), "company": m.prose.company()},
        "items": items,
        **m.object(named),
        "comment": m.words(spoken),
    }


def event(m: Maker) -> Tree:
    named, spoken = m.split(0.8)
    return {
        "id": "evt_" + digits.letters(m.rng, digits.BASE32, 24),
        "type": "message.created",
        "created": m.rng.randrange(1767225600, 1798761600),
        "data": {"object": {**m.object(named), "text": m.words(spoken)}},
    }


def embeddings(m: Maker) -> Tree:
    named, spoken = m.split(0.5)
    vectors = [
        [bare(value) for value in digits.embedding(m.rng, m.rng.choice([64, 96, 256]))]
        for _ in range(m.rng.choice([1, 1, 2]))
    ]
    return {"input": m.words(spoken), "embeddings": vectors, **m.object(named)}


def png(rng: Random) -> bytes:
    """Noise of 8 bits of gray. Not compressed: zlib's output differs between its versions."""
    wide, high = rng.randrange(8, 40), rng.randrange(8, 40)
    rows = b"".join(b"\0" + digits.raw(rng, wide) for _ in range(high))
    size = len(rows).to_bytes(2, "little")
    inverse = (0xFFFF - len(rows)).to_bytes(2, "little")
    packed = b"\x78\x01\x01" + size + inverse + rows + zlib.adler32(rows).to_bytes(4, "big")

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + name + data + check

    head = wide.to_bytes(4, "big") + high.to_bytes(4, "big") + b"\x08\0\0\0\0"
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    )


def jpeg(rng: Random) -> bytes:
    """JFIF's head and noise where the scan is."""
    head = b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x48\0\x48\0\0\xff\xda\0\x08\x01\x01\0\0\x3f\0"
    return head + digits.raw(rng, rng.randrange(300, 1500)).replace(b"\xff", b"\xfe") + b"\xff\xd9"


def image(m: Maker) -> Tree:
    named, spoken = m.split(0.5)
    kind, make = m.rng.choice([("png", png), ("jpeg", jpeg)])
    data = base64.b64encode(make(m.rng)).decode()
    url = f"data:image/{kind};base64,{data}"
    return {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": m.words(spoken)},
                    {"type": "image_url", "image_url": {"url": url}},
                ],
            }
        ],
        **m.object(named),
    }


def spans(m: Maker) -> Tree:
    named, spoken = m.split(0.8)
    began = m.rng.randrange(1767225600, 1798761600) * 10**9
    found: list[object] = []
    for heap in m.dealt(named, m.rng.randrange(1, 4)):
        began += m.rng.randrange(10**9)
        found.append(
            {
                "traceId": digits.hexes(m.rng, 32),
                "spanId": digits.hexes(m.rng, 16),
                "startTimeUnixNano": str(began),
                "endTimeUnixNano": str(began + m.rng.randrange(10**8)),
                "attributes": m.object(heap),
            }
        )
    return {"resourceSpans": found, "message": m.words(spoken)}


def retrieval(m: Maker) -> Tree:
    named, spoken = m.split(0.3)
    chunks = [
        {
            "id": digits.uuid(m.rng),
            "score": bare(digits.decimal(m.rng)),
            "text": m.words(heap, least=3),
        }
        for heap in m.dealt(spoken, m.rng.randrange(2, 5))
    ]
    return {"chunks": chunks, **m.object(named)}


def graphql(m: Maker) -> Tree:
    named, spoken = m.split(0.8)
    return {
        "query": "query Order($id: ID!) { order(id: $id) { total lines { sku quantity } } }",
        "variables": {**m.object(named), "comment": m.words(spoken)},
        "extensions": {"persistedQuery": {"version": 1, "sha256Hash": digits.hexes(m.rng, 64)}},
    }


def _file(make: Callable[[Maker], str], name: str) -> Callable[[Maker], Tree]:
    """A text as the content of a JSON member, as tools hand files over."""

    def shape(m: Maker) -> Tree:
        named = [each for each in m.fragments if each.only_json]
        m.fragments = [each for each in m.fragments if not each.only_json]
        return {"tool": "read_file", "path": name, "content": make(m), **m.object(named)}

    return shape


# Texts.


def _line(m: Maker, message: str) -> str:
    """In one of ten formats of logs."""
    rng = m.rng
    ip = ".".join(str(rng.randrange(1, 255)) for _ in range(4))
    moment, pid = m.moment(), rng.randrange(9999)
    clock = f"14/Mar/2026:{rng.randrange(24):02d}:{rng.randrange(60):02d}:09 +0000"
    return rng.choice(
        [
            f'{ip} - - [{clock}] "POST /v1/pay HTTP/1.1" {rng.choice([200, 401, 500])} '
            f'{rng.randrange(9999)} "{message}" "{m.prose.agent()}"',
            f"{moment} INFO  [worker-{rng.randrange(9)}] c.e.PayService - {message}",
            f"Mar 14 09:26:{rng.randrange(60):02d} host-{rng.randrange(99)} app[{pid}]: {message}",
            f'time="{moment}" level=info msg="{message}" dur={rng.randrange(999)}ms',
            f"[{rng.randrange(1767225600000, 1798761600000)}] WARN {message}",
            f"E0314 09:26:53.{digits.digits(rng, 6)} {pid} main.go:{rng.randrange(999)}] {message}",
            f"{moment[:10]} {moment[11:23]} | DEBUG | app.views:{rng.randrange(400)} | {message}",
            f"{1767225600 + rng.randrange(10**7)}.{digits.digits(rng, 6)} #{pid:08x} {message}",
            f"<{rng.randrange(190)}>1 {moment} host app {rng.randrange(9999)} ID47 - {message}",
            f"ts={moment} caller=http.go:{pid} trace={digits.hexes(rng, 32)} {message}",
        ]
    )


def log(m: Maker) -> str:
    lines = [_line(m, m.said(each)) for each in m.fragments]
    lines += [_line(m, m.prose.sentence()) for _ in range(m.rng.randrange(1, 8))]
    m.rng.shuffle(lines)
    return "\n".join(lines) + "\n"


def code(m: Maker) -> str:
    """In one of six languages: constants, comments, a function."""
    name, comment, head, tail = m.rng.choice(
        [
            ("{} = {}", "# {}", "import os\n\n\ndef total(rows):\n    return sum(rows)\n", ""),
            ("const {} = {};", "// {}", 'import fs from "node:fs";\n', "export default main;\n"),
            ("\t{} = {}", "\t// {}", "package main\n\nfunc main() {\n", "}\n"),
            ("    static final String {} = {};", "    // {}", "public class Main {\n", "}\n"),
            ("let {} = {};", "// {}", "fn main() {\n    let n = 0x1f_u64;\n", "}\n"),
            ("export {}={}", "# {}", "#!/bin/sh\nset -eu\n", "exit 0\n"),
        ]
    )
    lines = []
    for each in m.fragments:
        key = each.key.replace("-", "_").replace(" ", "_")
        if each.assigned or m.rng.random() < 0.7:
            lines.append(name.replace("{}", key, 1).replace("{}", f'"{each.text}"', 1))
        else:
            lines.append(comment.replace("{}", m.said(each)))
    lines += [comment.replace("{}", m.prose.sentence()) for _ in range(m.rng.randrange(4))]
    m.rng.shuffle(lines)
    return head + "\n".join(lines) + "\n" + tail


def sql(m: Maker) -> str:
    lines = []
    for each in m.fragments:
        if each.assigned:
            lines.append(f"UPDATE accounts SET {each.key} = '{each.text}' WHERE id = 7;")
        else:
            lines.append(
                f"INSERT INTO events ({each.key}, at) VALUES ('{each.text}', '{m.moment()}');"
            )
    lines.append(
        f"SELECT count(*) FROM events WHERE id > {m.rng.randrange(10**9)}; -- {m.prose.sentence()}"
    )
    m.rng.shuffle(lines)
    return "\n".join(lines) + "\n"


def stack(m: Maker) -> str:
    lines = ["Traceback (most recent call last):"]
    for _ in range(m.rng.randrange(2, 7)):
        lines.append(
            f'  File "/srv/app/{digits.hexes(m.rng, 6)}.py", line {m.rng.randrange(2000)}, in run'
        )
        lines.append(f"    self.handle(0x{digits.hexes(m.rng, 12)})")
    return "\n".join([*lines, f"ValueError: {m.words(m.fragments)}"]) + "\n"


def table(m: Maker) -> str:
    """CSV or Markdown: a column for each fragment, and rows of look-alikes below it."""
    columns = [(each.key, each) for each in m.fragments]
    rows = [
        [
            f"{each.key}={each.text}" if each.assigned else each.text.replace("\n", " ")
            for _, each in columns
        ]
    ]
    rows += [
        [m.rng.choice(["", "n/a", digits.digits(m.rng, 6), m.moment()]) for _ in columns]
        for _ in range(m.rng.randrange(1, 5))
    ]
    m.rng.shuffle(rows)
    head = [key for key, _ in columns]
    if m.rng.random() < 0.5:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"
    return "\n".join(m.rng.choice([",", ";"]).join(row) for row in [head, *rows]) + "\n"


def numbers(m: Maker) -> str:
    """A table of whole numbers with a tab or spaces between, and words below."""
    gap = m.rng.choice(["\t", "  ", " | "])
    rows = [
        gap.join(str(m.rng.randrange(10 ** m.rng.randrange(1, 7))) for _ in range(5))
        for _ in range(m.rng.randrange(3, 12))
    ]
    return "\n".join(rows) + "\n\n" + m.words(m.fragments) + "\n"


def markdown(m: Maker) -> str:
    lines = [f"# {m.prose.company()}", "", m.words([], least=2), ""]
    lines += [f"- {m.said(each)}" for each in m.fragments]
    return "\n".join([*lines, "", f"```\n{digits.hexes(m.rng, 40)}  release.tar.gz\n```", ""])


def mail(m: Maker) -> str:
    heaps = m.dealt(m.fragments, m.rng.randrange(1, 4))
    found = ""
    for depth, heap in enumerate(heaps):
        quote = "> " * depth
        text = f"On {m.moment()[:10]} {m.prose.name()} wrote:\n{m.words(heap)}\n{m.prose.company()}"
        found += "\n".join(quote + line for line in text.split("\n")) + "\n"
    return f"Subject: {m.prose.sentence()}\nDate: Sat, 14 Mar 2026 09:26:53 +0000\n\n{found}"


def config(m: Maker) -> str:
    """YAML, INI or a file of environment variables."""
    form = m.rng.choice(["{}: {}", "{} = {}", "{}={}", '{}: "{}"'])
    lines = [form.replace("{}", each.key, 1).replace("{}", each.text, 1) for each in m.fragments]
    lines += [
        form.replace("{}", key, 1).replace("{}", value, 1)
        for key, value in [
            ("log_level", "info"),
            ("timeout_ms", str(m.rng.randrange(10**5))),
            ("image", f"registry.example.com/app@sha256:{digits.hexes(m.rng, 64)}"),
        ]
    ]
    m.rng.shuffle(lines)
    return "\n".join(lines) + "\n"


def page(m: Maker) -> str:
    cells = "".join(
        f"<tr><td>{each.key}</td><td>{m.said(each)}</td></tr>\n" for each in m.fragments
    )
    return f"<html><body><p>{m.prose.sentence()}</p>\n<table>\n{cells}</table></body></html>\n"


def form(m: Maker) -> list[tuple[str, str]]:
    named, spoken = m.split(0.8)
    pairs = [("csrf", digits.hexes(m.rng, 40)), ("name", m.prose.name())]
    pairs += [(each.key, each.text) for each in named]
    return [*pairs, ("comment", m.words(spoken)), ("submit", "1")]


def multipart(m: Maker) -> str:
    edge = f"----form{digits.hexes(m.rng, 16)}"
    named, spoken = m.split(0.8)
    pairs = [(each.key, each.text) for each in named] + [("comment", m.words(spoken))]
    found = "".join(
        f'--{edge}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'
        for key, text in pairs
    )
    return f"{found}--{edge}--\r\n"


def form_encoded(pairs: list[tuple[str, str]]) -> str:
    """application/x-www-form-urlencoded, marks left as they are."""
    return "&".join(
        f"{urllib.parse.quote_plus(plain(key))}={through(urllib.parse.quote_plus, value)}"
        for key, value in pairs
    )


JSON_SHAPES: dict[str, tuple[Callable[[Maker], Tree], int]] = {
    "chat": (chat, 20),
    "chat of parts": (parts_chat, 5),
    "tool call": (tool_call, 14),
    "tool result": (tool_result, 8),
    "order": (order, 6),
    "event": (event, 5),
    "embeddings": (embeddings, 3),
    "image": (image, 3),
    "spans": (spans, 4),
    "retrieval": (retrieval, 5),
    "graphql": (graphql, 2),
    "code in JSON": (_file(code, "src/main"), 3),
    "log in JSON": (_file(log, "app.log"), 3),
}
TEXT_SHAPES: dict[str, tuple[Callable[[Maker], str], int]] = {
    "log": (log, 4),
    "code": (code, 4),
    "SQL": (sql, 1),
    "stack trace": (stack, 1),
    "table": (table, 2),
    "numbers": (numbers, 1),
    "Markdown": (markdown, 2),
    "mail": (mail, 3),
    "config": (config, 2),
    "HTML": (page, 1),
}
FORM_SHAPES = {"form": 4, "multipart": 2}
"""The number of each is its share. What agents get is JSON for the most part."""

SHAPES = {name: share for name, (_, share) in (JSON_SHAPES | TEXT_SHAPES).items()} | FORM_SHAPES

__all__ = ["FORM_TYPE", "JSON_TYPE", "SHAPES", "Maker", "form_encoded"]
