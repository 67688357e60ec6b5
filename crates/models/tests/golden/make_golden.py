"""
Golden tensors of every switch that `tests/golden` at the root does not know: `python make_golden.py [FOLDER]`.

Needs torch, numpy and safetensors. Every weight and input comes from a formula that Rust repeats:
seed = FNV-1a-64 of the name; z = splitmix64 of seed + (i + 1) * 0x9E3779B97F4A7C15; u = (z >> 40) / 2^24;
value = mean + (2 u - 1) * amplitude. Each case is computed in fp64 too, and refused if fp32 is not close.

A case holds outputs and gradients at the start of SGD step `at` (0, or 2 where parameters start at zero, so
that no gradient is trivially zero), and the parameters after 3 steps (learning rate 0.01, momentum 0.9).
"""
import json
import math
import os
import sys

import numpy as np
import torch
from safetensors.torch import save_file

import reference_sif as R

torch.set_num_threads(2)
FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
M64 = (1 << 64) - 1


def fnv(s):
    h = 0xCBF29CE484222325
    for b in s.encode():
        h = ((h ^ b) * 0x100000001B3) & M64
    return h


def fill(name, shape, mean, a):
    n = int(np.prod(shape)) if shape else 1
    z = np.uint64(fnv(name)) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    u = ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    return torch.from_numpy((mean + (2 * u - 1) * a).astype(np.float32)).reshape(shape)


def kind(name, shape):
    if "norm" in name:
        return (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)
    if name.endswith("bias"):
        return 0.0, 0.1
    if "position_embedding" in name or "token_embedding" in name or name == "sif.prompts":
        return 0.0, 0.5
    return 0.0, math.sqrt(3.0 / int(np.prod(shape[1:])))


def parameter(name, shape):
    return fill(name, shape, *kind(name, shape))


# The tiny CLIP's text tower.
D, W, LAYERS, HEADS, MLP, VOCABULARY, CONTEXT = 32, 64, 3, 4, 256, 512, 77
shapes = {
    "text_model.embeddings.token_embedding.weight": (VOCABULARY, W),
    "text_model.embeddings.position_embedding.weight": (CONTEXT, W),
    "text_model.final_layer_norm.weight": (W,),
    "text_model.final_layer_norm.bias": (W,),
    "text_projection.weight": (D, W),
}
for i in range(LAYERS):
    p = f"text_model.encoder.layers.{i}."
    for n in ("layer_norm1", "layer_norm2"):
        shapes |= {p + n + ".weight": (W,), p + n + ".bias": (W,)}
    for n in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= {p + f"self_attn.{n}.weight": (W, W), p + f"self_attn.{n}.bias": (W,)}
    shapes |= {p + "mlp.fc1.weight": (MLP, W), p + "mlp.fc1.bias": (MLP,)}
    shapes |= {p + "mlp.fc2.weight": (W, MLP), p + "mlp.fc2.bias": (W,)}
sd = {name: parameter(name, shape) for name, shape in shapes.items()}

# The task: labels of 1 to 5 tokens.
B, T, H, s = 3, 8, 3, 4
SOS, EOS, DOT = 510, 511, 269
CLASSES = [[301], [302, 303], [304, 305, 306], [307], [308, 309, 310, 311], [312, 313], [314, 315, 316, 317, 318]]
ids = torch.zeros(len(CLASSES), CONTEXT, dtype=torch.long)
for k, tokens in enumerate(CLASSES):
    row = [SOS] + [343] * H + tokens + [DOT, EOS]
    ids[k, : len(row)] = torch.tensor(row)
frames = fill("golden.frames", (B, T, D), 0.0, 1.0)
labels = torch.tensor([2, 0, 5])

CLIP_SCALE = math.exp(2.6592)
BEST = dict(
    act="quick_gelu", pre_norm=True, positions=True, outer_residual=True,
    sma_kv="frames_and_motion", scale=CLIP_SCALE,
)
CASES = {
    "best": dict(**BEST, zero_init=True, at=2),
    "best_awake": BEST,
    "frames_detached": dict(act="relu", pre_norm=True, positions=True, detach=True, sma_kv="frames", scale=1 / 0.07),
    "two_layers": dict(act="gelu", layers=2, outer_residual=True, mcb="none", sma_kv="frames_and_motion", scale=1 / 0.07),
}


def run(case, dtype):
    case = dict(case)
    at = case.pop("at", 0)
    net = R.SIF(D=D, W=W, H=H, T=T, h=HEADS, ff=64, waist=4, s=s, **case)
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(torch.zeros(p.shape) if net.silent_at_first(name) else parameter("sif." + name, tuple(p.shape)))
    net = net.to(dtype)
    tower = R.TextTower({name: x.to(dtype) for name, x in sd.items()}, HEADS)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    kept = {}
    for step in range(3):
        optimizer.zero_grad()
        o = net(frames.to(dtype), labels, ids, tower)
        o["loss"].backward()
        if step == at:
            kept |= {f"out.{k}": v.detach().clone().reshape(v.shape or (1,)) for k, v in o.items()}
            kept |= {f"grad.{n}": p.grad.clone() for n, p in net.named_parameters()}
        optimizer.step()
    return kept | {f"after3.{n}": p.detach().clone() for n, p in net.named_parameters()}


gaps = {}
for name, case in CASES.items():
    single, double = run(case, torch.float32), run(case, torch.float64)
    gap = {key: float((single[key].double() - double[key]).abs().max()) for key in single}
    worst = max(gap, key=gap.get)
    assert gap[worst] < 1e-5, (name, worst, gap[worst])
    for key, x in single.items():
        if key.startswith("grad.") and not key.startswith("grad.sma.in_proj"):
            assert float(x.abs().max()) > 1e-6, (name, key)
    save_file({k: v.contiguous() for k, v in single.items()}, os.path.join(FOLDER, f"{name}.safetensors"))
    gaps[name] = dict(loss=float(single["out.loss"]), largest_gap_to_fp64={worst: gap[worst]})
print(json.dumps(dict(torch=torch.__version__, cases=gaps), indent=1))
