//! Prometheus' rule files: groups of rules, each with what is wrong with it named by group and rule.
//!
//! A file for Prometheus works as it is. Beyond it an alerting rule may have `sql` in the place of `expr`.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    time::Duration,
};

use devmesh_promql::{NAME, Query as Promql};
use devmesh_schema::limits;
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_yaml_ng::{Mapping, Value};

use crate::{LabelSet, duration, template::Template};

/// How far a selector looks back; of no consequence for whether it is one.
const LOOKBACK: Duration = Duration::from_secs(300);

/// Rules that are evaluated one after the other, at the same time.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its name, once in a file.
    pub name: String,
    /// Time between two evaluations; `None`: that of the settings.
    pub interval: Option<Duration>,
    /// How far in the past its queries are answered; `None`: now.
    pub query_offset: Option<Duration>,
    /// Alerts of an alerting rule, and series of a recording one, at most; 0: any number.
    pub limit: usize,
    /// Its rules, in their order.
    pub rules: Vec<Rule>,
}

/// What a rule asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// PromQL: its series are the alerts, or what is recorded.
    Promql(String),
    /// SQL: its rows are the alerts, their columns the labels, the column `value` the value.
    Sql(String),
}

impl Query {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Query::Promql(text) | Query::Sql(text) => text,
        }
    }
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The alert's name, or the name of the series.
    pub name: String,
    /// What it asks.
    pub query: Query,
    /// Labels that it adds, the group's among them; templates, where it is an alert.
    pub labels: BTreeMap<String, Template>,
    /// What it does with the answer.
    pub action: Action,
}

/// What a rule does with the answer to its query.
#[derive(Clone, Debug)]
pub enum Action {
    /// Writes it as series.
    Record,
    /// Makes alerts of it.
    Alert {
        /// How long a result has to be there before the alert fires.
        hold: Duration,
        /// How long the alert goes on once the result is gone.
        keep: Duration,
        /// What people are told.
        annotations: BTreeMap<String, Template>,
    },
}

impl Rule {
    /// The labels as they stand in the file.
    pub fn label_texts(&self) -> LabelSet {
        texts(&self.labels)
    }

    /// Whether it makes alerts.
    pub fn is_alert(&self) -> bool {
        matches!(self.action, Action::Alert { .. })
    }
}

/// The texts of templates.
pub fn texts(templates: &BTreeMap<String, Template>) -> LabelSet {
    templates.iter().map(|(name, template)| (name.clone(), template.text().to_owned())).collect()
}

/// What is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The group.
    pub group: Option<String>,
    /// The rule, counted from 1, and its name.
    pub rule: Option<(usize, String)>,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(group) = &self.group {
            write!(f, "group {group:?}, ")?;
        }
        if let Some((number, name)) = &self.rule {
            write!(f, "rule {number}, {name:?}: ")?;
        }
        f.write_str(&self.text)
    }
}

/// A rule as it is written, in a file or sent as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fields {
    /// The name of the series that it records.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub record: String,
    /// The name of the alert.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub alert: String,
    /// PromQL.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub expr: String,
    /// SQL, in its place.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub sql: String,
    /// How long before it fires.
    #[serde(rename = "for", deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub hold: String,
    /// How long it goes on.
    #[serde(deserialize_with = "text", skip_serializing_if = "String::is_empty")]
    pub keep_firing_for: String,
    /// Labels to add.
    #[serde(deserialize_with = "map", skip_serializing_if = "LabelSet::is_empty")]
    pub labels: LabelSet,
    /// Annotations.
    #[serde(deserialize_with = "map", skip_serializing_if = "LabelSet::is_empty")]
    pub annotations: LabelSet,
}

