//! Checkpoints by their id, from a hub on this machine and from its cache.

use std::fs;
use std::path::Path;

use clip_backbone::hub::{self, Hub, Id};
use clip_backbone::{Checkpoint, Error, Usage};
use tch::{Device, Kind};
use testkit::hub::{HubFile, ID, answer};
use testkit::server::Server;

use crate::writers::{
    HUGGING_FACE_CONFIG, config, embeddings, reference, weights, write_safetensors,
};

/// A file of the hub's; all are large ones, by their SHA-256.
fn file(name: &'static str, body: impl Into<Vec<u8>>) -> HubFile {
    let body = body.into();
    let hash = disk::sha256(&body);
    HubFile { name, body, hash }
}

fn whole() -> Vec<HubFile> {
    let scratch = tempfile::tempdir().unwrap();
    let path = write_safetensors(&scratch.path().join("w"), &weights(&config()));
    vec![
        file("config.json", HUGGING_FACE_CONFIG),
        file("model.safetensors", fs::read(path).unwrap()),
    ]
}

/// The same weights in two files and an index.
fn sharded() -> Vec<HubFile> {
    let scratch = tempfile::tempdir().unwrap();
    let mut first = weights(&config());
    let middle = first.keys().nth(first.len() / 2).unwrap().clone();
    let second = first.split_off(&middle);
    let names = ["model-1.safetensors", "model-2.safetensors"];
    let mut map = serde_json::Map::new();
    let mut files = vec![file("config.json", HUGGING_FACE_CONFIG)];
    for (name, shard) in names.into_iter().zip([first, second]) {
        map.extend(shard.keys().map(|tensor| (tensor.clone(), name.into())));
        let path = write_safetensors(&scratch.path().join(name), &shard);
        files.push(file(name, fs::read(path).unwrap()));
    }
    let index = serde_json::json!({ "weight_map": map });
    files.push(file("model.safetensors.index.json", index.to_string()));
    files
}

fn hub_with(files: Vec<HubFile>, cache: &Path) -> (Server, Hub) {
    let server = Server::start(move |request, _| answer(request, &files));
    let hub = Hub {
        endpoint: server.base.clone(),
        cache: cache.into(),
        token: None,
        offline: false,
        client: hub::Client::default(),
    };
    (server, hub)
}

#[test]
fn an_id_is_fetched_and_then_cached() {
    let id: Id = ID.parse().unwrap();
    for files in [whole(), sharded()] {
        let cache = tempfile::tempdir().unwrap();
        let count = files.len();
        let (server, hub) = hub_with(files, cache.path());
        let offline = Hub {
            offline: true,
            ..hub.clone()
        };
        let error = Checkpoint::open_from_hub(&id, &offline).unwrap_err();
        assert!(
            matches!(error, Error::Hub(hub::Error::Offline { .. })),
            "{error}"
        );

        let checkpoint = Checkpoint::open_from_hub(&id, &hub).unwrap();
        let clip = checkpoint
            .load(Usage::Frozen, Device::Cpu, Kind::Float)
            .unwrap();
        assert_eq!(embeddings(&clip), embeddings(&reference(&config())));
        assert_eq!(fs::read_dir(checkpoint.place()).unwrap().count(), count);

        // From now on nobody is asked.
        let before = server.requests().len();
        for hub in [&hub, &offline] {
            let again = Checkpoint::open_from_hub(&id, hub).unwrap();
            assert_eq!(again.sha256().unwrap(), checkpoint.sha256().unwrap());
        }
        assert_eq!(server.requests().len(), before);
    }
}

#[test]
fn damage_in_the_cache_is_an_error_of_the_library_s() {
    let cache = tempfile::tempdir().unwrap();
    let (_server, hub) = hub_with(whole(), cache.path());
    let id: Id = ID.parse().unwrap();
    let checkpoint = Checkpoint::open_from_hub(&id, &hub).unwrap();
    let blob = fs::canonicalize(checkpoint.place().join("model.safetensors")).unwrap();
    let mut bytes = fs::read(&blob).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&blob, bytes).unwrap();
    let error = Checkpoint::open_from_hub(&id, &hub).unwrap_err();
    assert!(
        matches!(error, Error::Hub(hub::Error::Damaged { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("model.safetensors"), "{error}");
}
