"""A bank built on a Ray, and one built from and into a bucket: the same bank as on one machine's disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from curator.captions import CaptionBank, read_facts
from curator.config import Config
from curator.curation.bank import BankSettings, build
from curator.engine.compose import storage_of
from tests.curation.bank_jobs import CAPTIONS, bank_config, built
from tests.faults.s3_server import S3Server, s3_server  # noqa: F401 - a fixture
from tests.run.jobs import open_encoder


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    return tmp_path / "captions.txt"


def test_from_a_bucket_into_a_bucket(
    captions: Path,
    tmp_path: Path,
    tiny_encoder_dir: Path,
    s3_server: S3Server,  # noqa: F811
) -> None:
    local = built(bank_config(captions, tiny_encoder_dir, tmp_path / "bank", tmp_path / "cache"))
    bucket = s3_server.bucket()
    s3_server.client().put_object(Bucket=bucket, Key="in/captions.txt", Body=captions.read_bytes())
    config = bank_config(
        f"s3://{bucket}/in/captions.txt", tiny_encoder_dir, f"s3://{bucket}/bank", tmp_path / "cache",
        storage={"endpoint_url": s3_server.endpoint_url, "addressing_style": "path", "backoff_s": 0.01},
    )  # fmt: skip
    facts = built(config)
    assert (facts.digest, facts.vectors, facts.texts) == (local.digest, local.vectors, local.texts)
    storage = storage_of(config)
    cache = tmp_path / "elsewhere"
    encoder = open_encoder(config.encoder.name)
    bank = CaptionBank.open(config.output.url, storage, cache, encoder=encoder)
    assert bank.texts(np.arange(len(bank))) == CAPTIONS
    assert bank.search(encoder.embed_text(CAPTIONS[7:8]), 1)[1].tolist() == [[7]]
    assert sorted(path.name for path in cache.rglob("*-*")) == sorted([facts.vectors.name, facts.texts.name])
    assert built(config) == facts


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("ray_cluster")
def test_on_a_ray(captions: Path, tmp_path: Path, tiny_encoder_dir: Path) -> None:
    alone = built(bank_config(captions, tiny_encoder_dir, tmp_path / "alone", tmp_path / "cache"))
    config = bank_config(
        captions, tiny_encoder_dir, tmp_path / "spread", tmp_path / "cache",
        run={"backend": "ray"}, ray={"workers": 2, "num_cpus": 1},
    )  # fmt: skip
    summary, facts = build(Config.model_validate(config.model_dump(exclude_unset=True)), BankSettings(lease_bytes=600))
    assert summary.status == "complete"
    assert facts is not None
    assert (facts.digest, facts.vectors, facts.texts) == (alone.digest, alone.vectors, alone.texts)
    assert read_facts(config.output.url, storage_of(config)) == facts
