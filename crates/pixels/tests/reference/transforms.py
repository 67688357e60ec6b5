"""Reference pictures for the transforms, made with Pillow.

    pip install pillow numpy safetensors
    python transforms.py            # writes transforms.safetensors beside this file

Magnitudes and matrices are those that torchvision hands to Pillow. Written with
Pillow 13.0 and numpy 2.
"""
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from safetensors.numpy import save_file

W, H = 52, 40
rng = np.random.default_rng(7)
y, x = np.mgrid[0:H, 0:W]
base = np.stack([255 * x / W, 255 * y / H, 127 + 120 * np.sin(x / 5.0) * np.cos(y / 4.0)], -1)
noise = rng.integers(-40, 40, (H, W, 3))
pixels = np.clip(30 + 0.75 * base + noise, 12, 243).astype(np.uint8)
pixels[5:10, 5:15] = (90, 90, 90)
pixels[20:26, 30:40] = (230, 15, 20)
image = Image.fromarray(pixels)
out = {"input": pixels}


def keep(name, picture):
    out[name] = np.ascontiguousarray(np.asarray(picture.convert("RGB")))


def affine(matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def hue(turn):
    h, s, v = image.convert("HSV").split()
    shifted = (np.array(h).astype(np.int64) + int(turn * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(shifted.astype(np.uint8)), s, v)).convert("RGB")


for name, factor in [("low", 0.6), ("high", 1.4), ("none", 0.0)]:
    keep(f"brightness_{name}", ImageEnhance.Brightness(image).enhance(factor))
    keep(f"contrast_{name}", ImageEnhance.Contrast(image).enhance(factor))
    keep(f"saturation_{name}", ImageEnhance.Color(image).enhance(factor))
    keep(f"sharpness_{name}", ImageEnhance.Sharpness(image).enhance(factor))
keep("hue_plus", hue(0.1))
keep("hue_minus", hue(-0.07))
keep("grey", image.convert("L"))
keep("posterize_4", ImageOps.posterize(image, 4))
keep("posterize_7", ImageOps.posterize(image, 7))
keep("solarize", ImageOps.solarize(image, 178.5))
keep("autocontrast", ImageOps.autocontrast(image))
keep("equalize", ImageOps.equalize(image))
keep("flip", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
keep("shear_x", affine((1, math.tan(math.atan(0.09)), 0, 0, 1, 0)))
keep("shear_y", affine((1, 0, 0, math.tan(math.atan(-0.21)), 1, 0)))
keep("translate_x", affine((1, 0, -7, 0, 1, 0)))
keep("translate_y", affine((1, 0, 0, 0, 1, 5)))
keep("rotate", image.rotate(9.0, Image.Resampling.NEAREST))
keep("rotate_back", image.rotate(-24.0, Image.Resampling.NEAREST))

# Views: shorter side to 32, squares of 32; torchvision rounds the longer side down and
# the centre to the even pixel.
small = image.resize((int(32 * W / H), 32), Image.Resampling.BICUBIC)
room = small.width - 32
for name, left in [("left", 0), ("centre", round(room / 2)), ("right", room)]:
    keep(f"view_{name}", small.crop((left, 0, left + 32, 32)))
large = image.resize((int(96 * W / H), 96), Image.Resampling.BICUBIC)
left = round((large.width - 96) / 2)
keep("view_large", large.crop((left, 0, left + 96, 96)))
tall = image.transpose(Image.Transpose.ROTATE_90)
keep("tall", tall)
shrunk = tall.resize((32, int(32 * W / H)), Image.Resampling.BICUBIC)
keep("view_bottom", shrunk.crop((0, shrunk.height - 32, 32, shrunk.height)))
# A multi-scale crop: three quarters of the shorter side, at the far corner.
keep("crop_resized", image.crop((W - 30, H - 30, W, H)).resize((24, 24), Image.Resampling.BICUBIC))

save_file(out, Path(__file__).with_name("transforms.safetensors"))
print({name: value.shape for name, value in out.items()})
