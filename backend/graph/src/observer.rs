//! Reads rows of all signals into the ledger: one pass over a batch, nothing kept of it but what waits for another span.

use std::collections::HashMap;

use arrow_array::{Array, StringViewArray, cast::AsArray};
use devmesh_schema::{Signal, TimestampNs, stored};
use foldhash::fast::FixedState;

use crate::{
    Error, Rows,
    failure::{self, Exception},
    ledger::{Connection, Ledger, Number, PLAIN, Said, key},
    model::{Changes, Figures, Kind, Properties, Relation, Seen},
    operation::{Peer, Span, SpanKind},
    pairs::{Pairs, Seed, Unanswered},
    resource::Resources,
    rows::{ATTRIBUTES, Attributes, at, places},
};

const EXCEPTION: [usize; 1] = places(&ATTRIBUTES, ["exception.type"]);
const MESSAGE: [usize; 1] = places(&ATTRIBUTES, ["exception.message"]);
const STACK: [usize; 1] = places(&ATTRIBUTES, ["exception.stacktrace"]);

/// An incident, as the graph wants to know it.
#[derive(Clone, Debug)]
pub struct IncidentSeen {
    /// Its id.
    pub id: String,
    /// One line.
    pub title: String,
    /// `minor`, `major` or `critical`.
    pub severity: String,
    /// `open` or `closed`.
    pub state: String,
    /// From when to when; to now, while it is open.
    pub seen: Seen,
    /// The services that it concerns, by name.
    pub services: Vec<String>,
    /// The services that are thought to have brought it about, with how sure that is, 0 to 1.
    pub causes: Vec<(String, f64)>,
}

/// A machine of the fleet.
#[derive(Clone, Debug)]
pub struct ServerSeen {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The name by which its host calls itself.
    pub host: Option<String>,
    /// When it was made, and when it last sent something.
    pub seen: Seen,
}

/// Makes changes of rows.
#[derive(Debug, Default)]
pub struct Observer {
    ledger: Ledger,
    pairs: Pairs,
    refused_before: u64,
}

/// The columns of a batch of spans.
struct Spans {
    names: Option<StringViewArray>,
    kinds: Option<StringViewArray>,
    statuses: Option<StringViewArray>,
    messages: Option<StringViewArray>,
    traces: Option<StringViewArray>,
    ids: Option<StringViewArray>,
    parents: Option<StringViewArray>,
    attributes: Attributes,
}

impl Observer {
    /// Reads rows of a signal. `now`: the server's clock. `pattern` says the id and text of the
    /// pattern of a template, or of a pattern's id where rows are answered.
    ///
    /// # Errors
    /// They are not rows as a store has them.
    pub fn read(
        &mut self,
        signal: Signal,
        rows: &Rows<'_>,
        now: TimestampNs,
        pattern: &dyn Fn(&str) -> (String, String),
    ) -> Result<(), Error> {
        if rows.len() == 0 {
            return Ok(());
        }
        if self.ledger.is_full() {
            let refused_before = self.refused();
            *self = Self { refused_before, ..Self::default() };
        }
        let times = rows.times()?;
        let resources = Resources::read(rows, times.values(), &mut self.ledger)?;
        resources.note(&mut self.ledger);
        match signal {
            Signal::Traces => self.spans(rows, times.values(), &resources, now),
            Signal::Logs => self.logs(rows, times.values(), &resources, pattern),
            Signal::Metrics => Ok(()),
        }
    }

