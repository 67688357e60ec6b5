//! Damaged and hostile checkpoints: each gives an error that names the file and the item.

use std::fs;
use std::path::{Path, PathBuf};

use clip_backbone::weights::pickle::Pickle;
use clip_backbone::{Checkpoint, Error, Tokenizer};
use tch::{Device, Kind, Tensor};
use zip::CompressionMethod;

use crate::writers::{
    HUGGING_FACE_CONFIG, OPEN_CLIP_CONFIG, Object, Pickler, Weights, config, openai_names,
    state_dict, weights, write_safetensors, write_torch_save, write_zip,
};

/// The error's variant, by name.
fn variant(error: &Error) -> &'static str {
    match error {
        Error::Io { .. } => "Io",
        Error::Malformed { .. } => "Malformed",
        Error::ConfigFile { .. } => "ConfigFile",
        Error::Unsupported { .. } => "Unsupported",
        Error::NoCheckpoint { .. } => "NoCheckpoint",
        Error::NoArchitecture { .. } => "NoArchitecture",
        Error::WrongFile { .. } => "WrongFile",
        Error::CutOff { .. } => "CutOff",
        Error::NotFinite { .. } => "NotFinite",
        Error::Parameters { .. } => "Parameters",
        Error::NoTokenizer { .. } => "NoTokenizer",
        _ => "another",
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(
    what: &str,
    got: Result<T, Error>,
    expected: &str,
    file: &str,
    item: &str,
) {
    let error = match got {
        Err(error) => error,
        Ok(value) => panic!("{what}: accepted as {value:?}"),
    };
    let message = error.to_string();
    assert_eq!(variant(&error), expected, "{what}: {message}");
    assert!(message.contains(file), "{what}: no {file:?} in {message:?}");
    assert!(message.contains(item), "{what}: no {item:?} in {message:?}");
    assert!(message.len() < 4000, "{what}: {} bytes", message.len());
}

/// Bare weights as a file of these bytes.
fn bare(folder: &Path, name: &str, bytes: &[u8]) -> Result<Checkpoint, Error> {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    Checkpoint::open_with_config(path, &config())
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn safetensors_files() {
    let scratch = tempfile::tempdir().unwrap();
    let whole = fs::read(write_safetensors(
        &scratch.path().join("whole.safetensors"),
        &weights(&config()),
    ))
    .unwrap();
    let header = "safetensors header";
    let cut = format!("cut off: {} bytes of {}", whole.len() - 7, whole.len());
    let mut longer = whole.clone();
    longer.extend([0; 5]);
    let tensor = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |entry: String| format!(r#"{{"logit_scale":{entry}}}"#);
    let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
    let nested = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "empty (0 bytes)"),
        ("shorter than a length", vec![1, 2, 3], "3 bytes, neither"),
        (
            "cut inside the header",
            whole[..100].to_vec(),
            "cut off: 100 bytes of at least",
        ),
        (
            "cut inside the data",
            whole[..whole.len() - 7].to_vec(),
            &cut,
        ),
        ("longer than its tensors", longer, "its tensors end at"),
        (
            "a header of 2^63 bytes",
            (1u64 << 63).to_le_bytes().to_vec(),
            "neither",
        ),
        (
            "a header of 101 MB",
            [&101_000_000u64.to_le_bytes()[..], b"{}"].concat(),
            header,
        ),
        (
            "a header that is no JSON",
            safetensors("{nonsense", &[]),
            header,
        ),
        (
            "a header that is not UTF-8",
            [&2u64.to_le_bytes()[..], &[0x7b, 0xff]].concat(),
            header,
        ),
        (
            "a header nested 5000 deep",
            safetensors(&nested, &[]),
            "neither",
        ),
        (
            "overlapping tensors",
            safetensors(
                &two(tensor("F32", "[2]", 0, 8), tensor("F32", "[2]", 4, 12)),
                &[0; 12],
            ),
            header,
        ),
        (
            "a hole between tensors",
            safetensors(
                &two(tensor("F32", "[1]", 0, 4), tensor("F32", "[1]", 8, 12)),
                &[0; 12],
            ),
            header,
        ),
        (
            "offsets beyond the file",
            safetensors(&one(tensor("F32", "[99]", 0, 396)), &[0; 8]),
            "cut off",
        ),
        (
            "offsets the wrong way round",
            safetensors(&one(tensor("F32", "[1]", 8, 4)), &[0; 8]),
            header,
        ),
        (
            "a shape that overflows",
            safetensors(
                &one(tensor("F32", "[4294967296,4294967296]", 0, 4)),
                &[0; 4],
            ),
            header,
        ),
        (
            "a shape that is not its length",
            safetensors(&one(tensor("F32", "[3]", 0, 8)), &[0; 8]),
            header,
        ),
        (
            "a negative shape",
            safetensors(&one(tensor("F32", "[-1]", 0, 4)), &[0; 4]),
            header,
        ),
        (
            "an unknown element type",
            safetensors(&one(tensor("F31", "[1]", 0, 4)), &[0; 4]),
            header,
        ),
        (
            "an eight-bit float",
            safetensors(&one(tensor("F8_E4M3", "[1]", 0, 1)), &[0; 1]),
            "logit_scale",
        ),
    ];
    for (what, bytes, item) in cases {
        let got = bare(scratch.path(), "bad.safetensors", &bytes);
        let expected = match item {
            _ if item.starts_with("cut off") => "CutOff",
            "empty (0 bytes)" | "3 bytes, neither" | "neither" => "WrongFile",
            _ => "Malformed",
        };
        refused(what, got, expected, "bad.safetensors", item);
    }
}

#[test]
fn parameters_that_do_not_belong() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("w.safetensors");
    let with = |change: &dyn Fn(&mut Weights)| {
        let mut weights = weights(&config());
        change(&mut weights);
        write_safetensors(&path, &weights);
        Checkpoint::open_with_config(&path, &config())
    };
    let fp32 = (Kind::Float, Device::Cpu);
    let projection = "text_projection.weight";

    // Missing, unused and wrong ones are all in the one message.
    let got = with(&|w| {
        w.remove("vision_model.post_layernorm.bias");
        w.insert("vision_model.surplus".into(), Tensor::zeros([1], fp32));
        w.insert("nonsense".into(), Tensor::zeros([1], fp32));
        w.insert(projection.into(), Tensor::zeros([64, 32], fp32));
    });
    let message = got.as_ref().unwrap_err().to_string();
    for part in [
        "1 missing parameters: vision_model.post_layernorm.bias [64]",
        "2 unexpected parameters: vision_model.surplus, nonsense",
        "text_projection.weight is [64, 32] and should be [32, 64]",
    ] {
        assert!(message.contains(part), "{message}");
    }
    refused(
        "all at once",
        got,
        "Parameters",
        "w.safetensors",
        projection,
    );

    let got = with(&|w| {
        w.insert(
            projection.into(),
            Tensor::zeros([32, 64], (Kind::Int64, Device::Cpu)),
        );
    });
    refused(
        "integers",
        got,
        "Parameters",
        "w.safetensors",
        "holds Int64",
    );
    let got = with(&|w| {
        w.insert(
            projection.into(),
            Tensor::zeros([32, 64], (Kind::Double, Device::Cpu)),
        );
    });
    refused(
        "doubles",
        got,
        "Parameters",
        "w.safetensors",
        "holds Double",
    );
    let got = with(&|w| w.retain(|name, _| name.starts_with("vision")));
    refused("half a model", got, "Parameters", "w.safetensors", "more");
    let got = with(&Weights::clear);
    refused(
        "no tensor at all",
        got,
        "Parameters",
        "w.safetensors",
        "logit_scale",
    );
    let got = with(&|w| {
        let name = "text_model.encoder.layers.1.layer_norm1.bias";
        w.insert(name.into(), Tensor::zeros([64], fp32));
    });
    refused(
        "a layer too many",
        got,
        "Parameters",
        "w.safetensors",
        "layers.1",
    );

    for (key, what) in [
        ("visual.layer1.0.conv1.weight", "ModifiedResNet"),
        ("visual.attnpool.c_proj.weight", "ModifiedResNet"),
        ("visual.trunk.blocks.0.norm1.weight", "timm"),
        ("visual.attn_pool.query", "attention pooling"),
        ("text_decoder.ln_final.weight", "CoCa"),
        ("text.transformer.encoder.layer.0.weight", "transformers"),
        ("vision_model.head.probe", "SigLIP"),
        ("logit_bias", "SigLIP"),
        ("visual.transformer.resblocks.0.ls_1.gamma", "layer scale"),
    ] {
        let got = with(&|w| {
            *w = openai_names(w);
            w.insert(key.into(), Tensor::zeros([1], fp32));
        });
        refused(key, got, "Unsupported", "w.safetensors", key);
        let got = with(&|w| {
            w.insert(key.into(), Tensor::zeros([1], fp32));
        });
        refused(key, got, "Unsupported", "w.safetensors", what);
    }
}

