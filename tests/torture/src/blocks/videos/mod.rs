//! Hostile videos: mutants of small ones of many containers and codecs, and crafted ones. Each gives
//! its exact frames or a typed error, within limits of memory and 15 s.

mod crafted;
mod decode;
pub(crate) mod films;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

pub(crate) use decode::{confined, plain};

use crate::child::{Kind, Pool, Reply, keep, verdict};
use crate::mutate::mutate;
use crate::{Block, Cases, Context, Random, Verdict};
use crafted::{CRAFTED, Craft, Expect};
use films::{FILMS, Film, make};

/// One case in so many is a crafted video.
const CRAFTED_EACH: u64 = 20;

pub(crate) const BLOCK: Block = Block {
    number: 5,
    name: "videos",
    // 10,070 mutants, and each crafted video five times.
    cases: 10_600,
    share: 200,
    seconds: 500,
    prepare: |context| Ok(Box::new(Videos::prepare(context)?)),
};

/// Bytes that decoding may add to the process on the command line: its own limit of 1 GiB, and the
/// pictures that a decoder keeps.
const MEMORY: u64 = 2 << 30;

/// What a child is to decode.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The bytes of the path.
    path: Vec<u8>,
    /// The number of frames, if it is certain.
    frames: Option<usize>,
    /// Whether the file changes meanwhile: nothing but the kind of the end is certain then.
    changes: bool,
}

impl Request {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.as_os_str().as_bytes().to_vec(),
            frames: None,
            changes: false,
        }
    }

    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }
}

struct Videos {
    /// Those that this FFmpeg makes, and their bytes.
    films: Vec<&'static Film>,
    bytes: Vec<Vec<u8>>,
    folder: PathBuf,
    /// Mutants that once failed: the first cases.
    corpus: Vec<Vec<u8>>,
    /// Where a mutant that fails is kept.
    failed: PathBuf,
    plain: Pool,
    confined: Pool,
}

impl Videos {
    fn prepare(context: &Context) -> Result<Self> {
        let folder = context.folder.join("films");
        fs::create_dir(&folder)?;
        let (mut containers, mut codecs) = (BTreeSet::new(), BTreeSet::new());
        let (mut films, mut bytes) = (Vec::new(), Vec::new());
        for film in FILMS {
            if make(&folder, film, 1).with_context(|| film.name)? {
                containers.insert(Path::new(film.name).extension());
                codecs.insert(film.encoder);
                films.push(film);
                bytes.push(fs::read(folder.join(film.name))?);
            } else {
                eprintln!("videos: this FFmpeg has no encoder {}", film.encoder);
            }
        }
        if containers.len() < 12 || codecs.len() < 12 {
            let (containers, codecs) = (containers.len(), codecs.len());
            bail!("this FFmpeg makes {containers} containers and {codecs} codecs, fewer than 12");
        }
        films::make(&folder, &crafted::BESIDE, 1)?;
        films::sound(&folder.join("sound.ts"))?;
        films::sound(&folder.join("sound.mkv"))?;
        films::sound(&folder.join("sound.avi"))?;
        Ok(Self {
            films,
            bytes,
            plain: Pool::new(Kind::Plain, &context.folder),
            confined: Pool::new(Kind::Confined, &context.folder),
            corpus: corpus(&context.root.join("tests/torture/corpus/videos"))?,
            failed: context.folder.with_file_name("failed-inputs"),
            folder,
        })
    }

    fn mutant(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        let number = index as usize % self.films.len();
        let mut bytes = self.bytes[number].clone();
        let kept = self.corpus.get(index as usize);
        // Now and then an original, whose frames have to come.
        let whole = kept.is_none() && random.below(50) == 0;
        if let Some(kept) = kept {
            bytes.clone_from(kept);
        } else if !whole {
            mutate(&mut bytes, &self.bytes, false, random);
        }
        let path = folder.join("video");
        fs::write(&path, &bytes).map_err(|error| error.to_string())?;
        let frames = whole.then(|| self.films[number].times.len());
        let request = Request {
            frames,
            ..Request::new(&path)
        };
        let ended = self.both(&request, Some(&bytes));
        ended.map_err(|words| {
            let kept = keep(&self.failed, self.films[number].name, index, &bytes);
            format!("{words} ({kept})")
        })
    }

    /// Decodes as the command line does, and the bytes as the server does.
    fn both(&self, request: &Request, bytes: Option<&[u8]>) -> Result<Verdict, String> {
        let plain = self.plain.ask(request, None, MEMORY)?;
        if let Some(bytes) = bytes {
            let reply = self.confined.ask(request, Some(bytes), MEMORY);
            let reply = reply.map_err(|words| format!("confined: {words}"))?;
            if let Reply::Failed(words) = reply {
                return Err(format!("confined: {words}"));
            }
        }
        verdict(plain)
    }
}

/// The files of a folder, by their names.
fn corpus(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files.map(|file| file.path()).collect();
    files.sort();
    Ok(files.iter().map(fs::read).collect::<std::io::Result<_>>()?)
}

impl Cases for Videos {
    fn run(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        if index % CRAFTED_EACH != CRAFTED_EACH - 1 {
            return self.mutant(index, random, folder);
        }
        let number = (index / CRAFTED_EACH) as usize;
        let (name, craft, expect) = &CRAFTED[number % CRAFTED.len()];
        let from = &self.folder;
        let path = folder.join("video");
        let made = match craft {
            Craft::Bytes(make) => make(from).map(|bytes| {
                fs::write(&path, &bytes)?;
                Ok((path, Some(bytes), None))
            }),
            Craft::Path(make) => make(from, folder).map(|path| Ok((path, None, None))),
            Craft::Changing(make) => make(from).map(|bytes| {
                fs::write(&path, &bytes)?;
                let (moving, bytes_of) = (path.clone(), bytes.clone());
                let change = std::thread::spawn(move || crafted::change(&moving, &bytes_of));
                Ok((path, None, Some(change)))
            }),
        };
        let (path, bytes, change): (_, Option<Vec<u8>>, _) = made
            .and_then(|made: std::io::Result<_>| Ok(made?))
            .map_err(|error: anyhow::Error| format!("{name}: cannot be made: {error:#}"))?;
        let frames = match expect {
            Expect::Frames(count) => Some(*count),
            _ => None,
        };
        let request = Request {
            frames,
            changes: change.is_some(),
            ..Request::new(&path)
        };
        let ended = self.both(&request, bytes.as_deref());
        if let Some(change) = change {
            let _ = change.join();
        }
        match (ended, expect) {
            (Ok(Verdict::Done), Expect::Refused) => Err(format!("{name}: gave frames")),
            (Ok(Verdict::Refused), Expect::Frames(_)) => Err(format!("{name}: refused")),
            (ended, _) => ended.map_err(|words| format!("{name}: {words}")),
        }
    }
}
