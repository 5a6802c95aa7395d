"""What a run looks like on a terminal and in a log: progress, tables, numbers. Decides nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from types import TracebackType

    from curator.engine.estimate import Forecast
    from curator.engine.ledger import Plan
    from curator.engine.progress import Progress as RunProgress
    from curator.engine.progress import Summary
    from curator.kernels.estimates import Estimate

logger = logging.getLogger(__name__)

PLAIN_EVERY_S = 10.0
_NAMED = 6  # with the two lines above them they fit into the ten that Ray keeps as the message of a failed job


def size_text(size: float) -> str:
    """A number of bytes for people: 1.2 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    raise AssertionError


def starved_by(seconds: Mapping[str, float]) -> str:
    """The stage that took most of the time, with its share: what to give more of to make the run faster."""
    total = sum(seconds.values())
    if not total:
        return "-"
    stage = max(seconds, key=lambda name: seconds[name])
    return f"{stage} {seconds[stage] / total:.0%}"


class RunDisplay:
    """Shows a run's progress: a live bar on a terminal, else one plain line every ten seconds and at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._told_at = time.monotonic()
        self._told_end = False

    def __enter__(self) -> RunDisplay:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} shards"),
                TextColumn("{task.fields[detail]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("labelling", total=None, detail="starting the worker")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: RunProgress) -> None:
        rate = progress.totals.rows / progress.working_s if progress.working_s else 0.0
        detail = f"{progress.totals.rows} rows, {rate:.0f}/s, {progress.totals.rejected} rejected"
        if progress.quarantined:
            detail += f", {progress.quarantined} quarantined"
        if progress.totals.seconds:
            detail += f", mostly {starved_by(progress.totals.seconds)}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=progress.shards, completed=progress.settled, detail=detail)
        elif self._told_end:
            return
        elif time.monotonic() - self._told_at >= PLAIN_EVERY_S or progress.settled == progress.shards:
            self._told_end = progress.settled == progress.shards
            self._told_at = time.monotonic()
            left_s = (
                progress.working_s / progress.settled * (progress.shards - progress.settled) if progress.settled else 0
            )
            eta = f", about {left_s:.0f} s left" if 0 < progress.settled < progress.shards else ""
            self._console.print(
                f"{progress.settled}/{progress.shards} shards, {detail}, {progress.elapsed_s:.0f} s{eta}",
                highlight=False,
            )


class LogDisplay:
    """Shows a run's progress as lines of the log: one every ten seconds, and one at the end."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __enter__(self) -> LogDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, progress: RunProgress) -> None:
        if time.monotonic() - self._told_at < PLAIN_EVERY_S and progress.settled < progress.shards:
            return
        self._told_at = time.monotonic()
        totals = progress.totals
        said = {
            "shards": progress.shards,
            "settled": progress.settled,
            "quarantined": progress.quarantined,
            "rows": totals.rows,
            "rejected": totals.rejected,
            "rows_per_second": round(totals.rows / progress.working_s, 2) if progress.working_s else 0.0,
            "elapsed_s": round(progress.elapsed_s, 3),
        }
        logger.info("progress %d of %d shards", progress.settled, progress.shards, extra=said)


