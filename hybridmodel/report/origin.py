"""What a report says of its origin; none of these facts is secret."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hybridmodel.local.session_settings import provider_name

if TYPE_CHECKING:
    from hybridmodel.model import HybridOnnxModel
    from hybridmodel.report.gathering import Gatherer


def origin_of(
    model: HybridOnnxModel, gatherer: Gatherer, *, rows: str, labels: str
) -> tuple[tuple[str, str], ...]:
    """Describe what was asked, and where; `rows` and `labels` say where these come from."""
    import onnxruntime

    from hybridmodel.flavor.requirements import package_version

    urls = " or ".join(one.endpoint.model_url for one in model.client.clients)
    providers = ", ".join(map(provider_name, model.local.providers))
    return (
        ("local model, sha256", model.onnx.sha256),
        ("endpoint", urls),
        ("version that answered", ", ".join(sorted(gatherer.versions))),
        ("rows", f"{gatherer.rows:,} of {rows}"),
        ("labels", labels),
        ("score", str(gatherer.subject.score or "none")),
        ("inputs", ", ".join(map(str, model.inputs))),
        ("outputs", ", ".join(map(str, model.outputs))),
        ("hybridmodel", package_version()),
        ("onnxruntime", f"{onnxruntime.__version__}, {providers}"),
        ("Python", f"{platform.python_version()} on {platform.system()}"),
        ("date", datetime.now(UTC).isoformat(timespec="seconds")),
    )
