"""The native state tree driven to every depth, for a build that watches its memory: test_state_tree.py starts it.

`python drive_tree.py FOLDER` takes the extension in FOLDER, in which a key is its own path.
"""

import sys
from random import Random

sys.path.insert(0, sys.argv[1])
from _state_tree import Tree


def list_keys(centre: bytes) -> list[bytes]:
    """A key and all that differ from it in one bit: a tree of these has a branch at each of the 256 depths."""
    number = int.from_bytes(centre, "big")
    return [centre, *[(number ^ 1 << bit).to_bytes(32, "big") for bit in range(256)]]


def fork_versions(keys: list[bytes], seed: Random) -> None:
    versions = [Tree()]
    for _ in range(60):
        values = [None, b"", seed.randbytes(seed.randrange(200))]
        version = seed.choice(versions).apply([(seed.choice(keys), seed.choice(values)) for _ in range(50)])
        versions = [*versions[-5:], version]
        for path in seed.sample(keys, 10):
            version = seed.choice(versions)
            version.get(path)
            version.prove_path(path)
            walk = version.items_from(path)
            next(walk, None)
            versions.append(version.apply((key, None) for key, _ in walk))


def walk_from_each(keys: list[bytes]) -> None:
    tree = Tree().apply((key, key) for key in keys)
    for path in keys:
        assert tree.prove_path(path)[1] is None
        assert next(tree.items_from(path)) == (path, path)
    assert len(list(tree.items_from(bytes(32)))) == len(tree) == len(keys)


def ask_at_odd_paths(tree: Tree) -> None:
    for ask in (tree.items_from, tree.prove_path):
        for size in range(32):
            try:
                ask(bytes(size))
            except ValueError:
                continue
            raise AssertionError(f"a path of {size} bytes was taken")


def main() -> None:
    seed = Random(7)
    keys = [key for centre in (bytes(32), b"\xff" * 32, seed.randbytes(32)) for key in list_keys(centre)]
    fork_versions(keys, seed)
    walk_from_each(keys)
    ask_at_odd_paths(Tree().apply((key, b"") for key in keys))


main()
