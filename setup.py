"""The one part of the build that pyproject.toml cannot say: what is native, which may fail to build."""

from pathlib import Path

from setuptools import Extension, setup

SHARED_HEADER = Path("ledger/native/sha256_rounds.h")


def make_extension(name: str, folder: str) -> Extension:
    native = Path(folder)
    return Extension(
        name,
        sources=sorted(str(path) for path in native.glob("*.c")),
        depends=sorted({str(path) for path in (*native.glob("*.h"), SHARED_HEADER)}),
        define_macros=[("Py_LIMITED_API", "0x030B0000")],
        extra_compile_args=["-O2", "-g0"],  # -O3 gains the scans nothing; their debug tables would be a megabyte
        py_limited_api=True,
        optional=True,  # without it consensus.seal and ledger.state do the same in Python, and say so
    )


setup(
    ext_modules=[
        make_extension("consensus._seal", "consensus/native"),
        make_extension("ledger._state_tree", "ledger/native"),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
