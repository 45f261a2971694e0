//! How many connections each client address holds, so that one client cannot take all of a door's.
//!
//! Addresses of loopback count for nothing: behind a proxy on this machine stand many clients. A client on IPv6 has a
//! network of its own to choose addresses from, so the first 64 bits of one count as the client.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

use devmesh_schema::limits;

/// The connections of each client.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection's place among those of its client, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    peers: Peers,
    /// `None` where the client is not counted.
    client: Option<IpAddr>,
}

impl Peers {
    /// A place for a connection from `address`; `None` where its client has [`limits::CLIENT_CONNECTIONS`].
    pub(super) fn enter(&self, address: IpAddr) -> Option<Place> {
        let client = client(address);
        if let Some(client) = client {
            let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(client).or_default();
            if *count >= limits::CLIENT_CONNECTIONS {
                return None;
            }
            *count += 1;
        }
        Some(Place { peers: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut counts = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&client);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or a network of IPv6; `None` for this machine.
pub fn client(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    match address {
        _ if address.is_loopback() => None,
        IpAddr::V4(_) => Some(address),
        IpAddr::V6(address) => Some(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_so_many_connections_and_this_machine_any_number() {
        let peers = Peers::default();
        let enter = |address: &str| peers.enter(address.parse().unwrap());
        for (first, same, other) in
            [("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1")]
        {
            let mut held: Vec<_> = (0..limits::CLIENT_CONNECTIONS).map(|_| enter(first).unwrap()).collect();
            assert!(enter(first).is_none() && enter(same).is_none(), "{first}");
            assert!(enter(other).is_some(), "{other}");
            held.pop();
            assert!(enter(same).is_some(), "a place that was given back");
        }
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            let held: Vec<_> = (0..=limits::CLIENT_CONNECTIONS).map(|_| enter(address)).collect();
            assert!(held.iter().all(Option::is_some), "{address}");
        }
        assert!(peers.0.lock().unwrap().is_empty(), "nothing is kept of clients that left");
    }
}
