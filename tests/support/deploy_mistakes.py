"""The 29 mistakes that Azure's own loaders let through, each as files and what `check` says.

python -m tests.support.deploy_mistakes    # the table of docs/deploy_checks.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hybridmodel.deploy import check
from hybridmodel.deploy.checking import RULES
from tests.support import models
from tests.support.azure_loaders import said_by_azure

_AT = "https://azuremlschemas.azureedge.net/latest"

ENDPOINT = f"""\
$schema: {_AT}/managedOnlineEndpoint.schema.json
name: digits-ep
auth_mode: key
"""
DEPLOYMENT = f"""\
$schema: {_AT}/managedOnlineDeployment.schema.json
name: blue
endpoint_name: digits-ep
model:
  name: digits
  version: 1
  path: ./models
  type: triton_model
environment_variables:
  GREETING: hello
instance_type: Standard_DS3_v2
instance_count: 1
request_settings:
  request_timeout_ms: 60000
  max_concurrent_requests_per_instance: 16
liveness_probe:
  initial_delay: 30
readiness_probe:
  initial_delay: 30
"""
BATCH_ENDPOINT = f"""\
$schema: {_AT}/batchEndpoint.schema.json
name: digits-batch
auth_mode: aad_token
"""
BATCH_DEPLOYMENT = f"""\
$schema: {_AT}/batchDeployment.schema.json
name: nightly
endpoint_name: digits-batch
model: azureml:digits@latest
compute: azureml:cpu-cluster
mini_batch_size: 10
error_threshold: 0
logging_level: info
retry_settings:
  max_retries: 3
  timeout: 300
"""
CONFIG = """\
name: "digits"
backend: "onnxruntime"
max_batch_size: 0
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1, 4 ] } ]
output [
  { name: "label" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "probabilities" data_type: TYPE_FP32 dims: [ -1, 3 ] }
]
"""

FILES: Mapping[str, str] = {
    "endpoint.yml": ENDPOINT,
    "blue.yml": DEPLOYMENT,
    "batch-endpoint.yml": BATCH_ENDPOINT,
    "batch.yml": BATCH_DEPLOYMENT,
    "models/digits/config.pbtxt": CONFIG,
}
"""Files without a mistake; the model itself is beside them."""

LOADERS: Mapping[str, str | None] = {
    "endpoint.yml": "load_online_endpoint",
    "blue.yml": "load_online_deployment",
    "batch-endpoint.yml": "load_batch_endpoint",
    "batch.yml": "load_batch_deployment",
    "models/digits/config.pbtxt": None,
}
"""What azure-ai-ml loads each with; it looks at no config.pbtxt."""

_END = "\n"
_NO_SHARE = "auth_mode: key\n"


@dataclass(frozen=True, eq=False)
class Mistake:
    """One mistake of the list, in as many variants as it has.

    A variant replaces a text of a file by another; the finding is expected on the line on which the
    new text begins, or `below` it. `triton` says what Triton does if it gets to see the mistake.
    """

    number: int
    title: str
    rule: str
    file: str
    variants: Sequence[tuple[str, str]]
    below: int = 0
    triton: str = ""
    more_files: Mapping[str, str] | None = None


def _after(text: str, *added: str) -> Sequence[tuple[str, str]]:
    """Make variants that add lines after a line."""
    return [(text, text + more) for more in added]


def _value(key: str, old: object, *values: object) -> Sequence[tuple[str, str]]:
    """Make variants of a key's value."""
    return [(f"{key}: {old}\n", f"{key}: {value}\n") for value in values]


_LONG = "n" * 40
_CREATED = "endpoint.yml"
_BLUE = "blue.yml"
_PROBES = [
    (f"{probe}:\n  initial_delay: 30\n", f"{probe}:\n  {key}: {value}\n")
    for probe in ("liveness_probe", "readiness_probe")
    for key, value in [
        ("initial_delay", 0), ("period", 0), ("timeout", 0), ("failure_threshold", 0),
        ("success_threshold", 0), ("success_threshold", 2),
    ]
    if (probe, value) != ("readiness_probe", 2)
]  # fmt: skip

