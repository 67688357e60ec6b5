//! A lying server, damaged and hostile archives, and two processes at once: a cache never holds a file
//! that is not the one named, and the next undisturbed run ends as it should.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hub::{CLIP, Client, Hub, Id, Patience};
use testkit::hub::{COMMIT, HubFile, ID, answer};
use testkit::server::{Reply, Request, Server, content};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::material::files;
use crate::mutate::mutate;
use crate::scenario::{Inputs, Scenario, writers};
use crate::{Block, Cases, Context, Random, Verdict};

pub(super) const BLOCK: Block = Block {
    number: 7,
    name: "downloads",
    // 308 lies of a server, 110 archives, 22 pairs of processes.
    cases: 440,
    share: 40,
    seconds: 150,
    prepare: |context| Ok(Box::new(Downloads::prepare(context)?)),
};

struct Downloads {
    xtask: PathBuf,
    archives: PathBuf,
    scenarios: Vec<Scenario>,
}

impl Downloads {
    fn prepare(context: &Context) -> Result<Self> {
        Ok(Self {
            xtask: context.xtask.clone(),
            scenarios: writers(context, &Inputs::new(context)?)?,
            archives: context.folder.join("archives"),
        })
    }
}

impl Cases for Downloads {
    fn run(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        match index % 20 {
            0..14 => lied_to(index, random, folder),
            14..19 => self.unpack(index, random, folder),
            _ => self.at_once(index / 20, folder),
        }
    }
}

/// A way to lie about an answer of the server.
type Lie = fn(&mut Random, &Request, Reply) -> Reply;

/// Each with its name; the first ones lie about a file, the others about what the hub says of it.
const LIES: &[(&str, Lie)] = &[
    ("cut", |random, _, reply| {
        let tenth = reply.body.len() * random.below(10) / 10;
        reply.cut(tenth)
    }),
    ("a flipped bit", |random, _, mut reply| {
        let at = random.below(reply.body.len());
        if let Some(byte) = reply.body.get_mut(at) {
            *byte ^= 1 << random.below(8);
        }
        reply
    }),
    ("longer", |_, _, mut reply| {
        reply.body.extend([7; 100]);
        reply
    }),
    ("shorter", |_, _, mut reply| {
        reply.body.truncate(reply.body.len() / 2);
        reply
    }),
    ("a length that is too large", |_, _, reply| {
        let length = reply.body.len() + 5;
        reply.header("Content-Length", length)
    }),
    ("a length that is too small", |_, _, reply| {
        let length = reply.body.len() / 2;
        reply.header("Content-Length", length)
    }),
    ("another range", |_, request, mut reply| {
        reply.headers.clear();
        reply.status = 206;
        let start = request.range().unwrap_or(0) + 1;
        let end = start + reply.body.len();
        reply.header("Content-Range", format!("bytes {start}-{end}/{end}"))
    }),
    ("a range without its place", |_, _, mut reply| {
        reply.headers.clear();
        reply.status = 206;
        reply
    }),
    ("the whole file as a range", |_, request, mut reply| {
        reply.headers.clear();
        reply.status = 206;
        let start = request.range().unwrap_or(0);
        reply.body = vec![1; reply.body.len() + start];
        reply.header("Content-Range", format!("bytes {start}-9/10"))
    }),
    ("no such range", |_, _, _| Reply::status(416)),
    ("a redirect to nobody", |_, _, _| {
        Reply::status(302).header("Location", "http://127.0.0.1:9/elsewhere")
    }),
    ("a redirect to itself", |_, request, _| {
        Reply::status(302).header("Location", &request.path)
    }),
    ("a redirect to a file", |_, _, _| {
        Reply::status(302).header("Location", "file:///etc/passwd")
    }),
    ("a page", |_, _, _| {
        Reply::ok("<!DOCTYPE html><html>log in</html>").header("Content-Type", "text/html")
    }),
    ("an error", |random, _, _| {
        Reply::status([400, 401, 403, 404, 429, 500, 503][random.below(7)])
    }),
    ("a slow drip", |_, _, mut reply| {
        reply.pause = Some(Duration::from_millis(1));
        reply
    }),
    ("silence", |_, _, mut reply| {
        reply.pause = Some(Duration::from_secs(1));
        reply
    }),
    ("nothing", |_, _, _| Reply::ok("")),
    ("an encoding", |_, _, reply| {
        reply.header("Content-Encoding", "gzip")
    }),
    ("no hash", |_, _, mut reply| {
        reply.headers.retain(|(name, _)| !name.contains("tag"));
        reply
    }),
    ("a hash that is a path", |_, _, mut reply| {
        reply.headers.retain(|(name, _)| !name.contains("tag"));
        reply.header("X-Linked-Etag", "\"../../../../escaped\"")
    }),
    ("another hash", |_, _, mut reply| {
        reply.headers.retain(|(name, _)| name != "X-Linked-Etag");
        reply.header("X-Linked-Etag", format!("\"{}\"", "0".repeat(64)))
    }),
    ("another size", |random, _, mut reply| {
        reply.headers.retain(|(name, _)| name != "X-Linked-Size");
        reply.header(
            "X-Linked-Size",
            ["0", "1", "-1", "99999999999999999999"][random.below(4)],
        )
    }),
    ("a listing that is cut", |random, _, mut reply| {
        reply.body.truncate(random.below(reply.body.len()));
        reply
    }),
    ("a listing of another commit", |random, _, reply| {
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let other = ["../../..", "", "0", &"f".repeat(40)][random.below(4)].to_owned();
        Reply::ok(text.replace(COMMIT, &other))
    }),
    ("a listing of nothing", |_, _, _| {
        Reply::ok(format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[]}}"))
    }),
];

