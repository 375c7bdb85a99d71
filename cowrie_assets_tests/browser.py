"""The Dagster UI as a person sees it: a real chromium that clicks, reads, and takes pictures.

Lives here: finding the browser, what a person does in the UI (materialize, look at a check), pictures, and what is
told of a page where something is not as it should be. Not here: the UI's processes (`ui`), what is proved
(`orchestration/test_browser`).

Everything is found by what is written on it, or by its role: classes and identifiers change with each Dagster.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Error, Locator, Page, Request, expect, sync_playwright

# Where the pictures go that the README shows; without it none is taken, and the checkout stays as it is.
PICTURES = "COWRIE_PICTURES"
# Where jobs and sensors are.
LOCATION = "/locations/cowrie_assets.definitions"
SIZE = (1400, 900)
_NAMES = ("chromium", "chromium-browser", "google-chrome")
# A page's own; what a run takes is told where it is waited for.
_PATIENCE_SECONDS = 60
_ENDED = re.compile(r"^(Success|Failure|Canceled)$")


@dataclass
class Browser:
    """One tab. `foreign` are the addresses elsewhere that pages asked for; they get no answer. In the folder `evidence`
    a screenshot is left where something goes wrong."""

    page: Page
    url: str
    evidence: Path
    pictures: Path | None = None
    foreign: list[str] = field(default_factory=list)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Whatever goes wrong meanwhile is told with the page's text, and with a screenshot."""
        try:
            yield
        except (AssertionError, Error) as error:
            error.add_note(self._told())
            raise

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def switch_off(self, sensor: str) -> None:
        """The switch on a sensor's page."""
        self.open(f"{LOCATION}/sensors/{sensor}")
        row = self.page.get_by_role("row", name="Running")
        row.locator("label").click()
        expect(row.get_by_role("checkbox")).not_to_be_checked()

    def materialize(self, path: str, days: str = "", picture: str = "") -> None:
        """The button "Materialize" of the page at `path`, for some of its days (one, or `[first...last]`); then on to
        the page of what that started. `picture` is taken of the days that are chosen."""
        self.open(path)
        self.page.get_by_role("button", name=re.compile("Materialize")).click()
        if days:
            dialog = self.page.get_by_role("dialog")
            choice = dialog.get_by_placeholder("No matching partitions")
            choice.fill(days)
            choice.press("Enter")
            start = dialog.get_by_role("button", name=re.compile("^Launch"))
            expect(start).to_be_enabled()
            if picture:
                self.picture(picture)
            start.click()
        self._either("View").click()
        self.page.wait_for_url("**/runs/**")

    def wait_for_run(self, seconds: float) -> None:
        """On the page of a run, or of a backfill's only one: until it has ended, and well."""
        status = self.page.get_by_text(_ENDED).filter(visible=True).first
        expect(status).to_be_visible(timeout=1000 * seconds)
        assert status.inner_text() == "Success"

    def wait_for_backfill(self, page: str, seconds: float) -> None:
        """Until the backfill of that page has ended, and well."""
        self.open(page)
        status = (
            self.page.get_by_text("Status", exact=True).locator("..").get_by_text(re.compile("^(Succeeded|Failed)"))
        )
        expect(status).to_be_visible(timeout=1000 * seconds)
        assert status.inner_text() == "Succeeded"

    def look_at_check(self, asset: str, check: str, tab: str = "Overview") -> None:
        """A tab of a check's page: Overview, Execution history, Partitions."""
        self.open(f"/assets/{asset}?view=checks&checkDetail={check}")
        # The asset has tabs of the same names.
        tabs = self.page.get_by_role("tablist").filter(has_text="Execution history")
        tabs.get_by_role("tab", name=tab).click()

    def expect_text(self, text: str | re.Pattern[str], seconds: float = _PATIENCE_SECONDS) -> None:
        """It is seen somewhere; pages hold much that is not."""
        expect(self.page.get_by_text(text).filter(visible=True).first).to_be_visible(timeout=1000 * seconds)

    def picture(self, name: str) -> None:
        """Save what is seen, if pictures are wanted; with 256 colours it is half as large."""
        if self.pictures is None:
            return
        # What still moves is not seen on it; an image that is being loaded would be missing.
        self.page.wait_for_load_state("networkidle")
        seen = Image.open(BytesIO(self.page.screenshot(animations="disabled", caret="hide")))
        seen.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(self.pictures / f"{name}.png", optimize=True)

    def _either(self, name: str) -> Locator:
        """A button, or a link that looks like one."""
        button = self.page.get_by_role("button", name=name, exact=True)
        return button.or_(self.page.get_by_role("link", name=name, exact=True))

    def _told(self) -> str:
        screenshot = self.evidence / "browser.png"
        try:
            self.page.screenshot(path=screenshot)
            return f"At {self.page.url}, seen in {screenshot}:\n{self.page.inner_text('body')}"
        except Error as error:  # the browser is gone
            return f"Of the page nothing can be told: {error}"


def chromium() -> str | None:
    """Where Debian's chromium is, or one that goes by another name."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextmanager
def browsing(url: str, evidence: Path) -> Iterator[Browser]:
    """A browser on the UI at `url`."""
    # A sandbox of its own needs rights that root in a container has not. Only loopback is looked at.
    arguments = ["--no-proxy-server", "--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        context = opened.new_context(
            viewport={"width": SIZE[0], "height": SIZE[1]}, locale="en-US", timezone_id="UTC", reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(1000 * _PATIENCE_SECONDS)
        expect.set_options(timeout=1000 * _PATIENCE_SECONDS)
        browser = Browser(page, url, evidence, _wanted_pictures())

        def note(request: Request) -> None:
            address = urlsplit(request.url)
            if address.scheme in ("http", "https") and address.hostname != "127.0.0.1":
                browser.foreign.append(request.url)

        page.on("request", note)
        context.route(lambda address: urlsplit(address).hostname != "127.0.0.1", lambda route: route.abort())
        try:
            yield browser
        finally:
            opened.close()


def _wanted_pictures() -> Path | None:
    wanted = os.environ.get(PICTURES)
    if not wanted:
        return None
    folder = Path(wanted)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
