"""What a notebook shows of an estimator: HTML without a script, from which nothing is loaded.

Colours are shades of the notebook's own, so that it fits light and dark ones. An untrusted notebook
drops the style, and leaves a table.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from hybridmodel.checks import printable
from hybridmodel.model import HybridOnnxModel

if TYPE_CHECKING:
    from jinja2 import Template

_LONGEST, _MOST = 120, 10
_PAGE = """\
<div class="hybridmodel-estimator">
<style>
.hybridmodel-estimator { max-width: 46em; }
.hybridmodel-estimator details { border: 1px solid rgb(128 128 128 / 45%); border-radius: 6px; }
.hybridmodel-estimator summary { padding: .4em .7em; cursor: pointer; }
.hybridmodel-estimator table {
  border-collapse: collapse; margin: 0 .7em .5em; width: calc(100% - 1.4em);
}
.hybridmodel-estimator th, .hybridmodel-estimator td {
  padding: .2em .9em .2em 0; text-align: left; vertical-align: top;
  border-top: 1px solid rgb(128 128 128 / 25%); overflow-wrap: anywhere;
}
.hybridmodel-estimator th { font-weight: 600; white-space: nowrap; width: 1%; }
</style>
<details open><summary><b>{{ name }}</b> {{ state }}</summary>
<table>
{% for head, text in rows %}
<tr><th scope="row">{{ head }}</th><td>{{ text }}</td></tr>
{% endfor %}
</table>
</details>
</div>
"""


def html_of(estimator: Any) -> str:
    """Return an estimator as a piece of HTML; names and addresses in it are escaped and cut."""
    rows = [(head, printable(text, _LONGEST)) for head, text in _rows(estimator)]
    state = "fitted" if "n_features_in_" in vars(estimator) else "not fitted"
    return _template().render(name=type(estimator).__name__, state=state, rows=rows)


def _rows(estimator: Any) -> Iterator[tuple[str, str]]:
    """Yield what is told, with its heading."""
    model = estimator.model
    if not isinstance(model, HybridOnnxModel):
        yield "model", f"a {type(model).__name__}, not a HybridOnnxModel"
        return
    yield "who answers", _route(estimator)
    yield "local", f"{_listed(model.inputs)} → {_listed(model.outputs)}"
    endpoint = model.endpoint
    told = "none" if endpoint is None else f"{endpoint.served_name} at {endpoint.uri}"
    yield "endpoint", told
    for head in ("feature_names_in_", "classes_"):
        found = vars(estimator).get(head)
        if found is not None:
            yield head, _listed(found.tolist())
    for head, value in estimator.get_params(deep=False).items():
        if head not in ("model", "use_azure", "mode") and value is not None:
            yield head, str(value)


def _route(estimator: Any) -> str:
    """Say who answers when a call does not say it."""
    if estimator.mode is not None:
        return _mode(estimator.mode)
    if estimator.use_azure is not None:
        return f"use_azure={estimator.use_azure!r}"
    return f"{_mode(estimator.model.routing)}, as the model was made"


def _mode(mode: Any) -> str:
    is_function = callable(mode) and not hasattr(mode, "mode")
    return "a function" if is_function else str(getattr(mode, "mode", mode))


def _listed(items: Any) -> str:
    shown = [str(item) for item in items[:_MOST]]
    rest = f", … {len(items) - _MOST} more" if len(items) > _MOST else ""
    return ", ".join(shown) + rest


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(_PAGE)
