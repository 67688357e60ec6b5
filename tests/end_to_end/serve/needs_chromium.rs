//! The page, in a browser.
//!
//! With `SIF_PICTURES=FOLDER` the tests leave pictures of the pages there; `serve.png` is that of
//! the README.

mod browser;
mod film;

use std::path::{Path, PathBuf};

use serde_json::Value;

use self::browser::{Browser, ENTER, RIGHT};
use super::cached;
use super::client::Server;
use super::runs::unpack;
use crate::support::{Place, draw, frames, succeed, trainer};

/// Widths that are looked at, in pixels.
const WIDTHS: [u32; 3] = [390, 820, 1600];
const SCHEMES: [&str; 2] = ["light", "dark"];

fn axe() -> String {
    std::fs::read_to_string(cached("axe-core/axe.min.js")).unwrap()
}

fn open(server: &Server, place: &Place) -> Browser {
    let camera = place.path("camera.mjpeg");
    let mut film = Vec::new();
    for frame in frames(1, 0) {
        let (width, height) = (frame.width as u16, frame.height as u16);
        jpeg_encoder::Encoder::new(&mut film, 90)
            .encode(&frame.rgb, width, height, jpeg_encoder::ColorType::Rgb)
            .unwrap();
    }
    std::fs::write(&camera, film).unwrap();
    let browser = Browser::open(&format!("http://{}/", server.address), &camera);
    browser.wait("document.querySelector('#model')?.options.length");
    browser
}

fn choose(browser: &Browser, css: &str, files: &[PathBuf]) {
    browser.script(&format!("document.querySelector({css:?}).focus()"));
    browser.choose_files(files);
}

/// Checks a page at every width in both colour schemes, and leaves its pictures.
fn check(browser: &Browser, name: &str) {
    let folder = std::env::var_os("SIF_PICTURES").map(PathBuf::from);
    browser.script(&axe());
    for scheme in SCHEMES {
        for width in WIDTHS {
            browser.view(width, scheme);
            let wide = browser.script("return document.documentElement.scrollWidth - innerWidth");
            assert!(wide.as_i64().unwrap() <= 0, "{name} at {width}: {wide}");
            if let Some(folder) = &folder {
                let path = folder.join(format!("{name}-{width}-{scheme}.png"));
                std::fs::write(path, browser.picture(width, scheme)).unwrap();
            }
        }
        let found = browser.script(
            "const { violations } = await axe.run(); \
             return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))",
        );
        let names = |found: &Value| -> Vec<String> {
            let all = found.as_array().into_iter().flatten();
            all.map(|one| format!("{}: {}", one["id"], one["nodes"][0]["html"]))
                .collect()
        };
        assert!(
            found.as_array().is_some_and(Vec::is_empty),
            "{name}, {scheme}: {:?}",
            names(&found)
        );
    }
    browser.view(1280, "light");
}

#[test]
#[ignore = "needs chromium"]
fn videos_and_the_camera_are_recognised() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let browser = open(&server, &place);
    let (short, long) = (place.path("short.webm"), place.path("long.webm"));
    let films = [
        (short.clone(), vec![(0, 1, 8)]),
        (long.clone(), vec![(0, 0, 50), (1, 0, 40), (2, 0, 50)]),
    ];
    film::draw(&browser, &films);
    let other = place.path("other.avi");
    draw(&other, 0, 0);

    // Nothing is asked before there are labels, and a button asks once there are.
    choose(&browser, "#recognise-files", &[short, other]);
    browser.wait("document.querySelectorAll('.answer').length === 2");
    assert!(browser.text("#answers").contains("Waiting for the actions"));
    browser.copy("moving right\n\"up, and away\"\r\n growing;");
    browser.click("#label-input");
    browser.chord('v');
    browser.click("#ask-again");
    browser.wait("document.querySelectorAll('.answer .bars').length === 2");
    // In the order of their names.
    let said = browser.text(".answer:nth-child(2)");
    for words in ["moving right", "up, and away", "growing", "8 frames"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = browser.text(".answer");
    assert!(said.contains("cannot play this format"), "{said}");
    // The frames that were looked at are pictures of the film.
    browser.wait("document.querySelectorAll('.frames canvas[aria-label]').length === 8");
    let drawn = browser.script(
        "const canvas = document.querySelectorAll('.frames canvas')[7]; \
         const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height); \
         return new Set(data).size > 8 && data[3] === 255",
    );
    assert_eq!(drawn, true);

    // A long one has a timeline, and is played from the window that is clicked.
    choose(&browser, "#recognise-files", &[long]);
    browser.wait("document.querySelectorAll('.strip button').length === 13");
    browser.click(".strip button:nth-child(6)");
    let playing = "const video = document.querySelector('.answer:nth-child(3) video'); \
        return video.currentTime >= 5 && !video.paused";
    assert_eq!(browser.script(playing), true);
    browser.wait("document.querySelector('.answer:nth-child(3) video').currentTime > 5.3");
    browser.press(RIGHT);
    assert!(browser.focused().starts_with("6.00 s to 8.00 s: "));
    browser.press(ENTER);
    browser.wait("document.querySelector('.answer:nth-child(3) video').currentTime >= 6");
    browser.script("document.querySelector('.answer:nth-child(3) video').pause()");

    browser.click("#save-json");
    let answers: Value = serde_json::from_slice(&browser.downloaded("answers.json")).unwrap();
    assert_eq!(answers.as_array().unwrap().len(), 3);
    assert_eq!(answers[2]["windows"].as_array().unwrap().len(), 13);
    browser.click("#save-csv");
    let table = String::from_utf8(browser.downloaded("answers.csv")).unwrap();
    assert!(table.starts_with("video,model,start,end,rank,label,score,"));
    // Three classes of two videos and of 13 windows.
    assert_eq!(table.lines().count(), 1 + 3 * 15, "{table}");
    assert!(table.contains(",\"up, and away\","), "{table}");

    // The camera, as it comes and as a clip.
    browser.click("#recognise-live");
    browser.wait("document.querySelectorAll('#live .parts li').length >= 2");
    check(&browser, "recognise");
    browser.click("#live .answer-head button");
    browser.click("#recognise-record");
    browser.wait("document.querySelector('#camera .primary:enabled')");
    browser.script("document.querySelector('#clip-length').value = '2'");
    check(&browser, "camera");
    browser.click("#camera .primary");
    browser
        .wait("document.querySelector('#camera [role=status]').textContent === '1 clip recorded.'");
    browser.click("#camera .actions button:last-child");
    browser.wait("document.querySelectorAll('.answer')[3]?.querySelector('.bars')");

    // A file that is not a video is refused in the server's words.
    let none = place.path("none.mp4");
    std::fs::write(&none, "not a video").unwrap();
    choose(&browser, "#recognise-files", &[none]);
    browser.wait("document.querySelector('.answer .problem')");
    assert!(browser.text(".problem").starts_with("The video is refused"));
    browser.finish(&["415"]);
}

