//! What training scripts save: objects beside the weights, wrappers around them, no configuration.

use std::fs;
use std::path::Path;

use clip_backbone::{Checkpoint, Config, Error, Usage};
use tch::{Device, Kind, Tensor};

use crate::equality::{load, same};
use crate::writers::{
    HUGGING_FACE_CONFIG, OPEN_CLIP_CONFIG, Object, Weights, config, openai_names, state_dict,
    weights, write_legacy_save, write_safetensors, write_torch_save,
};

/// Objects as Python pickles them, by protocols 0 to 5.
const BESIDE: [&[u8]; 17] = [
    // numpy.float64(0.75), numpy.arange(2), numpy.dtype
    b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8K\x00K\x01\x87R\
      (K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbC\x08\
      \x00\x00\x00\x00\x00\x00\xe8?\x86R",
    b"cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R\
      (K\x01K\x02\x85cnumpy\ndtype\nX\x02\x00\x00\x00i8\x85R\x89C\x10\
      \x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00tb",
    // argparse.Namespace(lr=1), types.SimpleNamespace()
    b"cargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrK\x01sb",
    b"ctypes\nSimpleNamespace\n)R}b",
    // torch.float8_e4m3fn, torch.device("cuda", 0), torch.Size([1])
    b"ctorch\nfloat8_e4m3fn\n",
    b"ctorch\ndevice\nX\x04\x00\x00\x00cudaK\x00\x86R",
    b"ctorch\nSize\nK\x01\x85\x85R",
    // A complex tensor: a storage of another kind.
    b"ctorch._utils\n_rebuild_tensor_v3\n((X\x07\x00\x00\x00storagectorch\nUntypedStorage\n\
      X\x01\x00\x00\x009X\x03\x00\x00\x00cpuK\x02tQK\x00K\x01\x85K\x01\x85\x89N\
      ctorch\nuint16\ntR",
    // datetime, pathlib, defaultdict(list, {1: []}), deque, a set, a frozenset
    b"\x8c\x08datetime\x8c\x08datetime\x93C\x0a\x07\xe8\x01\x01\x00\x00\x00\x00\x00\x00\x85R",
    b"cpathlib\nPosixPath\nX\x01\x00\x00\x00/X\x01\x00\x00\x00x\x86R",
    b"ccollections\ndefaultdict\ncbuiltins\nlist\n\x85RK\x01]s",
    b"ccollections\ndeque\n)K\x05\x86R(K\x01K\x02e",
    b"\x8f(K\x01\x90",
    b"(K\x01\x91",
    // 1 << 200, a list of protocol 0 with a float, a call that must not happen
    b"\x8a\x1a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
      \x00\x00\x00\x00\x00\x01",
    b"(lp0\nF0.5\naI01\naS'text'\naV\xe9t\xe9\na",
    b"cos\nsystem\nX\x10\x00\x00\x00touch was-called\x85R",
];

fn openai() -> Weights {
    openai_names(&weights(&config()))
}

fn prefixed(prefix: &str, weights: &Weights) -> Weights {
    let weights = weights.iter();
    weights
        .map(|(name, tensor)| (format!("{prefix}{name}"), tensor.shallow_clone()))
        .collect()
}

/// Other weights, which would give other embeddings.
fn others(weights: &Weights) -> Weights {
    weights
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor + 1))
        .collect()
}

fn entry(name: &str, object: Object) -> (String, Object) {
    (name.into(), object)
}

fn bare(path: &Path) -> Checkpoint {
    Checkpoint::open_with_config(path, &config()).unwrap()
}

#[test]
fn objects_beside_the_weights_are_passed_over() {
    let scratch = tempfile::tempdir().unwrap();
    let objects = || {
        BESIDE
            .iter()
            .enumerate()
            .map(|(i, raw)| entry(&i.to_string(), Object::Raw(raw)))
    };
    let mut all: Vec<_> = objects().collect();
    let own = || vec![entry("a", Object::Int(1))];
    all.push(entry("class", Object::Instance("my.Dict", own(), own())));
    all.push(entry("model", state_dict(&openai())));
    let root = Object::Dict(all);
    for (name, write) in [
        ("new.pt", write_torch_save as fn(&Path, &Object) -> _),
        ("legacy.pt", write_legacy_save),
    ] {
        let path = write(&scratch.path().join(name), &root);
        same(name, &load(&bare(&path)));
        assert!(!Path::new("was-called").exists());
    }
    // Each alone: nothing depends on another.
    for (index, object) in objects().enumerate() {
        let root = Object::Dict(vec![object, entry("state_dict", state_dict(&openai()))]);
        let path = write_torch_save(&scratch.path().join("one.pt"), &root);
        same(&format!("object {index}"), &load(&bare(&path)));
    }
    let cut = fs::read(scratch.path().join("legacy.pt")).unwrap();
    let path = scratch.path().join("cut.pt");
    for (length, said) in [
        (cut.len() - 100, format!("of {}", cut.len())),
        (60, "within the object".into()),
    ] {
        fs::write(&path, &cut[..length]).unwrap();
        let error = Checkpoint::open_with_config(&path, &config()).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, Error::CutOff { .. }) && text.contains(&said),
            "{text}"
        );
    }
}

