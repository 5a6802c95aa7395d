"""Own the pinned packages that the training pictures and their words come from, and fetch them into a work directory.

It refuses to know what is inside the packages: that is for `emoji`, `clipart` and `wordnet`.
"""

from __future__ import annotations

import logging
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from curator.errors import ConfigError, RetryableError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Package:
    """One pinned package: `registry` is "npm" or "debian"; `licence` is that of the pictures or words used."""

    registry: str
    name: str
    version: str
    licence: str
    use: str

    @property
    def folder(self) -> str:
        """Name of the directory below the work directory that holds the unpacked package."""
        return self.name.removeprefix("@").replace("/", "-") + "-" + self.version.replace(":", "_")


TWITTER = Package("npm", "emoji-datasource-twitter", "16.0.0", "CC-BY 4.0 (Twemoji art)", "train")
FLUENT_3D = Package("npm", "@lobehub/fluent-emoji-3d", "1.1.0", "MIT (Microsoft Fluent emoji)", "train")
FLUENT_MODERN = Package("npm", "@lobehub/fluent-emoji-modern", "1.0.0", "MIT (Microsoft Fluent emoji)", "train")
FLUENT_FLAT = Package("npm", "@iconify-json/fluent-emoji-flat", "1.2.6", "MIT (Microsoft Fluent emoji)", "train")
OPENMOJI = Package("npm", "@iconify-json/openmoji", "1.2.29", "CC BY-SA 4.0", "train")
EMOJIONE = Package("npm", "@iconify-json/emojione", "1.2.3", "CC-BY 4.0", "train")
EMOJIONE_V1 = Package("npm", "@iconify-json/emojione-v1", "1.2.3", "CC BY-SA 4.0", "train")
FXEMOJI = Package("npm", "@iconify-json/fxemoji", "1.2.2", "Apache-2.0", "train")
STREAMLINE = Package("npm", "@iconify-json/streamline-emojis", "1.2.4", "CC-BY 4.0", "train")
FLAGS = Package("npm", "@iconify-json/flag", "1.2.12", "MIT", "train")
EMOJILIB = Package("npm", "emojilib", "4.0.3", "MIT", "words")
EMOJIBASE = Package("npm", "emojibase-data", "17.0.0", "MIT", "words")
GOOGLE = Package("npm", "emoji-datasource-google", "16.0.0", "Apache-2.0 (Noto Emoji art)", "test and words")
NOTO = Package("npm", "@iconify-json/noto", "1.2.9", "Apache-2.0 (Noto Emoji art)", "demo")
CLIPART_PNG = Package("debian", "openclipart-png", "1:0.18+dfsg-19", "CC0", "train and demo")
CLIPART_SVG = Package("debian", "openclipart-svg", "1:0.18+dfsg-19", "CC0", "words")
WORDNET = Package("debian", "wordnet-base", "1:3.0-37", "WordNet 3.0 licence", "words")

PACKAGES = (
    TWITTER,
    FLUENT_3D,
    FLUENT_MODERN,
    FLUENT_FLAT,
    OPENMOJI,
    EMOJIONE,
    EMOJIONE_V1,
    FXEMOJI,
    STREAMLINE,
    FLAGS,
    EMOJILIB,
    EMOJIBASE,
    GOOGLE,
    NOTO,
    CLIPART_PNG,
    CLIPART_SVG,
    WORDNET,
)


def fetch(work: Path, packages: tuple[Package, ...] = PACKAGES) -> None:
    """Download and unpack every package that `work` lacks; one `Package.folder` per package.

    Needs `npm`, and for Debian packages `apt-get` (with a fresh package list) and `dpkg-deb`. Raises RetryableError
    where the registry does not deliver, ConfigError where a tool is not installed.
    """
    work.mkdir(parents=True, exist_ok=True)
    for package in packages:
        target = work / package.folder
        if target.is_dir():
            continue
        log.info("fetching %s %s %s", package.registry, package.name, package.version)
        staging = work / (package.folder + ".part")
        staging.mkdir(exist_ok=True)
        if package.registry == "npm":
            archive = _run(["npm", "pack", "--silent", f"{package.name}@{package.version}"], work).splitlines()[-1]
            with tarfile.open(work / archive) as tar:
                tar.extractall(staging, filter="data")
            (work / archive).unlink()
        else:
            _run(["apt-get", "download", f"{package.name}={package.version}"], staging)
            archive = next(staging.glob("*.deb")).name
            _run(["dpkg-deb", "-x", archive, "."], staging)
            (staging / archive).unlink()
        staging.rename(target)


def npm_root(work: Path, package: Package) -> Path:
    """Directory of an unpacked npm package's own files. Raises ConfigError when it was not fetched."""
    folder = work / package.folder
    roots = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    if not roots:
        raise ConfigError(f"{folder}: {package.name} is not there; run the fetch step first")
    return roots[0]


def debian_root(work: Path, package: Package) -> Path:
    """The `usr/share` directory of an unpacked Debian package. Raises ConfigError when it was not fetched."""
    root = work / package.folder / "usr" / "share"
    if not root.is_dir():
        raise ConfigError(f"{root}: {package.name} is not there; run the fetch step first")
    return root


def _run(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    except FileNotFoundError as error:
        raise ConfigError(f"{command[0]}: not installed; the training pictures come through it") from error
    if done.returncode:
        raise RetryableError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout
