//! Changed inputs of every reader: each is read or refused with a typed error, without a panic, in no
//! more than 2 s, and what is read keeps its promises.

pub mod targets;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use ffmpeg_next::format::Pixel;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::videos::films;
use crate::child::{Kind, Pool, Reply, keep, verdict};
use crate::mutate::mutate;
use crate::{Block, Cases, Context, Random, Verdict};
use targets::Target;

/// Inputs of one case.
const EACH: u64 = 100;
/// Processor time of one input.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes by which a child may grow.
const MEMORY: u64 = 1 << 30;

/// A reader.
struct Parser {
    name: &'static str,
    run: Target,
    /// Whether its inputs are text.
    text: bool,
    seeds: fn() -> Result<Vec<Vec<u8>>>,
}

const fn parser(
    name: &'static str,
    run: Target,
    text: bool,
    seeds: fn() -> Result<Vec<Vec<u8>>>,
) -> Parser {
    Parser {
        name,
        run,
        text,
        seeds,
    }
}

const PARSERS: [Parser; 11] = [
    parser("lists", targets::lists, true, lists),
    parser("csv", targets::csv, true, || Ok(texts(CSV))),
    parser("manifest", targets::manifest, true, || Ok(texts(MANIFESTS))),
    parser("config", targets::config, true, configs),
    parser("class-names", targets::class_names, true, || {
        Ok(texts(CLASSES))
    }),
    parser("tokenizer", targets::tokenizer, true, tokenizer),
    parser("safetensors", targets::safetensors, false, safetensors),
    parser("pickle", targets::pickle, false, || Ok(pickles())),
    parser("torch-file", targets::torch_file, false, torch_files),
    parser("video-header", targets::video_header, false, videos),
    parser("hub", targets::hub_answers, true, || Ok(texts(HUB))),
];

pub(crate) const BLOCK: Block = Block {
    number: 6,
    name: "parsers",
    cases: PARSERS.len() as u64 * 1000,
    share: PARSERS.len() as u64 * 2,
    seconds: 600,
    prepare: |context| Ok(Box::new(Parsers::prepare(context)?)),
};

/// The inputs of a case that a child is to read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    parser: usize,
    seed: u64,
    start: u64,
    count: u64,
    /// The inputs that once failed.
    corpus: PathBuf,
    /// Where an input that fails is kept.
    failed: PathBuf,
}

struct Parsers {
    pool: Pool,
    seed: u64,
    corpus: PathBuf,
    failed: PathBuf,
}

impl Parsers {
    fn prepare(context: &Context) -> Result<Self> {
        Ok(Self {
            pool: Pool::new(Kind::Parser, &context.folder),
            seed: context.seed,
            corpus: context.root.join("tests/torture/corpus"),
            failed: context.folder.with_file_name("failed-inputs"),
        })
    }
}

impl Cases for Parsers {
    fn run(&self, index: u64, _: &mut Random, _: &Path) -> Result<Verdict, String> {
        let parsers = PARSERS.len() as u64;
        let parser = (index % parsers) as usize;
        let request = Request {
            parser,
            seed: self.seed,
            start: index / parsers * EACH,
            count: EACH,
            corpus: self.corpus.clone(),
            failed: self.failed.clone(),
        };
        let name = PARSERS[parser].name;
        match self.pool.ask(&request, None, MEMORY) {
            Ok(reply) => verdict(reply).map_err(|words| format!("{name}: {words}")),
            // One of them ended the process: which?
            Err(words) => {
                let last = (request.start..request.start + EACH).find_map(|start| {
                    let one = Request {
                        start,
                        count: 1,
                        ..request.clone()
                    };
                    let words = self.pool.ask(&one, None, MEMORY).err()?;
                    let input = input(&PARSERS[parser], self.seed, start, &seeds(parser));
                    let kept = keep(&self.failed, name, start, &input);
                    Some(format!("{name}: input {start} ({kept}): {words}"))
                });
                Err(last.unwrap_or(format!("{name}: {words}")))
            }
        }
    }
}

/// The seeds of a parser, made once by a process.
fn seeds(parser: usize) -> Arc<Vec<Vec<u8>>> {
    thread_local! {
        static SEEDS: RefCell<HashMap<usize, Arc<Vec<Vec<u8>>>>> = RefCell::default();
    }
    SEEDS.with_borrow_mut(|all| {
        let made = || Arc::new((PARSERS[parser].seeds)().unwrap());
        Arc::clone(all.entry(parser).or_insert_with(made))
    })
}

fn input(parser: &Parser, seed: u64, number: u64, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut random = Random::new(seed, &[parser.name, &number.to_string()]);
    let mut bytes = seeds[random.below(seeds.len())].clone();
    if number > 0 {
        mutate(&mut bytes, seeds, parser.text, &mut random);
    }
    bytes
}