/// An archive whose `data.pkl` is these instructions.
fn archive(path: &Path, pickle: &[u8]) -> PathBuf {
    let files = [
        ("a/data.pkl".to_owned(), pickle.to_vec()),
        ("a/data/0".to_owned(), vec![0; 64]),
    ];
    write_zip(path, &files, CompressionMethod::Stored);
    path.into()
}

/// Instructions for one tensor of storage "0": claimed length, offset, sizes, strides.
fn tensor(storage: &str, length: i32, offset: i32, sizes: &[i32], strides: &[i32]) -> Vec<u8> {
    let mut pickle = Pickler::default();
    pickle.bytes.extend(b"\x80\x02}");
    pickle.text("logit_scale");
    pickle
        .bytes
        .extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle.text("storage");
    pickle.bytes.extend(b"ctorch\nFloatStorage\n");
    pickle.text(storage);
    pickle.text("cpu");
    pickle.int(length);
    pickle.bytes.extend(b"tQ");
    pickle.int(offset);
    for list in [sizes, strides] {
        pickle.bytes.push(b'(');
        list.iter().for_each(|&n| pickle.int(n));
        pickle.bytes.push(b't');
    }
    pickle.bytes.extend(b"\x89NtRs.");
    pickle.bytes
}

#[test]
fn pickles() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("bad.bin");
    let mut deep = b"\x80\x02".to_vec();
    deep.extend(b"]".repeat(100_000));
    deep.extend(b"a".repeat(99_999));
    let mut endless = b"\x80\x02".to_vec();
    endless.extend(b"N0".repeat(10));
    let mut many = b"\x80\x02".to_vec();
    many.extend(b"N".repeat((1 << 22) + 1));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        (
            "os.system",
            b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.".to_vec(),
            "os.system",
        ),
        (
            "posix.system by protocol 4",
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.".to_vec(),
            "posix.system",
        ),
        (
            "builtins.eval",
            b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.".to_vec(),
            "builtins.eval",
        ),
        (
            "a name that looks like torch's",
            b"\x80\x02ctorch\nload\n)R.".to_vec(),
            "torch.load",
        ),
        (
            "a look-alike module",
            b"\x80\x02ctorch._utils.x\n_rebuild_tensor_v2\n)R.".to_vec(),
            "torch._utils.x",
        ),
        (
            "a call of a class of TorchScript",
            b"\x80\x02c__torch__\nM\n)R.".to_vec(),
            "__torch__.M",
        ),
        (
            "an object of OrderedDict",
            b"\x80\x02ccollections\nOrderedDict\n)\x81.".to_vec(),
            "only a dict",
        ),
        (
            "INST, Python 2's call",
            b"\x80\x02(ios\nsystem\n.".to_vec(),
            "only an object of os.system",
        ),
        ("an extension code", b"\x80\x02\x82\x01.".to_vec(), "0x82"),
        ("pops without an end", endless, "ends early"),
        ("protocol 9", b"\x80\x09N.".to_vec(), "protocol 9"),
        ("no end", b"\x80\x02N".to_vec(), "ends early"),
        ("an empty pickle", vec![], "ends early"),
        ("an empty stack", b"\x80\x02.".to_vec(), "empty stack"),
        ("no mark", b"\x80\x02Nt.".to_vec(), "no mark"),
        (
            "a mark too deep",
            b"\x80\x02NN(\x860t.".to_vec(),
            "empty stack",
        ),
        ("an unset memo", b"\x80\x02hz.".to_vec(), "memo 122"),
        (
            "a memo at 2^32 - 1 that never was",
            b"\x80\x02Nj\xff\xff\xff\xff.".to_vec(),
            "memo 4294967295",
        ),
        (
            "a string of 4 GB",
            b"\x80\x02X\xff\xff\xff\xffab.".to_vec(),
            "ends early",
        ),
        (
            "a string that is not UTF-8",
            b"\x80\x02X\x02\x00\x00\x00\xff\xfe.".to_vec(),
            "UTF-8",
        ),
        (
            "an integer of 255 bytes",
            [&b"\x80\x02\x8a\xff"[..], &[1; 255], b"."].concat(),
            "only the name int",
        ),
        (
            "a key without a value",
            b"\x80\x02}(Nu.".to_vec(),
            "without a value",
        ),
        ("items for a dict", b"\x80\x02}Na.".to_vec(), "not a list"),
        (
            "entries for a list",
            b"\x80\x02]NNs.".to_vec(),
            "not a dict",
        ),
        (
            "attributes for a list",
            b"\x80\x02]}b.".to_vec(),
            "attributes",
        ),
        (
            "a persistent id that is no tuple",
            b"\x80\x02NQ.".to_vec(),
            "tuple",
        ),
        (
            "a name without an end",
            b"\x80\x02ctorch".to_vec(),
            "ends early",
        ),
        ("five million instructions", many, "instructions"),
        (
            "a negative storage",
            tensor("0", -1, 0, &[1], &[1]),
            "storage of -1",
        ),
        (
            "a tensor beyond its storage",
            tensor("0", 16, 10, &[8], &[1]),
            "16 elements",
        ),
        (
            "a huge tensor in a small storage",
            tensor("0", 16, 0, &[65536, 65536], &[0, 0]),
            "65536",
        ),
        (
            "a negative stride",
            tensor("0", 16, 4, &[4], &[-1]),
            "strides",
        ),
        (
            "a storage that claims more than it has",
            tensor("0", 1 << 30, 0, &[1 << 30], &[1]),
            "64 bytes",
        ),
        (
            "a storage that is missing",
            tensor("7", 16, 0, &[1], &[1]),
            "storage 7 is missing",
        ),
        (
            "a storage outside the folder",
            tensor("../../etc/passwd", 16, 0, &[1], &[1]),
            "is missing",
        ),
    ];
    for (what, pickle, item) in cases {
        archive(&path, &pickle);
        let got = Checkpoint::open_with_config(&path, &config());
        refused(what, got, "Malformed", "bad.bin", item);
    }

    // 100,000 lists inside each other cost their length, and hold no tensor.
    deep.push(b'.');
    archive(&path, &deep);
    let got = Checkpoint::open_with_config(&path, &config());
    refused("deep lists", got, "Malformed", "bad.bin", "only a list");
    // A dict inside itself, and dicts that double: 2^30 leaves if they were expanded.
    archive(&path, b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.");
    let got = Checkpoint::open_with_config(&path, &config());
    refused(
        "a dict in itself",
        got,
        "Malformed",
        "bad.bin",
        "only a dict",
    );
    let mut doubled = b"\x80\x02}q\x00".to_vec();
    for level in 0..30u8 {
        doubled.extend([b'}', b'q', level + 1]);
        for key in [b'a', b'b'] {
            doubled.extend([b'X', 1, 0, 0, 0, key, b'h', level, b's']);
        }
    }
    doubled.push(b'.');
    archive(&path, &doubled);
    let got = Checkpoint::open_with_config(&path, &config());
    refused("doubling dicts", got, "Malformed", "bad.bin", "only a dict");
}

