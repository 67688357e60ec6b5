"""The works of `gpu-check speed` in plain PyTorch: CLIP's towers, the blocks and the steps from
torch.nn's own modules. A line on stdin names a work, its sizes and the seconds of a round; the answer
is the seconds of one unit and the share outside kernels, or `-`.

    python peer.py (cpu|cuda:N)
"""

import sys
import time
import traceback

import torch
from torch import nn
from torch.nn import functional as F

DEVICE = torch.device(sys.argv[1])
FULL = DEVICE.type == "cuda"
JOINT = 512 if FULL else 64
IMAGE = (224, 16, 768, 12, 12) if FULL else (64, 16, 128, 4, 4)  # side, patch, width, layers, heads
TEXT = (512, 12, 8, 49408) if FULL else (64, 4, 4, 512)  # width, layers, heads, vocabulary
FRAMES, VECTORS, CONTEXT = 8, 5, 77


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x, causal):
        n, length, width = x.shape
        q, k, v = (
            self.qkv(self.norm1(x))
            .view(n, length, 3, self.heads, width // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, length, width))
        hidden = self.fc1(self.norm2(x))
        return x + self.fc2(hidden * torch.sigmoid(1.702 * hidden))


class ImageTower(nn.Module):
    def __init__(self):
        super().__init__()
        side, patch, width, layers, heads = IMAGE
        self.patches = nn.Conv2d(3, width, patch, patch, bias=False)
        self.token = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn((side // patch) ** 2 + 1, width) * 0.02)
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.project = nn.Linear(width, JOINT, bias=False)

    def forward(self, pixels):
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), 1, -1), x], 1) + self.positions
        x = self.before(x)
        for block in self.blocks:
            x = block(x, False)
        return self.project(self.after(x[:, 0]))


class TextTower(nn.Module):
    def __init__(self):
        super().__init__()
        width, layers, heads, vocabulary = TEXT
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(CONTEXT, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.after = nn.LayerNorm(width)
        self.project = nn.Linear(width, JOINT, bias=False)

    def forward(self, x):
        x = x + self.positions
        for block in self.blocks:
            x = block(x, True)
        return self.project(self.after(x[:, 12]))


def frozen(module, kind):
    return module.to(DEVICE, kind).requires_grad_(False)


def with_prompts(tower, prompts, classes):
    """[B, H, W] to features [B, K, D]: every class at the full context."""
    batch, width = len(prompts), TEXT[0]
    kind = tower.positions.dtype
    words = tower.tokens(torch.arange(classes * CONTEXT, device=DEVICE) % 300)
    words = words.view(1, classes, CONTEXT, width).expand(batch, -1, -1, -1)
    prompts = prompts.to(kind)[:, None].expand(-1, classes, -1, -1)
    x = torch.cat([words[:, :, :1], prompts, words[:, :, 1 + VECTORS :]], 2)
    return tower(x.flatten(0, 1)).view(batch, classes, JOINT).float()


def product(kind, side):
    a, b = (torch.randn(side, side, device=DEVICE, dtype=kind) for _ in range(2))
    return lambda: a @ b


def image(kind, batch):
    tower = frozen(ImageTower(), kind)
    pixels = torch.randn(batch, 3, IMAGE[0], IMAGE[0], device=DEVICE, dtype=kind)

    @torch.no_grad()
    def work():
        tower(pixels)

    return work


def text(kind, classes, batch):
    tower = frozen(TextTower(), kind)

    def work():
        prompts = torch.randn(batch, VECTORS, TEXT[0], device=DEVICE, requires_grad=True)
        with_prompts(tower, prompts, classes).square().mean().backward()

    return work


class FewShot(nn.Module):
    """Two encoder layers, an adapter, learned prompts, two attentions."""

    def __init__(self):
        super().__init__()
        layer = lambda: nn.TransformerEncoderLayer(
            JOINT, 8, 2048, dropout=0.0, norm_first=True, batch_first=True
        )
        self.spatial, self.motion = layer(), layer()
        self.adapter = nn.Linear(JOINT, TEXT[0])
        self.prompts = nn.Parameter(torch.randn(VECTORS, TEXT[0]) * 0.02)
        self.sma = nn.MultiheadAttention(JOINT, 8, batch_first=True)
        self.saa = nn.MultiheadAttention(JOINT, 8, batch_first=True)

    def forward(self, frames, tower, classes):
        gaps = [frames[:, s:] - frames[:, :-s] for s in range(1, 5)]
        seen, cues = self.spatial(frames), self.motion(torch.cat(gaps, 1))
        video = frames.mean(1) + seen.mean(1) + cues.mean(1)
        prompts = self.prompts + self.adapter(cues.mean(1))[:, None]
        texts = with_prompts(tower, prompts, classes)
        tokens = torch.cat([seen, cues], 1)
        texts = texts + self.sma(texts, tokens, tokens, need_weights=False)[0]
        query = video[:, None]
        video = query + self.saa(query, texts, texts, need_weights=False)[0]
        return 100 * (F.normalize(texts, dim=-1) * F.normalize(video, dim=-1)).sum(-1)


def few_shot(kind, classes, batch):
    tower, model = frozen(TextTower(), kind), FewShot().to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    frames = torch.randn(batch, FRAMES, JOINT, device=DEVICE)
    truth = torch.arange(batch, device=DEVICE) % classes

    def work():
        optimizer.zero_grad()
        F.cross_entropy(model(frames, tower, classes), truth).backward()
        optimizer.step()

    return work


def action_clip(kind, _classes, batch):
    """All of CLIP and six temporal blocks; fp32 parameters beside lower ones, as a user would."""
    image_tower, text_tower = ImageTower().to(DEVICE), TextTower().to(DEVICE)
    head = nn.ModuleList(Block(JOINT, 8) for _ in range(6)).to(DEVICE)
    parameters = [p for m in (image_tower, text_tower, head) for p in m.parameters()]
    optimizer = torch.optim.AdamW(parameters, 5e-6)
    pixels = torch.randn(batch * FRAMES, 3, IMAGE[0], IMAGE[0], device=DEVICE)
    ids = torch.arange(batch * CONTEXT, device=DEVICE).view(batch, CONTEXT) % 300
    truth = torch.arange(batch, device=DEVICE)

    def work():
        optimizer.zero_grad()
        with torch.autocast(DEVICE.type, kind, enabled=kind != torch.float32):
            x = image_tower(pixels).view(batch, FRAMES, JOINT)
            for block in head:
                x = block(x, False)
            texts = text_tower(text_tower.tokens(ids))
        video, texts = F.normalize(x.float().mean(1), dim=-1), F.normalize(texts.float(), dim=-1)
        logits = 100 * video @ texts.T
        (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)).backward()
        optimizer.step()

    return work


