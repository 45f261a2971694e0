//! The bad-input catalogue, rows A38 and A39: HTTP/2 used to do harm. Frames are written by hand, as no library would.
//!
//! What a door must do is the same for all: hold little for such a connection, end it where it costs work without end, and
//! answer everybody else meanwhile.

use std::net::SocketAddr;

use devmesh_schema::{Signal, limits};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Duration,
};

use crate::support::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113, section 4.1.
fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The headers of `POST /v1/logs`, JSON, in HPACK without a table: RFC 7541, section 6.2.2 and appendix A.
fn post() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend(name);
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    };
    literal(&[0x04], "/v1/logs");
    literal(&[0x01], "localhost");
    literal(&[0x0f, 0x10], "application/json");
    block
}

fn request(stream: u32, flags: u8) -> Vec<u8> {
    frame_of(HEADERS, END_HEADERS | flags, stream, &post())
}

type Frames = Box<dyn Iterator<Item = Vec<u8>>>;

/// Stream ids of a client.
fn streams() -> impl Iterator<Item = u32> {
    (1..u32::MAX >> 1).step_by(2)
}

/// A connection after its preface, with these settings.
async fn connect(at: SocketAddr, settings: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(&[PREFACE, &frame_of(SETTINGS, 0, 0, settings)].concat()).await.unwrap();
    stream
}

/// How a flood ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The server ended the connection.
    Closed,
    /// The server took it all.
    Taken,
    /// The server reads no more as long as nobody reads what it says.
    Stalled,
}

/// Writes all of `flood`, and reads what comes if it should.
async fn flood(stream: TcpStream, read: bool, flood: impl Iterator<Item = Vec<u8>>) -> End {
    let (mut from, mut to) = stream.into_split();
    // A server whose answers are read is only slow, never stalled.
    let patience = Duration::from_secs(if read { 50 } else { 2 });
    let reader = async {
        if !read {
            std::future::pending::<()>().await;
        }
        let mut buffer = vec![0; 64 << 10];
        while from.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    };
    let writer = async {
        let mut chunk = Vec::new();
        for frame in flood {
            chunk.extend(frame);
            if chunk.len() > 64 << 10 {
                match tokio::time::timeout(patience, to.write_all(&chunk)).await {
                    Ok(Ok(())) => chunk.clear(),
                    Ok(Err(_)) => return End::Closed,
                    Err(_) => return End::Stalled,
                }
            }
        }
        match to.write_all(&chunk).await {
            Ok(()) => End::Taken,
            Err(_) => End::Closed,
        }
    };
    limit(async {
        tokio::select! { () = reader => End::Closed, end = writer => end }
    })
    .await
}

async fn well(server: &Server) {
    assert_eq!(server.call(LOGS, &logs(vec![log("good")])).await.code, 0);
    assert_eq!(server.post("/v1/logs", JSON, "{}").await.status.as_u16(), 200);
}

#[tokio::test]
async fn a38_floods_that_cost_work_without_end_end_the_connection() {
    let server = Server::start().await;
    let resets = || streams().flat_map(|id| [request(id, 0), frame_of(RST_STREAM, 0, id, &[0, 0, 0, 8])]);
    let continuations = || {
        let first = frame_of(HEADERS, 0, 1, &post());
        std::iter::once(first).chain(std::iter::repeat_with(|| frame_of(CONTINUATION, 0, 1, &[0; 0])))
    };
    let large_continuations = || {
        let literal = [&[0x00, 0x7f, 0x81, 0x3f][..], &[b'x'; 8192], &[0]].concat();
        let first = frame_of(HEADERS, 0, 1, &post());
        std::iter::once(first).chain(std::iter::repeat_with(move || frame_of(CONTINUATION, 0, 1, &literal)))
    };
    let empty_data = || {
        let first = request(1, 0);
        std::iter::once(first).chain(std::iter::repeat_with(|| frame_of(DATA, 0, 1, &[])))
    };
    let floods: [(&str, Frames); 4] = [
        ("resets", Box::new(resets())),
        ("empty CONTINUATION", Box::new(continuations())),
        ("CONTINUATION without end", Box::new(large_continuations())),
        ("empty DATA", Box::new(empty_data())),
    ];
    for (what, frames) in floods {
        let stream = connect(server.http, &[]).await;
        assert_eq!(flood(stream, true, frames.take(2_000_000)).await, End::Closed, "{what}");
        well(&server).await;
    }
    assert_eq!(server.intake.bytes_held(), 0);
    assert_eq!(server.recorder.count(Signal::Logs), 4);
}

#[tokio::test]
async fn a38_pings_and_settings_are_answered_no_faster_than_the_answers_are_read() {
    let server = Server::start().await;
    let pings = || std::iter::repeat_with(|| frame_of(PING, 0, 0, &[7; 8]));
    let settings = || std::iter::repeat_with(|| frame_of(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]));
    let floods: [(&str, Frames); 2] = [("PING", Box::new(pings())), ("SETTINGS", Box::new(settings()))];
    for (what, frames) in floods {
        // 50 MiB and more: sockets hold a few, so a server that keeps its answers takes them all.
        let stream = connect(server.http, &[]).await;
        let end = flood(stream, false, frames.take(3_000_000)).await;
        assert_ne!(end, End::Taken, "{what}");
        well(&server).await;
    }
}

#[tokio::test]
async fn a38_a_window_that_stays_shut_holds_answers_and_nobody_else() {
    let server = Server::start().await;
    // SETTINGS_INITIAL_WINDOW_SIZE 0: no answer can be written.
    let mut shut = Vec::new();
    for _ in 0..20 {
        let mut stream = connect(server.http, &[0, 4, 0, 0, 0, 0]).await;
        for id in streams().take(100) {
            let body = frame_of(DATA, END_STREAM, id, b"{\"resourceLogs\":7}");
            stream.write_all(&[request(id, 0), body].concat()).await.unwrap();
        }
        shut.push(stream);
    }
    well(&server).await;
    limit(async {
        while server.intake.bytes_held() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(shut);
}

#[tokio::test]
async fn a39_streams_beyond_128_of_a_connection_are_refused_one_by_one() {
    let server = Server::start().await;
    let mut stream = connect(server.http, &[]).await;
    // Bodies that never come: each stream stays open.
    let all: Vec<u8> = streams().take(limits::HTTP2_STREAMS as usize + 10).flat_map(|id| request(id, 0)).collect();
    stream.write_all(&all).await.unwrap();
    let mut refused = Vec::new();
    let mut head = [0; 9];
    while refused.len() < 10 {
        limit(stream.read_exact(&mut head)).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        limit(stream.read_exact(&mut payload)).await.unwrap();
        match head[3] {
            RST_STREAM => refused.push(payload[3]),
            GOAWAY => panic!("the connection is ended"),
            _ => {}
        }
    }
    // REFUSED_STREAM: the client may send them again.
    assert_eq!(refused, [7; 10]);
    well(&server).await;
    // 100,000 of them: refused or the end of the connection, at no cost for others.
    let stream = connect(server.http, &[]).await;
    flood(stream, true, streams().take(100_000).map(|id| request(id, 0))).await;
    well(&server).await;
}