#[test]
fn weights_are_found_below_any_prefix_and_in_any_object() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("w.safetensors");
    for prefix in ["module.", "model.", "clip_model.", "model.clip.", "a.b.c."] {
        for weights in [openai(), weights(&config())] {
            write_safetensors(&path, &prefixed(prefix, &weights));
            let checkpoint = bare(&path);
            same(prefix, &load(&checkpoint));
            assert!(checkpoint.notes().is_empty(), "{:?}", checkpoint.notes());
        }
    }
    let dict = || {
        Vec::from_iter(
            openai()
                .into_iter()
                .map(|(name, t)| (name, Object::Tensor(t))),
        )
    };
    let module = || {
        let parameters = entry("_parameters", Object::Dict(dict()));
        Object::Instance(
            "my.CLIP",
            Vec::new(),
            vec![entry("training", Object::Int(1)), parameters],
        )
    };
    for (what, root) in [
        (
            "a dict's subclass",
            Object::Instance("my.Dict", dict(), Vec::new()),
        ),
        ("a pickled module", module()),
        (
            "a module in an average",
            Object::Dict(vec![entry(
                "ema",
                Object::Instance("my.Ema", Vec::new(), vec![entry("module", module())]),
            )]),
        ),
        (
            "nested dicts",
            Object::Dict(vec![entry(
                "a",
                Object::Dict(vec![entry("b", state_dict(&openai()))]),
            )]),
        ),
    ] {
        let path = write_torch_save(&scratch.path().join("w.pt"), &root);
        same(what, &load(&bare(&path)));
    }
}

#[test]
fn the_choice_of_one_among_several_is_said() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("w.pt");
    let averaged = state_dict(&others(&openai()));
    let root = Object::Dict(vec![
        entry("ema", averaged),
        entry("net", state_dict(&openai())),
    ]);
    let checkpoint = bare(&write_torch_save(&path, &root));
    same("not the average", &load(&checkpoint));
    let said = "several CLIPs: the one under `net.` is used, not `ema.`";
    assert!(
        checkpoint.notes()[0].contains(said),
        "{:?}",
        checkpoint.notes()
    );

    // An average and an optimiser inside the state dict itself.
    let Object::Dict(mut all) = state_dict(&openai()) else {
        unreachable!();
    };
    all.push(entry("ema", state_dict(&others(&openai()))));
    let moments = prefixed("moment.", &openai());
    all.push(entry("optimizer", state_dict(&moments)));
    let path = write_torch_save(&scratch.path().join("w.pt"), &Object::Dict(all));
    let checkpoint = bare(&path);
    same("the outermost", &load(&checkpoint));
    let said = "the outermost one is used, not `optimizer.moment.`, `ema.`";
    assert!(
        checkpoint.notes()[0].ends_with(said),
        "{:?}",
        checkpoint.notes()
    );
    let mut twice = openai();
    twice.extend(prefixed("frozen.", &others(&openai())));
    let path = write_safetensors(&scratch.path().join("w.safetensors"), &twice);
    same("not the one inside", &load(&bare(&path)));

    let mut wrapped = prefixed("model.", &openai());
    wrapped.insert(
        "head.weight".into(),
        Tensor::zeros([2], (Kind::Float, Device::Cpu)),
    );
    let path = write_safetensors(&scratch.path().join("w.safetensors"), &wrapped);
    let checkpoint = bare(&path);
    same("without the head", &load(&checkpoint));
    let said = "1 tensors beside it are not used: head.weight";
    assert!(
        checkpoint.notes()[0].contains(said),
        "{:?}",
        checkpoint.notes()
    );

    // A prefix before some of the names only does not make a CLIP.
    let (image, text): (Weights, Weights) = openai()
        .into_iter()
        .partition(|(n, _)| n.starts_with("vis"));
    let mut half = prefixed("module.", &image);
    half.extend(text);
    let path = write_safetensors(&scratch.path().join("half.safetensors"), &half);
    let error = Checkpoint::open_with_config(&path, &config())
        .unwrap_err()
        .to_string();
    for part in [
        "missing parameters: visual.proj [64, 32]",
        "unexpected parameters: module.visual.",
        "more",
    ] {
        assert!(error.contains(part), "{error}");
    }

    // Both layouts, both formats and an index.
    let place = scratch.path().join("folder");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("config.json"), HUGGING_FACE_CONFIG).unwrap();
    fs::write(place.join("open_clip_config.json"), OPEN_CLIP_CONFIG).unwrap();
    fs::write(place.join("model.safetensors.index.json"), "{}").unwrap();
    write_safetensors(&place.join("model.safetensors"), &weights(&config()));
    write_safetensors(
        &place.join("open_clip_model.safetensors"),
        &others(&openai()),
    );
    write_torch_save(&place.join("pytorch_model.bin"), &Object::Int(1));
    let checkpoint = Checkpoint::open(&place).unwrap();
    same("Hugging Face's safetensors", &load(&checkpoint));
    let said = "config.json with model.safetensors is read, not model.safetensors.index.json, \
                pytorch_model.bin, open_clip_config.json, open_clip_model.safetensors";
    assert!(
        checkpoint.notes()[0].ends_with(said),
        "{:?}",
        checkpoint.notes()
    );
    fs::remove_file(place.join("model.safetensors")).unwrap();
    fs::remove_file(place.join("model.safetensors.index.json")).unwrap();
    fs::remove_file(place.join("pytorch_model.bin")).unwrap();
    let checkpoint = Checkpoint::open(&place).unwrap();
    assert!(checkpoint.notes()[0].ends_with("is read, not config.json"));
}

