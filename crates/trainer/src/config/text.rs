//! Layers of configuration text, merged key by key.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use models::Preset;

use super::{Change, Config, System};
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

    /// Each `dotted.key=value`.
    pub(super) fn settings(all: &[String]) -> Result<Vec<Self>> {
        all.iter().map(|text| Self::setting(text)).collect()
    }

    /// `dotted.key=value`; the value is TOML if it parses as such, else text.
    fn setting(text: &str) -> Result<Self> {
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

/// The system's and preset's defaults, overridden by the `files`, the `change` and the
/// `settings`, in this order.
pub(super) fn resolve(files: &[Layer], change: Change<'_>, settings: &[Layer]) -> Result<Config> {
    let base = named(files, (System::default(), Preset::Best))?;
    let (system, preset) = named(settings, change.base.unwrap_or(base))?;
    let defaults = to_value(&Config::defaults(system, preset))?;
    let mut merged = defaults.clone();
    let mut known = Vec::new();
    keys("", &defaults, &mut known);
    let known = Known {
        defaults: &defaults,
        keys: known,
    };
    for layer in files {
        merge("", &mut merged, &layer.values, &layer.origin, &known)?;
    }
    let mut config = from_value(merged)?;
    (config.model.system, config.model.preset) = (system, preset);
    (change.apply)(&mut config);
    let mut merged = to_value(&config)?;
    for layer in settings {
        merge("", &mut merged, &layer.values, &layer.origin, &known)?;
    }
    from_value(merged)
}

/// The system and the preset in the last of `layers` that names them, or those of `base`.
fn named(layers: &[Layer], base: (System, Preset)) -> Result<(System, Preset)> {
    let (mut system, mut preset) = base;
    for layer in layers {
        let model = |key: &str| layer.values.get("model").and_then(|model| model.get(key));
        if let Some(name) = model("system") {
            system = read(name).map_err(|reason| bad("model.system", name, reason))?;
        }
        if let Some(name) = model("preset") {
            preset = read(name).map_err(|reason| bad("model.preset", name, reason))?;
        }
    }
    Ok((system, preset))
}

/// The configuration as TOML, without keys that are none, since TOML has no null.
pub(super) fn to_toml(config: &Config) -> Result<String> {
    fn prune(value: &mut Value) {
        if let Value::Object(section) = value {
            section.retain(|_, value| !value.is_null());
            section.values_mut().for_each(prune);
        }
    }
    let mut value = to_value(config)?;
    prune(&mut value);
    toml::to_string(&value).map_err(malformed)
}

fn to_value(config: &Config) -> Result<Value> {
    serde_json::to_value(config).map_err(malformed)
}

fn from_value(value: Value) -> Result<Config> {
    serde_json::from_value(value).map_err(malformed)
}

fn malformed(error: impl std::fmt::Display) -> Error {
    Error::Syntax {
        origin: "configuration".into(),
        reason: error.to_string(),
    }
}

/// All keys, and a default configuration that has each of them.
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
                let old = target.get(name).cloned().unwrap_or(Value::Null);
                // An integer is a valid value for a key of type float.
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

/// Checks the type of one value by reading a whole default configuration with it in place, so
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
    // serde repeats the value before what it expects.
    let expected = match expected.split_once(", expected ") {
        Some((before, expected)) if !before.starts_with("unknown field") => expected.to_owned(),
        _ => expected,
    };
    let expected = match expected.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of at least 0".into(),
        "i64" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        _ => expected,
    };
    Error::Value {
        key: key.into(),
        expected,
        got: got.as_str().map_or_else(|| got.to_string(), str::to_owned),
    }
}

/// The nearest known key: its last part is spelled or begins alike or shares a word; keys of the
/// same section are preferred.
fn nearest(key: &str, known: &[String]) -> Option<String> {
    let split = |key: &str| match key.rsplit_once('.') {
        Some((section, last)) => (section.to_owned(), last.to_owned()),
        None => (String::new(), key.to_owned()),
    };
    let alike = strsim::normalized_damerau_levenshtein;
    let (section, last) = split(key);
    known
        .iter()
        .map(|candidate| {
            let (other_section, other) = split(candidate);
            let words = other.split('_');
            let (count, shares) = (
                words.clone().count(),
                words.clone().any(|word| word == last),
            );
            let part = match !last.is_empty() && (shares || other.starts_with(&last)) {
                true => 0.7 + 0.1 / count as f64,
                false => 0.0,
            };
            let likeness = alike(&last, &other).max(part);
            let likeness = 0.75 * likeness + 0.25 * alike(&section, &other_section);
            (likeness, candidate)
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
