"""RayCluster and RayJob as typed models, closed to unknown fields: those fields of KubeRay 1.7's API that we use.

Written from its reference documentation, since no Python package carries the CRDs. Pod templates are left to the
schemas of Kubernetes.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Autoscaler(Closed):
    upscalingMode: Literal["Default", "Aggressive", "Conservative"]
    idleTimeoutSeconds: int = Field(ge=0)
    securityContext: dict[str, Any]
    resources: dict[str, dict[str, str]]


class Auth(Closed):
    mode: Literal["disabled", "token"]
    secretName: str | None = None


class Group(Closed):
    rayStartParams: dict[str, str]  # every value a string, or the operator refuses the object
    template: dict[str, Any]


class WorkerGroup(Group):
    groupName: str = Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    replicas: int = Field(ge=0)
    minReplicas: int = Field(ge=0)
    maxReplicas: int = Field(ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> WorkerGroup:
        assert self.minReplicas <= self.replicas <= self.maxReplicas
        return self


class RayClusterSpec(Closed):
    rayVersion: str
    enableInTreeAutoscaling: bool
    autoscalerOptions: Autoscaler
    authOptions: Auth
    headGroupSpec: Group
    workerGroupSpecs: list[WorkerGroup]


class SubmitterConfig(Closed):
    backoffLimit: int = Field(ge=0)


class RayJobSpec(Closed):
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]
    backoffLimit: int = Field(ge=0)
    submitterConfig: SubmitterConfig
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: int = Field(ge=0)
    activeDeadlineSeconds: int = Field(gt=0)
    submitterPodTemplate: dict[str, Any]
    rayClusterSpec: RayClusterSpec

    @model_validator(mode="after")
    def _ttl_has_a_meaning(self) -> RayJobSpec:
        assert self.shutdownAfterJobFinishes or not self.ttlSecondsAfterFinished, "the operator refuses a ttl without"
        return self


class Metadata(Closed):
    name: str = Field(max_length=47)  # the operator's names for pods and services begin with it
    labels: dict[str, str]
    namespace: str | None = None


class RayCluster(Closed):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: RayClusterSpec


class RayJob(Closed):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: RayJobSpec
