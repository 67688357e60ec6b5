//! UCF-101 (Soomro, Zamir and Shah, 2012) with its official lists.

use std::collections::HashMap;
use std::path::Path;

use super::collect::{At, Collector, path_id, relative};
use super::{Found, ReadOptions, read_class_index, text};
use crate::error::{Error, Result};
use crate::manifest::VideoEntry;

/// Reads UCF-101: `root/<Class>/v_<Class>_gXX_cYY.avi`, and in `lists` the files
/// `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`. Every pair of lists that is
/// there becomes a split named "1", "2" or "3".
///
/// # Errors
/// Lists that are absent or contradict each other, a group on both sides of a split, and
/// what `options` refuses.
pub fn ucf101(root: &Path, lists: &Path, options: ReadOptions) -> Result<Found> {
    let index = read_class_index(&lists.join("classInd.txt"))?;
    let labels: HashMap<String, usize> = index
        .values()
        .enumerate()
        .map(|(label, class)| (class.key(), label))
        .collect();
    let label_of_number: HashMap<i64, usize> = index
        .keys()
        .enumerate()
        .map(|(label, number)| (*number, label))
        .collect();

    let mut collector = Collector::new("ucf101", root, lists, options);
    let mut splits = 0;
    for split in ["1", "2", "3"] {
        let train = lists.join(format!("trainlist0{split}.txt"));
        let test = lists.join(format!("testlist0{split}.txt"));
        if !train.exists() && !test.exists() {
            continue;
        }
        let mut parts = [Vec::new(), Vec::new()];
        for (list, ids) in [&train, &test].into_iter().zip(&mut parts) {
            let mut first_lines = HashMap::new();
            let text = text::read(list)?;
            for line in text::lines(&text) {
                let at = At {
                    list,
                    line: line.number,
                };
                let (path, number) = match line.text.rsplit_once(char::is_whitespace) {
                    Some((path, number)) => (path.trim_end(), Some(number)),
                    None => (line.text, None),
                };
                let path = relative(root, path, at)?;
                let id = path_id(&path);
                let class = path.parent().and_then(Path::file_name).unwrap_or_default();
                let class = crate::class_name::ClassName::new(class.to_string_lossy());
                let label = *labels
                    .get(&class.key())
                    .ok_or_else(|| at.fail(format!("'{class}' is not a class of classInd.txt")))?;
                if let Some(number) = number {
                    let named = number
                        .parse()
                        .ok()
                        .and_then(|n: i64| label_of_number.get(&n));
                    if named != Some(&label) {
                        return Err(at.fail(format!(
                            "label {number} is not that of the folder '{class}' in classInd.txt"
                        )));
                    }
                }
                if let Some(first_line) = first_lines.insert(id.clone(), line.number) {
                    return Err(Error::DuplicateClip {
                        path: list.into(),
                        id,
                        first_line,
                        line: line.number,
                    });
                }
                let group = group(&id);
                collector.add(
                    VideoEntry {
                        group,
                        ..VideoEntry::new(id.clone(), path, vec![label])
                    },
                    at,
                )?;
                ids.push(id);
            }
        }
        let [train, test] = parts;
        collector.add_split(split, train, test);
        splits += 1;
    }
    if splits == 0 {
        return Err(Error::Content {
            path: lists.into(),
            what: "holds neither trainlist0N.txt nor testlist0N.txt".into(),
        });
    }
    let note = format!("UCF-101 with {splits} official split(s)");
    let found = collector.finish(index.into_values().collect(), vec![note])?;
    for split in found.manifest.splits() {
        split.check_groups(&found.manifest)?;
    }
    Ok(found)
}

/// `Class/v_Class_g07_c01.avi` -> `Class/g07`: clips of one group are of one recording.
fn group(id: &str) -> Option<String> {
    let (class, file) = id.rsplit_once('/')?;
    let (_, tail) = file.rsplit_once("_g")?;
    let digits = tail.split('_').next()?;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| format!("{class}/g{digits}"))
}
