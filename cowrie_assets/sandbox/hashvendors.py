"""The rules of the web services that know files and passwords, one class each: paths, credentials, refusals, headers.

Lives here: from a request to a sound reply, for VirusTotal and Pwned Passwords. Not here: what is answered
(`hashanswers`), how much is too much (`limits`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time
from hashlib import sha256
from urllib.parse import parse_qs

from cowrie_assets.sandbox import hashanswers
from cowrie_assets.sandbox.limits import Verdict
from cowrie_assets.sandbox.vendor import (
    FORBIDDEN_CREDENTIAL,
    INVALID_CREDENTIAL,
    Asked,
    Reply,
    Vendor,
    after,
    in_json,
    unless_known,
)

_TEXT = "text/plain"
_TOO_MANY, _QUOTA = "TooManyRequestsError", "QuotaExceededError"
_MESSAGES = {
    _TOO_MANY: "Too many requests",
    _QUOTA: "Quota exceeded",
    "TransientError": "The server is temporarily not available",
    "DeadlineExceededError": "The operation took too long to complete",
}
_CODES = {429: _TOO_MANY, 503: "TransientError", 504: "DeadlineExceededError"}


class VirusTotal(Vendor):
    """429 is either of two: more in a minute than four, which passes, or a quota that lasts to midnight or longer."""

    name = "virustotal"
    credential_header = "x-apikey"

    def key(self, asked: Asked) -> str | None:
        key = after("/api/v3/files/", asked.path)
        return None if key is None else key.lower()

    def objection(self, asked: Asked) -> Reply | None:
        credential = self.credential(asked)
        if not credential:
            return _error(401, "AuthenticationRequiredError", "X-Apikey header is missing")
        if credential == INVALID_CREDENTIAL:
            return _error(401, "WrongCredentialsError", "Wrong API key")
        if credential == FORBIDDEN_CREDENTIAL:
            return _error(403, "ForbiddenError", "You are not authorized to perform the requested operation")
        return None

    def refusal(self, verdict: Verdict, asked: Asked) -> Reply:
        code = _QUOTA if verdict.over_quota else _TOO_MANY
        return self.says_when(_error(429, code, _MESSAGES[code]), verdict, asked)

    def failure(self, status: int, code: str | None = None) -> Reply:
        named = code or _CODES.get(status)
        if named is None:
            return super().failure(status, code)
        return _error(status, named, _MESSAGES.get(named, named))

    def answer(self, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        return in_json(*hashanswers.virustotal(self.seed, key, self.as_of))

    def other_answer(self, key: str, asked: Asked) -> Reply:
        """About another file of which there is something to say."""
        other = key
        for _ in range(64):
            other = sha256(other.encode()).hexdigest()
            reply = self.answer(other, asked)
            if reply.status == 200:
                break
        return reply


def _error(status: int, code: str, message: str) -> Reply:
    return in_json(status, hashanswers.error(code, message))


class PwnedPasswords(Vendor):
    """No key, no limit; a client has to say who it is."""

    name = "hibp"

    def key(self, asked: Asked) -> str | None:
        key = after("/range/", asked.path)
        return None if key is None else key.upper()

    def objection(self, asked: Asked) -> Reply | None:
        return None if asked.user_agent else Reply(403, b"A user agent is required", _TEXT)

    def answer(self, key: str, asked: Asked) -> Reply:
        padded = asked.headers.get("add-padding", "").lower() == "true"
        mode = parse_qs(asked.query).get("mode", [""])[0]
        status, body = hashanswers.hibp_range(self.seed, key, padded=padded, mode=mode)
        if status != 200:
            return Reply(status, body, _TEXT)
        return unless_known(asked, body, _TEXT, datetime.combine(self.as_of, time(), UTC))

    def spoilt(self, kind: str, how: str | None, reply: Reply, key: str, asked: Asked) -> Reply:  # noqa: ARG002
        return replace(reply, body=reply.body.lower())  # "lower-case"

    def cut_length(self, body: bytes) -> int:
        """In the middle of the last line's suffix."""
        return len(body) - len(body.rpartition(b"\r\n")[2]) + 17

    def other_answer(self, key: str, asked: Asked) -> Reply:
        try:
            return self.answer(f"{(int(key, 16) + 1) % (1 << 20):05X}", asked)
        except ValueError:
            return self.answer(key, asked)
