//! Preparing data sets from generated archives, a misbehaving server, and a substitute for the
//! programs that unpack `.rar`.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Reply, Request, Server, client};
use data::Manifest;
use data::formats::{Format, Source};
use data::splits::few_shot;
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;
use testkit::rar::rar;
use xtask::Error;
use xtask::prepare::{Options, Part, ShardOptions, Tools};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn prepare(name: &str, options: &Options, tools: &Tools) -> Result<PathBuf, Error> {
    xtask::prepare::prepare(Format::named(name).unwrap(), options, tools)
}

/// A temporary folder with a substitute for `bsdtar` that reads tar files of any name.
struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let program = bin.join("bsdtar");
        fs::write(&program, "#!/bin/sh\nexec tar \"$@\"\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tools(&self) -> Tools {
        Tools {
            client: client(),
            programs: self.path("bin").into(),
        }
    }

    /// Prepares a data set from the folder `from`.
    fn prepare(&self, name: &str) -> Result<PathBuf, Error> {
        self.prepare_with(name, &self.from())
    }

    fn prepare_with(&self, name: &str, options: &Options) -> Result<PathBuf, Error> {
        prepare(name, options, &self.tools())
    }

    fn from(&self) -> Options {
        Options {
            root: Some(self.path("root")),
            from: Some(self.path("from")),
            ..Options::default()
        }
    }

    fn by_url(&self, server: &Server) -> Options {
        Options {
            root: Some(self.path("root")),
            url: Some(server.base.clone()),
            ..Options::default()
        }
    }

    /// Existing Kinetics clips, with a list of the validation part.
    fn own_clips(&self) -> Options {
        let shards = ShardOptions {
            val_csv: Some(self.path("val.csv")),
            ..ShardOptions::default()
        };
        Options {
            shards,
            ..self.from()
        }
    }

    fn val_by_url(&self, server: &Server) -> Options {
        let shards = ShardOptions {
            part: Some(Part::Val),
            ..ShardOptions::default()
        };
        Options {
            shards,
            ..self.by_url(server)
        }
    }

    fn put(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Written directly, because the library refuses malicious names.
        let field = &mut header.as_gnu_mut().unwrap().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

fn tar_with_link(kind: EntryType, name: &str, target: &str) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o777);
    tar.append_link(&mut header, name, target).unwrap();
    tar.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn ucf_videos() -> Vec<u8> {
    tar(&[
        (
            "UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi",
            b"one",
        ),
        (
            "UCF-101/HandstandPushups/v_HandStandPushups_g08_c01.avi",
            b"two",
        ),
        ("UCF-101/Punch/v_Punch_g01_c01.avi", b"three"),
        ("UCF-101/Punch/v_Punch_g08_c01.avi", b"four"),
    ])
}

const UCF_CLASSES: &[u8] = b"1 HandstandPushups\r\n2 Punch\r\n";
const UCF_TRAIN: &[u8] =
    b"HandstandPushups/v_HandStandPushups_g08_c01.avi 1\r\nPunch/v_Punch_g08_c01.avi 2\r\n";
const UCF_TEST: &[u8] =
    b"HandstandPushups/v_HandStandPushups_g01_c01.avi\r\nPunch/v_Punch_g01_c01.avi\r\n";

/// The lists of three splits, which are the same.
fn ucf_entries() -> Vec<(&'static str, &'static [u8])> {
    vec![
        ("ucfTrainTestlist/classInd.txt", UCF_CLASSES),
        ("ucfTrainTestlist/trainlist01.txt", UCF_TRAIN),
        ("ucfTrainTestlist/testlist01.txt", UCF_TEST),
        ("ucfTrainTestlist/trainlist02.txt", UCF_TRAIN),
        ("ucfTrainTestlist/testlist02.txt", UCF_TEST),
        ("ucfTrainTestlist/trainlist03.txt", UCF_TRAIN),
        ("ucfTrainTestlist/testlist03.txt", UCF_TEST),
    ]
}

fn ucf_lists() -> Vec<u8> {
    zip(&ucf_entries())
}

const UCF: &str = "UCF101.rar";
const UCF_LISTS: &str = "UCF101TrainTestSplits-RecognitionTask.zip";

fn ucf(sandbox: &Sandbox, videos: &[u8], lists: &[u8]) -> Result<PathBuf, Error> {
    sandbox.put(&format!("from/{UCF}"), videos);
    sandbox.put(&format!("from/{UCF_LISTS}"), lists);
    sandbox.prepare("ucf101")
}

#[test]
fn every_public_data_set_has_its_command() {
    let xtask = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let output = command.args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (_, all) = xtask(&["--help"]);
    let (_, check) = xtask(&["check-videos", "--help"]);
    for (format, published) in Format::published() {
        let name = format!("prepare-{}", format.name);
        assert!(all.contains(&name) && all.contains(format.title), "{all}");
        assert!(check.contains(format.name), "{check}");
        let (code, said) = xtask(&[&name, "--help"]);
        assert_eq!(code, Some(0));
        let shards = matches!(published.source, Source::Shards(_));
        assert_eq!(said.contains("--part"), shards, "{said}");
        assert!(said.contains("--from"), "{said}");
    }
    assert_eq!(xtask(&["prepare-ucf101", "--part", "val"]).0, Some(2));
    assert_eq!(xtask(&["prepare-folder"]).0, Some(2));
    let sandbox = Sandbox::new();
    assert!(sandbox.prepare("folder").is_err());
}

