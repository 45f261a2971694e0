//! How much one sender may send a second, so that a noisy one takes nothing from the others (S36).
//!
//! A sender is a token, wherever it is used, and a client address; this machine's own is none, behind a proxy on it stand
//! many. Each has a bucket for requests, bytes and items that fills up at the rate and holds [`BURST`] seconds of it. What
//! a request costs is known only once it was read and stored, so that it is taken afterwards and a bucket may be in
//! debt: a request is refused while its sender has nothing left, and even one that is larger than a bucket gets through.
//! A refusal comes before anything was stored and says when to come back; nothing is lost by it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use devmesh_schema::limits;

use crate::serve::client;

/// Seconds of its rate that a bucket holds: what a sender may send at once after a pause.
const BURST: f64 = 2.0;
/// The shortest and the longest time that a sender is told to wait. Longer debts are asked about again.
const WAIT: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];
/// How often a full table is searched for senders that may be forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// What one sender may send a second; 0: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests.
    pub requests: u64,
    /// Bytes, as OTLP protobuf.
    pub bytes: u64,
    /// Log records, spans, data points.
    pub items: u64,
}

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The token of this number.
    Token(usize),
    /// A client address, as connections are counted.
    Address(IpAddr),
    /// All addresses beyond those that are counted one by one.
    Others,
}

/// The buckets that a request is charged to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sender([Option<Key>; 2]);

/// Requests, bytes and items left; less than nothing is a debt.
type Left = [f64; 3];

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: Left,
    at: Instant,
}

#[derive(Debug)]
struct Table {
    buckets: HashMap<Key, Bucket>,
    swept: Option<Instant>,
}

/// The buckets of all senders: at most [`limits::RATE_CLIENTS`] addresses and one for each token.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// `None` for what has no limit.
    rates: [Option<f64>; 3],
    table: Mutex<Table>,
}

impl Limiter {
    pub(crate) fn new(rates: Rates) -> Self {
        let rate = |rate: u64| (rate > 0).then_some(rate as f64);
        let rates = [rate(rates.requests), rate(rates.bytes), rate(rates.items)];
        Self { rates, table: Mutex::new(Table { buckets: HashMap::new(), swept: None }) }
    }

