//! The settings that stored features were made with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Named values that all have to match before stored features replace computed
/// ones: the weights' hash, the preprocessing, the sampling, the manifest's fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(BTreeMap<String, String>);

impl Fingerprint {
    /// An empty fingerprint.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with one more value.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: impl ToString) -> Self {
        self.0.insert(field.into(), value.to_string());
        self
    }

    /// The same without some fields.
    pub(crate) fn without(&self, fields: &[&str]) -> Self {
        let mut rest = self.clone();
        rest.0.retain(|field, _| !fields.contains(&field.as_str()));
        rest
    }

    /// One line for each field in which the stored fingerprint `kept` differs from `self`, the
    /// wanted one.
    #[must_use]
    pub fn differences(&self, kept: &Self) -> Vec<String> {
        let mut fields: Vec<&String> = self.0.keys().chain(kept.0.keys()).collect();
        fields.sort();
        fields.dedup();
        let quoted = |value: Option<&String>| {
            value.map_or_else(|| "nothing".to_owned(), |value| format!("'{value}'"))
        };
        fields
            .into_iter()
            .filter(|field| self.0.get(*field) != kept.0.get(*field))
            .map(|field| {
                let (kept, wanted) = (quoted(kept.0.get(field)), quoted(self.0.get(field)));
                format!("  {field}: kept features have {kept}, this run wants {wanted}")
            })
            .collect()
    }
}

impl std::fmt::Display for Fingerprint {
    /// One line per value, sorted by name.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|(field, value)| writeln!(f, "{field}: {value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::Fingerprint;

    #[test]
    fn differences_are_spelled_out() {
        let kept = Fingerprint::new()
            .with("weights", "aa")
            .with("size", 224)
            .with("old", 1);
        let wanted = Fingerprint::new()
            .with("weights", "bb")
            .with("size", 224)
            .with("new", 2);
        assert_eq!(
            wanted.differences(&kept),
            [
                "  new: kept features have nothing, this run wants '2'",
                "  old: kept features have '1', this run wants nothing",
                "  weights: kept features have 'aa', this run wants 'bb'",
            ]
        );
        assert!(wanted.differences(&wanted).is_empty());
    }
}
