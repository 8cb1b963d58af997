"""The ledger's figures for Prometheus: read from the ledger whenever they are asked for, on one address."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from callsheet.cli.output import flush, note, result
from callsheet.errors import CallsheetError, UsageError
from callsheet.ledger import Ledger, activity
from callsheet.ledger.activity import Activity
from pricing.money import NANO_PER_USD


class LedgerCollector(Collector):
    """Reads a ledger once for each scrape. `callsheet_up` is 0 where it cannot be read."""

    def __init__(self, ledger_url: str) -> None:
        self._url = ledger_url

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of this moment."""
        up = GaugeMetricFamily("callsheet_up", "1 where the ledger can be read")
        try:
            with Ledger.open(self._url) as ledger:
                now, overview = (
                    ledger.do(activity.activity),
                    ledger.do(activity.overview, limit=activity.MOST_RUNS),
                )
        except CallsheetError as error:
            note(f"the ledger cannot be read: {error}")
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        alive = {each.run.run_id for each in overview if each.alive or each.run.stopping_ms is not None}
        yield from _families(now, unowned=len(set(now.unfinished) - alive))


def _families(now: Activity, *, unowned: int) -> Iterator[Metric]:
    since_s = 0.0 if now.oldest_unknown_ms is None else (now.at_ms - now.oldest_unknown_ms) / 1000
    for name, text, value in (
        ("callsheet_slots_taken", "renders that hold one of the slots", now.slots_taken),
        ("callsheet_unknown_submissions", "submissions whose outcome is unknown", now.unknown),
        ("callsheet_oldest_unknown_seconds", "age of the oldest of them, 0 without any", since_s),
        ("callsheet_runs_unfinished", "runs that are not finished", len(now.unfinished)),
        ("callsheet_runs_unowned", "of those, not stopped on purpose, and nobody works on them", unowned),
    ):
        yield GaugeMetricFamily(name, text, value=value)
    if now.keeper_ms is not None:
        age_s = (now.at_ms - now.keeper_ms) / 1000
        yield GaugeMetricFamily("callsheet_keeper_age_seconds", "since a keeper looked last", value=age_s)
    yield CounterMetricFamily("callsheet_ledger_entries", "movements of money so far", value=now.entries)
    jobs = GaugeMetricFamily("callsheet_jobs", "jobs of unfinished runs", labels=["campaign", "state"])
    for (campaign, state), count in sorted(now.jobs.items()):
        jobs.add_metric([campaign, state.value], count)
    yield jobs
    labels = ["scope", "key", "window"]  # a window with its date would be another series every day
    held = GaugeMetricFamily("callsheet_held_usd", "money that is held", labels=labels)
    spent = GaugeMetricFamily("callsheet_spent_usd", "money that is spent", labels=labels)
    limit = GaugeMetricFamily("callsheet_limit_usd", "the cap, where there is one", labels=labels)
    frozen = GaugeMetricFamily("callsheet_frozen", "1 where a bill above its hold froze it", labels=labels)
    for each in now.accounts:
        named = [each.ref.scope, each.ref.key, each.ref.window_kind]
        held.add_metric(named, each.held_nano / NANO_PER_USD)
        spent.add_metric(named, each.spent_nano / NANO_PER_USD)
        frozen.add_metric(named, int(each.frozen))
        if each.limit_nano is not None:
            limit.add_metric(named, each.limit_nano / NANO_PER_USD)
    yield from (held, spent, limit, frozen)


def serve_metrics(ledger_url: str, host: str, port: int) -> None:
    """Serve the figures until SIGINT or SIGTERM. Raises UsageError where the port cannot be used."""
    with Ledger.open(ledger_url):  # one that cannot be opened is an error now, and callsheet_up 0 later
        pass
    # Blocked before the server's threads begin, so that they leave the signals to this one.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(ledger_url))
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise UsageError(f"{host}:{port} cannot be used: {error.strerror}") from error
    result(f"metrics at http://{host}:{port}/metrics")
    note("Press Ctrl-C to end")
    flush()
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
    server.shutdown()
    thread.join()
