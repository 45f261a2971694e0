//! Recording and alerting rules, apart from where their queries are answered and where their messages go.
//!
//! [`mod@file`] reads Prometheus' rule files, [`template`] expands labels and annotations, [`alert`] is the state of an alerting
//! rule over time, [`notify`] what receivers are sent, and when. No I/O and no clock: whoever runs the rules asks the queries,
//! hands the answers in with their time, and delivers what comes out. What state there is can be written down and read back.

pub mod alert;
pub mod duration;
pub mod file;
pub mod notify;
pub mod number;
pub mod template;

use std::collections::BTreeMap;

/// Labels, or annotations: names with texts.
pub type LabelSet = BTreeMap<String, String>;

/// The label that holds an alert's name.
pub const ALERT_NAME: &str = "alertname";
