//! Fetching a model from a source: whole, taken up again after a break, and never anything but what is pinned.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use devmesh_insight::Error;
use devmesh_insight::model::{Manifest, ModelFile, copy, pull};

/// 100,000 bytes, each the low byte of its place.
const BYTES: u64 = 100_000;

const MODEL: Manifest = Manifest {
    name: "small",
    repository: "owner/small",
    revision: "abc",
    licence: "MIT",
    files: &[ModelFile {
        name: "weights.bin",
        bytes: BYTES,
        sha256: "db8f1d69251d95e2c88268d3c540533cc5182e0e33065a6f3f322f606a574489",
    }],
};

fn content() -> Vec<u8> {
    (0..BYTES).map(|i| i as u8).collect()
}

/// What a source does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Each answer breaks off after 30,000 bytes.
    Breaks,
    /// The same, and ranges are ignored the first time they are asked for.
    IgnoresRanges,
    /// A byte is another.
    Altered,
    /// There is no such file.
    Missing,
}

/// First lines of requests, and where the ranges they ask for begin.
type Requests = Arc<Mutex<Vec<(String, u64)>>>;

/// A source on loopback; returns its address and the first lines and ranges of the requests it got.
fn source(fault: Fault) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The client may hang up first: what it got is checked, not what it was sent.
            answer(stream.unwrap(), fault, &seen).ok();
        }
    });
    (address, requests)
}

fn answer(mut stream: TcpStream, fault: Fault, seen: &Mutex<Vec<(String, u64)>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap()?;
    let mut from = 0;
    for line in lines {
        let line = line?.to_lowercase();
        if let Some(range) = line.strip_prefix("range: bytes=") {
            from = range.trim_end_matches('-').parse().unwrap();
        }
        if line.is_empty() {
            break;
        }
    }
    let number = {
        let mut seen = seen.lock().unwrap();
        seen.push((first, from));
        seen.len()
    };
    let mut content = content();
    if fault == Fault::Altered {
        content[77] ^= 1;
    }
    let whole = from == 0 || (fault == Fault::IgnoresRanges && number == 2);
    let body = if whole { &content[..] } else { &content[from as usize..] };
    let status = match (fault, whole) {
        (Fault::Missing, _) => "404 Not Found",
        (_, true) => "200 OK",
        (_, false) => "206 Partial Content",
    };
    let sent = if matches!(fault, Fault::Breaks | Fault::IgnoresRanges) { body.len().min(30_000) } else { body.len() };
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body[..sent])
}

fn fetch(source: &str, models: &Path) -> Result<(), Error> {
    pull(&MODEL, source, models, &mut |_, _, _| {}).map(drop)
}

fn fetched(models: &Path) -> Option<Vec<u8>> {
    std::fs::read(models.join("small/weights.bin")).ok()
}

#[test]
fn a_pull_brings_the_pinned_file_once() {
    let models = tempfile::tempdir().unwrap();
    let (address, requests) = source(Fault::None);
    let mut last = None;
    pull(&MODEL, &address, models.path(), &mut |name, done, of| last = Some((name.to_owned(), done, of))).unwrap();
    assert_eq!(fetched(models.path()), Some(content()));
    assert_eq!(last, Some(("weights.bin".to_owned(), BYTES, BYTES)));
    assert!(MODEL.installed(models.path()).is_complete());
    fetch(&address, models.path()).unwrap();
    let requests = requests.lock().unwrap();
    assert_eq!(
        *requests,
        [("GET /owner/small/resolve/abc/weights.bin HTTP/1.1".to_owned(), 0)],
        "what is there isn't fetched"
    );
}

#[test]
fn a_broken_transfer_goes_on_where_it_stopped() {
    let models = tempfile::tempdir().unwrap();
    let (address, requests) = source(Fault::Breaks);
    fetch(&address, models.path()).unwrap();
    assert_eq!(fetched(models.path()), Some(content()));
    let from: Vec<u64> = requests.lock().unwrap().iter().map(|r| r.1).collect();
    assert_eq!(from, [0, 30_000, 60_000, 90_000]);
}

#[test]
fn a_source_that_ignores_ranges_is_read_from_the_beginning() {
    let models = tempfile::tempdir().unwrap();
    fetch(&source(Fault::IgnoresRanges).0, models.path()).unwrap();
    assert_eq!(fetched(models.path()), Some(content()));
}

#[test]
fn another_content_is_refused_and_removed() {
    let models = tempfile::tempdir().unwrap();
    let error = fetch(&source(Fault::Altered).0, models.path()).unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert_eq!(std::fs::read_dir(models.path().join("small")).unwrap().count(), 0);
    fetch(&source(Fault::None).0, models.path()).unwrap();
}

#[test]
fn a_damaged_file_in_place_is_fetched_again() {
    let models = tempfile::tempdir().unwrap();
    std::fs::create_dir(models.path().join("small")).unwrap();
    std::fs::write(models.path().join("small/weights.bin"), vec![0; BYTES as usize]).unwrap();
    fetch(&source(Fault::None).0, models.path()).unwrap();
    assert_eq!(fetched(models.path()), Some(content()));
}

#[test]
fn a_source_without_the_model_is_named() {
    let models = tempfile::tempdir().unwrap();
    let (address, requests) = source(Fault::Missing);
    let message = fetch(&address, models.path()).unwrap_err().to_string();
    assert!(message.contains("404") && message.contains("owner/small"), "{message}");
    assert_eq!(requests.lock().unwrap().len(), 1, "it is not asked again");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let message = fetch(&format!("http://{nobody}"), models.path()).unwrap_err().to_string();
    assert!(message.contains(&nobody.to_string()), "{message}");
}

#[test]
fn a_model_is_copied_from_a_directory_that_holds_it_or_its_directory() {
    let origin = tempfile::tempdir().unwrap();
    std::fs::create_dir(origin.path().join("small")).unwrap();
    std::fs::write(origin.path().join("small/weights.bin"), content()).unwrap();
    for from in [origin.path().to_owned(), origin.path().join("small")] {
        let models = tempfile::tempdir().unwrap();
        copy(&MODEL, &from, models.path(), &mut |_, _, _| {}).unwrap();
        assert_eq!(fetched(models.path()), Some(content()));
    }
    // In its own place there is nothing to do.
    copy(&MODEL, origin.path(), origin.path(), &mut |_, _, _| {}).unwrap();
    assert_eq!(fetched(origin.path()), Some(content()));
}

#[test]
fn another_content_in_the_directory_is_refused_and_stays_there() {
    let (origin, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(origin.path().join("weights.bin"), vec![0; BYTES as usize]).unwrap();
    let error = copy(&MODEL, origin.path(), models.path(), &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
    assert_eq!(std::fs::read_dir(models.path().join("small")).unwrap().count(), 0);
    assert!(origin.path().join("weights.bin").is_file());
    let message = copy(&MODEL, models.path(), models.path(), &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(message.contains("weights.bin"), "{message}");
}
