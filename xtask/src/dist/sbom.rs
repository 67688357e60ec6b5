//! The bill of materials, as CycloneDX has it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::crates::Crate;

/// A part that is not a crate.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) licence: &'static str,
    pub(super) purl: String,
}

/// The bill of `crates` and of `parts`, as JSON.
pub(super) fn cyclone_dx(version: &str, crates: &[Crate], parts: &[Part]) -> Value {
    let crates = crates.iter().map(|one| {
        let purl = format!("pkg:cargo/{}@{}", one.name, one.version);
        // Older manifests have a slash for OR.
        let licence = one
            .license
            .as_deref()
            .unwrap_or("NOASSERTION")
            .replace('/', " OR ");
        component(&one.name, &one.version, &licence, &purl)
    });
    let parts = parts
        .iter()
        .map(|part| component(&part.name, &part.version, part.licence, &part.purl));
    let components: BTreeMap<String, Value> = crates
        .chain(parts)
        .map(|one| (one["purl"].to_string(), one))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "seeing-in-flowing",
                "name": "seeing-in-flowing",
                "version": version,
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            },
        },
        "components": components.into_values().collect::<Vec<_>>(),
    })
}

fn component(name: &str, version: &str, licence: &str, purl: &str) -> Value {
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "licenses": [{ "expression": licence }],
        "purl": purl,
    })
}
