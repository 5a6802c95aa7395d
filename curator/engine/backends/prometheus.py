"""The plain metrics endpoint: a run's numbers over HTTP in Prometheus' text format. Knows no run and no Ray."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from curator.engine.metrics import METRICS, Metric
from curator.errors import ConfigError

logger = logging.getLogger(__name__)


class Endpoint:
    """A sink that answers ``GET /metrics`` at ``host:port`` until it is closed. ConfigError where the port is taken."""

    def __init__(self, host: str, port: int) -> None:
        registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            if metric.kind == "counter":
                self._counters[metric.name] = Counter(metric.name, metric.help, metric.all_labels, registry=registry)
            elif metric.kind == "gauge":
                self._gauges[metric.name] = Gauge(metric.name, metric.help, metric.all_labels, registry=registry)
            else:
                self._histograms[metric.name] = Histogram(
                    metric.name, metric.help, metric.all_labels, buckets=metric.buckets, registry=registry
                )
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise ConfigError(f"metrics: {host}:{port} cannot be listened on ({error}); choose another port") from error
        logger.info("metrics at http://%s:%d/metrics", host, port)

    def add(self, metric: Metric, labels: Sequence[str], amount: float) -> None:
        self._counters[metric.name].labels(*labels).inc(amount)

    def set(self, metric: Metric, labels: Sequence[str], value: float) -> None:
        self._gauges[metric.name].labels(*labels).set(value)

    def observe(self, metric: Metric, labels: Sequence[str], value: float) -> None:
        self._histograms[metric.name].labels(*labels).observe(value)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
