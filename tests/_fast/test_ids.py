from __future__ import annotations

import uuid

from iatp._fast.ids import Ids

TIME_NS = 1_732_100_000_123_456_789


def test_an_id_is_a_uuid_of_version_7_and_of_its_time() -> None:
    ids = Ids()
    for time_ns in (0, 999_999, TIME_NS, 2**63 - 1):
        text = ids.new(time_ns)
        made = uuid.UUID(text)
        assert str(made) == text
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert made.int >> 80 == time_ns // 10**6


def test_ids_of_one_moment_differ_and_are_random_in_every_bit() -> None:
    ids = Ids()
    made = [uuid.UUID(ids.new(TIME_NS)).int for _ in range(5000)]
    assert len(set(made)) == 5000
    fixed = 0xFFFF_FFFF_FFFF_F000_C000_0000_0000_0000
    ones = zeros = 0
    for one in made:
        ones |= one
        zeros |= ~one
    assert ones & zeros & (1 << 128) - 1 == ~fixed & (1 << 128) - 1
