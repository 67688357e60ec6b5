//! A client that a public generator makes of /openapi.json.

use std::process::Command;

use super::client::Server;
use super::{LABELS, cached, videos};
use crate::support::{Place, run, succeed};

/// Asks with the client, and checks the types of the answers.
const PROGRAM: &str = r#"
import sys
from client import AuthenticatedClient
from client.api.recognise import models, predict, timeline
from client.api.runs import get, list_, make, report
from client.api.server import metrics, readyz
from client.models import Answer, MakeForm, PredictForm, Problem, Run, Timeline, TimelineForm
from client.types import File

url, video, labels = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token="0123456789abcdef")
file = lambda: File(payload=open(video, "rb"), file_name="a.avi", mime_type="video/x-msvideo")

assert models.sync(client=client).models[0].id == "backbone"
answer = predict.sync(client=client, body=PredictForm(video=file(), labels=labels, top=2))
assert isinstance(answer, Answer), answer
assert len(answer.predictions) == 2 and 0 <= answer.predictions[0].score <= 1
assert answer.frame_count == 8 and answer.frames[0].index >= 0 and not answer.known
raw = predict.sync(client=client, body=file(), labels=labels, top=2)
assert raw.predictions == answer.predictions, raw
line = timeline.sync(client=client, body=TimelineForm(video=file(), labels=labels, window="500ms"))
assert isinstance(line, Timeline) and line.windows[0].predictions[0].label in labels
problem = predict.sync(client=client, body=PredictForm(video=file()))
assert isinstance(problem, Problem) and problem.status == 422 and "labels=" in problem.help_
assert problem.title and problem.detail
assert isinstance(get.sync("none", client=client), Problem)
assert isinstance(report.sync("none", client=client), Problem)
assert list_.sync(client=client).runs == []
form = MakeForm(name="two")
form["archery"] = file()
refused = make.sync(client=client, body=form)
assert isinstance(refused, Problem) and "two classes" in refused.detail, refused
form["juggling"] = file()
run = make.sync(client=client, body=form)
assert isinstance(run, Run) and run.classes == ["archery", "juggling"] and len(run.clips) == 2, run
assert run.progress.state == "training", run
assert "ready" in readyz.sync(client=client)
assert isinstance(models.sync(client=AuthenticatedClient(base_url=url, token="x")), Problem)
"#;

#[test]
#[ignore = "needs openapi-python-client"]
fn a_generated_client_works() {
    let place = Place::new();
    let token = place.path("token");
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    let server = Server::start(&place, &["--token", token.to_str().unwrap()]);
    std::fs::write(
        place.path("openapi.json"),
        &server.get("/openapi.json").body,
    )
    .unwrap();
    // The one kind of content that it does not know by itself.
    let config = "content_type_overrides:\n  application/zip: application/octet-stream\n";
    std::fs::write(place.path("config.yaml"), config).unwrap();
    let environment = cached("openapi-client/environment/bin");
    let mut generate = Command::new(environment.join("openapi-python-client"));
    // It runs another program of its environment.
    generate.env("PATH", &environment);
    generate.args(["generate", "--meta", "none", "--fail-on-warning"]);
    generate.arg("--path").arg(place.path("openapi.json"));
    generate.arg("--config").arg(place.path("config.yaml"));
    generate.arg("--output-path").arg(place.path("client"));
    succeed(generate);
    // The client needs what the generator needs.
    let mut python = Command::new(environment.join("python"));
    python.args(["-c", PROGRAM, &format!("http://{}", server.address)]);
    python
        .arg(&videos(&place)[0])
        .arg(LABELS)
        .current_dir(place.path(""));
    let output = run(python);
    assert!(output.status.success(), "{}", crate::support::text(&output));
}
