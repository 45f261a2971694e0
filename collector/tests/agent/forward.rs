//! From the queue to a server: once, whatever either of them goes through.

use std::{path::Path, sync::Arc, time::Duration};

use devmesh_collector::{
    forward::{Forwarder, Settings, dead_letters::DeadLetters},
    queue::Queue,
    settings::Compression,
};
use devmesh_schema::{Batch, Sink, WriteError};
use devmesh_wal::Options;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::support::{Certificate, Peer, Recorder, batch, eventually, logs};

struct Running {
    queue: Arc<Queue>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    counters: Arc<devmesh_collector::forward::Counters>,
}

fn start(dir: &Path, to: &str) -> Running {
    start_with(dir, to, None, Compression::None)
}

fn start_with(dir: &Path, to: &str, ca: Option<&Path>, compression: Compression) -> Running {
    let options = Options { segment_bytes: 256 << 10, max_bytes: 64 << 20, ..Options::default() };
    let (queue, outlet, _) = Queue::open(dir, options).unwrap();
    let settings = Settings {
        to: to.parse().unwrap(),
        ca: ca.map(Path::to_owned),
        own: None,
        compression,
        token: Some("Bearer secret".parse().unwrap()),
        in_flight: 4,
        in_flight_bytes: 1 << 20,
    };
    let letters = DeadLetters::new(dir.join("dead-letters"), 1 << 20);
    let forwarder = Forwarder::new(Arc::clone(&queue), outlet, settings, letters).unwrap();
    let (counters, stop) = (forwarder.counters(), CancellationToken::new());
    let task = tokio::spawn(forwarder.run(stop.clone()));
    Running { queue, stop, task, counters }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.queue.close().await;
    }

    async fn drained(&self) {
        eventually("the queue is empty", || self.queue.waiting() == 0).await;
    }
}

fn sorted(mut bodies: Vec<String>) -> Vec<String> {
    bodies.sort_by_key(|body| body.parse::<u64>().unwrap());
    bodies
}

fn numbers(count: u64) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn each_batch_arrives_once_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let peer = Peer::any().await;
    let agent = start(dir.path(), &peer.url());
    for number in 0..200 {
        agent.queue.write(batch(logs(&[&number.to_string()]))).await.unwrap();
    }
    agent.drained().await;
    assert_eq!(sorted(peer.recorder.bodies()), numbers(200));
    let mut requests = peer.recorder.requests();
    requests.sort();
    let mut sent: Vec<_> = (0..200).map(|number| logs(&[&number.to_string()])).collect();
    sent.sort();
    assert_eq!(requests, sent);
    assert!(peer.recorder.repeats.lock().unwrap().is_empty());
    agent.end().await;
}

#[tokio::test]
async fn batches_wait_for_a_server_that_is_away_and_survive_a_restart_of_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    // Who connects is refused until somebody listens, and the port is nobody else's.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let agent = start(dir.path(), &url);
    for number in 0..50 {
        agent.queue.write(batch(logs(&[&number.to_string()]))).await.unwrap();
    }
    eventually("the server is missed", || agent.counters.retries.load(std::sync::atomic::Ordering::Relaxed) > 0).await;
    agent.end().await;
    let agent = start(dir.path(), &url);
    assert_eq!(agent.queue.waiting(), 50);
    let peer = Peer::start(socket.listen(64).unwrap(), Arc::default()).await;
    agent.drained().await;
    assert_eq!(sorted(peer.recorder.bodies()), numbers(50));
    agent.end().await;
}

#[tokio::test]
async fn a_batch_whose_answer_is_lost_comes_again_under_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    *recorder.forget_answers.lock().unwrap() = 1;
    let peer = Peer::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), recorder).await;
    let agent = start(dir.path(), &peer.url());
    agent.queue.write(batch(logs(&["0"]))).await.unwrap();
    let own = Batch { id: Some("sender-7".parse().unwrap()), ..batch(logs(&["1"])) };
    agent.queue.write(own).await.unwrap();
    agent.drained().await;
    assert_eq!(sorted(peer.recorder.bodies()), numbers(2));
    assert_eq!(peer.recorder.repeats.lock().unwrap().len(), 1, "{:?}", peer.recorder.ids());
    assert!(peer.recorder.ids().contains(&"sender-7".to_owned()));
    agent.end().await;
}

#[tokio::test]
async fn a_batch_that_no_server_takes_becomes_a_dead_letter_and_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Arc::new(Recorder::default());
    recorder.refusals.lock().unwrap().push(WriteError::Invalid("attribute 3 is odd".into()));
    let peer = Peer::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), recorder).await;
    let agent = start(dir.path(), &peer.url());
    agent.queue.write(batch(logs(&["7"]))).await.unwrap();
    agent.drained().await;
    agent.queue.write(batch(logs(&["8"]))).await.unwrap();
    agent.drained().await;
    assert_eq!(peer.recorder.bodies(), ["8"]);
    let letters = dir.path().join("dead-letters");
    let request = std::fs::read(letters.join("00000000000000000001-logs.otlp")).unwrap();
    assert_eq!(request, logs(&["7"]));
    let note = std::fs::read_to_string(letters.join("00000000000000000001-logs.json")).unwrap();
    assert!(note.contains("400") && note.contains("attribute 3 is odd"), "{note}");
    agent.end().await;
}

