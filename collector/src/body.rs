//! The one bounded reader of request bodies, for all doors. No other module decompresses what a stranger sent.
//!
//! Limits hold while the body streams: on the bytes as sent, on the bytes decompressed, on the time, and on the byte
//! budget that all requests share. Nothing is allocated because a header or a length field says so, beyond
//! [`FIRST_BYTES`]. A body that arrives in one frame is not copied, one in several frames once.

use std::{io::Read, time::Duration};

use bytes::{Buf, Bytes};
use devmesh_schema::limits;
use flate2::{Decompress, FlushDecompress, Status, bufread::MultiGzDecoder};
use http::{HeaderMap, Version, header, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::{
    intake::{Budget, Share},
    refusal::{Reason, Refusal},
};

/// Bytes reserved at most before any arrived.
const FIRST_BYTES: usize = 1 << 20;
/// Bytes decompressed between two looks at the budget, and two chances for other tasks to run.
const STEP_BYTES: usize = 1 << 20;
/// How much of a body that is too large is read before the answer, and for how long.
const DISCARD_BYTES: usize = 128 << 20;
const DISCARD_TIME: Duration = Duration::from_secs(5);
/// A zstd frame with a larger window is refused: 2^27 = 128 MiB, what zstd itself allows by default.
const ZSTD_WINDOW_LOG: u32 = 27;

/// How a body, or a gRPC message, is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 1950: what HTTP calls `deflate`.
    Zlib,
    /// RFC 8878, any number of frames.
    Zstd,
    /// One block of snappy, not its frames: what remote write has, and no door that reads the name from a header.
    Snappy,
}

impl Encoding {
    /// The encoding of a name in any case; `None` for one that is not understood.
    pub fn parse(name: &str) -> Option<Self> {
        let is = |names: &[&str]| names.iter().any(|known| name.trim().eq_ignore_ascii_case(known));
        match () {
            () if is(&["", "identity"]) => Some(Encoding::Identity),
            () if is(&["gzip", "x-gzip"]) => Some(Encoding::Gzip),
            () if is(&["deflate", "zlib"]) => Some(Encoding::Zlib),
            () if is(&["zstd"]) => Some(Encoding::Zstd),
            () => None,
        }
    }

    /// The encoding that `Content-Encoding` names; nested ones are refused (415), whatever they are.
    ///
    /// # Errors
    /// [`Reason::UnsupportedEncoding`].
    pub fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let unsupported = || {
            let message = "unsupported Content-Encoding, supported: one of gzip, zstd, deflate, identity";
            Refusal::new(Reason::UnsupportedEncoding, message)
        };
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(Encoding::Identity) };
        let encoding = value.to_str().ok().and_then(Encoding::parse).ok_or_else(unsupported)?;
        if values.next().is_some() { Err(unsupported()) } else { Ok(encoding) }
    }
}

/// The bounds of one body.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes as sent, of a compressed body.
    pub sent: usize,
    /// Bytes decompressed, and of a body that is not compressed.
    pub decoded: usize,
    /// From the first look to the last byte.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { sent: limits::BODY_BYTES, decoded: limits::REQUEST_BYTES, time: limits::BODY_TIME }
    }
}

impl Bounds {
    fn of(self, encoding: Encoding) -> usize {
        if encoding == Encoding::Identity { self.decoded } else { self.sent }
    }
}

/// A body in memory, and its part of the budget.
#[derive(Debug, Default)]
pub struct Held {
    /// The bytes, decompressed.
    pub bytes: Bytes,
    /// Keep it for as long as the bytes are held.
    pub share: Share,
}

/// Reads a body whole and decompresses it.
///
/// # Errors
/// Too large (413), broken (400), slow (408), of an unknown encoding (415), or no room (503, retryable).
pub async fn read<B>(headers: &HeaderMap, body: B, bounds: Bounds, budget: &Budget) -> Result<Held, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let encoding = Encoding::of(headers)?;
    read_as(encoding, headers, body, bounds, budget).await
}

/// Reads a body whose encoding the door knows, whatever its headers say.
///
/// # Errors
/// As [`read`].
pub async fn read_as<B>(
    encoding: Encoding,
    headers: &HeaderMap,
    mut body: B,
    bounds: Bounds,
    budget: &Budget,
) -> Result<Held, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let read = read_whole(encoding, &mut body, bounds, budget).await;
    let waits = headers.contains_key(header::EXPECT);
    if read.as_ref().is_err_and(|refusal| refusal.reason == Reason::TooLarge) && !waits {
        discard(body).await;
    }
    read
}

/// Before an answer to a request whose body was not looked at. Where its sender shall come back with the same, the body is
/// read away, so that the answer reaches it and the connection stays; a stranger's is not.
pub(crate) async fn unread<B>(request: &Parts, body: B, refusal: Refusal) -> Refusal
where
    B: Body<Data = Bytes> + Unpin,
{
    let waits = request.headers.contains_key(header::EXPECT);
    if refusal.reason == Reason::RateLimited && request.version < Version::HTTP_2 && !waits {
        discard(body).await;
    }
    refusal
}

