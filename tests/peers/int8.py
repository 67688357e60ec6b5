"""An image tower with int8 weights, multiplied dynamically by libtorch's own operators.

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python int8.py [CHECKPOINT.safetensors]

Prints seconds of a batch of 8 frames in fp32 and int8, in turns, for ViT-B/16 with random weights, and
the cosines of both features: of random weights, and of those of an open_clip checkpoint if one is given.
"""

import statistics
import sys
import time

import torch
from torch import nn

TURNS = 7
BATCH = 8


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        n, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(n, length, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


class Tower(nn.Module):
    def __init__(self, width, heads, layers, joint):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 16, 16)
        self.start = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(197, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Parameter(torch.randn(width, joint) * width**-0.5)

    def forward(self, frames):
        x = self.patches(frames).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(x.shape[0], 1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.norm(x[:, 0]) @ self.projection


def of_checkpoint(path):
    from safetensors.torch import load_file

    weights = {k[len("visual."):]: v.float() for k, v in load_file(path).items() if k.startswith("visual.")}
    width, joint = weights["proj"].shape
    layers = 1 + max(int(k.split(".")[2]) for k in weights if k.startswith("transformer.resblocks."))
    tower = Tower(width, width // 64, layers, joint)
    with torch.no_grad():
        tower.patches.weight.copy_(weights["conv1.weight"])
        tower.patches.bias.copy_(weights.get("conv1.bias", torch.zeros(width)))
        tower.start.copy_(weights["class_embedding"])
        tower.positions.copy_(weights["positional_embedding"])
        tower.projection.copy_(weights["proj"])
        load_norm(tower.norm, weights, "ln_post")
        for index, block in enumerate(tower.blocks):
            name = f"transformer.resblocks.{index}"
            load_norm(block.norm1, weights, f"{name}.ln_1")
            load_norm(block.norm2, weights, f"{name}.ln_2")
            block.qkv.weight.copy_(weights[f"{name}.attn.in_proj_weight"])
            block.qkv.bias.copy_(weights[f"{name}.attn.in_proj_bias"])
            for part, key in [(block.out, "attn.out_proj"), (block.fc1, "mlp.c_fc"), (block.fc2, "mlp.c_proj")]:
                part.weight.copy_(weights[f"{name}.{key}.weight"])
                part.bias.copy_(weights[f"{name}.{key}.bias"])
    return tower


def load_norm(norm, weights, name):
    norm.eps = 1e-6
    norm.weight.copy_(weights[f"{name}.weight"])
    norm.bias.copy_(weights[f"{name}.bias"])


def quantised(tower):
    # A scale for each row of a weight and for each tensor of activations.
    by_row = torch.ao.quantization.per_channel_dynamic_qconfig
    return torch.ao.quantization.quantize_dynamic(tower, {nn.Linear: by_row})


def seconds(tower, frames):
    start = time.perf_counter()
    tower(frames)
    return time.perf_counter() - start


def least_cosine(tower):
    # Coarse structure with fine noise, normalised as photographs are.
    coarse = nn.functional.interpolate(torch.randn(16, 3, 14, 14), 224, mode="bilinear")
    frames = coarse + 0.2 * torch.randn(16, 3, 224, 224)
    return nn.functional.cosine_similarity(tower(frames), quantised(tower)(frames)).min().item()


@torch.no_grad()
def main():
    torch.manual_seed(0)
    tower = Tower(768, 12, 12, 512).eval()
    small = quantised(tower)
    frames = torch.randn(BATCH, 3, 224, 224)
    times = {"fp32": [], "int8": []}
    for turn in range(TURNS + 1):
        for name, one in (("fp32", tower), ("int8", small)):
            taken = seconds(one, frames)
            if turn:
                times[name].append(taken)
    ratios = [a / b for a, b in zip(times["fp32"], times["int8"])]
    medians = {name: round(statistics.median(taken), 3) for name, taken in times.items()}
    print(torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.backends.quantized.engine)
    print(medians, "int8 is", round(statistics.median(ratios), 2), "x as fast")
    print("least cosine, random weights:", round(least_cosine(tower), 4))
    for path in sys.argv[1:]:
        print("least cosine, checkpoint:", round(least_cosine(of_checkpoint(path).eval()), 4))


main()
