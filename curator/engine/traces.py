"""A run as OpenTelemetry spans: run > shard > stage. Where they go, OpenTelemetry's own environment variables say.

Knows no worker: spans are read off receipts, so a shard's span is its successful attempt, and failures are events.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from curator.data import Receipt
from curator.engine.fleet import LeaseDone, LeaseFailed, WorkerLost
from curator.engine.progress import Progress
from curator.engine.scheduler import Quarantine
from curator.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_NS = 1_000_000_000


class Tracer:
    """An observer of a run. Each stage's span begins with its shard's: stages overlap, and only their sums are known.

    A stage's span is as long as the work in it, at most as long as its shard's; ``curator.seconds`` has all of it.
    """

    def __init__(self, output: str, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError as error:
            raise ConfigError("run.traces needs OpenTelemetry: pip install 'curator[otel]'") from error
        self._provider = provider or _default_provider()
        self._tracer = self._provider.get_tracer("curator")
        self._run = self._tracer.start_span("run", attributes={"curator.output": output})
        self._context = trace.set_span_in_context(self._run)
        self._in_context = trace.set_span_in_context
        self._error = trace.Status(trace.StatusCode.ERROR)

    def __call__(self, progress: Progress) -> None:
        news = progress.news
        if isinstance(news, LeaseDone):
            self._shard(news.worker, news.receipt)
        elif isinstance(news, LeaseFailed):
            self._run.add_event(
                "attempt failed",
                {
                    "curator.shard": news.lease.shard.url,
                    "curator.attempt": news.lease.attempt,
                    "curator.message": news.failure.message,
                },
            )
        elif isinstance(news, WorkerLost):
            self._run.add_event("worker lost", {"curator.worker": news.worker, "curator.message": news.cause})
        elif isinstance(news, Quarantine):
            self._run.set_status(self._error)
            self._run.add_event("shard quarantined", {"curator.shard": news.shard.url, "curator.message": news.reason})
        self._run.set_attributes({"curator.rows": progress.totals.rows, "curator.rejected": progress.totals.rejected})

    def _shard(self, worker: str, receipt: Receipt) -> None:
        end = time.time_ns()
        start = end - int(receipt.total_s * _NS)
        span = self._tracer.start_span(
            "shard",
            context=self._context,
            start_time=start,
            attributes={
                "curator.shard": receipt.url,
                "curator.attempt": receipt.attempt,
                "curator.worker": worker,
                "curator.rows": receipt.rows,
                "curator.rejected": receipt.rejected,
            },
        )
        inside = self._in_context(span)
        for stage, seconds in receipt.seconds.items():
            self._tracer.start_span(
                stage, context=inside, start_time=start, attributes={"curator.seconds": seconds}
            ).end(min(end, start + int(seconds * _NS)))
        span.end(end)

    def close(self) -> None:
        """End the run's span and send what has not been sent."""
        self._run.end()
        self._provider.force_flush()
        self._provider.shutdown()


def _default_provider() -> TracerProvider:
    """Spans go by OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT, in batches."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as error:
        raise ConfigError("run.traces needs OpenTelemetry's exporter: pip install 'curator[otel]'") from error
    name = os.environ.get("OTEL_SERVICE_NAME", "curator")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