/// Where a lie is told: at the file itself, at the question for its hash, at the listing.
fn concerns(name: &str, request: &Request) -> bool {
    let is_listing = request.path.starts_with("/api/");
    let is_question = request.method == "HEAD";
    match name {
        _ if name.starts_with("a listing") => is_listing,
        "no hash" | "a hash that is a path" | "another hash" | "another size" => is_question,
        "a redirect to nobody" | "a page" | "an error" | "nothing" => true,
        _ => !is_listing && !is_question,
    }
}

fn repository() -> Vec<HubFile> {
    let file = |name, body: Vec<u8>| HubFile {
        name,
        hash: disk::sha256(&body),
        body,
    };
    vec![
        HubFile {
            name: "config.json",
            body: b"{}".to_vec(),
            // Git's hash of it.
            hash: "9e26dfeeb6e641a33dae4961196235bdb965b21b".into(),
        },
        file("tokenizer.json", content(5000)),
        file("model.safetensors", content(300_000)),
    ]
}

fn hub_at(server: &Server, cache: &Path) -> Hub {
    Hub {
        endpoint: server.base.clone(),
        cache: cache.into(),
        token: Some("secret".into()),
        offline: false,
        client: Client::new(Patience {
            attempts: 3,
            pause: Duration::from_millis(1),
            silence: Duration::from_millis(300),
        })
        .with_progress(|_| Box::new(|_| ())),
    }
}

