//! The registry of data sets, and the documentation that repeats it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;

use data::formats::{FORMATS, Format, Source};

#[test]
fn names_are_plain_and_lead_to_their_format() {
    let mut names = BTreeSet::new();
    for format in FORMATS {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        assert!(format.name.chars().all(plain), "{}", format.name);
        assert!(names.insert(format.name), "{} is there twice", format.name);
        assert_eq!(Format::named(format.name).unwrap(), *format);
        let written = serde_json::to_string(format).unwrap();
        let read: &Format = serde_json::from_str(&written).unwrap();
        assert_eq!(read, *format);
    }
    let error = Format::named("UCF101").unwrap_err().to_string();
    for name in names {
        assert!(error.contains(name), "{name} is not in: {error}");
    }
}

#[test]
fn the_documentation_says_what_the_registry_says() {
    let path = testkit::workspace_root().join("docs/datasets.md");
    let docs = fs::read_to_string(path).unwrap();
    let rows = |header: &str| -> Vec<&str> {
        let (_, table) = docs.split_once(header).expect(header);
        let rows = table.lines().skip(2);
        rows.take_while(|line| line.starts_with('|')).collect()
    };
    let (mut facts, mut files) = (Vec::new(), Vec::new());
    for (format, published) in Format::published() {
        facts.push(format!(
            "| `{}` | {}, [{}]({}) | {} | {}{} | {} | {} |",
            format.name,
            format.title,
            published.citation,
            published.url,
            published.clips,
            published.classes,
            if published.several_labels {
                ", several a clip"
            } else {
                ""
            },
            published.splits,
            published.terms
        ));
        files.push(format!(
            "| {} | {} |",
            format.title,
            published.source.files()
        ));
        let command = format!("cargo xtask prepare-{}", format.name);
        assert!(docs.contains(&command), "{command}");
        if let Source::Archives { url: None, .. } = published.source {
            assert!(docs.contains(&format!("{command} --from")), "{command}");
        }
    }
    assert_eq!(rows("| `--dataset` | | clips |"), facts);
    assert_eq!(rows("| | archives or folders |"), files);
}
