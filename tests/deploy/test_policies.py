"""What the manifests must have: no root, nothing writable but volumes, limits, probes, time to finish streams."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2

from amira_asr.settings import Settings, SettingsError, load_settings
from common import metric_catalogue
from scripts.image.dockerfile import Dockerfile
from scripts.serving.server import _TRITON_EXIT_SECS
from tests.conftest import ROOT
from tests.deploy.manifests import COMPONENTS, K8S, RENDERINGS, containers_of, of_kind, pod_of, render, settings_of

DOCKERFILE = Dockerfile(ROOT / "Dockerfile")
VERSION = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
SHARED_MEMORY = "/dev/shm"  # noqa: S108
WRITABLE = ("/tmp", SHARED_MEMORY)  # noqa: S108
TARGETS = {"amira-asr": "cpu", "amira-asr-engines": "engines", "amira-gateway": "gateway"}


@pytest.fixture(params=RENDERINGS, ids=lambda pair: "+".join([pair[0], *pair[1]]))
def rendered(request):
    return render(*request.param)


def pods(rendered):
    return [pod_of(deployment) for deployment in of_kind(rendered, "Deployment")]


def every_container(rendered):
    return [item for pod in pods(rendered) for item in [*pod.get("initContainers", []), *containers_of(pod)]]


def mebibytes(quantity):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()
    return int(number) * {"Mi": 1, "Gi": 1024}[unit]


def test_every_component_is_rendered():
    assert {name for _, components in RENDERINGS for name in components} == set(COMPONENTS)


def test_pods_run_as_nobody_special(rendered):
    for pod in pods(rendered):
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 10001
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_images_have_the_same_user():
    for target in ("cpu", "gpu", "engines", "gateway"):
        assert DOCKERFILE.last(target, "USER").value == "10001"


def test_containers_can_do_nothing_special(rendered):
    for container in every_container(rendered):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in context


def test_containers_have_limits_equal_to_requests(rendered):
    for container in every_container(rendered):
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["limits"])


def test_images_are_pinned(rendered):
    for container in every_container(rendered):
        name, tag = container["image"].rsplit(":", 1)
        assert "/" in name, "no registry: it would be Docker Hub's"
        assert re.match(r"\d+\.\d+", tag), container["image"]


def test_stable_images_are_of_this_version():
    for overlay in ("cpu", "gpu-tensorrt"):
        for container in every_container(render(overlay, ("http-gateway",))):
            assert container["image"].rsplit(":", 1)[1].removesuffix("-cpu") == VERSION
    for target in TARGETS.values():
        labels = dict(word.split("=", 1) for word in DOCKERFILE.last(target, "LABEL").words())
        assert labels["org.opencontainers.image.version"] == VERSION


def test_containers_that_stay_are_probed(rendered):
    for pod in pods(rendered):
        for container in containers_of(pod):
            ports = {port["name"] for port in container["ports"]}
            for name in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert container[name]["httpGet"]["port"] in ports
            startup, liveness = container["startupProbe"], container["livenessProbe"]
            assert startup["periodSeconds"] * startup["failureThreshold"] >= 60
            # A restart loses the state of every stream, so a slow moment must not lead to one.
            assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


def test_streams_have_time_to_finish(rendered):
    for pod in pods(rendered):
        for container in containers_of(pod):
            program, seconds = container["lifecycle"]["preStop"]["exec"]["command"]
            assert program == "sleep"
            assert int(seconds) > container["readinessProbe"]["periodSeconds"]
            drain = load(settings_of(rendered, container)).shutdown_timeout_secs
            # 10 s is what scripts/serving/server.py waits for a Triton that does not go.
            needed = int(seconds) + drain + _TRITON_EXIT_SECS + 10
            assert pod["terminationGracePeriodSeconds"] >= needed + 10


def load(variables):
    """The settings that a pod's variables make."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        return load_settings(Path("/nowhere"))