MISTAKES: Sequence[Mistake] = (
    Mistake(1, "a name of 2 or 40 characters", "name-length", _BLUE, [
        *_value("\nname", "blue", "ab", _LONG),
    ], below=1),
    Mistake(2, "a deployment called `bad_name!`", "name-characters", _BLUE,
            _value("\nname", "blue", "bad_name!"), below=1),
    Mistake(3, "no model", "no-model", _BLUE, [
        ("model:\n  name: digits\n  version: 1\n  path: ./models\n  type: triton_model\n", ""),
    ], below=-3),
    Mistake(4, "a `model.path` that is not there", "model-path", _BLUE,
            _value("  path", "./models", "./modles")),
    Mistake(5, "a `model.path` one level too deep", "repository-level", _BLUE,
            _value("  path", "./models", "./models/digits"), triton="serves no model"),
    Mistake(6, "no `instance_count`, or 0, or over 50", "instance-count", _BLUE,
            _value("instance_count", 1, 0, 51)),
    Mistake(7, "an `instance_type` that is no size of machine", "instance-type", _BLUE,
            _value("instance_type", "Standard_DS3_v2", "Enormous", "Standard_DS3_v2_please")),
    Mistake(8, "`request_timeout_ms` over 180000", "request-timeout", _BLUE,
            _value("  request_timeout_ms", 60000, 180001)),
    Mistake(9, "no request at a time", "concurrency", _BLUE,
            _value("  max_concurrent_requests_per_instance", 16, 0)),
    Mistake(10, "probes with 0, or a liveness `success_threshold` that is not 1", "probe", _BLUE,
            _PROBES, below=1),
    Mistake(11, "shares of traffic that add up to 90", "traffic-sum", _CREATED,
            _after(_NO_SHARE, "traffic: {blue: 90}\n"), below=1),
    Mistake(12, "a share of traffic as text", "traffic-type", _CREATED,
            _after(_NO_SHARE, "traffic: {blue: '100'}\n"), below=1),
    Mistake(13, "a mirror of over 50 %", "mirror-share", _CREATED,
            _after(_NO_SHARE, "mirror_traffic: {blue: 51}\n"), below=1),
    Mistake(14, "two mirrors", "mirror-count", _CREATED,
            _after(_NO_SHARE, "mirror_traffic: {blue: 10, green: 10}\n"), below=1),
    Mistake(15, "a mirror of a deployment with live traffic", "mirror-live", _CREATED,
            _after(_NO_SHARE, "mirror_traffic: {blue: 10}\ntraffic: {blue: 100}\n"), below=1),
    Mistake(16, "traffic in the file that creates the endpoint", "traffic-at-creation", _CREATED,
            _after(_NO_SHARE, "traffic: {blue: 100}\n", "mirror_traffic: {blue: 10}\n"), below=1),
    Mistake(17, "`target_utilization` on managed machines", "scale-settings", _BLUE,
            _after("instance_count: 1\n", "scale_settings: {type: target_utilization}\n"), below=1),
    Mistake(18, "a number as environment variable", "environment-variables", _BLUE,
            _value("  GREETING", "hello", 1, 1.5, "true")),
    Mistake(19, "a batch endpoint with keys", "auth-mode", "batch-endpoint.yml",
            _value("auth_mode", "aad_token", "key")),
    Mistake(20, "a batch `logging_level` of \"chatty\"", "logging-level", "batch.yml",
            _value("logging_level", "info", "chatty")),
    Mistake(21, "a batch `timeout` of 0", "retry-timeout", "batch.yml",
            _value("  timeout", 300, 0)),
    Mistake(22, "a `mini_batch_size` of 0", "mini-batch-size", "batch.yml",
            _value("mini_batch_size", 10, 0)),
    Mistake(23, "an `error_threshold` below -1", "error-threshold", "batch.yml",
            _value("error_threshold", 0, -2)),
    Mistake(24, "a `$schema` that is no address of a schema", "schema-url", _BLUE, [
        (f"$schema: {_AT}/managedOnlineDeployment.schema.json\n", "$schema: nonsense\n"),
        (f"{_AT}/managedOnlineDeployment", f"{_AT}/managedOnlineEndpoint"),
    ]),
    Mistake(25, "over 20 deployments of an endpoint", "too-many-deployments", _BLUE,
            _value("name", "blue", "blue"), below=1, more_files={
                f"a{number:02}.yml": DEPLOYMENT.replace("name: blue", f"name: blue{number}")
                for number in range(20)
            }),
    Mistake(26, "`max_queue_wait_ms`, which is deprecated", "queue-wait", _BLUE,
            _after("  request_timeout_ms: 60000\n", "  max_queue_wait_ms: 500\n"), below=1),
    Mistake(27, "`config.pbtxt` with another name than its folder", "config-name",
            "models/digits/config.pbtxt", [('name: "digits"', 'name: "numbers"')],
            triton="refuses the model"),
    Mistake(28, "traffic of -10 beside 110", "traffic-range", _CREATED,
            _after(_NO_SHARE, "traffic: {blue: -10, green: 110}\n"), below=1),
    Mistake(29, "a name with two dashes in a row", "name-characters", _BLUE,
            _value("\nname", "blue", "blue--1"), below=1),
)  # fmt: skip
"""All mistakes, by the numbers of the list."""