#[test]
fn objects_that_share_their_attributes_cost_no_more_than_the_limit() {
    let scratch = tempfile::tempdir().unwrap();
    // A dict of 20,000 entries, and 20,000 objects that have it as their attributes.
    let mut shared = b"\x80\x02(}q\x00(".to_vec();
    for key in 0..20_000u16 {
        shared.extend(b"X\x02\x00\x00\x00");
        shared.extend(format!("{:02}", key % 90).bytes());
        shared.push(b'N');
    }
    shared.extend(b"ucm\nC\nq\x010");
    for _ in 0..20_000 {
        shared.extend(b"h\x01)\x81h\x00b");
    }
    shared.extend(b"l.");
    let path = archive(&scratch.path().join("bad.bin"), &shared);
    let got = Checkpoint::open_with_config(&path, &config());
    refused("shared attributes", got, "Malformed", "bad.bin", "entries");
}

#[test]
fn archives() {
    let scratch = tempfile::tempdir().unwrap();
    let good = scratch.path().join("good.bin");
    write_torch_save(&good, &state_dict(&weights(&config())));
    let whole = fs::read(&good).unwrap();
    Checkpoint::open_with_config(&good, &config()).unwrap();
    let path = scratch.path().join("bad.bin");
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Checkpoint::open_with_config(&path, &config())
    };
    let zip = |files: &[(&str, Vec<u8>)], method| {
        let files: Vec<_> = files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.clone()))
            .collect();
        write_zip(&path, &files, method);
        Checkpoint::open_with_config(&path, &config())
    };
    let stored = CompressionMethod::Stored;
    let empty = || b"\x80\x02}.".to_vec();

    refused("empty", open(b""), "WrongFile", "bad.bin", "empty");
    refused(
        "a page",
        open(b"<!DOCTYPE html>"),
        "WrongFile",
        "bad.bin",
        "web page",
    );
    refused(
        "a bare pickle",
        open(b"\x80\x02}."),
        "WrongFile",
        "bad.bin",
        "plain pickle",
    );
    let half = whole.len() / 2;
    refused(
        "cut off",
        open(&whole[..half]),
        "CutOff",
        "bad.bin",
        &format!("{half} bytes of at least"),
    );
    refused(
        "no directory",
        open(b"PK\x03\x04abc"),
        "CutOff",
        "bad.bin",
        "directory",
    );
    let mut flipped = whole.clone();
    let at = whole.windows(9).position(|w| w == b"_rebuild_").unwrap();
    flipped[at + 1] ^= 1;
    refused(
        "a flipped bit in the pickle",
        open(&flipped),
        "Malformed",
        "bad.bin",
        "data.pkl",
    );
    refused(
        "no pickle",
        zip(&[("a/x", empty())], stored),
        "WrongFile",
        "bad.bin",
        "zip archive",
    );
    let two = [("a/data.pkl", empty()), ("b/data.pkl", empty())];
    refused(
        "two pickles",
        zip(&two, stored),
        "Malformed",
        "bad.bin",
        "data.pkl",
    );
    let bomb = [("a/data.pkl", vec![b'N'; 50 << 20])];
    let got = zip(&bomb, CompressionMethod::Deflated);
    refused(
        "a bomb of 50 MB in 50 KB",
        got,
        "Malformed",
        "bad.bin",
        "compressed",
    );
    assert!(fs::metadata(&path).unwrap().len() < 1 << 17);
    let big = [("a/data.pkl", empty()), ("a/byteorder", b"big".to_vec())];
    refused(
        "big-endian",
        zip(&big, stored),
        "Malformed",
        "bad.bin",
        "byteorder",
    );

    // A directory that claims a storage of 4 GB in a file of some hundred bytes.
    let files = [("a/data.pkl", empty()), ("a/data/0", vec![7; 40])];
    zip(&files, stored).unwrap_err();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(4).rposition(|w| w == b"PK\x01\x02").unwrap();
    bytes[at + 20..at + 28].copy_from_slice(&[0xf0, 0xff, 0xff, 0xff, 0xf0, 0xff, 0xff, 0xff]);
    refused(
        "a size beyond the file",
        open(&bytes),
        "Malformed",
        "bad.bin",
        "a/data/0",
    );
}

