//! One connection of the Postgres wire: whether it speaks TLS, then its messages.
//!
//! A client asks for TLS with eight bytes, or begins with it (libpq 17, `sslnegotiation=direct`). Exactly these bytes are read
//! before the handshake, so that nothing which somebody put behind them in the clear is taken for the client's own
//! (CVE-2021-23214). The wire's library has a loop of its own, whose TLS keeps such bytes; hence this one.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Duration,
};

use devmesh_collector::tls::{HANDSHAKE, Tls, TlsStream};
use devmesh_schema::limits;
use futures::StreamExt;
use pgwire::{
    api::{ClientInfo, DefaultClient, PgWireConnectionState, PgWireServerHandlers},
    messages::{PgWireBackendMessage, PgWireFrontendMessage},
    tokio::server::{PgWireMessageServerCodec, process_error, process_message},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::codec::{Framed, FramedParts};

use super::{Handlers, bind::Statement};

/// The code of a request for TLS, and of one for GSSAPI, in the place of a version.
const TLS_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// A message's length and its code.
const HEAD_BYTES: usize = 8;
/// How long a client may take from its first message to the end of its authentication: somebody may type a password.
const STARTUP_TIME: Duration = Duration::from_secs(60);

/// How a connection goes on.
enum Start {
    /// In the clear, with the first bytes of the first message.
    Plain(TcpStream, [u8; HEAD_BYTES]),
    Secured(Box<TlsStream<TcpStream>>),
}

/// Serves a connection to its end.
///
/// # Errors
/// It broke, or its client does not speak the protocol.
pub(super) async fn serve(stream: TcpStream, tls: Option<&Tls>, handlers: &Handlers) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?;
    match timeout(limits::HEADER_TIME, negotiate(stream, tls)).await?? {
        Start::Plain(stream, first) => converse(stream, &first, DefaultClient::new(peer, false), handlers).await,
        Start::Secured(stream) => converse(*stream, &[], DefaultClient::new(peer, true), handlers).await,
    }
}

/// Finds out whether there is to be TLS, and shakes hands.
async fn negotiate(mut stream: TcpStream, tls: Option<&Tls>) -> io::Result<Start> {
    let invalid = |text: &'static str| io::Error::new(ErrorKind::InvalidData, text);
    // A client may ask for either, once.
    for _ in 0..3 {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0] == HANDSHAKE {
            let tls = tls.ok_or_else(|| invalid("the client begins with TLS, and there is no certificate"))?;
            return Ok(Start::Secured(Box::new(tls.accept_postgres(stream, true).await?)));
        }
        let mut head = [0; HEAD_BYTES];
        stream.read_exact(&mut head).await?;
        let [.., a, b, c, d] = head;
        match (u32::from_be_bytes([a, b, c, d]), tls) {
            (TLS_REQUEST, Some(tls)) => {
                stream.write_all(b"S").await?;
                return Ok(Start::Secured(Box::new(tls.accept_postgres(stream, false).await?)));
            }
            (TLS_REQUEST, None) | (GSS_REQUEST, _) => stream.write_all(b"N").await?,
            _ => return Ok(Start::Plain(stream, head)),
        }
    }
    Err(invalid("the client asks for encryption again and again"))
}

/// Answers messages until the client leaves.
async fn converse<S>(stream: S, first: &[u8], client: DefaultClient<Statement>, handlers: &Handlers) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
{
    let codec = PgWireMessageServerCodec::new(client);
    let mut parts = FramedParts::new::<PgWireBackendMessage>(stream, codec);
    parts.read_buf.extend_from_slice(first);
    let mut socket = Framed::from_parts(parts);
    socket.set_state(PgWireConnectionState::AwaitingStartup);
    let deadline = Instant::now() + STARTUP_TIME;
    loop {
        let starting = matches!(
            socket.state(),
            PgWireConnectionState::AwaitingStartup | PgWireConnectionState::AuthenticationInProgress
        );
        let message = if starting { timeout_at(deadline, socket.next()).await? } else { socket.next().await };
        let Some(message) = message else { return Ok(()) };
        let message = message.map_err(io::Error::other)?;
        if matches!(message, PgWireFrontendMessage::Terminate(_)) {
            return Ok(());
        }
        let extended = match socket.state() {
            PgWireConnectionState::CopyInProgress(extended) => extended,
            _ => message.is_extended_query(),
        };
        let outcome = process_message(
            message,
            &mut socket,
            Arc::clone(&handlers.startup),
            Arc::clone(&handlers.session),
            Arc::clone(&handlers.session),
            handlers.copy_handler(),
            Arc::clone(&handlers.cancel),
        );
        if let Err(error) = outcome.await {
            process_error(&mut socket, error, extended).await?;
            // What a client sent behind a wrong password is not even looked at.
            if starting {
                return Ok(());
            }
        }
    }
}