    /// Senders that are counted at present.
    pub(crate) fn senders(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).buckets.len()
    }

    /// Takes a request from the sender's buckets, or says how long it has to wait.
    ///
    /// # Errors
    /// The sender has nothing left.
    pub(crate) fn admit(&self, token: Option<usize>, peer: Option<IpAddr>, now: Instant) -> Result<Sender, Duration> {
        if self.rates.iter().all(Option::is_none) {
            return Ok(Sender::default());
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let address = peer.and_then(client).map(|address| self.place(&mut table, Key::Address(address), now));
        let keys = [token.map(Key::Token), address];
        let known: Vec<Key> = keys.into_iter().flatten().collect();
        let mut wait = Duration::ZERO;
        for key in &known {
            wait = wait.max(self.wait(self.bucket(&mut table, *key, now).left));
        }
        if !wait.is_zero() {
            return Err(wait.clamp(WAIT[0], WAIT[1]));
        }
        for key in known {
            self.bucket(&mut table, key, now).left[0] -= 1.0;
        }
        Ok(Sender(keys))
    }

    /// Takes what an admitted request has cost.
    pub(crate) fn charge(&self, sender: Sender, bytes: u64, items: u64, now: Instant) {
        if sender.0.iter().all(Option::is_none) {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for key in sender.0.into_iter().flatten() {
            let bucket = self.bucket(&mut table, key, now);
            bucket.left[1] -= bytes as f64;
            bucket.left[2] -= items as f64;
        }
    }

    /// The key itself where there is room for it, else that of all others.
    fn place(&self, table: &mut Table, key: Key, now: Instant) -> Key {
        if table.buckets.len() < limits::RATE_CLIENTS || table.buckets.contains_key(&key) {
            return key;
        }
        if table.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            table.swept = Some(now);
            // A full bucket is as good as none.
            table.buckets.retain(|_, bucket| self.filled(bucket, now) != self.full());
        }
        if table.buckets.len() < limits::RATE_CLIENTS { key } else { Key::Others }
    }

    fn bucket<'a>(&self, table: &'a mut Table, key: Key, now: Instant) -> &'a mut Bucket {
        let bucket = table.buckets.entry(key).or_insert_with(|| Bucket { left: self.full(), at: now });
        *bucket = Bucket { left: self.filled(bucket, now), at: now.max(bucket.at) };
        bucket
    }

    fn full(&self) -> Left {
        self.rates.map(|rate| rate.unwrap_or(0.0) * BURST)
    }

    /// What is left in a bucket at this time.
    fn filled(&self, bucket: &Bucket, now: Instant) -> Left {
        let seconds = now.saturating_duration_since(bucket.at).as_secs_f64();
        let (mut left, full) = (bucket.left, self.full());
        for ((left, rate), full) in left.iter_mut().zip(self.rates).zip(full) {
            *left = rate.map_or(0.0, |rate| (*left + rate * seconds).min(full));
        }
        left
    }

    /// How long until there is something left of everything.
    fn wait(&self, left: Left) -> Duration {
        let wait = |(left, rate): (f64, Option<f64>)| match rate {
            // A whole request has to be there; of the rest anything.
            Some(rate) if left < 1.0 => Duration::try_from_secs_f64((1.0 - left) / rate).unwrap_or(WAIT[1]),
            _ => Duration::ZERO,
        };
        left.into_iter().zip(self.rates).map(wait).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::from((0x0a00_0000 + number).to_be_bytes()))
    }

    fn limiter(requests: u64, bytes: u64, items: u64) -> (Limiter, Instant) {
        (Limiter::new(Rates { requests, bytes, items }), Instant::now())
    }

    #[test]
    fn a_sender_has_two_seconds_of_its_rate_at_once_and_then_its_rate() {
        let (limiter, start) = limiter(10, 0, 0);
        for _ in 0..20 {
            limiter.admit(None, address(1), start).unwrap();
        }
        assert_eq!(limiter.admit(None, address(1), start).unwrap_err(), WAIT[0]);
        limiter.admit(None, address(2), start).unwrap();
        let later = start + Duration::from_secs(1);
        let taken = (0..100).filter(|_| limiter.admit(None, address(1), later).is_ok()).count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn what_a_request_has_cost_is_taken_afterwards_and_the_debt_is_waited_for() {
        for (bytes, items) in [(7000, 1), (1, 7000)] {
            let (limiter, start) = limiter(0, 100, 100);
            let sender = limiter.admit(Some(3), None, start).unwrap();
            limiter.charge(sender, bytes, items, start);
            // 200 at once, so that 6800 are owed; it is told to ask again after a minute at most.
            assert_eq!(limiter.admit(Some(3), None, start).unwrap_err(), WAIT[1]);
            limiter.admit(Some(4), None, start).unwrap();
            let nearly = start + Duration::from_millis(67_500);
            assert_eq!(limiter.admit(Some(3), None, nearly).unwrap_err(), WAIT[0]);
            limiter.admit(Some(3), None, start + Duration::from_secs(69)).unwrap();
        }
    }

    #[test]
    fn a_token_is_one_sender_wherever_it_is_used_and_an_address_whatever_its_tokens() {
        let (limiter, start) = limiter(1, 0, 0);
        for number in 0..2 {
            limiter.admit(Some(0), address(number), start).unwrap();
        }
        assert!(limiter.admit(Some(0), address(9), start).is_err(), "the token");
        for token in 1..3 {
            limiter.admit(Some(token), address(5), start).unwrap();
        }
        assert!(limiter.admit(Some(7), address(5), start).is_err(), "the address");
        limiter.admit(Some(7), address(6), start).unwrap();
    }

    #[test]
    fn this_machine_without_a_token_and_rates_of_0_know_no_limit() {
        let (narrow, start) = limiter(1, 1, 1);
        for _ in 0..100 {
            let sender = narrow.admit(None, Some("127.0.0.1".parse().unwrap()), start).unwrap();
            narrow.charge(sender, 1 << 30, 1 << 30, start);
        }
        assert_eq!(narrow.senders(), 0);
        let (wide, start) = limiter(0, 0, 0);
        for _ in 0..100 {
            let sender = wide.admit(Some(1), address(1), start).unwrap();
            wide.charge(sender, 1 << 30, 1 << 30, start);
        }
        assert_eq!(wide.senders(), 0);
    }

    #[test]
    fn the_table_is_bounded_and_who_finds_no_place_shares_one_bucket() {
        let (limiter, start) = limiter(1, 0, 0);
        let many = u32::try_from(limits::RATE_CLIENTS).unwrap();
        for number in 0..many {
            limiter.admit(None, address(number), start).unwrap();
        }
        for number in many..many + 2 {
            limiter.admit(None, address(number), start).unwrap();
        }
        assert!(limiter.admit(None, address(many + 2), start).is_err(), "the shared bucket is empty");
        assert!(limiter.senders() <= limits::RATE_CLIENTS + 1);
        limiter.admit(None, address(0), start).expect("who has a place keeps its own bucket");
        // Those that are full again make room.
        let later = start + Duration::from_secs(5);
        limiter.admit(None, address(many + 2), later).unwrap();
        assert_eq!(limiter.senders(), 1);
    }
}
