"""Which instruments watch a run, by its config: the metrics endpoint, Ray's metrics, traces. Reads no number itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

from curator.config import Config
from curator.engine.metrics import Meter
from curator.engine.progress import Progress


@contextmanager
def instrumented(config: Config, observe: Callable[[Progress], None]) -> Iterator[Callable[[Progress], None]]:
    """``observe`` and the config's instruments as one observer, until the run is over. Ray must be connected to.

    Raises ConfigError where an instrument cannot be had: its port is taken, its package is not installed.
    """
    observers: list[Callable[[Progress], None]] = []
    with ExitStack() as stack:
        if config.run.metrics_port is not None:
            from curator.engine.backends.prometheus import Endpoint

            endpoint = stack.enter_context(closing(Endpoint(config.run.metrics_host, config.run.metrics_port)))
            observers.append(Meter(endpoint, config.output.url))
        if config.run.backend == "ray":
            from curator.engine.backends.ray_metrics import RayMetrics

            observers.append(Meter(RayMetrics(), config.output.url))
        if config.run.traces:
            from curator.engine.traces import Tracer

            observers.append(stack.enter_context(closing(Tracer(config.output.url))))
        observers.append(observe)  # the last: what it sees, the instruments show

        def tell(progress: Progress) -> None:
            for observer in observers:
                observer(progress)

        yield tell
