//! The CLIP among the tensors of a file: training scripts put it below prefixes and into dicts,
//! beside copies of itself and other parts of the model.
//!
//! Every CLIP has a `logit_scale`: the text before that name is the prefix of a candidate. Of
//! several the outermost is chosen, then those in `state_dict`, `model_state_dict` and `model`, then
//! the first by name; copies averaged in training (`ema`) come last.

use std::collections::BTreeMap;
use std::path::Path;

use super::StoredTensor;
use super::torch_file::Located;

/// The name of the temperature.
const MARK: &str = "logit_scale";
/// Entries of training checkpoints, in order of preference.
const PREFERRED: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// The start of the names of an image tower, `visual.…` or `vision_model.…`.
const IMAGE_TOWER: &str = "vis";
/// Names listed in a note.
const LISTED: usize = 5;

/// The chosen CLIP.
pub(crate) struct Unwrapped {
    /// Its tensors, named without the prefix.
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
    /// The prefix, with its final dot.
    pub(crate) prefix: String,
    /// Full names of the tensors in the same dict that are outside the prefix.
    pub(crate) beside: Vec<String>,
    /// The prefixes that were not chosen.
    others: Vec<String>,
}

/// Chooses a CLIP among `all`; without a candidate everything is one.
pub(crate) fn unwrap(mut all: BTreeMap<String, Located>) -> Unwrapped {
    let mut prefixes = candidates(&all);
    let chosen = match prefixes.is_empty() {
        true => String::new(),
        false => prefixes.remove(0),
    };
    // A nested dict is not part of it, nor is another candidate in the same dict.
    let dict = all.get(&format!("{chosen}{MARK}")).map(|mark| mark.dict);
    let is_within =
        |name: &str, prefix: &str| prefix.len() > chosen.len() && name.starts_with(prefix);
    all.retain(|name, found| {
        let of_other = prefixes.iter().any(|other| is_within(name, other));
        dict.is_none_or(|dict| found.dict == dict && name.get(..dict) == chosen.get(..dict))
            && !of_other
    });
    let of_other = |name: &str| prefixes.iter().any(|other| name.starts_with(other));
    let beside = all
        .keys()
        .filter(|name| !name.starts_with(&chosen) && !of_other(name));
    let beside = beside.cloned().collect();
    all.retain(|name, _| name.starts_with(&chosen));
    let tensors = all
        .into_iter()
        .map(|(name, found)| (name[chosen.len()..].to_owned(), found.tensor));
    Unwrapped {
        tensors: tensors.collect(),
        prefix: chosen,
        beside,
        others: prefixes,
    }
}

impl Unwrapped {
    /// The choice made in `path`, if there was one.
    pub(crate) fn notes(&self, path: &Path) -> Vec<String> {
        let path = path.display();
        let chosen = match self.prefix.as_str() {
            "" => "the outermost one".to_owned(),
            prefix => format!("the one under `{prefix}`"),
        };
        let mut notes = Vec::new();
        if !self.others.is_empty() {
            let others: Vec<_> = self
                .others
                .iter()
                .map(|prefix| format!("`{prefix}`"))
                .collect();
            notes.push(format!(
                "{path} holds several CLIPs: {chosen} is used, not {}",
                others.join(", ")
            ));
        }
        if !self.beside.is_empty() {
            let count = self.beside.len();
            let more = count.saturating_sub(LISTED);
            let listed = self.beside[..count - more].join(", ");
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            notes.push(format!(
                "{path}: CLIP is {chosen}; {count} tensors beside it are not used: {listed}{more}"
            ));
        }
        notes
    }
}

/// The prefixes of all candidates, the best first.
fn candidates(all: &BTreeMap<String, Located>) -> Vec<String> {
    let prefixes = all.keys().filter_map(|name| {
        let prefix = name.strip_suffix(MARK)?;
        (prefix.is_empty() || prefix.ends_with('.')).then(|| prefix.to_owned())
    });
    let mut prefixes: Vec<String> = prefixes.collect();
    let with_tower = |prefix: &String| {
        let start = format!("{prefix}{IMAGE_TOWER}");
        let next = all.range(start.clone()..).next();
        next.is_some_and(|(name, _)| name.starts_with(&start))
    };
    if prefixes.iter().any(with_tower) {
        prefixes.retain(with_tower);
    }
    prefixes.sort_by_cached_key(|prefix| {
        let averaged = prefix.split(['.', '_']).any(|word| word == "ema");
        let first = prefix.split('.').next().unwrap_or_default();
        let preferred = PREFERRED.iter().position(|&name| name == first);
        let rank = preferred.unwrap_or(PREFERRED.len());
        (averaged, !prefix.is_empty(), rank, prefix.clone())
    });
    prefixes
}
