"""See it work: start the real server, stream real speech at real-time pace, watch the words appear, stop everything."""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import jiwer
import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from amira_asr import AsrClient, DecodingOptions, Final, Settings
from amira_asr.audio import MODEL_SAMPLE_RATE, Float32, load_audio
from scripts.serving.server import TritonServer
from scripts.serving.server_options import ServerOptions
from scripts.serving.staging import RepositorySettings, stage_repository
from scripts.text_normalization import normalize

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT / "tests" / "data" / "audio"
FRAME_SAMPLES = MODEL_SAMPLE_RATE // 50


def microphone(audio: Float32) -> Iterator[Float32]:
    """Yield [samples] in frames of 20 ms, each when it would have been spoken."""
    began = time.perf_counter()
    for start in range(0, len(audio), FRAME_SAMPLES):
        frame = audio[start : start + FRAME_SAMPLES]
        time.sleep(max(0.0, began + (start + len(frame)) / MODEL_SAMPLE_RATE - time.perf_counter()))
        yield frame


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=3, help="how many of the bundled recordings to stream")
    parser.add_argument("--beam-size", type=int, default=4, help="hypotheses of the search; 1 is greedy")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True)
    with (CLIPS / "clips.tsv").open(encoding="utf-8", newline="") as table:
        clips = list(csv.DictReader(table, delimiter="\t"))[: arguments.clips]
    with tempfile.TemporaryDirectory() as folder:
        runtime = Path(folder)
        stage_repository(ROOT / "model-repo", runtime / "model-repo", RepositorySettings())
        began = time.perf_counter()
        with (
            TritonServer(ServerOptions(runtime / "model-repo", runtime)) as server,
            AsrClient(Settings(triton_endpoint=server.grpc_endpoint)) as client,
        ):
            console.print(
                f"tritonserver ready in {time.perf_counter() - began:.1f} s: gRPC {server.grpc_endpoint}, "
                f"metrics {server.metrics_url}\n"
            )
            options = DecodingOptions(beam_size=arguments.beam_size)
            finals = [_stream(console, client, clip, options) for clip in clips]
        console.print("server stopped")
    latencies = [latency for chunk_latencies, _ in finals for latency in chunk_latencies]
    console.print(
        f"latency from the end of a chunk to its words: p50 {np.percentile(latencies, 50):.0f} ms, "
        f"p95 {np.percentile(latencies, 95):.0f} ms; from the end of speech to the final text: "
        f"{np.median([final.latency_ms for _, final in finals]):.0f} ms"
    )
    return 0


def _stream(
    console: Console, client: AsrClient, clip: dict[str, str], options: DecodingOptions
) -> tuple[list[float], Final]:
    """Stream one recording; return the latency of every chunk, ms, and the final."""
    audio = load_audio(CLIPS / clip["path"])
    console.print(f"[bold]{clip['path']}[/bold] ({len(audio) / MODEL_SAMPLE_RATE:.1f} s of speech, at its own pace)")
    latencies: list[float] = []
    final: Final | None = None
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for event in client.stream(microphone(audio), options=options):
            latencies.append(event.latency_ms)
            live.update(Text(f"  … {event.text}"), refresh=True)
            if isinstance(event, Final):
                final = event
    if final is None:
        raise RuntimeError("the stream ended without a final transcript")
    wer = jiwer.wer(normalize(clip["text"]), normalize(final.text))
    console.print(Text(f"  final      {final.text}"))
    console.print(Text(f"  reference  {clip['text']}"))
    console.print(f"  word error rate {wer:.0%}\n")
    return latencies, final


if __name__ == "__main__":
    sys.exit(main())
