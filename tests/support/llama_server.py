"""A real server of OpenAI's embeddings API: llama.cpp's, with a tiny model made here.

It comes as a package, in a virtual environment of its own, and downloads nothing else.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hybridmodel import EmbeddingsEndpoint
from hybridmodel.serving.environments import environment

WIDTH, LONGEST_TOKENS = 32, 64
NAME, KEY = "tiny", "a-key-of-llama"

_REQUIREMENTS = ("xllamacpp==2026.10.11549", "gguf>=0.17,<1")
_ADDRESS = re.compile(r"LISTENING (http://127\.0\.0\.1:\d+)")

_MODEL = """
import sys

import numpy as np
from gguf import GGUFWriter, LlamaFileType, PoolingType

path, width, longest = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
random = np.random.default_rng(0)
letters = "abcdefghijklmnopqrstuvwxyz0123456789"
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
words = [*special, *("\\u2581" + letter for letter in letters), *letters]
file = GGUFWriter(path, "bert")
file.add_context_length(longest)
file.add_embedding_length(width)
file.add_feed_forward_length(2 * width)
file.add_block_count(1)
file.add_head_count(2)
file.add_layer_norm_eps(1e-12)
file.add_causal_attention(False)
file.add_pooling_type(PoolingType.MEAN)
file.add_file_type(LlamaFileType.ALL_F32)
file.add_tokenizer_model("bert")
file.add_token_list(words)
file.add_token_types([3] * len(special) + [1] * (len(words) - len(special)))
file.add_token_type_count(2)
file.add_vocab_size(len(words))
for name, place in (("bos", 2), ("eos", 3), ("unk", 1), ("sep", 3), ("pad", 0)):
    getattr(file, f"add_{name}_token_id")(place)


def add(name, *shape):
    file.add_tensor(name, (random.normal(size=shape) / 2).astype(np.float32))


add("token_embd.weight", len(words), width)
add("token_types.weight", 2, width)
add("position_embd.weight", longest, width)
for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
    file.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    file.add_tensor(f"{name}.bias", np.zeros(width, np.float32))
for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
    add(f"blk.0.{name}.weight", width, width)
    add(f"blk.0.{name}.bias", width)
add("blk.0.ffn_up.weight", 2 * width, width)
add("blk.0.ffn_up.bias", 2 * width)
add("blk.0.ffn_down.weight", width, 2 * width)
add("blk.0.ffn_down.bias", width)
file.write_header_to_file()
file.write_kv_data_to_file()
file.write_tensors_to_file()
file.close()
"""

_SERVER = """
import sys

import xllamacpp

given = xllamacpp.CommonParams()
given.model.path = sys.argv[1]
given.model_alias = {sys.argv[2]}
given.api_keys = [sys.argv[3]]
given.hostnames = ["127.0.0.1"]
given.port = 0
given.embedding = True
given.n_ctx = 256
given.n_parallel = 4
given.warmup = False
given.cpuparams.n_threads = given.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(given)
print("LISTENING", server.listening_address, flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True, kw_only=True)
class LlamaServer:
    """Where it listens."""

    uri: str

    def endpoint(self, **options: Any) -> EmbeddingsEndpoint:
        """Return how it is reached; its key is in the variable ``LLAMA_KEY``."""
        given = {"uri": self.uri, "model": NAME, "auth_key_env": "LLAMA_KEY"}
        return EmbeddingsEndpoint(**{**given, **options})


def lacking() -> str | None:
    """Say why the server cannot run here, None where it can."""
    is_known = platform.system() == "Linux" and platform.machine() == "x86_64"
    if not is_known or sys.version_info >= (3, 15):
        return "no package of the server for this machine"
    return None


@contextmanager
def running(folder: Path) -> Iterator[LlamaServer]:
    """Run the server until the end of the block; it ends with its standard input."""
    python = environment("llama_cpp", _REQUIREMENTS) / "bin" / "python"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    model = folder / "tiny.gguf"
    subprocess.run(
        [python, "-c", _MODEL, model, str(WIDTH), str(LONGEST_TOKENS)], env=env, check=True
    )
    log = folder / "log.txt"
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            [python, "-c", _SERVER, model, NAME, KEY],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as popen,
    ):
        assert popen.stdin is not None
        assert popen.stdout is not None
        try:
            found = next(filter(None, map(_ADDRESS.match, popen.stdout)), None)
            assert found, f"no start:\n{log.read_text()}"
            yield LlamaServer(uri=f"{found[1]}/v1")
        finally:
            popen.stdin.close()
            try:
                popen.wait(10)
            except subprocess.TimeoutExpired:
                popen.kill()
