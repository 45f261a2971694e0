//! The time that a connection may take, measured where its bytes pass.
//!
//! hyper can bound the time for headers, but the same timer runs while a kept-alive connection waits for its next
//! request, and none runs before the protocol is known. So the stream itself knows whether a request is being answered,
//! and ends with `TimedOut` when the client owes bytes for too long.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use devmesh_schema::limits;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// What every HTTP/2 connection begins with, and no other.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How many requests of a connection are being answered.
#[derive(Debug, Default)]
pub(super) struct Activity {
    requests: AtomicUsize,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A request's headers are read: until the guard is dropped, the client owes nothing.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    fn busy(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the client owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The first byte of its first request.
    First,
    /// The rest of a request's headers, or of the HTTP/2 preface.
    Headers,
    /// Nothing: its request is being answered.
    Answering,
    /// Its next request, or the end of the connection.
    Idle,
    /// Nothing: HTTP/2 has its own pings.
    Http2,
}

/// A stream with a clock.
#[derive(Debug)]
pub(super) struct Clocked<S> {
    stream: S,
    activity: Arc<Activity>,
    phase: Phase,
    /// How many bytes of the preface have come, as long as nothing else has.
    preface: Option<usize>,
    owed: Pin<Box<Sleep>>,
    unread: Option<Pin<Box<Sleep>>>,
}

impl<S> Clocked<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        let owed = Box::pin(sleep_until(Instant::now() + limits::HEADER_TIME));
        Self { stream, activity, phase: Phase::First, preface: Some(0), owed, unread: None }
    }

    fn enter(&mut self, phase: Phase) {
        if self.phase == phase {
            return;
        }
        self.phase = phase;
        let time = match phase {
            Phase::First | Phase::Headers => limits::HEADER_TIME,
            Phase::Idle => limits::IDLE_TIME,
            Phase::Answering | Phase::Http2 => return,
        };
        self.owed.as_mut().reset(Instant::now() + time);
    }

    fn received(&mut self, bytes: &[u8]) {
        if let Some(had) = self.preface {
            let rest = &HTTP2_PREFACE[had..];
            let count = bytes.len().min(rest.len());
            self.preface = (bytes[..count] == rest[..count]).then_some(had + count);
            if self.preface == Some(HTTP2_PREFACE.len()) {
                return self.enter(Phase::Http2);
            }
        }
        match self.phase {
            Phase::First | Phase::Idle => self.enter(Phase::Headers),
            Phase::Headers | Phase::Answering | Phase::Http2 => {}
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Clocked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match (self.phase, self.activity.busy()) {
            (Phase::Http2, _) => {}
            (_, true) => self.enter(Phase::Answering),
            (Phase::Answering, false) => self.enter(Phase::Idle),
            (_, false) => {}
        }
        let before = buffer.filled().len();
        if Pin::new(&mut self.stream).poll_read(context, buffer)?.is_ready() {
            self.received(&buffer.filled()[before..]);
            return Poll::Ready(Ok(()));
        }
        if !matches!(self.phase, Phase::Answering | Phase::Http2) {
            ready!(self.owed.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> Clocked<S> {
    /// Ends a connection whose client does not read what it asked for.
    fn bound<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limits::IDLE_TIME)));
        ready!(unread.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Clocked<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bound(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.bound(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