/// A download from a server that lies, and one from an honest server into the same cache.
fn lied_to(index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let cache = folder.join("cache");
    fs::create_dir(&cache).map_err(|error| words(&error))?;
    let id: Id = ID.parse().map_err(|error| words(&error))?;
    let honest = Server::start(|request, _| answer(request, &repository()));
    // Beyond the lies: what a cache may hold before.
    let kinds = LIES.len() as u64 + 3;
    let kind = (index % kinds) as usize;
    let ended = match LIES.get(kind) {
        Some((name, lie)) => {
            // For a while, or for good.
            let times = [1, 1, 2, 3, 1000][random.below(5)];
            let asked = Mutex::new((random.clone(), 0));
            let lying = Server::start(move |request, _| {
                let reply = answer(request, &repository());
                let mut asked = asked.lock().unwrap();
                if !concerns(name, request) || asked.1 >= times {
                    return reply;
                }
                asked.1 += 1;
                lie(&mut asked.0, request, reply)
            });
            hub_at(&lying, &cache).fetch(&id, &CLIP)
        }
        None => {
            let fetched = hub_at(&honest, &cache).fetch(&id, &CLIP);
            let place = fetched.map_err(|error| words(&error))?;
            disturb(kind - LIES.len(), random, &place, &cache).map_err(|error| words(&error))?;
            hub_at(&honest, &cache).fetch(&id, &CLIP)
        }
    };
    let name = LIES.get(kind).map_or("a damaged cache", |(name, _)| name);
    let bad = |what: String| Err(format!("{name}: {what}"));
    if let Err(error) = &ended
        && error.to_string().contains('\n')
    {
        return bad(format!("an error of several lines: {error}"));
    }
    if fs::read_dir(folder).map_err(|error| words(&error))?.count() > 1 {
        return bad("a file outside the cache".into());
    }
    let is_right = |place: &Path| {
        repository()
            .iter()
            .find(|file| fs::read(place.join(file.name)).ok().as_ref() != Some(&file.body))
            .map(|file| file.name)
    };
    if let Ok(place) = &ended
        && let Some(wrong) = is_right(place)
    {
        return bad(format!("{wrong} is wrong"));
    }
    // Nothing in it has a name that it should not have.
    for path in files(&cache).map_err(|error| words(&error))? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let is_blob = path
            .parent()
            .is_some_and(|parent| parent.ends_with("blobs"));
        let hash = disk::sha256(fs::read(cache.join(&path)).unwrap_or_default());
        if is_blob && name.len() == 64 && hash != name {
            return bad(format!("the cache holds a bad file: {name}"));
        }
    }
    let again = hub_at(&honest, &cache).fetch(&id, &CLIP);
    match again {
        Err(error) => return bad(format!("an honest server afterwards: {error}")),
        Ok(place) => {
            if let Some(wrong) = is_right(&place) {
                return bad(format!("{wrong} is wrong after an honest server"));
            }
        }
    }
    let left = files(&cache).map_err(|error| words(&error))?;
    if let Some(part) = left
        .iter()
        .find(|path| path.to_string_lossy().ends_with(".incomplete"))
    {
        return bad(format!("{} is left over", part.display()));
    }
    if let Some(seen) = honest.requests().iter().find(|request| {
        request.path.starts_with("/cdn/") && request.headers.contains_key("authorization")
    }) {
        return bad(format!("the token went to {}", seen.path));
    }
    Ok(if ended.is_ok() {
        Verdict::Done
    } else {
        Verdict::Refused
    })
}

/// Damages a full cache: a blob, a part of an interrupted download, the revision's commit.
fn disturb(kind: usize, random: &mut Random, place: &Path, cache: &Path) -> Result<()> {
    let weights = fs::canonicalize(place.join("model.safetensors"))?;
    let mut bytes = fs::read(&weights)?;
    mutate(&mut bytes, &[], false, random);
    match kind {
        0 => fs::write(&weights, bytes)?,
        1 => {
            let mut name = weights.file_name().unwrap_or_default().to_owned();
            name.push(".incomplete");
            fs::remove_file(&weights)?;
            fs::write(weights.with_file_name(name), bytes)?;
        }
        _ => {
            let all = files(cache)?;
            let main = all.iter().find(|path| path.ends_with("refs/main"));
            let main = cache.join(main.context("no refs/main")?);
            fs::write(main, ["", "../../..", "\0", "0123"][random.below(4)])?;
        }
    }
    Ok(())
}

/// Archives whose entries mean harm.
type Evil = fn(&mut ZipWriter<fs::File>) -> zip::result::ZipResult<()>;

const EVIL: &[Evil] = &[
    |zip| zip.start_file("../escaped.mp4", SimpleFileOptions::default()),
    |zip| {
        zip.start_file(
            "Charades_v1_480/../../escaped.mp4",
            SimpleFileOptions::default(),
        )
    },
    |zip| zip.start_file("/tmp/torture-escaped.mp4", SimpleFileOptions::default()),
    |zip| {
        zip.start_file(
            "Charades_v1_480\\..\\..\\escaped.mp4",
            SimpleFileOptions::default(),
        )
    },
    |zip| {
        zip.add_symlink(
            "Charades_v1_480/CLIP9.mp4",
            "/etc/passwd",
            SimpleFileOptions::default(),
        )
    },
    |zip| zip.add_symlink("Charades_v1_480", "..", SimpleFileOptions::default()),
];