#[test]
fn configurations() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().join("clip");
    fs::create_dir(&place).unwrap();
    let hugging_face = weights(&config());
    write_safetensors(&place.join("model.safetensors"), &hugging_face);
    let text = place.join("config.json");
    let with = |from: &str, to: &str| {
        assert!(HUGGING_FACE_CONFIG.contains(from), "{from}");
        fs::write(&text, HUGGING_FACE_CONFIG.replacen(from, to, 1)).unwrap();
        Checkpoint::open(&place)
    };
    let file = "config.json";
    for (what, from, to, expected, item) in [
        (
            "zero heads",
            "\"num_attention_heads\": 1",
            "\"num_attention_heads\": 0",
            "ConfigFile",
            "text.heads",
        ),
        (
            "heads that do not divide",
            "\"num_attention_heads\": 1",
            "\"num_attention_heads\": 3",
            "ConfigFile",
            "text.heads",
        ),
        (
            "a width of words",
            "\"hidden_size\": 64",
            "\"hidden_size\": \"wide\"",
            "ConfigFile",
            "text_config.hidden_size",
        ),
        (
            "a negative width",
            "\"hidden_size\": 64",
            "\"hidden_size\": -64",
            "ConfigFile",
            "text.width",
        ),
        (
            "a fraction of a layer",
            "\"num_hidden_layers\": 1",
            "\"num_hidden_layers\": 1.5",
            "ConfigFile",
            "num_hidden_layers",
        ),
        (
            "2^62 layers",
            "\"num_hidden_layers\": 1",
            "\"num_hidden_layers\": 4611686018427387904",
            "ConfigFile",
            "text.layers",
        ),
        (
            "patches larger than the picture",
            "\"patch_size\": 8",
            "\"patch_size\": 32",
            "ConfigFile",
            "patch_size",
        ),
        (
            "an unknown activation",
            "\"vocab_size\": 64",
            "\"vocab_size\": 64, \"hidden_act\": \"mish\"",
            "ConfigFile",
            "hidden_act",
        ),
        (
            "a zero epsilon",
            "\"vocab_size\": 64",
            "\"vocab_size\": 64, \"layer_norm_eps\": 0",
            "ConfigFile",
            "norm_eps",
        ),
        (
            "an epsilon of NaN",
            "\"vocab_size\": 64",
            "\"vocab_size\": 64, \"layer_norm_eps\": NaN",
            "Malformed",
            "JSON",
        ),
        (
            "an infinite epsilon",
            "\"vocab_size\": 64",
            "\"vocab_size\": 64, \"layer_norm_eps\": 1e999",
            "Malformed",
            "JSON",
        ),
        (
            "a list for a section",
            "\"vision_config\": {",
            "\"vision_config\": [], \"x\": {",
            "ConfigFile",
            "vision_config",
        ),
        (
            "another model",
            "\"model_type\": \"clip\"",
            "\"model_type\": \"siglip\"",
            "Unsupported",
            "siglip",
        ),
        (
            "one channel",
            "\"patch_size\": 8",
            "\"patch_size\": 8, \"num_channels\": 1",
            "Unsupported",
            "num_channels",
        ),
        ("no JSON", "{", "", "Malformed", "JSON"),
    ] {
        refused(what, with(from, to), expected, file, item);
    }
    let got = with("\"projection_dim\": 32", "\"projection_dim\": 48");
    refused(
        "a wrong projection",
        got,
        "Parameters",
        "model.safetensors",
        "[48, 64]",
    );
    let got = with("\"vocab_size\": 64", "\"vocab_size\": 65");
    refused(
        "a wrong vocabulary",
        got,
        "Parameters",
        "model.safetensors",
        "token_embedding",
    );
    fs::write(&text, [b"{\"a\": \"\xff\"}".as_slice()].concat()).unwrap();
    refused(
        "not UTF-8",
        Checkpoint::open(&place),
        "Malformed",
        file,
        "JSON",
    );
    fs::write(&text, "[".repeat(100_000)).unwrap();
    refused(
        "deep JSON",
        Checkpoint::open(&place),
        "Malformed",
        file,
        "JSON",
    );
    fs::write(&text, "3").unwrap();
    refused(
        "a number",
        Checkpoint::open(&place),
        "Malformed",
        file,
        "object",
    );

    fs::write(&text, HUGGING_FACE_CONFIG).unwrap();
    let preprocess = place.join("preprocessor_config.json");
    for (what, json, expected, item) in [
        (
            "a std of zero",
            r#"{"image_std": [0, 1, 1], "crop_size": 16, "size": 16}"#,
            "ConfigFile",
            "std",
        ),
        (
            "two channels",
            r#"{"image_mean": [0, 1], "crop_size": 16, "size": 16}"#,
            "ConfigFile",
            "image_mean",
        ),
        (
            "another size",
            r#"{"crop_size": 224, "size": 224}"#,
            "ConfigFile",
            "crop_size",
        ),
        (
            "a nearest filter",
            r#"{"resample": 0, "crop_size": 16, "size": 16}"#,
            "ConfigFile",
            "resample",
        ),
        (
            "no resize",
            r#"{"do_resize": false}"#,
            "Unsupported",
            "do_resize",
        ),
    ] {
        fs::write(&preprocess, json).unwrap();
        refused(
            what,
            Checkpoint::open(&place),
            expected,
            "preprocessor_config.json",
            item,
        );
    }
    fs::remove_file(&preprocess).unwrap();
    fs::remove_file(place.join("model.safetensors")).unwrap();

    let index = place.join("model.safetensors.index.json");
    for (what, json, expected, item) in [
        (
            "a shard outside",
            r#"{"weight_map": {"a": "../../secret.safetensors"}}"#,
            "ConfigFile",
            "weight_map.a",
        ),
        (
            "an absolute shard",
            r#"{"weight_map": {"a": "/etc/passwd"}}"#,
            "ConfigFile",
            "weight_map.a",
        ),
        (
            "a shard of no name",
            r#"{"weight_map": {"a": 3}}"#,
            "ConfigFile",
            "weight_map.a",
        ),
        ("no map", r#"{"metadata": {}}"#, "ConfigFile", "weight_map"),
    ] {
        fs::write(&index, json).unwrap();
        refused(what, Checkpoint::open(&place), expected, "index.json", item);
    }
    fs::write(&index, r#"{"weight_map": {"a": "gone.safetensors"}}"#).unwrap();
    refused(
        "a missing shard",
        Checkpoint::open(&place),
        "Malformed",
        "gone.safetensors",
        "1 of 1 files are missing",
    );
    fs::write(
        &index,
        r#"{"weight_map": {"a": "x.safetensors", "b": "y.safetensors"}}"#,
    )
    .unwrap();
    write_safetensors(&place.join("x.safetensors"), &hugging_face);
    write_safetensors(&place.join("y.safetensors"), &hugging_face);
    refused(
        "a parameter twice",
        Checkpoint::open(&place),
        "Malformed",
        "y.safetensors",
        "another file",
    );
}

#[test]
fn open_clip_configurations() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path();
    let openai = openai_names(&weights(&config()));
    write_safetensors(&place.join("open_clip_model.safetensors"), &openai);
    let file = "open_clip_config.json";
    let vision = "\"vision_cfg\": {";
    let text = "\"text_cfg\": {";
    for (what, from, to, expected, item) in [
        (
            "a ResNet",
            "\"layers\": 1, \"width\"",
            "\"layers\": [3, 4, 6, 3], \"width\"",
            "Unsupported",
            "ModifiedResNet",
        ),
        (
            "timm",
            vision,
            "\"vision_cfg\": {\"timm_model_name\": \"vit_base\",",
            "Unsupported",
            "vit_base",
        ),
        (
            "attention pooling",
            vision,
            "\"vision_cfg\": {\"attentional_pool\": true,",
            "Unsupported",
            "attentional_pool",
        ),
        (
            "average pooling",
            vision,
            "\"vision_cfg\": {\"pool_type\": \"avg\",",
            "Unsupported",
            "pool_type",
        ),
        (
            "layer scale",
            vision,
            "\"vision_cfg\": {\"ls_init_value\": 0.1,",
            "Unsupported",
            "ls_init_value",
        ),
        (
            "an option nobody knows",
            vision,
            "\"vision_cfg\": {\"new_trick\": 2,",
            "Unsupported",
            "new_trick",
        ),
        (
            "an oblong picture",
            "\"image_size\": 16",
            "\"image_size\": [16, 32]",
            "Unsupported",
            "image_size",
        ),
        (
            "heads of no width",
            vision,
            "\"vision_cfg\": {\"head_width\": 0,",
            "ConfigFile",
            "head_width",
        ),
        (
            "heads wider than the tower",
            vision,
            "\"vision_cfg\": {\"head_width\": 640,",
            "ConfigFile",
            "vision.heads",
        ),
        (
            "a negative ratio",
            vision,
            "\"vision_cfg\": {\"mlp_ratio\": -4,",
            "ConfigFile",
            "mlp_ratio",
        ),
        (
            "an epsilon of words",
            vision,
            "\"vision_cfg\": {\"norm_kwargs\": {\"eps\": \"small\"},",
            "ConfigFile",
            "norm_kwargs.eps",
        ),
        (
            "a norm without gain",
            vision,
            "\"vision_cfg\": {\"norm_kwargs\": {\"elementwise_affine\": false},",
            "Unsupported",
            "elementwise_affine",
        ),
        (
            "another GELU",
            vision,
            "\"vision_cfg\": {\"act_kwargs\": {\"approximate\": \"tanh\"},",
            "Unsupported",
            "act_kwargs",
        ),
        (
            "a text tower of transformers",
            text,
            "\"text_cfg\": {\"hf_model_name\": \"roberta-base\",",
            "Unsupported",
            "roberta-base",
        ),
        (
            "another tokenizer",
            text,
            "\"text_cfg\": {\"hf_tokenizer_name\": \"t5\",",
            "Unsupported",
            "t5",
        ),
        (
            "no causal mask",
            text,
            "\"text_cfg\": {\"no_causal_mask\": true,",
            "Unsupported",
            "no_causal_mask",
        ),
        (
            "a text class token",
            text,
            "\"text_cfg\": {\"embed_cls\": true,",
            "Unsupported",
            "embed_cls",
        ),
        (
            "CoCa",
            text,
            "\"multimodal_cfg\": {}, \"text_cfg\": {",
            "Unsupported",
            "multimodal_cfg",
        ),
        (
            "SigLIP",
            text,
            "\"init_logit_bias\": -10, \"text_cfg\": {",
            "Unsupported",
            "init_logit_bias",
        ),
        (
            "no text tower",
            text,
            "\"text\": {",
            "ConfigFile",
            "text_cfg",
        ),
        (
            "no joint width",
            "\"embed_dim\": 32,",
            "",
            "ConfigFile",
            "embed_dim",
        ),
        (
            "padding",
            "\"squash\"",
            "\"longest\"",
            "Unsupported",
            "resize_mode",
        ),
        (
            "a std of zero",
            "[0.25, 0.25, 0.25]",
            "[0.25, 0, 0.25]",
            "ConfigFile",
            "std",
        ),
    ] {
        assert!(OPEN_CLIP_CONFIG.contains(from), "{from}");
        fs::write(place.join(file), OPEN_CLIP_CONFIG.replacen(from, to, 1)).unwrap();
        refused(what, Checkpoint::open(place), expected, file, item);
    }
    fs::write(place.join(file), OPEN_CLIP_CONFIG).unwrap();
    Checkpoint::open(place).unwrap();
}

