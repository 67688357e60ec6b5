"""Names the action in each video with Hugging Face's CLIP, from start to answer: what
`trainer predict` does, in the Python stack.

    python predict.py CHECKPOINT LABELS_FILE (fp32|bf16) VIDEO...
    python predict.py tokenizer VOCABULARY CHECKPOINT   # writes vocab.json and merges.txt
"""

import gzip
import json
import os
import sys

FRAMES = 8
SENTENCE = "a common human action of {}."


def tokenizer_files(vocabulary, folder):
    """CLIP's merges, as OpenAI ships them, in the two files that transformers reads."""
    with gzip.open(vocabulary, "rt", encoding="utf-8") as file:
        merges = file.read().split("\n")[1 : 49152 - 256 - 2 + 1]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable]
    letters += [chr(256 + n) for n in range(256 - len(printable))]
    words = letters + [letter + "</w>" for letter in letters]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as file:
        json.dump({word: i for i, word in enumerate(words)}, file, ensure_ascii=False)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "\n".join(merges) + "\n")


def frames(path):
    """Eight uniform frames of a video, decoded one after the other."""
    import av

    with av.open(path) as container:
        pictures = list(container.decode(video=0))
    places = [(2 * i + 1) * len(pictures) // (2 * FRAMES) for i in range(FRAMES)]
    return [pictures[place].to_image() for place in places]


def answer(checkpoint, labels_file, precision, videos):
    import torch
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    with open(labels_file, encoding="utf-8") as file:
        labels = [line.strip().replace("_", " ") for line in file if line.strip()]
    model = CLIPModel.from_pretrained(checkpoint, dtype=kind).eval()
    tokenizer = CLIPTokenizer.from_pretrained(checkpoint)
    processor = CLIPImageProcessor()
    with torch.inference_mode():
        ids = tokenizer([SENTENCE.format(label) for label in labels], padding=True, return_tensors="pt")
        # Newer versions wrap the features; older ones return them.
        plain = lambda out: getattr(out, "pooler_output", out)
        text = torch.nn.functional.normalize(plain(model.get_text_features(**ids)).float(), dim=-1)
        for video in videos:
            pixels = processor(frames(video), return_tensors="pt").pixel_values.to(kind)
            seen = plain(model.get_image_features(pixel_values=pixels)).float().mean(0)
            logits = model.logit_scale.float().exp() * text @ torch.nn.functional.normalize(seen, dim=0)
            best = logits.softmax(0).topk(5)
            for score, index in zip(best.values, best.indices):
                print(f"{video}\t{score:.4f}\t{labels[index]}")


if sys.argv[1] == "tokenizer":
    tokenizer_files(sys.argv[2], sys.argv[3])
else:
    answer(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
