//! List files as people keep them: with byte-order marks, CRLF, blank lines, remarks.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};

/// One line that says something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// Without surrounding blanks.
    pub(crate) text: &'a str,
}

/// The file as text, without a byte-order mark.
///
/// # Errors
/// It cannot be read, or is not UTF-8; the error names the line.
pub(crate) fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).map_err(Error::io("cannot read", path))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = error
            .as_bytes()
            .get(..error.utf8_error().valid_up_to())
            .unwrap_or_default();
        Error::Line {
            path: path.into(),
            line: good.iter().filter(|byte| **byte == b'\n').count() + 1,
            what: "is not UTF-8 text".into(),
        }
    })?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

/// The lines that are neither blank nor a remark. A remark starts with `#` and a blank:
/// file names may start with `#`.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.lines().enumerate().filter_map(|(place, line)| {
        let text = line.trim();
        let remark = text == "#" || text.starts_with("# ") || text.starts_with("#\t");
        (!text.is_empty() && !remark).then_some(Line {
            number: place + 1,
            text,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn blank_lines_and_remarks_say_nothing() {
        let text = "a 1\r\n\r\n# remark\n#1_clip.avi 2\n  \n\tb 3 \n#\n";
        let found: Vec<_> = lines(text).map(|line| (line.number, line.text)).collect();
        assert_eq!(found, [(1, "a 1"), (4, "#1_clip.avi 2"), (6, "b 3")]);
    }
}
