//! Chromium, driven over WebDriver as a user with a keyboard drives it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// WebDriver's codes of keys.
pub(crate) const TAB: &str = "\u{E004}";
pub(crate) const ENTER: &str = "\u{E007}";
pub(crate) const RIGHT: &str = "\u{E014}";
const CONTROL: char = '\u{E009}';
/// The key under which WebDriver names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
/// Time for anything on the page.
const PATIENCE: Duration = Duration::from_secs(600);

/// A browser with a camera that shows a file.
pub(crate) struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    origin: String,
    folder: tempfile::TempDir,
}

/// A driver and its port. `None` if it ends: it takes a port that is free in one address family, which may be
/// another process's in the other.
fn start() -> Option<(Child, String)> {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
    for line in said.by_ref() {
        let line = line.unwrap();
        if let Some((_, port)) = line.split_once("successfully on port ") {
            let port = port.trim_end_matches('.').to_owned();
            // It is not to wait for a reader.
            std::thread::spawn(move || said.for_each(drop));
            return Some((driver, port));
        }
    }
    driver.wait().unwrap();
    None
}

impl Browser {
    /// Opens the page at `origin`, such as `http://127.0.0.1:8080/`. `camera` is an MJPEG file.
    pub(crate) fn open(origin: &str, camera: &Path) -> Self {
        let (driver, port) = (0..5).find_map(|_| start()).expect("chromedriver ended");
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let mut browser = Self {
            driver,
            agent,
            session: format!("http://127.0.0.1:{port}/session"),
            origin: origin.to_owned(),
            folder: tempfile::tempdir().unwrap(),
        };
        let profile = browser.folder.path().join("profile");
        let downloads = browser.downloads();
        std::fs::create_dir(&downloads).unwrap();
        let arguments = [
            "--headless=new".to_owned(),
            // Tests may run as root and in containers.
            "--no-sandbox".into(),
            "--disable-dev-shm-usage".into(),
            "--no-first-run".into(),
            "--disable-background-networking".into(),
            "--disable-component-update".into(),
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1".into(),
            "--use-fake-ui-for-media-stream".into(),
            "--use-fake-device-for-media-stream".into(),
            format!("--use-file-for-fake-video-capture={}", camera.display()),
            format!("--user-data-dir={}", profile.display()),
            "--window-size=1280,900".into(),
        ];
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": {"download.default_directory": downloads},
            },
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }}});
        let made = browser.ask("POST", "", &capabilities);
        let id = made["sessionId"].as_str().unwrap();
        browser.session = format!("{}/{id}", browser.session);
        browser.post("/url", &json!({"url": origin}));
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.session);
        let answer = match method {
            "POST" => self
                .agent
                .post(&url)
                .content_type("application/json")
                .send(body.to_string()),
            "GET" => self.agent.get(&url).call(),
            _ => self.agent.delete(&url).call(),
        };
        let text = answer
            .unwrap()
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_to_string()
            .unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap();
        let failed = answer["value"]["error"].is_string();
        assert!(!failed, "{method} {path}: {}", answer["value"]["message"]);
        answer["value"].clone()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, body)
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({"cmd": command, "params": parameters});
        self.post("/goog/cdp/execute", &body)
    }

    /// Where downloads go.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    /// A download, once it is whole.
    pub(crate) fn downloaded(&self, name: &str) -> Vec<u8> {
        let path = self.downloads().join(name);
        let began = Instant::now();
        while !path.exists() {
            assert!(began.elapsed() < PATIENCE, "{name} never came");
            std::thread::sleep(Duration::from_millis(50));
        }
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        bytes
    }

    /// The value of a body of JavaScript, which may be a promise.
    pub(crate) fn script(&self, body: &str) -> Value {
        // The page's policy forbids making functions of texts, so this is one whole script.
        let whole = format!(
            "const done = arguments[0]; \
             (async () => {{ {body} }})().then(done, (error) => done(`${{error}}`));"
        );
        self.post("/execute/async", &json!({"script": whole, "args": []}))
    }

    /// Waits until an expression is true.
    pub(crate) fn wait(&self, expression: &str) {
        let began = Instant::now();
        while self.script(&format!("return Boolean({expression})")) != true {
            assert!(
                began.elapsed() < PATIENCE,
                "{expression}: {}\n{}",
                self.text("main"),
                self.log("browser")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The text that an element shows.
    pub(crate) fn text(&self, css: &str) -> String {
        let text = self.script(&format!(
            "return document.querySelector({css:?})?.innerText ?? ''"
        ));
        text.as_str().unwrap().replace('\u{a0}', " ")
    }

    fn element(&self, css: &str) -> String {
        let found = self.post("/element", &json!({"using": "css selector", "value": css}));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    /// Clicks in the middle of an element.
    pub(crate) fn click(&self, css: &str) {
        let scroll = "scrollIntoView({ block: 'center', behavior: 'instant' })";
        self.script(&format!("document.querySelector({css:?}).{scroll}"));
        let element = self.element(css);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Presses and releases keys, one after another.
    pub(crate) fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}))
            })
            .collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.post("/actions", &json!({"actions": [keyboard]}));
    }

    /// Presses a key while control is held.
    pub(crate) fn chord(&self, key: char) {
        let strokes = [
            ("keyDown", CONTROL),
            ("keyDown", key),
            ("keyUp", key),
            ("keyUp", CONTROL),
        ];
        let strokes = strokes.map(|(kind, key)| json!({"type": kind, "value": key.to_string()}));
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": strokes});
        self.post("/actions", &json!({"actions": [keyboard]}));
    }

    /// Puts a text on the clipboard, as from another program.
    pub(crate) fn copy(&self, text: &str) {
        self.script(&format!(
            "const place = document.createElement('textarea'); place.id = 'copied'; \
             place.value = {text:?}; document.body.append(place); place.select()"
        ));
        self.chord('c');
        self.script("document.querySelector('#copied').remove()");
    }

    /// The text of a tab that was opened, once it has such an element; the tab is closed.
    pub(crate) fn other_tab(&self, css: &str) -> String {
        let own = self.ask("GET", "/window", &Value::Null);
        let began = Instant::now();
        let other = loop {
            let all = self.ask("GET", "/window/handles", &Value::Null);
            let other = all.as_array().unwrap().iter().find(|one| **one != own);
            if let Some(other) = other {
                break other.clone();
            }
            assert!(began.elapsed() < PATIENCE, "no other tab");
            std::thread::sleep(Duration::from_millis(50));
        };
        self.post("/window", &json!({"handle": other}));
        self.wait(&format!("document.querySelector({css:?})"));
        let text = self.text("body");
        self.ask("DELETE", "/window", &Value::Null);
        self.post("/window", &json!({"handle": own}));
        text
    }

    /// The name that a screen reader reads for the element that has the focus.
    pub(crate) fn focused(&self) -> String {
        let active = self.ask("GET", "/element/active", &Value::Null);
        let id = active[ELEMENT].as_str().unwrap();
        let name = self.ask("GET", &format!("/element/{id}/computedlabel"), &Value::Null);
        name.as_str().unwrap().to_owned()
    }

    /// Goes on with the tab key until an element has the focus whose name begins so.
    pub(crate) fn tab_to(&self, name: &str) {
        let mut passed = Vec::new();
        for _ in 0..200 {
            self.press(TAB);
            let focused = self.focused();
            if focused.starts_with(name) {
                return;
            }
            passed.push(focused);
        }
        panic!("the tab key does not reach {name:?}: {passed:?}");
    }

    /// Goes to a button or link with the keyboard, and presses it.
    pub(crate) fn use_by_key(&self, name: &str) {
        self.tab_to(name);
        self.press(ENTER);
    }

    /// Chooses files at the file input that has the focus, as the system's dialog would.
    pub(crate) fn choose_files(&self, paths: &[PathBuf]) {
        let active = self.ask("GET", "/element/active", &Value::Null);
        let id = active[ELEMENT].as_str().unwrap();
        let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        let text = json!({"text": paths.join("\n")});
        self.post(&format!("/element/{id}/value"), &text);
    }

    /// The page as it is, in a window of so many pixels and a colour scheme, as PNG.
    pub(crate) fn picture(&self, width: u32, scheme: &str) -> Vec<u8> {
        self.view(width, scheme);
        let height = self.script("return document.documentElement.scrollHeight");
        let height = height.as_u64().unwrap().clamp(700, 4000);
        let size =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        std::thread::sleep(Duration::from_millis(400));
        let picture = self.devtools("Page.captureScreenshot", &json!({"format": "png"}));
        BASE64_STANDARD
            .decode(picture["data"].as_str().unwrap())
            .unwrap()
    }

    /// Makes the window so wide, and prefers a colour scheme.
    pub(crate) fn view(&self, width: u32, scheme: &str) {
        let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &scheme);
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
    }

    fn log(&self, kind: &str) -> Value {
        self.post("/se/log", &json!({"type": kind}))
    }

    /// Checks that all requests went to the server, and that the page broke none of its rules.
    /// `refused` are the responses that the test has asked for, such as `404`.
    pub(crate) fn finish(self, refused: &[&str]) {
        let mut asked = 0;
        for entry in self.log("performance").as_array().unwrap() {
            let entry: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            let (method, parameters) = (&entry["message"]["method"], &entry["message"]["params"]);
            let url = match method.as_str().unwrap() {
                "Network.requestWillBeSent" => &parameters["request"]["url"],
                "Network.webSocketCreated" => &parameters["url"],
                _ => continue,
            };
            let url = url.as_str().unwrap().replacen("ws:", "http:", 1);
            // The browser's own pages begin with its name.
            let inside = ["blob:", "data:", "chrome", &self.origin];
            assert!(inside.iter().any(|start| url.starts_with(start)), "{url}");
            asked += 1;
        }
        assert!(asked > 10, "{asked} requests");
        for entry in self.log("browser").as_array().unwrap() {
            let message = entry["message"].as_str().unwrap();
            let expected = refused.iter().any(|status| message.contains(status));
            assert!(entry["level"] != "SEVERE" || expected, "{message}");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser, which would outlive it.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
