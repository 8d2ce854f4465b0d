"""What is used of custom resources, as JSON schemas that allow nothing else.

Written from the references of KEDA, the Prometheus operator, the Gateway API and Envoy Gateway. Their own definitions
decide: with CRDS=folder, test_schemas.py checks against those in the folder, too.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "integer", "minimum": 0}
DURATION: Schema = {"type": "string", "pattern": r"^(\d+(h|m|s|ms))+$"}


def only(required: str = "", **properties: Schema) -> Schema:
    """An object with these properties and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


def many(items: Schema) -> Schema:
    """A list that is not empty."""
    return {"type": "array", "items": items, "minItems": 1}


def resource(spec: Schema) -> Schema:
    """A whole object."""
    metadata = only("name namespace", name=TEXT, namespace=TEXT, labels={"type": "object"})
    return only("apiVersion kind metadata spec", apiVersion=TEXT, kind=TEXT, metadata=metadata, spec=spec)


POLICIES = many(
    only("type value periodSeconds", type={"enum": ["Pods", "Percent"]}, value=NUMBER, periodSeconds=NUMBER)
)
SCALING = only(stabilizationWindowSeconds=NUMBER, policies=POLICIES)
TARGETS = many(only("group kind name", group=TEXT, kind={"enum": ["GRPCRoute"]}, name=TEXT))
RULES = only(
    "alert expr",
    alert=TEXT,
    expr=TEXT,
    keep_firing_for=DURATION,
    labels={"type": "object", "additionalProperties": TEXT},
    annotations={"type": "object", "additionalProperties": TEXT},
    **{"for": DURATION},
)
RECORDS = only("record expr", record=TEXT, expr=TEXT, labels={"type": "object", "additionalProperties": TEXT})

SCHEMAS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): resource(
        only(
            "scaleTargetRef triggers",
            scaleTargetRef=only("name", name=TEXT),
            minReplicaCount=NUMBER,
            maxReplicaCount=NUMBER,
            pollingInterval=NUMBER,
            fallback=only("failureThreshold replicas", failureThreshold=NUMBER, replicas=NUMBER),
            advanced=only(horizontalPodAutoscalerConfig=only(behavior=only(scaleUp=SCALING, scaleDown=SCALING))),
            triggers=many(
                only(
                    "type metadata",
                    type={"enum": ["prometheus"]},
                    metricType={"enum": ["AverageValue", "Value"]},
                    metadata=only("serverAddress query threshold", serverAddress=TEXT, query=TEXT, threshold=TEXT),
                )
            ),
        )
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): resource(
        only(
            "selector endpoints",
            selector=only("matchLabels", matchLabels={"type": "object", "additionalProperties": TEXT}),
            endpoints=many(only("port", port=TEXT, interval=DURATION, scrapeTimeout=DURATION)),
        )
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): resource(
        only(
            "groups",
            groups=many(only("name rules", name=TEXT, interval=DURATION, rules=many({"oneOf": [RULES, RECORDS]}))),
        )
    ),
    ("gateway.networking.k8s.io/v1", "Gateway"): resource(
        only(
            "gatewayClassName listeners",
            gatewayClassName=TEXT,
            listeners=many(
                only(
                    "name port protocol",
                    name=TEXT,
                    port=NUMBER,
                    protocol={"enum": ["HTTP", "HTTPS", "TLS", "TCP", "UDP"]},
                    hostname=TEXT,
                    tls=only(
                        "mode",
                        mode={"enum": ["Terminate", "Passthrough"]},
                        certificateRefs=many(only("name", name=TEXT)),
                    ),
                    allowedRoutes=only(namespaces=only(**{"from": {"enum": ["All", "Same", "Selector"]}})),
                )
            ),
        )
    ),
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): resource(
        only(
            "parentRefs rules",
            parentRefs=many(only("name", name=TEXT)),
            hostnames=many(TEXT),
            rules=many(
                only(
                    "backendRefs",
                    matches={
                        **many(only("method", method=only("service method", service=TEXT, method=TEXT))),
                        "maxItems": 64,
                    },
                    backendRefs=many(
                        only(
                            "name port",
                            name=TEXT,
                            port=NUMBER,
                            weight={"type": "integer", "minimum": 0, "maximum": 1_000_000},
                        )
                    ),
                )
            ),
        )
    ),
    ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"): resource(
        only(
            "targetRefs",
            targetRefs=TARGETS,
            loadBalancer=only("type", type={"enum": ["ConsistentHash", "LeastRequest", "Random", "RoundRobin"]}),
            timeout=only(
                http=only(requestTimeout=DURATION, maxStreamDuration=DURATION, connectionIdleTimeout=DURATION),
            ),
            circuitBreaker=only(maxConnections=NUMBER, maxParallelRequests=NUMBER, maxPendingRequests=NUMBER),
        )
    ),
    ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"): resource(
        only(
            "targetRefs apiKeyAuth",
            targetRefs=TARGETS,
            apiKeyAuth=only(
                "credentialRefs extractFrom",
                credentialRefs=many(only("name", name=TEXT)),
                extractFrom=many(only(headers=many(TEXT))),
            ),
        )
    ),
}