    fn spans(
        &mut self,
        rows: &Rows<'_>,
        times: &[TimestampNs],
        resources: &Resources,
        now: TimestampNs,
    ) -> Result<(), Error> {
        let columns = Spans {
            names: rows.text(stored::NAME)?,
            kinds: rows.text(stored::KIND)?,
            statuses: rows.text(stored::STATUS_CODE)?,
            messages: rows.text(stored::STATUS_MESSAGE)?,
            traces: rows.text(stored::TRACE_ID)?,
            ids: rows.text(stored::SPAN_ID)?,
            parents: rows.text(stored::PARENT_SPAN_ID)?,
            attributes: Attributes::of_records(rows)?,
        };
        let durations = rows.durations()?;
        let events = rows.children(stored::EVENTS)?;
        let links = rows.children(stored::LINKS)?;
        for (row, time) in times.iter().enumerate() {
            let Some(service) = resources.service(row) else { continue };
            let span = Span {
                attributes: &columns.attributes,
                row,
                name: at(columns.names.as_ref(), row).unwrap_or_default(),
                kind: SpanKind::of(at(columns.kinds.as_ref(), row).unwrap_or_default()),
                status: at(columns.statuses.as_ref(), row).unwrap_or_default(),
            };
            let (Some(trace), Some(id)) = (at(columns.traces.as_ref(), row), at(columns.ids.as_ref(), row)) else {
                continue;
            };
            let parent = at(columns.parents.as_ref(), row);
            let duration_ns = durations.value(row);
            let failed = span.failed();
            let seen = Seen::at(*time);
            let figures = Figures::call(failed, duration_ns);
            // What a service is asked; where nobody asks, what it begins itself.
            let asked = span.kind.serves() || (parent.is_none() && span.kind == SpanKind::Other);
            let operation = if asked { self.operation(&span, service, seen, figures) } else { None };
            let error = if failed {
                let exception = events.as_ref().and_then(|events| failure::of_events(events, row));
                let message = at(columns.messages.as_ref(), row);
                self.failed(service, operation, exception, || (span.failure(), message.map(str::to_owned)), seen)
            } else {
                None
            };
            let seed = Seed {
                key: key(&[trace, id]),
                service,
                operation,
                error,
                kind: span.kind,
                failed,
                time: *time,
                duration_ns,
            };
            self.peers(&span, &seed, parent.is_none(), seen, figures);
            let named = links.as_ref().filter(|_| span.kind == SpanKind::Consumer).map(|links| linked(links, row));
            let parent = parent.map(|parent| key(&[trace, parent]));
            self.pairs.add(seed, parent, &named.unwrap_or_default(), now, &mut self.ledger);
        }
        Ok(())
    }

    fn operation(&mut self, span: &Span<'_>, service: Number, seen: Seen, figures: Figures) -> Option<Number> {
        let name = span.operation();
        self.ledger.see(service, seen, figures);
        let owner = self.ledger.name(service);
        let parts = [&*owner, name.as_str()];
        let made = || {
            let properties = [("service".to_owned(), owner.to_string())];
            (name.clone(), Properties::from(properties))
        };
        let operation = self.ledger.node(Kind::Operation, &parts, Some(service), made)?;
        self.ledger.see(operation, seen, figures);
        self.ledger.link((operation, Relation::RunsOn, service), seen, figures, PLAIN);
        if span.kind == SpanKind::Server
            && let Some(rpc) = span.rpc_service()
        {
            self.pairs.serves_rpc(&rpc, service);
        }
        Some(operation)
    }

    /// A failure of a service. `otherwise`: what it is called and says where there is no exception.
    fn failed(
        &mut self,
        service: Number,
        operation: Option<Number>,
        exception: Option<Exception>,
        otherwise: impl FnOnce() -> (String, Option<String>),
        seen: Seen,
    ) -> Option<Number> {
        let (name, message, stack) = match exception {
            Some(exception) => (exception.kind, exception.message, exception.stack),
            None => {
                let (name, message) = otherwise();
                (name, message, None)
            }
        };
        let owner = self.ledger.name(service);
        let known = stack.map_or_else(|| name.clone(), |stack| format!("{name}#{:08x}", stack & 0xffff_ffff));
        let made = || {
            let mut properties = Properties::from([("service".to_owned(), owner.to_string())]);
            properties.extend(message.map(|message| ("message".to_owned(), message)));
            (name, properties)
        };
        let error = self.ledger.node(Kind::Error, &[&owner, &known], Some(service), made)?;
        let figures = Figures::records(1);
        self.ledger.see(error, seen, figures);
        self.ledger.link((service, Relation::Emits, error), seen, figures, PLAIN);
        if let Some(operation) = operation {
            self.ledger.link((operation, Relation::Emits, error), seen, figures, PLAIN);
        }
        Some(error)
    }