#[test]
fn ucf_is_prepared_from_archives_once() {
    let sandbox = Sandbox::new();
    let path = ucf(&sandbox, &ucf_videos(), &ucf_lists()).unwrap();
    let manifest = Manifest::load(&path).unwrap();
    assert_eq!((manifest.clips().len(), manifest.classes().len()), (4, 2));
    let split = manifest.split("1").unwrap();
    assert_eq!((split.train.len(), split.test.len()), (2, 2));
    assert_eq!(
        fs::read(manifest.file(&manifest.clips()[0])).unwrap(),
        b"one"
    );
    assert!(!sandbox.path("root/.unpacking").exists());

    // A second run reads and writes nothing.
    fs::remove_dir_all(sandbox.path("from")).unwrap();
    let before = fs::metadata(&path).unwrap().ino();
    assert_eq!(sandbox.prepare("ucf101").unwrap(), path);
    assert_eq!(fs::metadata(&path).unwrap().ino(), before);
}

#[test]
fn missing_clips_need_an_option_and_no_second_unpacking() {
    let sandbox = Sandbox::new();
    let videos = tar(&[("UCF-101/Punch/v_Punch_g08_c01.avi", b"four")]);
    let error = ucf(&sandbox, &videos, &ucf_lists())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("3 of 4 clips") && error.contains("allow_missing"),
        "{error}"
    );
    fs::remove_dir_all(sandbox.path("from")).unwrap();
    let options = Options {
        allow_missing: true,
        ..sandbox.from()
    };
    let path = sandbox.prepare_with("ucf101", &options).unwrap();
    assert_eq!(Manifest::load(&path).unwrap().clips().len(), 1);
}

/// Serves the two archives of UCF-101, with replies modified by `change`.
fn ucf_server(change: impl Fn(&Request, Reply) -> Reply + Send + Sync + 'static) -> Server {
    let (videos, lists) = (ucf_videos(), ucf_lists());
    Server::start(move |request, _| {
        let reply = match request.path.as_str() {
            "/UCF101.rar" => Reply::ranged(request, &videos),
            "/UCF101TrainTestSplits-RecognitionTask.zip" => Reply::ranged(request, &lists),
            _ => Reply::status(404),
        };
        change(request, reply)
    })
}

fn gets<'a>(requests: &'a [Request], name: &str) -> Vec<&'a Request> {
    requests
        .iter()
        .filter(|request| request.method == "GET" && request.path.ends_with(name))
        .collect()
}

#[test]
fn an_interrupted_download_is_resumed() {
    let sandbox = Sandbox::new();
    let server = ucf_server(|request, reply| match request.range() {
        None if request.path == "/UCF101.rar" => reply.cut(2_000),
        Some(start) if start < 4_000 => reply.cut(1_500),
        _ => reply,
    });
    let path = sandbox
        .prepare_with("ucf101", &sandbox.by_url(&server))
        .unwrap();
    assert_eq!(Manifest::load(&path).unwrap().clips().len(), 4);
    let requests = server.requests();
    let ranges: Vec<_> = gets(&requests, UCF)
        .iter()
        .map(|request| request.range())
        .collect();
    assert_eq!(ranges, [None, Some(2_000), Some(3_500), Some(5_000)]);
    assert_eq!(
        fs::read(sandbox.path("root/archives").join(UCF)).unwrap(),
        ucf_videos()
    );
}

#[test]
fn an_interrupted_run_keeps_its_downloads() {
    let sandbox = Sandbox::new();
    let refusing = ucf_server(|request, reply| {
        if request.path.ends_with(".rar") && request.method == "GET" {
            Reply::status(404)
        } else {
            reply
        }
    });
    let error = sandbox
        .prepare_with("ucf101", &sandbox.by_url(&refusing))
        .unwrap_err();
    assert!(
        matches!(error, Error::Hub(hub::Error::Status { status: 404, .. })),
        "{error}"
    );
    assert!(error.to_string().contains(UCF), "{error}");

    let server = ucf_server(|_, reply| reply);
    sandbox
        .prepare_with("ucf101", &sandbox.by_url(&server))
        .unwrap();
    let requests = server.requests();
    assert!(
        gets(&requests, UCF_LISTS).is_empty(),
        "the first archive was there"
    );
    assert_eq!(gets(&requests, UCF).len(), 1);
}

