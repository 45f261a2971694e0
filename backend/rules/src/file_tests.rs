use super::*;

const WHOLE: &str = r#"
groups:
- name: example
  interval: 30s
  limit: 10
  query_offset: 1m
  labels: {team: shop, severity: low}
  rules:
  - record: job:requests:rate5m
    expr: sum by (job) (rate(requests_total[5m]))
    labels: {source: "{{ as it is }}"}
  - alert: Slow
    expr: latency > 0.5
    for: 10m
    keep_firing_for: 1m30s
    labels: {severity: page, level: 1}
    annotations:
      summary: '{{ $labels.job }} takes {{ $value | humanizeDuration }}'
  - alert: Errors
    sql: SELECT service, count(*) AS value FROM logs WHERE level = 'ERROR' GROUP BY service
- name: other
  rules: []
"#;

#[test]
fn a_file_of_prometheus_is_read_and_a_group_gives_its_labels_to_its_rules() {
    let groups = parse(WHOLE).unwrap();
    assert_eq!(groups.len(), 2);
    let group = &groups[0];
    assert_eq!((group.interval, group.limit), (Some(Duration::from_secs(30)), 10));
    assert_eq!(group.query_offset, Some(Duration::from_secs(60)));
    let [recording, slow, errors] = group.rules.as_slice() else { panic!("{:?}", group.rules) };
    assert!(!recording.is_alert());
    assert_eq!(recording.label_texts()["source"], "{{ as it is }}");
    assert_eq!(slow.label_texts(), LabelSet::from([("team", "shop"), ("severity", "page"), ("level", "1")].map(own)));
    let Action::Alert { hold, keep, annotations } = &slow.action else { panic!("no alert") };
    assert_eq!((hold.as_secs(), keep.as_secs()), (600, 90));
    assert!(annotations["summary"].text().contains("humanizeDuration"));
    assert!(matches!(&errors.query, Query::Sql(sql) if sql.starts_with("SELECT")));
    assert_eq!(errors.label_texts()["severity"], "low");
    for empty in ["", "groups:", "groups: []", "# nothing\n"] {
        assert!(parse(empty).unwrap().is_empty(), "{empty}");
    }
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn what_is_wrong_is_named_with_its_group_and_rule() {
    let rule = |rule: &str| format!("groups:\n- name: g\n  rules:\n  - {rule}\n");
    for (text, parts) in [
        (rule("{alert: A, expr: 'up =='}"), vec!["group \"g\", rule 1, \"A\": could not parse expression"]),
        (rule("{alert: A, expr: 'nothing(up)'}"), vec!["rule 1, \"A\"", "nothing"]),
        (rule("{alert: A, expr: up, fro: 5m}"), vec!["rule 1, \"A\"", "fro"]),
        (rule("{alert: A, expr: up, for: 5}"), vec!["rule 1, \"A\"", "for: not a valid duration string: \"5\""]),
        (rule("{alert: A, record: b, expr: up}"), vec!["only one of 'record' and 'alert'"]),
        (rule("{expr: up}"), vec!["one of 'record' or 'alert'"]),
        (rule("{alert: A}"), vec!["'expr' must be set"]),
        (rule("{alert: A, expr: up, sql: SELECT 1}"), vec!["only one of 'expr' and 'sql'"]),
        (rule("{record: a, sql: SELECT 1}"), vec!["invalid field 'sql' in recording rule"]),
        (rule("{record: 'sum(x)', expr: up, for: 1m}"), vec!["invalid field 'for' in recording rule"]),
        (rule("{record: 'a{b=\"c\"}', expr: up}"), vec!["braces present in the recording rule name"]),
        (rule("{alert: A, expr: up, labels: {__name__: x}}"), vec!["invalid label name: __name__"]),
        (rule("{alert: A, expr: up, annotations: {a: '{{ $labels.x'}}"), vec!["annotation \"a\": unclosed action"]),
        (
            rule("{alert: A, expr: up, labels: {a: '{{ nofun 1 }}'}}"),
            vec!["label \"a\": function \"nofun\" not defined"],
        ),
        (rule("{alert: A, expr: up, labels: {a: [1]}}"), vec!["rule 1, \"A\"", "expected a text"]),
        (rule("just text"), vec!["group \"g\", rule 1"]),
        ("groups:\n- rules: []\n".to_owned(), vec!["a group has to have a name"]),
        ("groups:\n- name: g\n- name: g\n".to_owned(), vec!["group \"g\"", "repeated in the same file"]),
        ("groups:\n- name: g\n  intervall: 1m\n".to_owned(), vec!["group \"g\"", "`intervall`", "interval"]),
        ("groups:\n- name: g\n  interval: 10ms\n".to_owned(), vec!["interval: the shortest is 1s"]),
        ("groups:\n- name: g\n  limit: -1\n".to_owned(), vec!["limit"]),
        ("rules: []\n".to_owned(), vec!["`rules`", "groups"]),
        ("groups: {a: 1}\n".to_owned(), vec!["groups: it has to be a list"]),
        ("groups: [\n".to_owned(), vec!["no YAML"]),
        ("- a\n".to_owned(), vec!["`groups`"]),
    ] {
        let problems = parse(&text).expect_err(&text);
        let shown: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
        for part in parts {
            assert!(shown.contains(part), "{text}\n{shown} lacks {part}");
        }
    }
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let text =
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: '('}\n  - {alert: B, expr: up}\n  - {alert: C, for: x}\n";
    let problems = parse(text).unwrap_err();
    let places: Vec<_> = problems.iter().map(|problem| problem.rule.clone().unwrap().0).collect();
    assert_eq!(places, [1, 3, 3], "{problems:?}");
}

#[test]
fn a_file_has_bounds() {
    let long = format!("groups: []\n#{}", "x".repeat(limits::RULE_FILE_BYTES));
    assert!(parse(&long).unwrap_err()[0].text.contains("more than"));
    let query = format!("groups: [{{name: g, rules: [{{alert: A, expr: '{}'}}]}}]", "1+".repeat(40_000) + "1");
    assert!(parse(&query).unwrap_err()[0].text.contains("a query has at most"));
}
