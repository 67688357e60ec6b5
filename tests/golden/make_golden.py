"""(f) golden data.  All weights come from a formula that Rust can repeat (no file needed for the full ViT-B/16):
   seed = FNV-1a-64 of the UTF-8 parameter name;  z = splitmix64 of seed + (i+1)*0x9E3779B97F4A7C15 (mod 2^64), i = flat index (row-major)
   u = (z >> 40) / 2^24 in [0,1);   value = float32( mean + (2u-1)*a )   computed in float64 then rounded to float32
   (mean, a) by kind of parameter - see kind()."""
import json, os, sys, math, numpy as np, torch
from safetensors.torch import save_file
from transformers import CLIPModel, CLIPConfig
import transformers, reference_sif as R
torch.set_num_threads(2); torch.manual_seed(0)
import sys; G = sys.argv[1] if len(sys.argv) > 1 else "golden"; os.makedirs(G, exist_ok=True)
M64 = (1 << 64) - 1
def fnv(s):
    h = 0xcbf29ce484222325
    for b in s.encode(): h = ((h ^ b) * 0x100000001b3) & M64
    return h
def stream(name, n):
    z = (np.uint64(fnv(name)) + (np.arange(1, n + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / float(1 << 24)
def fill(name, shape, mean, a):
    n = int(np.prod(shape)) if shape else 1
    return torch.from_numpy((mean + (2 * stream(name, n) - 1) * a).astype(np.float32)).reshape(shape)
def kind(name, shape):
    if name == "logit_scale": return 2.6592, 0.0
    if "norm" in name or "layrnorm" in name: return (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)
    if name.endswith("bias"): return 0.0, 0.1
    if "position_embedding" in name or "class_embedding" in name or "token_embedding" in name or name == "sif.prompts": return 0.0, 0.5
    fan_in = int(np.prod(shape[1:]))
    return 0.0, math.sqrt(3.0 / fan_in)
def tiny_cfg():
    return CLIPConfig(projection_dim=32,
        text_config=dict(vocab_size=512, hidden_size=64, intermediate_size=256, projection_dim=32, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=510, eos_token_id=511, pad_token_id=0),
        vision_config=dict(hidden_size=64, intermediate_size=256, projection_dim=32, num_hidden_layers=4, num_attention_heads=4, image_size=64, patch_size=16, hidden_act="quick_gelu"))
def b16_cfg():
    return CLIPConfig(projection_dim=512,
        text_config=dict(vocab_size=49408, hidden_size=512, intermediate_size=2048, projection_dim=512, num_hidden_layers=12, num_attention_heads=8, max_position_embeddings=77, hidden_act="quick_gelu", bos_token_id=49406, eos_token_id=49407, pad_token_id=0),
        vision_config=dict(hidden_size=768, intermediate_size=3072, projection_dim=512, num_hidden_layers=12, num_attention_heads=12, image_size=224, patch_size=16, hidden_act="quick_gelu"))
def build(cfg):
    m = CLIPModel(cfg).eval(); sd = m.state_dict()
    with torch.no_grad():
        for n, p in sd.items(): p.copy_(fill(n, tuple(p.shape), *kind(n, tuple(p.shape))))
    return m
def tower_run(m, ids, px, per_layer=True):
    out = {}; hooks = []
    def hk(name): return lambda mod, i, o: out.__setitem__(name, (o[0] if isinstance(o, tuple) else o).detach().clone().contiguous())
    if per_layer:
        V, Tt = m.vision_model, m.text_model
        hooks += [V.embeddings.register_forward_hook(hk("vision.embeddings")), V.pre_layrnorm.register_forward_hook(hk("vision.pre_ln")), V.post_layernorm.register_forward_hook(hk("vision.post_ln_cls"))]
        hooks += [l.register_forward_hook(hk(f"vision.layer.{i}")) for i, l in enumerate(V.encoder.layers)]
        hooks += [Tt.embeddings.register_forward_hook(hk("text.embeddings")), Tt.final_layer_norm.register_forward_hook(hk("text.final_ln"))]
        hooks += [l.register_forward_hook(hk(f"text.layer.{i}")) for i, l in enumerate(Tt.encoder.layers)]
    with torch.no_grad():
        r = m(input_ids=ids, pixel_values=px)
        out["vision.image_embeds_raw"] = m.get_image_features(pixel_values=px).pooler_output.clone()
        out["text.text_embeds_raw"] = m.get_text_features(input_ids=ids).pooler_output.clone()
    out["vision.image_embeds_l2"] = r.image_embeds.clone(); out["text.text_embeds_l2"] = r.text_embeds.clone(); out["logits_per_image"] = r.logits_per_image.clone()
    for h in hooks: h.remove()
    return {k: v.contiguous() for k, v in out.items()}
def px_for(name, n, S): return fill(name, (n, 3, S, S), 0.0, 2.0)
meta = dict(torch=torch.__version__, transformers=transformers.__version__, generator=__doc__.strip(), attention="sdpa on CPU fp32, 2 threads",
            tolerance_hint="fp32 against these: 2e-5 absolute on hidden states of the tiny model is ample; see 'fp64_gap' for what fp32 rounding itself costs",
            kinds="norm weight 1 +- 0.2, norm bias 0 +- 0.1, other bias 0 +- 0.1, embeddings/prompts 0 +- 0.5, matrices 0 +- sqrt(3/fan_in) (std 1/sqrt(fan_in)); uniform")
# ---------- tiny towers
cfg = tiny_cfg(); m = build(cfg)
sd = {k: v.clone().contiguous() for k, v in m.state_dict().items()}
save_file(sd, f"{G}/tiny_clip.safetensors")
K, H, T, B = 7, 3, 8, 3
cls_len = [1, 2, 3, 1, 4, 2, 5]; DOT = 269; rng = np.random.default_rng(1)
ids = torch.zeros(K, 77, dtype=torch.long)
for k, n in enumerate(cls_len):
    seq = [510] + [343] * H + list(rng.integers(300, 500, n)) + [DOT, 511]; ids[k, :len(seq)] = torch.tensor([int(x) for x in seq])
px = px_for("tiny.pixels", B * T, 64)
o = tower_run(m, ids, px)
m64 = build(cfg).double(); o64 = tower_run(m64, ids, px.double(), per_layer=True)
gap = {k: float((o[k].double() - o64[k]).abs().max()) for k in o}
save_small = {k: (v if v.shape[0] != B * T or v.dim() < 3 else v[:2].contiguous()) for k, v in o.items()}   # per-layer vision outputs: first 2 frames only
save_small = {k: (v if not (k.startswith("text.") and v.dim() == 3) else v[:, :16].contiguous()) for k, v in save_small.items()}  # per-layer text: first 16 positions
save_file({**save_small, "input.ids": ids, "input.pixels_first2": px[:2].contiguous()}, f"{G}/tiny_towers.safetensors")
meta["tiny"] = dict(config=cfg.to_dict() if False else dict(vision=dict(layers=4, width=64, heads=4, mlp=256, image=64, patch=16), text=dict(layers=3, width=64, heads=4, mlp=256, vocab=512, ctx=77, sos=510, eos=511, pad=0), projection=32, act="quick_gelu", ln_eps=1e-5),
    inputs="input.pixels = formula stream 'tiny.pixels', shape [24,3,64,64], 0 +- 2 (already normalised; first 2 stored as a check); input.ids [7,77] stored; DOT id 269; prompt placeholder id 343",
    stored="vision per-layer: frames 0,1 all 17 tokens; text per-layer: all 7 prompts, positions 0..15; *_embeds_raw before l2, *_l2 after", fp64_gap=gap)
# ---------- whole paper model on tiny
img = o["vision.image_embeds_raw"].view(B, T, 32); y = torch.tensor([2, 0, 5])
tower = R.TextTower(sd, heads=4)
naive_txt = tower.forward_embeds(tower.tok[ids], ids.argmax(-1))
meta["tiny"]["own_tower_vs_HF_max_abs"] = float((naive_txt - o["text.text_embeds_raw"]).abs().max())
cases = {}
def sif_case(tag, s, mcb="proj", norm_first=False, steps=3, dtype=torch.float32):
    net = R.SIF(D=32, W=64, H=H, heads=4, ff=64, bottleneck=4, s=s, tau=0.07, mcb=mcb, norm_first=norm_first)
    with torch.no_grad():
        for n, p in net.named_parameters(): p.copy_(fill("sif." + n, tuple(p.shape), *kind("sif." + n, tuple(p.shape))))
    tw = tower; I = img
    if dtype == torch.float64: net = net.double(); tw = R.TextTower({k: v.double() for k, v in sd.items()}, 4, torch.float64); I = img.double()
    # T is cast with .float() in SIF.forward (for bf16 towers); undo for fp64
    if dtype == torch.float64:
        def text_fn(p, r):
            e, eos = R.build_prompts(tw, p, r, ids); return tw.forward_embeds(e, eos).view(B, K, -1)
        class _D(torch.Tensor): pass
        def fwd():
            ov = net.video(I); Tt = text_fn(net.prompts, ov["resid"]); lg, T2, V2 = net.head(ov["V"], Tt); ov.update(T=Tt, T2=T2, V2=V2, logits=lg, loss=torch.nn.functional.cross_entropy(lg, y)); return ov
    else: fwd = lambda: net(I, y, ids, tw)
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9); traj = []; first = None
    for st in range(steps):
        opt.zero_grad(); o = fwd(); o["loss"].backward(); traj.append(float(o["loss"]))
        if st == 0: first = ({k: v.detach().clone().contiguous() for k, v in o.items()}, {n: p.grad.clone().contiguous() for n, p in net.named_parameters()}, {n: p.detach().clone().contiguous() for n, p in net.named_parameters()})
        opt.step()
    return first, traj, {n: p.detach().clone().contiguous() for n, p in net.named_parameters()}
ps = None
for tag, kw in dict(s1=dict(s=1), s2=dict(s=2), s3=dict(s=3), s4=dict(s=4), s4_mcbnone=dict(s=4, mcb="none"), s4_mcboff=dict(s=4, mcb="off"), s4_preln=dict(s=4, norm_first=True)).items():
    (fo, gr, p0), traj, pT = sif_case(tag, **kw); (fo64, gr64, _), traj64, _ = sif_case(tag, dtype=torch.float64, **kw)
    d = {f"out.{k}": v.reshape(v.shape if v.dim() else (1,)) for k, v in fo.items()}; d.update({f"grad.{k}": v for k, v in gr.items()}); d.update({f"after3.{k}": v for k, v in pT.items()})
    save_file(d, f"{G}/tiny_sif_{tag}.safetensors")
    if tag == "s4": save_file({**p0, "input.image_embeds": img.contiguous(), "input.labels": y}, f"{G}/tiny_sif_params.safetensors")
    cases[tag] = dict(**kw, loss=float(fo["loss"]), loss_at_start_of_sgd_step_0_1_2=traj, loss_fp64=float(fo64["loss"]), traj_fp64=traj64,
        worst_out_gap_fp32_vs_fp64={k: float((fo[k].double() - fo64[k]).abs().max()) for k in fo}, worst_grad_gap=max(float((gr[k].double() - gr64[k]).abs().max()) for k in gr), max_abs_grad={k: float(v.abs().max()) for k, v in gr.items()})
    print(tag, cases[tag]["loss"], cases[tag]["loss_fp64"], traj, "grad gap", cases[tag]["worst_grad_gap"], flush=True)
meta["sif_tiny"] = dict(B=B, T=T, K=K, H=H, D=32, W=64, heads=4, ff=64, bottleneck=4, tau=0.07, labels=[2, 0, 5], sgd=dict(lr=0.01, momentum=0.9, steps=3), params="formula streams 'sif.<name>' ; tiny_sif_params.safetensors holds them (case s4; the others have the same values, fewer tensors for mcb none/off)", cases=cases, choices=R.__doc__)
# ---------- exact ViT-B/16, weights by formula only
if "--no-full" not in sys.argv:
    m = build(b16_cfg()); px = px_for("b16.pixels", 2, 224)
    ids = torch.zeros(3, 77, dtype=torch.long)
    for k, q in enumerate(([49406, 320, 1125, 539, 320, 2368, 269, 49407], [49406, 2533, 2982, 269, 49407], [49406] + list(range(1000, 1075)) + [49407])): ids[k, :len(q)] = torch.tensor(q)
    o = tower_run(m, ids, px)
    keep = {k: v for k, v in o.items() if v.dim() == 2}
    for k, v in o.items():
        if v.dim() == 3: keep[k + "@tok0_first64"] = v[:, 0, :64].contiguous(); keep[k + "@tok4_first64"] = v[:, 4, :64].contiguous()
    save_file({**keep, "input.ids": ids}, f"{G}/b16_towers.safetensors")
    samp = ["visual_projection.weight", "text_projection.weight", "vision_model.embeddings.patch_embedding.weight", "text_model.embeddings.token_embedding.weight", "vision_model.encoder.layers.11.mlp.fc2.bias", "text_model.encoder.layers.0.layer_norm1.weight"]
    sdb = m.state_dict()
    meta["b16"] = dict(inputs="pixels = stream 'b16.pixels' [2,3,224,224] 0 +- 2; ids stored [3,77]", stored="image/text embeds raw and l2, logits_per_image; per-layer outputs: token 0 and token 4, first 64 channels",
        parameters={k: list(v.shape) for k, v in sdb.items()}, n_params=sum(v.numel() for v in sdb.values()), first4={k: [float(x) for x in sdb[k].flatten()[:4]] for k in samp}, sum={k: float(sdb[k].double().sum()) for k in samp})
json.dump(meta, open(f"{G}/meta.json", "w"), indent=1)
