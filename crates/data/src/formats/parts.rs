//! The parts of a data set: to train on, to choose by, to test on.

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Train,
    Val,
    Test,
}

impl Part {
    /// The part of that name, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "train" | "training" => Self::Train,
            "val" | "valid" | "validation" => Self::Val,
            "test" | "testing" => Self::Test,
            _ => return None,
        })
    }
}

/// The ids of the clips in each part.
#[derive(Debug, Default)]
pub(super) struct Parts {
    train: Vec<String>,
    val: Vec<String>,
    test: Vec<String>,
}

/// The name of a split, and the ids of its training and test clips.
pub(super) type NamedSplit = (String, Vec<String>, Vec<String>);

impl Parts {
    pub(super) fn add(&mut self, part: Part, id: String) {
        match part {
            Part::Train => self.train.push(id),
            Part::Val => self.val.push(id),
            Part::Test => self.test.push(id),
        }
    }

    /// The splits that the parts make, the one for the final figure first, and a sentence about
    /// them. Two parts make one split called `name`; training clips alone make none.
    pub(super) fn splits(self, name: &str) -> (Vec<NamedSplit>, Option<String>) {
        let Self { train, val, test } = self;
        match (val.is_empty(), test.is_empty()) {
            (true, true) => (Vec::new(), None),
            (false, false) => {
                let note = format!(
                    "parts train ({}), val ({}) and test ({}): the first split, 'test', is for the \
                     final figure; the second, 'val', is for choosing. Both train on train alone",
                    train.len(),
                    val.len(),
                    test.len()
                );
                let splits = vec![
                    ("test".into(), train.clone(), test),
                    ("val".into(), train, val),
                ];
                (splits, Some(note))
            }
            (no_val, _) => {
                let (tested, part) = if no_val { (test, "test") } else { (val, "val") };
                let note = match train.len() {
                    0 => format!("part {part} ({}) alone: nothing to train on", tested.len()),
                    count => format!(
                        "parts train ({count}) and {part} ({}); tests are on {part}",
                        tested.len()
                    ),
                };
                (vec![(name.into(), train, tested)], Some(note))
            }
        }
    }
}
