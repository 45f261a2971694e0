//! A server that records what it is sent, real journals, and waiting.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use devmesh_collector::{
    Doors, Intake, Settings,
    tls::{Clients, Tls},
};
use devmesh_schema::{Batch, Receipt, Sink, WriteError};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    logs::v1::LogRecord,
};
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A sink that keeps each batch id once, as the store does, and answers what the test says.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) batches: Mutex<Vec<Batch>>,
    pub(crate) repeats: Mutex<Vec<String>>,
    pub(crate) refusals: Mutex<Vec<WriteError>>,
    /// Takes the batch, and then answers that it did not.
    pub(crate) forget_answers: Mutex<usize>,
}

impl Recorder {
    pub(crate) fn requests(&self) -> Vec<Bytes> {
        self.batches.lock().unwrap().iter().map(|batch| batch.request.clone()).collect()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.batches.lock().unwrap().iter().map(|batch| batch.id.as_ref().unwrap().as_str().to_owned()).collect()
    }

    /// All log records with their resource attributes.
    pub(crate) fn records(&self) -> Vec<(Vec<KeyValue>, LogRecord)> {
        let mut records = Vec::new();
        for request in self.requests() {
            for resource in ExportLogsServiceRequest::decode(request).unwrap().resource_logs {
                let attributes = resource.resource.unwrap_or_default().attributes;
                for scope in resource.scope_logs {
                    records.extend(scope.log_records.into_iter().map(|record| (attributes.clone(), record)));
                }
            }
        }
        records
    }

    /// The bodies of all log records, in order.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.records().into_iter().map(|(_, record)| body(&record)).collect()
    }
}

pub(crate) fn body(record: &LogRecord) -> String {
    match record.body.as_ref().and_then(|body| body.value.clone()) {
        Some(any_value::Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

/// The value of an attribute, as text.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?;
    Some(text(&value))
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::BytesValue(bytes)) => format!("{bytes:?}"),
        Some(any_value::Value::ArrayValue(list)) => list.values.iter().map(text).collect::<Vec<_>>().join(","),
        other => format!("{other:?}"),
    }
}

#[async_trait]
impl Sink for Recorder {
    async fn write(&self, batch: Batch) -> Result<Receipt, WriteError> {
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let mut batches = self.batches.lock().unwrap();
        let known = batch.id.is_some() && batches.iter().any(|one| one.id == batch.id);
        if known {
            let same = batches.iter().any(|one| one.id == batch.id && one.request == batch.request);
            assert!(same, "batch {:?} came again with another content", batch.id);
            self.repeats.lock().unwrap().push(batch.id.unwrap().as_str().to_owned());
        } else {
            batches.push(batch);
        }
        let mut forget = self.forget_answers.lock().unwrap();
        if *forget > 0 {
            *forget -= 1;
            return Err(WriteError::Unavailable("the answer is lost".into()));
        }
        Ok(Receipt { accepted: 1, deduplicated: known, ..Receipt::default() })
    }
}

/// A certificate for localhost that vouches for itself.
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        Self { cert, key }
    }

    pub(crate) fn tls(&self) -> Tls {
        self.tls_for(Clients::default())
    }

    /// Of a server that asks its clients for certificates.
    pub(crate) fn tls_for(&self, clients: Clients) -> Tls {
        Tls::load_for(&self.cert, &self.key, clients).unwrap()
    }
}

/// A real server: the doors of this crate on a listener.
pub(crate) struct Peer {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) address: std::net::SocketAddr,
    stop: CancellationToken,
}

impl Peer {
    pub(crate) async fn start(listener: TcpListener, recorder: Arc<Recorder>) -> Self {
        Self::start_tls(listener, recorder, None).await
    }

    pub(crate) async fn start_tls(listener: TcpListener, recorder: Arc<Recorder>, tls: Option<Tls>) -> Self {
        let address = listener.local_addr().unwrap();
        let intake = Intake::new(Arc::<Recorder>::clone(&recorder), Settings::default());
        let stop = CancellationToken::new();
        let mut doors =
            devmesh_collector::spawn(Doors { otlp_http: Some(listener), tls, ..Doors::default() }, &intake, &stop);
        tokio::spawn(async move { while doors.join_next().await.is_some() {} });
        Self { recorder, address, stop }
    }

