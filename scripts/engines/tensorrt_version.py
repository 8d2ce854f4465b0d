"""Which TensorRT is here: the library that Triton's backend loads, and the bindings that build with it.

`python -m scripts.engines.tensorrt_version` prints the library's version. An engine runs only with the version that
built it, so a mismatch is refused before a build of minutes.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib
import sys


class TensorRTError(RuntimeError):
    """TensorRT is missing, or its parts do not belong together. The message says which."""


def library_version(number: int) -> str:
    """Return the version "10.5.0" of what `getInferLibVersion` returns, 100500.

    Raises:
        TensorRTError: it is older than TensorRT 10, which numbered otherwise and has no INT64 tensors.
    """
    if number < 100_000:
        raise TensorRTError(f"TensorRT {number // 1000}.{number // 100 % 10} is installed; 10 or later is needed")
    return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"


def installed_library() -> str:
    """Return the version of libnvinfer on this machine. Raises TensorRTError when there is none, or it is too old."""
    name = ctypes.util.find_library("nvinfer")
    if name is None:
        raise TensorRTError(
            "there is no libnvinfer here: build in the Triton image that serves, make engines IMAGE=nvcr.io/nvidia/"
            "tritonserver:24.10-py3"
        )
    return library_version(ctypes.CDLL(name).getInferLibVersion())


def check_builder(library: str, bindings: str) -> None:
    """Compare the library that serves with the bindings that build.

    Args:
        library: "10.5.0".
        bindings: `tensorrt.__version__`, "10.5.0", "10.6.0.post1" or "10.13.3.9".

    Raises:
        TensorRTError: they differ in one of the first three numbers.
    """
    if bindings.split(".")[:3] != library.split("."):
        raise TensorRTError(
            f"the bindings are TensorRT {bindings}, the library that Triton serves with is {library}: an engine of one "
            f"does not load in the other. Install tensorrt-cu12-bindings=={library} (-cu13- with CUDA 13)"
        )


def matching_version() -> str:
    """Return the version of library and bindings. Raises TensorRTError when one is missing or they differ."""
    library = installed_library()
    try:
        bindings = str(importlib.import_module("tensorrt").__version__)
    except ImportError as error:
        raise TensorRTError(f"the Python bindings of TensorRT {library} do not load: {error}") from error
    check_builder(library, bindings)
    return library


if __name__ == "__main__":
    try:
        print(installed_library())
    except TensorRTError as reason:
        sys.exit(str(reason))
