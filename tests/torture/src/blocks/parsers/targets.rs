//! The entry points: each reads one input, whatever it holds. They are the targets of `fuzz/`, too.
//!
//! An input is read, or refused with a typed error; what is read keeps its promises.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use clip_backbone::Tokenizer;
use clip_backbone::weights::pickle::{Form, Pickle, Value};
use clip_backbone::weights::{TorchFile, open_safetensors};
use data::formats::{
    FORMATS, Lists, Missing, ReadOptions, clip_lists, comma_separated, read_class_index,
};
use data::{ClassName, Manifest, NameStyle, SkipList};
use hub::{CLIP, Client, Hub, Id, Patience};
use recogniser::{Labels, templates};
use testkit::server::{self, Request, Server};
use trainer::config::Config;
use video::{Limits, Video};

use crate::blocks::videos::plain;
use crate::child::Reply;

/// Whether the input was read; a broken promise in words.
pub type Read = Result<bool, String>;

/// A target, given a folder to write to.
pub type Target = fn(&[u8], &Path) -> Read;

/// The longest error, in bytes: it may quote an input once or twice, and be cut off when it is printed.
const MESSAGE: usize = 4 << 20;

/// The outcome of a reader, whose error has to be short.
fn of<T, E: std::error::Error>(read: Result<T, E>) -> Result<Option<T>, String> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let mut said = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                said += &cause.to_string();
                source = cause.source();
            }
            match said.len() > MESSAGE {
                true => Err(format!("an error of {} bytes: {said:.200?}", said.len())),
                false => Ok(None),
            }
        }
    }
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, String> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(|error| error.to_string())?;
    Ok(path)
}

/// The official lists of each public data set: the format and its files.
pub(crate) const LISTS: &[(&str, &[(&str, &str)])] = &[
    (
        "ucf101",
        &[
            ("classInd.txt", "1 Archery\n2 PushUps\n3 YoYo\n"),
            (
                "trainlist01.txt",
                "Archery/v_Archery_g08_c01.avi 1\nPushUps/v_PushUps_g09_c02.avi 2\nYoYo/v_YoYo_g10_c01.avi 3\n",
            ),
            (
                "testlist01.txt",
                "Archery/v_Archery_g01_c01.avi\nPushUps/v_PushUps_g02_c02.avi\nYoYo/v_YoYo_g03_c01.avi\n",
            ),
        ],
    ),
    (
        "hmdb51",
        &[
            (
                "wave_test_split1.txt",
                "a_wave_u_cm_np1_ba_med_0.avi 1\nb_wave_f.avi 2\nc.avi 0\n",
            ),
            (
                "run_test_split1.txt",
                "a_run_u_cm_np1_ba_med_0.avi 1\nb_run_f.avi 2\n",
            ),
        ],
    ),
    (
        "kinetics400",
        &[
            (
                "train.csv",
                "label,youtube_id,time_start,time_end,split\n\"air drumming\",0wR5jVB-WPk,0,10,train\narchery,-1q7jA3DXQM,5,15,train\n",
            ),
            (
                "val.csv",
                "label,youtube_id,time_start,time_end,split\n\"air drumming\",abcdefghijk,1,11,validate\n",
            ),
        ],
    ),
    (
        "charades",
        &[
            (
                "Charades_v1_classes.txt",
                "c000 Holding some clothes\nc001 Putting clothes somewhere\n",
            ),
            (
                "Charades_v1_train.csv",
                "id,subject,scene,quality,actions\nYSKX3,P1,Room,5,c000 11.90 21.20;c001 0.00 12.60\n46GP8,P2,Room,6,\n",
            ),
            (
                "Charades_v1_test.csv",
                "id,subject,scene,quality,actions\nAAAAA,P3,Room,5,c001 1.00 2.00\n",
            ),
        ],
    ),
    (
        "ssv2",
        &[
            (
                "labels.json",
                "{\"Holding something\": \"0\", \"Turning something upside down\": \"1\"}",
            ),
            (
                "train.json",
                "[{\"id\": \"78687\", \"label\": \"holding potato\", \"template\": \"Holding [something]\", \"placeholders\": [\"potato\"]}]",
            ),
            (
                "validation.json",
                "[{\"id\": \"74225\", \"label\": \"turning a cup upside down\", \"template\": \"Turning [something] upside down\", \"placeholders\": [\"a cup\"]}]",
            ),
            ("test.json", "[{\"id\": \"1420\"}]"),
            ("test-answers.csv", "1420;Holding something\n"),
        ],
    ),
];