    pub(crate) async fn any() -> Self {
        Self::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::default()).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Waits for what a test expects, with a limit.
pub(crate) async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let until = Instant::now() + LIMIT;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while !look() {
        assert!(Instant::now() < until, "not in {LIMIT:?}: {what}");
        tick.tick().await;
    }
}

/// A request of one log record for each body.
pub(crate) fn logs(bodies: &[&str]) -> Bytes {
    let mut request = devmesh_schema::otlp::write::LogsRequest::new();
    request.resource(&[("service.name".into(), "test".into())], |scope| {
        for body in bodies {
            scope.record(&devmesh_schema::otlp::write::LogRecord {
                time: 1,
                body: Some((*body).into()),
                ..Default::default()
            });
        }
    });
    request.finish().into()
}

pub(crate) fn batch(request: Bytes) -> Batch {
    Batch {
        signal: devmesh_schema::Signal::Logs,
        id: None,
        path: devmesh_schema::IngestPath::Collector,
        received: 1,
        request,
    }
}

/// An entry for a real journal file. Values may be any bytes.
pub(crate) struct JournalEntry {
    fields: Vec<(String, Vec<u8>)>,
    time: u64,
}

pub(crate) const BOOT: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

impl JournalEntry {
    /// `time` in µs since the epoch.
    pub(crate) fn new(time: u64, message: &[u8]) -> Self {
        Self { fields: Vec::new(), time }
            .with("MESSAGE", message)
            .with("_HOSTNAME", b"h1")
            .with("_SYSTEMD_UNIT", b"app.service")
            .with("PRIORITY", b"6")
    }

    pub(crate) fn bare(time: u64) -> Self {
        Self { fields: Vec::new(), time }
    }

    pub(crate) fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.fields.push((name.into(), value.to_vec()));
        self
    }

    fn export(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            format!(
                "__CURSOR=x\n__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={BOOT}\n\
                 _MACHINE_ID=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
                self.time,
                self.time % 1_000_000_000_000
            )
            .as_bytes(),
        );
        for (name, value) in &self.fields {
            out.extend_from_slice(name.as_bytes());
            out.push(b'\n');
            out.extend_from_slice(&(value.len() as u64).to_le_bytes());
            out.extend_from_slice(value);
            out.push(b'\n');
        }
        out.push(b'\n');
    }
}

/// Writes a real journal file with systemd's own program.
pub(crate) fn write_journal(file: &Path, entries: &[JournalEntry]) {
    let mut export = Vec::new();
    entries.iter().for_each(|entry| entry.export(&mut export));
    // In a place of its own first: a reader must find it whole.
    let temporary = tempfile::tempdir_in(file.parent().unwrap().parent().unwrap()).unwrap();
    let made = temporary.path().join("made.journal");
    if file.exists() {
        std::fs::copy(file, &made).unwrap();
    }
    let mut output = std::ffi::OsString::from("--output=");
    output.push(&made);
    let mut child = Command::new("/lib/systemd/systemd-journal-remote")
        .arg(output)
        .args(["--seal=no", "--compress=yes", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("systemd-journal-remote is missing: run `tests/install.sh`");
    child.stdin.take().unwrap().write_all(&export).unwrap();
    assert!(child.wait().unwrap().success());
    std::fs::rename(&made, file).unwrap();
}

/// Now, in µs since the epoch.
pub(crate) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// An executable script.
pub(crate) fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    // Not by this process: a child that another test starts meanwhile would have it open for writing, and it could not be run.
    let mut writer = Command::new("sh")
        .args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    write!(writer.stdin.take().unwrap(), "#!/bin/bash\n{text}\n").unwrap();
    assert!(writer.wait().unwrap().success());
    path
}
