"""What decodes a worker's images by the settings: processes or threads, and what is said where no process starts."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest

from curator.config import Config
from curator.data import Preprocess
from curator.engine.compose_decoding import open_decoding
from curator.engine.decode_processes import DecodeProcesses
from curator.engine.decoding import DecodeThreads
from curator.errors import ConfigError

PREPROCESS = Preprocess((32, 32), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_without_processes_threads_decode_unless_processes_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with caplog.at_level(logging.WARNING):
        pool = open_decoding(Config(), PREPROCESS, 2)()
    pool.close()
    assert isinstance(pool, DecodeThreads)
    assert "No such file or directory: '/nowhere/python': images are decoded in threads" in caplog.text
    with pytest.raises(ConfigError, match=r"/nowhere/python.*set decode\.workers to threads"):
        open_decoding(Config.model_validate({"decode": {"workers": "processes"}}), PREPROCESS, 2)()


@pytest.mark.parametrize(
    ("decode", "cores", "kind"),
    [
        ({}, 2, DecodeProcesses),
        ({}, 1, DecodeThreads),
        ({"threads": 1}, 8, DecodeThreads),
        ({"threads": 1, "workers": "processes"}, 1, DecodeProcesses),
        ({"workers": "threads"}, 4, DecodeThreads),
    ],
)
def test_what_decodes_by_the_settings(decode: dict[str, Any], cores: int, kind: type) -> None:
    pool = open_decoding(Config.model_validate({"decode": decode}), PREPROCESS, cores)()
    pool.close()
    assert type(pool) is kind
