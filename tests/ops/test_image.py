"""The image's recipe and its locks: linted, in step with the project, installed by CI. The image is built elsewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions() -> list[list[str]]:
    """The Dockerfile's instructions as words, comments gone and continued lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line.strip()]


def pins(name: str) -> dict[str, tuple[str, int]]:
    """Package -> version and the number of its hashes."""
    found = {}
    for block in re.split(r"\n(?=\S)", (DEPLOY / name).read_text()):
        if match := re.match(r"([\w.-]+)==([^\s\\;]+)", block):
            found[canonicalize_name(match[1])] = (match[2], block.count("--hash=sha256:"))
    return found


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    run = subprocess.run([hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")
    broken = DOCKERFILE.replace("--no-install-recommends ", "")
    run = subprocess.run([hadolint, "-"], input=broken, capture_output=True, text=True, check=False)
    assert "DL3015" in run.stdout


def test_the_image_runs_as_nobody_in_particular() -> None:
    last = instructions()
    last = last[max(index for index, words in enumerate(last) if words[0] == "FROM") :]
    assert [words[1] for words in last if words[0] == "USER"] == ["1000:1000"]
    after = [words[0] for words in last[[words[0] for words in last].index("USER") :]]
    assert not {"RUN", "COPY", "ADD"} & set(after)
    assert "HEALTHCHECK" in after
    manifest = yaml.safe_load((DEPLOY / "raycluster.yaml").read_text())
    head = manifest["spec"]["headGroupSpec"]["template"]["spec"]["securityContext"]
    assert (head["runAsUser"], head["runAsGroup"]) == (1000, 1000)


def test_what_is_copied_exists_and_reaches_the_build() -> None:
    allowed = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    copied = [
        source
        for words in instructions()
        if words[0] == "COPY" and not words[1].startswith("--from")
        for source in words[1:-1]
    ]
    assert "curator" in copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(Path(source).match(pattern) for pattern in allowed), f"{source} is not in the build's context"
    assert not any(words[0] == "ADD" for words in instructions())


@pytest.mark.parametrize("variant", ["cuda", "cpu"])
def test_locks_pin_all_that_the_project_needs(variant: str) -> None:
    common, of_device = pins("requirements.lock"), pins(f"requirements-{variant}.lock")
    assert not common.keys() & of_device.keys()
    assert {"torch", "torchvision"} <= of_device.keys()
    hashed = {**common, **(of_device if variant == "cuda" else {})}
    assert all(count for _, count in hashed.values()), "a requirement without a hash"
    have = {name: version for name, (version, _) in {**common, **of_device}.items()}
    extras = re.search(r"^EXTRAS = (\(.*\))", (DEPLOY / "lock.py").read_text(), re.MULTILINE)
    assert extras is not None
    wanted = [*PROJECT["dependencies"]]
    for extra in shlex.split(extras[1].strip("()").replace(",", " ")):
        wanted += PROJECT["optional-dependencies"][extra]
    for each in map(Requirement, wanted):
        if each.marker is None or each.marker.evaluate({"python_version": "3.11"}):
            version = have.get(canonicalize_name(each.name))
            assert version, f"{each.name} is not in the lock: run deploy/lock.py"
            assert each.specifier.contains(version.partition("+")[0]), f"{each}: the lock has {version}"


def test_variants_have_the_same_torch_and_the_manifests_the_same_ray() -> None:
    cuda, cpu = pins("requirements-cuda.lock"), pins("requirements-cpu.lock")
    assert {name: version.removesuffix("+cpu") for name, (version, _) in cpu.items()} == {
        name: cuda[name][0] for name in cpu
    }
    manifest = yaml.safe_load((DEPLOY / "raycluster.yaml").read_text())
    assert manifest["spec"]["rayVersion"] == pins("requirements.lock")["ray"][0]
    tag = manifest["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
    assert tag == f"{PROJECT['version']}-cuda"


def test_ci_installs_as_the_image_does() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    runs = [" ".join(words[1:]) for words in instructions() if words[0] == "RUN"]
    assert "sh deploy/install.sh $VARIANT /opt/venv" in [run.replace('"', "") for run in runs]
    assert 'sh deploy/install.sh cuda "$image"' in ci
    (project,) = [run for run in runs if "--no-build-isolation" in run]
    assert project.replace("/opt/venv/", '"$image"/') in ci
