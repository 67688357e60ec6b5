"""The model in plain PyTorch, to read and to extend.

>>> model = SeeingInFlowing.load("model")  # a folder of `sif export RUN model`
>>> frames = features(["clip.mp4"], checkpoint="model", tokens=model.tokens)
>>> scores = model(torch.from_numpy(frames))  # (B, T, F) to logits (B, K)

Parameters are named as in the runs, so `load_state_dict` takes the tensors of `load_run`. The text tower
is frozen and not among them. Shapes: B videos, T frames, L differences, D the joint width, W that of the text
tower, H prompt vectors, K classes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

Config = Mapping[str, Any]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
}


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """Scaled dot-product attention of (B, L, D) in heads."""
    q, k, v = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head attention from queries to tokens. A layer is one, by the names of its parameters."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def attend(self, queries: Tensor, tokens: Tensor) -> Tensor:
        (wq, wk, wv), (bq, bk, bv) = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = F.linear(queries, wq, bq), F.linear(tokens, wk, bk), F.linear(tokens, wv, bv)
        projected: Tensor = self.out_proj(attend(q, k, v, self.heads))
        return projected


class Layer(Attention):
    """A transformer layer with its norms before (`pre`) or after each part."""

    def __init__(self, width: int, config: Config) -> None:
        super().__init__(width, config["heads"])
        self.linear1 = nn.Linear(width, config["ffn_dim"])
        self.linear2 = nn.Linear(config["ffn_dim"], width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.activation, self.pre = ACTIVATIONS[config["activation"]], config["norm"] == "pre"

    def encode(self, x: Tensor) -> Tensor:
        if self.pre:
            normed = self.norm1(x)
            x = x + self.attend(normed, normed)
            return x + self._feed_forward(self.norm2(x))
        x = self.norm1(x + self.attend(x, x))
        after: Tensor = self.norm2(x + self._feed_forward(x))
        return after

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear2(self.activation(self.linear1(x)))
        return out


class Stream(Layer):
    """Layers over tokens; the first one's parameters have no prefix."""

    def __init__(self, width: int, config: Config, positions: Mapping[str, int]) -> None:
        super().__init__(width, config)
        if config["positions"]:
            for name, count in positions.items():
                self.register_parameter(name, nn.Parameter(0.02 * torch.randn(count, width)))
        more = {str(at): Layer(width, config) for at in range(1, config["layers"])}
        self.layers = nn.ModuleDict(more)

    def forward(self, x: Tensor) -> Tensor:
        x = self.encode(x)
        for layer in self.layers.values():
            assert isinstance(layer, Layer)
            x = layer.encode(x)
        return x


class TextTower(nn.Module):
    """CLIP's frozen text transformer, of the tensors of Hugging Face's layout."""

    def __init__(self, tensors: Mapping[str, Tensor], config: Config) -> None:
        super().__init__()
        self.heads, self.context = config["num_attention_heads"], config["max_position_embeddings"]
        self.blocks, self.eps = config["num_hidden_layers"], config.get("layer_norm_eps", 1e-5)
        self.activation = ACTIVATIONS[config.get("hidden_act", "quick_gelu")]
        for name, tensor in tensors.items():
            if name.startswith("text_"):
                own = name.removeprefix("text_model.").replace(".", "/")
                self.register_buffer(own, tensor.float(), persistent=False)

    def embed(self, ids: Tensor) -> Tensor:
        return self.get_buffer("embeddings/token_embedding/weight")[ids]

    def forward(self, x: Tensor, ends: Tensor) -> Tensor:
        """Token embeddings (N, S, W) and the place of each end of text (N) to (N, D)."""
        x = x + self.get_buffer("embeddings/position_embedding/weight")[: x.shape[1]]
        for at in range(self.blocks):
            block = f"encoder/layers/{at}/"
            y = self._norm(x, block + "layer_norm1")
            q, k, v = (self._linear(y, f"{block}self_attn/{part}_proj") for part in "qkv")
            y = attend(q, k, v, self.heads, causal=True)
            x = x + self._linear(y, block + "self_attn/out_proj")
            y = self._linear(self._norm(x, block + "layer_norm2"), block + "mlp/fc1")
            x = x + self._linear(self.activation(y), block + "mlp/fc2")
        x = x[torch.arange(len(x), device=x.device), ends]
        projection = self.get_buffer("text_projection/weight")
        return self._norm(x, "final_layer_norm") @ projection.T

    def _linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.get_buffer(name + "/weight"), self.get_buffer(name + "/bias"))

    def _norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.get_buffer(name + "/weight"), self.get_buffer(name + "/bias")
        return F.layer_norm(x, weight.shape, weight, bias, self.eps)


