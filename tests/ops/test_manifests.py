"""Every overlay of deploy/kustomize, built and checked against schemas, security rules and Curator's own config."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from curator.cli import app
from curator.config import Config, load_config
from tests.ops.kuberay import RayCluster, RayJob
from tests.ops.kustomize import Document, build, containers

DEPLOY = Path(__file__).parents[2] / "deploy"
OVERLAYS = sorted((DEPLOY / "kustomize" / "overlays").iterdir())
KUBERNETES = ("1.28", "1.37")

overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)


def templates(document: Document) -> list[Document]:
    """The pod templates of a document."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        return [spec["jobTemplate"]["spec"]["template"]]
    if document["kind"] not in ("RayJob", "RayCluster"):
        return []
    cluster = spec.get("rayClusterSpec", spec)
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    submitter = [spec["submitterPodTemplate"]] if "submitterPodTemplate" in spec else []
    return [group["template"] for group in groups] + submitter


@overlays
def test_documents_are_valid(overlay: Path) -> None:
    documents = build(overlay)
    kinds = sorted(document["kind"] for document in documents)
    of_run = ["RayJob"] if overlay.name.startswith("once") else ["CronJob", "RayCluster"]
    assert kinds == sorted(["ConfigMap", "NetworkPolicy", "ServiceAccount", *of_run])
    models = {"RayCluster": RayCluster, "RayJob": RayJob}
    for document in documents:
        assert document["metadata"]["namespace"] == "curator"
        if document["kind"] in models:
            models[document["kind"]].model_validate(document)
        else:
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)
        for template in templates(document):
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, **template}
            for version in KUBERNETES:
                kubernetes_validate.validate(pod, version, strict=True)


@overlays
def test_what_is_named_is_there(overlay: Path) -> None:
    documents = build(overlay)
    named = {(document["kind"], document["metadata"]["name"]) for document in documents}
    for document in documents:
        for template in templates(document):
            spec = template["spec"]
            if "serviceAccountName" in spec:
                assert ("ServiceAccount", spec["serviceAccountName"]) in named
            volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
            for volume in volumes.values():
                if "configMap" in volume:
                    assert ("ConfigMap", volume["configMap"]["name"]) in named
            for container in containers(template):
                assert {mount["name"] for mount in container.get("volumeMounts", ())} <= set(volumes)


@overlays
def test_pods_have_no_more_rights_and_no_less_bounds_than_they_need(overlay: Path) -> None:
    for document in build(overlay):
        for template in templates(document):
            pod = template["spec"]
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["securityContext"]["runAsUser"] == 1000
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in containers(template):
                rights = container["securityContext"]
                assert rights["allowPrivilegeEscalation"] is False
                assert rights["capabilities"] == {"drop": ["ALL"]}
                assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
                assert "memory" in container["resources"]["limits"]
                assert ":" in container["image"]
                assert not container["image"].endswith(":latest")
                for variable in container.get("env", ()):
                    secret = any(word in variable["name"] for word in ("KEY", "TOKEN", "SECRET", "PASSWORD"))
                    assert not (secret and "value" in variable), f"{variable['name']} is written into the manifest"


def test_credentials_reach_every_pod_that_reads_s3_and_no_other() -> None:
    for name in ("once-secret", "nightly-secret"):
        for document in build(DEPLOY / "kustomize" / "overlays" / name):
            for container in containers(document):
                wants = container["name"] in ("ray-head", "ray-worker")
                given = container.get("envFrom", []) == [{"secretRef": {"name": "curator-s3"}}]
                assert wants == given, container["name"]
    for name in ("once-irsa", "nightly-irsa"):
        documents = {document["kind"]: document for document in build(DEPLOY / "kustomize" / "overlays" / name)}
        role = documents["ServiceAccount"]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        assert role.startswith("arn:aws:iam::")
        assert not any("envFrom" in container for document in documents.values() for container in containers(document))


def test_one_run_and_the_nights_have_the_same_cluster() -> None:
    job, cluster = (yaml.safe_load((DEPLOY / f"{name}.yaml").read_text()) for name in ("rayjob", "raycluster"))
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]


