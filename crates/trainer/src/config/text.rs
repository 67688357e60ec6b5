//! Layers of configuration text, merged key by key.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Config, Preset, System};
use crate::{Error, Result};

/// One source of keys.
pub(super) struct Layer {
    origin: String,
    values: Map<String, Value>,
}

impl Layer {
    pub(super) fn file(origin: &str, text: &str) -> Result<Self> {
        let values = toml::from_str(text).map_err(|error| Error::Syntax {
            origin: origin.into(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            origin: origin.into(),
            values,
        })
    }

    /// `dotted.key=value`; the value is TOML where it parses as such, else text.
    pub(super) fn setting(text: &str) -> Result<Self> {
        let origin = format!("--set {text}");
        let Some((key, value)) = text.split_once('=') else {
            return Err(Error::Syntax {
                origin,
                reason: "expected key=value".into(),
            });
        };
        let value = toml::from_str::<Map<String, Value>>(&format!("value = {value}"))
            .ok()
            .filter(|table| table.len() == 1)
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.into()));
        let mut parts: Vec<&str> = key.trim().split('.').collect();
        let last = parts.pop().unwrap_or_default();
        let mut values = Map::from_iter([(last.to_owned(), value)]);
        for part in parts.into_iter().rev() {
            values = Map::from_iter([(part.to_owned(), Value::Object(values))]);
        }
        Ok(Self { origin, values })
    }
}

/// The system's and preset's defaults with all layers laid on top, the last one winning.
pub(super) fn resolve(layers: &[Layer]) -> Result<Config> {
    let (mut system, mut preset) = (System::default(), Preset::Best);
    for layer in layers {
        let model = |key: &str| layer.values.get("model").and_then(|model| model.get(key));
        if let Some(name) = model("system") {
            system = read(name).map_err(|reason| bad("model.system", name, reason))?;
        }
        if let Some(name) = model("preset") {
            preset = read(name).map_err(|reason| bad("model.preset", name, reason))?;
        }
    }
    let defaults = Config::defaults(system, preset);
    let defaults = serde_json::to_value(defaults).map_err(|error| Error::Syntax {
        origin: "defaults".into(),
        reason: error.to_string(),
    })?;
    let mut merged = defaults.clone();
    let mut known = Vec::new();
    keys("", &defaults, &mut known);
    let known = Known {
        defaults: &defaults,
        keys: known,
    };
    for layer in layers {
        merge("", &mut merged, &layer.values, &layer.origin, &known)?;
    }
    serde_json::from_value(merged).map_err(|error| Error::Syntax {
        origin: "configuration".into(),
        reason: error.to_string(),
    })
}

/// The keys there are, in a whole configuration that holds each of them.
struct Known<'a> {
    defaults: &'a Value,
    keys: Vec<String>,
}

/// Every dotted key below `value`.
fn keys(prefix: &str, value: &Value, found: &mut Vec<String>) {
    if let Value::Object(map) = value {
        for (name, value) in map {
            let key = join(prefix, name);
            keys(&key, value, found);
            found.push(key);
        }
    }
}

fn merge(
    prefix: &str,
    target: &mut Value,
    layer: &Map<String, Value>,
    origin: &str,
    known: &Known<'_>,
) -> Result<()> {
    for (name, value) in layer {
        let key = join(prefix, name);
        let unknown = || Error::UnknownKey {
            nearest: nearest(&key, &known.keys),
            key: key.clone(),
            origin: origin.into(),
        };
        match (target.get_mut(name), value) {
            // A table that names its kind is a whole value, not a section.
            (Some(slot @ Value::Object(_)), Value::Object(inner))
                if !inner.contains_key("kind") =>
            {
                merge(&key, slot, inner, origin, known)?;
            }
            _ => {
                let absent = target.get(name).is_none();
                // Keys whose default is "none" are not spelled out in the defaults.
                let old = target.get(name).cloned().unwrap_or(Value::Null);
                // A whole number is a fine value for a key of fractions.
                let value = match (&old, value) {
                    (Value::Number(old), Value::Number(new)) if old.is_f64() => {
                        new.as_f64().map_or_else(|| value.clone(), Value::from)
                    }
                    _ => value.clone(),
                };
                try_key(known.defaults, &key, &value).map_err(|error| match absent {
                    true if is_unknown(&error) => unknown(),
                    _ => error,
                })?;
                let Some(section) = target.as_object_mut() else {
                    return Err(unknown());
                };
                section.insert(name.clone(), value);
            }
        }
    }
    Ok(())
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::Value { expected, .. } if expected.starts_with("unknown field"))
}

/// Checks the kind of one value by reading a whole default configuration with it in place, so
/// that the error can name the key.
fn try_key(defaults: &Value, key: &str, value: &Value) -> Result<()> {
    let mut whole = defaults.clone();
    let mut slot = &mut whole;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        let Some(section) = slot.as_object_mut() else {
            return Err(bad(key, value, "unknown field".into()));
        };
        if parts.peek().is_none() {
            section.insert(part.to_owned(), value.clone());
            break;
        }
        slot = section.entry(part).or_insert(Value::Null);
    }
    match serde_json::from_value::<Config>(whole) {
        Ok(_) => Ok(()),
        Err(error) => Err(bad(key, value, error.to_string())),
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> std::result::Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

fn bad(key: &str, got: &Value, expected: String) -> Error {
    Error::Value {
        key: key.into(),
        expected,
        got: got.to_string(),
    }
}

/// The known key that was probably meant: alike as a whole, or the same last part.
fn nearest(key: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .iter()
        .map(|candidate| {
            let whole = strsim::normalized_damerau_levenshtein(key, candidate);
            let tail = strsim::normalized_damerau_levenshtein(&last(key), &last(candidate));
            (whole.max(tail * 0.95), candidate)
        })
        .filter(|(likeness, _)| *likeness > 0.5)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone())
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}