def test_settings_are_known_and_ports_are_those_of_the_settings(rendered):
    for pod in pods(rendered):
        server = containers_of(pod)[0]
        settings = load(settings_of(rendered, server))
        ports = {port["name"]: port["containerPort"] for port in server["ports"]}
        assert ports == {"grpc": settings.grpc_port, "http": settings.http_port, "metrics": settings.metrics_port}


def test_kubernetes_variables_for_services_are_off(rendered, monkeypatch):
    """They begin with AMIRA_ASR_, and the server would not start."""
    for pod in pods(rendered):
        assert pod["enableServiceLinks"] is False
    monkeypatch.setenv("AMIRA_ASR_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(SettingsError, match="AMIRA_ASR_SERVICE_HOST"):
        load_settings(Path("/nowhere"))


def test_whatever_is_written_to_is_a_volume_with_a_limit(rendered):
    entrypoint = DOCKERFILE.last("cpu", "ENTRYPOINT").words()
    for pod in pods(rendered):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        server = containers_of(pod)[0]
        mounts = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
        assert {entrypoint[entrypoint.index("--runtime-dir") + 1], *WRITABLE} <= set(mounts)
        assert volumes[mounts[SHARED_MEMORY]]["emptyDir"]["medium"] == "Memory"
        for container in [*pod.get("initContainers", []), *containers_of(pod)]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= set(volumes)
        for volume in volumes.values():
            assert "hostPath" not in volume
            assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": None})


def test_shared_memory_fits_into_the_memory_limit(rendered):
    for pod in pods(rendered):
        limit = mebibytes(containers_of(pod)[0]["resources"]["limits"]["memory"])
        shared = [
            mebibytes(volume["emptyDir"]["sizeLimit"])
            for volume in pod["volumes"]
            if volume.get("emptyDir", {}).get("medium") == "Memory"
        ]
        assert 0 < sum(shared) <= limit / 2


def test_references_lead_somewhere(rendered):
    maps = {manifest["metadata"]["name"] for manifest in of_kind(rendered, "ConfigMap")}
    accounts = {manifest["metadata"]["name"] for manifest in of_kind(rendered, "ServiceAccount")}
    claims = {manifest["metadata"]["name"] for manifest in of_kind(rendered, "PersistentVolumeClaim")}
    for pod in pods(rendered):
        assert pod["serviceAccountName"] in accounts
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
    for container in every_container(rendered):
        for source in container.get("envFrom", []):
            assert "secretRef" in source or source["configMapRef"]["name"] in maps


def test_everything_is_in_the_namespace(rendered):
    for manifest in rendered:
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "amira"


def selects(selector, labels):
    return selector.items() <= labels.items()


def test_selectors_find_the_pods_and_their_ports(rendered):
    labels = [item["spec"]["template"]["metadata"]["labels"] for item in of_kind(rendered, "Deployment")]
    named = {port["name"] for pod in pods(rendered) for item in containers_of(pod) for port in item["ports"]}
    for service in of_kind(rendered, "Service"):
        assert any(selects(service["spec"]["selector"], pod) for pod in labels)
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        for manifest in of_kind(rendered, kind):
            assert any(selects(manifest["spec"][key]["matchLabels"], pod) for pod in labels)


def test_stable_and_canary_pods_are_kept_apart():
    stable, canary = render("cpu"), render("canary")
    for mine, other in ((stable, canary), (canary, stable)):
        pod = of_kind(other, "Deployment")[0]["spec"]["template"]["metadata"]["labels"]
        selectors = [service["spec"]["selector"] for service in of_kind(mine, "Service")]
        selectors += [of_kind(mine, "Deployment")[0]["spec"]["selector"]["matchLabels"]]
        assert not any(selects(selector, pod) for selector in selectors)
    names = [{(item["kind"], item["metadata"]["name"]) for item in side} for side in (stable, canary)]
    assert not names[0] & names[1]


def test_the_canary_gets_one_in_a_hundred_of_the_same_calls():
    route, canary = (
        of_kind(side, "GRPCRoute")[0]["spec"] for side in (render("cpu", ("gateway-api",)), render("canary"))
    )
    services = {item["metadata"]["name"] for item in of_kind(render("canary"), "Service")} | {"amira-asr"}
    backends = canary["rules"][0]["backendRefs"]
    assert {backend["name"]: backend["weight"] for backend in backends} == {"amira-asr": 99, "amira-asr-canary": 1}
    assert {backend["name"] for backend in backends} <= services
    canary["rules"][0]["backendRefs"] = route["rules"][0]["backendRefs"]
    assert canary == route


def test_the_route_has_calls_of_triton_and_none_that_changes_the_server():
    methods = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    rule = of_kind(render("cpu", ("gateway-api",)), "GRPCRoute")[0]["spec"]["rules"][0]
    routed = {match["method"]["method"] for match in rule["matches"]}
    assert {match["method"]["service"] for match in rule["matches"]} == {"inference.GRPCInferenceService"}
    assert {"ModelStreamInfer", "ModelInfer", "ModelConfig"} <= routed <= set(methods)
    assert not [name for name in routed if re.search("Load|Register|Setting|Log", name)]


@pytest.mark.parametrize(
    ("component", "kind"), [("autoscaling", "ScaledObject"), ("autoscaling-hpa", "HorizontalPodAutoscaler")]
)
def test_whoever_scales_says_how_many(component, kind):
    rendered = render("cpu", (component,))
    deployment = of_kind(rendered, "Deployment")[0]
    assert "replicas" not in deployment["spec"]
    assert of_kind(rendered, kind)[0]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_pods_are_added_before_they_are_full():
    trigger = of_kind(render("cpu", ("autoscaling",)), "ScaledObject")[0]["spec"]["triggers"][0]["metadata"]
    assert 0.5 <= float(trigger["threshold"]) <= 0.8  # of what amira_streams_limit says
    named = set(re.findall(r"amira_\w+", trigger["query"]))
    assert named == {"amira_streams_live", "amira_streams_limit"} <= {metric.name for metric in metric_catalogue.ALL}
    rendered = render("cpu", ("autoscaling-hpa",))
    metric = of_kind(rendered, "HorizontalPodAutoscaler")[0]["spec"]["metrics"][0]["pods"]
    most = load(settings_of(rendered, containers_of(pods(rendered)[0])[0])).max_concurrent_streams
    assert metric["metric"]["name"] == "amira_streams_live"
    assert 0.5 * most <= int(metric["target"]["averageValue"]) <= 0.8 * most


def test_models_are_fetched_before_engines_are_built():
    pod = pods(render("gpu-tensorrt", ("model-bucket",)))[0]
    assert [item["name"] for item in pod["initContainers"]] == ["fetch-models", "engines"]


def test_engines_are_built_where_the_server_looks_for_models():
    rendered = render("gpu-tensorrt")
    pod = pods(rendered)[0]
    arguments = pod["initContainers"][0]["args"]
    server = containers_of(pod)[0]
    settings = settings_of(rendered, server)
    assert settings["AMIRA_MODEL_REPOSITORY"] == arguments[arguments.index("--target") + 1]
    assert settings["AMIRA_PROFILE"] == "tensorrt"
    for container in (pod["initContainers"][0], server):
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_no_secret_is_in_the_tree():
    for file in K8S.rglob("*.yaml"):
        assert "kind: Secret\n" not in file.read_text(), f"{file}: secrets are made by hand"


def test_every_setting_in_an_env_file_is_one():
    for file in K8S.rglob("*.env"):
        names = [line.split("=", 1)[0] for line in file.read_text().splitlines()]
        assert {name.removeprefix("AMIRA_").lower() for name in names} <= set(Settings.model_fields)