/// The lists of a data set: the first byte chooses the file that holds the rest.
pub fn lists(input: &[u8], folder: &Path) -> Read {
    let Some((chosen, content)) = input.split_first() else {
        return Ok(false);
    };
    let files: Vec<(usize, usize)> = (0..LISTS.len())
        .flat_map(|set| (0..LISTS[set].1.len()).map(move |file| (set, file)))
        .collect();
    let (set, file) = files[usize::from(*chosen) % files.len()];
    let (name, official) = LISTS[set];
    for (place, (name, text)) in official.iter().enumerate() {
        put(
            folder,
            name,
            if place == file {
                content
            } else {
                text.as_bytes()
            },
        )?;
    }
    let options = ReadOptions {
        missing: Missing::Unchecked,
        ..ReadOptions::default()
    };
    let format = FORMATS.iter().find(|format| format.name == name);
    let format = format.ok_or_else(|| format!("no format {name}"))?;
    let read = of(format.read(&folder.join("videos"), Some(folder), options));
    for (name, _) in official {
        let _ = fs::remove_file(folder.join(name));
    }
    read?.map_or(Ok(false), |found| sound(&found.manifest, folder))
}

/// A list of one's own clips.
pub fn csv(input: &[u8], folder: &Path) -> Read {
    let list = put(folder, "list.csv", input)?;
    let options = ReadOptions {
        missing: Missing::Unchecked,
        ..ReadOptions::default()
    };
    match of(clip_lists(
        "mine",
        &folder.join("videos"),
        &Lists::one(&list),
        options,
    ))? {
        Some(found) => sound(&found.manifest, folder),
        None => Ok(false),
    }
}

/// A manifest.
pub fn manifest(input: &[u8], folder: &Path) -> Read {
    let path = put(folder, "manifest.json", input)?;
    match of(Manifest::load(&path))? {
        Some(manifest) => sound(&manifest, folder),
        None => Ok(false),
    }
}

/// What holds for every manifest: labels are classes, ids are distinct, files are inside the root, and
/// it is the same after it is written and read.
fn sound(manifest: &Manifest, folder: &Path) -> Read {
    let classes = manifest.classes().len();
    for (place, clip) in manifest.clips().iter().enumerate() {
        if clip.labels.is_empty() || clip.labels.iter().any(|label| *label >= classes) {
            return Err(format!(
                "the clip {:?} has labels {:?}",
                clip.id, clip.labels
            ));
        }
        if manifest.position(&clip.id) != Some(place) {
            return Err(format!("the id {:?} is not its own", clip.id));
        }
        let inside = clip.path.components().all(|part| {
            use std::path::Component::{CurDir, Normal};
            matches!(part, Normal(_) | CurDir)
        });
        if !inside {
            return Err(format!("{:?} is outside the root", clip.path));
        }
    }
    let path = folder.join("again.json");
    manifest
        .save(&path)
        .map_err(|error| format!("not written: {error}"))?;
    let again = Manifest::load(&path).map_err(|error| format!("not read again: {error}"))?;
    match again.fingerprint() == manifest.fingerprint() {
        true => Ok(true),
        false => Err("another manifest after it was written and read".into()),
    }
}

