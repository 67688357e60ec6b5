"""Writes small gzipped files of the shape that ActionCLIP's official training saves.

python make_official.py FOLDER, with Python alone: what torch.save writes is a zip of one pickle
and the raw storages, so the few names that torch's pickles hold are stood in for here. Every
tensor is the float32 sequence start, start + 1/64, ... with a start of its own, so that a
mistaken name shows.
"""

import collections
import gzip
import io
import pickle
import struct
import sys
import types
import zipfile
from pathlib import Path

FRAMES, WIDTH, JOINT = 4, 16, 16
LAYERS = 2


def stand_in(module, name, value):
    """Makes `value` pickle as module.name."""
    parent = sys.modules.setdefault(module, types.ModuleType(module))
    value.__module__, value.__qualname__, value.__name__ = module, name, name
    setattr(parent, name, value)
    return value


def rebuild(*_):
    raise NotImplementedError("for pickling alone")


stand_in("torch._utils", "_rebuild_tensor_v2", rebuild)
FloatStorage = stand_in("torch", "FloatStorage", type("FloatStorage", (), {}))
HalfStorage = stand_in("torch", "HalfStorage", type("HalfStorage", (), {}))


class Storage:
    def __init__(self, key, values, half):
        self.key, self.values, self.half = key, values, half

    def bytes(self):
        return struct.pack(f"<{len(self.values)}{'e' if self.half else 'f'}", *self.values)


class Tensor:
    def __init__(self, storage, shape):
        self.storage, self.shape = storage, shape

    def __reduce__(self):
        strides, step = [], 1
        for size in reversed(self.shape):
            strides.insert(0, step)
            step *= size
        hooks = collections.OrderedDict()
        return rebuild, (self.storage, 0, tuple(self.shape), tuple(strides), False, hooks)


class Pickler(pickle.Pickler):
    def persistent_id(self, thing):
        if isinstance(thing, Storage):
            kind = HalfStorage if thing.half else FloatStorage
            return ("storage", kind, thing.key, "cuda:0", len(thing.values))
        return None


class File:
    def __init__(self):
        self.storages = []

    def tensor(self, shape, half=False):
        count = 1
        for size in shape:
            count *= size
        # Steps of 1/64 that wrap around, so that fp16 holds them exactly.
        start = len(self.storages)
        values = [((start * 37 + i) % 512) / 64 - 4 for i in range(count)]
        storage = Storage(str(start), values, half)
        self.storages.append(storage)
        return Tensor(storage, shape)

    def state(self, shapes, prefix, half=lambda name: False):
        state = collections.OrderedDict()
        for name, shape in shapes:
            state[prefix + name] = self.tensor(shape, half(name))
        # torch hangs the modules' versions on the dict.
        state._metadata = collections.OrderedDict({"": {"version": 1}})
        return state

    def save(self, path, root):
        stream = io.BytesIO()
        Pickler(stream, protocol=2).dump(root)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            def put(name, data):
                # A fixed date, so that the file is the same whenever it is made.
                archive.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), data)

            put("data.pkl", stream.getvalue())
            for storage in self.storages:
                put(f"data/{storage.key}", storage.bytes())
            put("version", "3\n")


def block(prefix, width):
    yield prefix + "attn.in_proj_weight", (3 * width, width)
    yield prefix + "attn.in_proj_bias", (3 * width,)
    yield prefix + "attn.out_proj.weight", (width, width)
    yield prefix + "attn.out_proj.bias", (width,)
    for norm in ("ln_1", "ln_2"):
        yield prefix + norm + ".weight", (width,)
        yield prefix + norm + ".bias", (width,)
    yield prefix + "mlp.c_fc.weight", (4 * width, width)
    yield prefix + "mlp.c_fc.bias", (4 * width,)
    yield prefix + "mlp.c_proj.weight", (width, 4 * width)
    yield prefix + "mlp.c_proj.bias", (width,)