#[test]
fn a_download_of_another_size_is_refused() {
    let sandbox = Sandbox::new();
    let server = ucf_server(|request, mut reply| {
        if request.method == "HEAD" {
            reply.body.push(0);
        }
        reply
    });
    let error = sandbox
        .prepare_with("ucf101", &sandbox.by_url(&server))
        .unwrap_err();
    assert!(
        matches!(error, Error::Hub(hub::Error::Content { .. })),
        "{error}"
    );
    assert!(!sandbox.path("root/archives").join(UCF).exists());
    assert!(!sandbox.path("root/manifest.json").exists());
}

#[test]
fn the_disk_space_is_checked_before_the_download() {
    let sandbox = Sandbox::new();
    let server = ucf_server(|request, reply| {
        if request.method == "HEAD" && request.path.ends_with(UCF) {
            Reply::ok("").header("Content-Length", 1_000_000_000_000_000_u64)
        } else {
            reply
        }
    });
    let error = sandbox
        .prepare_with("ucf101", &sandbox.by_url(&server))
        .unwrap_err();
    assert!(matches!(error, Error::DiskSpace { .. }), "{error}");
    assert!(error.to_string().contains("2000000.0 GB more"), "{error}");
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.method == "HEAD")
    );
}

#[test]
fn a_missing_program_for_rar_is_reported_with_its_package() {
    let sandbox = Sandbox::new();
    sandbox.put(&format!("from/{UCF}"), &ucf_videos());
    sandbox.put(&format!("from/{UCF_LISTS}"), &ucf_lists());
    let tools = Tools {
        client: client(),
        programs: OsString::new(),
    };
    let error = prepare("ucf101", &sandbox.from(), &tools).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(
        error.to_string().contains("apt install libarchive-tools"),
        "{error}"
    );
}

#[test]
fn all_missing_archives_are_named() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("from")).unwrap();
    let error = sandbox.prepare("ucf101").unwrap_err().to_string();
    assert!(error.contains(UCF) && error.contains(UCF_LISTS), "{error}");
}

/// Only the folders of the sandbox, no unpacked file, no manifest.
fn assert_nothing_unpacked(sandbox: &Sandbox, name: &str) {
    for entry in fs::read_dir(sandbox.folder.path()).unwrap() {
        let entry = entry.unwrap().file_name();
        assert!(
            ["bin", "from", "root"].contains(&entry.to_str().unwrap()),
            "{name}: {entry:?}"
        );
    }
    for kept in ["manifest.json", "UCF-101", "hmdb51", "videos", "evil"] {
        assert!(
            !sandbox.path("root").join(kept).exists(),
            "{name}: {kept} is there"
        );
    }
}

#[test]
fn malicious_archives_write_nothing_outside() {
    for name in [
        "../evil",
        "UCF-101/../../evil",
        "/sif-evil",
        "..\\evil",
        "a\\..\\..\\evil",
    ] {
        let sandbox = Sandbox::new();
        let videos = tar(&[("UCF-101/Punch/good.avi", b"g"), (name, b"x")]);
        let error = ucf(&sandbox, &videos, &ucf_lists())
            .unwrap_err()
            .to_string();
        assert!(error.contains("outside the folder"), "{name}: {error}");
        assert_nothing_unpacked(&sandbox, name);
        assert!(!Path::new("/sif-evil").exists());

        let sandbox = Sandbox::new();
        let lists = zip(&[("classInd.txt", b"1 Punch\n"), (name, b"x")]);
        let error = ucf(&sandbox, &ucf_videos(), &lists)
            .unwrap_err()
            .to_string();
        assert!(error.contains("outside the folder"), "{name}: {error}");
        assert_nothing_unpacked(&sandbox, name);

        let sandbox = Sandbox::new();
        sandbox.put(
            "from/part_0.tar.gz",
            &gz(&tar(&[("a_1_2.mp4", b"g"), (name, b"x")])),
        );
        sandbox.put("from/val.csv", ONE_CLIP);
        let error = kinetics(&sandbox, Some(Part::Val)).unwrap_err().to_string();
        assert!(error.contains("outside the folder"), "{name}: {error}");
        assert_nothing_unpacked(&sandbox, name);
    }
}

#[test]
fn of_two_at_once_one_waits_for_the_other() {
    for _ in 0..8 {
        let sandbox = Sandbox::new();
        sandbox.put(&format!("from/{UCF}"), &ucf_videos());
        sandbox.put(&format!("from/{UCF_LISTS}"), &ucf_lists());
        std::thread::scope(|scope| {
            let other = scope.spawn(|| sandbox.prepare("ucf101"));
            let first = sandbox.prepare("ucf101").unwrap();
            assert_eq!(other.join().unwrap().unwrap(), first);
        });
    }
}

#[test]
fn a_list_archive_without_one_of_its_files_is_refused() {
    for missing in 0..ucf_entries().len() {
        let sandbox = Sandbox::new();
        let mut entries = ucf_entries();
        let (name, _) = entries.remove(missing);
        let error = ucf(&sandbox, &ucf_videos(), &zip(&entries)).unwrap_err();
        let name = name.trim_start_matches("ucfTrainTestlist/");
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert_nothing_unpacked(&sandbox, name);
        // The good archive, then, is taken.
        ucf(&sandbox, &ucf_videos(), &ucf_lists()).unwrap();
    }
}