    /// Whom a span calls and who calls it, as far as no other span tells it.
    fn peers(&mut self, span: &Span<'_>, seed: &Seed, root: bool, seen: Seen, figures: Figures) {
        let service = seed.service;
        if root && span.kind == SpanKind::Server {
            let properties = Properties::from([("type".to_owned(), "user".to_owned())]);
            let user = self.ledger.node(Kind::Service, &["user"], None, || ("user".to_owned(), properties));
            let said = Said { connection: Connection::Virtual, inferred: false };
            for user in user.into_iter().filter(|user| *user != service) {
                self.ledger.link((user, Relation::Calls, service), seen, figures, said);
            }
        }
        let sort = |sort: &str| Properties::from([("type".to_owned(), sort.to_owned())]);
        match span.peer() {
            Some(Peer::Database(name)) if span.kind == SpanKind::Client => {
                let made = || (name.clone(), sort("database"));
                if let Some(database) = self.ledger.node(Kind::Service, &[&name], Some(service), made) {
                    let said = Said { connection: Connection::Database, inferred: false };
                    self.ledger.link((service, Relation::Calls, database), seen, figures, said);
                }
            }
            Some(Peer::Queue { system, name }) if matches!(span.kind, SpanKind::Producer | SpanKind::Consumer) => {
                let parts = [system.as_str(), name.as_str()];
                let made = || (format!("{system} {name}"), sort("messaging"));
                if let Some(queue) = self.ledger.node(Kind::Service, &parts, Some(service), made) {
                    let sends = span.kind == SpanKind::Producer;
                    let (from, to) = if sends { (service, queue) } else { (queue, service) };
                    let said = Said { connection: Connection::Messaging, inferred: false };
                    self.ledger.link((from, Relation::Calls, to), seen, figures, said);
                }
            }
            peer if span.kind == SpanKind::Client => {
                let peer = match peer {
                    Some(Peer::Named(name)) => Some(name.into_boxed_str()),
                    _ => None,
                };
                let rpc = span.rpc_service().map(|rpc| key(&[&rpc]));
                if peer.is_some() || rpc.is_some() {
                    self.pairs.ask(seed.key, Unanswered { caller: service, peer, rpc, seen, figures });
                }
            }
            _ => {}
        }
    }

    fn logs(
        &mut self,
        rows: &Rows<'_>,
        times: &[TimestampNs],
        resources: &Resources,
        pattern: &dyn Fn(&str) -> (String, String),
    ) -> Result<(), Error> {
        self.patterns(rows, times, resources, pattern)?;
        let attributes = Attributes::of_records(rows)?;
        for (row, time) in times.iter().enumerate() {
            let Some(kind) = attributes.first(row, &EXCEPTION) else { continue };
            let Some(service) = resources.service(row) else { continue };
            let exception = Exception {
                kind: kind.to_owned(),
                message: attributes.first(row, &MESSAGE).map(str::to_owned),
                stack: attributes.first(row, &STACK).and_then(failure::frames),
            };
            self.failed(service, None, Some(exception), || (String::new(), None), Seen::at(*time));
        }
        Ok(())
    }

    fn patterns(
        &mut self,
        rows: &Rows<'_>,
        times: &[TimestampNs],
        resources: &Resources,
        pattern: &dyn Fn(&str) -> (String, String),
    ) -> Result<(), Error> {
        let Some((texts, keys)) = rows.templates()? else { return Ok(()) };
        let levels = rows.text(stored::LEVEL)?;
        let mut counts: HashMap<(u32, Number), (Seen, u64, usize), FixedState> = HashMap::default();
        for (row, time) in times.iter().enumerate() {
            let Some(service) = resources.service(row).filter(|_| keys.is_valid(row)) else { continue };
            let (seen, count, _) = counts.entry((keys.value(row), service)).or_insert((Seen::at(*time), 0, row));
            seen.widen(Seen::at(*time));
            *count += 1;
        }
        for ((place, service), (seen, count, row)) in counts {
            let Some(Some(text)) = texts.get(place as usize) else { continue };
            let (id, text) = pattern(text);
            let made = || {
                let level = at(levels.as_ref(), row).unwrap_or_default().to_owned();
                (text, Properties::from([("level".to_owned(), level)]))
            };
            let Some(node) = self.ledger.node(Kind::Pattern, &[&id], Some(service), made) else { continue };
            self.ledger.see(node, seen, Figures::records(count));
            self.ledger.link((service, Relation::Emits, node), seen, Figures::records(count), PLAIN);
        }
        Ok(())
    }

