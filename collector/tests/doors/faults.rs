//! Faults of the server itself: what the sender and the log are told of them.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use devmesh_collector::{Intake, Settings, direct, otlp, serve};
use devmesh_schema::{Batch, Receipt, Sink, WriteError};
use http::{Method, Version};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::*;

/// Panics at logs, and takes all else.
#[derive(Debug)]
struct Faulty;

#[async_trait]
impl Sink for Faulty {
    async fn write(&self, batch: Batch) -> Result<Receipt, WriteError> {
        assert!(batch.signal != devmesh_schema::Signal::Logs, "rows of {} do not fit", batch.signal);
        Ok(Receipt { accepted: 1, ..Receipt::default() })
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Log;

    fn make_writer(&'a self) -> Log {
        self.clone()
    }
}

#[tokio::test]
async fn a_fault_of_the_server_costs_one_request_and_never_goes_without_a_word_in_the_log() {
    let log_lines = Log::default();
    // The test has one thread, on which all tasks run.
    let _log = tracing::subscriber::set_default(
        tracing_subscriber::fmt().with_writer(log_lines.clone()).with_ansi(false).finish(),
    );
    let intake = Intake::new(Arc::new(Faulty), Settings::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let routes = direct::routes(intake.clone()).merge(otlp::http::routes(intake.clone()));
    tokio::spawn(serve::serve(listener, None, routes, stop.clone()));
    let client = Client::default();
    let headers = [("content-type", PROTOBUF)];
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let post = |path, body: Vec<u8>| client.method(Method::POST, version, at, path, &headers, body.into());
        let (broken, well) =
            tokio::join!(post("/v1/logs", logs(vec![log("x")])), post("/v1/traces", spans(vec![span("a")])));
        assert_eq!((broken.status.as_u16(), well.status.as_u16()), (500, 200), "{version:?}");
        assert!(broken.text().contains("its log says more") && !broken.text().contains("do not fit"));
    }
    assert_eq!(intake.bytes_held(), 0);
    let text = String::from_utf8(log_lines.0.lock().unwrap().clone()).unwrap();
    let told = text.lines().filter(|line| {
        ["ERROR", "rows of logs do not fit", "path=\"/v1/logs\"", "method=POST"].iter().all(|part| line.contains(part))
    });
    assert_eq!(told.count(), 2, "{text}");
    stop.cancel();
}
