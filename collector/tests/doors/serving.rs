//! The guards around connections (requirement S6), and the end of serving.

use devmesh_collector::{Door, Doors, Intake, Settings, spawn};
use devmesh_schema::{Signal, limits};
use http::StatusCode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

use crate::support::*;

/// Waits, in real time, no longer than a limit of the server and some.
async fn closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let limit = limits::HEADER_TIME + Duration::from_secs(30);
    tokio::time::timeout(limit, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn b20_a_client_that_says_nothing_or_never_ends_its_headers_is_closed_in_10_s() {
    let server = Server::start().await;
    let beginnings = ["", "POST /v1/logs HTTP/1.1\r\nx: ", "PRI * HTTP/2.0\r\n", "P"];
    let mut streams = Vec::new();
    for beginning in beginnings {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        streams.push(stream);
    }
    let all = futures::future::join_all(streams.iter_mut().map(closed)).await;
    assert_eq!(all, [true; 4], "{beginnings:?}");
}

#[tokio::test]
async fn a_kept_connection_outlives_the_time_for_headers_between_two_requests() {
    let server = Server::start().await;
    let request = "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let mut stream = TcpStream::connect(server.http).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n{}").await.starts_with("HTTP/1.1 200"));
    let quiet = limits::HEADER_TIME + Duration::from_secs(1);
    let mut byte = [0];
    assert!(tokio::time::timeout(quiet, stream.read(&mut byte)).await.is_err(), "closed between two requests");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(read_until(&mut stream, "\r\n\r\n{}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn slow_clients_leave_room_for_others_and_a_freed_slot_is_used() {
    let server = Server::start().await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(server.http).await.unwrap();
        stream.write_all(b"POST /v1/logs HTTP/1.1\r\nx: ").await.unwrap();
        silent.push(stream);
    }
    assert_eq!(server.post("/v1/logs", JSON, "{}").await.status, StatusCode::OK);
}

#[tokio::test]
async fn stopping_finishes_what_was_begun_and_says_so() {
    let mut server = Server::start().await;
    let gate = server.recorder.clone();
    let closed = gate.gate.acquire_many(1000).await.unwrap();
    let (client, at) = (Client::default(), server.http);
    let begun = tokio::spawn(async move {
        client.send(at, "/v1/logs", &[("content-type", PROTOBUF)], logs(vec![log("last")]).into()).await
    });
    limit(async {
        while server.intake.bytes_held() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let _idle = TcpStream::connect(server.grpc).await.unwrap();
    server.stop.cancel();
    drop(closed);
    assert_eq!(limit(begun).await.unwrap().status, StatusCode::OK);
    let mut doors = Vec::new();
    while let Some(door) = limit(server.doors.join_next()).await {
        doors.push(door.unwrap());
    }
    doors.sort_by_key(|(door, _)| *door);
    assert_eq!(doors.iter().map(|(door, _)| *door).collect::<Vec<_>>(), [Door::OtlpGrpc, Door::OtlpHttp]);
    assert_eq!((doors[1].1.finished, doors[1].1.cut), (1, 0));
    assert_eq!(server.recorder.count(Signal::Logs), 1);
    assert!(TcpStream::connect(at).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_door_that_is_off_is_not_opened() {
    let recorder = std::sync::Arc::new(Recorder::default());
    let intake = Intake::new(recorder, Settings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stop = CancellationToken::new();
    let doors = spawn(Doors { otlp_http: Some(listener), ..Doors::default() }, &intake, &stop);
    assert_eq!(doors.len(), 1);
}
