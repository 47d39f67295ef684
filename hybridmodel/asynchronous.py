"""The calls of a model as coroutines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hybridmodel.process.loops import run

if TYPE_CHECKING:
    from hybridmodel.answer import Answer


class AsyncCalls:
    """Adds `apredict` and `ainfer` to a class with `predict` and `infer`.

    They are the same calls, with the same policies, deadlines and errors. While they wait, the
    event loop does other work; no thread waits for them. Cancelling a call ends it at once, and
    what it has not sent yet is not sent.
    """

    predict: Any
    infer: Any

    async def apredict(
        self,
        data: Any,
        *,
        use_azure: Any = None,
        mode: Any = None,
        output: str | None = None,
        timeout: float | None = None,
        provenance: bool = False,
    ) -> Any:
        """Return what `predict` does, without blocking the event loop.

        Parameters, answer and errors are those of `predict`. It belongs to asyncio. `data` must not
        be changed before the answer is there.

        Raises
        ------
        MissingDependency
            Without greenlet, which ``pip install 'hybridmodel[async]'`` brings.

        Examples
        --------
        >>> answers = await asyncio.gather(*map(model.apredict, rows))  # doctest: +SKIP
        """
        return await run(
            partial(
                self.predict,
                data,
                use_azure=use_azure,
                mode=mode,
                output=output,
                timeout=timeout,
                provenance=provenance,
            )
        )

    async def ainfer(
        self,
        data: Any,
        *,
        use_azure: Any = None,
        mode: Any = None,
        output: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Return what `infer` does, without blocking the event loop; see `apredict`."""
        return await run(
            partial(
                self.infer, data, use_azure=use_azure, mode=mode, output=output, timeout=timeout
            )
        )
