//! Teaching: clips to a run, followed, asked, taken elsewhere, deleted and restored.

use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Server, form};
use super::without_names;
use crate::support::{CLASSES, Place, draw, succeed, trainer};

/// Six clips of each of these classes.
fn clips(place: &Place, classes: &[usize]) -> Vec<(String, String, Vec<u8>)> {
    let mut clips = Vec::new();
    for &class in classes {
        for number in 0..6 {
            let path = place.path(&format!("taught/{class}-{number}.avi"));
            draw(&path, class, number);
            let name = format!("../{number}.avi");
            clips.push((
                CLASSES[class].to_owned(),
                name,
                std::fs::read(path).unwrap(),
            ));
        }
    }
    clips
}

fn body(fields: &[(&str, &str)], clips: &[(String, String, Vec<u8>)]) -> (String, Vec<u8>) {
    let files: Vec<(&str, &str, &[u8])> = clips
        .iter()
        .map(|(class, name, bytes)| (&**class, &**name, &**bytes))
        .collect();
    form(fields, &files)
}

/// Follows a run to its end; the last event.
fn follow(server: &Server, id: &str) -> Value {
    let events = server.get(&format!("/v1/runs/{id}/events")).text();
    let mut data = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let last = data
        .next_back()
        .unwrap_or_else(|| panic!("no event: {events}"));
    serde_json::from_str(last).unwrap()
}

pub(crate) fn unpack(archive: &[u8], to: &Path) {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(archive)).unwrap();
    for at in 0..archive.len() {
        let mut file = archive.by_index(at).unwrap();
        let path = to.join(file.enclosed_name().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[test]
fn a_run_is_taught_asked_taken_elsewhere_deleted_and_restored() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let (kind, made) = body(&[("name", "my two")], &clips(&place, &[0, 2]));
    let answer = server.post("/v1/runs", &kind, &made);
    assert_eq!(answer.status, 202, "{}", answer.text());
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("location"), Some(&*format!("/v1/runs/{id}")));
    // One at a time.
    assert_eq!(server.post("/v1/runs", &kind, &made).status, 429);
    // The next start goes on with it.
    kill(server);
    let mut server = Server::start(&place, &[]);
    let last = follow(&server, &id);
    assert_eq!(last["state"], "ready", "{last}");
    let run = server.get(&format!("/v1/runs/{id}")).json();
    assert_eq!(run["classes"], serde_json::json!([CLASSES[0], CLASSES[2]]));
    assert_eq!(
        (&run["name"], &run["clips"][0]["name"]),
        (&"my two".into(), &"../0.avi".into())
    );
    assert!(run["result"]["tests"].is_array(), "{run}");
    assert_eq!(server.get(&format!("/v1/runs/{id}/report")).status, 200);

    let video = place.path("new.avi");
    draw(&video, 2, 9);
    let bytes = std::fs::read(&video).unwrap();
    let ask = |server: &Server| {
        let (kind, body) = form(&[("model", &id)], &[("video", "new.avi", &bytes)]);
        server.post("/v1/predict", &kind, &body)
    };
    let served = ask(&server);
    assert_eq!(
        served.json()["predictions"][0]["label"],
        CLASSES[2],
        "{}",
        served.text()
    );
    let archive = server.get(&format!("/v1/runs/{id}/archive"));
    unpack(&archive.body, &place.path("elsewhere"));
    let mut command = trainer(&["predict", "--json"]);
    command
        .arg(&video)
        .arg("--checkpoint")
        .arg(place.path("elsewhere/run"));
    let elsewhere: Value = serde_json::from_str(&succeed(command)).unwrap();
    assert_eq!(without_names(served.json()), without_names(elsewhere));

    // A third class.
    let (kind, more) = body(&[], &clips(&place, &[3]));
    let answer = server.post(&format!("/v1/runs/{id}/clips"), &kind, &more);
    assert_eq!(answer.status, 202, "{}", answer.text());
    // A server that is stopped leaves it in order, and the next one goes on.
    let (code, said) = server.stop();
    assert_eq!(code, Some(0), "{said}");
    let server = Server::start(&place, &[]);
    assert_eq!(follow(&server, &id)["state"], "ready");
    assert_eq!(
        server.get(&format!("/v1/runs/{id}")).json()["classes"][2],
        CLASSES[3]
    );
    assert_eq!(
        ask(&server).json()["predictions"].as_array().unwrap().len(),
        3
    );

    let deleted = server.request("DELETE", &format!("/v1/runs/{id}"), &[], b"");
    assert_eq!(ask(&server).status, 404);
    assert_eq!(server.get("/v1/runs").json()["runs"], serde_json::json!([]));
    let undo = deleted.json()["undo"].as_str().unwrap().to_owned();
    assert_eq!(server.post(&undo, "text/plain", b"").status, 200);
    assert_eq!(ask(&server).status, 200);
    // A run that a process killed in the middle of making has left is removed.
    let unfinished = place.path("runs/run-0123456789abcdef/clips");
    std::fs::create_dir_all(&unfinished).unwrap();
    // Runs outlive the server.
    drop(server);
    let server = Server::start(&place, &[]);
    assert_eq!(
        server.get("/v1/runs").json()["runs"][0]["progress"]["state"],
        "ready"
    );
    assert!(!unfinished.exists());
    let left = std::fs::read_dir(place.path("runs").join(&id)).unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["clips", "description.json", "list.csv", "run"]);
}

/// Kills a server in the middle of a training: the process that trains ends as well.
fn kill(server: Server) {
    let began = Instant::now();
    let mut trainers = Vec::new();
    while trainers.is_empty() {
        assert!(began.elapsed() < Duration::from_secs(20), "not started");
        trainers = server.children("train-worker");
    }
    drop(server);
    let lives = |id: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status"));
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    };
    let began = Instant::now();
    while trainers.iter().any(lives) {
        assert!(began.elapsed() < Duration::from_secs(60), "an orphan");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clips_that_teach_nothing_are_refused_in_words() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let clip = std::fs::read({
        let path = place.path("a.avi");
        draw(&path, 0, 0);
        path
    });
    let clip = clip.unwrap();
    let bad: &[u8] = b"no video";
    #[allow(clippy::type_complexity)] // Fields, files, status, reason.
    let cases: [(Vec<(&str, &str)>, Vec<(&str, &str, &[u8])>, u16, &str); 5] = [
        (vec![], vec![("one", "a", &clip)], 422, "two classes"),
        (
            vec![],
            vec![("one", "a", &clip), ("two", "b", bad)],
            415,
            "b of",
        ),
        (
            vec![],
            vec![("one", "a", &clip), (" ", "b", &clip)],
            422,
            "a class is the name",
        ),
        (
            vec![("weights", "/etc")],
            vec![("one", "a", &clip), ("two", "b", &clip)],
            400,
            "weights",
        ),
        (
            vec![("model", "none")],
            vec![("one", "a", &clip)],
            404,
            "GET /v1/models",
        ),
    ];
    for (fields, files, status, words) in cases {
        let (kind, body) = form(&fields, &files);
        let answer = server.post("/v1/runs", &kind, &body);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    assert_eq!(server.get("/v1/runs").json()["runs"], serde_json::json!([]));
    assert_eq!(server.get("/v1/runs/..%2f..%2fetc").status, 404);
    assert_eq!(server.get("/v1/runs/none/archive").status, 404);
}
