"""The metrics of the daemon: asked for by a real Prometheus, and by readers of every kind, whatever it is doing."""

import re
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from etl.sandbox.rules import BALANCES
from tests.cli.program import Program, Running, eventually, installed
from tests.cli.test_run import HOUR, KEYLESS, ONE, PROMISED_SECONDS, Gate, config_of
from tests.ops.promtool import promtool
from tests.ops.scraper import scraping
from tests.ops.test_exposition import of, samples

SERVED = {"BINGX_ETL_METRICS_LISTEN": "127.0.0.1:0"}
OPENMETRICS = {"Accept": "application/openmetrics-text"}


def url_of(daemon: Running) -> str:
    """Where its log said last that metrics are."""

    def said() -> list[str]:
        return re.findall(r"metrics are at (http://[^\s\"]+)", daemon.said)

    return eventually(said)[-1]


def scrape(url: str, **headers: str) -> bytes:
    """What is told there now."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:  # noqa: S310
        content: bytes = answer.read()
        return content


def test_prometheus_scrapes_it_and_wakes_somebody_when_a_key_is_refused(program: Program, tmp_path: Path) -> None:
    with program.daemon(**ONE, **SERVED) as daemon, scraping(url_of(daemon), tmp_path / "prometheus") as prometheus:
        recorded = 'bingx_etl_slots_total{outcome="complete"}'
        eventually(lambda: (prometheus.value(recorded) or 0) >= 2)
        assert prometheus.value('up{job="bingx-etl"}') == 1
        assert prometheus.value("time() - bingx_etl_last_success_timestamp_seconds") == pytest.approx(1, abs=6)
        assert prometheus.value("bingx_etl_accounts_expected") == 1
        assert prometheus.value("bingx_etl_interval_seconds") == 1
        assert prometheus.value("bingx_etl_schema_at_head") == 1
        assert prometheus.value("bingx_etl_fetch_duration_seconds_count") is not None
        [target] = prometheus.targets()
        assert (target["health"], target["lastError"]) == ("up", "")
        told = {name for name, _ in samples(scrape(url_of(daemon))) if name.startswith("bingx_etl_")}
        known = {each["metric"]["__name__"] for each in prometheus.query('{__name__=~"bingx_etl_.+"}')}
        assert told <= known, "all of it was understood"
        assert prometheus.firing() == {}

        program.exchange.faults.add("error", code=100413, path=BALANCES)
        labels = eventually(lambda: prometheus.firing().get("BingxEtlKeyRefused", {}))
        assert (labels["account"], labels["severity"]) == ("main", "critical")
        assert labels["reason"] in {"key_refused", "backing_off"}
        assert prometheus.sick_rules() == []
        assert daemon.stop() == 143
        eventually(lambda: prometheus.value('up{job="bingx-etl"}') == 0)


def test_promtool_has_nothing_to_say_of_it_and_it_has_no_secret(program: Program) -> None:
    account = program.exchange.account("main")
    with program.daemon(**ONE, **SERVED) as daemon:
        url = url_of(daemon)
        eventually(lambda: of(scrape(url), "slots_total", outcome="complete")[""] >= 1)
        plain, openmetrics = scrape(url), scrape(url, **OPENMETRICS)
        daemon.stop()
    assert promtool("check", "metrics", given=plain) == ""
    assert openmetrics.endswith(b"# EOF\n")
    [uid] = program.rows("SELECT uid FROM account")[0]
    [total] = program.rows("SELECT total_usdt FROM snapshot LIMIT 1")[0]
    written = plain + openmetrics + (program.state / "remembered" / "metrics.json").read_bytes()
    for secret in (account.api_key, account.api_secret, uid, str(total)):
        assert len(secret) > 3
        assert secret.encode() not in written


def test_while_the_database_hangs_it_is_answered_and_the_daemon_ends_in_time(
    program: Program, new_database: Callable[..., str]
) -> None:
    gate = Gate(new_database("postgresql"))
    with ExitStack() as stack:
        stack.callback(gate.close)
        settings = {**ONE, **SERVED, "BINGX_ETL_DATABASE_URL": gate.url}
        with program.daemon(**settings) as daemon:
            url = url_of(daemon)
            eventually(lambda: of(scrape(url), "slots_total", outcome="complete")[""] >= 1)
            gate.silence()
            eventually(lambda: of(scrape(url), "spool_outcomes")[""] >= 2)
            began = time.monotonic()
            scrape(url)
            assert time.monotonic() - began < 2
            address = urlsplit(url)
            slow = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))
            slow.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")  # and never reads
            stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=20))
            began = time.monotonic()
            assert daemon.stop() == 143
            assert time.monotonic() - began < PROMISED_SECONDS + 4
            gate.open()


def test_what_it_missed_is_counted_and_counters_go_on_after_it_was_killed(program: Program) -> None:
    with program.daemon(**ONE, **SERVED) as daemon:
        url = url_of(daemon)
        before = eventually(lambda: of(scrape(url), "slots_total", outcome="complete")[""])
        daemon.send(signal.SIGKILL)
        daemon.code()
    time.sleep(2.5)
    with program.daemon(**ONE, **SERVED) as daemon:
        url = url_of(daemon)
        first = scrape(url)
        assert of(first, "slots_total", outcome="complete")[""] >= before
        assert "main" in of(first, "last_success_timestamp_seconds"), "known before the first slot"
        eventually(lambda: of(scrape(url), "slots_total", outcome="failed")["crashed"] >= 1)
        daemon.stop()


def test_a_port_that_is_taken_keeps_nothing_from_being_recorded(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with program.daemon(**ONE, BINGX_ETL_METRICS_LISTEN=taken) as daemon:
            eventually(lambda: len(program.recorded()) >= 2)
            assert len(daemon.at("warning")) == 1
            assert "in use" in daemon.said
            other.close()
            assert url_of(daemon) == f"http://{taken}/metrics", "had as soon as it is free"
            daemon.stop()


def test_sighup_follows_the_settings_of_metrics(program: Program) -> None:
    config = config_of(program, "1h")
    with program.daemon("--config", str(config), **KEYLESS) as daemon:
        eventually(program.recorded)
        assert "metrics are at" not in daemon.said
        text = config.read_text()
        textfile = program.home / "x.prom"
        config.write_text(f'metrics_listen = "127.0.0.1:0"\nmetrics_textfile = "{textfile}"\n{text}')
        daemon.send(signal.SIGHUP)
        url = url_of(daemon)
        assert of(scrape(url), "accounts_expected") == {"": 1}
        more = text + text[text.index("[accounts.main]") :].replace("[accounts.main]", "[accounts.second]")
        config.write_text(f'metrics_listen = "127.0.0.1:0"\n{more}')
        daemon.send(signal.SIGHUP)
        eventually(lambda: of(scrape(url), "accounts_expected") == {"": 2})
        config.write_text(text)
        daemon.send(signal.SIGHUP)
        eventually(lambda: _is_closed(url))
        assert daemon.stop() == 143


def _is_closed(url: str) -> bool:
    try:
        scrape(url)
    except OSError:
        return True
    return False


def test_a_setting_that_would_show_it_to_the_world_is_refused(program: Program) -> None:
    with program.daemon(**HOUR, BINGX_ETL_METRICS_LISTEN="0.0.0.0:9477") as daemon:
        assert daemon.code() == 78
    assert "this machine itself" in daemon.said


def test_a_textfile_is_written_by_the_daemon_as_well(tmp_path: Path) -> None:
    textfile = tmp_path / "x.prom"
    with (
        installed(tmp_path / "home") as program,
        program.daemon(**HOUR, BINGX_ETL_METRICS_TEXTFILE=str(textfile)) as daemon,
    ):
        eventually(textfile.exists)
        daemon.stop()
    assert of(textfile.read_bytes(), "slots_total", outcome="complete") == {"": 1}
