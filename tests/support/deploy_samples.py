"""Files in the shapes of Azure's published samples, each written anew; `check` finds nothing."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.deploy_mistakes import (
    BATCH_DEPLOYMENT,
    BATCH_ENDPOINT,
    CONFIG,
    DEPLOYMENT,
    ENDPOINT,
)

_AT = "https://azuremlschemas.azureedge.net/latest"

_TRITON = {
    "endpoint.yml": ENDPOINT,
    "blue.yml": DEPLOYMENT,
    "green.yml": DEPLOYMENT.replace("name: blue", "name: green").replace("version: 1", "version: 2")
    + "tags: {stage: canary}\nscale_settings:\n  type: default\n",
    "models/digits/config.pbtxt": CONFIG,
}

_GPU = {
    "endpoint.yaml": f"$schema: {_AT}/managedOnlineEndpoint.schema.json\nname: digits-gpu\n",
    "deployment.yaml": f"""\
$schema: {_AT}/managedOnlineDeployment.schema.json
name: blue
endpoint_name: digits-gpu
model:
  name: digits-onnx
  version: 1
  path: ./models
  type: triton_model
instance_count: 1
instance_type: STANDARD_NC4AS_T4_V3
""",
    "models/digits/config.pbtxt": """\
# Labels are in a file beside this one, and the rows in a reshape.
platform: "onnxruntime_onnx"
max_batch_size : 0
input [
  {
    name: "X"
    data_type: TYPE_FP32
    format: FORMAT_NONE
    dims: [ 2, 2 ]
    reshape { shape: [ 1, 4 ] }
  }
]
output [
  { name: "label" data_type: TYPE_STRING dims: [ -1 ] },
  { name: "probabilities" data_type: TYPE_FP32 dims: [ -1, 3 ] label_filename: "labels.txt" }
]
""",
}

_MLFLOW = {
    "endpoint.yml": ENDPOINT.replace("key", "AADToken"),
    "deployment.yml": f"""\
$schema: {_AT}/managedOnlineDeployment.schema.json
name: ncd
endpoint_name: digits-ep
model:
  name: digits-mlflow
  version: 3
  path: model
  type: mlflow_model
instance_type: Standard_F4s_v2
instance_count: 3
egress_public_network_access: disabled
data_collector:
  collections:
    model_inputs:
      enabled: 'True'
  rolling_rate: hour
  sampling_rate: 0.5
""",
    "model/MLmodel": "flavors: {}\n",
    "model/conda.yaml": "name: mlflow-env\ndependencies:\n- python=3.11\n- pip:\n  - mlflow\n",
    "model/python_env.yaml": "python: 3.11.4\nbuild_dependencies: [pip]\n",
}

_REGISTERED = {
    "blue.yml": f"""\
$schema: {_AT}/managedOnlineDeployment.schema.json
name: blue
endpoint_name: digits-ep
model: azureml:digits@latest
code_configuration:
  code: ./code
  scoring_script: score.py
environment: azureml:digits-env:1
environment_variables:
  WORKER_COUNT: "2"
instance_type: Standard_E4s_v3
instance_count: 1
app_insights_enabled: true
liveness_probe:
  failure_threshold: 10
  initial_delay: 200
  period: 10
  success_threshold: 1
  timeout: 10
readiness_probe:
  failure_threshold: 10
  initial_delay: 200
  period: 10
  success_threshold: 2
  timeout: 10
""",
    "code/score.py": "def init(): ...\n",
}

_CONTAINER = {
    "endpoint.yml": ENDPOINT.replace("auth_mode: key", "auth_mode: aml_token"),
    "deployment.yml": f"""\
$schema: {_AT}/managedOnlineDeployment.schema.json
name: triton
endpoint_name: digits-ep
model:
  name: digits
  version: 1
  path: ./models/digits
model_mount_path: /models
environment:
  name: own-triton
  version: 1
  image: example.azurecr.io/tritonserver:24.11-py3
  inference_config:
    liveness_route: {{path: /v2/health/live, port: 8000}}
    readiness_route: {{path: /v2/health/ready, port: 8000}}
    scoring_route: {{path: /, port: 8000}}
instance_type: Standard_NC24ads_A100_v4
instance_count: 1
""",
    "models/digits/config.pbtxt": CONFIG,
}

_BATCH_MLFLOW = {
    "endpoint.yml": BATCH_ENDPOINT,
    "flat.yml": BATCH_DEPLOYMENT,
    "deployment.yml": f"""\
$schema: {_AT}/modelBatchDeployment.schema.json
name: mlflow
endpoint_name: digits-batch
type: model
model: {{path: model, type: mlflow_model}}
compute: azureml:batch-cluster
resources:
  instance_count: 2
settings:
  max_concurrency_per_instance: 2
  mini_batch_size: 10
  output_action: append_row
  output_file_name: predictions.csv
  retry_settings:
    max_retries: 3
    timeout: 300
  error_threshold: -1
  logging_level: info
""",
    "model/MLmodel": "flavors: {}\n",
}

_PIPELINE = {
    "deployment.yml": f"""\
