"""
"Seeing in Flowing" in plain PyTorch, with every switch of the Rust crates, written to be read.

Shapes: B videos, T frames, D joint width, W text width, K classes, H prompt vectors, s largest step,
L = sum over d = 1..s of (T - d) differences. Parameters are named as in the Rust crates.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


def difference_set(frames, s):
    """[B,T,D] -> [B,L,D], gap-major"""
    T = frames.shape[1]
    return torch.cat([frames[:, d:] - frames[:, : T - d] for d in range(1, s + 1)], 1)


def activation(name):
    return {
        "relu": torch.relu,
        "gelu": F.gelu,
        "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    }[name]


def heads(x, h):
    B, L, D = x.shape
    return x.view(B, L, h, D // h).transpose(1, 2)


def attend(q, k, v, h):
    B, Lq, D = q.shape
    weights = torch.softmax(heads(q, h) @ heads(k, h).transpose(-1, -2) / math.sqrt(D // h), -1)
    return (weights @ heads(v, h)).transpose(1, 2).reshape(B, Lq, D)


class Layer(nn.Module):
    def __init__(self, D, h, ff, act, pre_norm):
        super().__init__()
        self.h, self.act, self.pre_norm = h, activation(act), pre_norm
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * D, D))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * D))
        self.out_proj = nn.Linear(D, D)
        self.linear1, self.linear2 = nn.Linear(D, ff), nn.Linear(ff, D)
        self.norm1, self.norm2 = nn.LayerNorm(D, eps=1e-5), nn.LayerNorm(D, eps=1e-5)

    def attention(self, x):
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        return self.out_proj(attend(q, k, v, self.h))

    def ffn(self, x):
        return self.linear2(self.act(self.linear1(x)))

    def forward(self, x):
        if self.pre_norm:
            x = x + self.attention(self.norm1(x))
            return x + self.ffn(self.norm2(x))
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.ffn(x))


class Encoder(Layer):
    """The first layer is the module itself; further ones lie under `layers.N`, N = 1, 2, ..."""

    def __init__(self, D, h, ff, act, pre_norm, layers):
        super().__init__(D, h, ff, act, pre_norm)
        self.layers = nn.ModuleDict({str(i): Layer(D, h, ff, act, pre_norm) for i in range(1, layers)})

    def forward(self, x):
        x = super().forward(x)
        for layer in self.layers.values():
            x = layer(x)
        return x


class CrossAttention(nn.Module):
    def __init__(self, D, h):
        super().__init__()
        self.h = h
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * D, D))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * D))
        self.out_proj = nn.Linear(D, D)

    def forward(self, x, tokens):
        (wq, wk, wv), (bq, bk, bv) = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        mixed = attend(F.linear(x, wq, bq), F.linear(tokens, wk, bk), F.linear(tokens, wv, bv), self.h)
        return self.out_proj(mixed)


class TextTower:
    """A frozen CLIP text transformer from tensors in Hugging Face's names."""

    def __init__(self, sd, h):
        self.sd, self.h = sd, h
        self.layers = 1 + max(int(k.split(".")[3]) for k in sd if k.startswith("text_model.encoder.layers."))

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.sd[name + ".weight"], self.sd[name + ".bias"], 1e-5)

    def linear(self, x, name):
        return F.linear(x, self.sd[name + ".weight"], self.sd[name + ".bias"])

    def forward(self, embeddings, ends):
        """[N,S,W] embeddings without positions, [N] positions of EOS -> [N,D]"""
        N, S, W = embeddings.shape
        x = embeddings + self.sd["text_model.embeddings.position_embedding.weight"][:S]
        mask = torch.full((S, S), -math.inf, dtype=x.dtype).triu(1)
        for i in range(self.layers):
            p = f"text_model.encoder.layers.{i}."
            n = self.norm(x, p + "layer_norm1")
            q, k, v = (heads(self.linear(n, p + f"self_attn.{c}_proj"), self.h) for c in "qkv")
            weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(W // self.h) + mask, -1)
            mixed = (weights @ v).transpose(1, 2).reshape(N, S, W)
            x = x + self.linear(mixed, p + "self_attn.out_proj")
            u = self.linear(self.norm(x, p + "layer_norm2"), p + "mlp.fc1")
            x = x + self.linear(u * torch.sigmoid(1.702 * u), p + "mlp.fc2")
        x = self.norm(x[torch.arange(N), ends], "text_model.final_layer_norm")
        return F.linear(x, self.sd["text_projection.weight"])


class SIF(nn.Module):
    def __init__(
        self, D, W, H, T, h, ff, waist, s, scale,
        act="relu", pre_norm=False, layers=1, positions=False, outer_residual=False, zero_init=False,
        detach=False, mcb="proj", sma_kv="vector",
    ):
        super().__init__()
        self.s, self.scale, self.D = s, scale, D
        self.positions, self.outer_residual, self.detach = positions, outer_residual, detach
        self.mcb, self.sma_kv, self.zero_init = mcb, sma_kv, zero_init
        self.prompts = nn.Parameter(torch.zeros(H, W))
        self.tm = Encoder(D, h, ff, act, pre_norm, layers)
        self.ts = Encoder(D, h, ff, act, pre_norm, layers)
        if positions:
            self.ts.positions = nn.Parameter(torch.zeros(T, D))
            self.tm.start_positions = nn.Parameter(torch.zeros(T, D))
            self.tm.gap_positions = nn.Parameter(torch.zeros(s, D))
        if outer_residual:
            self.ws, self.wm = nn.Linear(D, D), nn.Linear(D, D)
        self.ad1, self.ad2 = nn.Linear(D, waist), nn.Linear(waist, W)
        if mcb == "proj":
            self.sma, self.saa = CrossAttention(D, h), CrossAttention(D, h)

    def silent_at_first(self, name):
        """Whether a parameter starts at zero."""
        return self.zero_init and name.startswith(("ws.", "wm.", "ad2.", "sma.out_proj.", "saa.out_proj."))

    def video(self, frames):
        T = frames.shape[1]
        differences = difference_set(frames, self.s)
        to_tm, to_ts = differences, frames
        if self.positions:
            pairs = [(t, d) for d in range(1, self.s + 1) for t in range(T - d)]
            place = torch.stack([self.tm.start_positions[t] + self.tm.gap_positions[d - 1] for t, d in pairs])
            to_tm, to_ts = differences + place, frames + self.ts.positions
        M, S = self.tm(to_tm), self.ts(to_ts)
        m = M.mean(1)
        if self.outer_residual:
            V = frames.mean(1) + self.ws(S).mean(1) + self.wm(M).mean(1)
        else:
            V = m + S.mean(1)
        residual = self.ad2(torch.relu(self.ad1(m.detach() if self.detach else m)))
        return dict(diff=differences, M=M, S=S, m=m, V=V, resid=residual)

    def text(self, residual, ids, tower):
        """Literally: every class of every video is a sequence of its own."""
        B, (K, S), H = residual.shape[0], ids.shape, self.prompts.shape[0]
        e = tower.sd["text_model.embeddings.token_embedding.weight"][ids].expand(B, K, S, -1)
        p = (self.prompts + residual[:, None])[:, None].expand(B, K, H, -1)
        e = torch.cat([e[:, :, :1], p, e[:, :, 1 + H :]], 2).reshape(B * K, S, -1)
        return tower.forward(e, ids.argmax(-1).repeat(B)).view(B, K, -1)

    def communicate(self, o):
        T, v = o["T"], o["V"][:, None]
        if self.mcb == "off":
            return T, o["V"]
        tokens = {"vector": v, "frames": o["S"], "frames_and_motion": torch.cat([o["S"], o["M"]], 1)}[self.sma_kv]
        if self.mcb == "proj":
            return T + self.sma(T, tokens), (v + self.saa(v, T)).squeeze(1)
        plain = lambda q, k: torch.softmax(q @ k.transpose(1, 2) / math.sqrt(self.D), -1) @ k
        return T + plain(T, tokens), (v + plain(v, T)).squeeze(1)

    def forward(self, frames, labels, ids, tower):
        o = self.video(frames)
        o["T"] = self.text(o["resid"], ids, tower)
        o["T2"], o["V2"] = self.communicate(o)
        cosines = (F.normalize(o["T2"], dim=-1) * F.normalize(o["V2"], dim=-1)[:, None]).sum(-1)
        o["logits"] = cosines * self.scale
        o["loss"] = F.cross_entropy(o["logits"], labels)
        return o