/// Reads on without keeping anything. Many clients send their whole body before they look for an answer; closing on
/// them would look like a network fault, and they would send the same again.
async fn discard<B>(mut body: B)
where
    B: Body<Data = Bytes> + Unpin,
{
    let deadline = Instant::now() + DISCARD_TIME;
    let mut bytes = 0;
    while bytes < DISCARD_BYTES {
        let Ok(Some(frame)) = next_frame(&mut body, deadline, DISCARD_TIME).await else { return };
        bytes += frame.len();
    }
}

async fn read_whole<B>(encoding: Encoding, body: &mut B, bounds: Bounds, budget: &Budget) -> Result<Held, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let limit = bounds.of(encoding);
    let length = body.size_hint().exact();
    if length.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let total = length.and_then(|length| usize::try_from(length).ok());
    let inspect = |so_far: &[u8]| if so_far.len() > limit { Err(too_large(limit)) } else { Ok(total) };
    let held = gather(body, bounds.time, budget, inspect).await?;
    decompress(held, encoding, bounds.decoded, budget).await
}

/// Reads the one message of a unary gRPC call: a flag (1 byte), a length (4 bytes), the message.
///
/// # Errors
/// As [`read`]; a message that is larger than allowed is refused from its length alone.
pub async fn read_message<B>(body: B, encoding: Encoding, bounds: Bounds, budget: &Budget) -> Result<Held, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let inspect = |so_far: &[u8]| {
        let Some((flag, length)) = prefix(so_far) else { return Ok(None) };
        let limit = bounds.of(if flag == 0 { Encoding::Identity } else { encoding });
        if length > limit {
            return Err(too_large(limit));
        }
        let total = PREFIX_BYTES + length;
        if so_far.len() > total {
            Err(framing("a unary call has one message, and here is more"))
        } else {
            Ok(Some(total))
        }
    };
    let mut held = gather(body, bounds.time, budget, inspect).await?;
    let Some((flag, length)) = prefix(&held.bytes) else {
        return Err(framing("the call ended before its message"));
    };
    held.bytes.advance(PREFIX_BYTES);
    if held.bytes.len() != length {
        return Err(framing("the call ended in the middle of its message"));
    }
    match (flag, encoding) {
        (0, _) => Ok(held),
        (1, Encoding::Identity) => Err(framing("a compressed message, but grpc-encoding names no compression")),
        (1, _) => decompress(held, encoding, bounds.decoded, budget).await,
        _ => Err(framing("a message's flag is 0 or 1")),
    }
}

/// Bytes before a gRPC message.
const PREFIX_BYTES: usize = 5;

/// A gRPC message's flag and length; `None` where they have not arrived yet.
fn prefix(so_far: &[u8]) -> Option<(u8, usize)> {
    let &[flag, length @ ..] = so_far.first_chunk::<PREFIX_BYTES>()?;
    Some((flag, usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX)))
}

fn framing(message: &str) -> Refusal {
    Refusal::new(Reason::Framing, message)
}

fn too_large(limit: usize) -> Refusal {
    Refusal::new(Reason::TooLarge, format!("the request is larger than {limit} bytes: send smaller batches"))
}

fn bad(what: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::Decode, format!("the body is no valid {what}: {error}"))
}

/// Collects a body's frames. `inspect` sees the bytes so far, refuses what is too large, and knows the total, if it is
/// known.
async fn gather<B>(
    mut body: B,
    time: Duration,
    budget: &Budget,
    inspect: impl Fn(&[u8]) -> Result<Option<usize>, Refusal>,
) -> Result<Held, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    let deadline = Instant::now() + time;
    let mut held = Held::default();
    // The first frame waits for a second one: alone, it is the body, without a copy.
    while let Some(frame) = next_frame(&mut body, deadline, time).await? {
        held.bytes = frame;
        if !held.bytes.is_empty() {
            break;
        }
    }
    let total = inspect(&held.bytes)?;
    budget.grow(&mut held.share, held.bytes.len()).await?;
    if held.bytes.is_empty() || body.is_end_stream() {
        return Ok(held);
    }
    let mut whole = Vec::new();
    let mut wanted = total.unwrap_or(0).min(FIRST_BYTES);
    while let Some(frame) = next_frame(&mut body, deadline, time).await? {
        if whole.capacity() == 0 {
            wanted = wanted.max(held.bytes.len() + frame.len());
            budget.grow(&mut held.share, wanted).await?;
            whole.reserve_exact(wanted);
            whole.extend_from_slice(&held.bytes);
            held.bytes = Bytes::new();
        }
        let needed = whole.len() + frame.len();
        if needed > whole.capacity() {
            // Twice as much, but no more than the total; a total that was exceeded is refused below.
            wanted = total.filter(|total| *total >= needed).map_or(needed * 2, |total| total.min(needed * 2));
            budget.grow(&mut held.share, wanted).await?;
            whole.reserve_exact(wanted - whole.len());
        }
        whole.extend_from_slice(&frame);
        inspect(&whole)?;
        if body.is_end_stream() {
            break;
        }
    }
    if whole.capacity() > 0 {
        held.bytes = Bytes::from(whole);
    }
    Ok(held)
}

