"""The alerts of deploy/observability as a PrometheusRule for Kubernetes: `python -m scripts.prometheus_rule`."""

from __future__ import annotations

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
RULES = ROOT / "deploy" / "observability" / "prometheus" / "amira.rules.yml"
RULE = ROOT / "deploy" / "k8s" / "components" / "monitoring" / "prometheus-rule.yaml"
_HEADER = f"# Made from {RULES.relative_to(ROOT)} by `make alerts`.\n"


def prometheus_rule(rules: str) -> str:
    """Return the manifest for the text of a rule file."""
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "amira-asr", "namespace": "amira", "labels": {"app.kubernetes.io/name": "amira-asr"}},
        "spec": {"groups": yaml.safe_load(rules)["groups"]},
    }
    return _HEADER + yaml.safe_dump(manifest, sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    RULE.write_text(prometheus_rule(RULES.read_text(encoding="utf-8")), encoding="utf-8")
