"""Audio files by names, folders and patterns."""

from __future__ import annotations

import glob
from pathlib import Path

AUDIO_SUFFIXES = {".aac", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma"}


def find_recordings(name: str) -> list[Path]:
    """Return a file, all audio below a folder, or what a glob pattern matches, in order.

    A name that matches nothing is returned as it is: it is to be reported as missing.

    Raises:
        ValueError: a folder without audio.
    """
    path = Path(name)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file())
        if not files:
            raise ValueError(f"{path} holds no audio files ({', '.join(sorted(AUDIO_SUFFIXES))})")
        return files
    if path.exists():
        return [path]
    return [Path(match) for match in sorted(glob.glob(name, recursive=True))] or [path]  # noqa: PTH207  may be absolute
