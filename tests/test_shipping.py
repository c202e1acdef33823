"""The shippers' configurations: they parse, take the right files, and name fields that exist."""

from __future__ import annotations

import configparser
import fnmatch
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec
import yaml

from iatp.adapters.log_folder import segment_of
from iatp.values.records import Record

ROOT = Path(__file__).parent.parent
SHIPPING = ROOT / "examples" / "shipping"
FOLDER = "/var/lib/iatp/logs"
STEM = "20251124T160000.123456Z-w0-1a2b3c4d-0123456789ab-000000"
SHIPPED = (f"{STEM}.open.jsonl", f"{STEM}.jsonl")
NOT_SHIPPED = (
    *(STEM + suffix for suffix in (".jsonl.zst", ".jsonl.enc", ".seal", ".index", ".torn")),
    *("head.json", "lock", "control.sqlite"),
)
FIELDS = {
    field.encode_name for struct in get_args(Record) for field in msgspec.structs.fields(struct)
} | {"type"}


def test_the_names_here_are_those_of_segments() -> None:
    assert all(segment_of(name) for name in SHIPPED)


def check_pattern(pattern: str) -> None:
    assert all(fnmatch.fnmatch(f"{FOLDER}/{name}", pattern) for name in SHIPPED)
    assert not any(fnmatch.fnmatch(f"{FOLDER}/{name}", pattern) for name in NOT_SHIPPED)


def mapped() -> dict[str, str]:
    """The table of the page: the record's field, and the one of ECS."""
    page = (ROOT / "docs" / "shipping.md").read_text()
    return dict(re.findall(r"(?m)^\| `(\w+)` \| `([\w.@]+)` \|", page))


def test_the_table_names_fields_that_exist() -> None:
    assert len(mapped()) == 18
    assert mapped().keys() <= FIELDS


def test_filebeat() -> None:
    config = yaml.safe_load((SHIPPING / "filebeat.yml").read_text())
    (source,) = config["filebeat.inputs"]
    for pattern in source["paths"]:
        check_pattern(pattern)
    (copied,) = (row["copy_fields"] for row in config["processors"] if "copy_fields" in row)
    pairs = {row["from"].removeprefix("iatp."): row["to"] for row in copied["fields"]}
    assert pairs.keys() <= FIELDS
    rest = {"timestamp": "@timestamp", "latency_ms": "event.duration"}
    assert pairs | rest == mapped()
    (stamp,) = (row["timestamp"] for row in config["processors"] if "timestamp" in row)
    assert stamp["field"].removeprefix("iatp.") in FIELDS
    for text in stamp["test"]:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    for row in config["setup.template.append_fields"]:
        assert row["name"].removeprefix("iatp.") in FIELDS


def test_splunk() -> None:
    inputs = configparser.RawConfigParser()
    inputs.read(SHIPPING / "inputs.conf")
    (name,) = inputs.sections()
    assert name == f"monitor://{FOLDER}"
    whitelist = re.compile(inputs[name]["whitelist"])
    assert all(whitelist.search(f"{FOLDER}/{file}") for file in SHIPPED)
    assert not any(whitelist.search(f"{FOLDER}/{file}") for file in NOT_SHIPPED)
    props = configparser.RawConfigParser()
    props.read(SHIPPING / "props.conf")
    source = props[inputs[name]["sourcetype"]]
    line = '{"seq":0,"type":"access","timestamp":"2025-11-24T16:00:00.123456Z","path":"/"}'
    found = re.search(source["TIME_PREFIX"], line)
    assert found is not None
    form = source["TIME_FORMAT"].replace("%6N", "%f")
    lookahead = line[found.end() :][: int(source["MAX_TIMESTAMP_LOOKAHEAD"])]
    datetime.strptime(lookahead.partition('"')[0], form).replace(tzinfo=UTC)


def test_vector() -> None:
    config = tomllib.loads((SHIPPING / "vector.toml").read_text())
    for pattern in config["sources"]["iatp"]["include"]:
        check_pattern(pattern)
    (transform,) = config["transforms"].values()
    assert transform["inputs"] == ["iatp"]
    assert config["sinks"]["elasticsearch"]["inputs"] == list(config["transforms"])
    source = transform["source"]
    assert set(re.findall(r"record\.(\w+)", source)) <= FIELDS
    assert source.count("{") == source.count("}")
    for field, ecs in mapped().items():
        assert re.search(rf"record\.{field}\b", source), field
        assert f'"{ecs.rpartition(".")[2]}"' in source or f".{ecs} =" in source
