"""The compiled trust score, the plain one in the values, and their twin."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp._fast import trust
from iatp.values.manifest import (
    AgentCapabilities,
    CapabilityManifest,
    PrivacyContract,
    RetentionPolicy,
    ReversibilityLevel,
    TrustLevel,
    explain,
)
from tests.twins import trust as twin

HAND_COUNTED = [
    (("trusted", "full", "ephemeral", False, False), 10),
    (("verified_partner", "none", "temporary", False, False), 10),
    (("verified_partner", "none", "permanent", True, True), 6),
    (("verified_partner", "none", "forever", True, True), 6),
    (("verified_partner", "full", "ephemeral", True, True), 10),
    (("trusted", "none", "temporary", False, False), 7),
    (("trusted", "none", "temporary", False, True), 6),
    (("standard", "partial", "temporary", False, False), 7),
    (("standard", "none", "ephemeral", False, False), 6),
    (("unknown", "partial", "ephemeral", True, False), 3),
    (("untrusted", "full", "ephemeral", False, False), 3),
    (("untrusted", "none", "permanent", True, True), 0),
]


def test_there_are_240_combinations() -> None:
    assert len(twin.COMBINATIONS) == len(set(twin.COMBINATIONS)) == 240
    assert {each[0] for each in twin.COMBINATIONS} == set(TrustLevel)
    assert {each[1] for each in twin.COMBINATIONS} == set(ReversibilityLevel)
    assert {each[2] for each in twin.COMBINATIONS} == set(RetentionPolicy)


@pytest.mark.parametrize(("inputs", "expected"), HAND_COUNTED)
def test_scores_counted_by_hand(inputs: twin.Inputs, expected: int) -> None:
    assert trust.score(*inputs) == expected
    assert twin.score(*inputs) == expected


@pytest.mark.parametrize("inputs", twin.COMBINATIONS)
def test_all_combinations_agree(inputs: twin.Inputs) -> None:
    level, reversibility, retention, human, training = inputs
    manifest = CapabilityManifest(
        agent_id="agent",
        trust_level=TrustLevel(level),
        capabilities=AgentCapabilities(reversibility=ReversibilityLevel(reversibility)),
        privacy_contract=PrivacyContract(
            retention=RetentionPolicy(retention), human_in_loop=human, training_consent=training
        ),
    )
    expected = twin.score(*inputs)
    assert 0 <= expected <= 10
    assert trust.score(*inputs) == expected
    assert manifest.trust_score() == manifest.calculate_trust_score() == expected
    parts = twin.explain(*inputs)
    assert trust.explain(*inputs) == parts
    assert explain(manifest) == parts
    assert sum(points for _, points in parts) == expected


def test_members_of_the_enumerations_count_as_their_texts() -> None:
    inputs: tuple[Any, ...] = (
        TrustLevel.TRUSTED,
        ReversibilityLevel.FULL,
        RetentionPolicy.EPHEMERAL,
        False,
        False,
    )
    assert trust.score(*inputs) == 10
    assert trust.explain(*inputs) == twin.explain("trusted", "full", "ephemeral", False, False)


ANYTHING = st.one_of(st.none(), st.integers(), st.text(), st.floats(), st.binary(), st.booleans())


@given(
    st.tuples(
        st.sampled_from([*twin.LEVELS, "Trusted", ""]) | ANYTHING,
        st.sampled_from([*twin.REVERSIBILITIES, "FULL"]) | ANYTHING,
        st.sampled_from([*twin.RETENTIONS, "never"]) | ANYTHING,
        st.booleans() | ANYTHING,
        st.booleans() | ANYTHING,
    )
)
def test_the_same_answer_or_the_same_exception(inputs: Any) -> None:
    for compiled, plain in ((trust.score, twin.score), (trust.explain, twin.explain)):
        outcomes: list[Any] = []
        for function in (compiled, plain):
            try:
                outcomes.append(function(*inputs))
            except (TypeError, ValueError) as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        (("Trusted", "full", "ephemeral", False, False), ValueError),
        (("trusted", "all", "ephemeral", False, False), ValueError),
        (("trusted", "full", "", False, False), ValueError),
        ((None, "full", "ephemeral", False, False), TypeError),
        (("trusted", "full", "ephemeral", 1, False), TypeError),
        (("trusted", "full", "ephemeral", False, "false"), TypeError),
    ],
)
def test_what_it_refuses(inputs: Any, error: type[Exception]) -> None:
    for function in (trust.score, trust.explain, twin.score, twin.explain):
        with pytest.raises(error):
            function(*inputs)
