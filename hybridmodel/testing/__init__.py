"""A fake endpoint, to test what a program does when its endpoint is slow, full or down.

It needs no server, no network and no key. The model's requests are encoded, the fake's answers are
decoded, and retries, deadlines and the circuit breaker are the real ones. Time is the fake's own:
a test does not wait for pauses and slow answers.
"""

from __future__ import annotations

from hybridmodel.testing.fake import FakeEndpoint, FakeRequest, fake_endpoint

__all__ = ["FakeEndpoint", "FakeRequest", "fake_endpoint"]
