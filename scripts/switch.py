"""Put another version of a recogniser into the running server: `python -m scripts.switch REPOSITORY`.

Streams that run go on with the old version, which is unloaded after the last of them; new ones start on the new
version. The server must have been started with AMIRA_MODEL_CONTROL=explicit. Ctrl+C leaves both versions loaded; the
same command without REPOSITORY finishes the switch.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

from tritonclient.utils import InferenceServerException

from amira_asr.settings import SettingsError, load_recogniser_settings, load_settings
from scripts.serve import ROOT, repository_settings
from scripts.serving.switching import RunningServer, SwitchError, VersionSwitch


def main() -> int:
    """Switch, and say how it goes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", type=Path, nargs="?", help="model repository of the new version")
    parser.add_argument("--recogniser", help="which one, of several (AMIRA_RECOGNISERS)")
    parser.add_argument(
        "--timeout", type=float, default=math.inf, help="seconds to wait for streams on the old version"
    )
    parser.add_argument("--config-dir", type=Path, default=ROOT, help="folder with config.toml and config.yaml")
    parser.add_argument("--runtime-dir", type=Path, default=ROOT / "run" / "serve", help="as of the server")
    arguments = parser.parse_args()
    try:
        return _switch(arguments)
    except (SettingsError, SwitchError, FileNotFoundError, OSError) as error:
        print(error, file=sys.stderr)
    except InferenceServerException as error:
        print(f"Triton: {error.message()}", file=sys.stderr)
    except KeyboardInterrupt:
        print("both versions stay loaded; run again without a repository to finish", file=sys.stderr)
    return 1


def _switch(arguments: argparse.Namespace) -> int:
    settings = load_settings(arguments.config_dir)
    server = RunningServer.find(arguments.runtime_dir)
    if arguments.recogniser:
        prefix = f"{arguments.recogniser}."
        switch = VersionSwitch(server, prefix=prefix, streaming=f"{prefix}asr_streaming", batch=f"{prefix}asr_batch")
    else:
        switch = VersionSwitch(
            server, prefix="", streaming=settings.streaming_model_name, batch=settings.batch_model_name
        )
    if arguments.repository is not None:
        own = repository_settings(load_recogniser_settings(arguments.config_dir, arguments.repository))
        new = switch.begin(arguments.repository, own)
        print(f"loaded; new streams start on {new}asr_streaming", flush=True)
    elif switch.successor is None:
        raise SwitchError("no switch is under way: name the repository to switch to")
    print(f"streams on the old version: {switch.streams_left()}; it is unloaded after the last", flush=True)
    if not switch.finish(arguments.timeout):
        print(f"{switch.streams_left()} streams are left; run again without a repository to finish", file=sys.stderr)
        return 1
    print("done: the old version is unloaded")
    return 0


if __name__ == "__main__":
    sys.exit(main())
