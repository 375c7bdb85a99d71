"""The acceptance, in a real browser: from `cowrie-assets up` alone a person sees the graph, materializes a day, runs
fourteen, reads each day's coverage and the chart of a query, sees a check fail while a service is down, and is told
of it and of the recovery.

Everything is clicked. Not here: the same in numbers, over more days (`test_daemon`); what alerts say (`test_alerts`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from cowrie_assets.automation.jobs import DAILY_JOB
from cowrie_assets.sandbox.server import Sandbox
from cowrie_assets.sandbox.traffic import write_sample_logs
from cowrie_assets.warehouse.database import Database
from cowrie_assets_tests.browser import LOCATION, Browser, browsing, chromium
from cowrie_assets_tests.orchestration.test_daemon import EVERYTHING
from cowrie_assets_tests.pipelines import KEYS
from cowrie_assets_tests.ui import Ui, days_between, environment, serving, wait_until
from cowrie_assets_tests.webhook import Webhook, running_webhook

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="there is no chromium: apt-get install chromium"),
    # The daemon looks for backfills, and for what is to be told, every 30 seconds.
    pytest.mark.timeout(600),
]

DAYS, BACKFILLED = 16, 14
PASSED = re.compile("^Passed$")
RUN_SECONDS, BACKFILL_SECONDS, NOTE_SECONDS = 120, 240, 90
# Each note for itself: a digest would name in its title how many failed, not which. One service is enough to be down.
SENSORS_TOML = """\
[alerts]
digest_from = 100
[alerts.channels]
hook = "env:ALERTS_HOOK"
[services.spur]
rate = "1500/s"
[services.hibp]
enabled = false
"""
ASKED = ("SPUR_API_KEY", "MAXMIND_ACCOUNT_ID", "MAXMIND_LICENSE_KEY")


@dataclass
class Desk:
    """The UI over a state folder that knows where logs are, and nothing else; a browser on it; the world outside."""

    days: list[str]
    database: Database
    sandbox: Sandbox
    hook: Webhook
    ui: Ui
    browser: Browser

    def told(self, title: str) -> str:
        """Wait for the note of this title; its text."""

        def arrived() -> bool:
            return title in self.hook.titles

        wait_until(arrived, NOTE_SECONDS, lambda: f"{title}\n{self.hook.arrived}\n{self.ui.tail()}", every=1.0)
        return dict(self.hook.arrived)[title]

    def wait_for_circuit(self, seconds: float) -> None:
        """After failures nobody asks for a while, and a run that comes earlier would ask in vain."""

        def may_ask() -> bool:
            with self.database.hold(), self.database.connect() as connection:
                row = connection.execute("SELECT count(*) FROM service_limits WHERE open_until > now()").fetchone()
            return row == (0,)

        wait_until(may_ask, seconds, self.ui.tail, every=1.0)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    # Days that have just been, as with a sensor that runs: the UI's dialogs begin with the last 90.
    today = datetime.now(UTC).date()
    first, last = today - timedelta(days=DAYS), today - timedelta(days=1)
    folder = tmp_path_factory.mktemp("desk")
    home = folder / "state"
    home.mkdir()
    write_sample_logs(folder / "logs", last, days=DAYS, sessions_per_day=120)
    (home / "log_folders.json").write_text(json.dumps([str(folder / "logs")]))
    (home / "start_date.txt").write_text(f"{first}\n")
    (folder / "sensors.toml").write_text(SENSORS_TOML)
    with running_webhook() as hook, Sandbox(as_of=today) as sandbox:
        keys = {name: KEYS[name] for name in ASKED}
        settings = {**keys, "COWRIE_CONFIG": str(folder / "sensors.toml"), "ALERTS_HOOK": hook.url()}
        known = environment(home, services=sandbox.environment(), **settings)
        with serving(known, folder / "up.log") as ui, browsing(ui.url, folder) as browser:
            days = days_between(first.isoformat(), last.isoformat())
            yield Desk(days, Database(home, "live"), sandbox, hook, ui, browser)


def test_from_the_logs_to_the_alert_and_back_by_clicking(desk: Desk) -> None:
    *many, _, day = desk.days
    assert len(many) == BACKFILLED
    with desk.browser.telling():
        load_the_logs(desk.browser)
        materialize_one_day(desk.browser, day)
        backfilling = backfill(desk.browser, many)
        see_the_graph(desk.browser)
        see_the_coverage_of_each_day(desk.browser, many)
        see_the_chart(desk.browser)
        desk.browser.wait_for_backfill(backfilling, BACKFILL_SECONDS)
        see_an_outage(desk, day)
        see_the_recovery(desk, day)
        assert desk.browser.foreign == [], "the pages ask nobody but the UI"


def load_the_logs(browser: Browser) -> None:
    # They would build the other days, and the answers, before anybody clicks.
    for sensor in ("due_days", "changed_answers"):
        browser.switch_off(sensor)
    browser.materialize("/assets/events")
    browser.wait_for_run(RUN_SECONDS)


def materialize_one_day(browser: Browser, day: str) -> None:
    browser.materialize("/assets/sessions", day, picture="one_day")
    browser.wait_for_run(RUN_SECONDS)
    for check in ("clocks_agree", "sensors_heard"):
        browser.look_at_check("sessions", check)
        expect_verdict(browser, "Passed", day)


def backfill(browser: Browser, days: list[str]) -> str:
    """Its page. The daemon sees only half a minute later that its run is over."""
    browser.materialize(f"{LOCATION}/jobs/{DAILY_JOB}", f"[{days[0]}...{days[-1]}]")
    page = urlsplit(browser.page.url).path
    browser.page.get_by_role("tab", name="Runs").click()
    browser.wait_for_run(BACKFILL_SECONDS)
    return page


def see_the_graph(browser: Browser) -> None:
    browser.open("/")
    browser.page.get_by_role("link", name=re.compile("Lineage$")).click()
    browser.expect_text("infrastructure")
    browser.page.get_by_role("button", name="settings", exact=True).click()
    browser.page.get_by_role("menuitem", name="Expand all groups").click()
    browser.page.keyboard.press("Escape")
    for asset in ("events", *EVERYTHING):
        # What is too long for its box is cut in the middle.
        browser.expect_text(re.compile(f"^{asset[:4]}.*{asset[-2:]}$"))
    browser.picture("graph")


def see_the_coverage_of_each_day(browser: Browser, days: list[str]) -> None:
    browser.look_at_check("spur_enrichment", "answered", tab="Partitions")
    for day in days:
        browser.page.get_by_text(day, exact=True).filter(visible=True).last.click()
        browser.expect_text(re.compile(rf"^{day}: \d+ of \d+ eligible sessions are answered"))
        browser.expect_text(PASSED)
    browser.page.mouse.wheel(0, -5000)
    browser.picture("coverage_by_day")


def see_the_chart(browser: Browser) -> None:
    browser.open("/assets/geographic_distribution")
    row = browser.page.get_by_role("row").filter(has=browser.page.get_by_role("cell", name="chart", exact=True))
    chart = browser.page.get_by_role("img", name="Where the attacks came from")
    hidden = row.get_by_text("[Show Markdown]")
    expect(chart.or_(hidden)).to_be_visible()
    if hidden.is_visible():  # what is long opens on a click
        hidden.click()
    expect(chart).to_be_visible()
    assert chart.evaluate("image => image.decode().then(() => image.naturalWidth)") > 300
    browser.picture("chart")


def see_an_outage(desk: Desk, day: str) -> None:
    desk.sandbox.faults({"spur": {"probability": 1.0, "kinds": ["503"]}})
    desk.browser.materialize("/assets/spur_enrichment", day)
    desk.browser.wait_for_run(RUN_SECONDS)
    desk.browser.look_at_check("spur_enrichment", "answered")
    expect_verdict(desk.browser, "Failed", day)
    desk.browser.expect_text(re.compile(rf"^{day}: \d+ of \d+ eligible sessions .* answered with status 503"))
    desk.browser.picture("failed_check")
    note = desk.told(f"WARN: spur_enrichment.answered failed for {day}")
    assert "answered with status 503" in note


def see_the_recovery(desk: Desk, day: str) -> None:
    desk.sandbox.faults({"spur": []})
    desk.wait_for_circuit(RUN_SECONDS)
    desk.browser.materialize("/assets/spur_enrichment", day)
    desk.browser.wait_for_run(RUN_SECONDS)
    desk.browser.look_at_check("spur_enrichment", "answered")
    expect_verdict(desk.browser, "Passed", day)
    desk.browser.picture("passed_check")
    note = desk.told(f"Recovered: spur_enrichment.answered for {day}")
    assert "(100.0%)" in note
    assert len([title for title in desk.hook.titles if f"spur_enrichment.answered failed for {day}" in title]) == 1


def expect_verdict(browser: Browser, verdict: str, day: str) -> None:
    """On the page of a check: its newest result, and the day that it is about."""
    browser.expect_text("Latest execution")
    browser.expect_text(re.compile(f"^{verdict}$"))
    browser.expect_text(day)


def test_the_days_of_a_check_are_shown_in_the_colour_of_their_verdict(desk: Desk) -> None:
    with desk.browser.telling():
        desk.browser.look_at_check("spur_enrichment", "answered", tab="Partitions")
        desk.browser.expect_text(re.compile(r"^Passed\s*\(15\)$"), seconds=10)
