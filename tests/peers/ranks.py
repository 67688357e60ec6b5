"""A training step of two ranks in PyTorch: CLIP's towers of ViT-S/16 fine-tuned on clips of 8 frames,
as ActionCLIP is, with DistributedDataParallel on Gloo; or the sum of a tensor over the ranks. One
thread a rank. Answers every line on stdin with the seconds of a step.

    python ranks.py (alone|ranks) action-clip B     # B clips a rank
    python ranks.py ranks sum NUMBERS
"""

import os
import subprocess
import sys
import tempfile
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.functional import cross_entropy, normalize

WIDTH, FRAMES, WORDS = 384, 8, 77


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, WIDTH // 64, batch_first=True)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x, mask=None):
        y = self.norm_1(x)
        x = x + self.attention(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = self.up(self.norm_2(x))
        return x + self.down(y * torch.sigmoid(1.702 * y))


class Towers(nn.Module):
    """Image tower, text tower, and a transformer over the frames."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 16, 16, bias=False)
        self.start = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.places = nn.Parameter(torch.randn(1, 197, WIDTH) * 0.02)
        self.norm = nn.LayerNorm(WIDTH)
        self.image = nn.ModuleList(Block() for _ in range(12))
        self.image_norm = nn.LayerNorm(WIDTH)
        self.image_out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.words = nn.Embedding(49408, WIDTH)
        self.word_places = nn.Parameter(torch.randn(1, WORDS, WIDTH) * 0.02)
        self.text = nn.ModuleList(Block() for _ in range(6))
        self.text_norm = nn.LayerNorm(WIDTH)
        self.text_out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.times = nn.Parameter(torch.randn(1, FRAMES, WIDTH) * 0.02)
        self.head = nn.ModuleList(Block() for _ in range(6))
        self.scale = nn.Parameter(torch.tensor(2.66))

    def forward(self, pixels, words):
        clips = pixels.shape[0]
        x = self.patches(pixels.flatten(0, 1)).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(x.shape[0], -1, -1), x], 1) + self.places
        x = self.norm(x)
        for block in self.image:
            x = block(x)
        x = self.image_out(self.image_norm(x[:, 0])).view(clips, FRAMES, WIDTH)
        y = x + self.times
        for block in self.head:
            y = block(y)
        video = normalize((x + y).mean(1), dim=-1)
        x = self.words(words) + self.word_places
        mask = torch.full((WORDS, WORDS), float("-inf")).triu(1)
        for block in self.text:
            x = block(x, mask)
        text = normalize(self.text_out(self.text_norm(x[:, -1])), dim=-1)
        return video, text, self.scale.exp()


def step(size, rank, clips):
    """A function that trains for one step."""
    torch.manual_seed(0)
    model = Towers()
    if size > 1:
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, foreach=True)
    pixels = torch.randn(clips, FRAMES, 3, 224, 224)
    words = torch.randint(49408, (clips, WORDS))
    truth = torch.arange(clips) + clips * rank

    def gathered(own):
        if size == 1:
            return own
        all_of_them = [torch.empty_like(own) for _ in range(size)]
        dist.all_gather(all_of_them, own.detach())
        # Gradients flow into this rank's.
        all_of_them[rank] = own
        return torch.cat(all_of_them)

    def run():
        video, text, scale = model(pixels, words)
        videos, texts = gathered(video), gathered(text)
        loss = cross_entropy(scale * video @ texts.t(), truth)
        loss = (loss + cross_entropy(scale * text @ videos.t(), truth)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


def main():
    who, work, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    follows = sys.argv[4] if len(sys.argv) > 4 else None
    torch.set_num_threads(1)
    size, rank, other = 1, 0, None
    if who == "ranks":
        size, rank = 2, int(follows is not None)
        place = follows or os.path.join(tempfile.mkdtemp(), "here")
        if not follows:
            command = [sys.executable, *sys.argv, place]
            pipe = subprocess.PIPE
            other = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        dist.init_process_group(
            "gloo", init_method=f"file://{place}", rank=rank, world_size=size
        )
    if work == "sum":
        numbers = torch.randn(number)
        run = lambda: dist.all_reduce(numbers)
    else:
        run = step(size, rank, number)

    def turn():
        if other:
            print(file=other.stdin, flush=True)
        start = time.perf_counter()
        run()
        own = time.perf_counter() - start
        return max(own, float(other.stdout.readline())) if other else own

    if not follows:
        turn()
        print("ready", flush=True)
    for _ in sys.stdin:
        print(turn(), flush=True)
    if other:
        other.stdin.close()
        other.wait()


main()
