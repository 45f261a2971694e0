//! Data directories: made, validated, of another version.

use std::{fs, path::Path, time::Duration};

use devmesh_schema::{Batch, IngestPath, Signal};
use prost::Message;

use super::super::{Difference, State, of};
use crate::{
    Error, Settings,
    conformance::otlp,
    embedded::format::{self, Format},
};

fn settings(directory: &Path) -> Settings {
    let mut settings = Settings { min_free_disk: 1 << 20, ..Settings::default() };
    settings.url = format!("file://{}", directory.display());
    settings.retention.logs = Duration::ZERO;
    settings
}

/// A directory with two files of logs.
async fn filled(directory: &Path) {
    let store = crate::open(&settings(directory)).await.unwrap();
    for n in 0..2_u64 {
        let request = otlp::logs(n * 100..n * 100 + 100).encode_to_vec().into();
        let batch =
            Batch { signal: Signal::Logs, id: None, path: IngestPath::Collector, received: otlp::BASE, request };
        store.write(batch).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "parquet"));
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_directory_is_made_and_is_then_as_expected() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let schema = of(&settings(&path)).unwrap();
    let status = schema.status().await.unwrap();
    assert!(!status.exists && !status.is_current() && status.steps[0].state == State::Pending);
    assert!(schema.validate().await.unwrap_err().to_string().contains("does not exist"));
    assert!(schema.create().await.unwrap());
    assert_eq!(schema.apply().await.unwrap().len(), format::FORMATS.len());
    assert!(schema.status().await.unwrap().is_current() && schema.apply().await.unwrap().is_empty());
    assert_eq!(schema.validate().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_missing_or_damaged_are_named() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let schema = of(&settings(directory.path())).unwrap();
    assert_eq!(schema.validate().await.unwrap(), []);
    let files = files(directory.path());
    assert_eq!(files.len(), 2);
    let mut bytes = fs::read(&files[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[0], bytes).unwrap();
    fs::remove_file(&files[1]).unwrap();
    let mut found = schema.validate().await.unwrap();
    found.sort_by_key(|drift| matches!(drift.difference, Difference::Missing { .. }));
    let text: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{text:?}");
    assert!(text[0].starts_with("changed  file tables/logs/") && text[0].contains("another checksum"), "{text:?}");
    assert!(text[1].starts_with("missing  file tables/logs/"), "{text:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_and_one_of_a_later_version_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    let schema = of(&settings(directory.path())).unwrap();
    let server = crate::open(&settings(directory.path())).await.unwrap();
    assert!(matches!(schema.validate().await, Err(Error::Locked(_))));
    assert!(matches!(schema.reset().await, Err(Error::Locked(_))));
    server.close().await.unwrap();
    // A line of a later version, which may say things that this one does not know.
    let manifest = directory.path().join("MANIFEST");
    let json = r#"{"version":3,"new":true}"#;
    let line = format!("{:016x} {json}\n", xxhash_rust::xxh3::xxh3_64(json.as_bytes()));
    let before = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, format!("{before}{line}")).unwrap();
    let status = schema.status().await.unwrap();
    assert_eq!((status.steps.len(), status.steps[2].version, status.is_current()), (3, 3, false));
    for refused in [schema.apply().await.map(drop), schema.validate().await.map(drop)] {
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("version 3") && text.contains("up to 2") && text.contains("later"), "{text}");
    }
    assert!(crate::open(&settings(directory.path())).await.is_err());
    assert_eq!(fs::read_to_string(&manifest).unwrap(), format!("{before}{line}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_leaves_what_is_not_ours() {
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path()).await;
    fs::write(directory.path().join("notes.txt"), "mine").unwrap();
    let schema = of(&settings(directory.path())).unwrap();
    let inventory = schema.inventory().await.unwrap();
    assert!(inventory.items.iter().any(|item| item.contains("tables")), "{inventory:?}");
    schema.reset().await.unwrap();
    let mut left: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["LOCK", "notes.txt"]);
    assert!(!schema.status().await.unwrap().is_current());
}

/// Formats after the one there is, each of which writes down that it was made.
const LATER: &[Format] = &[
    Format { version: 2, name: "two", convert: |_| panic!("the directory is of this version") },
    Format { version: 3, name: "three", convert: |root| note(root, "three") },
    Format { version: 4, name: "four", convert: |root| note(root, "four") },
];

fn note(root: &Path, what: &str) -> Result<(), Error> {
    if root.join("stop").exists() && what == "four" {
        return Err(Error::NotReady("stopped".into()));
    }
    let path = root.join("notes");
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(&path, format!("{before}{what} ")).map_err(Error::file("write", path))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_format_is_brought_forward_step_by_step_and_again_after_an_interruption() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    filled(root).await;
    fs::write(root.join("stop"), "").unwrap();
    assert!(format::bring_forward(root, LATER).is_err());
    assert_eq!(format::version(root).unwrap(), Some(2));
    fs::remove_file(root.join("stop")).unwrap();
    assert_eq!(format::bring_forward(root, LATER).unwrap(), [3, 4]);
    assert_eq!(fs::read_to_string(root.join("notes")).unwrap(), "three three four ");
    assert_eq!(format::bring_forward(root, format::FORMATS).unwrap(), [0; 0]);
}
