//! The lines of the README.

use std::process::Command;

use super::client::Server;
use crate::support::{Place, draw, text};

#[test]
#[ignore = "needs curl"]
fn the_lines_of_the_readme_work() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    draw(&place.path("clip.mp4"), 0, 0);
    for class in [0, 1] {
        for number in 1..6 {
            let folder = ["archery", "juggling"][class];
            draw(
                &place.path(&format!("{folder}/{number}.mp4")),
                class,
                number,
            );
        }
    }
    let readme = std::fs::read_to_string(testkit::workspace_root().join("README.md")).unwrap();
    let joined = readme.replace("\\\n", " ");
    let lines: Vec<&str> = joined
        .lines()
        .filter(|line| line.starts_with("curl "))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for line in lines {
        let line = line.replace("127.0.0.1:8080", &server.address.to_string());
        let mut command = Command::new("sh");
        command.args(["-c", &line]).current_dir(place.path(""));
        let output = command.output().unwrap();
        let said = text(&output);
        assert!(output.status.success(), "{line}: {said}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answer.get("detail").is_none(), "{line}: {said}");
    }
}