#[test]
fn links_in_archives_are_refused() {
    for kind in [EntryType::Symlink, EntryType::Link] {
        let sandbox = Sandbox::new();
        sandbox.put("secret", b"secret");
        let target = sandbox.path("secret");
        let target = target.to_str().unwrap();
        let videos = tar_with_link(kind, "UCF-101/Punch/link.avi", target);
        let error = ucf(&sandbox, &videos, &ucf_lists())
            .unwrap_err()
            .to_string();
        assert!(error.contains("link"), "{error}");
        assert!(!sandbox.path("root/UCF-101").exists());
        assert!(!sandbox.path("root/.unpacking").exists());

        sandbox.put("from/part_0.tar", &tar_with_link(kind, "a_1_2.mp4", target));
        sandbox.put("from/val.csv", ONE_CLIP);
        let error = kinetics(&sandbox, Some(Part::Val)).unwrap_err().to_string();
        assert!(error.contains("link"), "{error}");
        assert!(!sandbox.path("root/videos").exists());
        assert_eq!(fs::read(sandbox.path("secret")).unwrap(), b"secret");
    }
}

#[test]
fn damaged_archives_are_named_and_leave_no_file() {
    let sandbox = Sandbox::new();
    let error = ucf(&sandbox, b"not an archive", &ucf_lists())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("UCF101.rar") && error.contains("failed"),
        "{error}"
    );
    assert_nothing_unpacked(&sandbox, "no archive");
    // An intact copy succeeds afterwards.
    ucf(&sandbox, &ucf_videos(), &ucf_lists()).unwrap();

    let whole = gz(&tar(&[
        ("a_1_2.mp4", &common::content(9_000)),
        ("b_1_2.mp4", b"x"),
    ]));
    for length in [0, 5, 100, whole.len() / 2, whole.len() - 20] {
        let sandbox = Sandbox::new();
        sandbox.put("from/part_0.tar.gz", &whole[..length]);
        sandbox.put("from/val.csv", ONE_CLIP);
        let error = kinetics(&sandbox, Some(Part::Val)).unwrap_err().to_string();
        assert!(error.contains("part_0.tar.gz"), "{length}: {error}");
        assert_nothing_unpacked(&sandbox, "cut");
    }
}

fn hmdb_archives(run: &[u8], lists: &[(&str, &[u8])]) -> (Vec<u8>, Vec<u8>) {
    let brush = tar(&[("brush_hair/odd_(name)!_&#;+_brush_hair_u_0.avi", b"one")]);
    (
        tar(&[("brush_hair.rar", &brush), ("run.rar", run)]),
        tar(lists),
    )
}

#[test]
fn hmdb_is_prepared_from_nested_archives() {
    let sandbox = Sandbox::new();
    let lists: [(&str, &[u8]); 2] = [
        (
            "testTrainMulti_7030_splits/brush_hair_test_split1.txt",
            b"odd_(name)!_&#;+_brush_hair_u_0.avi 1 \n",
        ),
        (
            "testTrainMulti_7030_splits/run_test_split1.txt",
            b"a_run_u_0.avi 2 \n",
        ),
    ];
    // The second class is damaged: the first is kept and not unpacked again.
    let (videos, splits) = hmdb_archives(b"not an archive", &lists);
    sandbox.put("from/hmdb51_org.rar", &videos);
    sandbox.put("from/test_train_splits.rar", &splits);
    let error = sandbox.prepare("hmdb51").unwrap_err().to_string();
    assert!(error.contains("run.rar"), "{error}");
    let first = sandbox.path("root/.classes/brush_hair");
    let before = fs::metadata(&first).unwrap().ino();
    assert!(!sandbox.path("root/hmdb51").exists());

    let (videos, _) = hmdb_archives(&tar(&[("run/a_run_u_0.avi", b"two")]), &lists);
    sandbox.put("from/hmdb51_org.rar", &videos);
    let path = sandbox.prepare("hmdb51").unwrap();
    let first = sandbox.path("root/hmdb51/brush_hair");
    assert_eq!(fs::metadata(&first).unwrap().ino(), before);
    let manifest = Manifest::load(&path).unwrap();
    assert_eq!(manifest.clips().len(), 2);
    let split = manifest.split("1").unwrap();
    assert_eq!(
        (split.train.as_slice(), split.test.as_slice()),
        (&[0][..], &[1][..])
    );
    assert!(!sandbox.path("root/.class").exists() && !sandbox.path("root/.unpacking").exists());
}

fn charades_lists() -> Vec<u8> {
    let header = "id,subject,actions,length\n";
    zip(&[
        ("Charades/README.txt", b"not needed"),
        (
            "Charades/Charades_v1_classes.txt",
            b"c000 Opening a door\nc001 Sitting\n",
        ),
        (
            "Charades/Charades_v1_train.csv",
            format!("{header}AAAAA,S1,c000 0.0 1.0;c001 1.0 2.0,3.0\n").as_bytes(),
        ),
        (
            "Charades/Charades_v1_test.csv",
            format!("{header}BBBBB,S2,c001 0.0 1.0,3.0\n").as_bytes(),
        ),
    ])
}

