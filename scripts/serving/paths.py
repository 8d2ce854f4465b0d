"""Files and folders that settings name, checked before anything is started: what leads elsewhere is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWOTH
_OTHERS_READ = stat.S_IROTH


class PathError(ValueError):
    """A path is not what it should be, or lets others in. The message names the setting and what to do."""


def check_file(setting: str, path: Path, *, secret: bool = False) -> Path:
    """Return the file that a setting names, without links in its path.

    Args:
        setting: its name, for the message.
        path: as configured.
        secret: whether only its owner and group may read it.

    Raises:
        PathError: it is no file, cannot be read, others may write it, or read what is secret.
    """
    file = path.resolve()
    if not file.is_file():
        raise PathError(f"setting {setting!r}: {path} is no file")
    if not os.access(file, os.R_OK):
        raise PathError(f"setting {setting!r}: {path} cannot be read by this user")
    _check_mode(setting, file)
    if secret and file.stat().st_mode & _OTHERS_READ:
        raise PathError(f"setting {setting!r}: every user can read {path}: chmod o-r {file}")
    return file


def check_repository_folder(setting: str, path: Path) -> Path:
    """Return the model repository that a setting names, without links in its path.

    Raises:
        PathError: it is no folder; something in it is a link that leads out of it; others may write something in it.
    """
    root = path.resolve()
    if not root.is_dir():
        raise PathError(f"setting {setting!r}: {path} is no folder")
    _check_mode(setting, root)
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            item = Path(folder) / name
            target = item.resolve()
            if not target.is_relative_to(root):
                raise PathError(
                    f"setting {setting!r}: {item} is a link out of {root}, to {target}: copy the file instead"
                )
            if target.exists():  # a link that leads nowhere is missed where it is needed
                _check_mode(setting, target)
    return root


def _check_mode(setting: str, path: Path) -> None:
    # A volume of a container is whose it is mounted for, and Kubernetes makes them so.
    if path.stat().st_mode & _OTHERS_WRITE and not path.is_mount():
        raise PathError(f"setting {setting!r}: every user can write {path}: chmod o-w {path}")
