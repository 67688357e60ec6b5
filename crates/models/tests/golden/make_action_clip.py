"""
Golden tensors of ActionCLIP: its temporal heads, the shift, joint attention and the loss, in plain PyTorch
written from the description, not from the official code.  `python make_action_clip.py [FOLDER]`.

Needs torch, numpy and safetensors. Weights and inputs come from the formula of make_golden.py, by name.
A head's case holds its output and the gradient of sum(output * weight) for every parameter and for the input;
gradients of more than 4096 numbers are thinned to every 97th.
"""
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_num_threads(2)
FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))
M64 = (1 << 64) - 1
B, T, D, HEADS, LAYERS = 3, 4, 32, 8, 6


def fill(name, shape, mean=0.0, a=1.0):
    h = 0xCBF29CE484222325
    for b in name.encode():
        h = ((h ^ b) * 0x100000001B3) & M64
    z = np.uint64(h) + np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    u = ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    return torch.from_numpy((mean + (2 * u - 1) * a).astype(np.float32)).reshape(shape)


def kind(name, shape):
    if "norm" in name or "layrnorm" in name or ".ln_" in name:
        return (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)
    if "bias" in name:
        return 0.0, 0.1
    if any(part in name for part in ("embed", "cls_token")):
        return 0.0, 0.5
    return 0.0, math.sqrt(3.0 / int(np.prod(shape[1:])))


def thin(x):
    return x.flatten()[::97].contiguous() if x.numel() > 4096 else x.contiguous()


