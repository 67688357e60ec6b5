//! Names and foreign text in a sentence.

/// Names that one sentence holds.
const SHOWN: usize = 10;

/// The first ten of `names` in quotes, and the number of the others: "'a', 'b' and 3 more".
#[must_use]
pub fn named<T: AsRef<str>>(names: &[T]) -> String {
    let shown = names.iter().take(SHOWN);
    let shown: Vec<String> = shown.map(|name| format!("'{}'", name.as_ref())).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// `count` and the noun, in the plural where it is not one: "1 clip", "3 clips".
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun.ends_with("ss")) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{count} {noun}es"),
        (_, false) => format!("{count} {noun}s"),
    }
}

/// Escapes control characters, so that a file's name or content can neither break a line nor control
/// the terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            if c.is_control() {
                out.extend(c.escape_default())
            } else {
                out.push(c)
            }
            out
        })
}

/// The longest line of a message, in characters.
const LINE: usize = 1000;

/// A message as it is printed: its lines without control characters, each cut off if it is longer than
/// 1,000 characters, since messages quote files.
#[must_use]
pub fn message(text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = printable(line);
        match line.char_indices().nth(LINE) {
            Some((end, _)) => format!("{}\u{2026}", line.get(..end).unwrap_or_default()),
            None => line,
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{counted, message, named, printable};

    #[test]
    fn ten_names_and_a_count() {
        assert_eq!(named(&["a", "b"]), "'a', 'b'");
        let many: Vec<String> = (0..12).map(|number| number.to_string()).collect();
        assert!(named(&many).ends_with("'9' and 2 more"));
        assert_eq!(counted(1, "class"), "1 class");
        assert_eq!(counted(0, "class"), "0 classes");
        assert_eq!(counted(2, "clip"), "2 clips");
    }

    #[test]
    fn text_of_a_file_cannot_control_the_terminal() {
        assert_eq!(
            printable("a\u{1b}[2J\0 \u{e9}\n"),
            "a\\u{1b}[2J\\u{0} \u{e9}\\n"
        );
        assert_eq!(message("a\u{7}b\nc"), "a\\u{7}b\nc");
        assert_eq!(message(&"\u{e9}".repeat(5000)).chars().count(), 1001);
    }
}
