"""One contender of the image tower's comparison: ViT-B/16 in Hugging Face transformers or in
open_clip, with random weights. Encodes a batch whenever a line comes in on stdin and answers
with the seconds it took.

    python image_tower.py (hf|open_clip) (fp32|bf16) BATCH
"""

import sys
import time

import torch


def encoder(library, kind):
    """A function from pixels to frame features, and its parameters' precision."""
    if library == "hf":
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        config = CLIPVisionConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            image_size=224,
            patch_size=16,
            projection_dim=512,
        )
        model = CLIPVisionModelWithProjection(config).to(kind).eval()
        return lambda pixels: model(pixel_values=pixels).image_embeds
    import open_clip

    model = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None)
    return model.to(kind).eval().encode_image


def main():
    library, precision, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    torch.manual_seed(0)
    encode = encoder(library, kind)
    pixels = torch.randn(batch, 3, 224, 224).to(kind)
    with torch.inference_mode():
        encode(pixels)
        print("ready", flush=True)
        for _ in sys.stdin:
            start = time.perf_counter()
            encode(pixels)
            print(time.perf_counter() - start, flush=True)


main()
