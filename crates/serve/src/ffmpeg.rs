//! The versions of FFmpeg that may decode strangers' videos.

use crate::{Error, Result};

/// The first release of each series without weaknesses that are known to be reachable by a video.
/// Distributions mend theirs under the number at which they began, so that a series may pass here and
/// still want an update.
const LEAST: [[u32; 3]; 5] = [[5, 1, 6], [6, 1, 1], [7, 0, 2], [7, 1, 1], [8, 0, 0]];

/// # Errors
/// An older release. A build from a repository, whose version is not one of a release, passes.
pub(crate) fn check(version: &str) -> Result<()> {
    let Some(release) = release(version) else {
        return Ok(());
    };
    // A later series is not known to need anything.
    let least = LEAST.iter().find(|least| least[..2] >= release[..2]);
    match least {
        Some(least) if release < *least => Err(Error::Ffmpeg {
            got: version.to_owned(),
            least: least.map(|number| number.to_string()).join("."),
        }),
        _ => Ok(()),
    }
}

/// The numbers of `7.1`, `n6.1.2` or `5.1.9-0+deb12u1`.
fn release(version: &str) -> Option<[u32; 3]> {
    let numbers = version.trim_start_matches('n');
    let end = numbers.find(|c: char| c != '.' && !c.is_ascii_digit());
    let mut numbers = numbers[..end.unwrap_or(numbers.len())].split('.');
    let mut next = || numbers.next().map(|number| number.parse().ok());
    Some([next()??, next()??, next().unwrap_or(Some(0))?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_releases_are_refused_and_others_pass() {
        for good in [
            "5.1.6",
            "5.1.9-0+deb12u1",
            "6.1.1-3ubuntu5",
            "n7.1.1",
            "7.1.2",
            "8.0",
            "8.1.3",
            "9.0",
            "N-109000-gabcdef",
            "2026-01-01-git-0123456789",
            "",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for old in ["4.4.2", "5.1", "5.1.5-1", "6.0.1", "n6.1", "7.0.1", "7.1"] {
            let refused = check(old).err().map(|error| error.to_string());
            assert!(refused.is_some_and(|said| said.contains(old)), "{old}");
        }
        assert!(check(&video::ffmpeg_version()).is_ok());
    }
}