#[test]
fn charades_is_prepared_from_archives_or_videos() {
    let videos: [(&str, &[u8]); 2] = [
        ("Charades_v1_480/AAAAA.mp4", b"one"),
        ("Charades_v1_480/BBBBB.mp4", b"two"),
    ];
    let sandbox = Sandbox::new();
    sandbox.put("from/Charades.zip", &charades_lists());
    sandbox.put("from/Charades_v1_480.zip", &zip(&videos));
    let path = sandbox.prepare("charades").unwrap();
    let manifest = Manifest::load(&path).unwrap();
    assert_eq!(manifest.clips()[0].labels, [0, 1]);
    assert!(sandbox.path("root/Charades_v1_480/BBBBB.mp4").is_file());
    assert!(!sandbox.path("root/lists/README.txt").exists());
    assert!(!sandbox.path("root/.unpacking").exists());
    // A second run does nothing.
    assert_eq!(sandbox.prepare("charades").unwrap(), path);

    // Unpacked videos are used in place.
    let sandbox = Sandbox::new();
    sandbox.put("from/Charades.zip", &charades_lists());
    for (name, content) in videos {
        sandbox.put(&format!("from/{name}"), content);
    }
    let path = sandbox.prepare("charades").unwrap();
    let manifest = Manifest::load(&path).unwrap();
    assert!(manifest.root().ends_with("from/Charades_v1_480"));
    assert!(!sandbox.path("root/Charades_v1_480").exists());

    // A missing video is an error.
    let sandbox = Sandbox::new();
    sandbox.put("from/Charades.zip", &charades_lists());
    sandbox.put("from/Charades_v1_480.zip", &zip(&videos[..1]));
    assert!(sandbox.prepare("charades").is_err());
}

const SSV2: &str = "20bn-something-something-v2";
const SSV2_LABELS: &[u8] = br#"{"Holding something": "0"}"#;
const SSV2_TRAIN: &[u8] = br#"[{"id": "11", "label": "holding a pen",
    "template": "Holding [something]", "placeholders": ["a pen"]}]"#;
const SSV2_VALIDATION: &[u8] = br#"[{"id": "2", "label": "holding a cup",
    "template": "Holding [something]", "placeholders": ["a cup"]}]"#;

/// A sandbox with the official lists of Something-Something V2 and the pieces of its archive in
/// `--from`.
fn ssv2() -> (Sandbox, Vec<u8>) {
    let sandbox = Sandbox::new();
    for (name, list) in [
        ("labels", SSV2_LABELS),
        ("train", SSV2_TRAIN),
        ("validation", SSV2_VALIDATION),
    ] {
        sandbox.put(&format!("from/something-something-v2-{name}.json"), list);
    }
    let video = common::content(30_000);
    let (first, second) = (format!("{SSV2}/11.webm"), format!("{SSV2}/2.webm"));
    let whole = gz(&tar(&[(&first, &video), (&second, b"two")]));
    for (number, piece) in whole.chunks(whole.len() / 3 + 1).enumerate() {
        sandbox.put(&format!("from/{SSV2}-{number:02}"), piece);
    }
    (sandbox, video)
}

#[test]
fn ssv2_is_prepared_from_the_pieces_of_its_archive() {
    let (sandbox, video) = ssv2();
    let run = || sandbox.prepare("ssv2");
    // Without its last piece, the archive is truncated.
    let third = sandbox.path(&format!("from/{SSV2}-02"));
    fs::rename(&third, sandbox.path("third")).unwrap();
    let error = run().unwrap_err().to_string();
    assert!(error.contains(SSV2), "{error}");
    assert!(!sandbox.path("root").join(SSV2).exists());

    fs::rename(sandbox.path("third"), third).unwrap();
    let path = run().unwrap();
    let manifest = Manifest::load(&path).unwrap();
    let clip = &manifest.clips()[manifest.position("11").unwrap()];
    assert_eq!(clip.caption.as_deref(), Some("Holding a pen"));
    assert_eq!(fs::read(manifest.file(clip)).unwrap(), video);
    assert!(manifest.root().ends_with(format!("root/{SSV2}")));
    assert!(!sandbox.path("root/.unpacking").exists());
    assert_eq!(run().unwrap(), path);
}