/// A scalar as a text: `severity: 1` is "1".
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }
            fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
                Ok(Text(String::new()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Text::deserialize(deserializer).map(|Text(text)| text)
}

fn map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LabelSet, D::Error> {
    let all: Option<BTreeMap<String, Text>> = Deserialize::deserialize(deserializer)?;
    Ok(all.unwrap_or_default().into_iter().map(|(name, Text(text))| (name, text)).collect())
}

/// Reads a file's text.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(content: &str) -> Result<Vec<Group>, Vec<Problem>> {
    let whole = |text: String| vec![Problem { group: None, rule: None, text }];
    if content.len() > limits::RULE_FILE_BYTES {
        return Err(whole(format!("it has more than {} bytes", limits::RULE_FILE_BYTES)));
    }
    let mut value: Value = serde_yaml_ng::from_str(content).map_err(|error| whole(format!("no YAML: {error}")))?;
    value.apply_merge().map_err(|error| whole(format!("no YAML: {error}")))?;
    let mut top = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Mapping(top) => top,
        _ => return Err(whole("it has to be a mapping with the key `groups`".to_owned())),
    };
    let groups = top.remove("groups").unwrap_or(Value::Null);
    if let Some(key) = top.keys().next() {
        return Err(whole(format!("there is no key {}; there is: groups", shown(key))));
    }
    let groups = match groups {
        Value::Null => Vec::new(),
        Value::Sequence(groups) => groups,
        _ => return Err(whole("groups: it has to be a list".to_owned())),
    };
    let (mut read, mut problems, mut names) = (Vec::new(), Vec::new(), HashSet::new());
    for group in groups {
        match Reader::default().group(group) {
            (Some(group), mut found) => {
                if !names.insert(group.name.clone()) {
                    let text = "this group's name is repeated in the same file".to_owned();
                    found.push(Problem { group: Some(group.name.clone()), rule: None, text });
                }
                problems.append(&mut found);
                read.push(group);
            }
            (None, mut found) => problems.append(&mut found),
        }
    }
    let rules: usize = read.iter().map(|group| group.rules.len()).sum();
    if rules > limits::RULES {
        return Err(whole(format!("it has {rules} rules, more than {}", limits::RULES)));
    }
    if problems.is_empty() { Ok(read) } else { Err(problems) }
}

fn shown(key: &Value) -> String {
    key.as_str().map_or_else(|| format!("{key:?}"), |key| format!("`{}`", key.chars().take(64).collect::<String>()))
}

/// Reads one group, and notes what is wrong with it.
#[derive(Default)]
struct Reader {
    group: String,
    problems: Vec<Problem>,
}

impl Reader {
    fn wrong(&mut self, text: impl Into<String>) {
        self.problems.push(Problem { group: Some(self.group.clone()), rule: None, text: text.into() });
    }

    fn group(mut self, value: Value) -> (Option<Group>, Vec<Problem>) {
        let Value::Mapping(mut map) = value else {
            self.wrong("it has to be a mapping");
            return (None, self.problems);
        };
        self.group = map.remove("name").and_then(|name| scalar(&name)).unwrap_or_default();
        if self.group.is_empty() {
            self.wrong("a group has to have a name");
        }
        let interval = self.duration(&mut map, "interval");
        let query_offset = self.duration(&mut map, "query_offset");
        if interval.is_some_and(|interval| interval < limits::RULE_INTERVAL && !interval.is_zero()) {
            self.wrong(format!("interval: the shortest is {}", duration::format(limits::RULE_INTERVAL)));
        }
        let limit = match map.remove("limit") {
            None | Some(Value::Null) => 0,
            Some(limit) => limit.as_u64().and_then(|limit| usize::try_from(limit).ok()).unwrap_or_else(|| {
                self.wrong("limit: it has to be a whole number");
                0
            }),
        };
        let labels: LabelSet = match map.remove("labels").map(serde_yaml_ng::from_value::<Labels>) {
            None => LabelSet::new(),
            Some(Ok(Labels(labels))) => labels,
            Some(Err(error)) => {
                self.wrong(format!("labels: {error}"));
                LabelSet::new()
            }
        };
        let rules = match map.remove("rules") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Sequence(rules)) => rules,
            Some(_) => {
                self.wrong("rules: it has to be a list");
                Vec::new()
            }
        };
        if let Some(key) = map.keys().next() {
            let names = "name, interval, query_offset, limit, labels, rules";
            self.wrong(format!("there is no key {}; there are: {names}", shown(key)));
        }
        let rules =
            rules.into_iter().enumerate().filter_map(|(number, rule)| self.rule(number + 1, rule, &labels)).collect();
        let interval = interval.filter(|interval| !interval.is_zero());
        let group = Group { name: self.group.clone(), interval, query_offset, limit, rules };
        (Some(group), self.problems)
    }

    fn duration(&mut self, map: &mut Mapping, key: &str) -> Option<Duration> {
        let value = map.remove(key).filter(|value| !value.is_null())?;
        let parsed = scalar(&value).ok_or_else(|| "it has to be a length of time".to_owned());
        match parsed.and_then(|text| duration::parse(&text)) {
            Ok(duration) => Some(duration),
            Err(error) => {
                self.wrong(format!("{key}: {error}"));
                None
            }
        }
    }

    fn rule(&mut self, number: usize, value: Value, group: &LabelSet) -> Option<Rule> {
        let name = |key: &str| value.get(key).and_then(scalar).filter(|name| !name.is_empty());
        let name = name("alert").or_else(|| name("record")).unwrap_or_default();
        let place = Some((number, name));
        let read = serde_yaml_ng::from_value::<Fields>(value).map_err(|error| vec![error.to_string()]);
        match read.and_then(|fields| rule(fields, group)) {
            Ok(rule) => Some(rule),
            Err(found) => {
                let group = Some(self.group.clone());
                let problem = |text| Problem { group: group.clone(), rule: place.clone(), text };
                self.problems.extend(found.into_iter().map(problem));
                None
            }
        }
    }
}