impl Downloads {
    /// `prepare-charades` from a damaged or hostile archive, and then from a whole one.
    fn unpack(&self, index: u64, random: &mut Random, folder: &Path) -> Result<Verdict, String> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let (from, sandbox) = (folder.join("from"), folder.join("sandbox"));
        fs::create_dir(&from).map_err(|error| words(&error))?;
        fs::create_dir(&sandbox).map_err(|error| words(&error))?;
        let names = ["Charades.zip", "Charades_v1_480.zip"];
        let struck = random.below(2);
        for (number, name) in names.iter().enumerate() {
            let mut bytes = fs::read(self.archives.join(name)).map_err(|error| words(&error))?;
            if number == struck && !index.is_multiple_of(3) {
                mutate(&mut bytes, &[], false, random);
            }
            fs::write(from.join(name), bytes).map_err(|error| words(&error))?;
        }
        if index.is_multiple_of(3) {
            evil(&from.join(names[1]), random).map_err(|error| words(&error))?;
        }
        let mut command = Command::new(&self.xtask);
        command.args(["prepare-charades", "--root", "charades", "--from"]);
        command.arg(&from).current_dir(&sandbox);
        let output = command.output().map_err(|error| words(&error))?;
        let said = said(&output);
        let escaped = [&from, folder, Path::new("/tmp/")].iter().any(|place| {
            place.join("escaped.mp4").exists() || place.join("torture-escaped.mp4").exists()
        });
        if escaped
            || fs::read_dir(&sandbox)
                .map_err(|error| words(&error))?
                .count()
                > 1
        {
            return Err(format!("a file outside the data set: {said}"));
        }
        let verdict = match output.status.code() {
            Some(0) => Verdict::Done,
            Some(1) if one_error(&said) => Verdict::Refused,
            _ => return Err(format!("{}: {said}", output.status)),
        };
        let prepare = self
            .scenarios
            .iter()
            .find(|scenario| scenario.name == "prepare");
        let prepare = prepare.ok_or("no scenario")?;
        if verdict == Verdict::Refused {
            // The same command with the whole archives ends as if nothing had been before.
            prepare.goes_on(&sandbox)?;
        } else {
            let outcome =
                crate::scenario::Outcome::of(&sandbox, "").map_err(|error| words(&error))?;
            if let Some(difference) = prepare.reference.difference(&outcome) {
                return Err(format!("done with another result: {difference}"));
            }
        }
        Ok(verdict)
    }

    /// Two of a command at once, in the same folder: one of them may give way.
    fn at_once(&self, index: u64, folder: &Path) -> Result<Verdict, String> {
        let words = |error: std::io::Error| error.to_string();
        let scenario = &self.scenarios[index as usize % self.scenarios.len()];
        let place = folder.join("place");
        scenario.start(&place).map_err(|error| error.to_string())?;
        let start = || {
            let mut command = scenario.command(&place);
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command.spawn()
        };
        let first = start().map_err(words)?;
        // The second begins at any point of the first.
        std::thread::sleep(scenario.time.mul_f64(0.1 * (index % 5) as f64));
        let second = start().map_err(words)?;
        let outputs = [first, second].map(std::process::Child::wait_with_output);
        let mut done = 0;
        for output in outputs {
            let output = output.map_err(words)?;
            match output.status.code() {
                Some(0) => done += 1,
                Some(1..=4) if one_error(&said(&output)) => {}
                _ => {
                    return Err(format!(
                        "{}: {}: {}",
                        scenario.name,
                        output.status,
                        said(&output)
                    ));
                }
            }
        }
        if done == 0 {
            return Err(format!(
                "{}: neither of two at once was done",
                scenario.name
            ));
        }
        scenario.goes_on(&place)?;
        Ok(Verdict::Done)
    }
}

/// Both outputs.
fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// One sentence on standard error, and no panic.
fn one_error(said: &str) -> bool {
    said.lines()
        .filter(|line| line.starts_with("error: "))
        .count()
        == 1
        && !said.contains("panicked")
}

fn evil(path: &Path, random: &mut Random) -> Result<()> {
    let mut zip = ZipWriter::new_append(fs::File::options().read(true).write(true).open(path)?)?;
    EVIL[random.below(EVIL.len())](&mut zip)?;
    zip.finish()?;
    // A link beside the archive is not followed either.
    let _ = symlink("/etc/passwd", path.with_file_name("escaped"));
    Ok(())
}