def attention(p, x, at):
    L = x.shape[1]
    q, k, v = F.linear(x, p[at + ".in_proj_weight"], p[at + ".in_proj_bias"]).view(-1, L, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
    a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(D // HEADS), -1) @ v
    return F.linear(a.transpose(1, 2).reshape(-1, L, D), p[at + ".out_proj.weight"], p[at + ".out_proj.bias"])


def attention_shapes(at):
    return {at + ".in_proj_weight": (3 * D, D), at + ".in_proj_bias": (3 * D,), at + ".out_proj.weight": (D, D), at + ".out_proj.bias": (D,)}


def norm(p, x, at, eps):
    return F.layer_norm(x, (D,), p[at + ".weight"], p[at + ".bias"], eps)


def mean(p, x):
    return x.mean(1)


def conv1d(p, x):
    w = p["shift.weight"][:, 0]
    padded = F.pad(x, (0, 0, 1, 1))
    y = sum(padded[:, tap:tap + T] * w[:, tap] for tap in range(3))
    return (y + x).mean(1)


def lstm(p, x):
    h = c = torch.zeros(x.shape[0], D)
    out = []
    for t in range(T):
        i, f, g, o = (F.linear(x[:, t], p["lstm_visual.weight_ih_l0"], p["lstm_visual.bias_ih_l0"])
                      + F.linear(h, p["lstm_visual.weight_hh_l0"], p["lstm_visual.bias_hh_l0"])).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        out.append(h)
    return (torch.stack(out, 1) + x).mean(1)


def transformer(p, x):
    y = x + p["frame_position_embeddings.weight"][:T]
    for i in range(LAYERS):
        at = f"transformer.resblocks.{i}"
        y = y + attention(p, norm(p, y, at + ".ln_1", 1e-12), at + ".attn")
        u = F.linear(norm(p, y, at + ".ln_2", 1e-12), p[at + ".mlp.c_fc.weight"], p[at + ".mlp.c_fc.bias"])
        y = y + F.linear(u * torch.sigmoid(1.702 * u), p[at + ".mlp.c_proj.weight"], p[at + ".mlp.c_proj.bias"])
    return (y + x).mean(1)


def transformer_cls(p, x):
    y = torch.cat([p["transformer.cls_token"].expand(x.shape[0], 1, D), x], 1) + p["transformer.pos_embed"]
    for i in range(LAYERS):
        at = f"transformer.transformer_enc.layers.{i}"
        y = norm(p, y + attention(p, y, at + ".self_attn"), at + ".norm1", 1e-5)
        u = torch.relu(F.linear(y, p[at + ".linear1.weight"], p[at + ".linear1.bias"]))
        y = norm(p, y + F.linear(u, p[at + ".linear2.weight"], p[at + ".linear2.bias"]), at + ".norm2", 1e-5)
    return norm(p, y, "transformer.transformer_enc.norm", 1e-5)[:, 0]


def block_shapes(i):
    at = f"transformer.resblocks.{i}"
    return {**attention_shapes(at + ".attn"), at + ".ln_1.weight": (D,), at + ".ln_1.bias": (D,), at + ".ln_2.weight": (D,), at + ".ln_2.bias": (D,),
            at + ".mlp.c_fc.weight": (4 * D, D), at + ".mlp.c_fc.bias": (4 * D,), at + ".mlp.c_proj.weight": (D, 4 * D), at + ".mlp.c_proj.bias": (D,)}


def layer_shapes(i):
    at = f"transformer.transformer_enc.layers.{i}"
    return {**attention_shapes(at + ".self_attn"), at + ".linear1.weight": (2048, D), at + ".linear1.bias": (2048,), at + ".linear2.weight": (D, 2048), at + ".linear2.bias": (D,),
            at + ".norm1.weight": (D,), at + ".norm1.bias": (D,), at + ".norm2.weight": (D,), at + ".norm2.bias": (D,)}


def joined(many):
    return {k: v for one in many for k, v in one.items()}


CASES = {
    "mean": (mean, {}),
    "conv1d": (conv1d, {"shift.weight": (D, 1, 3)}),
    "lstm": (lstm, {"lstm_visual.weight_ih_l0": (4 * D, D), "lstm_visual.weight_hh_l0": (4 * D, D), "lstm_visual.bias_ih_l0": (4 * D,), "lstm_visual.bias_hh_l0": (4 * D,)}),
    "transformer": (transformer, {"frame_position_embeddings.weight": (77, D), **joined(block_shapes(i) for i in range(LAYERS))}),
    "transformer_cls": (transformer_cls, {"transformer.cls_token": (1, 1, D), "transformer.pos_embed": (1, T + 1, D), "transformer.transformer_enc.norm.weight": (D,),
                                          "transformer.transformer_enc.norm.bias": (D,), **joined(layer_shapes(i) for i in range(LAYERS))}),
}
out = {}
for case, (run, shapes) in CASES.items():
    p = {n: fill(f"ac.{case}.{n}", s, *kind(n, s)).requires_grad_() for n, s in shapes.items()}
    x = fill("ac.frames", (B, T, D)).requires_grad_()
    y = run(p, x)
    (y * fill("ac.weight", (B, D))).sum().backward()
    out[f"{case}.out"] = y.detach().contiguous()
    out[f"{case}.grad.input"] = x.grad
    for n, v in p.items():
        g = v.grad if v.grad is not None else torch.zeros_like(v)
        out[f"{case}.grad.{n}"] = thin(g)

# ---------- the image tower of the tiny CLIP, with what acts inside it
VW, VL, VH, SIDE, PATCH = 64, 4, 4, 64, 16


def vision_kind(name, shape):
    if "norm" in name:
        return (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)
    if name.endswith("bias"):
        return 0.0, 0.1
    if "position_embedding" in name or "class_embedding" in name:
        return 0.0, 0.5
    return 0.0, math.sqrt(3.0 / int(np.prod(shape[1:])))


def w(name, *shape):
    return fill(name, shape, *vision_kind(name, shape))


def vision_norm(x, at):
    return F.layer_norm(x, (VW,), w(at + ".weight", VW), w(at + ".bias", VW), 1e-5)


def tower(px, before=None, merge=None):
    e = "vision_model.embeddings"
    x = F.conv2d(px, w(e + ".patch_embedding.weight", VW, 3, PATCH, PATCH), stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([w(e + ".class_embedding", VW).expand(x.shape[0], 1, VW), x], 1) + w(e + ".position_embedding.weight", 17, VW)
    x = merge(x) if merge else x
    x = vision_norm(x, "vision_model.pre_layrnorm")
    for i in range(VL):
        at = f"vision_model.encoder.layers.{i}"
        x = before(x) if before else x
        y, L = vision_norm(x, at + ".layer_norm1"), x.shape[1]
        q, k, v = (F.linear(y, w(f"{at}.self_attn.{c}_proj.weight", VW, VW), w(f"{at}.self_attn.{c}_proj.bias", VW)).view(-1, L, VH, VW // VH).transpose(1, 2) for c in "qkv")
        a = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(VW // VH), -1) @ v
        x = x + F.linear(a.transpose(1, 2).reshape(-1, L, VW), w(at + ".self_attn.out_proj.weight", VW, VW), w(at + ".self_attn.out_proj.bias", VW))
        u = F.linear(vision_norm(x, at + ".layer_norm2"), w(at + ".mlp.fc1.weight", 256, VW), w(at + ".mlp.fc1.bias", 256))
        x = x + F.linear(u * torch.sigmoid(1.702 * u), w(at + ".mlp.fc2.weight", VW, 256), w(at + ".mlp.fc2.bias", VW))
    return F.linear(vision_norm(x[:, 0], "vision_model.post_layernorm"), w("visual_projection.weight", D, VW))


def shift(x):
    """patch tokens: first eighth of the channels from the next frame, second from the one before, zeros at the borders"""
    y = x.view(-1, T, x.shape[1], VW).clone()
    n, s = VW // 8, x.view(-1, T, x.shape[1], VW)
    y[:, :, 1:, :2 * n] = 0
    y[:, :-1, 1:, :n] = s[:, 1:, 1:, :n]
    y[:, 1:, 1:, n:2 * n] = s[:, :-1, 1:, n:2 * n]
    return y.view(x.shape)


time = fill("ac.temporal_embedding", (T, VW), 0.0, 0.5).requires_grad_()


def merge(x):
    x = x.view(-1, T, 17, VW)
    return torch.cat([x[:, 0, :1], (x[:, :, 1:] + time[:, None]).flatten(1, 2)], 1)


px = fill("ac.pixels", (2 * T, 3, SIDE, SIDE), 0.0, 2.0)
out["shift.tokens"] = shift(fill("ac.tokens", (2 * T, 17, VW)))
out["shift.out"] = tower(px, before=shift)
joint = tower(px, merge=merge)
(joint * fill("ac.joint_weight", (2, D))).sum().backward()
out["joint.out"], out["joint.grad.temporal_embedding"] = joint.detach().contiguous(), time.grad

# ---------- the loss
classes = torch.tensor([2, 0, 2, 1, 0])
logits = fill("ac.logits", (5, 5), 0.0, 4.0).requires_grad_()
g = (classes[:, None] == classes[None]).float()


def one_way(logits, g):
    target = torch.softmax(10 * g, -1)
    return (target * (target.log() - torch.log_softmax(logits, -1))).sum(-1).mean()


loss = (one_way(logits, g) + one_way(logits.t(), g.t())) / 2
loss.backward()
out["loss.classes"], out["loss.value"], out["loss.grad.logits"] = classes, loss.detach().view(1), logits.grad
save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(FOLDER, "action_clip.safetensors"), metadata={"torch": torch.__version__})
print({k: tuple(v.shape) for k, v in out.items() if ".grad" not in k}, float(loss.detach()))
