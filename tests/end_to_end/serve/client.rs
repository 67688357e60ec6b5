//! A server under test, and a client that can misbehave.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Place, trainer};

/// A running `trainer serve` with the demo's backbone.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    said: Arc<Mutex<String>>,
}

impl Server {
    pub(crate) fn start(place: &Place, more: &[&str]) -> Self {
        Self::serving(&place.backbone(), place, more)
    }

    /// The same with another checkpoint.
    pub(crate) fn serving(checkpoint: &Path, place: &Place, more: &[&str]) -> Self {
        let mut command = trainer(&["serve", "--listen", "127.0.0.1:0", "--checkpoint"]);
        command.arg(checkpoint).args(more);
        command.arg("--runs").arg(place.path("runs"));
        command.env("OMP_NUM_THREADS", "1").stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let line = lines.next().expect("the server ended").unwrap();
            said.lock().unwrap().push_str(&line);
            if let Some((_, url)) = line.split_once("serving at http://") {
                break url.trim_end_matches('/').parse().unwrap();
            }
        };
        let more = said.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                more.lock().unwrap().push_str(&line);
            }
        });
        let server = Self {
            child,
            address,
            said,
        };
        let began = Instant::now();
        while server.get("/readyz").status != 200 {
            assert!(began.elapsed() < Duration::from_secs(60), "never ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    pub(crate) fn post(&self, path: &str, kind: &str, body: &[u8]) -> Response {
        self.request("POST", path, &[("Content-Type", kind)], body)
    }

    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = body.len();
        head.push_str(&format!(
            "Content-Length: {length}\r\nConnection: close\r\n\r\n"
        ));
        self.raw(&[head.as_bytes(), body].concat())
            .expect("no response")
    }

    /// The response to these bytes; `None` if there is none.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Option<Response> {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.flush();
        let (mut all, mut part) = (Vec::new(), [0; 1 << 14]);
        // The server may wait for more of a body that it has refused.
        while !Response::parse(&all).is_some_and(|response| response.is_whole()) {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(count) => all.extend_from_slice(&part[..count]),
            }
        }
        Response::parse(&all)
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The ids of the decoding processes, which other processes of the server have forked.
    pub(crate) fn decoders(&self) -> Vec<u32> {
        let parents = self.children("decode-worker");
        let forked = |id| children(id, "decode-worker");
        parents.into_iter().flat_map(forked).collect()
    }

    /// The ids of its processes with this command.
    pub(crate) fn children(&self, command: &str) -> Vec<u32> {
        children(self.id(), command)
    }

    /// Stops it as Ctrl-C does; its exit code and what it said.
    pub(crate) fn stop(&mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-INT", &id])
            .status();
        assert!(sent.unwrap().success());
        let code = self.child.wait().unwrap().code();
        std::thread::sleep(Duration::from_millis(50));
        (code, self.said.lock().unwrap().clone())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ids of the processes of `parent` with this command.
fn children(parent: u32, command: &str) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = format!("PPid:\t{parent}\n");
    let ours = |id: &u32| {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{id}/{name}"));
        read("status").is_ok_and(|status| status.contains(&parent))
            && read("cmdline").is_ok_and(|line| line.contains(command))
    };
    ids.filter(ours).collect()
}

pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<(String, String)> = headers
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut body = bytes[end + 4..].to_vec();
        if headers
            .iter()
            .any(|(name, value)| name == "transfer-encoding" && value == "chunked")
        {
            body = unchunked(&body);
        }
        Some(Self {
            status,
            headers,
            body,
        })
    }

    /// Whether it has as many bytes as it says.
    fn is_whole(&self) -> bool {
        let length = self.header("content-length");
        length.is_some_and(|length| length.parse() == Ok(self.body.len()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let (from, to) = (end + 2, end + 2 + size);
        if size == 0 || to > rest.len() {
            break;
        }
        body.extend_from_slice(&rest[from..to]);
        rest = rest.get(to + 2..).unwrap_or_default();
    }
    body
}

/// A form's type and body: text fields, and files with field, name and content.
pub(crate) fn form(fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(b"--BOUNDARY\r\nContent-Disposition: form-data; ");
        body.extend(format!("name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    for (field, name, content) in files {
        body.extend(b"--BOUNDARY\r\nContent-Disposition: form-data; ");
        body.extend(format!("name=\"{field}\"; filename=\"{name}\"\r\n").bytes());
        body.extend(b"Content-Type: application/octet-stream\r\n\r\n");
        body.extend(*content);
        body.extend(b"\r\n");
    }
    body.extend(b"--BOUNDARY--\r\n");
    ("multipart/form-data; boundary=BOUNDARY".into(), body)
}
