import os

MAGIC: bytes
IS_LOST: int
IS_WRITTEN: int
IS_SORTED: int
IS_WHOLE: int

def look(
    folder: str | os.PathLike[str], names: list[str], trace_id: str
) -> list[tuple[int, int, int, int, list[int]]]: ...
def segment_names(folder: str | os.PathLike[str]) -> list[str]: ...
def block_lengths(fd: int, at: int, end: int) -> bytes: ...