#[test]
fn ssv2_is_prepared_from_folders_or_zipped_lists() {
    // The other release: archived lists, unpacked videos.
    let sandbox = Sandbox::new();
    let lists = zip(&[
        ("labels/labels.json", SSV2_LABELS),
        ("labels/train.json", SSV2_TRAIN),
        ("labels/validation.json", SSV2_VALIDATION),
        ("labels/test.json", br#"[{"id": "3"}]"#),
        ("labels/test-answers.csv", b"3;Holding something\n"),
    ]);
    sandbox.put(
        "from/20bn-something-something-download-package-labels.zip",
        &lists,
    );
    for id in ["11", "2", "3"] {
        sandbox.put(&format!("from/{SSV2}/{id}.webm"), b"video");
    }
    let manifest = sandbox.prepare("ssv2").unwrap();
    let manifest = Manifest::load(&manifest).unwrap();
    assert!(manifest.root().ends_with(format!("from/{SSV2}")));
    assert_eq!(manifest.split("test").unwrap().test.len(), 1);
    assert!(sandbox.path("root/lists/test-answers.csv").is_file());

    // Nothing can be downloaded, not even from a mirror.
    let sandbox = Sandbox::new();
    let server = Server::start(|_, _| Reply::status(404));
    let error = sandbox
        .prepare_with("ssv2", &sandbox.by_url(&server))
        .unwrap_err();
    assert!(error.to_string().contains("registered users"), "{error}");
    assert!(error.to_string().contains("--from"), "{error}");
    assert!(server.requests().is_empty());
    fs::create_dir(sandbox.path("from")).unwrap();
    let error = sandbox.prepare("ssv2").unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains(&format!("{SSV2}-00")) && error.contains("labels.zip"),
        "{error}"
    );
}

fn kinetics(sandbox: &Sandbox, part: Option<Part>) -> Result<PathBuf, Error> {
    let shards = ShardOptions {
        part,
        ..ShardOptions::default()
    };
    let options = Options {
        shards,
        ..sandbox.from()
    };
    sandbox.prepare_with("kinetics400", &options)
}

const ONE_CLIP: &[u8] = b"label,youtube_id,time_start,time_end,split\nrun,a,1,2,val\n";
const VAL: &[u8] = b"label,youtube_id,time_start,time_end,split\n\
    abseiling,aaa,1,11,val\nyoga,b_b,20,30,val\nyoga,gone,3,13,val\n";
const TRAIN: &[u8] = b"label,youtube_id,time_start,time_end,split\nyoga,ccc,5,15,train\n";

#[test]
fn kinetics_is_prepared_from_shards() {
    let sandbox = Sandbox::new();
    sandbox.put(
        "from/train/part_0.tar.gz",
        &gz(&tar(&[("./ccc_000005_000015.mp4", b"c")])),
    );
    sandbox.put(
        "from/val/part_0.tar",
        &tar(&[("val/aaa_000001_000011.mp4", b"a")]),
    );
    sandbox.put(
        "from/val/part_1.tar",
        &tar(&[("b_b_000020_000030.mp4", b"b")]),
    );
    sandbox.put("from/annotations/train.csv", TRAIN);
    sandbox.put("from/annotations/val.csv", VAL);
    let path = kinetics(&sandbox, None).unwrap();
    let manifest = Manifest::load(&path).unwrap();
    let ids: Vec<_> = manifest
        .clips()
        .iter()
        .map(|clip| clip.id.as_str())
        .collect();
    assert_eq!(
        ids,
        [
            "aaa_000001_000011",
            "b_b_000020_000030",
            "ccc_000005_000015"
        ]
    );
    let split = manifest.split("val").unwrap();
    assert_eq!(
        (split.train.as_slice(), split.test.as_slice()),
        (&[2][..], &[0, 1][..])
    );
    assert_eq!(fs::read(manifest.file(&manifest.clips()[1])).unwrap(), b"b");
}

#[test]
fn kinetics_is_prepared_from_clips_in_both_layouts() {
    for names in [
        [
            "abseiling/aaa_000001_000011.mp4",
            "yoga/b_b_000020_000030.mp4",
        ],
        ["aaa_000001_000011.mp4", "b_b_000020_000030.mp4"],
    ] {
        let sandbox = Sandbox::new();
        for name in names {
            sandbox.put(&format!("from/{name}"), b"clip");
        }
        sandbox.put("val.csv", VAL);
        let options = sandbox.own_clips();
        let path = sandbox.prepare_with("kinetics400", &options).unwrap();
        let manifest = Manifest::load(&path).unwrap();
        assert_eq!(manifest.clips().len(), 2);
        assert!(manifest.file(&manifest.clips()[0]).is_file());
        assert!(
            !sandbox.path("root/videos").exists(),
            "clips are used in place"
        );
    }
}

