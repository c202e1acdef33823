"""The trust score (protocol section 4): one sum over points read once from the values.

The twin in tests/twins/trust.py has the table of its own.
"""

from iatp.values import manifest as _values

cdef int HUMAN_IN_LOOP = _values.HUMAN_IN_LOOP_POINTS
cdef int TRAINING_CONSENT = _values.TRAINING_CONSENT_POINTS
cdef int LEAST = _values.LEAST_SCORE
cdef int MOST = _values.MOST_SCORE
cdef dict TRUST = dict(_values.TRUST_POINTS)
cdef dict REVERSIBILITY = dict(_values.REVERSIBILITY_POINTS)
cdef dict RETENTION = dict(_values.RETENTION_POINTS)


cdef int points_of(dict table, str what, object name) except? -100:
    """The points of one name. Raises: ValueError for a name that the table does not have."""
    if not isinstance(name, str):
        raise TypeError(f"{what} is a text")
    found = table.get(name)
    if found is None:
        raise ValueError(f"{what} has no such value")
    return found


cdef inline int clamped(int total) noexcept nogil:
    return LEAST if total < LEAST else MOST if total > MOST else total


cdef bint flag(str what, object value) except -1:
    if value is not True and value is not False:
        raise TypeError(f"{what} is True or False")
    return value is True


def score(trust_level, reversibility, retention, human_in_loop, training_consent):
    """The score, 0 to 10.

    Raises:
        ValueError: a name is none of the protocol's.
        TypeError: a name is not a text, or a flag not a bool.
    """
    cdef int total = points_of(TRUST, "trust_level", trust_level)
    total += points_of(REVERSIBILITY, "reversibility", reversibility)
    total += points_of(RETENTION, "retention", retention)
    if flag("human_in_loop", human_in_loop):
        total += HUMAN_IN_LOOP
    if flag("training_consent", training_consent):
        total += TRAINING_CONSENT
    return clamped(total)


def explain(trust_level, reversibility, retention, human_in_loop, training_consent):
    """The parts of the score as (part, points), which add up to it.

    The trust level comes first, then what counts; last by how much the sum was cut to stay
    within 0 to 10. Raises as `score` does.
    """
    cdef list parts = []
    cdef int total = 0
    cdef int points
    cdef int kept = score(
        trust_level, reversibility, retention, human_in_loop, training_consent
    )
    for what, name, points in (
        ("trust_level", trust_level, TRUST[trust_level]),
        ("reversibility", reversibility, REVERSIBILITY[reversibility]),
        ("retention", retention, RETENTION[retention]),
    ):
        if points or not parts:
            parts.append((f"{what}: {str(name)}", points))
        total += points
    if human_in_loop:
        parts.append(("human_in_loop", HUMAN_IN_LOOP))
        total += HUMAN_IN_LOOP
    if training_consent:
        parts.append(("training_consent", TRAINING_CONSENT))
        total += TRAINING_CONSENT
    if kept != total:
        parts.append((f"limited to {LEAST}–{MOST}", kept - total))
    return parts