/// The next data frame; `None` at the end. Trailers are skipped.
async fn next_frame<B>(body: &mut B, deadline: Instant, time: Duration) -> Result<Option<Bytes>, Refusal>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) => {
                return Err(Refusal::new(Reason::Cancelled, "the body ended early, or its chunks are broken"));
            }
            Err(_) => {
                let message = format!("the body did not arrive within {} s", time.as_secs());
                return Err(Refusal::new(Reason::SlowBody, message));
            }
        };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

async fn decompress(held: Held, encoding: Encoding, limit: usize, budget: &Budget) -> Result<Held, Refusal> {
    let sent = held.bytes.as_ref();
    let mut out = Output { bytes: Vec::new(), share: Share::default(), limit, budget };
    match encoding {
        Encoding::Identity => return Ok(held),
        Encoding::Gzip => out.fill(MultiGzDecoder::new(sent), "gzip").await?,
        Encoding::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(sent).map_err(|error| bad("zstd", error))?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|error| bad("zstd", error))?;
            out.fill(decoder, "zstd").await?;
        }
        Encoding::Zlib => out.inflate(sent).await?,
        Encoding::Snappy => out.unsnap(sent).await?,
    }
    Ok(Held { bytes: Bytes::from(out.bytes), share: out.share })
}

/// What was decompressed so far.
struct Output<'a> {
    bytes: Vec<u8>,
    share: Share,
    limit: usize,
    budget: &'a Budget,
}

impl Output<'_> {
    /// Makes room for the next step and says how large it is: one byte more than allowed, at the end.
    async fn step(&mut self, sent: usize) -> Result<usize, Refusal> {
        let length = self.bytes.len();
        if length > self.limit {
            return Err(too_large(self.limit));
        }
        let step = (sent * 4).max(length).clamp(4096, STEP_BYTES).min(self.limit + 1 - length);
        self.budget.grow(&mut self.share, length + step).await?;
        self.bytes.reserve(step);
        Ok(step)
    }

    async fn fill(&mut self, mut decoder: impl Read, what: &str) -> Result<(), Refusal> {
        // The first step guesses that the body is four times as large decompressed.
        let mut guess = 64 << 10;
        loop {
            let step = self.step(guess / 4).await?;
            let read = decoder.by_ref().take(step as u64).read_to_end(&mut self.bytes).map_err(|error| {
                // zstd's own words for a window beyond the limit.
                let window = error.to_string().contains("too much memory");
                if window { too_large(self.limit) } else { bad(what, error) }
            })?;
            if read < step {
                return Ok(());
            }
            guess = STEP_BYTES;
            tokio::task::yield_now().await;
        }
    }

    /// A block says first how long it is: nothing is made for one that says too much.
    async fn unsnap(&mut self, sent: &[u8]) -> Result<(), Refusal> {
        let length = snap::raw::decompress_len(sent).map_err(|error| bad("snappy block", error))?;
        if length > self.limit {
            return Err(too_large(self.limit));
        }
        // No element of a block makes more than 64 bytes of 3.
        if length > sent.len().saturating_mul(32) {
            return Err(bad("snappy block", "it says that it is longer than it can be"));
        }
        self.budget.grow(&mut self.share, length).await?;
        self.bytes.resize(length, 0);
        let read = snap::raw::Decoder::new().decompress(sent, &mut self.bytes);
        read.map_err(|error| bad("snappy block", error)).map(drop)
    }

    /// zlib by hand: flate2's reader takes a body that was cut off for a whole one.
    async fn inflate(&mut self, sent: &[u8]) -> Result<(), Refusal> {
        let mut decoder = Decompress::new(true);
        loop {
            self.step(sent.len()).await?;
            let read = usize::try_from(decoder.total_in()).unwrap_or(sent.len()).min(sent.len());
            let before = (decoder.total_in(), self.bytes.len());
            let status = decoder
                .decompress_vec(&sent[read..], &mut self.bytes, FlushDecompress::None)
                .map_err(|error| bad("zlib", error))?;
            match status {
                Status::StreamEnd if decoder.total_in() == sent.len() as u64 => break,
                Status::StreamEnd => return Err(bad("zlib", "bytes after its end")),
                _ if before == (decoder.total_in(), self.bytes.len()) => return Err(bad("zlib", "cut off")),
                _ => tokio::task::yield_now().await,
            }
        }
        if self.bytes.len() > self.limit { Err(too_large(self.limit)) } else { Ok(()) }
    }
}
