//! JSON configuration files, field by field, with errors that name file and field.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::weights::{expect_text, not_a_file};
use crate::{Error, Result};

/// The largest JSON file read, in bytes; a `tokenizer.json` takes 4 MB.
const MAX_JSON: u64 = 64 << 20;

/// One JSON object inside a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    path: &'a Path,
    /// The object's path in the file, with a final dot; empty for the outermost.
    at: &'a str,
    map: &'a Map<String, Value>,
}

/// Reads a JSON file.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let bytes = read_limited(path, MAX_JSON)?;
    expect_text(path, &bytes)?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Malformed {
        path: path.into(),
        item: "JSON".into(),
        reason: e.to_string(),
    })
}

/// Reads a regular file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let fault = |op, source| Error::Io {
        op,
        path: path.into(),
        source,
    };
    let metadata = std::fs::metadata(path).map_err(|e| fault("look at", e))?;
    let malformed = |reason: String| Error::Malformed {
        path: path.into(),
        item: "the file".into(),
        reason,
    };
    if !metadata.is_file() {
        return Err(not_a_file(path));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|e| fault("read", e))?;
    if bytes.len() as u64 > limit {
        return Err(malformed(format!("more than {limit} bytes long")));
    }
    Ok(bytes)
}

impl<'a> Fields<'a> {
    /// The outermost object of the file `path`.
    pub(crate) fn of(path: &'a Path, value: &'a Value) -> Result<Self> {
        match value {
            Value::Object(map) => Ok(Self { path, at: "", map }),
            _ => Err(Error::Malformed {
                path: path.into(),
                item: "JSON".into(),
                reason: "not an object".into(),
            }),
        }
    }

    /// The object in field `name`, at path `at` in the file; `None` if it is absent.
    pub(crate) fn object(&self, name: &str, at: &'a str) -> Result<Option<Self>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self {
                path: self.path,
                at,
                map,
            })),
            Some(other) => Err(self.wrong(name, "an object", other)),
        }
    }

    /// The same object, with its path in the file for messages.
    pub(crate) fn below(self, at: &'a str) -> Self {
        Self { at, ..self }
    }

    /// The field, unless it is absent or null.
    pub(crate) fn present(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'a String> {
        self.map.keys()
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64> {
        match self.present(name) {
            None => Ok(default),
            Some(value) => value
                .as_i64()
                .ok_or_else(|| self.wrong(name, "an integer", value)),
        }
    }

    pub(crate) fn required_int(&self, name: &str) -> Result<i64> {
        match self.present(name) {
            None => Err(self.wrong(name, "an integer", "absent")),
            Some(_) => self.int(name, 0),
        }
    }

    pub(crate) fn float(&self, name: &str, default: f64) -> Result<f64> {
        match self.present(name) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.wrong(name, "a number", value)),
        }
    }

    pub(crate) fn bool(&self, name: &str, default: bool) -> Result<bool> {
        match self.present(name) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| self.wrong(name, "true or false", value)),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// Three numbers, one per colour channel; a single one applies to all.
    pub(crate) fn channels(&self, name: &str, default: [f32; 3]) -> Result<[f32; 3]> {
        let Some(value) = self.present(name) else {
            return Ok(default);
        };
        let wrong = || self.wrong(name, "three numbers", value);
        match value {
            Value::Array(items) => {
                let numbers = items
                    .iter()
                    .map(|item| item.as_f64().map(|x| x as f32))
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(wrong)?;
                numbers.try_into().map_err(|_| wrong())
            }
            _ => value.as_f64().map(|x| [x as f32; 3]).ok_or_else(wrong),
        }
    }

    pub(crate) fn wrong(&self, name: &str, expected: &str, got: impl ToString) -> Error {
        let got: String = got.to_string().chars().take(80).collect();
        Error::ConfigFile {
            path: self.path.into(),
            field: format!("{}{name}", self.at),
            expected: expected.into(),
            got,
        }
    }

    pub(crate) fn unsupported(&self, name: &str, what: &str) -> Error {
        Error::Unsupported {
            path: self.path.into(),
            item: format!("{}{name}", self.at),
            what: what.into(),
        }
    }
}
