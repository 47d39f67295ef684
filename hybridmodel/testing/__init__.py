"""A fake endpoint, for tests of what a program does when its endpoint is slow, full or gone.

No server, no network and no key. What the model sends is encoded, what the fake answers is
decoded, and retries, deadlines and the circuit breaker are the real ones. Time is the fake's own:
pauses and slow answers take none of yours.
"""

from __future__ import annotations

from hybridmodel.testing.fake import FakeEndpoint, FakeRequest, fake_endpoint

__all__ = ["FakeEndpoint", "FakeRequest", "fake_endpoint"]
