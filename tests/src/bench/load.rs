//! A sender that costs little itself: prepared requests over plain sockets.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use devmesh_demo::Request;

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Records acknowledged.
    pub records: u64,
    /// Bytes of the acknowledged requests.
    pub bytes: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Time to each answer, ms, ascending.
    pub latencies: Vec<f64>,
}

impl Outcome {
    /// The time within which a share of the answers came, ms.
    pub fn quantile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }
}

/// Sends all requests over `connections`, each waiting for its answer before the next.
///
/// With `rate` (records a second) the requests are due at fixed times, and a latency counts from when its request was
/// due: a server that stalls cannot hide it.
///
/// # Errors
/// A connection breaks, or an answer is not 200.
pub fn send(address: &str, path: &str, requests: &[Request], connections: usize, rate: Option<f64>) -> Result<Outcome> {
    let next = AtomicUsize::new(0);
    let total = Mutex::new(Outcome::default());
    let due = |index: usize| {
        let before: u64 = requests.iter().take(index).map(|r| r.records).sum();
        rate.map(|rate| Duration::from_secs_f64(before as f64 / rate))
    };
    let dues: Vec<Option<Duration>> = if rate.is_some() { (0..requests.len()).map(due).collect() } else { Vec::new() };
    let start = Instant::now();
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..connections {
            workers.push(scope.spawn(|| work(address, path, requests, &dues, &next, start, &total)));
        }
        for worker in workers {
            match worker.join() {
                Ok(done) => done?,
                Err(_) => bail!("a sender panicked"),
            }
        }
        Ok(())
    })?;
    let mut outcome = total.into_inner().unwrap_or_default();
    outcome.seconds = start.elapsed().as_secs_f64();
    outcome.latencies.sort_by(f64::total_cmp);
    Ok(outcome)
}

fn work(
    address: &str,
    path: &str,
    requests: &[Request],
    dues: &[Option<Duration>],
    next: &AtomicUsize,
    start: Instant,
    total: &Mutex<Outcome>,
) -> Result<()> {
    let mut stream = TcpStream::connect(address).with_context(|| format!("failed to connect to {address}"))?;
    stream.set_nodelay(true)?;
    let mut mine = Outcome::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = requests.get(index) else { break };
        let begin = match dues.get(index).copied().flatten() {
            Some(due) => {
                while start.elapsed() < due {
                    std::thread::park_timeout(due.saturating_sub(start.elapsed()));
                }
                start + due
            }
            None => Instant::now(),
        };
        post(&mut stream, address, path, &request.body, &mut buffer)?;
        mine.latencies.push(begin.elapsed().as_secs_f64() * 1000.0);
        mine.records += request.records;
        mine.bytes += request.body.len() as u64;
    }
    if let Ok(mut total) = total.lock() {
        total.records += mine.records;
        total.bytes += mine.bytes;
        total.latencies.append(&mut mine.latencies);
    }
    Ok(())
}

fn post(stream: &mut TcpStream, address: &str, path: &str, body: &[u8], buffer: &mut [u8]) -> Result<()> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut read = 0;
    loop {
        let got = stream.read(&mut buffer[read..]).context("failed to read the answer")?;
        if got == 0 {
            bail!("the server closed the connection");
        }
        read += got;
        let answer = String::from_utf8_lossy(&buffer[..read]).into_owned();
        let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|l| l.trim().parse().unwrap_or(0))
        });
        if body.len() < length.unwrap_or(0) {
            continue;
        }
        if !head.starts_with("HTTP/1.1 200") {
            bail!("the server answered {answer}");
        }
        return Ok(());
    }
}
