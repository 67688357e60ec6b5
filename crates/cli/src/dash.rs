//! File names that begin with a dash.

use std::ffi::OsString;
use std::path::Path;

use data::formats::claims_video;

/// An error for the first argument that is meant as a file and would be read as options: one that
/// ends as a video does, or exists, and begins with a dash.
pub(crate) fn file_like_option(arguments: impl Iterator<Item = OsString>) -> Option<String> {
    let mut arguments = arguments.skip(1).take_while(|argument| argument != "--");
    let file = arguments.find(|argument| {
        let text = argument.to_string_lossy();
        text.starts_with('-')
            && ((claims_video(&text) && !text.contains('='))
                || (text.len() > 2 && Path::new(argument).exists()))
    })?;
    let file = file.to_string_lossy();
    Some(format!(
        "'{file}' begins with a dash, so it would be read as options; write './{file}' (all of a \
         folder: ./*), or put -- before the files"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_with_a_dash_are_no_options() {
        let said = |text: &str| file_like_option(text.split(' ').map(OsString::from));
        for text in [
            "trainer predict -h.mp4",
            "trainer predict a.mp4 --0BJ-j7tg8.mp4 --json",
            "trainer predict -.MP4",
        ] {
            assert!(
                said(text).is_some_and(|said| said.contains("write './-")),
                "{text}"
            );
        }
        for text in [
            "trainer",
            "trainer predict a.mp4 -h",
            "trainer predict -- -h.mp4",
            "trainer predict ./-h.mp4 --labels-file=a.ts",
            "trainer train --set data.root=a.mp4",
        ] {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
