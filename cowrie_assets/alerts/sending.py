"""One message to one channel, through Apprise.

Lives here: the call, its words for what went wrong, and that no URL comes into a log. Not here: when, and how often
(`delivery`). Reasons never hold what Apprise or a library of its says: that has URLs in it, and they are secrets.
"""

from __future__ import annotations

import logging
import re
import threading
from functools import cache
from typing import TYPE_CHECKING

from cowrie_assets.alerts.channels import Channel
from cowrie_assets.alerts.wording import Kind

if TYPE_CHECKING:
    from apprise import NotifyBase

_REFUSED = re.compile(r"error=(\d{3})\b")
# Libraries that log addresses, for some channels those are the whole secret. Of Apprise nothing is let out, of the
# others what they log in a thread that sends.
_TALKATIVE = (
    "urllib3",
    "requests",
    "requests_oauthlib",
    "oauthlib",
    "charset_normalizer",
    "paho",
    "slixmpp",
    "smpplib",
)


def send(url: str, title: str, body: str, kind: Kind) -> str | None:
    """Send plain text; None when the channel took it, else why not, without secrets. May take as long as the channel
    likes: call it in a thread. What is too long for the channel arrives in parts."""
    from apprise import NotifyFormat, NotifyType  # noqa: PLC0415
    from apprise.common import OverflowMode  # noqa: PLC0415

    with _HERE:
        channel = _channel(url)
        if channel is None:
            return NOT_UNDERSTOOD
        types = {"failure": NotifyType.FAILURE, "warning": NotifyType.WARNING, "recovery": NotifyType.SUCCESS}
        # `?overflow=` in the URL counts; without it a channel's longest message would be refused or cut by the service.
        overflow = OverflowMode.SPLIT if channel.overflow_mode == OverflowMode.UPSTREAM else None
        taken = channel.notify(
            body=body, title=title, notify_type=types[kind], body_format=NotifyFormat.TEXT, overflow=overflow
        )
        return None if taken else _HERE.reason()


def channel_problem(channel: Channel) -> str | None:
    """Why a channel could not even be tried; None where it can. Nothing is sent."""
    url = channel.url()
    if url is None:
        return channel.without_url
    with _HERE:
        return NOT_UNDERSTOOD if _channel(url) is None else None


@cache
def prepare() -> None:
    """Begin to load Apprise, which takes half a second to two, beside what this process does in the meantime."""
    threading.Thread(target=lambda: _channel("json://127.0.0.1"), daemon=True).start()


NOT_UNDERSTOOD = "what is there is no URL that Apprise understands: see https://github.com/caronc/apprise/wiki"


def _channel(url: str) -> NotifyBase | None:
    # Not above: it is slow to load, and most processes have nothing to send.
    from apprise import Apprise, AppriseAsset  # noqa: PLC0415

    # No pictures from elsewhere: to load one tells that somebody reads.
    asset = AppriseAsset(app_id="cowrie-assets", app_desc="", app_url="", image_url_mask="", image_url_logo="")
    channel = Apprise.instantiate(url, asset=asset)
    _HERE.cover()  # with the libraries that only this kind of channel uses
    return channel


class _Silence(logging.Filter, threading.local):
    """Keeps what the sending libraries log to itself, and remembers of it only the status of an answer."""

    def __init__(self) -> None:
        super().__init__()
        self._sends = False
        self._status: str | None = None

    def __enter__(self) -> None:
        self.cover()
        self._sends, self._status = True, None

    def __exit__(self, *_: object) -> None:
        self._sends = False

    def cover(self) -> None:
        """Hold for every logger of these libraries that there is by now."""
        for name in ("apprise", *logging.root.manager.loggerDict):
            if name.split(".")[0] in ("apprise", *_TALKATIVE):
                # A filter of a logger does not hold for the loggers below it; to add it again changes nothing.
                logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.startswith("apprise"):
            match = _REFUSED.search(record.getMessage())
            self._status = match.group(1) if match else self._status
            return False
        return not self._sends

    def reason(self) -> str:
        if self._status is None:
            return "it does not answer, or refused it"
        return f"it refused it with status {self._status}"


_HERE = _Silence()
