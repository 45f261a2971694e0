//! Every number that a stranger can run into, with its unit and its reason.

use std::time::Duration;

/// Bytes of a compressed request body as sent (16 MiB: the OpenTelemetry Collector takes 20). A body that is not
/// compressed is bounded by the limits of what is decompressed.
pub const BODY_BYTES: usize = 16 << 20;
/// Bytes of an OTLP request after decompression: OTLP's recommended limit.
pub const REQUEST_BYTES: usize = 64 << 20;
/// Bytes of a body on the direct path after decompression.
pub const DIRECT_BYTES: usize = 32 << 20;
/// Bytes of requests that all doors of a server may hold at once; a further one waits.
pub const INTAKE_BYTES: usize = 256 << 20;
/// The same for the small agent.
pub const AGENT_INTAKE_BYTES: usize = 64 << 20;
/// How long a write waits for room before the sender is told to come back.
pub const SINK_WAIT: Duration = Duration::from_secs(5);
/// Leaf items of one request; those beyond are rejected.
pub const ITEMS: usize = 1_000_000;
/// Nesting of `AnyValue`s and of JSON (OpenTelemetry's default `AttributeValueDepthLimit`).
pub const DEPTH: usize = 64;
/// Attributes of one record; the rest is counted in `dropped_attributes_count`.
pub const ATTRIBUTES: usize = 256;
/// Bytes of an attribute's key; a longer one is cut and ends in a hash.
pub const KEY_BYTES: usize = 256;
/// Bytes of an attribute's value; a longer one is cut.
pub const VALUE_BYTES: usize = 64 << 10;
/// Bytes of a log body; a longer one is cut.
pub const LOG_BODY_BYTES: usize = 256 << 10;
/// Bytes of a metric's name.
pub const METRIC_NAME_BYTES: usize = 1024;
/// Events of a span, and links of a span.
pub const SPAN_CHILDREN: usize = 1024;
/// Buckets of a histogram point, and quantiles of a summary point: one byte of a request can be a bucket of eight.
pub const BUCKETS: usize = 65_536;
/// Attribute columns in one stored batch; further keys share one column.
pub const ATTRIBUTE_COLUMNS: usize = 256;
/// Rejections named in a receipt.
pub const REJECTIONS_NAMED: usize = 10;
/// Bytes of an error message in an answer.
pub const MESSAGE_BYTES: usize = 4 << 10;
/// A record's time further ahead than this is replaced by the time of receipt.
pub const FUTURE: Duration = Duration::from_secs(600);
/// Open connections a door holds.
pub const CONNECTIONS: usize = 1024;
/// Open connections that one client address has at one door, loopback excepted: an SDK has one or two, a browser six, and a
/// collector a few dozen; sixteen such clients fill a door.
pub const CLIENT_CONNECTIONS: usize = 64;
/// Wrong credentials from one client address in [`AUTH_WINDOW`]; then the address is told to come back later. A person
/// mistypes a few times; a machine that guesses tokens of 16 characters gets nowhere with these.
pub const AUTH_FAILURES: u32 = 10;
/// The time over which wrong credentials are counted.
pub const AUTH_WINDOW: Duration = Duration::from_secs(60);
/// Client addresses whose wrong credentials are counted at once, about 100 bytes each.
pub const AUTH_CLIENTS: usize = 10_000;
/// Client addresses whose rate is counted at once, about 150 bytes each; further ones share one rate.
pub const RATE_CLIENTS: usize = 10_000;
/// Requests that one sender may send a second: an SDK sends one every few seconds, a busy gateway some hundreds.
pub const RATE_REQUESTS: u64 = 10_000;
/// Bytes that one sender may send a second, as OTLP protobuf: more than two cores take in, and a third of 10 Gbit/s.
pub const RATE_BYTES: u64 = 384 << 20;
/// Items that one sender may send a second: more than two cores take in.
pub const RATE_ITEMS: u64 = 1_000_000;
/// How long a client may take to send its headers, and to send the first byte.
pub const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to send a body.
pub const BODY_TIME: Duration = Duration::from_secs(30);
/// Streams of one HTTP/2 connection.
pub const HTTP2_STREAMS: u32 = 128;
/// How long an HTTP/1 connection is kept between two requests, and how long a client may leave an answer unread. Longer
/// than the pauses of SDKs that export every 10 to 30 s, so that a connection is not closed under a request.
pub const IDLE_TIME: Duration = Duration::from_secs(65);
/// How long open requests may take after the stop of a server.
pub const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's headers.
pub const HEADER_BYTES: usize = 16 << 10;
/// Bytes of a request's target.
pub const URI_BYTES: usize = 8 << 10;
/// Errors listed in an answer of the direct path; the counts go on.
pub const DIRECT_ERRORS: usize = 1000;
/// Bytes of a remote write after decompression (Prometheus' own receiver takes 32 MB).
pub const REMOTE_WRITE_BYTES: usize = 32 << 20;
/// Labels of a series: each is a column of a label's name, and part of its identity.
pub const LABELS: usize = 64;
/// Bytes of a label's name: those of an attribute's key, which it becomes.
pub const LABEL_NAME_BYTES: usize = KEY_BYTES;
/// Bytes of a label's value. Loki takes 2048, and a series has no use for a text.
pub const LABEL_VALUE_BYTES: usize = 4 << 10;
/// Families of metrics whose type, help and unit a door remembers, about 300 bytes each.
pub const FAMILIES: usize = 50_000;
/// Bytes of a metric's help text; a longer one is cut.
pub const HELP_BYTES: usize = 1 << 10;
/// Buckets between those that count something that a native histogram may have, beside four for each that does: a few
/// bytes could ask for a row of millions of zeros. A sparser one is kept as text.
pub const EMPTY_BUCKETS: usize = 64;
/// Bytes of an exposition after decompression.
pub const SCRAPE_BYTES: u64 = 32 << 20;
/// Samples of one scrape; a target with more is refused as a whole, as Prometheus' `sample_limit` does.
pub const SCRAPE_SAMPLES: u64 = 100_000;
/// Processes of a machine that are measured for their processor time, and as many for their memory.
pub const HOST_PROCESSES: usize = 100;
/// Processors, disks, filesystems and network interfaces of a machine that are measured, each.
pub const HOST_PARTS: usize = 256;
/// Targets of one job.
pub const SCRAPE_TARGETS: usize = 10_000;
/// Bytes of decoded chunks of a MariaDB that are kept for the next lookup: the newest fifty or so, some 1 MiB each.
pub const CHUNK_CACHE_BYTES: usize = 64 << 20;
/// Bytes of a file, or an answer, that names targets.
pub const DISCOVERY_BYTES: u64 = 8 << 20;
/// Nodes of the graph: a company's services, operations, hosts and errors, at about 1 KB each. Beyond it the longest unseen go.
pub const GRAPH_NODES: usize = 50_000;
/// Edges of the graph, about 200 bytes each.
pub const GRAPH_EDGES: usize = 250_000;
/// Operations of one service: routes and methods, not the ids in a path that somebody named a span by.
pub const GRAPH_OPERATIONS: u32 = 500;
/// Errors of one service.
pub const GRAPH_ERRORS: u32 = 500;
/// Patterns of logs that one service has in the graph.
pub const GRAPH_PATTERNS: u32 = 2_000;
/// Databases, queues and foreign hosts that one service calls: an address may be of a machine that lives for minutes.
pub const GRAPH_PEERS: u32 = 200;
/// Spans that are remembered until a span of another service names them, about 40 bytes each: 26 s of 20,000 a second.
pub const GRAPH_WAITING: usize = 1 << 19;
/// How long they are: SDKs send every 5 s, gateways gather for 10 s, and a caller's span may end long after the called.
pub const GRAPH_WAIT: Duration = Duration::from_secs(30);
/// Edges that a neighbourhood reaches at most.
pub const GRAPH_DEPTH: usize = 10;
/// Edges that an answer has at most.
pub const GRAPH_ANSWER_EDGES: usize = 20_000;
/// Edges of the longest path that is looked for.
pub const GRAPH_PATH: usize = 32;
/// Rows that are read to make the graph again where nothing was kept: a minute of 20,000 spans a second.
pub const GRAPH_REBUILD_ROWS: usize = 1_200_000;
/// Bytes of a file of rules: some thousand rules.
pub const RULE_FILE_BYTES: usize = 4 << 20;
/// Files of rules.
pub const RULE_FILES: usize = 1_000;
/// Rules of all files and of the API: each is a query an interval.
pub const RULES: usize = 10_000;
/// Rules that can be made by the API; each is a group of its own.
pub const ALERT_RULES: usize = 1_000;
/// The shortest time between two evaluations of a group of rules.
pub const RULE_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of a rule's query.
pub const RULE_QUERY_BYTES: usize = 64 << 10;
/// Alerts of one rule, and series that one rule records: a rule with more is a slip in its grouping.
pub const RULE_SERIES: usize = 10_000;
/// Evaluations of groups of rules that run at once; further ones wait.
pub const RULE_EVALUATIONS: usize = 4;
/// Alerts that are over and kept for `/v1/alerts` and the table `alerts`, about 1 KiB each; the oldest go.
pub const ALERTS_KEPT: usize = 10_000;
/// Alerts that wait for an Alertmanager (as many as in Prometheus), or stand in the groups of the receivers.
pub const NOTIFICATIONS: usize = 10_000;
/// Bytes of the file that names receivers.
pub const RECEIVERS_BYTES: usize = 1 << 20;