$schema: {_AT}/pipelineComponentBatchDeployment.schema.json
name: steps
endpoint_name: digits-batch
type: pipeline
component: azureml:digits-steps@latest
settings:
  continue_on_step_failure: false
  default_compute: batch-cluster
""",
}

_KUBERNETES = {
    "endpoint.yml": f"""\
$schema: {_AT}/kubernetesOnlineEndpoint.schema.json
name: digits-k8s
compute: azureml:arc
auth_mode: Key
identity:
  type: system_assigned
""",
    "blue.yml": f"""\
$schema: {_AT}/kubernetesOnlineDeployment.schema.json
name: blue
type: kubernetes
endpoint_name: digits-k8s
model: {{path: ./models, type: triton_model}}
request_settings:
  request_timeout_ms: 300000
  max_concurrent_requests_per_instance: 10
resources:
  requests: {{cpu: "0.1", memory: "0.5Gi"}}
  limits: {{cpu: "1", memory: "2Gi"}}
scale_settings:
  type: target_utilization
  min_instances: 1
  max_instances: 3
  polling_interval: 10
  target_utilization_percentage: 70
instance_type: defaultinstancetype
""",
    "models/digits/config.pbtxt": CONFIG,
}

_TEMPLATE = {
    "template.yml": f"""\
$schema: {_AT}/deploymentTemplate.schema.json
name: digits-template
version: 1
type: deployment_template
deployment_template_type: managed
environment: azureml:own-triton:1
environment_variables: {{MODEL: /models}}
request_settings: {{request_timeout_ms: 90000, max_concurrent_requests_per_instance: 10}}
liveness_probe: {{initial_delay: 10, path: /live, port: 8000}}
instance_count: 1
default_instance_type: Standard_NC24ads_A100_v4
allowed_instance_types: Standard_NC24ads_A100_v4
scoring_path: /score
scoring_port: 8000
""",
    "overriding.yml": DEPLOYMENT.replace("./models", "azureml:digits:1")
    + "properties:\n  azureml.deploymentTemplateOverride: 'true'\n",
    "model.yml": f"""\
$schema: {_AT}/model.schema.json
name: digits
version: 1
path: ./nothing
type: triton_model
default_deployment_template:
  asset_id: azureml://registries/example/deploymenttemplates/digits-template/versions/1
""",
}

_OTHERS = {
    "environment.yml": f"$schema: {_AT}/environment.schema.json\nname: env\nimage: python:3.11\n",
    "kserve.yaml": """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: digits}
spec: {predictor: {model: {modelFormat: {name: onnx}, protocolVersion: v2}}}
---
apiVersion: mlops.seldon.io/v1alpha1
kind: Model
""",
    "serverless.yml": f"""\
$schema: {_AT}/serverlessEndpoint.schema.json
name: small-embedder
model_id: azureml://registries/azureml/models/embedder
""",
    "workspace.yml": f"$schema: {_AT}/workspace.schema.json\nname: w\nlocation: westeurope\n",
    "job.yml": f"$schema: {_AT}/commandJob.schema.json\ncommand: echo\ncompute: azureml:c\n",
    "compose.yml": "services: {triton: {image: nvcr.io/x, ports: ['8000:8000']}}\n",
}

SAMPLES: Mapping[str, Mapping[str, str]] = {
    "triton_blue_green": _TRITON,
    "triton_gpu": _GPU,
    "mlflow": _MLFLOW,
    "registered": _REGISTERED,
    "container": _CONTAINER,
    "batch": _BATCH_MLFLOW,
    "batch_pipeline": _PIPELINE,
    "kubernetes": _KUBERNETES,
    "template": _TEMPLATE,
    "others": _OTHERS,
}
"""Folders by name: files and their text. The Triton model itself is beside them."""

LOADED: Mapping[tuple[str, str], str] = {
    ("triton_blue_green", "endpoint.yml"): "load_online_endpoint",
    ("triton_blue_green", "blue.yml"): "load_online_deployment",
    ("triton_blue_green", "green.yml"): "load_online_deployment",
    ("triton_gpu", "endpoint.yaml"): "load_online_endpoint",
    ("triton_gpu", "deployment.yaml"): "load_online_deployment",
    ("mlflow", "endpoint.yml"): "load_online_endpoint",
    ("mlflow", "deployment.yml"): "load_online_deployment",
    ("registered", "blue.yml"): "load_online_deployment",
    ("container", "endpoint.yml"): "load_online_endpoint",
    ("container", "deployment.yml"): "load_online_deployment",
    ("batch", "endpoint.yml"): "load_batch_endpoint",
    ("batch", "flat.yml"): "load_batch_deployment",
    ("batch", "deployment.yml"): "load_model_batch_deployment",
    ("batch_pipeline", "deployment.yml"): "load_pipeline_component_batch_deployment",
    ("kubernetes", "endpoint.yml"): "load_online_endpoint",
    ("kubernetes", "blue.yml"): "load_online_deployment",
}
"""What azure-ai-ml loads each with: it takes all of them."""
