"""The calls of a model as coroutines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from hybridmodel.process.loops import run

if TYPE_CHECKING:
    from typing import Unpack

    import pandas as pd
    import polars as pl

    from hybridmodel.answer import Answer
    from hybridmodel.call_types import Arrow, Asked, Data, Frame, Mode, Plain, PolarsFrame, UseAzure
    from hybridmodel.data.tensors import Array


class AsyncCalls:
    """Adds `apredict` and `ainfer` to a class with `predict` and `infer`.

    They are the same calls, with the same policies, deadlines and errors. While they wait, the
    event loop does other work; no thread waits for them. Cancelling a call ends it at once, and
    what it has not sent yet is not sent.
    """

    predict: Any
    infer: Any

    # Frames are arrays to a type checker as well, so that the order says what they are.
    @overload
    async def apredict(
        self,
        data: Frame,
        *,
        output: str | None = ...,
        provenance: Literal[True],
        **asked: Unpack[Asked],
    ) -> pd.DataFrame: ...
    @overload
    async def apredict(
        self,
        data: Frame,
        *,
        output: str | None = ...,
        provenance: bool = ...,
        **asked: Unpack[Asked],
    ) -> pd.DataFrame | pd.Series[Any]: ...
    @overload
    async def apredict(  # type: ignore[overload-overlap]
        self,
        data: PolarsFrame,
        *,
        output: str | None = ...,
        provenance: Literal[True],
        **asked: Unpack[Asked],
    ) -> pl.DataFrame: ...
    @overload
    async def apredict(  # type: ignore[overload-overlap]
        self,
        data: PolarsFrame,
        *,
        output: str | None = ...,
        provenance: bool = ...,
        **asked: Unpack[Asked],
    ) -> pl.DataFrame | pl.Series: ...
    @overload
    async def apredict(
        self,
        data: Plain,
        *,
        output: str | None = ...,
        provenance: Literal[True],
        **asked: Unpack[Asked],
    ) -> dict[str, Array]: ...
    @overload
    async def apredict(
        self,
        data: Plain,
        *,
        output: str,
        provenance: Literal[False] = ...,
        **asked: Unpack[Asked],
    ) -> Array: ...
    @overload
    async def apredict(
        self,
        data: Plain,
        *,
        output: str | None = ...,
        provenance: bool = ...,
        **asked: Unpack[Asked],
    ) -> Array | Any: ...
    @overload
    async def apredict(
        self,
        data: Arrow,
        *,
        output: str | None = ...,
        provenance: bool = ...,
        **asked: Unpack[Asked],
    ) -> Any: ...
    async def apredict(
        self,
        data: Data,
        *,
        use_azure: UseAzure = None,
        mode: Mode | None = None,
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
        data: Data,
        *,
        use_azure: UseAzure = None,
        mode: Mode | None = None,
        output: str | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Return what `infer` does, without blocking the event loop; see `apredict`."""
        return await run(
            partial(
                self.infer, data, use_azure=use_azure, mode=mode, output=output, timeout=timeout
            )
        )