/// A server of one connection after the other that answers each request with the next of `answers`, and tells what it
/// read.
async fn scripted(answers: Vec<&'static str>) -> (String, tokio::sync::mpsc::Receiver<(tokio::time::Instant, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let count = stream.read(&mut buffer).await.unwrap();
                read.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&read).into_owned();
                let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if read.len() >= head.len() + 4 + length.parse::<usize>().unwrap() {
                    tell.send((tokio::time::Instant::now(), head.to_owned())).await.unwrap();
                    break;
                }
            }
            if !answer.is_empty() {
                let text = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        }
    });
    (url, told)
}

#[tokio::test]
async fn retry_after_is_heeded_and_a_cut_connection_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (url, mut told) = scripted(vec!["", "503 Busy\r\nretry-after: 1", "500 Oops", "200 OK"]).await;
    let agent = start(dir.path(), &format!("{url}/prefix"));
    agent.queue.write(batch(logs(&["0"]))).await.unwrap();
    agent.drained().await;
    let mut times = Vec::new();
    let mut heads = Vec::new();
    while let Ok((time, head)) = told.try_recv() {
        times.push(time);
        heads.push(head.to_lowercase());
    }
    assert_eq!(times.len(), 4);
    assert!(times[2] - times[1] >= Duration::from_secs(1), "Retry-After");
    for head in &heads {
        assert!(head.starts_with("post /prefix/v1/logs http/1.1"), "{head}");
        assert!(head.contains("authorization: bearer secret"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    }
    let id = |head: &String| head.lines().find(|line| line.starts_with("x-devmesh-batch-id: ")).unwrap().to_owned();
    assert!(heads.iter().all(|head| id(head) == id(&heads[0])), "one id at each attempt");
    agent.end().await;
}

/// Requirement S3: what a server answers is bounded as what a sender sends is.
#[tokio::test]
async fn s3_an_answer_without_end_is_read_no_further_than_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        assert!(stream.read(&mut buffer).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let chunk = [&b"10000\r\n"[..], &[0; 0x10000], b"\r\n"].concat();
        let mut sent = 0;
        while stream.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        sent
    });
    let agent = start(dir.path(), &url);
    agent.queue.write(batch(logs(&["0"]))).await.unwrap();
    agent.drained().await;
    // The status alone decides, and the connection ends.
    let sent = tokio::time::timeout(crate::support::LIMIT, server).await.unwrap().unwrap();
    assert!(sent < 32 << 20, "{sent} bytes");
    assert_eq!(agent.counters.batches.load(std::sync::atomic::Ordering::Relaxed), 1);
    agent.end().await;
}

#[tokio::test]
async fn a_wrong_token_keeps_everything_queued() {
    let dir = tempfile::tempdir().unwrap();
    let (url, mut told) = scripted(vec!["401 Unauthorized"]).await;
    let agent = start(dir.path(), &url);
    agent.queue.write(batch(logs(&["0"]))).await.unwrap();
    told.recv().await.unwrap();
    eventually("it is noticed", || agent.counters.retries.load(std::sync::atomic::Ordering::Relaxed) == 1).await;
    assert_eq!(agent.queue.waiting(), 1);
    assert!(!dir.path().join("dead-letters").exists());
    agent.end().await;
    let peer = Peer::any().await;
    let agent = start(dir.path(), &peer.url());
    agent.drained().await;
    assert_eq!(peer.recorder.bodies(), ["0"]);
    agent.end().await;
}

#[tokio::test]
async fn compressed_requests_arrive_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let request = logs(&["a line of text"; 100]);
    let (url, mut told) = scripted(vec!["200 OK"]).await;
    let agent = start_with(&dir.path().join("head"), &url, None, Compression::Gzip);
    agent.queue.write(batch(request.clone())).await.unwrap();
    let (_, head) = told.recv().await.unwrap();
    assert!(head.to_lowercase().contains("content-encoding: gzip"), "{head}");
    agent.drained().await;
    agent.end().await;
    let peer = Peer::any().await;
    let agent = start_with(&dir.path().join("body"), &peer.url(), None, Compression::Gzip);
    agent.queue.write(batch(request.clone())).await.unwrap();
    agent.drained().await;
    assert_eq!(peer.recorder.requests(), [request]);
    agent.end().await;
}

#[tokio::test]
async fn a_server_of_https_is_known_by_the_certificates_that_vouch_for_it_and_nobody_else_is_sent_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (own, other) = (Certificate::new(dir.path(), "own"), Certificate::new(dir.path(), "other"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = Peer::start_tls(listener, Arc::default(), Some(own.tls())).await;
    let url = format!("https://localhost:{}", peer.address.port());
    let queue = dir.path().join("queue");
    let agent = start_with(&queue, &url, Some(&other.cert), Compression::Auto);
    agent.queue.write(batch(logs(&["0"]))).await.unwrap();
    eventually("it is refused", || agent.counters.retries.load(std::sync::atomic::Ordering::Relaxed) > 0).await;
    assert_eq!((agent.queue.waiting(), peer.recorder.bodies().len()), (1, 0));
    agent.end().await;
    let agent = start_with(&queue, &url, Some(&own.cert), Compression::Auto);
    agent.drained().await;
    assert_eq!(peer.recorder.bodies(), ["0"]);
    agent.end().await;
}