/// A configuration, and the same text as settings of the command line.
pub fn config(input: &[u8], _: &Path) -> Read {
    let text = String::from_utf8_lossy(input);
    let settings: Vec<String> = match text.split_once('\u{1}') {
        Some((_, settings)) => settings.lines().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    let file = text.split('\u{1}').next().unwrap_or_default();
    let Some(config) = of(Config::parse("input", file, &settings))? else {
        return Ok(false);
    };
    let toml = config
        .to_toml()
        .map_err(|error| format!("no TOML: {error}"))?;
    let again = Config::parse("again", &toml, &[]).map_err(|error| format!("again: {error}"))?;
    let again = again.to_toml().map_err(|error| format!("again: {error}"))?;
    match again == toml {
        true => Ok(true),
        false => Err("another configuration after it was written and read".into()),
    }
}

/// A table of class names, a list of labels, a template and a list of skipped videos.
pub fn class_names(input: &[u8], folder: &Path) -> Read {
    let path = put(folder, "classes.txt", input)?;
    let table = of(read_class_index(&path))?;
    let labels = of(Labels::read(&path))?;
    let skipped = of(SkipList::load(&path))?;
    let text = String::from_utf8_lossy(input);
    let parsed = of(Labels::parse(&text))?;
    of(templates(&[text.to_string()]))?;
    for name in comma_separated(&text)
        .iter()
        .map(String::as_str)
        .chain([&*text])
    {
        let name = ClassName::new(name);
        for style in [NameStyle::Words, NameStyle::Raw] {
            let text = name.text(style);
            if ClassName::new(&*text).key() != name.key() {
                return Err(format!(
                    "{:?} and its text {text:?} are two classes",
                    name.raw()
                ));
            }
        }
    }
    Ok(table.is_some() || labels.is_some() || parsed.is_some() || skipped.is_some())
}

/// The demo's vocabulary.
const VOCABULARY: &str = include_str!("../../../../../datasets/demo/backbone/tokenizer.json");

/// A text, or a vocabulary if it starts with a brace.
pub fn tokenizer(input: &[u8], folder: &Path) -> Read {
    static DEMO: OnceLock<Tokenizer> = OnceLock::new();
    const CONTEXT: i64 = 77;
    if input.first() == Some(&b'{') {
        let path = put(folder, "tokenizer.json", input)?;
        return match of(Tokenizer::open(&path, CONTEXT))? {
            Some(tokenizer) => encoded(
                &tokenizer,
                "a \u{1f3ac} of Someone\u{301}'s 12 dogs <|endoftext|>",
            ),
            None => Ok(false),
        };
    }
    let demo = match DEMO.get() {
        Some(demo) => demo,
        None => {
            let path = put(folder, "demo.json", VOCABULARY.as_bytes())?;
            let demo = Tokenizer::open(&path, CONTEXT).map_err(|error| error.to_string())?;
            DEMO.get_or_init(|| demo)
        }
    };
    encoded(demo, &String::from_utf8_lossy(input))
}

fn encoded(tokenizer: &Tokenizer, text: &str) -> Read {
    let tokens = tokenizer.encode(text);
    let (start, end) = (tokenizer.start_of_text(), tokenizer.end_of_text());
    let pieces = tokenizer.pieces(text);
    let inner = &tokens.ids[1..tokens.ids.len() - 1];
    let sound = tokens.ids.len() <= tokenizer.context()
        && tokens.ids.first() == Some(&start)
        && tokens.ids.last() == Some(&end)
        && pieces.starts_with(inner)
        && tokens.truncated == (pieces.len() > inner.len())
        && pieces
            .iter()
            .all(|id| (0..end).contains(id) && *id != start);
    match sound {
        true => Ok(true),
        false => Err(format!("{text:.100?} is {:?}", tokens.ids)),
    }
}

/// A file of safetensors.
pub fn safetensors(input: &[u8], folder: &Path) -> Read {
    let path = put(folder, "model.safetensors", input)?;
    let Some(tensors) = of(open_safetensors(&path))? else {
        return Ok(false);
    };
    for (name, tensor) in tensors {
        let size: i64 = tensor.shape().iter().product();
        let read = tensor.read(tch::Device::Cpu, tensor.kind());
        match read {
            Ok(read) if read.size() == tensor.shape() => {}
            Ok(read) => return Err(format!("{name:?}: {:?}, not {size}", read.size())),
            Err(error) => return Err(format!("{name:?}: promised, not read: {error}")),
        }
    }
    Ok(true)
}

/// A pickle.
pub fn pickle(input: &[u8], _: &Path) -> Read {
    match of(Pickle::parse(input))? {
        Some(pickle) => {
            walk(pickle.root());
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Visits a part of what a pickle holds.
fn walk(root: Value<'_>) {
    let mut left = vec![root];
    for _ in 0..10_000 {
        let Some(value) = left.pop() else { return };
        if let Form::Tensor(spec) = value.form() {
            let _ = format!("{spec:?}");
        }
        left.extend(value.items().take(100));
        left.extend(value.entries().take(100).flat_map(<[_; 2]>::from));
    }
}

/// A file of `torch.save`.
pub fn torch_file(input: &[u8], folder: &Path) -> Read {
    let path = put(folder, "model.pt", input)?;
    let Some(file) = of(TorchFile::open(&path))? else {
        return Ok(false);
    };
    let Some(tensors) = of(file.tensors(file.root()))? else {
        return Ok(false);
    };
    for tensor in tensors
        .values()
        .filter(|tensor| tensor.shape().iter().all(|n| *n < 1 << 20))
    {
        of(tensor.read(tch::Device::Cpu, tensor.kind()))?;
    }
    Ok(true)
}

/// A video, decoded in every way.
pub fn decoder(input: &[u8], folder: &Path) -> Read {
    let path = put(folder, "video", input)?;
    match plain(&crate::blocks::videos::Request::new(&path)) {
        Reply::Done => Ok(true),
        Reply::Refused(_) => Ok(false),
        Reply::Failed(words) => Err(words),
    }
}

/// The header of a video.
pub fn video_header(input: &[u8], folder: &Path) -> Read {
    let path = put(folder, "video", input)?;
    match of(Video::open(&path, &Limits::default()))? {
        Some(video) => {
            let header = video.header();
            match header.width.saturating_mul(header.height) > 1 << 30 {
                true => Err(format!("{}x{} within limits", header.width, header.height)),
                false => Ok(true),
            }
        }
        None => Ok(false),
    }
}

/// The answers of a hub, in the order in which they are asked: the listing, an index of shards, the
/// headers of a file, separated by bytes of 1.
pub fn hub_answers(input: &[u8], folder: &Path) -> Read {
    static ANSWERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER
        .get_or_init(|| Server::start(|request, _| answer(request, &ANSWERS.lock().unwrap())));
    *ANSWERS.lock().unwrap() = input.split(|byte| *byte == 1).map(<[u8]>::to_vec).collect();
    let cache = folder.join("hub/cache");
    let _ = fs::remove_dir_all(folder.join("hub"));
    let hub = Hub {
        endpoint: server.base.clone(),
        cache: cache.clone(),
        token: None,
        offline: false,
        client: Client::new(Patience {
            attempts: 1,
            pause: Duration::ZERO,
            silence: Duration::from_secs(5),
        }),
    };
    let id: Id = "org/clip".parse().map_err(|_| "no id".to_owned())?;
    let fetched = of(hub.fetch(&id, &CLIP))?;
    let outside = fs::read_dir(folder.join("hub"))
        .into_iter()
        .flatten()
        .flatten();
    if let Some(file) = outside.into_iter().find(|file| file.path() != cache) {
        return Err(format!("{:?} is outside the cache", file.path()));
    }
    match fetched {
        None => Ok(false),
        Some(place) if !place.starts_with(&cache) => Err(format!("{place:?} is outside the cache")),
        // What was fetched verifies.
        Some(_) => match hub.cached(&id, &CLIP) {
            Ok(Some(_)) => Ok(true),
            Ok(None) => Err("fetched, and not in the cache".into()),
            Err(error) => Err(format!("fetched, and damaged: {error}")),
        },
    }
}

fn answer(request: &Request, answers: &[Vec<u8>]) -> server::Reply {
    let part = |place: usize| answers.get(place).cloned().unwrap_or_default();
    if request.path.starts_with("/api/") {
        return server::Reply::ok(part(0));
    }
    let body = match request.path.ends_with("index.json") {
        true => part(1),
        false => b"{}".to_vec(),
    };
    // A header of several lines would be the server's fault, not an answer.
    let headers = String::from_utf8_lossy(&part(2)).into_owned();
    let mut reply = server::Reply::ranged(request, &body);
    let hash = disk::sha256(&body);
    reply = reply.header("ETag", format!("\"{hash}\""));
    for line in headers.lines() {
        if let Some((name, value)) = line.split_once(':')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !name.is_empty()
        {
            let value = value.replace("SHA", &hash);
            reply
                .headers
                .retain(|(old, _)| !old.eq_ignore_ascii_case(name));
            reply = reply.header(name, value);
        }
    }
    reply
}