def counts_table(title: str, heading: str, counts: Mapping[str, int], *, limit: int = 15) -> Table:
    """The most frequent names first; what is beyond ``limit`` is summed up in the last line."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(heading)
    table.add_column("rows", justify="right")
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ranked[:limit]:
        table.add_row(name, str(count))
    if len(ranked) > limit:
        table.add_row(f"({len(ranked) - limit} more)", str(sum(count for _, count in ranked[limit:])), style="dim")
    return table


def seconds_table(seconds: Mapping[str, float]) -> Table:
    """Seconds of work by stage. Stages overlap, so they add up to more than the time that has passed."""
    table = Table(title="Seconds of work by stage (stages overlap)", title_justify="left", title_style="bold")
    for stage in seconds:
        table.add_column(stage, justify="right")
    table.add_row(*(f"{value:.2f}" for value in seconds.values()))
    return table


def rows_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    table = Table(*columns, title=title, title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*(str(value) for value in row))
    return table


def show_plan(console: Console, plan: Plan, *, limit: int = 20) -> None:
    """The shards to do, with their sizes, and the totals of the plan."""
    known = [shard.size for shard in plan.todo if shard.size is not None]
    for shard in plan.todo[:limit]:
        size = size_text(shard.size) if shard.size is not None else "?"
        console.print(f"{size:>10}  {shard.url}", highlight=False, markup=False, soft_wrap=True)
    if len(plan.todo) > limit:
        console.print(f"{'':>10}  ({len(plan.todo) - limit} more)", highlight=False)
    unknown = f" + {len(plan.todo) - len(known)} of unknown size" if len(known) < len(plan.todo) else ""
    console.print(
        f"{len(plan.todo)} to do ({size_text(sum(known))}{unknown}), {plan.done} done, "
        f"{len(plan.quarantined)} quarantined, {len(plan.stale)} changed since they were done, "
        f"{len(plan.vanished)} done that the input no longer names",
        highlight=False,
        soft_wrap=True,
    )


def show_forecast(console: Console, forecast: Forecast) -> None:
    """What the rest would need, with its intervals."""

    def row(name: str, total: Estimate, show: Callable[[float], str]) -> tuple[str, ...]:
        return name, show(total.value), f"{show(total.low)} to {show(total.high)}"

    rows = [
        row("images", forecast.images, lambda value: f"{value:,.0f}"),
        row("of them rejected", forecast.rejected, lambda value: f"{value:,.0f}"),
        row("bytes written", forecast.written_bytes, size_text),
        row(f"hours with {forecast.workers} workers", forecast.hours, lambda value: f"{value:,.3g}"),
        row("worker-hours", forecast.worker_hours, lambda value: f"{value:,.3g}"),
        row("GPU-hours", forecast.gpu_hours, lambda value: f"{value:,.3g}"),
    ]
    if forecast.cost is not None:
        rows.append(row("cost", forecast.cost, lambda value: f"{value:,.2f}"))
    title = f"For {forecast.shards} shards ({size_text(forecast.read_bytes)}), from {forecast.sampled} of them"
    console.print(rows_table(title, ["", "estimate", "95 % interval"], rows))
    if forecast.failed:
        console.print(f"{forecast.failed} shards of the sample could not be labelled, and say nothing", highlight=False)


def show_summary(console: Console, summary: Summary) -> None:
    """How a run ended, in one line and, where it did not end well, why."""
    totals, now = summary.totals, summary.this_run
    working_s = summary.elapsed_s - (summary.startup_s or 0.0)
    rate = now["rows"] / working_s if working_s else 0.0
    this_run = (
        f"; this run {now['rows']} rows in {summary.elapsed_s:.1f} s ({rate:.0f} rows/s "
        f"after {summary.startup_s or 0:.1f} s of start-up)"
    )
    console.print(
        f"[bold]{summary.status}[/]: {summary.shards['done']} shards done, {totals['rows']} rows "
        f"({totals['rejected']} rejected), {size_text(totals['part_bytes'])} in {summary.output}"
        f"{this_run if now['shards'] else ''}",
        highlight=False,
        soft_wrap=True,
    )
    if summary.message:
        console.print(summary.message, highlight=False, markup=False, soft_wrap=True)
    show_quarantined(console, summary.quarantined[:_NAMED])


def show_quarantined(console: Console, letters: Iterable[Mapping[str, Any]]) -> None:
    """Dead letters, a line each. Most reasons begin with the shard's url already."""
    for letter in letters:
        url, reason = letter["url"], letter["reason"]
        said = reason if reason.startswith(url) else f"{url}: {reason}"
        console.print(f"quarantined: {said}", highlight=False, markup=False, soft_wrap=True)
