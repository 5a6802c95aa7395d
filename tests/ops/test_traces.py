"""Spans of a real run, as the SDK's in-memory exporter receives them, and where they go by default."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from curator.engine.assembly import STAGES
from curator.engine.run import label
from curator.engine.traces import Tracer
from tests.run.jobs import job_config, local_fleet, write_shards


def test_a_run_is_a_tree_of_spans(tmp_path: Path, tiny_encoder_dir: Path) -> None:
    write_shards(tmp_path / "in", 2)
    (tmp_path / "in" / "9999.tar").write_bytes(b"this is no tar" * 100)
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out")
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = Tracer(config.output.url, provider)
    summary = label(config, observe=tracer, fleet=local_fleet(config))
    tracer.close()
    spans = {span.context.span_id: span for span in kept.get_finished_spans()}
    (run,) = [span for span in spans.values() if span.name == "run"]
    shards = [span for span in spans.values() if span.name == "shard"]
    assert {span.context.trace_id for span in spans.values()} == {run.context.trace_id}
    assert run.parent is None
    assert run.attributes["curator.rows"] == summary.totals["rows"]
    assert sorted(event.name for event in run.events) == ["attempt failed", "shard quarantined"]
    assert all(event.attributes["curator.shard"].endswith("9999.tar") for event in run.events)
    assert run.status.status_code is StatusCode.ERROR
    assert sorted(Path(span.attributes["curator.shard"]).name for span in shards) == ["0000.tar", "0001.tar"]
    assert sum(span.attributes["curator.rows"] for span in shards) == summary.totals["rows"]
    for shard in shards:
        assert spans[shard.parent.span_id] is run
        stages = [span for span in spans.values() if span.parent and span.parent.span_id == shard.context.span_id]
        assert {span.name for span in stages} == set(STAGES)
        for stage in stages:
            assert shard.start_time <= stage.start_time <= stage.end_time <= shard.end_time
    total = sum(span.attributes["curator.seconds"] for span in spans.values() if span.name == "decode")
    assert total == pytest.approx(summary.totals["seconds"]["decode"], abs=0.002)


def test_spans_are_sent_to_the_endpoint_of_the_environment(
    tmp_path: Path, tiny_encoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    write_shards(tmp_path / "in", 1)
    config = job_config(tmp_path / "in", tiny_encoder_dir, tmp_path / "out", traces=True)
    label(config, fleet=local_fleet(config))
    server.shutdown()
    server.server_close()
    assert {path for path, _ in received} == {"/v1/traces"}
    body = b"".join(body for _, body in received)
    assert b"shard" in body
    assert b"0000.tar" in body
