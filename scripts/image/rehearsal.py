"""Do what the Dockerfile says in folders, one for each stage, without an engine.

RUN lines run unchanged, in a sandbox of bubblewrap whose root is the stage's folder. Of a base image there are the
programs and libraries of this machine, read-only, and its Python; system packages are not installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from docker.utils.build import exclude_paths

from scripts.image.dockerfile import Dockerfile, Instruction, Stage
from scripts.serving.installation import find_triton

# What a base image brings, from this machine.
_SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "etc")
_PYTHON = Path(sys.base_prefix)
# What is there already, or cannot be done by one user alone.
_STAND_INS = ("apt-get", "useradd")
_TRITON_IMAGE = "nvcr.io/nvidia/tritonserver:"
_USER = "10001"
_WRITABLE = ("/run/amira", "/tmp", "/dev/shm")  # noqa: S108


class RehearsalError(RuntimeError):
    """A step failed; its output is above."""


@dataclass(frozen=True)
class Rehearsal:
    """The stages of one target.

    Attributes:
        dockerfile: parsed.
        context: folder that COPY takes from, less what .dockerignore leaves out.
        folder: where the stages go.
    """

    dockerfile: Dockerfile
    context: Path
    folder: Path

    def build(self, target: str) -> None:
        """Do every step. Raises RehearsalError when one fails."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._stand_ins()
        for stage in self.dockerfile.needed(target):
            print(f"{stage.name}: from {stage.base}", flush=True)
            self._begin(stage)
            for instruction in stage.instructions:
                if instruction.name == "COPY":
                    self._copy(stage, instruction.words())
                elif instruction.name == "RUN":
                    print(f"  {instruction.value}", flush=True)
                    self._run(stage, instruction)

    def serve(self, target: str, script: str, mounts: dict[Path, str]) -> int:
        """Run a shell script in a finished target: root read-only, another user, no network, its variables.

        Args:
            target: that was built.
            script: finds the image's ENTRYPOINT as "$@".
            mounts: further folders, read-only, and where they appear.

        Returns:
            Its exit status.
        """
        variables = self.dockerfile.environment(target, self._base_environment(target))
        writable = [option for path in _WRITABLE for option in ("--perms", "1777", "--tmpfs", path)]
        root = self.folder / target
        for path in (*mounts.values(), *_WRITABLE):  # mount points must be there
            (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        sandbox = ["bwrap", "--die-with-parent", "--ro-bind", str(root), "/", *self._system(), *writable]
        sandbox += [option for source, path in mounts.items() for option in ("--ro-bind", str(source), path)]
        sandbox += ["--unshare-net", "--unshare-pid", "--unshare-ipc", "--clearenv"]
        sandbox += [option for pair in variables.items() for option in ("--setenv", *pair)]
        sandbox += ["--chdir", self.dockerfile.last(target, "WORKDIR").value]
        if os.getuid() == 0:
            sandbox += ["--", "setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", "--no-new-privs"]
            sandbox += ["--bounding-set=-all", "--inh-caps=-all"]
        else:
            sandbox += ["--unshare-user", "--uid", _USER, "--gid", _USER, "--"]
        entrypoint = self.dockerfile.last(target, "ENTRYPOINT").words()
        return subprocess.run([*sandbox, "sh", "-eu", "-c", script, "sh", *entrypoint], check=False).returncode

    def _begin(self, stage: Stage) -> None:
        root = self.folder / stage.name
        if stage.base in self.dockerfile.stages:
            shutil.copytree(self.folder / stage.base, root, symlinks=True, copy_function=os.link)
            return
        for name in (*_SYSTEM, "proc", "dev", "tmp", "opt", "stand-ins", str(_PYTHON).lstrip("/")):
            (root / name).mkdir(parents=True, exist_ok=True)
        if stage.base.startswith(_TRITON_IMAGE):
            _lay_out_triton(root / "opt" / "tritonserver")

    def _copy(self, stage: Stage, words: list[str]) -> None:
        sources = [word for word in words[:-1] if not word.startswith("--")]
        target = self.folder / stage.name / (PurePosixPath(_workdir(stage)) / words[-1]).relative_to("/")
        other = next((source for source in stage.sources if f"--from={source}" in words), None)
        for source in sources:
            if other is not None:
                copied = self.folder / other / source.lstrip("/")
                shutil.copytree(copied, target, symlinks=True, dirs_exist_ok=True, copy_function=os.link)
            elif (self.context / source).is_dir():
                self._copy_sent(source, target)
            else:
                self._copy_sent(source, target / Path(source).name if words[-1].endswith(("/", ".")) else target)

    def _copy_sent(self, source: str, target: Path) -> None:
        """Copy what is sent of a file or folder of the context."""
        lines = (self.context / ".dockerignore").read_text(encoding="utf-8").splitlines()
        sent = exclude_paths(str(self.context), [line for line in lines if line and not line.startswith("#")])
        files = [Path(name) for name in sent if name == source or name.startswith(f"{source}/")]
        files = [name for name in files if (self.context / name).is_file()]
        if not files:
            raise RehearsalError(f"COPY {source}: nothing of it is sent, see .dockerignore")
        for name in files:
            place = target / name.relative_to(source)  # of a file: target itself
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.context / name, place)

    def _run(self, stage: Stage, instruction: Instruction) -> None:
        root = self.folder / stage.name
        workdir = _workdir(stage)
        (root / workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
        # Downloads are kept: an image need not have them, the next rehearsal does.
        variables = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AMIRA_")},
            **self.dockerfile.environment(stage.name, self._base_environment(stage.name)),
            "HOME": os.environ.get("HOME", "/"),
        }
        variables["PATH"] = "/stand-ins:" + variables["PATH"]
        variables.pop("PIP_NO_CACHE_DIR", None)
        cache = Path(os.environ.get("PIP_CACHE_DIR", Path.home() / ".cache" / "pip"))
        cache.mkdir(parents=True, exist_ok=True)
        (root / str(cache).lstrip("/")).mkdir(parents=True, exist_ok=True)
        sandbox = ["bwrap", "--die-with-parent", "--bind", str(root), "/", *self._system(), "--tmpfs", "/tmp"]  # noqa: S108
        sandbox += ["--ro-bind", str(self.folder / "stand-ins"), "/stand-ins", "--bind", str(cache), str(cache)]
        sandbox += ["--unshare-user", "--uid", "0", "--gid", "0", "--chdir", workdir]
        done = subprocess.run([*sandbox, "sh", "-c", instruction.value], env=variables, check=False)
        if done.returncode != 0:
            raise RehearsalError(f"{stage.name}: exit status {done.returncode} of: RUN {instruction.value}")

    def _base_environment(self, target: str) -> dict[str, str]:
        """Return what the base image sets."""
        base = self.dockerfile.needed(target)[0].base
        path = f"{_PYTHON}/bin:/usr/local/bin:/usr/bin:/bin"
        return {
            "PATH": path,
            **({"LD_LIBRARY_PATH": "/opt/tritonserver/lib"} if base.startswith(_TRITON_IMAGE) else {}),
        }

    def _stand_ins(self) -> None:
        folder = self.folder / "stand-ins"
        folder.mkdir(parents=True)
        for name in _STAND_INS:
            (folder / name).write_text("#!/bin/sh\n", encoding="utf-8")
            (folder / name).chmod(0o755)

    @staticmethod
    def _system() -> list[str]:
        """Return bubblewrap's options for what a base image has."""
        options = ["--proc", "/proc", "--dev", "/dev"]
        for name in (*_SYSTEM, str(_PYTHON).lstrip("/")):
            options += ["--ro-bind-try", f"/{name}", f"/{name}"]
        return options


def _workdir(stage: Stage) -> str:
    """Return the last WORKDIR of a stage."""
    found = stage.all("WORKDIR")
    return found[-1].value if found else "/"


def _lay_out_triton(folder: Path) -> None:
    """Make a Triton as NVIDIA's image has it out of the wheel's."""
    triton = find_triton()
    (folder / "bin").mkdir(parents=True)
    shutil.copy2(triton.binary, folder / "bin")
    python = shutil.copytree(triton.python_backend, folder / "backends" / "python")
    if triton.python_stub is not None:
        shutil.copy2(triton.python_stub, python / "triton_python_backend_stub")
    for libraries in triton.library_folders[:1]:
        shutil.copytree(libraries, folder / "lib")
