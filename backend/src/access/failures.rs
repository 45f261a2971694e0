//! Wrong credentials, counted by client address, so that nobody guesses tokens at the speed of the network (S23).
//!
//! Only credentials that are wrong count, a browser's first request has none, and only they are slowed: right ones from
//! the same address belong to somebody else, who would else be locked out by whoever guesses beside him. This machine is
//! not counted: behind a proxy on it stand many clients.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use devmesh_collector::serve::client;
use devmesh_schema::limits;

/// The failures of the last [`limits::AUTH_WINDOW`]. Cloning shares them.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures(Arc<Mutex<HashMap<IpAddr, Count>>>);

#[derive(Clone, Copy, Debug)]
struct Count {
    since: Instant,
    failures: u32,
}

impl Count {
    /// How long until the failures are forgotten.
    fn left(&self, now: Instant) -> Duration {
        limits::AUTH_WINDOW.saturating_sub(now.saturating_duration_since(self.since))
    }
}

impl Failures {
    /// How long an address has to wait after its wrong credentials.
    pub(super) fn wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = client(address)?;
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&address).filter(|count| count.failures >= limits::AUTH_FAILURES)?;
        Some(count.left(now)).filter(|left| !left.is_zero())
    }

    /// Counts a failure. While [`limits::AUTH_CLIENTS`] addresses are counted, further ones are not.
    pub(super) fn add(&self, address: IpAddr, now: Instant) {
        let Some(address) = client(address) else { return };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= limits::AUTH_CLIENTS && !counts.contains_key(&address) {
            counts.retain(|_, count| !count.left(now).is_zero());
            if counts.len() >= limits::AUTH_CLIENTS {
                return;
            }
        }
        let count = counts.entry(address).or_insert(Count { since: now, failures: 0 });
        if count.left(now).is_zero() {
            *count = Count { since: now, failures: 0 };
        }
        count.failures += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_waits_after_so_many_failures_and_this_machine_never() {
        let (failures, start) = (Failures::default(), Instant::now());
        let (one, other, here) = ("192.0.2.1", "192.0.2.2", "127.0.0.1");
        let [one, other, here] = [one, other, here].map(|address| address.parse().unwrap());
        for _ in 0..limits::AUTH_FAILURES {
            assert_eq!(failures.wait(one, start), None);
            failures.add(one, start);
            failures.add(here, start);
        }
        let later = start + Duration::from_secs(20);
        assert_eq!(failures.wait(one, later), Some(limits::AUTH_WINDOW - Duration::from_secs(20)));
        assert_eq!((failures.wait(other, later), failures.wait(here, later)), (None, None));
        let over = start + limits::AUTH_WINDOW;
        assert_eq!(failures.wait(one, over), None);
        failures.add(one, over);
        assert_eq!(failures.wait(one, over), None, "counting begins anew");
    }

    #[test]
    fn what_is_kept_is_bounded_and_makes_room() {
        let (failures, start) = (Failures::default(), Instant::now());
        let address = |number: usize| IpAddr::from(u32::try_from(0x0a00_0000 + number).unwrap().to_be_bytes());
        for number in 0..limits::AUTH_CLIENTS + 5 {
            failures.add(address(number), start);
        }
        assert_eq!(failures.0.lock().unwrap().len(), limits::AUTH_CLIENTS);
        failures.add(address(limits::AUTH_CLIENTS), start + limits::AUTH_WINDOW);
        assert_eq!(failures.0.lock().unwrap().len(), 1);
    }
}