#[test]
fn places() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path();
    let gone = place.join("gone.safetensors");
    refused(
        "missing",
        Checkpoint::open(&gone),
        "NoCheckpoint",
        "gone.safetensors",
        "hub id",
    );
    refused(
        "an empty folder",
        Checkpoint::open(place),
        "NoCheckpoint",
        "",
        "config.json",
    );
    fs::write(place.join("config.json"), HUGGING_FACE_CONFIG).unwrap();
    let got = Checkpoint::open(place);
    refused("no weights", got, "NoCheckpoint", "", "model.safetensors");
    fs::create_dir(place.join("model.safetensors")).unwrap();
    refused(
        "a folder for a file",
        Checkpoint::open(place),
        "NoCheckpoint",
        "",
        "beside",
    );
    let got = Checkpoint::open_with_config(place, &config());
    refused(
        "a folder as bare weights",
        got,
        "WrongFile",
        "",
        "a directory",
    );
    if cfg!(unix) {
        let got = Checkpoint::open_with_config("/dev/zero", &config());
        refused(
            "a device",
            got,
            "WrongFile",
            "/dev/zero",
            "not a regular file",
        );
    }
    let path = write_safetensors(&place.join("w.safetensors"), &weights(&config()));
    refused(
        "no preset",
        Checkpoint::open(&path),
        "NoArchitecture",
        "w.safetensors",
        "without a configuration",
    );
    let bare = Object::Dict(vec![("epoch".into(), Object::Int(1))]);
    let path = write_torch_save(&place.join("empty.pt"), &bare);
    refused(
        "no tensors",
        Checkpoint::open(&path),
        "Malformed",
        "empty.pt",
        "no tensors",
    );
}

