//! Groups of several processes: this program, started once for each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use dist::{Group, Limits, Signals, Sums, World, join, sum_in_order};
use parallel::in_tree;
use tch::{Device, Kind, Tensor};

const LANES: usize = 8;

/// A member; one that is alone without a launcher's variables.
#[test]
#[ignore = "the processes that the other tests start"]
fn member() {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let case = variables.get("CASE").cloned().unwrap_or_default();
    let signals = Signals {
        stopping: Box::new(|| false),
        stop: Box::new(|| {}),
        end: Box::new(|error| {
            println!("ended: {error}");
            std::process::exit(75);
        }),
    };
    let world = World::of(&variables, false)
        .and_then(|world| join(&world, Limits::of(&variables)?, signals));
    let done = world.and_then(|group| {
        let done = act(&case, group.as_ref());
        if let Err(error) = &done {
            group.fail(&error.to_string());
        }
        done?;
        group.leave()
    });
    if let Err(error) = done {
        println!("ended: {error}");
        std::process::exit(if error.is_loss() { 75 } else { 3 });
    }
}

fn act(case: &str, group: &dyn Group) -> dist::Result<()> {
    tch::set_num_threads(1);
    match case {
        "claim" => {
            let shards: Vec<usize> = (0..20)
                .filter(|shard| group.claim(&format!("shard {shard}")).unwrap())
                .collect();
            println!("claimed: {shards:?}");
            let all = group.gather_bytes(&shards.iter().map(|n| *n as u8).collect::<Vec<_>>())?;
            let mut all: Vec<u8> = all.concat();
            all.sort_unstable();
            assert_eq!(all, (0..20).collect::<Vec<u8>>());
            group.meet()
        }
        "agree" => {
            let threads = if group.rank() == 1 { "2" } else { "1" };
            group.agree(&[("commit", "abc".into()), ("threads", threads.into())])
        }
        "wait" => loop {
            if let Ok(folder) = std::env::var("READY") {
                // The folder is gone once all have begun.
                let _ = std::fs::write(Path::new(&folder).join(group.rank().to_string()), "");
            }
            drop(group.all_gather(&Tensor::from_slice(&[1i64]))?);
            std::thread::sleep(Duration::from_millis(20));
        },
        "fail" if group.rank() == 1 => {
            std::thread::sleep(Duration::from_millis(300));
            Err(dist::Error::World("the disk is full".into()))
        }
        "fail" => group.all_gather(&Tensor::from_slice(&[1i64])).map(drop),
        _ => {
            let each = LANES / group.size();
            let own = (group.rank() * each..(group.rank() + 1) * each).filter(|lane| *lane != 5);
            let summands = own.map(|lane| (lane, gradient(lane))).collect();
            let sum = in_tree(summands, |first: Tensor, second| first + second);
            let present: Vec<bool> = (0..group.size())
                .map(|rank| each > 1 || rank != 5)
                .collect();
            let own = sum.unwrap_or_else(|| gradient(0).zeros_like());
            let sum = sum_in_order(group, &own, &present)?;
            // Several under way at once.
            let mut sums = Sums::new(group, &present);
            let factors = [1.0, 3.0, -0.1, 7.0, 0.25];
            for factor in factors {
                sums.begin(&(&own * factor))?;
            }
            for (factor, at_once) in factors.into_iter().zip(sums.finish()?) {
                let alone = sum_in_order(group, &(&own * factor), &present)?;
                assert_eq!(bits(&at_once), bits(&alone), "{factor}");
            }
            println!("sum: {:?}", bits(&sum));
            println!("fast: {:?}", bits(&group.sum(&own)?));
            Ok(())
        }
    }
}

fn gradient(lane: usize) -> Tensor {
    tch::manual_seed(lane as i64);
    Tensor::randn([1003], (Kind::Float, Device::Cpu)) * 10f64.powi(lane as i32 % 3)
}

/// A number that differs if any bit of the tensor does.
fn bits(tensor: &Tensor) -> u64 {
    let numbers = Vec::<f32>::try_from(tensor).unwrap();
    numbers.iter().fold(7, |hash: u64, number| {
        (hash ^ u64::from(number.to_bits())).wrapping_mul(0x100_0000_01b3)
    })
}

