"""How many KV blocks an engine allocates on each device: what its share of the memory leaves beside everything else.

vLLM profiles itself at start (vllm/v1/worker/gpu_worker.py, `determine_available_memory`): from the share of the
device's memory that it may use (`gpu_memory_utilization`) it takes the weights, what CUDA and NCCL took since its
start, and the peak of a dummy step of `max_num_batched_tokens` tokens that ends in sampling `max_num_seqs` of them.
CUDA graphs count from version 0.21 on (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS`). What is left is cut into blocks.

The sampler takes the most: its sort of the vocabulary holds 38 B a logit. Five logs of vLLM on an H100
(llm-d-benchmark, config_explorer/empirical-vllm-memory-results.md: 1,024 requests, 8,192 tokens a step) give the
constants below:

    network         vocabulary  hidden  peak of the profile  beside the hidden states, a logit
    llama-3.1-8b       128,256   4,096             4.76 GiB  38.4 B
    qwen3-0.6b         151,936   1,024             5.56 GiB  38.3 B
    qwen3-32b          151,936   5,120             5.64 GiB  38.4 B
    llama-3.3-70b      128,256   8,192             4.84 GiB  38.5 B
    gpt-oss-20b        201,088   2,880             7.38 GiB  38.2 B
"""

from __future__ import annotations

import math

import numpy as np

from costmodel.memory import activation_bytes, memory_of
from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from foundation.formats import number_format
from simulator.serving.pricing import Engine
from workloads.graph import Workload
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.model import Request

GIB = 2.0**30
BYTES_A_LOGIT = 38.3
"""What the sampler of vLLM holds at its peak for one logit: it in 16 and in 32 bits, sorted values and indices, and
what sorting takes beside (estimated, 14 to 40: a Triton kernel, pull request 33538, masks without sorting)."""
NON_TORCH_BYTES = 0.13 * GIB
"""What CUDA takes outside of PyTorch from the engine's start on, for modules (same logs; estimated, 0.07 to 0.3)."""
GROUP_BYTES = 0.42 * GIB
"""What NCCL and the all-reduce of vLLM take beside where an engine spans devices (same logs, TP 2: 0.55 GiB in all)."""
SHORT, LONG = 16_384, 32_768
"""Contexts between which the bytes of a further token are told; longer than usual windows."""


def kv_bytes_per_token(engine: Engine) -> float:
    """Return the bytes that one cached token takes on the fullest device.

    Raises:
        BadValueError: the network caches nothing that grows with its context.
    """
    found = (_state_bytes(engine, LONG) - _state_bytes(engine, SHORT)) / (LONG - SHORT)
    if found <= 0:
        raise BadValueError(f"'{engine.model.name}' caches nothing that grows with its context: it needs no KV blocks.")
    return found


def kv_blocks(
    engine: Engine, *, utilization: float = 0.9, block_tokens: int = 16, most_tokens: int = 2048,
    most_requests: int = 256,
) -> int:  # fmt: skip
    """Return the KV blocks of `block_tokens` tokens that one replica of an engine allocates on each of its devices.

    State that does not grow with the context (of state-space layers) is set aside for every request.

    Args:
        utilization: share of the device's memory that the engine may use, above 0 and at most 1.
        most_tokens, most_requests: of one step.

    Raises:
        BadValueError: a value out of range, or nothing is left for a single block; what takes the memory is named.
    """
    share = finite_number("utilization", utilization, strict=True)
    if share > 1:
        raise BadValueError(
            f"utilization must be at most 1, not {utilization:g}: it is a share of the device's memory."
        )
    width, tokens, requests = (
        whole_number(name, value)
        for name, value in (("block_tokens", block_tokens), ("most_tokens", most_tokens),
                            ("most_requests", most_requests))
    )  # fmt: skip
    parts = not_kv_bytes(engine, tokens, requests)
    offered = share * engine.spec.dram.capacity_bytes.value
    blocks = math.floor((offered - sum(parts.values())) / (width * kv_bytes_per_token(engine)))
    if blocks < 1:
        taken = ", ".join(f"{name} {value / GIB:.2f} GiB" for name, value in parts.items())
        raise BadValueError(
            f"'{engine.model.name}' leaves no KV block on {engine.rates.device}: {share:.0%} of its memory are "
            f"{offered / GIB:.2f} GiB, and it needs {taken}. Raise utilization, spread it over more devices, or use "
            "a smaller format."
        )
    return blocks


def not_kv_bytes(engine: Engine, most_tokens: int, most_requests: int) -> dict[str, float]:
    """Return what an engine holds beside its KV blocks on the fullest device: weights, profile, state, other."""
    workload = _workload(engine, most_tokens)
    lowered = lower(workload.passes, engine.mapping)
    weights = float(memory_of(workload, lowered, engine.mapping, engine.rates).parts["weights"][0])
    forward = float(activation_bytes(workload, lowered)[0])
    vocabulary, states = head_sizes(workload)
    sampler = most_tokens * states + min(most_requests, most_tokens) * vocabulary * BYTES_A_LOGIT
    other = NON_TORCH_BYTES + (GROUP_BYTES if engine.mapping.devices > 1 else 0.0)
    recurrent = most_requests * recurrent_bytes(workload, engine.mapping)
    return {"weights": weights, "profile": max(forward, sampler), "state": recurrent, "other": other}


def _workload(engine: Engine, prompt: int) -> Workload:
    return engine.model.workload(
        Request(batch=1, prompt=prompt, generate=2, dtype=engine.dtype, kv_dtype=engine.kv_dtype)
    )


def _state_bytes(engine: Engine, prompt: int) -> float:
    workload = _workload(engine, prompt)
    report = memory_of(workload, lower(workload.passes, engine.mapping), engine.mapping, engine.rates)
    return float(report.parts["state"][0])


def recurrent_bytes(workload: Workload, mapping: Mapping) -> float:
    """Return the state of one request that does not grow with its context (of state-space layers)."""
    total = 0.0
    for block in workload.distinct_blocks():
        for o in block.operators:
            if o.op == "scan":
                bits = number_format(o.state_dtype or o.dtype).weight_bits
                share = min(float(mapping.tp), max(o.state_shards, 1.0))
                total += float(np.max(o.state_elements)) * bits / 8 / share * -(-block.count // mapping.pp)
    return total


def head_sizes(workload: Workload) -> tuple[float, float]:
    """Return (vocabulary, bytes of a hidden state) of the product that gives logits, the last of a pass."""
    for run in reversed(workload.passes):
        products = [o for block in run.graph.blocks for o in block.operators if o.op == "gemm"]
        if products:
            last = products[-1]
            bytes_each = number_format(last.dtype).output_bits / 8
            return float(np.max(last.shape["n"])), float(np.max(last.shape["k"])) * bytes_each
    return 0.0, 0.0
