"""The methods of onnxruntime's session that concern the local model alone.

They are written out, so that subclasses find them by ``super()`` and specifications of mocks by
looking at the class. What the installed onnxruntime has not, it says itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnxruntime


class LocalCalls:
    """Hands calls on to ``_local``, an ``onnxruntime.InferenceSession``."""

    _local: onnxruntime.InferenceSession

    def get_inputs(self) -> Sequence[Any]:
        """Return a description of each input."""
        return self._local.get_inputs()  # type: ignore[no-any-return]

    def get_outputs(self) -> Sequence[Any]:
        """Return a description of each output."""
        return self._local.get_outputs()  # type: ignore[no-any-return]

    def get_overridable_initializers(self) -> Sequence[Any]:
        """Return a description of each weight that a feed may replace."""
        return self._local.get_overridable_initializers()  # type: ignore[no-any-return]

    def get_modelmeta(self) -> Any:
        """Return what the model says of itself."""
        return self._local.get_modelmeta()

    def get_session_options(self) -> Any:
        """Return the options of the local session."""
        return self._local.get_session_options()

    def get_input_memory_infos(self) -> Sequence[Any]:
        """Return where onnxruntime wants each input."""
        return self._local.get_input_memory_infos()  # type: ignore[no-any-return]

    def get_output_memory_infos(self) -> Sequence[Any]:
        """Return where onnxruntime puts each output."""
        return self._local.get_output_memory_infos()  # type: ignore[no-any-return]

    def get_input_epdevices(self) -> Sequence[Any]:
        """Return the device of each input."""
        return self._local.get_input_epdevices()  # type: ignore[no-any-return]

    def get_provider_graph_assignment_info(self) -> Sequence[Any]:
        """Return which provider computes which part of the model."""
        return self._local.get_provider_graph_assignment_info()  # type: ignore[no-any-return]

    def get_profiling_start_time_ns(self) -> int:
        """Return when profiling began, in nanoseconds."""
        return self._local.get_profiling_start_time_ns()  # type: ignore[no-any-return]

    def end_profiling(self) -> str:
        """End profiling, and return the name of the file that holds it."""
        return self._local.end_profiling()  # type: ignore[no-any-return]

    def get_tuning_results(self) -> Any:
        """Return what tuning has found."""
        return self._local.get_tuning_results()

    def set_tuning_results(self, results: Any, *, error_on_invalid: bool = False) -> Any:
        """Use what tuning has found before."""
        return self._local.set_tuning_results(results, error_on_invalid=error_on_invalid)

    def enable_fallback(self) -> None:
        """Let local runs go on with another provider when one fails."""
        self._local.enable_fallback()

    def disable_fallback(self) -> None:
        """Let local runs fail when their provider does."""
        self._local.disable_fallback()

    def set_ep_dynamic_options(self, options: dict[str, str]) -> Any:
        """Change options of the providers while the session lives."""
        return self._local.set_ep_dynamic_options(options)

    def io_binding(self) -> Any:
        """Return what binds inputs and outputs to memory of the local run."""
        return self._local.io_binding()

    def create_ortvalue_from_shape_and_type(
        self, shape: Sequence[int], element_type: Any, device_type: str, *args: Any, **options: Any
    ) -> Any:
        """Return an OrtValue in memory that suits the local run."""
        return self._local.create_ortvalue_from_shape_and_type(
            shape, element_type, device_type, *args, **options
        )

    def release_captured_graph(self, graph_annotation_id: int = 0) -> None:
        """Forget a graph that a provider has captured."""
        self._local.release_captured_graph(graph_annotation_id)