fn start(case: &str, rank: usize, size: usize, place: &[(&str, String)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["member", "--exact", "--ignored", "--nocapture"])
        .envs([
            ("CASE", case),
            ("OMP_NUM_THREADS", "1"),
            ("DIST_SILENCE_SECONDS", "3"),
        ])
        .env("RANK", rank.to_string())
        .env("WORLD_SIZE", size.to_string())
        .envs(place.iter().map(|(name, value)| (*name, value.as_str())))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn file(folder: &Path) -> [(&'static str, String); 1] {
    [(
        "DIST_RENDEZVOUS",
        format!("file://{}", folder.join("here").display()),
    )]
}

/// A port that was free a moment ago.
fn tcp() -> [(&'static str, String); 2] {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    [
        ("MASTER_ADDR", "127.0.0.1".into()),
        ("MASTER_PORT", port.to_string()),
    ]
}

fn outputs(children: Vec<Child>) -> Vec<Output> {
    children
        .into_iter()
        .map(|child| child.wait_with_output().unwrap())
        .collect()
}

fn run(case: &str, size: usize, place: &[(&str, String)]) -> Vec<Output> {
    outputs(
        (0..size)
            .map(|rank| start(case, rank, size, place))
            .collect(),
    )
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn line(output: &Output, begin: &str) -> String {
    let said = said(output);
    let found = said
        .lines()
        .find_map(|line| Some(line.split_once(begin)?.1.to_owned()));
    found.unwrap_or_else(|| panic!("no line '{begin}' in\n{said}"))
}

#[test]
fn a_sum_has_the_same_bits_in_groups_of_any_size() {
    let folder = tempfile::tempdir().unwrap();
    let alone = run("sum", 1, &[]);
    let sum = line(&alone[0], "sum: ");
    for size in [2, 4, 8] {
        let folder = folder.path().join(size.to_string());
        std::fs::create_dir(&folder).unwrap();
        for output in run("sum", size, &file(&folder)) {
            assert!(output.status.success(), "{}", said(&output));
            assert_eq!(line(&output, "sum: "), sum, "{size}");
        }
    }
}

#[test]
fn work_is_claimed_once_and_facts_are_compared() {
    for output in run("claim", 3, &tcp()) {
        assert!(output.status.success(), "{}", said(&output));
    }
    for output in run("agree", 3, &tcp()) {
        let error = line(&output, "ended: ");
        assert!(error.starts_with("threads is 2 on rank 1 (host"), "{error}");
        assert!(error.contains("1 on rank 0 (host"), "{error}");
        assert_eq!(output.status.code(), Some(3));
    }
}

/// Starts members that exchange until they are ended, and waits until each has begun.
fn waiting(size: usize, place: &[(&str, String)]) -> Vec<Child> {
    let ready = tempfile::tempdir().unwrap();
    let told = ("READY", ready.path().display().to_string());
    let place = [place.to_vec(), vec![told]].concat();
    let members = (0..size)
        .map(|rank| start("wait", rank, size, &place))
        .collect();
    while std::fs::read_dir(ready.path()).unwrap().count() < size {
        std::thread::sleep(Duration::from_millis(20));
    }
    members
}

fn kill(signal: &str, child: &Child) {
    let ended = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(ended.unwrap().success());
}

/// Ends a member of three by `signal`; the others name it within `limit` seconds.
fn lost(rank: usize, signal: &str, place: &[(&str, String)], limit: f64) {
    let mut members = waiting(3, place);
    let mut victim = members.remove(rank);
    kill(signal, &victim);
    let began = Instant::now();
    let others = outputs(members);
    let seconds = began.elapsed().as_secs_f64();
    kill("-KILL", &victim);
    victim.wait().unwrap();
    let named = format!("lost rank {rank} (host ");
    for output in &others {
        assert_eq!(output.status.code(), Some(75), "{}", said(output));
        assert!(
            line(output, "ended: ").starts_with(&named),
            "{}",
            said(output)
        );
    }
    assert!(seconds < limit, "{seconds} s");
}

#[test]
fn a_killed_member_is_named_by_every_other() {
    let folder = tempfile::tempdir().unwrap();
    lost(1, "-KILL", &tcp(), 10.0);
    lost(0, "-KILL", &tcp(), 10.0);
    lost(0, "-KILL", &file(folder.path()), 10.0);
}

#[test]
fn a_stopped_member_is_named_by_every_other() {
    // The limit of silence is 3 seconds here.
    lost(2, "-STOP", &tcp(), 13.0);
    lost(0, "-STOP", &tcp(), 13.0);
}

#[test]
fn an_error_on_one_member_ends_all_with_its_message() {
    let others = run("fail", 3, &tcp());
    for (rank, output) in others.iter().enumerate() {
        let error = line(output, "ended: ");
        assert!(error.contains("the disk is full"), "{error}");
        assert_eq!(rank == 1, !error.starts_with("rank 1 (host"), "{error}");
    }
}

#[test]
fn a_wrong_group_is_refused_by_every_member() {
    let patience = ("DIST_JOIN_SECONDS", "3".to_owned());
    let place = [tcp().to_vec(), vec![patience]].concat();
    // One that never comes.
    let output = outputs(vec![start("wait", 0, 2, &place)]).remove(0);
    let error = line(&output, "ended: ");
    assert!(
        error.starts_with("rank 1 of 2 did not come within 3 s"),
        "{error}"
    );
    let output = outputs(vec![start("wait", 1, 2, &place)]).remove(0);
    let error = line(&output, "ended: ");
    assert!(error.contains("rank 0 has not come"), "{error}");
    // All that are there name it, whoever's patience ends first.
    let first = start("wait", 0, 3, &place);
    std::thread::sleep(Duration::from_secs(1));
    for output in outputs(vec![first, start("wait", 2, 3, &place)]) {
        let error = line(&output, "ended: ");
        assert!(error.starts_with("rank 1 of 3 did not come"), "{error}");
    }
    // One that came and is killed while the others wait for a third.
    let folder = tempfile::tempdir().unwrap();
    let place = file(folder.path());
    let (first, mut second) = (start("wait", 0, 3, &place), start("wait", 1, 3, &place));
    let store = folder.path().join("here");
    let came =
        || std::fs::read(&store).is_ok_and(|bytes| bytes.windows(7).any(|key| key == b"waits/1"));
    while !came() {
        std::thread::sleep(Duration::from_millis(20));
    }
    second.kill().unwrap();
    drop(second.wait());
    let output = outputs(vec![first]).remove(0);
    let error = line(&output, "ended: ");
    assert!(error.contains("rank 1 (host"), "{error}");
    assert!(
        error.ends_with("came, and ended before all had come"),
        "{error}"
    );
    // Other numbers of ranks.
    let place = tcp();
    let members = vec![start("agree", 0, 2, &place), start("agree", 1, 3, &place)];
    for output in outputs(members) {
        let error = line(&output, "ended: ");
        assert!(
            error.contains("rank 0 one of 2; start all with one number"),
            "{error}"
        );
    }
    // The same rank twice: the second is refused, and the others go on.
    let place = tcp();
    let mut members = waiting(2, &place);
    let output = outputs(vec![start("wait", 1, 2, &place)]).remove(0);
    let error = line(&output, "ended: ");
    assert!(error.contains("not the only rank 1"), "{error}");
    assert!(
        members
            .iter_mut()
            .all(|member| member.try_wait().unwrap().is_none())
    );
    for mut member in members {
        member.kill().unwrap();
        member.wait().unwrap();
    }
    // A port in use.
    let place = tcp();
    let port = place[1].1.parse().unwrap();
    let _taken = std::net::TcpListener::bind(("0.0.0.0", port)).unwrap();
    let output = outputs(vec![start("wait", 0, 2, &place)]).remove(0);
    let error = line(&output, "ended: ");
    assert!(
        error.contains("is in use; set another MASTER_PORT"),
        "{error}"
    );
}

#[test]
fn the_engines_group_is_as_large_as_its_declaration_says() {
    assert_eq!(dist::excess().unwrap(), 0);
}