/// Six clips of each class, that a browser can play.
fn clips(place: &Place, browser: &Browser) -> [Vec<PathBuf>; 3] {
    let path = |class: usize, number: usize| place.path(&format!("{class}/{number}.webm"));
    let films: Vec<_> = (0..3)
        .flat_map(|class| (0..6).map(move |number| (path(class, number), vec![(class, number, 8)])))
        .collect();
    film::draw(browser, &films);
    [0, 1, 2].map(|class| (0..6).map(|number| path(class, number)).collect())
}

#[test]
#[ignore = "needs chromium"]
fn a_run_is_taught_used_and_taken_elsewhere_by_keyboard_alone() {
    let place = Place::new();
    let server = Server::start(&place, &[]);
    let browser = open(&server, &place);
    let [right, left, down] = clips(&place, &browser);
    let name_class = |name: &str, clips: &[PathBuf]| {
        browser.tab_to("Class");
        browser.press(name);
        browser.tab_to("Choose clips");
        browser.choose_files(clips);
    };
    browser.use_by_key("Teach");
    // The page is shown, and its heading focused, a moment after the key.
    browser.wait("document.activeElement?.matches('h1, h2')");
    assert_eq!(browser.focused(), "Teach your own actions");
    name_class("right", &right);
    name_class("left", &left);
    check(&browser, "teach");
    browser.use_by_key("Teach");
    browser.wait("document.querySelector('#teach .outcome')");
    assert_eq!(browser.focused(), "“my actions” is ready");
    let said = browser.text("#teach .outcome");
    for words in [
        "of new recordings",
        "With 95 % confidence",
        "right",
        "6 of 6",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    check(&browser, "taught");

    // A third class.
    browser.use_by_key("Runs");
    browser.wait("document.querySelector('#runs .badge.ready')");
    browser.use_by_key("Accuracy and mistakes");
    browser.wait("document.querySelector('#runs .outcome')");
    check(&browser, "runs");
    browser.use_by_key("Add clips or classes to my actions");
    browser.tab_to("Class");
    browser.tab_to("Class");
    name_class("down", &down);
    // A clip of it is recorded straight into the class.
    browser.use_by_key("Record");
    browser.wait("document.querySelector('#camera .primary:enabled')");
    browser.script("document.querySelector('#clip-length').value = '2'");
    browser.press(ENTER);
    browser
        .wait("document.querySelector('#camera [role=status]').textContent === '1 clip recorded.'");
    browser.use_by_key("Done");
    assert!(browser.text("#teach").contains("7 clips"));
    browser.use_by_key("Train again");
    browser.wait("document.querySelectorAll('#teach .outcome tbody tr').length === 3");

    // Used at once, and elsewhere.
    browser.use_by_key("Use my actions");
    browser.wait("!document.querySelector('#page-recognise').hidden");
    assert!(browser.text("#question").contains("taught 3 actions"));
    let long = place.path("walk in the park.webm");
    film::draw(
        &browser,
        &[(long.clone(), vec![(0, 2, 50), (1, 3, 40), (2, 1, 40)])],
    );
    browser.tab_to("Choose videos");
    browser.choose_files(std::slice::from_ref(&long));
    browser.wait("document.querySelectorAll('.strip button').length === 12");
    browser.wait("document.querySelectorAll('.frames canvas[aria-label]').length === 8");
    if let Some(folder) = std::env::var_os("SIF_PICTURES") {
        let path = Path::new(&folder).join("serve.png");
        std::fs::write(path, browser.picture(1200, "light")).unwrap();
        browser.view(1280, "light");
    }
    browser.use_by_key("Download JSON");
    let served: Value = serde_json::from_slice(&browser.downloaded("answers.json")).unwrap();
    // A whole clip of something else.
    let odd = place.path("odd.webm");
    film::draw(&browser, &[(odd.clone(), vec![(3, 0, 8)])]);
    browser.tab_to("Choose videos");
    browser.choose_files(&[odd]);
    browser.wait("document.querySelector('.answer:nth-child(2) .bars')");
    let said = browser.text(".answer:nth-child(2)");
    assert!(
        said.contains("None of these") && said.contains("none of them"),
        "{said}"
    );
    browser.use_by_key("Runs");
    browser.wait("document.querySelector('#runs .badge.ready')");
    browser.use_by_key("Report of my actions");
    let report = browser.other_tab("h2");
    assert!(report.contains("Clips that others contradict"), "{report}");
    browser.use_by_key("Download my actions");
    unpack(
        &browser.downloaded("my-actions.zip"),
        &place.path("elsewhere"),
    );
    let mut command = trainer(&["predict", "--json", "--window", "2s", "--stride", "1s"]);
    command.args(["--top", "5"]).arg(&long);
    command.arg("--checkpoint").arg(place.path("elsewhere/run"));
    let elsewhere: Value = serde_json::from_str(&succeed(command)).unwrap();
    // The page writes a whole number without its point.
    let scores = |answer: &Value| -> Vec<(Option<f64>, String, Option<f64>)> {
        let windows = answer["windows"].as_array().unwrap().iter();
        let one = |window: &Value| {
            let best = &window["predictions"][0];
            let label = best["label"].to_string();
            (window["start"].as_f64(), label, best["score"].as_f64())
        };
        windows.map(one).collect()
    };
    assert_eq!(scores(&served[0]), scores(&elsewhere));

    // A clip comes back as it was given, and nothing else does.
    let run = server.get("/v1/runs").json()["runs"][0].clone();
    let id = run["id"].as_str().unwrap();
    let clip = |name: &str| server.get(&format!("/v1/runs/{id}/clips/{name}"));
    let first = clip(run["clips"][0]["id"].as_str().unwrap());
    assert_eq!(first.body, std::fs::read(&right[0]).unwrap());
    assert_eq!(first.header("content-disposition"), Some("attachment"));
    assert_eq!(clip("..%2fdescription.json").status, 404);

    browser.use_by_key("Delete my actions");
    browser.wait("document.querySelector('#runs-notices button')");
    assert_eq!(browser.focused(), "Undo");
    assert_eq!(server.get("/v1/runs").json()["runs"], serde_json::json!([]));
    browser.press(ENTER);
    browser.wait("document.querySelector('#runs .badge.ready')");
    assert_eq!(
        server.get("/v1/runs").json()["runs"][0]["name"],
        "my actions"
    );
    browser.finish(&[]);
}

#[test]
#[ignore = "needs chromium"]
fn a_server_with_a_token_is_asked_with_it() {
    const TOKEN: &str = "0123456789abcdef";
    let place = Place::new();
    let file = place.path("token");
    std::fs::write(&file, TOKEN).unwrap();
    let server = Server::start(&place, &["--token", file.to_str().unwrap()]);
    let camera = place.path("none.mjpeg");
    let browser = Browser::open(&format!("http://{}/", server.address), &camera);
    browser.wait("document.querySelector('#token').open");
    check(&browser, "token");
    browser.press("another sixteen or more");
    browser.press(ENTER);
    browser.wait("document.querySelector('#token-problem').textContent");
    browser.press(TOKEN);
    browser.press(ENTER);
    browser.wait("document.querySelector('#model').options.length");
    browser.finish(&["401"]);
}

mod needs_shared {
    use super::*;

    #[test]
    #[ignore = "needs chromium and reference data in SIF_SHARED or ../shared"]
    fn a_real_clip_is_recognised() {
        let place = Place::new();
        let weights = testkit::shared().join("data/weights/deit-tiny-dual");
        let server = Server::start(&place, &["--checkpoint", weights.to_str().unwrap()]);
        let browser = open(&server, &place);
        browser.script("document.querySelector('#model').selectedIndex = 1");
        browser.click("#label-input");
        browser.press("archery,arm wrestling,push ups,juggling balls,");
        let clips = testkit::shared().join("data/clips");
        let names = ["arm_wrestling.mp4", "flipping_a_pancake.mkv"];
        choose(
            &browser,
            "#recognise-files",
            &names.map(|name| clips.join(name)),
        );
        browser.wait("document.querySelectorAll('.answer .bars').length === 2");
        browser.wait(
            "document.querySelectorAll('.answer:first-child canvas[aria-label]').length === 8",
        );
        check(&browser, "real");
        browser.finish(&[]);
    }
}
