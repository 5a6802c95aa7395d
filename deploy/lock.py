"""Pins what the image installs: writes requirements.lock, -cuda.lock and -cpu.lock beside this file.

Needs uv, which resolves for the image's platform whatever machine this is; versions that are installed here (and so
tested here) are preferred. Run it where the tests have passed: python deploy/lock.py
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

DEPLOY = Path(__file__).parent
EXTRAS = ("faiss", "fsspec", "geo", "onnx", "otel", "scores")
PLATFORM = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
CUDA_ONLY = re.compile(r"(nvidia-|cuda-|triton$)")
TORCH = ("torch", "torchvision")
HEADER = "# Made by deploy/lock.py; not edited by hand.\n"


def main() -> None:
    pins = _resolve()
    locks: dict[str, list[str]] = {"": [], "-cuda": [], "-cpu": ["--index-url https://download.pytorch.org/whl/cpu"]}
    for name, (version, block) in pins.items():
        of_device = name in TORCH or CUDA_ONLY.match(name)
        locks["-cuda" if of_device else ""].append(block)
        if name in TORCH:  # its index has other files than PyPI, so the hashes of those do not hold
            locks["-cpu"].append(f"{name}=={version}+cpu")
    for suffix, lines in locks.items():
        (DEPLOY / f"requirements{suffix}.lock").write_text(HEADER + "\n".join(lines) + "\n")


def _resolve() -> dict[str, tuple[str, str]]:
    """Name -> version and the requirement with its hashes, for CUDA, which needs all that the CPU does."""
    with tempfile.TemporaryDirectory() as folder:
        installed = Path(folder) / "installed.txt"
        installed.write_text(
            "".join(f"{each.name}=={each.version}\n" for each in distributions() if each.name != "curator")
        )
        extras = [word for extra in EXTRAS for word in ("--extra", extra)]
        command = [
            "uv", "pip", "compile", str(DEPLOY.parent / "pyproject.toml"), *extras, *PLATFORM,
            "--generate-hashes", "--no-annotate", "--no-header", "--quiet", "--constraints", str(installed),
        ]  # fmt: skip
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    pins = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        found = re.match(r"([\w.-]+)==([^\s\\;]+)", block)
        if not found:
            sys.exit(f"uv said what this does not understand: {block[:80]}")
        pins[found[1].lower()] = (found[2], block)
    return pins


if __name__ == "__main__":
    main()