WORKS = {
    "product": product,
    "image": image,
    "text": text,
    "few-shot": few_shot,
    "ActionCLIP": action_clip,
}
KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def wait():
    if FULL:
        torch.cuda.synchronize(DEVICE)


def seconds(work, count):
    wait()
    start = time.perf_counter()
    for _ in range(count):
        work()
    wait()
    return (time.perf_counter() - start) / count


def outside_kernels(work, one):
    """As in speed.rs: the same work queued while the GPU is busy."""
    if not FULL:
        return "-"
    a = torch.randn(8192, 8192, device=DEVICE, dtype=torch.bfloat16)
    product_seconds = seconds(lambda: a @ a, 8)
    count = int(3 * one / product_seconds) + 5
    busy = seconds(lambda: a @ a, count) * count
    wait()
    start = time.perf_counter()
    for _ in range(count):
        a @ a
    work()
    queued = time.perf_counter() - start
    wait()
    kernels = time.perf_counter() - start - busy
    if queued >= 0.9 * busy:
        return "-"
    return min(max(1 - kernels / one, 0.0), 1.0)


def main():
    card = torch.cuda.get_device_name(DEVICE) if FULL else "CPU"
    print(f"Peer: torch {torch.__version__} on {card}", flush=True)
    made = {}
    for line in sys.stdin:
        name, kind, *sizes, length = line.split()
        key = (name, kind, *sizes)
        try:
            if key not in made:
                # One at a time: a large work leaves its memory to the next.
                made.clear()
                if FULL:
                    torch.cuda.empty_cache()
                work = WORKS[name](KINDS[kind], *map(int, sizes))
                seconds(work, 1)
                made[key] = work, None
            work, outside = made[key]
            first = seconds(work, 1)
            one = seconds(work, min(max(int(float(length) / first) + 1, 1), 10000))
            if outside is None:
                outside = outside_kernels(work, one)
                made[key] = work, outside
            print(one, outside, flush=True)
        except RuntimeError:
            traceback.print_exc()
            print("-", flush=True)


main()
