"""The shared memory of Triton's Python backends: named after its server, so that what a crash leaves can be removed.

Every model has a region of 1 MB or more in /dev/shm. A server that is killed does not remove them, and in a container
/dev/shm outlives the process.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_REGIONS = Path("/dev/shm")  # noqa: S108  where POSIX shared memory is on Linux


def region_prefix(runtime_folder: Path) -> str:
    """Return what the names of a server's regions begin with; the same for every start in the same folder."""
    folder = hashlib.sha256(str(runtime_folder.resolve()).encode()).hexdigest()[:12]
    return f"amira_{folder}_"


def remove_regions(prefix: str) -> int:
    """Remove the regions of a server that does not run any more; return how many there were."""
    regions = list(_REGIONS.glob(f"{prefix}*"))
    for region in regions:
        region.unlink(missing_ok=True)
    return len(regions)
