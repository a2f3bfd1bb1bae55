"""The one part of the build that pyproject.toml cannot say: the native nonce search, which may fail to build."""

from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("consensus/native")

setup(
    ext_modules=[
        Extension(
            "consensus._seal",
            sources=sorted(str(path) for path in NATIVE.glob("*.c")),
            depends=sorted(str(path) for path in NATIVE.glob("*.h")),
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O2", "-g0"],  # -O3 gains the scans nothing; their debug tables would be a megabyte
            py_limited_api=True,
            optional=True,  # without it consensus.seal falls back to hashlib, and says so
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
