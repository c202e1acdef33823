def score(
    trust_level: str,
    reversibility: str,
    retention: str,
    human_in_loop: bool,
    training_consent: bool,
) -> int: ...
def explain(
    trust_level: str,
    reversibility: str,
    retention: str,
    human_in_loop: bool,
    training_consent: bool,
) -> list[tuple[str, int]]: ...