/// Reads the inputs of a case.
pub(crate) fn parse(request: &Request) -> Reply {
    thread_local! {
        static FOLDER: tempfile::TempDir = tempfile::tempdir().unwrap();
    }
    let parser = &PARSERS[request.parser];
    let seeds = seeds(request.parser);
    let mut read = 0;
    let mut run = |input: &[u8], what: &str| {
        let before = processor_time();
        let outcome = FOLDER
            .with(|folder| catch_unwind(AssertUnwindSafe(|| (parser.run)(input, folder.path()))));
        let time = processor_time().saturating_sub(before);
        match outcome {
            Err(_) => Err(format!("{what} panicked: {}", crate::last_panic())),
            Ok(Err(words)) => Err(format!("{what}: {words}")),
            Ok(Ok(_)) if time > PATIENCE => Err(format!("{what} took {time:?}")),
            Ok(Ok(was_read)) => {
                read += u64::from(was_read);
                Ok(())
            }
        }
    };
    // Those that once failed come first.
    if request.start == 0 {
        let kept = fs::read_dir(request.corpus.join(parser.name));
        for file in kept.into_iter().flatten().flatten() {
            let bytes = fs::read(file.path()).unwrap_or_default();
            if let Err(words) = run(&bytes, &file.path().display().to_string()) {
                return Reply::Failed(words);
            }
        }
    }
    for number in request.start..request.start + request.count {
        let bytes = input(parser, request.seed, number, &seeds);
        if let Err(words) = run(&bytes, &format!("input {number}")) {
            let kept = keep(&request.failed, parser.name, number, &bytes);
            return Reply::Failed(format!("{words} ({kept})"));
        }
    }
    match read {
        0 => Reply::Refused(String::new()),
        _ => Reply::Done,
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Each official file, after the byte that chooses it.
fn lists() -> Result<Vec<Vec<u8>>> {
    let files = targets::LISTS.iter().flat_map(|(_, files)| *files);
    let numbered = files.enumerate();
    let input = numbered.map(|(number, (_, text))| [&[number as u8], text.as_bytes()].concat());
    Ok(input.collect())
}

const CSV: &[&str] = &[
    "a/1.avi 0\na/2.avi 0\nb/1.avi 1\n",
    "a 1.avi 16 0\nb 2.avi 20 1\n",
    "a.mp4 0 1 2\nb.mp4 2\n",
    "path,label\na.avi,Push Ups\n\"b, c.avi\",\"Yo \"\"Yo\"\"\"\n",
    "video;class;split;group\nx.avi;Archery;train;1\ny.avi;Archery;test;2\nz.avi;YoYo;val;3\n",
    "\u{feff}filename\tlabel\r\na.avi\t7\r\nb.avi\t9\r\n",
];

const MANIFESTS: &[&str] = &[
    r#"{"format":1,"dataset":"mine","root":"videos","classes":["Archery","YoYo"],"clips":[{"id":"a","path":"a.avi","labels":["Archery"],"group":"g1","frames":12},{"id":"b","path":"b/b.avi","labels":["YoYo","Archery"]}],"splits":[{"name":"1","train":["a"],"test":["b"]}]}"#,
    r#"{"format":1,"dataset":"","root":"/","classes":["A"],"clips":[{"id":"a","path":"a.avi","labels":["A"]}]}"#,
];

/// Every key, a preset and settings.
fn configs() -> Result<Vec<Vec<u8>>> {
    let all = trainer::config::Config::preset(models::Preset::Best).to_toml()?;
    Ok(vec![
        all.into_bytes(),
        b"name = \"x\"\n[train]\nepochs = 3\nlearning_rate = 1e-3\n[protocol]\nseeds = [0, 1]\n".to_vec(),
        b"threads = 2\n\x01train.epochs=2\nmodel.preset=best\ndata.root=/a b\nprotocol.seeds=[0,1]\n".to_vec(),
        b"\x01device=cuda:0\nbackbone.precision=bf16\ntrain.batch_size=8\n".to_vec(),
    ])
}

const CLASSES: &[&str] = &[
    "Archery\nPush Ups\nYo Yo\n",
    "1 Archery\n2 PushUps\n3 YoYo\n",
    "id,name\n0,Archery\n1,\"Walk, slowly\"\n",
    "{\"Archery\": 0, \"YoYo\": 1}",
    "archery, juggling balls, \"walk, slowly\"",
    "a video of {}.",
    "[\"a\", \"b\"]",
    "ApplyEyeMakeup\nHTTPRequest2Go\n\u{c9}t\u{e9}\n\u{4f60}\u{597d}\n",
];

fn tokenizer() -> Result<Vec<Vec<u8>>> {
    let vocabulary = include_str!("../../../../../datasets/demo/backbone/tokenizer.json");
    let mut all = texts(&[
        "a photo of a person doing push ups.",
        "it's SOMEONE'S <|endoftext|> 1234 \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f466} \u{e9}e\u{301} \u{fb01}",
        "&amp;lt; \u{0} \u{202e} \u{1f1e9}\u{1f1ea} \u{4f60}\u{597d}",
    ]);
    // A vocabulary takes a hundred times as long as a text.
    all.extend(all.clone());
    all.extend(all.clone());
    all.push(vocabulary.as_bytes().to_vec());
    Ok(all)
}

fn named_tensors() -> Vec<(&'static str, Tensor)> {
    let numbers = |shape: &[i64]| {
        Tensor::arange(
            shape.iter().product::<i64>(),
            (tch::Kind::Float, tch::Device::Cpu),
        )
        .view(shape)
    };
    vec![
        ("visual.proj", numbers(&[4, 3])),
        ("logit_scale", numbers(&[1])),
        ("half", numbers(&[2, 2]).to_kind(tch::Kind::Half)),
        ("ids", numbers(&[5]).to_kind(tch::Kind::Int64)),
        ("none", numbers(&[0])),
    ]
}

fn safetensors() -> Result<Vec<Vec<u8>>> {
    let file = tempfile::Builder::new().suffix(".safetensors").tempfile()?;
    Tensor::write_safetensors(&named_tensors(), file.path())?;
    Ok(vec![fs::read(file.path())?])
}

/// Pickles of every protocol, in the instructions that checkpoints are made of.
fn pickles() -> Vec<Vec<u8>> {
    let tensor = b"\x80\x02}(X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQK\x00K\x02K\x02\x86K\x02K\x01\x86\x89ccollections\nOrderedDict\n)RtRu.";
    vec![
        tensor.to_vec(),
        b"(lp0\nF0.5\naI01\naS'text'\naV\xe9t\xe9\na.".to_vec(),
        b"\x80\x04\x95\x20\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94K\x01\x8c\x01b\x94G?\xe8\x00\x00\x00\x00\x00\x00u.".to_vec(),
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.".to_vec(),
        b"\x80\x02cargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrK\x01sb.".to_vec(),
        b"\x80\x02]q\x00(h\x00h\x00e\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00a0]2\x85.".to_vec(),
        b"\x80\x02\x8f(K\x01\x90(K\x01\x91\x86.".to_vec(),
        b"\x80\x05\x8c\x08builtins\x8c\x09bytearray\x93C\x03abc\x85R.".to_vec(),
    ]
}

fn torch_files() -> Result<Vec<Vec<u8>>> {
    let file = tempfile::Builder::new().suffix(".pt").tempfile()?;
    Tensor::save_multi(&named_tensors(), file.path())?;
    let archive = fs::read(file.path())?;
    // The layout before archives: magic number, protocol, system, object, keys.
    let mut legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}X\x0d\x00\x00\x00little_endian\x88s.".to_vec();
    legacy.extend(&pickles()[0]);
    legacy.extend(b"\x80\x02]X\x01\x00\x00\x000a.\x04\x00\x00\x00\x00\x00\x00\x00");
    legacy.extend([0; 16]);
    Ok(vec![archive, legacy])
}

/// AVI and MP4, short: mostly headers.
fn videos() -> Result<Vec<Vec<u8>>> {
    let folder = tempfile::tempdir()?;
    let mut all = Vec::new();
    for name in ["a.avi", "a.mp4", "a.mov", "a.mkv"] {
        let film = films::Film {
            width: 16,
            height: 16,
            times: &[0, 1],
            ..films::film(name, "mpeg4", Pixel::YUV420P)
        };
        if films::make(folder.path(), &film, 1)? {
            all.push(fs::read(folder.path().join(name))?);
        }
    }
    Ok(all)
}

/// Answers of a hub, as [`targets::hub_answers`] takes them.
const HUB: &[&str] = &[
    "{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"siblings\":[{\"rfilename\":\"config.json\"},{\"rfilename\":\"model.safetensors\"}]}\u{1}\u{1}X-Linked-Etag: \"SHA\"\nX-Linked-Size: 2\n",
    "{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"siblings\":[{\"rfilename\":\"config.json\"},{\"rfilename\":\"model.safetensors.index.json\"}]}\u{1}{\"weight_map\":{\"a\":\"model-1.safetensors\",\"b\":\"../model-2.safetensors\"}}\u{1}",
    "{\"sha\":\"0123456789abcdef0123456789abcdef01234567\",\"siblings\":[{\"rfilename\":\"config.json\"},{\"rfilename\":\"model.safetensors.index.json\"}]}\u{1}{\"metadata\":{\"total_size\":2},\"weight_map\":{\"a\":\"model-1.safetensors\"}}\u{1}",
    "{\"sha\":\"../../x\",\"siblings\":[{\"rfilename\":\"../config.json\"}]}\u{1}\u{1}Location: http://127.0.0.1:9/x\nETag: W/\"../../../x\"\nContent-Length: 5\n",
];
