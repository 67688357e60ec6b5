"""Writes one tiny CLIP in the layouts of the Python libraries, with those libraries.

    python make_layouts.py FOLDER          writes FOLDER/{hugging_face,open_clip}{,_bin}
                                           and FOLDER/openai.pt
    python make_layouts.py --read FOLDER   reads the folders that the Rust tests wrote

Made with torch 2.13.0, transformers 5.23.0, open_clip_torch 3.3.0 and openai-clip 1.0.1;
FOLDER/openai_tiny.pt.gz, copied here, is FOLDER/openai.pt with code/ left out; FOLDER/layouts.zip, copied here, holds
the four folders (made with torch 2.14.1). The weights are the formula of tests/testkit/src/formula.rs, rounded to
sixteenths so that fp16 holds them exactly.
"""
import dataclasses, gzip, io, json, sys, zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

WIDTH, JOINT, IMAGE, PATCH, VOCABULARY, CONTEXT = 64, 32, 16, 8, 64, 77
MASK = (1 << 64) - 1


def formula(name, shape):
    if name == "logit_scale":
        mean, amplitude = 2.6592, 0.0
    elif "norm" in name or "layrnorm" in name:
        mean, amplitude = (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)
    elif name.endswith("bias"):
        mean, amplitude = 0.0, 0.1
    elif any(part in name for part in ("position_embedding", "class_embedding", "token_embedding")):
        mean, amplitude = 0.0, 0.5
    else:
        mean, amplitude = 0.0, (3.0 / np.prod(shape[1:])) ** 0.5
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    i = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    unit = (z >> np.uint64(40)).astype(np.float64) / (1 << 24)
    values = (mean + (2 * unit - 1) * amplitude).astype(np.float32)
    return torch.from_numpy(np.round(values * 16) / 16).reshape(shape)


def hugging_face():
    from transformers import CLIPConfig, CLIPModel
    tower = dict(hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=1, num_attention_heads=1)
    config = CLIPConfig(
        text_config=dict(tower, vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, eos_token_id=VOCABULARY - 1),
        vision_config=dict(tower, image_size=IMAGE, patch_size=PATCH), projection_dim=JOINT)
    model = CLIPModel(config).eval()
    model.load_state_dict({k: formula(k, v.shape) if v.is_floating_point() else v for k, v in model.state_dict().items()})
    return model


def openai_names(model):
    """The weights of `model` under OpenAI's names."""
    source, target = model.state_dict(), {}
    for name, value in source.items():
        if not value.is_floating_point():
            continue
        new = name.replace("vision_model.encoder.layers", "visual.transformer.resblocks")
        new = new.replace("text_model.encoder.layers", "transformer.resblocks")
        for old, other in (("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"),
                           ("self_attn.out_proj", "attn.out_proj"), ("vision_model.pre_layrnorm", "visual.ln_pre"),
                           ("vision_model.post_layernorm", "visual.ln_post"), ("text_model.final_layer_norm", "ln_final"),
                           ("vision_model.embeddings.class_embedding", "visual.class_embedding"),
                           ("vision_model.embeddings.patch_embedding", "visual.conv1"),
                           ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"),
                           ("text_model.embeddings.token_embedding", "token_embedding"),
                           ("text_model.embeddings.position_embedding.weight", "positional_embedding")):
            new = new.replace(old, other)
        if new == "visual_projection.weight":
            new, value = "visual.proj", value.T.contiguous()
        if new == "text_projection.weight":
            new, value = "text_projection", value.T.contiguous()
        if "self_attn.q_proj" in new:
            value = torch.cat([source[name.replace("q_proj", which)] for which in ("q_proj", "k_proj", "v_proj")])
            new = new.replace("self_attn.q_proj.", "attn.in_proj_")
        elif "self_attn." in new:
            continue
        target[new] = value
    return target