#[test]
fn vocabularies() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path();
    let json = place.join("tokenizer.json");
    let with = |text: &str| {
        fs::write(&json, text).unwrap();
        Tokenizer::open(&json, 77)
    };
    let file = "tokenizer.json";
    let model =
        |inside: &str| format!(r#"{{"model": {{"end_of_word_suffix": "</w>", {inside}}}}}"#);
    for (what, text, expected, item) in [
        ("no JSON", "vocab".to_owned(), "Malformed", "JSON"),
        ("no model", "{}".to_owned(), "ConfigFile", "model"),
        (
            "another model",
            model(r#""type": "Unigram""#),
            "Unsupported",
            "Unigram",
        ),
        (
            "no word ends",
            r#"{"model": {"type": "BPE"}}"#.to_owned(),
            "Unsupported",
            "end_of_word_suffix",
        ),
        (
            "no vocabulary",
            model(r#""type": "BPE""#),
            "Malformed",
            "vocab",
        ),
        (
            "an id twice",
            model(r#""vocab": {"a": 1, "b": 1}, "merges": []"#),
            "Malformed",
            "not unique",
        ),
        (
            "a huge id",
            model(r#""vocab": {"a": 99999999999}, "merges": []"#),
            "Malformed",
            "an id",
        ),
        (
            "no merges",
            model(r#""vocab": {"a": 1}"#),
            "Malformed",
            "merges",
        ),
        (
            "a merge of three",
            model(r#""vocab": {"a": 1}, "merges": ["a b c"]"#),
            "Malformed",
            "merges",
        ),
        (
            "no special tokens",
            model(r#""vocab": {"a": 1}, "merges": []"#),
            "Malformed",
            "<|startoftext|>",
        ),
        (
            "bytes without tokens",
            model(r#""vocab": {"<|startoftext|>": 1, "<|endoftext|>": 2}, "merges": []"#),
            "Malformed",
            "byte",
        ),
    ] {
        refused(what, with(&text), expected, file, item);
    }
    fs::remove_file(&json).unwrap();
    refused(
        "an empty folder",
        Tokenizer::open(place, 77),
        "NoTokenizer",
        "",
        "merges.txt",
    );

    let gz = place.join("bpe_simple_vocab_16e6.txt.gz");
    fs::write(&gz, [0x1f, 0x8b, 8, 0, 0]).unwrap();
    refused(
        "cut gzip",
        Tokenizer::open(&gz, 77),
        "Malformed",
        "bpe_simple",
        "gzip",
    );
    fs::write(&gz, "#version\na b\n").unwrap();
    refused(
        "too few merges",
        Tokenizer::open(&gz, 77),
        "Malformed",
        "bpe_simple",
        "1 of",
    );
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(
        &mut std::io::Read::take(std::io::repeat(b'a'), 70 << 20),
        &mut packed,
    )
    .unwrap();
    fs::write(&gz, packed.finish().unwrap()).unwrap();
    refused(
        "a gzip bomb",
        Tokenizer::open(&gz, 77),
        "Malformed",
        "bpe_simple",
        "64 MiB",
    );
}

#[test]
fn any_bytes_are_refused_or_read_but_never_panic() {
    use proptest::prelude::*;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let seed = tensor("0", 16, 0, &[4, 4], &[4, 1]);
    // Random instructions, and real ones with a few bytes changed.
    runner
        .run(&proptest::collection::vec(any::<u8>(), 0..200), |bytes| {
            let _ = Pickle::parse(&bytes);
            Ok(())
        })
        .unwrap();
    let changes = proptest::collection::vec((0..seed.len(), any::<u8>()), 1..6);
    runner
        .run(&changes, |changes| {
            let mut bytes = seed.clone();
            for (at, value) in changes {
                bytes[at] = value;
            }
            if let Ok(pickle) = Pickle::parse(&bytes) {
                let _ = pickle.root().entries().count();
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn damaged_archives_and_headers_never_panic() {
    use proptest::prelude::*;
    let scratch = tempfile::tempdir().unwrap();
    let few: Weights = weights(&config())
        .into_iter()
        .filter(|(name, _)| name.contains("norm"))
        .collect();
    for (name, length) in [("w.safetensors", 4096), ("w.bin", 1 << 20)] {
        let path = scratch.path().join(name);
        match name {
            "w.bin" => write_torch_save(&path, &state_dict(&few)),
            _ => write_safetensors(&path, &few),
        };
        let whole = fs::read(&path).unwrap();
        let length = whole.len().min(length);
        let changes = proptest::collection::vec((0..length, any::<u8>()), 1..8);
        let config = proptest::test_runner::Config::with_cases(400);
        let mut runner = proptest::test_runner::TestRunner::new(config);
        runner
            .run(&(changes, 0..whole.len()), |(changes, cut)| {
                let mut bytes = whole.clone();
                for (at, value) in changes {
                    bytes[at] = value;
                }
                if cut % 4 == 0 {
                    bytes.truncate(cut);
                }
                // Half a model at best: always refused, with a message that names the file.
                let error = bare(scratch.path(), name, &bytes).unwrap_err();
                prop_assert!(error.to_string().contains(name), "{error}");
                Ok(())
            })
            .unwrap();
    }
}
