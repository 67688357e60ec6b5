//! UCF-101 (Soomro, Zamir and Shah, 2012) with its official lists.

use std::collections::HashMap;
use std::path::Path;

use super::collect::Collector;
use super::registry::{Archive, Endings, Format, Packing, Published, Reader, Source};
use super::{Found, ReadOptions, read_class_index};
use crate::class_name::ClassName;
use crate::error::{Error, Result};

pub(super) static FORMAT: Format = Format {
    name: "ucf101",
    title: "UCF-101",
    reader: Reader::Official(read),
    published: Some(Published {
        clips: "13,320 `.avi`",
        classes: 101,
        several_labels: false,
        splits: "3: 9,537 / 3,783, 9,586 / 3,734, 9,624 / 3,696",
        terms: "research use",
        citation: "Soomro, Zamir and Shah, 2012",
        url: "https://www.crcv.ucf.edu/data/UCF101.php",
        table: &[],
        source: Source::Archives {
            url: Some("https://www.crcv.ucf.edu/data/UCF101"),
            videos: Archive {
                file: "UCF101.rar",
                packing: Packing::ClassRar,
                folder: "UCF-101",
                room: 1,
            },
            lists: Archive {
                file: "UCF101TrainTestSplits-RecognitionTask.zip",
                packing: Packing::Zip(Endings {
                    required: &[
                        "classInd.txt",
                        "trainlist01.txt",
                        "trainlist02.txt",
                        "trainlist03.txt",
                        "testlist01.txt",
                        "testlist02.txt",
                        "testlist03.txt",
                    ],
                    optional: &[],
                }),
                folder: "ucfTrainTestlist",
                room: 1,
            },
        },
    }),
};

/// Reads `root/<Class>/v_<Class>_gXX_cYY.avi`, and in `lists` the files `classInd.txt`,
/// `trainlist0N.txt` and `testlist0N.txt`. Every pair of lists that is there becomes a split
/// named "1", "2" or "3".
///
/// # Errors
/// Lists that are absent or contradict each other, a group on both sides of a split, and
/// what `options` refuses.
fn read(root: &Path, lists: &Path, options: ReadOptions) -> Result<Found> {
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

    let mut collector = Collector::new(FORMAT.name, root, lists, options);
    let mut splits = 0;
    for split in ["1", "2", "3"] {
        let train = lists.join(format!("trainlist0{split}.txt"));
        let test = lists.join(format!("testlist0{split}.txt"));
        if !train.exists() && !test.exists() {
            continue;
        }
        let mut parts = [Vec::new(), Vec::new()];
        for (list, ids) in [&train, &test].into_iter().zip(&mut parts) {
            collector.add_lines(list, "", |clip, number, at| {
                let class = clip.path.parent().and_then(Path::file_name);
                let class = ClassName::new(class.unwrap_or_default().to_string_lossy());
                let label = *labels
                    .get(&class.key())
                    .ok_or_else(|| at.fail(format!("'{class}' is not a class of classInd.txt")))?;
                let named = |number: &str| label_of_number.get(&number.parse().ok()?).copied();
                if let Some(number) = number
                    && named(number) != Some(label)
                {
                    return Err(at.fail(format!(
                        "label {number} is not that of the folder '{class}' in classInd.txt"
                    )));
                }
                clip.labels = vec![label];
                clip.group = group(&clip.id);
                ids.push(clip.id.clone());
                Ok(())
            })?;
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