#[test]
fn kinetics_is_downloaded_by_shard_and_resumed() {
    let sandbox = Sandbox::new();
    let first = gz(&tar(&[("aaa_000001_000011.mp4", b"a")]));
    let second = gz(&tar(&[("b_b_000020_000030.mp4", b"b")]));
    let serve = move |whole: bool| {
        let (first, second) = (first.clone(), second.clone());
        Server::start(move |request, _| match request.path.as_str() {
            "/val/k400_val_path.txt" => Reply::ok(
                "https://elsewhere.example/val/part_0.tar.gz\n\
                 https://elsewhere.example/val/part_1.tar.gz\n",
            ),
            "/val/part_0.tar.gz" => Reply::ranged(request, &first),
            "/val/part_1.tar.gz" if whole => Reply::ranged(request, &second),
            "/annotations/val.csv" => Reply::ok(VAL),
            _ => Reply::status(404),
        })
    };
    let run = |server: &Server| {
        let options = sandbox.val_by_url(server);
        sandbox.prepare_with("kinetics400", &options)
    };
    let error = run(&serve(false)).unwrap_err().to_string();
    assert!(error.contains("part_1.tar.gz answered 404"), "{error}");
    assert!(
        sandbox
            .path("root/videos/val/aaa_000001_000011.mp4")
            .is_file()
    );
    assert!(
        !sandbox.path("root/archives/val/part_0.tar.gz").exists(),
        "an unpacked shard is deleted"
    );

    let server = serve(true);
    let path = run(&server).unwrap();
    assert_eq!(Manifest::load(&path).unwrap().clips().len(), 2);
    assert!(gets(&server.requests(), "part_0.tar.gz").is_empty());
    let requests = server.requests().len();
    run(&server).unwrap();
    assert_eq!(
        server.requests().len(),
        requests,
        "a second run requests nothing"
    );
}

#[test]
fn the_disk_space_for_all_shards_is_checked_first() {
    let sandbox = Sandbox::new();
    let server = Server::start(|request, _| match request.path.as_str() {
        "/val/k400_val_path.txt" => Reply::ok("part_0.tar.gz\npart_1.tar.gz\n"),
        _ if request.method == "HEAD" => {
            Reply::ok("").header("Content-Length", 500_000_000_000_000_u64)
        }
        _ => Reply::status(500),
    });
    let options = sandbox.val_by_url(&server);
    let error = sandbox.prepare_with("kinetics400", &options).unwrap_err();
    assert!(matches!(error, Error::DiskSpace { .. }), "{error}");
    assert!(gets(&server.requests(), ".gz").is_empty());
}

#[test]
fn a_shard_list_cannot_name_other_paths() {
    for line in ["../../evil.tar", "part_0.tar.gz/..", "a b.tar", ".hidden"] {
        let sandbox = Sandbox::new();
        let server = Server::start(move |request, _| match request.path.as_str() {
            "/val/k400_val_path.txt" => Reply::ok(format!("http://x.example/{line}\n")),
            _ => Reply::status(404),
        });
        let options = sandbox.val_by_url(&server);
        assert!(
            sandbox.prepare_with("kinetics400", &options).is_err(),
            "{line}"
        );
        assert_nothing_unpacked(&sandbox, line);
    }
}

mod needs_unrar {
    use super::*;

    /// A folder with only this program of the machine.
    fn only(program: &Path) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let name = program.file_name().unwrap();
        std::os::unix::fs::symlink(program, folder.path().join(name)).unwrap();
        if name == "unar" {
            let lister = program.with_file_name("lsar");
            std::os::unix::fs::symlink(lister, folder.path().join("lsar")).unwrap();
        }
        folder
    }

    #[test]
    #[ignore = "needs a program that unpacks .rar"]
    fn real_rar_archives() {
        let programs = xtask::needs::rar_programs();
        assert!(!programs.is_empty(), "no program for .rar is installed");
        for (name, program) in programs {
            let programs = only(&program);
            let tools = Tools {
                client: client(),
                programs: programs.path().into(),
            };
            let sandbox = Sandbox::new();
            let videos: [(&str, &[u8]); 2] = [
                ("UCF-101/Punch/v_Punch_g01_c01.avi", b"three"),
                ("UCF-101/Punch/v_Punch_g08_c01.avi", b""),
            ];
            sandbox.put(&format!("from/{UCF}"), &rar(videos));
            sandbox.put(&format!("from/{UCF_LISTS}"), &ucf_lists());
            let options = Options {
                allow_missing: true,
                ..sandbox.from()
            };
            let path = prepare("ucf101", &options, &tools).unwrap();
            let manifest = Manifest::load(&path).unwrap();
            assert_eq!(manifest.clips().len(), 2, "{name}");
            let content = |clip: usize| fs::read(manifest.file(&manifest.clips()[clip])).unwrap();
            assert_eq!((content(0), content(1)), (b"three".to_vec(), vec![]));

            // Nested archives with the file names of HMDB-51.
            let sandbox = Sandbox::new();
            let odd = "odd_(name)!_&#;+_run_u_0.avi";
            let class = rar([(format!("run/{odd}").as_str(), b"one".as_slice())]);
            sandbox.put("from/hmdb51_org.rar", &rar([("run.rar", class.as_slice())]));
            let list = format!("{odd} 1 \n");
            let lists = rar([("splits/run_test_split1.txt", list.as_bytes())]);
            sandbox.put("from/test_train_splits.rar", &lists);
            let path = prepare("hmdb51", &sandbox.from(), &tools).unwrap();
            let manifest = Manifest::load(&path).unwrap();
            assert_eq!(manifest.clips()[0].path.file_name().unwrap(), odd, "{name}");

            for hostile in ["../evil", "UCF-101/../../evil", "/sif-evil"] {
                let sandbox = Sandbox::new();
                let good = ("UCF-101/Punch/good.avi", b"g".as_slice());
                sandbox.put(
                    &format!("from/{UCF}"),
                    &rar([good, (hostile, b"x".as_slice())]),
                );
                sandbox.put(&format!("from/{UCF_LISTS}"), &ucf_lists());
                prepare("ucf101", &sandbox.from(), &tools).unwrap_err();
                assert_nothing_unpacked(&sandbox, hostile);
                assert!(!Path::new("/sif-evil").exists());
            }
            let whole = rar(videos);
            for length in [0, 3, 15, 60] {
                let sandbox = Sandbox::new();
                sandbox.put(&format!("from/{UCF}"), &whole[..length]);
                sandbox.put(&format!("from/{UCF_LISTS}"), &ucf_lists());
                let error = prepare("ucf101", &sandbox.from(), &tools).unwrap_err();
                assert!(error.to_string().contains(UCF), "{name}, {length}: {error}");
                assert_nothing_unpacked(&sandbox, "cut");
            }
            eprintln!("unpacked with {name}");
        }
    }
}

