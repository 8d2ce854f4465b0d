"""Secrets out of the command line of a running process, where every user of the machine could read them (`ps`).

Triton takes its keys as arguments only, and has copied them when it is ready. So its parent overwrites them in its
memory. Until then, some seconds, they can be seen; on machines that others use, mount /proc with hidepid=2.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def hide_arguments(pid: int, secrets: Iterable[str]) -> bool:
    """Overwrite texts in the arguments of a child process with asterisks.

    Args:
        pid: of the process, which has read its arguments.
        secrets: to hide, wherever they stand.

    Returns:
        Whether they are hidden: a kernel may forbid it.
    """
    process = Path("/proc") / str(pid)
    # proc(5): fields 48 and 49 of stat are arg_start and arg_end; the first two may hold blanks.
    fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
    start, end = int(fields[45]), int(fields[46])
    try:
        with (process / "mem").open("r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            for secret in secrets:
                text = secret.encode()
                arguments = arguments.replace(text, b"*" * len(text))
            memory.seek(start)
            memory.write(arguments)
    except OSError:
        return False
    return True
