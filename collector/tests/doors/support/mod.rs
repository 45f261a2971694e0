//! What the tests share.

pub(crate) mod client;
pub(crate) mod message;
pub(crate) mod recorder;
pub(crate) mod remote;

use std::{net::SocketAddr, sync::Arc};

use devmesh_collector::{Door, Doors, Drained, Intake, Settings, direct, otlp, remote_write, serve, spawn};
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{client::*, message::*, recorder::Recorder};

/// All doors on free ports, in front of a [`Recorder`].
pub(crate) struct Server {
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) intake: Arc<Intake>,
    /// The OTLP/gRPC port.
    pub(crate) grpc: SocketAddr,
    /// The OTLP/HTTP port.
    pub(crate) http: SocketAddr,
    /// The port of the API: the direct path and OTLP/HTTP.
    pub(crate) api: SocketAddr,
    pub(crate) client: Client,
    pub(crate) stop: CancellationToken,
    pub(crate) doors: JoinSet<(Door, Drained)>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    pub(crate) async fn with(settings: Settings) -> Self {
        let recorder = Arc::new(Recorder::default());
        let intake = Intake::new(recorder.clone(), settings);
        let bind = || TcpListener::bind("127.0.0.1:0");
        let (grpc, http, api) = (bind().await.unwrap(), bind().await.unwrap(), bind().await.unwrap());
        let [grpc_at, http_at, api_at] = [&grpc, &http, &api].map(|listener| listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let doors = spawn(Doors { otlp_grpc: Some(grpc), otlp_http: Some(http), tls: None }, &intake, &stop);
        let routes = direct::routes(intake.clone()).merge(otlp::http::routes(intake.clone()));
        let routes = routes.merge(remote_write::routes(intake.clone()));
        tokio::spawn(serve::serve(api, None, routes, stop.clone()));
        let client = Client::default();
        Self { recorder, intake, grpc: grpc_at, http: http_at, api: api_at, client, stop, doors }
    }

    /// Posts to the OTLP/HTTP port.
    pub(crate) async fn post(&self, path: &str, kind: &str, body: impl Into<bytes::Bytes>) -> Reply {
        self.client.send(self.http, path, &[("content-type", kind)], body.into()).await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: impl Into<bytes::Bytes>) -> Reply {
        self.client.send(self.http, path, headers, body.into()).await
    }

    /// Posts JSON to the API port.
    pub(crate) async fn ingest(&self, path: &str, body: impl Into<bytes::Bytes>) -> Reply {
        self.client.send(self.api, path, &[("content-type", JSON)], body.into()).await
    }

    /// Calls `Export` of a service with one message that is not compressed.
    pub(crate) async fn call(&self, path: &str, message: &[u8]) -> Call {
        self.client.call(self.grpc, path, &[], frame(0, message)).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
