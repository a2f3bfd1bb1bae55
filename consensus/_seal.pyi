PATHS: tuple[str, ...]
BROKEN_PATHS: tuple[str, ...]

def search(
    path: str,
    root: bytes,
    target: bytes,
    first: int,
    last: int,
    stop: bytearray | memoryview | None,
    won: bytearray | None,
    /,
) -> int | None: ...
