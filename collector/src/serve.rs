//! Serves HTTP/1.1 and HTTP/2 (prior knowledge, or by TLS) on one listener, with the guards against slow and greedy clients that
//! `axum::serve` lacks.
//!
//! A connection has [`limits::HEADER_TIME`] for its first byte and for each request's headers, and
//! [`limits::IDLE_TIME`] between requests; HTTP/2 connections are pinged instead. There are at most
//! [`limits::CONNECTIONS`] connections, further ones wait in the kernel's queue; those beyond
//! [`limits::CLIENT_CONNECTIONS`] of one client are closed at once. An error of `accept` (no more file
//! descriptors, say) never ends the loop.

mod clock;
mod peers;

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, response::IntoResponse};
use bytes::Bytes;
use devmesh_schema::limits;
use futures::FutureExt;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

pub use self::peers::client;
use self::{
    clock::{Activity, Busy, Clocked},
    peers::{Peers, Place},
};
use crate::tls::Tls;

/// How long to wait after `accept` failed for want of something that comes back by itself.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Bytes in flight of an HTTP/2 stream and connection: a whole usual batch without a round trip.
const HTTP2_WINDOW: u32 = 1 << 20;
/// A silent HTTP/2 connection is pinged after this time, and closed when no answer comes in the same time.
const HTTP2_PING: Duration = Duration::from_secs(20);

/// What became of the open connections after the stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections whose last request was answered.
    pub finished: usize,
    /// Connections that were cut after [`limits::DRAIN_TIME`].
    pub cut: usize,
}

/// Serves `router`, over TLS where there is a certificate, until `stop`; then takes no further request, finishes those begun, and says what became of them.
/// Handlers find the client's address as `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, tls: Option<Tls>, router: Router, stop: CancellationToken) -> Drained {
    let slots = Arc::new(Semaphore::new(limits::CONNECTIONS));
    let peers = Peers::default();
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let Some((stream, peer, slot)) = next(&listener, &slots, &stop).await else { break };
        let Some(place) = peers.enter(peer.ip()) else {
            tracing::debug!(%peer, "closed a connection: this client has {} already", limits::CLIENT_CONNECTIONS);
            continue;
        };
        let connection = Connection { router: router.clone(), peer, _held: (slot, place) };
        let watcher = graceful.watcher();
        match tls.clone() {
            None => tasks.spawn(connection.run(stream, watcher, cut.clone())),
            Some(tls) => tasks.spawn(connection.run_tls(stream, tls, watcher, (stop.clone(), cut.clone()))),
        };
    }
    drop(listener);
    let open = tasks.len();
    tasks.close();
    // Both: idle connections are closed at once, and every task has ended.
    let drained = async {
        graceful.shutdown().await;
        tasks.wait().await;
    };
    if tokio::time::timeout(limits::DRAIN_TIME, drained).await.is_ok() {
        return Drained { finished: open, cut: 0 };
    }
    let left = tasks.len();
    cut.cancel();
    tasks.wait().await;
    Drained { finished: open.saturating_sub(left), cut: left }
}

/// The next connection; `None` after the stop.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = stop.run_until_cancelled(Arc::clone(slots).acquire_owned()).await?.ok()?;
    loop {
        match stop.run_until_cancelled(listener.accept()).await? {
            Ok((stream, peer)) => return Some((stream, peer, slot)),
            Err(error) if gone(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection, trying again");
                stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await?;
            }
        }
    }
}

/// The client left before it was accepted: nothing is wrong here.
fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

struct Connection {
    router: Router,
    peer: SocketAddr,
    _held: (OwnedSemaphorePermit, Place),
}

impl Connection {
    async fn run(self, stream: TcpStream, watcher: Watcher, cut: CancellationToken) {
        no_delay(&stream);
        self.speak(stream, watcher, cut).await;
    }

    /// A handshake that is not over at the stop never is: nobody asked anything yet.
    async fn run_tls(
        self,
        stream: TcpStream,
        tls: Tls,
        watcher: Watcher,
        (stop, cut): (CancellationToken, CancellationToken),
    ) {
        no_delay(&stream);
        match stop.run_until_cancelled(tls.accept(stream)).await {
            Some(Ok(stream)) => self.speak(stream, watcher, cut).await,
            Some(Err(error)) => tracing::debug!(peer = %self.peer, %error, "no TLS handshake"),
            None => {}
        }
    }

    async fn speak<S>(self, stream: S, watcher: Watcher, cut: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Connection { router, peer, _held } = self;
        let activity = Activity::new();
        let io = TokioIo::new(Clocked::new(stream, Arc::clone(&activity)));
        let service = service_fn(move |request| answer(router.clone(), peer, activity.begin(), request));
        let connection = watcher.watch(builder().serve_connection(io, service).into_owned());
        if let Some(Err(error)) = cut.run_until_cancelled(connection).await {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }
}

/// Without it an answer may wait for the client's delayed acknowledgement; it is only slower.
fn no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The connection's clock stands in for hyper's header timeout, which runs between requests too.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits::HTTP2_STREAMS)
        .max_header_list_size(u32::try_from(limits::HEADER_BYTES).unwrap_or(u32::MAX))
        .initial_stream_window_size(HTTP2_WINDOW)
        .initial_connection_window_size(HTTP2_WINDOW)
        .keep_alive_interval(HTTP2_PING)
        .keep_alive_timeout(HTTP2_PING);
    builder
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    busy: Busy,
    mut request: Request<Incoming>,
) -> Result<Response<Timed>, Infallible> {
    let response = match too_long(&request) {
        Some(status) => status.into_response(),
        None => {
            request.extensions_mut().insert(ConnectInfo(peer));
            handle(router, request).await
        }
    };
    Ok(response.map(|body| Timed { body, _busy: busy }))
}

/// Answers a request. A fault of ours costs this request alone, and never goes without a word in the log.
async fn handle(router: Router, request: Request<Incoming>) -> Response<Body> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let path = uri.path();
    match AssertUnwindSafe(router.oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => {
            if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
                tracing::error!(%method, path, "a request was answered with 500");
            }
            response
        }
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(%method, path, "a request made the server panic: {text}");
            (StatusCode::INTERNAL_SERVER_ERROR, "a fault of the server; its log says more\n").into_response()
        }
    }
}

/// The status for a target or headers beyond the limits.
fn too_long<B>(request: &Request<B>) -> Option<StatusCode> {
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits::URI_BYTES {
        return Some(StatusCode::URI_TOO_LONG);
    }
    let headers: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (headers > limits::HEADER_BYTES).then_some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

/// A response's body: while it lives, its connection is busy.
struct Timed {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
