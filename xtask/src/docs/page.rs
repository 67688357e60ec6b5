//! A Markdown page, as far as the checks need it.

use std::collections::BTreeMap;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

#[derive(Debug)]
pub(super) struct Page {
    /// Its path from the root, with slashes.
    pub(super) path: String,
    pub(super) text: String,
    pub(super) links: Vec<Link>,
    /// The anchors of its headings.
    pub(super) anchors: Vec<String>,
    /// Code in headings of the third level, by line.
    pub(super) quotes: Vec<(usize, String)>,
    pub(super) blocks: Vec<Block>,
}

/// A link or an image.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) line: usize,
    pub(super) target: String,
    /// The place of the target in the text; empty where it is written elsewhere.
    pub(super) range: Range<usize>,
}

/// A fenced code block.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) line: usize,
    /// The words after the fence.
    pub(super) info: String,
    pub(super) text: String,
}

impl Page {
    pub(super) fn parse(path: &str, text: String) -> Self {
        let mut page = Self {
            path: path.into(),
            text: String::new(),
            links: Vec::new(),
            anchors: Vec::new(),
            quotes: Vec::new(),
            blocks: Vec::new(),
        };
        let line = |at: usize| {
            1 + text
                .get(..at)
                .map_or(0, |before| before.matches('\n').count())
        };
        let mut heading: Option<(HeadingLevel, String)> = None;
        let mut block: Option<Block> = None;
        let mut taken = BTreeMap::new();
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    let found = text
                        .get(range.clone())
                        .and_then(|all| all.rfind(&*dest_url));
                    let start = range.start + found.unwrap_or(0);
                    let length = found.map_or(0, |_| dest_url.len());
                    page.links.push(Link {
                        line: line(range.start),
                        target: dest_url.to_string(),
                        range: start..start + length,
                    });
                }
                Event::Start(Tag::Heading { level, .. }) => heading = Some((level, String::new())),
                Event::End(TagEnd::Heading(_)) => {
                    let (_, title) = heading.take().unwrap_or((HeadingLevel::H1, String::new()));
                    page.anchors.push(anchor(&title, &mut taken));
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match kind {
                        CodeBlockKind::Fenced(info) => info.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    let (line, text) = (line(range.start), String::new());
                    block = Some(Block { line, info, text });
                }
                Event::End(TagEnd::CodeBlock) => page.blocks.extend(block.take()),
                Event::Code(code) => {
                    if let Some((level, title)) = &mut heading {
                        title.push_str(&code);
                        if *level == HeadingLevel::H3 {
                            page.quotes.push((line(range.start), code.to_string()));
                        }
                    }
                }
                Event::Text(words) => {
                    if let Some(block) = &mut block {
                        block.text.push_str(&words);
                    } else if let Some((_, title)) = &mut heading {
                        title.push_str(&words);
                    }
                }
                _ => {}
            }
        }
        page.text = text;
        page
    }

    /// The path, from the root, of a relative `target`; `None` if it leads out.
    pub(super) fn resolve(&self, target: &str) -> Option<String> {
        let mut parts: Vec<&str> = self.path.split('/').collect();
        parts.pop();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => _ = parts.pop()?,
                _ => parts.push(part),
            }
        }
        Some(parts.join("/"))
    }
}

/// The anchor of a heading, as GitHub and mdBook make it. A repeated one is numbered.
fn anchor(title: &str, taken: &mut BTreeMap<String, usize>) -> String {
    let slug: String = title
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            c if c.is_whitespace() => Some('-'),
            c => (c.is_alphanumeric() || "-_".contains(c)).then_some(c),
        })
        .collect();
    let before = taken.entry(slug.clone()).or_default();
    *before += 1;
    match *before {
        1 => slug,
        count => format!("{slug}-{}", count - 1),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_page_has_anchors_links_blocks_and_quotes() {
        let text = "# A page, `quoted`\n## Two words\n## Two words\n### `no file …`\n\
                    [a](b/c.md#d) <https://e.f>\n\n```sh no-run: g\nh\n```\n";
        let page = Page::parse("docs/x.md", text.into());
        let anchors = ["a-page-quoted", "two-words", "two-words-1", "no-file-"];
        assert_eq!(page.anchors, anchors);
        assert_eq!(page.quotes, [(4, "no file …".to_string())]);
        let [first, second] = page.links.as_slice() else {
            unreachable!("two links");
        };
        assert_eq!((first.line, &*first.target), (5, "b/c.md#d"));
        assert_eq!(text.get(first.range.clone()).unwrap(), "b/c.md#d");
        assert_eq!(second.target, "https://e.f");
        let block = &page.blocks[0];
        assert_eq!((&*block.info, &*block.text), ("sh no-run: g", "h\n"));
        assert_eq!(page.resolve("../b/./c").unwrap(), "b/c");
        assert_eq!(page.resolve("../../b"), None);
    }
}
