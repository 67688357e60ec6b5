//! The recording that each clip was cut from, as far as a data set tells.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::class_name::ClassName;
use crate::manifest::{Manifest, VideoEntry};

/// Words before the number of a part of a recording: `talk_part2`, `walk-clip03`, `v_Run_g01_c04`.
const PARTS: [&str; 9] = [
    "c", "clip", "cut", "part", "pt", "scene", "seg", "segment", "shot",
];

/// Longest part of a recording that a range of seconds in a name describes.
const LONGEST: u32 = 3600;

/// The recording of each clip, by position: clips with equal names were cut from one recording, of
/// whatever class they are.
///
/// It is the clip's group, if it has one; else the folder between that of its class and the clip;
/// else its name without the mark of a part: a word of a part with a number (`talk_part2`), a range
/// of seconds (Kinetics' `_000012_000022`), or the tags of HMDB-51 (`_f_cm_np1_ba_med_3`). A clip
/// without any of these is a recording of its own, and so are all clips of a class that would be
/// one recording.
#[must_use]
pub fn recordings(manifest: &Manifest) -> Vec<String> {
    let told: Vec<Option<String>> = manifest
        .clips()
        .iter()
        .map(|clip| told(clip, manifest))
        .collect();
    let mut of_class: BTreeMap<usize, BTreeSet<Option<&String>>> = BTreeMap::new();
    for (clip, told) in manifest.clips().iter().zip(&told) {
        of_class
            .entry(clip.label())
            .or_default()
            .insert(told.as_ref());
    }
    let says_nothing = |clip: &VideoEntry| {
        clip.group.is_none() && of_class.get(&clip.label()).is_some_and(|all| all.len() < 2)
    };
    let clips = manifest.clips().iter().zip(&told);
    clips
        .map(|(clip, told)| match told {
            Some(told) if !says_nothing(clip) => told.clone(),
            _ => clip.id.clone(),
        })
        .collect()
}

fn told(clip: &VideoEntry, manifest: &Manifest) -> Option<String> {
    if let Some(group) = &clip.group {
        return Some(group.clone());
    }
    let class = manifest.classes().get(clip.label()).map(ClassName::key);
    let is_class = |folder: &Path| {
        let name = folder.file_name().map(|name| name.to_string_lossy());
        name.map(|name| ClassName::new(name).key()) == class
    };
    let folder = clip.path.parent()?;
    if !is_class(folder) && folder.ancestors().skip(1).any(is_class) {
        return Some(format!("{}/", folder.file_name()?.to_string_lossy()));
    }
    let stem = clip.path.file_stem()?.to_string_lossy().to_lowercase();
    without_part(&stem).map(str::to_owned)
}

/// The name without the mark of a part; `None` if it has none, or nothing else.
fn without_part(stem: &str) -> Option<&str> {
    let rest = numbered(stem)
        .or_else(|| seconds(stem))
        .or_else(|| hmdb51(stem))?;
    let rest = rest.trim_end_matches(is_separator);
    (!rest.is_empty()).then_some(rest)
}

fn is_separator(c: char) -> bool {
    matches!(c, '_' | '-' | '.' | ' ')
}

/// `NAME_part 02`
fn numbered(stem: &str) -> Option<&str> {
    let rest = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    if rest.len() == stem.len() {
        return None;
    }
    let rest = rest.trim_end_matches(is_separator);
    let at = rest.rfind(is_separator)?;
    let (before, word) = rest.split_at(at);
    PARTS
        .contains(&word.trim_start_matches(is_separator))
        .then_some(before)
}

/// `NAME_000012_000022`
fn seconds(stem: &str) -> Option<&str> {
    let (rest, end) = stem.rsplit_once('_')?;
    let (rest, start) = rest.rsplit_once('_')?;
    let number = |text: &str| {
        let whole = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| whole)
    };
    let (start, end) = (number(start)?, number(end)?);
    (start < end && end - start <= LONGEST).then_some(rest)
}

/// `NAME_f_cm_np1_ba_med_3`: visible parts, motion of the camera, people, view, quality, number.
fn hmdb51(stem: &str) -> Option<&str> {
    let mut parts = stem.rsplitn(7, '_');
    let number = parts.next()?.parse::<u32>().is_ok();
    let tags: Vec<&str> = parts.by_ref().take(5).collect();
    let known = matches!(
        tags.as_slice(),
        ["goo" | "med" | "bad", "fr" | "ba" | "le" | "ri", people, "cm" | "nm", "h" | "u" | "f" | "l"]
            if people.starts_with("np")
    );
    (number && known).then(|| parts.next())?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(paths: &[(&str, usize)]) -> Vec<String> {
        let classes = ["Wave", "Run"].map(ClassName::new).to_vec();
        let clips = paths
            .iter()
            .map(|(path, class)| VideoEntry::new(*path, *path, vec![*class]));
        let manifest = Manifest::new("own", "videos", classes, clips.collect()).unwrap();
        recordings(&manifest)
    }

    #[test]
    fn names_of_parts_tell_the_recording() {
        for (stem, recording) in [
            ("v_run_g07_c01", Some("v_run_g07")),
            ("talk_part2", Some("talk")),
            ("gopro 12 - clip 003", Some("gopro 12")),
            ("day1-scene-004", Some("day1")),
            ("ab_c-d_000012_000022", Some("ab_c-d")),
            (
                "april_09_brush_hair_u_nm_np1_ba_goo_0",
                Some("april_09_brush_hair"),
            ),
            ("img_0012", None),
            ("20230115_143022", None),
            ("clip3", None),
            ("take_2", None),
            ("arc1", None),
        ] {
            assert_eq!(without_part(stem), recording, "{stem}");
        }
    }

    #[test]
    fn folders_below_the_class_and_groups_come_first() {
        let told = of(&[
            ("run/anna/a_part1.mp4", 1),
            ("run/anna/b.mp4", 1),
            ("run/ben/c.mp4", 1),
            ("wave/d.mp4", 0),
        ]);
        assert_eq!(told, ["anna/", "anna/", "ben/", "wave/d.mp4"]);
    }

    #[test]
    fn names_that_put_a_whole_class_into_one_recording_tell_nothing() {
        let told = of(&[
            ("Run/day1_part1.mp4", 1),
            ("Run/day1_part2.mp4", 1),
            ("Run/day2_part1.mp4", 1),
            ("Wave/wave_clip1.mp4", 0),
            ("Wave/wave_clip2.mp4", 0),
        ]);
        assert_eq!(
            told,
            [
                "day1",
                "day1",
                "day2",
                "Wave/wave_clip1.mp4",
                "Wave/wave_clip2.mp4"
            ]
        );
    }
}
