//! Texts that are longer than the context: each is cut, and two labels must not become one.

use std::collections::HashMap;

use crate::{Error, Result};

/// Cuts the tokens of each label to `most`, and returns the labels that were cut.
///
/// # Errors
/// [`Error::SameAfterCut`] if two labels have the same tokens then.
pub(crate) fn cut(labels: &[&str], rows: &mut [Vec<i64>], most: usize) -> Result<Vec<String>> {
    let too_long: Vec<bool> = rows.iter().map(|tokens| tokens.len() > most).collect();
    for tokens in rows.iter_mut() {
        tokens.truncate(most);
    }
    let mut seen: HashMap<&[i64], usize> = HashMap::new();
    for (place, tokens) in rows.iter().enumerate() {
        // Labels of the same tokens without a cut are as the caller gave them.
        if let Some(&other) = seen.get(tokens.as_slice())
            && (too_long[place] || too_long[other])
        {
            return Err(Error::SameAfterCut {
                first: labels[other].into(),
                second: labels[place].into(),
                most,
            });
        }
        seen.entry(tokens).or_insert(place);
    }
    let cut = labels.iter().zip(too_long).filter(|(_, cut)| *cut);
    Ok(cut.map(|(label, _)| (*label).to_owned()).collect())
}

/// The tokens of a label.
///
/// # Errors
/// [`Error::EmptyLabel`] if there is none.
pub(crate) fn expect_tokens(label: &str, tokens: &[i64]) -> Result<()> {
    match tokens.is_empty() {
        true => Err(Error::EmptyLabel {
            label: label.into(),
        }),
        false => Ok(()),
    }
}