#[derive(Deserialize)]
struct Labels(#[serde(deserialize_with = "map")] LabelSet);

fn scalar(value: &Value) -> Option<String> {
    serde_yaml_ng::from_value::<Text>(value.clone()).ok().map(|Text(text)| text)
}

/// Checks a rule, with the labels of its group.
///
/// # Errors
/// All that is wrong with it.
pub fn rule(fields: Fields, group: &LabelSet) -> Result<Rule, Vec<String>> {
    let mut problems = Vec::new();
    let Fields { record, alert, expr, sql, hold, keep_firing_for, labels, annotations } = fields;
    match (record.is_empty(), alert.is_empty()) {
        (false, false) => problems.push("only one of 'record' and 'alert' must be set".to_owned()),
        (true, true) => problems.push("one of 'record' or 'alert' must be set".to_owned()),
        _ => {}
    }
    let records = !record.is_empty();
    let query = query(expr, sql, records).map_err(|problem| problems.push(problem)).ok();
    let mut time = |key: &str, text: &str| {
        let parsed = if text.is_empty() { Ok(Duration::ZERO) } else { duration::parse(text) };
        parsed.unwrap_or_else(|error| {
            problems.push(format!("{key}: {error}"));
            Duration::ZERO
        })
    };
    let (hold, keep) = (time("for", &hold), time("keep_firing_for", &keep_firing_for));
    if records {
        for (key, given) in
            [("annotations", !annotations.is_empty()), ("for", !hold.is_zero()), ("keep_firing_for", !keep.is_zero())]
        {
            if given {
                problems.push(format!("invalid field '{key}' in recording rule"));
            }
        }
        if record.contains(['{', '}']) {
            problems.push(format!("braces present in the recording rule name; should it be in expr?: {record}"));
        }
    }
    if record.len().max(alert.len()) > limits::METRIC_NAME_BYTES {
        problems.push(format!("a name has at most {} bytes", limits::METRIC_NAME_BYTES));
    }
    let mut all = group.clone();
    all.extend(labels);
    if all.len() > limits::LABELS || annotations.len() > limits::LABELS {
        problems.push(format!("a rule has at most {} labels, and as many annotations", limits::LABELS));
    }
    let labels = templates("label", all, records, &mut problems);
    let annotations = templates("annotation", annotations, false, &mut problems);
    let action = if records { Action::Record } else { Action::Alert { hold, keep, annotations } };
    let name = if records { record } else { alert };
    match query {
        Some(query) if problems.is_empty() => Ok(Rule { name, query, labels, action }),
        _ => Err(problems),
    }
}

fn query(expr: String, sql: String, records: bool) -> Result<Query, String> {
    if expr.len().max(sql.len()) > limits::RULE_QUERY_BYTES {
        return Err(format!("a query has at most {} bytes", limits::RULE_QUERY_BYTES));
    }
    match (expr.trim().is_empty(), sql.trim().is_empty()) {
        (true, true) => Err("field 'expr' must be set in rule".to_owned()),
        (false, false) => Err("only one of 'expr' and 'sql' must be set".to_owned()),
        (true, false) if records => Err("invalid field 'sql' in recording rule".to_owned()),
        (true, false) => Ok(Query::Sql(sql)),
        (false, true) => {
            let parsed = Promql::instant(&expr, 0, LOOKBACK);
            parsed.map_err(|error| format!("could not parse expression: {error}"))?;
            Ok(Query::Promql(expr))
        }
    }
}

fn templates(kind: &str, all: LabelSet, plain: bool, problems: &mut Vec<String>) -> BTreeMap<String, Template> {
    let mut out = BTreeMap::new();
    for (name, text) in all {
        if name.is_empty() || name.len() > limits::LABEL_NAME_BYTES || (kind == "label" && name == NAME) {
            problems.push(format!("invalid {kind} name: {name}"));
        }
        // What is recorded has its labels as they are written.
        let parsed = if plain { Ok(Template::plain(&text)) } else { Template::parse(&text) };
        match parsed {
            Ok(template) => drop(out.insert(name, template)),
            Err(error) => problems.push(format!("{kind} {name:?}: {error}")),
        }
    }
    out
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