def write(folder):
    model = hugging_face()
    model.save_pretrained(folder / "hugging_face")
    binary = folder / "hugging_face_bin"
    binary.mkdir(parents=True, exist_ok=True)
    (binary / "config.json").write_bytes((folder / "hugging_face/config.json").read_bytes())
    torch.save(model.state_dict(), binary / "pytorch_model.bin")

    import open_clip
    from open_clip.push_to_hf_hub import save_for_hf
    weights = openai_names(model)
    config = dict(embed_dim=JOINT, quick_gelu=True,
                  vision_cfg=dict(image_size=IMAGE, layers=1, width=WIDTH, patch_size=PATCH),
                  text_cfg=dict(context_length=CONTEXT, vocab_size=VOCABULARY, width=WIDTH, heads=1, layers=1))
    clip = open_clip.model.CLIP(**config).eval()
    clip.load_state_dict(weights)
    preprocess = dataclasses.asdict(open_clip.transform.PreprocessCfg(size=IMAGE))
    open_clip.factory.set_model_preprocess_cfg(clip, preprocess)
    # Its own SimpleTokenizer brings no files.
    save_for_hf(clip, SimpleNamespace(save_pretrained=lambda folder: None), model_config=config, save_directory=folder / "open_clip", safe_serialization="both")
    binary = folder / "open_clip_bin"
    binary.mkdir(parents=True, exist_ok=True)
    (binary / "open_clip_config.json").write_bytes((folder / "open_clip/open_clip_config.json").read_bytes())
    (folder / "open_clip/open_clip_pytorch_model.bin").rename(binary / "open_clip_pytorch_model.bin")

    from clip.model import CLIP, convert_weights
    clip = CLIP(JOINT, IMAGE, 1, WIDTH, PATCH, CONTEXT, VOCABULARY, WIDTH, 1, 1).eval()
    clip.load_state_dict(weights)
    convert_weights(clip)
    # OpenAI's files carry these three beside the weights.
    for name, value in (("input_resolution", IMAGE), ("context_length", CONTEXT), ("vocab_size", VOCABULARY)):
        if name in clip.__dict__:
            delattr(clip, name)
        clip.register_buffer(name, torch.tensor(value))
    image = torch.zeros(1, 3, IMAGE, IMAGE, dtype=torch.half)
    text = torch.zeros(1, CONTEXT, dtype=torch.long)
    traced = torch.jit.trace_module(clip, dict(forward=(image, text), encode_image=(image,), encode_text=(text,)), check_trace=False)
    traced.save(str(folder / "openai.pt"))
    # For the tests: without the program and the tracer's notes, which name paths of a machine.
    packed = io.BytesIO()
    with zipfile.ZipFile(folder / "openai.pt") as whole, zipfile.ZipFile(packed, "w") as kept:
        for entry in whole.infolist():
            if "/code/" not in entry.filename:
                kept.writestr(zipfile.ZipInfo(entry.filename), whole.read(entry))
        # torch compresses the program, and nothing else.
        kept.writestr(zipfile.ZipInfo("openai/code/left_out.py"), "#" * 100, zipfile.ZIP_DEFLATED)
    (folder / "openai_tiny.pt.gz").write_bytes(gzip.compress(packed.getvalue(), 9, mtime=0))
    with zipfile.ZipFile(folder / "layouts.zip", "w") as kept:
        for name in ("hugging_face", "hugging_face_bin", "open_clip", "open_clip_bin"):
            for file in sorted((folder / name).iterdir()):
                kept.writestr(zipfile.ZipInfo(f"{name}/{file.name}"), file.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def inputs():
    """The pixels and ids of the Rust tests."""
    pixels = torch.linspace(-2, 2, 2 * 3 * IMAGE * IMAGE).reshape(2, 3, IMAGE, IMAGE)
    ids = torch.zeros(2, CONTEXT, dtype=torch.long)
    ids[0, :4] = torch.tensor([62, 5, 9, 63])
    ids[1, :6] = torch.tensor([62, 1, 2, 3, 4, 63])
    return pixels, ids


def read(folder):
    from transformers import CLIPModel
    import open_clip
    pixels, ids = inputs()
    reference = hugging_face()
    with torch.no_grad():
        want = reference.visual_projection(reference.vision_model(pixels).pooler_output), reference.text_projection(reference.text_model(ids).pooler_output)
        for name in sorted(p.name for p in folder.iterdir() if p.is_dir()):
            place = folder / name
            if (place / "config.json").exists():
                model, report = CLIPModel.from_pretrained(place, output_loading_info=True)
                assert not report["missing_keys"] and not report["unexpected_keys"], report
                got = model.visual_projection(model.vision_model(pixels).pooler_output), model.text_projection(model.text_model(ids).pooler_output)
            elif (place / "open_clip_config.json").exists():
                config = json.loads((place / "open_clip_config.json").read_text())["model_cfg"]
                model = open_clip.model.CLIP(**config).eval()
                weights = next(place.glob("open_clip_*.[sb]*"))
                open_clip.load_checkpoint(model, str(weights), strict=True)
                got = model.encode_image(pixels), model.encode_text(ids)
            else:
                continue
            print(name, [float((a - b).abs().max()) for a, b in zip(got, want)])


if __name__ == "__main__":
    if sys.argv[1] == "--read":
        read(Path(sys.argv[2]))
    else:
        write(Path(sys.argv[1]))
