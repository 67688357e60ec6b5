//! JSON objects that know when they have changed: their last field is the SHA-256 of what precedes it.

use crate::sha256;

const FIELD: &str = ",\n  \"sha256\": \"";

/// The text of a JSON object with the field `sha256` at its end, over all that precedes it.
#[must_use]
pub fn seal(object: &str) -> String {
    let object = object.trim_end();
    let body = object.strip_suffix('}').unwrap_or(object).trim_end();
    format!("{body}{FIELD}{}\"\n}}\n", sha256(body))
}

/// The object that [`seal`] was given, `None` if it has no seal.
///
/// # Errors
/// The text has changed since; a sentence that says so.
pub fn unseal(text: &[u8]) -> Result<Option<String>, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let Some(end) = text.rfind(FIELD) else {
        return Ok(None);
    };
    let (body, rest) = text.split_at(end);
    match rest.strip_prefix(FIELD) == Some(&format!("{}\"\n}}\n", sha256(body))) {
        true => Ok(Some(format!("{body}\n}}"))),
        false => Err("has changed: its SHA-256 differs".into()),
    }
}

/// The same for what is always sealed.
///
/// # Errors
/// The text has changed, or was never sealed.
pub fn expect_sealed(text: &[u8]) -> Result<String, String> {
    unseal(text)?.ok_or_else(|| {
        "has no SHA-256 at its end: it has changed, or is of an earlier version".into()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen() {
        for object in ["{\n  \"a\": 1,\n  \"b\": \"x\"\n}\n", "{\"a\":[1,2]}"] {
            let sealed = seal(object);
            let opened = expect_sealed(sealed.as_bytes()).unwrap();
            let value = |text: &str| text.replace(char::is_whitespace, "");
            assert_eq!(value(&opened), value(object));
            for at in 0..sealed.len() {
                for bit in 0..8 {
                    let mut bad = sealed.clone().into_bytes();
                    bad[at] ^= 1 << bit;
                    assert!(expect_sealed(&bad).is_err(), "bit {bit} of byte {at}");
                }
                assert!(expect_sealed(&sealed.as_bytes()[..at]).is_err(), "{at}");
            }
        }
        assert_eq!(unseal(b"{}"), Ok(None));
    }
}