def clip(shift, joint):
    yield "positional_embedding", (77, WIDTH)
    yield "text_projection", (WIDTH, JOINT)
    yield "logit_scale", ()
    yield "visual.class_embedding", (WIDTH,)
    yield "visual.positional_embedding", (5, WIDTH)
    yield "visual.proj", (WIDTH, JOINT)
    if joint:
        yield "visual.time_embedding", (FRAMES, WIDTH)
    yield "visual.conv1.weight", (WIDTH, 3, 8, 8)
    for norm in ("visual.ln_pre", "visual.ln_post", "ln_final"):
        yield norm + ".weight", (WIDTH,)
        yield norm + ".bias", (WIDTH,)
    for layer in range(LAYERS):
        yield from block(f"visual.transformer.resblocks.{layer}." + ("net." if shift else ""), WIDTH)
        yield from block(f"transformer.resblocks.{layer}.", WIDTH)
    yield "token_embedding.weight", (64, WIDTH)


def head(kind):
    if kind != "meanP":
        yield "frame_position_embeddings.weight", (77, JOINT)
    if kind == "Conv_1D":
        yield "shift.weight", (JOINT, 1, 3)
    if kind == "LSTM":
        yield "lstm_visual.weight_ih_l0", (4 * JOINT, JOINT)
        yield "lstm_visual.weight_hh_l0", (4 * JOINT, JOINT)
        yield "lstm_visual.bias_ih_l0", (4 * JOINT,)
        yield "lstm_visual.bias_hh_l0", (4 * JOINT,)
    if kind == "Transf":
        for layer in range(6):
            yield from block(f"transformer.resblocks.{layer}.", JOINT)
    if kind == "Transf_cls":
        yield "transformer.cls_token", (1, 1, JOINT)
        yield "transformer.pos_embed", (1, FRAMES + 1, JOINT)
        for layer in range(6):
            prefix = f"transformer.transformer_enc.layers.{layer}."
            yield prefix + "self_attn.in_proj_weight", (3 * JOINT, JOINT)
            yield prefix + "self_attn.in_proj_bias", (3 * JOINT,)
            yield prefix + "self_attn.out_proj.weight", (JOINT, JOINT)
            yield prefix + "self_attn.out_proj.bias", (JOINT,)
            yield prefix + "linear1.weight", (2048, JOINT)
            yield prefix + "linear1.bias", (2048,)
            yield prefix + "linear2.weight", (JOINT, 2048)
            yield prefix + "linear2.bias", (JOINT,)
            for norm in ("norm1", "norm2"):
                yield prefix + norm + ".weight", (JOINT,)
                yield prefix + norm + ".bias", (JOINT,)
        yield "transformer.transformer_enc.norm.weight", (JOINT,)
        yield "transformer.transformer_enc.norm.bias", (JOINT,)


def half(name):
    """What convert_weights leaves in fp16 after a step."""
    return name.endswith(("proj.weight", "fc.weight", "conv1.weight", "in_proj_weight", "visual.proj"))


def main(folder):
    for name, kind, shift, joint in [
        ("mean", "meanP", False, True),
        ("conv1d", "Conv_1D", False, False),
        ("lstm", "LSTM", True, False),
        ("transformer", "Transf", False, False),
        ("transformer_cls", "Transf_cls", False, False),
    ]:
        file = File()
        # The head is saved as data-parallel training wraps it; CLIP once so, once not.
        wrapped = "module." if kind == "Transf" else ""
        root = {
            "epoch": 49,
            "model_state_dict": file.state(clip(shift, joint), wrapped, half),
            "fusion_model_state_dict": file.state(head(kind), "module."),
            "optimizer_state_dict": {
                "state": {0: {"step": 5, "exp_avg": file.tensor((2, 2))}},
                "param_groups": [{"lr": 5e-6, "betas": (0.9, 0.98), "params": [0]}],
            },
        }
        path = folder / f"{name}.pt"
        file.save(path, root)
        with gzip.GzipFile(folder / f"{name}.pt.gz", "wb", 9, mtime=0) as packed:
            packed.write(path.read_bytes())
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