class SeeingInFlowing(nn.Module):
    """Motion modelling, motion-aware prompts, communication, with each of their ablations."""

    prompts: Tensor
    logit_scale: Tensor

    def __init__(
        self, config: Config, text: TextTower, tokenizer: Tokenizer, logit_scale: Tensor
    ) -> None:
        """`config` is `load_run(...).config["model"]`, `logit_scale` the CLIP's."""
        super().__init__()
        if config["system"] != "seeing_in_flowing":
            raise ValueError(f"this module is Seeing in Flowing; the run is {config['system']}")
        self.config, self.text, self.tokenizer = config, text, tokenizer
        self.labels: list[str] = []
        self.names: list[str] = []
        self.calibration: float = 1.0
        motion, prompts = config["motion"], config["prompts"]
        width, text_width = text.get_buffer("text_projection/weight").shape
        frames, step = config["frames"], motion["max_step"]
        self.tokens: str = config.get("tokens", "class")
        further = {"class": 0, "regions": 4, "layers": 3}.get(self.tokens, 1)
        self.has_motion: bool = motion["motion_stream"]
        self.ts = Stream(width, motion, {"positions": frames})
        if motion["outer_residual"]:
            self.ws = nn.Linear(width, width)
        if self.has_motion:
            self.tm = Stream(width, motion, {"start_positions": frames, "gap_positions": step})
            if motion["outer_residual"]:
                self.wm = nn.Linear(width, width)
            if further:
                self.wp = nn.Linear(further * width, width)
            if motion.get("time_statistics"):
                self.wt = nn.Linear(3 * width, width)
        if prompts["motion_aware"]:
            bottleneck = prompts["adapter"]["bottleneck"] or max(width // 16, 1)
            words = prompts["init_words"] or "a common human action of"
            vectors = text.embed(torch.tensor(self._ids(words)))
            self.prompts = nn.Parameter(vectors.clone())
            self.ad1 = nn.Linear(width, bottleneck)
            self.ad2 = nn.Linear(bottleneck, text_width)
        if config["communication"]["attention"] == "projected":
            heads = config["communication"]["heads"]
            self.sma, self.saa = Attention(width, heads), Attention(width, heads)
        temperature = config["temperature"]
        if temperature["kind"] == "fixed":
            logit_scale = torch.tensor(-math.log(temperature["tau"]))
        if temperature.get("learned"):
            self.logit_scale = nn.Parameter(logit_scale.float().clone())
        else:
            self.register_buffer("logit_scale", logit_scale.float(), persistent=False)

    @classmethod
    def load(cls, folder: str | Path) -> SeeingInFlowing:
        """The model in a folder of `sif export`."""
        folder = Path(folder)
        card = json.loads((folder / "seeing_in_flowing.json").read_text("utf-8"))
        config = json.loads((folder / "config.json").read_text("utf-8"))
        weights = load_file(folder / "model.safetensors")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        text = TextTower(weights, config["text_config"])
        model = cls(card["model"], text, tokenizer, weights["logit_scale"])
        model.load_state_dict(load_file(folder / "trained.safetensors"))
        model.labels = card["labels"]
        model.names = card.get("names") or model.labels
        model.calibration = (card.get("calibration") or {"temperature": 1.0})["temperature"]
        return model.eval()

    def forward(self, frames: Tensor, labels: Sequence[str] | None = None) -> Tensor:
        """Logits (B, K) of frame features (B, T, F) for `labels`, by default those of the run."""
        labels = self.labels if labels is None else labels
        video, spatial, motion = self.video(frames)
        text = self.class_features(labels, motion, len(frames))  # (B, K, D)
        video, text = self.communicate(video, text, spatial, motion)
        cosines = (F.normalize(text, dim=-1) * F.normalize(video, dim=-1).unsqueeze(1)).sum(-1)
        return cosines * self.logit_scale.exp()

    def probabilities(self, frames: Tensor) -> Tensor:
        """Those that `sif predict` prints for the run's own labels: (B, K)."""
        return torch.softmax(self(frames).double() / self.calibration, -1)

    def video(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """V (B, D), Eq. 6; the spatial states (B, T, D), and those of motion (B, L, D), Eq. 5."""
        width, config = self.text.get_buffer("text_projection/weight").shape[0], self.config["motion"]
        frames, further = frames[..., :width], frames[..., width:]
        positions = self.ts.get_parameter("positions") if config["positions"] else 0.0
        spatial: Tensor = self.ts(frames + positions)
        residual = config["outer_residual"]
        video = self.ws(spatial.mean(1)) if residual else spatial.mean(1)
        if residual:
            video = frames.mean(1) + video
        if not self.has_motion:
            return video, spatial, None
        count, steps = frames.shape[1], range(1, config["max_step"] + 1)
        differences = torch.cat([frames[:, d:] - frames[:, : count - d] for d in steps], 1)  # Eq. 4
        if config["positions"]:
            pairs = [(start, d - 1) for d in steps for start in range(count - d)]
            starts, gaps = torch.tensor(pairs, device=frames.device).unbind(1)
            differences = differences + self.tm.get_parameter("start_positions")[starts]
            differences = differences + self.tm.get_parameter("gap_positions")[gaps]
        motion: Tensor = self.tm(differences)
        video = video + (self.wm(motion.mean(1)) if residual else motion.mean(1))
        if hasattr(self, "wp"):
            video = video + self.wp(further.mean(1))
        if hasattr(self, "wt"):
            video = video + self.wt(time_statistics(frames).flatten(1))
        return video, spatial, motion

    def class_features(self, labels: Sequence[str], motion: Tensor | None, videos: int) -> Tensor:
        """T (B, K, D): of `SOS P_1..P_H CLASS . EOS` with the video's vectors, or of a sentence."""
        [start], [end] = self._ids("<|startoftext|>"), self._ids("<|endoftext|>")
        config = self.config["prompts"]
        if motion is None or not config["motion_aware"]:
            texts = [self._ids(config["template"].replace("{}", label)) for label in labels]
            rows = [[start, *ids[: self.text.context - 2], end] for ids in texts]
            ids, ends = self._padded(rows)
            sentences: Tensor = self.text(self.text.embed(ids), ends)
            return sentences.expand(videos, -1, -1)
        shift = self.ad2(torch.relu(self.ad1(motion.mean(1))))  # (B, W), Eq. 7
        vectors = self.prompts + shift.unsqueeze(1)  # (B, H, W)
        count = vectors.shape[1]
        room, [dot] = self.text.context - 3 - count, self._ids(".")
        ids, ends = self._padded([[start, *self._ids(x)[:room], dot, end] for x in labels])
        words = self.text.embed(ids).expand(videos, -1, -1, -1)  # (B, K, S, W)
        vectors = vectors.unsqueeze(1).expand(-1, len(labels), -1, -1)
        prompts = torch.cat([words[:, :, :1], vectors, words[:, :, 1:]], 2)
        encoded: Tensor = self.text(prompts.flatten(0, 1), (ends + count).repeat(videos))
        return encoded.view(videos, len(labels), -1)

    def communicate(
        self, video: Tensor, text: Tensor, spatial: Tensor, motion: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """V' (B, D) and T' (B, K, D): the text attends to tokens of the video, V to the text."""
        config, vector = self.config["communication"], video.unsqueeze(1)
        if config["attention"] == "off":
            return video, text
        keys = vector if config["sma_kv"] == "vector" else spatial
        if config["sma_kv"] == "frames_and_motion" and motion is not None:
            keys = torch.cat([spatial, motion], 1)
        if config["attention"] == "projected":
            heard, seen = self.sma.attend(text, keys), self.saa.attend(vector, text)
            return video + seen.squeeze(1), text + heard
        return video + attend(vector, text, text, 1).squeeze(1), text + attend(text, keys, keys, 1)

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _padded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        """Rows of ids side by side, and the place of the last of each; the tower is causal."""
        longest = max(map(len, rows))
        padded = [row + [0] * (longest - len(row)) for row in rows]
        device = self.text.get_buffer("text_projection/weight").device
        ends = torch.tensor([len(row) - 1 for row in rows], device=device)
        return torch.tensor(padded, device=device), ends


def time_statistics(frames: Tensor) -> Tensor:
    """Two cosine coefficients over time and the deviation of (B, T, D): (B, 3, D)."""
    count = frames.shape[1]
    times = (torch.arange(count, device=frames.device) + 0.5) * math.pi / count
    cosines = torch.stack([times.cos(), (2 * times).cos()])
    return torch.cat([cosines @ frames, frames.std(1, unbiased=False, keepdim=True)], 1)
