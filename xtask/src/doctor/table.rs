//! The results as a table.

use console::truncate_str;

use super::{Check, Status};

/// The width of the screen.
const WIDTH: usize = 80;
const INDENT: usize = 20;

/// A table that fits the screen: successes take one line, other results are wrapped.
pub(super) fn render(checks: &[Check]) -> String {
    let mut lines = Vec::new();
    for check in checks {
        let status = match check.status {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "FAIL",
        };
        let mut head = format!("{status:<5} {:<13} ", check.name);
        let Some(fix) = &check.fix else {
            let detail = truncate_str(&check.detail, WIDTH - INDENT, "...");
            lines.push(format!("{head}{detail}"));
            continue;
        };
        for text in [&check.detail, &format!("-> {fix}")] {
            for line in wrap(text, WIDTH - INDENT) {
                lines.push(format!("{head}{line}"));
                head = " ".repeat(INDENT);
            }
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (ok, warn, fail) = (count(Status::Ok), count(Status::Warn), count(Status::Fail));
    lines.push(format!("{ok} ok, {warn} warnings, {fail} failures"));
    lines.join("\n")
}

/// Breaks `text` into lines of at most `width` characters, except for longer words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_the_screen() {
        let long = "word ".repeat(40);
        let checks = [
            Check::ok("libtorch", long.clone()),
            Check::fail("write access", long.clone(), long),
            Check::warn("disk", "little", "free some space"),
        ];
        let text = render(&checks);
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line:?}");
        }
        assert!(text.contains("\nFAIL  write access  word"));
        assert!(text.contains("-> free some space"));
        assert!(text.ends_with("1 ok, 1 warnings, 1 failures"));
    }
}
