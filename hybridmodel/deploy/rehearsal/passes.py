"""Who may look at a rehearsal's page: whoever had a link, which works once.

A link holds its token in the fragment, which a browser sends to nobody; the page's script exchanges
it for a session. Sessions are not cookies, since a browser sends the cookies of 127.0.0.1 to every
port of it, whoever listens there.
"""

from __future__ import annotations

import hmac
import secrets
from collections import deque

_MOST = 16


class Passes:
    """Gives out links and sessions; of each, the latest 16 are good."""

    def __init__(self) -> None:
        self._links: deque[str] = deque(maxlen=_MOST)
        self._sessions: deque[str] = deque(maxlen=_MOST)

    def link(self) -> str:
        """Return a new token for one visit."""
        return _added(self._links)

    def enter(self, link: object) -> str | None:
        """Take the token of a link, and return a new session; None if it is not good any more."""
        for known in self._links:
            if is_same(link, known):
                self._links.remove(known)
                return _added(self._sessions)
        return None

    def permit(self, session: str) -> bool:
        """Tell whether a session was given out."""
        return any(is_same(session, known) for known in self._sessions)


def is_same(given: object, expected: str) -> bool:
    """Compare what came with a secret, in a time that tells nothing of it."""
    if not isinstance(given, str):
        return False
    return hmac.compare_digest(given.encode(errors="surrogatepass"), expected.encode())


def _added(known: deque[str]) -> str:
    token = secrets.token_urlsafe(32)
    known.append(token)
    return token