    /// An incident is there, or has changed.
    pub fn incident(&mut self, incident: IncidentSeen) {
        let IncidentSeen { id, title, severity, state, seen, services, causes } = incident;
        let Some(node) = self.ledger.node(Kind::Incident, &[&id], None, || (title, Properties::new())) else { return };
        self.ledger.describe(node, "severity", &severity);
        self.ledger.describe(node, "state", &state);
        self.ledger.see(node, seen, Figures::default());
        for name in &services {
            if let Some(service) = self.service(name) {
                self.ledger.link((node, Relation::Affects, service), seen, Figures::default(), PLAIN);
            }
        }
        for (name, confidence) in &causes {
            if let Some(service) = self.service(name) {
                self.ledger.describe(node, "cause", name);
                self.ledger.describe(node, "confidence", &format!("{confidence:.2}"));
                self.ledger.link((node, Relation::CausedBy, service), seen, Figures::default(), PLAIN);
            }
        }
    }

    fn service(&mut self, name: &str) -> Option<Number> {
        let known = self.ledger.named(Kind::Service, name);
        known.or_else(|| self.ledger.node(Kind::Service, &[name], None, || (name.to_owned(), Properties::new())))
    }

    /// A machine of the fleet is there.
    pub fn server(&mut self, server: ServerSeen) {
        let ServerSeen { id, name, host, seen } = server;
        let Some(node) = self.ledger.node(Kind::Server, &[&id], None, || (name, Properties::new())) else { return };
        self.ledger.see(node, seen, Figures::default());
        let Some(host) = host else { return };
        let made = || (host.clone(), Properties::from([("type".to_owned(), "host".to_owned())]));
        let known = self.ledger.named(Kind::Node, &host);
        if let Some(host) = known.or_else(|| self.ledger.node(Kind::Node, &["host", &host], None, made)) {
            self.ledger.link((node, Relation::RunsOn, host), seen, Figures::default(), PLAIN);
        }
    }

    /// Time has passed: calls that nobody answered become calls to what sends no spans.
    pub fn expire(&mut self, now: TimestampNs) {
        self.pairs.expire(now, &mut self.ledger);
    }

    /// Nothing more will come that belongs to what came.
    pub fn finish(&mut self) {
        self.pairs.finish(&mut self.ledger);
    }

    /// What was seen since the last call.
    pub fn take(&mut self, now: TimestampNs) -> Changes {
        self.ledger.take(now)
    }

    /// Nodes and edges that wait to be taken.
    pub fn changes(&self) -> usize {
        self.ledger.waiting()
    }

    /// Spans that wait for others.
    pub fn waiting(&self) -> usize {
        self.pairs.waiting()
    }

    /// Things that found no room since the start.
    pub fn refused(&self) -> u64 {
        self.refused_before + self.ledger.refused()
    }
}

/// The keys of the spans that a span links to.
fn linked(links: &arrow_array::ListArray, row: usize) -> Vec<u64> {
    let list = links.value(row);
    let Some(list) = list.as_struct_opt() else { return Vec::new() };
    let column = |name: &str| list.column_by_name(name).and_then(|column| column.as_string_view_opt());
    let (Some(traces), Some(spans)) = (column("trace_id"), column("span_id")) else { return Vec::new() };
    (0..list.len()).map(|at| key(&[traces.value(at), spans.value(at)])).collect()
}
