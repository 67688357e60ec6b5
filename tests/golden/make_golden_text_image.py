"""tokenizer and pre-processing goldens: open_clip SimpleTokenizer ids; PIL / torchvision bicubic resize + centre crop + CLIP normalisation of one synthetic frame."""
import json, sys, numpy as np, torch, open_clip, common
from PIL import Image
from safetensors.torch import save_file
G = sys.argv[1] if len(sys.argv) > 1 else "golden"
tk = open_clip.get_tokenizer("ViT-B-16")
strs = [c.replace("_", " ") for c in common.HMDB51] + common.UCF101 + [f"a common human action of {c.replace('_',' ')}." for c in common.HMDB51] + ["human action of walk.", "a human action of walk.", "", " ", "Hello,   World!!", "don't can't I'm we'll they've", "naïve café Über straße", "日本語 テスト", "emoji 🏃‍♂️ run", "1234567890 3.14", "a_b-c/d\\e", "<|startoftext|> x <|endoftext|>", "&lt;tag&gt; &amp;amp;", "word " * 100, "ApplyEyeMakeup", "YoYo"]
ids = tk(strs).tolist()
json.dump(dict(source="open_clip " + open_clip.__version__ + " SimpleTokenizer (context 77, pad 0, truncation keeps [EOS] last)", items=[dict(text=s, ids=i[:i.index(49407) + 1]) for s, i in zip(strs, ids)]), open(f"{G}/tokenizer.json", "w"), ensure_ascii=False, indent=0)
# pre-processing
h, w = 240, 320; yy, xx = np.mgrid[0:h, 0:w]
img = np.stack([(127 + 120*np.sin(xx/7.0 + yy/23.0)), (xx*3 + yy*5) % 256, ((xx//8 + yy//8) % 2)*200 + 20], -1).clip(0, 255).astype(np.uint8)
d = {"input_rgb_u8_240x320": torch.from_numpy(img)}
def crop(a): t, l = (a.shape[0]-224)//2, (a.shape[1]-224)//2; return np.ascontiguousarray(a[t:t+224, l:l+224])
W2 = int(224*w/h)  # 298 (torchvision truncates int(size*long/short))
for nm, m in (("bicubic", Image.BICUBIC), ("bilinear", Image.BILINEAR)): d[f"pil_{nm}_u8"] = torch.from_numpy(crop(np.asarray(Image.fromarray(img).resize((W2, 224), m))))
import torchvision.transforms.v2.functional as TF
from torchvision.transforms import InterpolationMode as IM
t = torch.from_numpy(img).permute(2, 0, 1)
for nm, m in (("bicubic", IM.BICUBIC), ("bilinear", IM.BILINEAR)):
    d[f"torchvision_aa_{nm}_u8"] = torch.from_numpy(crop(TF.resize(t, [224, W2], interpolation=m, antialias=True).permute(1, 2, 0).numpy()))
    f = torch.nn.functional.interpolate(t[None].float(), size=(224, W2), mode=nm, antialias=True, align_corners=False)[0].permute(1, 2, 0).numpy(); d[f"aten_aa_{nm}_f32_first8rows"] = torch.from_numpy(crop(f)[:8].copy())
import cv2
d["cv2_cubic_u8"] = torch.from_numpy(crop(cv2.resize(img, (W2, 224), interpolation=cv2.INTER_CUBIC)))
mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]); std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
d["normalised_pil_bicubic_f32_first8rows_chw"] = (((d["pil_bicubic_u8"].float()/255 - mean)/std).permute(2, 0, 1)[:, :8]).contiguous()
save_file({k: v.contiguous() for k, v in d.items()}, f"{G}/preprocess.safetensors")
ref = d["pil_bicubic_u8"].int(); print({k: [int((v.int()-ref).abs().max()), round(float((v.int()-ref).abs().float().mean()), 3)] for k, v in d.items() if v.shape == ref.shape and v.dtype == torch.uint8})
