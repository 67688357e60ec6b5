//! The places of installed data.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The place of `name`, a file or folder of this project's data, by the XDG specification: below
/// `seeing-in-flowing` in `$XDG_DATA_HOME` or else `~/.local/share`, or in one of `$XDG_DATA_DIRS`;
/// the first of them where it exists, or that of the user.
#[must_use]
pub fn data_path(name: impl AsRef<Path>) -> PathBuf {
    find(name.as_ref(), |variable| std::env::var_os(variable))
}

fn find(name: &Path, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let variable = |name| variable(name).filter(|value| !value.is_empty());
    let place = |folder: PathBuf| folder.join("seeing-in-flowing").join(name);
    let home = || Some(PathBuf::from(variable("HOME")?).join(".local/share"));
    let user = variable("XDG_DATA_HOME").map(PathBuf::from).or_else(home);
    let user = place(user.unwrap_or_default());
    if user.exists() {
        return user;
    }
    let shared = variable("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    let mut shared = std::env::split_paths(&shared).map(place);
    shared.find(|path| path.exists()).unwrap_or(user)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_users_data_come_first_and_an_installation_s_are_found() {
        let root = tempfile::tempdir().unwrap();
        let (user, shared) = (root.path().join("user"), root.path().join("shared"));
        let found = || {
            find(Path::new("words"), |variable| {
                Some(match variable {
                    "XDG_DATA_HOME" => user.clone().into(),
                    "XDG_DATA_DIRS" => std::env::join_paths([root.path(), &shared]).unwrap(),
                    other => unreachable!("{other}"),
                })
            })
        };
        let [of_user, installed] = [&user, &shared].map(|f| f.join("seeing-in-flowing/words"));
        assert_eq!(found(), of_user);
        for place in [&installed, &of_user] {
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, "").unwrap();
            assert_eq!(found(), *place);
        }
    }
}