_ELSEWHERE: Mapping[int, Sequence[tuple[str, str, str]]] = {
    1: [(_CREATED, "name: digits-ep", f"name: {name}") for name in ("ab", _LONG)],
    6: [(_BLUE, "instance_count: 1\n", "")],
}
"""Variants in another file or on another line: their finding is looked for without its line."""


@dataclass(frozen=True, eq=False)
class Case:
    """A variant of a mistake: where its files differ, and the line of the finding."""

    mistake: Mistake
    file: str
    old: str
    new: str
    line: int | None

    @property
    def content(self) -> str:
        """The file with the mistake."""
        return FILES[self.file].replace(self.old, self.new, 1)

    def write(self, folder: Path) -> Path:
        """Write all files, with the mistake in one; return that one."""
        write_files(folder, {**FILES, **(self.mistake.more_files or {}), self.file: self.content})
        return folder / self.file


def cases() -> Iterator[Case]:
    """Yield all variants of all mistakes."""
    for mistake in MISTAKES:
        text = FILES[mistake.file]
        for old, new in mistake.variants:
            assert old in text, f"{mistake.number}: {old!r} is not in {mistake.file}"
            line = text[: text.index(old)].count(_END) + 1 + mistake.below
            yield Case(mistake, mistake.file, old, new, line)
        for file, old, new in _ELSEWHERE.get(mistake.number, ()):
            assert old in FILES[file], f"{mistake.number}: {old!r} is not in {file}"
            yield Case(mistake, file, old, new, None)


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write texts, and the model beside a config.pbtxt."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if path.name == "config.pbtxt":
            (path.parent / "1").mkdir(exist_ok=True)
            (path.parent / "1" / "model.onnx").write_bytes(_classifier())


@cache
def _classifier() -> bytes:
    return models.classifier()


def table(said: Mapping[Case, str | None]) -> str:
    """Make the table of the page, of what azure-ai-ml said about each case."""
    lines = [
        "| | mistake | `hybridmodel check` | azure-ai-ml | Triton |",
        "|---|---|---|---|---|",
    ]
    for mistake in MISTAKES:
        answers = [answer for case, answer in said.items() if case.mistake is mistake]
        azure = "does not read it" if not LOADERS[mistake.file] else _verdict(answers)
        ours = f"{RULES[mistake.rule].severity} `{mistake.rule}`"
        triton = mistake.triton or "does not read it"
        lines.append(f"| {mistake.number} | {mistake.title} | {ours} | {azure} | {triton} |")
    return "\n".join(lines) + "\n"


def _verdict(answers: Sequence[str | None]) -> str:
    refused = sum(answer is not None for answer in answers)
    if refused == 0:
        return "takes it"
    return "refuses it" if refused == len(answers) else f"refuses {refused} of {len(answers)}"


def ask_azure(
    written: Mapping[Case, Path], more: Sequence[tuple[str, Path]] = ()
) -> tuple[dict[Case, str | None], list[str | None]]:
    """Return what azure-ai-ml says about each case, and about more files, in one process.

    It says nothing, None, about a file that it takes, and about one that it does not look at.
    """
    loaded = {case: path for case, path in written.items() if LOADERS[case.file]}
    files = [(str(LOADERS[case.file]), path) for case, path in loaded.items()]
    answers = said_by_azure([*files, *more])
    own = dict(zip(loaded, answers, strict=False))
    return {**dict.fromkeys(written, None), **own}, answers[len(loaded) :]


def main() -> None:
    """Print the table."""
    with TemporaryDirectory() as folder:
        paths = {case: case.write(Path(folder, str(i))) for i, case in enumerate(cases())}
        for case, path in paths.items():
            found = {item.rule for item in check(Path(folder, path.relative_to(folder).parts[0]))}
            assert case.mistake.rule in found, case
        print(table(ask_azure(paths)[0]), end="")  # noqa: T201 - it is what the program is for


if __name__ == "__main__":
    main()
