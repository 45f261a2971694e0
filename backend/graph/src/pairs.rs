//! What two spans tell together: who called whom, and which failure brought about which. Either may come first, and they come
//! from different processes, so that each waits for the other for a while, in a bounded number.

use std::collections::{HashMap, VecDeque};

use devmesh_schema::{TimestampNs, limits};
use foldhash::fast::FixedState;

use crate::{
    ledger::{Connection, Ledger, Number, PLAIN, Said, key},
    model::{Figures, Kind, Properties, Relation, Seen},
    operation::SpanKind,
};

/// What of a span matters to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    /// A hash of trace and span id.
    pub(crate) key: u64,
    pub(crate) service: Number,
    pub(crate) operation: Option<Number>,
    pub(crate) error: Option<Number>,
    pub(crate) kind: SpanKind,
    pub(crate) failed: bool,
    pub(crate) time: TimestampNs,
    pub(crate) duration_ns: i64,
}

/// A span that others may name.
#[derive(Clone, Copy, Debug)]
struct Parent {
    service: Number,
    error: Option<Number>,
    kind: SpanKind,
    failed: bool,
}

/// A span whose parent has not come.
#[derive(Clone, Copy, Debug)]
struct Child {
    seed: Seed,
    /// By a link: then it calls nobody but a producer.
    linked: bool,
}

/// What waits under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// The span itself, for those that name it.
    Parent,
    /// Those that name it.
    Children,
}

/// A call of which no span of the called has come.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    pub(crate) caller: Number,
    /// A service or host by its name.
    pub(crate) peer: Option<Box<str>>,
    /// The service of the remote procedure.
    pub(crate) rpc: Option<u64>,
    pub(crate) seen: Seen,
    pub(crate) figures: Figures,
}

/// Spans that wait for others.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    parents: HashMap<u64, Parent, FixedState>,
    children: HashMap<u64, Vec<Child>, FixedState>,
    unanswered: HashMap<u64, Unanswered, FixedState>,
    /// What waits, in the order in which it came, with when it came.
    order: VecDeque<(u64, Waits, TimestampNs)>,
    /// Which service answers a remote procedure's service.
    rpc: HashMap<u64, Number, FixedState>,
}

impl Pairs {
    /// A span came: it is joined with those that wait for it. `parent`: the key of its parent; `links`: of the spans that it names.
    pub(crate) fn add(
        &mut self,
        seed: Seed,
        parent: Option<u64>,
        links: &[u64],
        now: TimestampNs,
        ledger: &mut Ledger,
    ) {
        let me = Parent { service: seed.service, error: seed.error, kind: seed.kind, failed: seed.failed };
        if let Some(children) = self.children.remove(&seed.key) {
            children.into_iter().for_each(|child| self.join(seed.key, me, child, ledger));
        }
        self.order.push_back((seed.key, Waits::Parent, now));
        self.parents.insert(seed.key, me);
        let links = links.iter().map(|link| (*link, true));
        for (other, linked) in
            parent.filter(|_| seed.kind.serves() || seed.failed).map(|p| (p, false)).into_iter().chain(links)
        {
            let child = Child { seed, linked };
            match self.parents.get(&other) {
                Some(parent) => self.join(other, *parent, child, ledger),
                None => {
                    self.order.push_back((other, Waits::Children, now));
                    self.children.entry(other).or_default().push(child);
                }
            }
        }
        while self.order.len() > limits::GRAPH_WAITING {
            self.drop_oldest(ledger);
        }
    }

    /// A call that a span of the called may still answer; where none does, it is one to the peer.
    pub(crate) fn ask(&mut self, key: u64, call: Unanswered) {
        self.unanswered.insert(key, call);
    }

    /// A service answers a remote procedure's service.
    pub(crate) fn serves_rpc(&mut self, rpc: &str, service: Number) {
        if self.rpc.len() < limits::GRAPH_NODES {
            self.rpc.insert(key(&[rpc]), service);
        }
    }

    fn join(&mut self, key: u64, parent: Parent, child: Child, ledger: &mut Ledger) {
        let Child { seed, linked } = child;
        let seen = Seen::at(seed.time);
        let calls =
            seed.kind.serves() && parent.service != seed.service && (!linked || parent.kind == SpanKind::Producer);
        if calls {
            let said = match parent.kind {
                SpanKind::Producer => Said { connection: Connection::Messaging, inferred: false },
                kind => Said { connection: Connection::Call, inferred: !kind.asks() },
            };
            let figures = Figures::call(seed.failed || parent.failed, seed.duration_ns);
            ledger.link((parent.service, Relation::Calls, seed.service), seen, figures, said);
            if let Some(operation) = seed.operation {
                ledger.link((parent.service, Relation::Calls, operation), seen, figures, said);
            }
            self.unanswered.remove(&key);
        }
        if let (Some(effect), Some(cause), false) = (parent.error, seed.error, linked) {
            ledger.link((effect, Relation::CausedBy, cause), seen, Figures::records(1), PLAIN);
        }
    }

    /// Lets go of what has waited long enough.
    pub(crate) fn expire(&mut self, now: TimestampNs, ledger: &mut Ledger) {
        let wait = i64::try_from(limits::GRAPH_WAIT.as_nanos()).unwrap_or(i64::MAX);
        while self.order.front().is_some_and(|(.., came)| now.saturating_sub(*came) >= wait) {
            self.drop_oldest(ledger);
        }
    }

    /// Lets go of everything: nothing more will come.
    pub(crate) fn finish(&mut self, ledger: &mut Ledger) {
        while !self.order.is_empty() {
            self.drop_oldest(ledger);
        }
    }

    fn drop_oldest(&mut self, ledger: &mut Ledger) {
        let Some((key, waits, _)) = self.order.pop_front() else { return };
        if waits == Waits::Children {
            self.children.remove(&key);
            return;
        }
        self.parents.remove(&key);
        let Some(call) = self.unanswered.remove(&key) else { return };
        let Some(called) = self.called(&call, ledger) else { return };
        let said = Said { connection: Connection::Virtual, inferred: false };
        ledger.link((call.caller, Relation::Calls, called), call.seen, call.figures, said);
    }

    /// Who was called: who usually answers that remote procedure, the service of that name, or a node for what sends no spans.
    fn called(&self, call: &Unanswered, ledger: &mut Ledger) -> Option<Number> {
        if let Some(service) = call.rpc.and_then(|rpc| self.rpc.get(&rpc)) {
            return Some(*service);
        }
        let peer = call.peer.as_deref()?;
        // `cart.shop.svc.cluster.local` is the service `cart`; `10.0.0.7` is none called `10`.
        let label = peer.split('.').next().filter(|label| !label.bytes().all(|byte| byte.is_ascii_digit()));
        let known =
            ledger.named(Kind::Service, peer).or_else(|| label.and_then(|label| ledger.named(Kind::Service, label)));
        known.or_else(|| {
            let properties = Properties::from([("type".to_owned(), "external".to_owned())]);
            ledger.node(Kind::Service, &[peer], Some(call.caller), || (peer.to_owned(), properties))
        })
    }

    /// How many spans wait.
    pub(crate) fn waiting(&self) -> usize {
        self.order.len()
    }
}
