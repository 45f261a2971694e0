//! Log records of the shop.

use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use prost::Message;

use crate::{
    Plan, Request, Rng,
    shop::{self, attribute, int, text},
};

/// Resources in one request.
const GROUPS: u64 = 6;
/// Sessions open at a time.
const SESSIONS: usize = 4000;

pub(crate) struct Logs {
    plan: Plan,
    rng: Rng,
    done: u64,
    body: String,
    /// Session id and user of each open session.
    sessions: Vec<(String, usize)>,
}

impl Logs {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut rng = Rng::new(plan.seed);
        let sessions = (0..SESSIONS).map(|_| (rng.uuid(), rng.skewed(200_000, 2.0))).collect();
        Self { plan, rng, done: 0, body: String::new(), sessions }
    }

    fn group(&mut self, records: u64) -> ResourceLogs {
        let service = self.rng.skewed(shop::SERVICES.len(), 1.6);
        let instance = self.rng.below(shop::INSTANCES);
        let log_records = (0..records).map(|_| self.record(service, instance)).collect();
        let scope = shop::scope(&format!("shop.{}.Logger", shop::SERVICES[service].replace('-', "_")));
        ResourceLogs {
            resource: Some(shop::resource(service, instance)),
            scope_logs: vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }],
            schema_url: shop::SCHEMA_URL.to_owned(),
        }
    }

    fn record(&mut self, service: usize, instance: u64) -> LogRecord {
        let time = self.plan.time(self.done) + self.rng.below(500_000);
        self.done += 1;
        let (severity, template) = self.template();
        let mut body = std::mem::take(&mut self.body);
        shop::fill(&mut self.rng, template, &mut body);
        let mut record = LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: time + 1_000_000 + self.rng.below(2_000_000),
            severity_number: severity,
            severity_text: match severity {
                5 => "DEBUG",
                9 => "INFO",
                13 => "WARN",
                _ => "ERROR",
            }
            .to_owned(),
            body: Some(AnyValue { value: Some(Value::StringValue(body.clone())) }),
            attributes: self.attributes(service, instance, severity),
            ..LogRecord::default()
        };
        self.body = body;
        if self.rng.below(10) < 6 {
            record.flags = 1;
            record.trace_id = self.rng.bytes::<16>();
            record.span_id = self.rng.bytes::<8>();
        }
        record
    }

    /// Errors are the rarest.
    fn template(&mut self) -> (i32, &'static str) {
        loop {
            let template = shop::TEMPLATES[self.rng.skewed(shop::TEMPLATES.len(), 1.3)];
            if template.0 < 17 || self.rng.below(3) == 0 {
                return template;
            }
        }
    }

    fn attributes(&mut self, service: usize, instance: u64, severity: i32) -> Vec<KeyValue> {
        let rng = &mut self.rng;
        let session = rng.below(SESSIONS as u64) as usize;
        if rng.below(40) == 0 {
            self.sessions[session] = (rng.uuid(), rng.skewed(200_000, 2.0));
        }
        let (session_id, user) = &self.sessions[session];
        let status = match severity {
            17 => 500 + rng.below(4) as i64,
            13 => 400 + rng.below(30) as i64,
            _ => 200,
        };
        let mut attributes = vec![
            text("log.iostream", if severity >= 17 { "stderr" } else { "stdout" }),
            text("log.file.path", &format!("/var/log/pods/shop_{}/app/{instance}.log", shop::SERVICES[service])),
            text("thread.name", &format!("worker-{}", rng.below(64))),
            int("thread.id", 20 + rng.below(64) as i64),
            text("code.function.name", rng.pick(&["handle", "process", "receive", "execute", "run", "refresh"])),
            int("code.line.number", 10 + rng.skewed(900, 2.0) as i64),
            text("session.id", session_id),
            text("user.id", &format!("user{user:06}")),
            text("tenant.id", &format!("tenant-{:03}", user % 500)),
            text("request.id", &rng.uuid()),
            text("http.request.method", rng.pick(&["GET", "GET", "GET", "POST", "PUT", "DELETE"])),
            text("http.route", shop::ROUTES[rng.skewed(shop::ROUTES.len(), 1.7)]),
            int("http.response.status_code", status),
            text("client.address", &format!("198.51.{}.{}", rng.below(256), rng.below(256))),
            attribute("duration_ms", Value::DoubleValue((rng.long_tail(20.0) * 1000.0).round() / 1000.0)),
            attribute("sampled", Value::BoolValue(rng.below(10) == 0)),
        ];
        if severity >= 17 {
            let exception = shop::EXCEPTIONS[rng.skewed(shop::EXCEPTIONS.len(), 1.8)];
            attributes.push(text("exception.type", exception));
            attributes.push(text("exception.message", &format!("shard {} did not answer", rng.below(64))));
            attributes.push(text("exception.stacktrace", &stacktrace(rng, exception)));
        }
        attributes
    }
}

fn stacktrace(rng: &mut Rng, exception: &str) -> String {
    let mut trace = format!("{exception}: operation failed\n");
    for depth in 0..6 + rng.below(8) {
        let class = ["basket", "orders", "payments", "net", "db"][((rng.below(3) + depth) % 5) as usize];
        let line = 20 + rng.below(4) * 31 + depth * 17;
        trace += &format!("\tat shop.{class}.Handler.call(Handler.java:{line})\n");
    }
    trace
}

impl Iterator for Logs {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let records = self.plan.batch.min(self.plan.records - self.done);
        if records == 0 {
            return None;
        }
        let groups = GROUPS.min(records);
        let resource_logs =
            (0..groups).map(|group| self.group(records / groups + u64::from(group < records % groups))).collect();
        Some(Request { body: ExportLogsServiceRequest { resource_logs }.encode_to_vec(), records })
    }
}
