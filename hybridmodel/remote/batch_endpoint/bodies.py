"""What a submission says, and what an endpoint answers about jobs, as JSON. No I/O.

Azure's documents write names as ``JobInputType``, its SDK as ``jobInputType``; so names are
read in any case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hybridmodel.checks import shown
from hybridmodel.exceptions import ConfigurationError, ProtocolError
from hybridmodel.remote.batch_endpoint.addresses import datastore_of
from hybridmodel.remote.wire.protocol import Message

Form = Literal["inputs", "dataset"]
FORMS: tuple[Form, ...] = ("inputs", "dataset")
"""Bodies of a submission: today's, and the one of the first releases."""

TAG = "hybridmodel_submission"
"""The tag with the name that a job was submitted under, for endpoints that give it another one."""

INPUT, OUTPUT = "input", "score"
"""Names of the one input and the one output; Azure ignores them for models."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
_MOST_TEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One submission.

    Attributes
    ----------
    name : str
        The client's name of the job, which is also sent as a tag.
    input_uri, output_uri : str
        Addresses; None leaves the output to the endpoint.
    of_file : bool
        Whether the input is one file, and no folder.
    form : str
        One of `FORMS`.
    """

    name: str
    input_uri: str
    output_uri: str | None = None
    of_file: bool = False
    form: Form = "inputs"

    def message(self) -> Message:
        """Return the body that asks for the job."""
        asked: dict[str, Any] = {"name": self.name, "tags": {TAG: self.name}}
        asked |= self._by_inputs() if self.form == "inputs" else self._by_dataset()
        return Message(json.dumps({"properties": asked}).encode())

    def _by_inputs(self) -> dict[str, Any]:
        kind = "UriFile" if self.of_file else "UriFolder"
        asked: dict[str, Any] = {
            "InputData": {INPUT: {"JobInputType": kind, "Uri": self.input_uri}}
        }
        if self.output_uri is not None:
            place = {"JobOutputType": "UriFolder", "Uri": self.output_uri}
            asked["OutputData"] = {OUTPUT: place}
        return asked

    def _by_dataset(self) -> dict[str, Any]:
        asked: dict[str, Any] = {"dataset": {"dataInputType": "DataUrl", "Path": self.input_uri}}
        if self.output_uri is None:
            return asked
        place = datastore_of(self.output_uri)
        if place is None:
            raise ConfigurationError(
                "the form 'dataset' takes an output of azureml://datastores/NAME/paths/FOLDER only"
            )
        return {**asked, "outputDataset": {"datastoreId": place.name, "path": place.path}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What an endpoint says of a job; texts are as they came, and not fit to be shown."""

    name: str
    state: str
    error: str | None = None
    input_uri: str | None = None
    output_uri: str | None = None
    tag: str | None = None
    link: str | None = None

    def is_of(self, name: str) -> bool:
        """Tell whether it is the job that was submitted under a name."""
        return name in (self.name, self.tag)

    def does(self, order: Order) -> bool:
        """Tell whether it is the work of a submission, as far as the endpoint says."""
        said = ((self.input_uri, order.input_uri), (self.output_uri, order.output_uri))
        return all(told is None or asked is None or told == asked for told, asked in said)


def checked_name(name: Any) -> str:
    """Return a name of a job; raises `ConfigurationError` for what cannot be one."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise ConfigurationError(
        "the name of a job has letters, digits, '-' and '_', at most 255, and begins with a letter "
        f"or digit, not {shown(name)}"
    )


def checked_form(form: Any) -> Form:
    """Return the form of a submission; raises `ConfigurationError` for one that there is not."""
    if form in FORMS:
        return FORMS[FORMS.index(form)]
    raise ConfigurationError(f"form is one of {', '.join(FORMS)}, not {shown(form)}")


def read_job(said: Any) -> Told:
    """Read a job; raises `ProtocolError` if it has no usable name."""
    name = _text(said, "name") or (_text(said, "id") or "").rpartition("/")[2]
    if not _NAME.fullmatch(name):
        raise ProtocolError("the answer is no job: it has neither a name nor an id")
    inside = _get(said, "properties")
    outputs = _get(inside, "outputData")
    inputs = _get(inside, "inputData")
    return Told(
        name=name,
        state=_text(inside, "status") or _text(said, "status") or "Unknown",
        error=_text(inside, "error", "message") or _text(said, "error", "message"),
        input_uri=_text(_only(inputs), "uri") or _text(inside, "dataset", "path"),
        output_uri=_text(_only(outputs), "uri"),
        tag=_text(inside, "tags", TAG),
        link=_text(inside, "interactionEndpoints", "Studio", "endpoint")
        or _text(said, "interactionEndpoints", "Studio", "endpoint"),
    )


def read_page(said: Mapping[str, Any]) -> tuple[list[Told], str | None]:
    """Read a page of jobs, and the address of the next one; what is no job is left out.

    Raises `ProtocolError` where there is no list.
    """
    jobs = []
    listed = _get(said, "value")
    if not isinstance(listed, list):
        raise ProtocolError("the answer has no list of jobs")
    for item in listed:
        try:
            jobs.append(read_job(item))
        except ProtocolError:
            continue
    return jobs, _text(said, "nextLink")


def _get(said: Any, *names: str) -> Any:
    """Return what stands behind names, in any case, one in the other; None if it is not there."""
    for name in names:
        if not isinstance(said, dict):
            return None
        said = next((said[key] for key in said if key.lower() == name.lower()), None)
    return said


def _only(said: Any) -> Any:
    """Return the one entry of an object, whatever its name."""
    return next(iter(said.values())) if isinstance(said, dict) and len(said) == 1 else None


def _text(said: Any, *names: str) -> str | None:
    found = _get(said, *names)
    return found if isinstance(found, str) and 0 < len(found) <= _MOST_TEXT else None