#[test]
fn bare_weights_need_an_architecture() {
    let scratch = tempfile::tempdir().unwrap();
    let path = write_torch_save(&scratch.path().join("w.pt"), &state_dict(&openai()));
    let error = Checkpoint::open_as(&path, None).unwrap_err();
    assert!(
        matches!(error, Error::NoArchitecture { like: None, .. }),
        "{error}"
    );
    let error = Checkpoint::open_as(&path, Some("ViT-B-17"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("ViT-B-16") && error.contains("ViT-B-17"),
        "{error}"
    );
    let error = Checkpoint::open_as(&path, Some("ViT-B-16")).unwrap_err();
    assert!(matches!(error, Error::Parameters { .. }), "{error}");

    let place = scratch.path().join("shape");
    fs::create_dir(&place).unwrap();
    let hugging_face = place.join("config.json");
    fs::write(&hugging_face, HUGGING_FACE_CONFIG).unwrap();
    let open_clip = scratch.path().join("any name.json");
    fs::write(&open_clip, OPEN_CLIP_CONFIG).unwrap();
    for shape in [&place, &hugging_face, &open_clip] {
        let checkpoint = Checkpoint::open_as(&path, Some(shape.to_str().unwrap())).unwrap();
        same("a configuration elsewhere", &load(&checkpoint));
        assert!(
            checkpoint.notes()[0].contains("is read as"),
            "{:?}",
            checkpoint.notes()
        );
        assert_eq!(checkpoint.architecture(), shape.to_str());
    }
    // A folder with weights alone, and one that states its own.
    fs::copy(&path, place.join("pytorch_model.bin")).unwrap();
    let error = Checkpoint::open_as(&place, Some("ViT-B-16"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("config.json states it"), "{error}");
    fs::remove_file(&hugging_face).unwrap();
    let shape = open_clip.to_str();
    same(
        "weights alone",
        &load(&Checkpoint::open_as(&place, shape).unwrap()),
    );

    // A file of a known layout by its path.
    let layout = scratch.path().join("layout");
    fs::create_dir(&layout).unwrap();
    fs::write(layout.join("config.json"), HUGGING_FACE_CONFIG).unwrap();
    let file = write_safetensors(&layout.join("model.safetensors"), &weights(&config()));
    same(
        "with its configuration beside it",
        &load(&Checkpoint::open(file).unwrap()),
    );

    // OpenAI's own attributes tell its state dicts from others.
    let mut own = openai();
    own.insert("input_resolution".into(), Tensor::from(16i64));
    let path = write_torch_save(&scratch.path().join("openai.pt"), &state_dict(&own));
    same(
        "OpenAI's state dict",
        &load(&Checkpoint::open(&path).unwrap()),
    );
}

#[test]
fn presets_with_either_activation() {
    let plain = Config::preset("ViT-B-16").unwrap();
    assert_eq!(Config::preset("ViT-B-16-quickgelu"), Some(plain.clone()));
    let gelu = Config::preset("vit_b_16_gelu").unwrap();
    assert_ne!(gelu.vision.activation, plain.vision.activation);
    assert_ne!(gelu.text.activation, plain.text.activation);
    assert_eq!(
        Config::preset("ViT-L/14@336px"),
        Some(Config::vit_l_14_336())
    );
    assert_eq!(Config::preset("RN50"), None);
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_their_tensor_s_name() {
    let scratch = tempfile::tempdir().unwrap();
    for (name, value) in [
        (
            "visual.transformer.resblocks.0.attn.in_proj_weight",
            f64::NAN,
        ),
        ("visual.conv1.weight", f64::INFINITY),
        ("transformer.resblocks.0.mlp.c_fc.bias", f64::NEG_INFINITY),
        ("logit_scale", f64::NAN),
    ] {
        for kind in [Kind::Float, Kind::Half] {
            let mut weights = openai();
            let tensor = weights.remove(name).unwrap().to_kind(kind);
            let _ = tensor.reshape([-1]).narrow(0, 0, 1).fill_(value);
            weights.insert(name.into(), tensor);
            let root = Object::Dict(vec![entry("model", state_dict(&weights))]);
            let path = write_torch_save(&scratch.path().join("w.pt"), &root);
            for usage in [Usage::Frozen, Usage::FineTuned] {
                let loaded = bare(&path).load(usage, Device::Cpu, Kind::Float);
                let error = loaded.unwrap_err().to_string();
                assert!(error.contains(&format!("w.pt: model.{name} ")), "{error}");
            }
        }
    }
}
