"""Where Triton is on this machine: NVIDIA's container has it in /opt/tritonserver, elsewhere a wheel carries it."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

CONTAINER_ROOT = Path("/opt/tritonserver")
BACKENDS = Path(__file__).resolve().parents[2] / "backends"
BACKEND_NAMES = ("log_mel", "onnx_sequence", "rnnt_decoder", "silero_vad")


class TritonMissingError(RuntimeError):
    """No Triton on this machine. The message says how to get one."""


@dataclass(frozen=True)
class TritonInstallation:
    """A runnable Triton.

    Attributes:
        binary: the `tritonserver` executable.
        python_backend: folder with the Python backend's library and utilities.
        python_stub: the stub process for this Python version; None where the backend brings its own.
        other_backends: folders of further backends (ONNX Runtime, TensorRT), container only.
        library_folders: shared libraries that the binary and the stubs need; none where the system has them.
    """

    binary: Path
    python_backend: Path
    python_stub: Path | None
    other_backends: tuple[Path, ...]
    library_folders: tuple[Path, ...]

    def lay_out_backends(self, folder: Path) -> None:
        """Fill `folder` as a backend directory: Triton's own backends and links to ours."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for backend in self.other_backends:
            (folder / backend.name).symlink_to(backend)
        # Copies: Triton refuses a backend library that leads out of its folder.
        python = shutil.copytree(self.python_backend, folder / "python", ignore=shutil.ignore_patterns("__pycache__"))
        if self.python_stub is not None:
            shutil.copy2(self.python_stub, python / "triton_python_backend_stub")
        for name in BACKEND_NAMES:
            (folder / name).symlink_to(BACKENDS / name)

    def environment(self) -> dict[str, str]:
        """Return the environment of the server process: this Python first, its libraries found, BLAS not spinning."""
        environment = dict(os.environ)
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
        paths = [*map(str, self.library_folders), environment.get("LD_LIBRARY_PATH", "")]
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(path for path in paths if path)
        for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment.setdefault(variable, "1")
        # Else glibc gives the arrays of a chunk back to the kernel, which clears the same pages for the next one.
        environment.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 << 20))
        environment.setdefault("MALLOC_TRIM_THRESHOLD_", str(64 << 20))
        return environment


def find_triton() -> TritonInstallation:
    """Return the Triton of NVIDIA's container, or else that of the `nvidia-pytriton` wheel.

    Raises:
        TritonMissingError: there is neither, or the wheel has no stub for this Python.
    """
    if (CONTAINER_ROOT / "bin" / "tritonserver").exists():
        backends = CONTAINER_ROOT / "backends"
        others = tuple(item for item in sorted(backends.iterdir()) if item.is_dir() and item.name != "python")
        return TritonInstallation(CONTAINER_ROOT / "bin" / "tritonserver", backends / "python", None, others, ())
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise TritonMissingError("no tritonserver found: run `make setup`, or use NVIDIA's Triton container")
    package = Path(spec.origin).parent
    root = package / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = root / "python_backend_stubs" / version / "triton_python_backend_stub"
    if not stub.exists():
        available = sorted(item.name for item in (root / "python_backend_stubs").iterdir())
        raise TritonMissingError(
            f"nvidia-pytriton has no Python backend stub for Python {version}; it has {', '.join(available)}"
        )
    libraries = (package.parent / "nvidia_pytriton.libs", *_python_library_folder(version))
    return TritonInstallation(root / "bin" / "tritonserver", root / "backends" / "python", stub, (), libraries)


def _python_library_folder(version: str) -> list[Path]:
    """Return the folder of this Python's shared library, which the stub loads; nothing where the system has it.

    Raises:
        TritonMissingError: there is no such library.
    """
    folder = Path(sysconfig.get_config_var("LIBDIR") or "")
    if (folder / f"libpython{version}.so.1.0").exists():
        return [folder]
    if ctypes.util.find_library(f"python{version}") is None:
        raise TritonMissingError(
            f"Triton's Python backend needs libpython{version}.so.1.0, and this Python has none: install it (Debian: "
            f"apt install libpython{version}) or use another Python (make PYTHON=... clean setup)"
        )
    return []
