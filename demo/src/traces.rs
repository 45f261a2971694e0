//! Traces of the shop: a request comes in at one service and spreads.

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event, span::SpanKind, status::StatusCode},
};
use prost::Message;

use crate::{
    Plan, Request, Rng,
    shop::{self, int, text},
};

/// Spans a trace has at most.
const SPANS: u64 = 40;

pub(crate) struct Traces {
    plan: Plan,
    rng: Rng,
    done: u64,
}

/// A span and where it ran.
struct Placed {
    service: usize,
    instance: u64,
    span: Span,
}

impl Traces {
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, rng: Rng::new(plan.seed ^ 0x7ace), done: 0 }
    }

    /// One trace of 8 to 40 spans, depth first: client and server spans in turn.
    fn trace(&mut self, out: &mut Vec<Placed>) {
        let wanted = (8 + self.rng.below(SPANS - 7)).min(self.plan.records - self.done);
        let trace_id = self.rng.bytes::<16>();
        let start = self.plan.time(self.done);
        let fails = self.rng.below(20) == 0;
        let mut left = wanted;
        let total = (self.rng.long_tail(40.0) * 1e6) as u64 + 1_000_000;
        self.server(&trace_id, Vec::new(), 0, start, total, &mut left, fails, out);
        self.done += wanted - left;
        while left > 0 {
            // A service that calls nobody ends early; the rest are its internal steps.
            let parent = out.last().map(|p| (p.span.span_id.clone(), p.service, p.instance));
            let Some((parent, service, instance)) = parent else { break };
            let mut span = self.span(&trace_id, parent, start, total / 8 + 1);
            span.name = "step".to_owned();
            span.kind = SpanKind::Internal as i32;
            span.attributes = vec![int("step", left as i64)];
            out.push(Placed { service, instance, span });
            left -= 1;
            self.done += 1;
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a recursion over the call tree: all of it changes from call to call"
    )]
    fn server(
        &mut self,
        trace_id: &[u8],
        parent: Vec<u8>,
        service: usize,
        start: u64,
        duration: u64,
        left: &mut u64,
        fails: bool,
        out: &mut Vec<Placed>,
    ) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let instance = self.rng.below(shop::INSTANCES);
        let route = shop::ROUTES[self.rng.skewed(shop::ROUTES.len(), 1.7)];
        let method = self.rng.pick(&["GET", "GET", "POST"]);
        let mut span = self.span(trace_id, parent, start, duration);
        let id = span.span_id.clone();
        span.name = format!("{method} {route}");
        span.kind = SpanKind::Server as i32;
        span.attributes = vec![
            text("http.request.method", method),
            text("http.route", route),
            text("url.path", &route.replace("{sku}", "4711").replace("{id}", "815")),
            int("http.response.status_code", if fails { 500 } else { 200 }),
            text("user.id", &format!("user{:06}", self.rng.skewed(200_000, 2.0))),
            text("network.protocol.version", "1.1"),
        ];
        let callees = shop::CALLS[service];
        let fails_here = fails && (callees.is_empty() || self.rng.below(3) == 0);
        if fails {
            span.status = Some(Status { code: StatusCode::Error as i32, message: "internal error".to_owned() });
        }
        if fails_here {
            span.events.push(self.exception(start + duration / 2));
        }
        out.push(Placed { service, instance, span });
        for (n, callee) in callees.iter().enumerate() {
            if *left < 2 || self.rng.below(4) == 0 {
                continue;
            }
            let part = duration / (callees.len() as u64 + 1);
            let begin = start + part * n as u64 + 1000;
            self.client(trace_id, id.clone(), service, instance, *callee, begin, part, left, out);
            let client = out.last().map(|p| p.span.span_id.clone()).unwrap_or_default();
            self.server(trace_id, client, *callee, begin + 1000, part * 9 / 10, left, fails && n == 0, out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as for server")]
    fn client(
        &mut self,
        trace_id: &[u8],
        parent: Vec<u8>,
        service: usize,
        instance: u64,
        callee: usize,
        start: u64,
        duration: u64,
        left: &mut u64,
        out: &mut Vec<Placed>,
    ) {
        *left -= 1;
        let mut span = self.span(trace_id, parent, start, duration);
        span.name = format!("call {}", shop::SERVICES[callee]);
        span.kind = SpanKind::Client as i32;
        span.attributes = vec![
            text("server.address", shop::SERVICES[callee]),
            int("server.port", 8080),
            text("http.request.method", "GET"),
            int("http.response.status_code", 200),
        ];
        out.push(Placed { service, instance, span });
    }

    fn span(&mut self, trace_id: &[u8], parent: Vec<u8>, start: u64, duration: u64) -> Span {
        Span {
            trace_id: trace_id.to_vec(),
            span_id: self.rng.bytes::<8>(),
            parent_span_id: parent,
            start_time_unix_nano: start,
            end_time_unix_nano: start + duration + self.rng.below(1000),
            flags: 0x101,
            ..Span::default()
        }
    }

    fn exception(&mut self, time: u64) -> Event {
        let exception = shop::EXCEPTIONS[self.rng.skewed(shop::EXCEPTIONS.len(), 1.8)];
        Event {
            time_unix_nano: time,
            name: "exception".to_owned(),
            attributes: vec![
                text("exception.type", exception),
                text("exception.message", &format!("shard {} did not answer", self.rng.below(64))),
                text("exception.stacktrace", &format!("{exception}\n\tat shop.Handler.call(Handler.java:42)\n")),
            ],
            dropped_attributes_count: 0,
        }
    }
}

impl Iterator for Traces {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let mut placed = Vec::new();
        while (placed.len() as u64) < self.plan.batch && self.done < self.plan.records {
            self.trace(&mut placed);
        }
        if placed.is_empty() {
            return None;
        }
        let records = placed.len() as u64;
        placed.sort_by_key(|p| (p.service, p.instance));
        let mut resource_spans: Vec<ResourceSpans> = Vec::new();
        let mut at = None;
        for Placed { service, instance, span } in placed {
            if at != Some((service, instance)) {
                at = Some((service, instance));
                let scope = Some(shop::scope("io.opentelemetry.http"));
                resource_spans.push(ResourceSpans {
                    resource: Some(shop::resource(service, instance)),
                    scope_spans: vec![ScopeSpans { scope, ..ScopeSpans::default() }],
                    schema_url: shop::SCHEMA_URL.to_owned(),
                });
            }
            if let Some(scope) = resource_spans.last_mut().and_then(|r| r.scope_spans.last_mut()) {
                scope.spans.push(span);
            }
        }
        Some(Request { body: ExportTraceServiceRequest { resource_spans }.encode_to_vec(), records })
    }
}
