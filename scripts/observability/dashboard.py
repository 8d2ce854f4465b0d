"""The Grafana dashboard, written here and built with Grafana's own builders: `make dashboard`.

The JSON is what Grafana loads; a test holds it and this file together, and every metric in it against a running server.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "deploy" / "observability" / "grafana" / "dashboards" / "amira.json"
_SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
_WHERE = 'instance=~"$instance"'
_STREAMING = 'model=~"(.*[.])?asr_streaming"'
_OF_STREAMS = 'model!~".*_batch"'


@dataclass(frozen=True)
class Panel:
    """One graph.

    Attributes:
        title: what it answers.
        unit: Grafana's name of it.
        queries: legend and PromQL; `@` stands for the selected servers.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def _rate(metric: str, by: str = "", labels: str = "") -> str:
    """Return PromQL for the rate of a counter, summed but for the labels `by`."""
    inside = f"{labels}, @" if labels else "@"
    return f"sum by ({by}) (rate({metric}{{{inside}}}[$__rate_interval]))"


def _quantile(metric: str, quantile: float) -> str:
    return f"histogram_quantile({quantile}, {_rate(f'{metric}_bucket', 'le')})"


def _mean_secs(microseconds: str) -> str:
    return f"{_rate(microseconds, 'model')} / {_rate('nv_inference_request_success', 'model')} / 1e6"


def _ratio(above: str, below: str, by: str = "") -> str:
    return f"{_rate(above, by)} / {_rate(below, by)}"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Streams": (
        Panel(
            "Live streams",
            "short",
            (
                ("{{instance}}", "sum by (instance) (amira_streams_live{@})"),
                ("admitted at most", "sum by (instance) (amira_streams_limit{@})"),
            ),
        ),
        Panel(
            "Streams started and ended, a second",
            "cps",
            (
                ("started", _rate("amira_streams_started_total")),
                ("ended: {{cause}}", _rate("amira_streams_ended_total", "cause")),
            ),
        ),
        Panel(
            "Refusals and errors, a second",
            "cps",
            (
                ("refused: {{reason}}", _rate("amira_streams_refused_total", "reason")),
                ("error: {{kind}}", _rate("amira_errors_total", "kind")),
            ),
        ),
        Panel(
            "Audio, seconds a second",
            "short",
            (("{{model}}", _rate("amira_audio_seconds_total", "model")),),
        ),
    ),
    "What callers feel": (
        Panel(
            "A chunk, from its arrival to its answer",
            "s",
            (
                (
                    "p{{quantile}}",
                    "max by (quantile) (nv_inference_request_summary_us{" + _STREAMING + ", @}) / 1e6",
                ),
            ),
        ),
        Panel(
            "The final answer, after END",
            "s",
            (("p50", _quantile("amira_final_seconds", 0.5)), ("p95", _quantile("amira_final_seconds", 0.95))),
        ),
        Panel(
            "The first words, after START",
            "s",
            (
                ("p50", _quantile("amira_first_partial_seconds", 0.5)),
                ("p95", _quantile("amira_first_partial_seconds", 0.95)),
            ),
        ),
        Panel(
            "Segments by rule, a second",
            "cps",
            (("{{rule}}", _rate("amira_segments_total", "rule")),),
        ),
    ),
    "Where the time goes": (
        Panel(
            "Processor seconds for a second of audio",
            "short",
            (
                (
                    "{{model}}",
                    f"{_rate('amira_cpu_seconds_total', 'model')} / scalar({_rate('amira_audio_seconds_total')})",
                ),
            ),
        ),
        Panel("Queue, mean", "s", (("{{model}}", _mean_secs("nv_inference_queue_duration_us")),)),
        Panel("Work, mean", "s", (("{{model}}", _mean_secs("nv_inference_compute_infer_duration_us")),)),
        Panel(
            "Requests that wait",
            "short",
            (("{{model}}", "sum by (model) (nv_inference_pending_request_count{@})"),),
        ),
    ),
    "Batches and search": (
        Panel(
            "Batch size, mean",
            "short",
            (("{{model}}", _ratio("amira_batch_size_sum", "amira_batch_size_count", "model")),),
        ),
        Panel(
            "Labels a chunk",
            "short",
            (("labels", f"{_rate('amira_labels_total', labels=_OF_STREAMS)} / {_rate('amira_chunks_total')}"),),
        ),
        Panel(
            "Joint: calls a chunk, rows a call",
            "short",
            (
                (
                    "calls a chunk",
                    f"{_rate('amira_joint_calls_total', labels=_OF_STREAMS)} / {_rate('amira_chunks_total')}",
                ),
                ("rows a call", _ratio("amira_joint_rows_total", "amira_joint_calls_total")),
            ),
        ),
        Panel(
            "Busy: share of wall time",
            "percentunit",
            (
                ("{{model}}", _rate("amira_execute_seconds_total", "model")),
                ("joint, from the decoder", _rate("amira_joint_seconds_total")),
            ),
        ),
    ),
    "Resources": (
        Panel(
            "Resident memory",
            "bytes",
            (("{{model}}", "sum by (model) (amira_resident_memory_bytes{@})"),),
        ),
        Panel(
            "Cache slots of the encoder",
            "short",
            (
                ("used", "sum(amira_cache_slots_used{@})"),
                ("allocated", "sum(amira_cache_slots{@})"),
            ),
        ),
        Panel(
            "Speech heard by the gate and the detector",
            "percentunit",
            (
                (
                    "{{model}}",
                    _ratio("amira_vad_speech_seconds_total", "amira_vad_audio_seconds_total", "model"),
                ),
            ),
        ),
        Panel(
            "Whole utterances inside",
            "short",
            (("inside", "sum(amira_utterances_accepted_total{@}) - sum(amira_utterances_answered_total{@})"),),
        ),
    ),
}


def render() -> str:
    """Return the dashboard as JSON."""
    servers = (
        dashboard.QueryVariable("instance")
        .label("server")
        .datasource(_SOURCE)
        .query("label_values(amira_streams_limit, instance)")
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(multi=True)
        .include_all(include_all=True)
    )
    built = (
        dashboard.Dashboard("Amira ASR")
        .uid("amira-asr")
        .tags(["amira"])
        .refresh("10s")
        .time("now-30m", "now")
        .with_variable(servers)
    )
    number = 0
    for title, panels in ROWS.items():
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            number += 1
            graph = (
                timeseries.Panel()
                .id(number)
                .title(panel.title)
                .unit(panel.unit)
                .datasource(_SOURCE)
                .min(0)
                .span(6)
                .height(7)
            )
            for letter, (legend, query) in zip("ABCD", panel.queries, strict=False):
                target = prometheus.Dataquery().expr(query_of(query)).legend_format(legend).ref_id(letter)
                graph = graph.with_target(target)
            built = built.with_panel(graph)
    return json.dumps(json.loads(JSONEncoder(sort_keys=True).encode(built.build())), indent=1, sort_keys=True) + "\n"


def query_of(query: str, where: str = _WHERE) -> str:
    """Return PromQL with the servers filled in."""
    return query.replace("@", where)


def main() -> int:
    """Write the dashboard."""
    DASHBOARD.write_text(render(), encoding="utf-8")
    print(DASHBOARD.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
