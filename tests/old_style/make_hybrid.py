"""Make a graph that asks an endpoint from within, with the operator of onnxruntime-extensions."""

from onnx import TensorProto, helper, save

URI = "https://digits.westeurope.inference.ml.azure.com"

inputs = [
    helper.make_tensor_value_info("auth_token", TensorProto.STRING, [1]),
    helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 64]),
]
node = helper.make_node(
    "AzureTritonInvoker",
    ["auth_token", "X"],
    ["Y"],
    domain="com.microsoft.extensions",
    model_uri=URI,
    model_name="digits",
)
graph = helper.make_graph(
    [node], "hybrid", inputs, [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 10])]
)
opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft.extensions", 1)]
save(helper.make_model(graph, opset_imports=opsets), "hybrid.onnx")