@pytest.fixture(scope="module")
def job() -> Config:
    documents = {document["kind"]: document for document in build(OVERLAYS[0])}
    data = documents["ConfigMap"]["data"]
    assert set(data) == {"job.toml", "labels.txt"}
    return load_config(DEPLOY / "kustomize" / "base" / "job.toml")


def test_the_job_fits_the_cluster_that_it_runs_on(job: Config) -> None:
    spec = yaml.safe_load((DEPLOY / "raycluster.yaml").read_text())["spec"]
    (group,) = spec["workerGroupSpecs"]
    (worker,) = group["template"]["spec"]["containers"]
    limits = worker["resources"]["limits"]
    assert job.run.backend == "ray"
    assert job.ray.num_cpus <= int(limits["cpu"])
    assert job.ray.num_gpus <= int(limits["nvidia.com/gpu"])
    assert job.ray.workers <= group["maxReplicas"]
    for each in (spec["headGroupSpec"], group):
        volumes = {volume["name"]: volume for volume in each["template"]["spec"]["volumes"]}
        shared = int(volumes["shm"]["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30
        store = int(each["rayStartParams"]["object-store-memory"])
        (container,) = each["template"]["spec"]["containers"]
        memory = int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30
        assert store < shared < memory  # what lies in shared memory counts against the container's limit
    assert (job.ray.memory_gb or 0) * 2**30 + store <= memory
    assert job.storage.schemes == ("s3",)
    head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in head["volumeMounts"]}
    for label_set in job.labels:
        assert label_set.vocabulary == f"{mounts['job']}/labels.txt"
    group_tolerations = {toleration["key"] for toleration in group["template"]["spec"]["tolerations"]}
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= group_tolerations


def commands() -> list[list[str]]:
    """The command lines in the manifests that run a script of jobs/, one of them by way of deploy/cron/on-ray.sh."""
    found = [shlex.split(yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())["spec"]["entrypoint"])]
    for container in containers(yaml.safe_load((DEPLOY / "cronjob.yaml").read_text())):
        found.append(["python", "/opt/curator/jobs/label.py", *container["args"]])
    return found


def test_the_night_is_started_by_the_script_of_the_image_and_ends_within_its_job() -> None:
    cron = yaml.safe_load((DEPLOY / "cronjob.yaml").read_text())
    (container,) = containers(cron)
    assert container["command"][-1] == "/opt/curator/nightly.sh"
    assert "COPY deploy/cron/on-ray.sh /opt/curator/nightly.sh" in (DEPLOY / "Dockerfile").read_text()
    given = {variable["name"]: variable.get("value") for variable in container["env"]}
    cluster = yaml.safe_load((DEPLOY / "raycluster.yaml").read_text())["metadata"]["name"]
    assert given["RAY_API_SERVER_ADDRESS"] == f"http://{cluster}-head-svc:8265"
    assert int(given["CURATOR_WINDOW_S"]) < cron["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_options_are_those_that_curator_takes(command: list[str], job: Config) -> None:
    python, script, *options = command
    assert python == "python"
    name = Path(script).stem
    assert Path(script) == Path("/opt/curator/jobs") / f"{name}.py"
    assert (DEPLOY.parent / "jobs" / f"{name}.py").exists()
    context = typer.main.get_group(app).commands[name].make_context(name, [*options])
    given: dict[str, Any] = context.params
    assert given["config"] is not None
    assert str(given["config"]) == "/etc/curator/job.toml"
    load_config(DEPLOY / "kustomize" / "base" / "job.toml", overrides=given["overrides"] or ())


def test_the_checks_can_fail() -> None:
    job = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    with pytest.raises(ValueError, match="num-cpus"):
        RayJob.model_validate(job)
    cron = yaml.safe_load((DEPLOY / "cronjob.yaml").read_text())
    cron["spec"]["concurrencypolicy"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError, match="concurrencypolicy"):
        kubernetes_validate.validate(cron, KUBERNETES[0], strict=True)