/// A tar of `folder` under `name`.
fn pack(folder: &Path, name: &str) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    tar.append_dir_all(name, folder).unwrap();
    tar.into_inner().unwrap()
}

mod needs_shared {
    use super::*;

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn real_ucf_clips_and_a_few_shot_split() {
        let shared = testkit::shared();
        let sandbox = Sandbox::new();
        let mut lists = Vec::new();
        for entry in fs::read_dir(shared.join("data/lists/ucfTrainTestlist")).unwrap() {
            let entry = entry.unwrap();
            let name = format!("ucfTrainTestlist/{}", entry.file_name().display());
            lists.push((name, fs::read(entry.path()).unwrap()));
        }
        let lists: Vec<(&str, &[u8])> = lists
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_slice()))
            .collect();
        sandbox.put(&format!("from/{UCF_LISTS}"), &zip(&lists));
        sandbox.put(
            &format!("from/{UCF}"),
            &pack(&shared.join("data/ucf8/UCF-101"), "UCF-101"),
        );
        let options = Options {
            allow_missing: true,
            ..sandbox.from()
        };
        let manifest = Manifest::load(&sandbox.prepare_with("ucf101", &options).unwrap()).unwrap();
        assert_eq!((manifest.clips().len(), manifest.classes().len()), (256, 8));
        let split = few_shot(&manifest, manifest.split("1").unwrap(), 16, 0).unwrap();
        assert_eq!((split.train.len(), split.test.len()), (128, 112));
    }

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn real_hmdb_clips() {
        let shared = testkit::shared();
        let sandbox = Sandbox::new();
        let mut classes = Vec::new();
        for entry in fs::read_dir(shared.join("data/hmdb-mini")).unwrap() {
            let entry = entry.unwrap();
            let class = entry.file_name().into_string().unwrap();
            classes.push((format!("{class}.rar"), pack(&entry.path(), &class)));
        }
        let classes: Vec<(&str, &[u8])> = classes
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_slice()))
            .collect();
        sandbox.put("from/hmdb51_org.rar", &tar(&classes));
        let lists = shared.join("data/lists/testTrainMulti_7030_splits");
        sandbox.put(
            "from/test_train_splits.rar",
            &pack(&lists, "testTrainMulti_7030_splits"),
        );
        let options = Options {
            allow_missing: true,
            ..sandbox.from()
        };
        let manifest = Manifest::load(&sandbox.prepare_with("hmdb51", &options).unwrap()).unwrap();
        assert_eq!((manifest.clips().len(), manifest.classes().len()), (42, 21));
    }

    #[test]
    #[ignore = "needs reference data: ../shared or SIF_SHARED"]
    fn real_kinetics_like_clips() {
        let shared = testkit::shared();
        let sandbox = Sandbox::new();
        fs::create_dir_all(sandbox.path("from/arm wrestling")).unwrap();
        let clip = sandbox.path("from/arm wrestling/abcdefghijk_000000_000010.mp4");
        fs::copy(shared.join("data/clips/arm_wrestling.mp4"), clip).unwrap();
        let mut csv = File::create(sandbox.path("val.csv")).unwrap();
        writeln!(csv, "label,youtube_id,time_start,time_end,split,is_cc").unwrap();
        writeln!(csv, "\"arm wrestling\",abcdefghijk,0,10,val,0").unwrap();
        writeln!(csv, "yoga,lost,0,10,val,0").unwrap();
        let options = sandbox.own_clips();
        let path = sandbox.prepare_with("kinetics400", &options).unwrap();
        let manifest = Manifest::load(&path).unwrap();
        assert_eq!((manifest.clips().len(), manifest.classes().len()), (1, 1));
        assert!(manifest.file(&manifest.clips()[0]).is_file());
    }
}
