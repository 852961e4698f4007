"""Attention without the biases that cost kernels: the same answers, also where a network has outliers and idle channels."""

from __future__ import annotations

import numpy as np
import pytest

from sacvit.export.graphs.projections import AttentionWeights, attention_weights
from sacvit.model.config import preset

CONFIG = preset("demo", width=48, heads=3, hidden=96)
TOKENS, WIDTH = 20, CONFIG.width


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    """One block's attention; a channel with no gain, one with little, and biases as large as what they are added to."""
    rng = np.random.default_rng(3)
    made = {
        "attn.qkv.weight": rng.normal(0, 0.2, (3 * WIDTH, WIDTH)),
        "attn.qkv.bias": rng.normal(0, 2, 3 * WIDTH),
        "attn.proj.weight": rng.normal(0, 0.2, (WIDTH, WIDTH)),
        "attn.proj.bias": rng.normal(0, 1, WIDTH),
        "norm1.weight": rng.uniform(0.2, 2, WIDTH),
        "norm1.bias": rng.normal(0, 0.5, WIDTH),
    }
    made["norm1.weight"][:2] = 0, 1e-4
    return {f"blocks.0.{name}": values.astype(np.float32) for name, values in made.items()}


@pytest.fixture
def tokens() -> np.ndarray:
    """A residual stream in which two channels are a hundred times the others."""
    x = np.random.default_rng(4).normal(0, 1, (TOKENS, WIDTH))
    x[:, 0] += 100
    x[:, 1] -= 100
    return x


def normed(x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    apart = x - x.mean(-1, keepdims=True)
    return apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-6) * scale + shift


def attend(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """q already scaled."""
    heads = [part.reshape(TOKENS, CONFIG.heads, -1).transpose(1, 0, 2) for part in (q, k, v)]
    scores = heads[0] @ heads[1].transpose(0, 2, 1)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return (shares / shares.sum(-1, keepdims=True) @ heads[2]).transpose(1, 0, 2).reshape(TOKENS, WIDTH)


def as_trained(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    own = {name.removeprefix("blocks.0."): values.astype(np.float64) for name, values in weights.items()}
    y = normed(x, own["norm1.weight"], own["norm1.bias"])
    q, k, v = np.split(y @ own["attn.qkv.weight"].T + own["attn.qkv.bias"], 3, axis=-1)
    return attend(q * CONFIG.head_width**-0.5, k, v) @ own["attn.proj.weight"].T + own["attn.proj.bias"]


def products(found: AttentionWeights, y: np.ndarray) -> list[np.ndarray]:
    q, k, v = np.split(y @ found.qkv.astype(np.float64).T, 3, axis=-1)
    return [q if found.query_bias is None else q + found.query_bias, k, v]


@pytest.mark.parametrize("form", ["cpu", "gpu"])
def test_attention_is_what_the_checkpoint_computes(weights, tokens, form):
    found = attention_weights(weights, "blocks.0", CONFIG, form)
    y = normed(tokens, found.norm_scale, found.norm_shift)
    mixed = attend(*products(found, y)) @ weights["blocks.0.attn.proj.weight"].astype(np.float64).T + found.proj_bias
    np.testing.assert_allclose(mixed, as_trained(weights, tokens), atol=2e-5)


def test_the_gpu_form_adds_nothing_to_queries(weights):
    assert attention_weights(weights, "blocks.0", CONFIG, "gpu").query_bias is None


def test_the_norm_of_the_gpu_form_is_rounded_where_no_weight_reads_it(weights):
    found = attention_weights(weights, "blocks.0", CONFIG, "gpu")
    lifted = np.flatnonzero(found.norm_shift)
    assert len(lifted) == 1
    assert not found.qkv[WIDTH:, lifted].any()  # of keys and values; a query's holds the bias alone


def test_in_fp16_the_bias_of_a_query_is_as_right_as_one_that_is_added(weights, tokens):
    found = attention_weights(weights, "blocks.0", CONFIG, "gpu")
    y = normed(tokens, found.norm_scale, found.norm_shift)
    exact = products(found, y)[0]
    rounded = y.astype(np.float16).astype(np.float64) @ found.qkv[:WIDTH].astype(np.float16).astype(np.float64).T
    added = exact.astype(np.float16).astype(np.float64)
    assert np.abs(rounded - exact).mean() < 3 * np.abs(added - exact).mean()
