"""Where an engine and what belongs to it lie, and which one is served."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from scripts.engines.precision import Precision


@dataclass(frozen=True)
class EngineFiles:
    """Files of one engine: it runs on one kind of GPU, with one version of TensorRT.

    Attributes:
        model: folder of the model in the repository.
        gpu: name as the driver gives it, "NVIDIA L4".
        tensorrt: version that built it, "10.5.0".
        precision: that was asked for.
    """

    model: Path
    gpu: str
    tensorrt: str
    precision: Precision

    @property
    def stem(self) -> str:
        """Return GPU, version and precision as a file name."""
        gpu = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-")
        return f"{gpu}_tensorrt-{self.tensorrt}_{self.precision.value}"

    @property
    def plan(self) -> Path:
        """The engine."""
        return self.model / "engines" / f"{self.stem}.plan"

    @property
    def checksum(self) -> Path:
        """Its SHA-256, as `sha256sum --check` reads it."""
        return self.plan.with_suffix(".plan.sha256")

    @property
    def log(self) -> Path:
        """Command and output of the build."""
        return self.plan.with_suffix(".plan.log")

    @property
    def timing_cache(self) -> Path:
        """Timings of kernels on this GPU with this version, which later builds use again."""
        return self.plan.with_suffix(".timing")

    @property
    def served(self) -> Path:
        """The name under which Triton loads an engine."""
        return self.model / "1" / "model.plan"

    def seal(self) -> str:
        """Write the checksum of the engine and return it. Raises FileNotFoundError when there is no engine."""
        digest = hashlib.sha256(self.plan.read_bytes()).hexdigest()
        self.checksum.write_text(f"{digest}  {self.plan.name}\n", encoding="utf-8")
        return digest

    def serve(self) -> None:
        """Make this engine the one that Triton loads: a relative link, so that the folder can be moved or mounted."""
        self.served.unlink(missing_ok=True)
        self.served.symlink_to(Path("..") / "engines" / self.plan.name)
