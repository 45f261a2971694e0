//! What becomes a template, what is joined into a pattern, and what stays apart. The lines are made up.

use devmesh_templates::{Config, Miner};

fn texts(lines: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<String> {
    let mut m = Miner::new(Config::default());
    for l in lines {
        m.observe(l.as_ref());
    }
    m.merge();
    m.patterns().into_iter().map(|p| p.text).collect()
}

#[test]
fn values_are_parameters_and_words_are_not() {
    let table = [
        ("listening on 127.0.0.1:8080", "listening on <*>"),
        ("listening on [::1]:8080", "listening on [<*>]:<*>"),
        ("took 12.5ms", "took <*>"),
        ("took 12 ms", "took <*> ms"),
        ("id 550e8400-e29b-41d4-a716-446655440000 gone", "id <*> gone"),
        ("open /var/lib/app/data.db failed", "open <*> failed"),
        ("open ./data/x failed", "open <*> failed"),
        ("open C:\\Temp\\x.log failed", "open <*> failed"),
        ("at Sat Jul  9 12:16:49 2005 again", "at <*> again"),
        ("at 2026-01-02 10:00:00 again", "at <*> again"),
        ("uid=0 gid=100", "uid=<*> gid=<*>"),
        ("flag is true", "flag is <*>"),
        ("register r24=0x00ff", "register r24=<*>"),
        ("free -27 slots", "free <*> slots"),
        ("peer ff:f2:9f:16:aa:01 joined", "peer <*> joined"),
        ("see https://example.org/a?b=1 for more", "see <*> for more"),
        ("done.", "done."),
        ("state: enabled......1", "state: enabled......<*>"),
    ];
    for (body, want) in table {
        assert_eq!(texts([body]), [want], "{body}");
    }
}

#[test]
fn a_name_that_takes_many_words_after_a_preposition_is_a_parameter() {
    assert_eq!(
        texts(["ann", "bob", "eve"].map(|u| format!("session opened for user {u} by door"))),
        ["session opened for user <*> by door"]
    );
}

#[test]
fn a_few_words_in_the_middle_stay_apart() {
    assert_eq!(texts(["read", "write", "seek"].map(|w| format!("disk {w} error seen"))).len(), 3);
}

#[test]
fn a_value_behind_an_equals_sign_is_a_parameter_at_the_second_word() {
    assert_eq!(
        texts(["login failed for session user=ann", "login failed for session user=bob"]),
        ["login failed for session user=<*>"]
    );
}

#[test]
fn in_a_record_of_keys_and_values_the_values_are_the_message() {
    assert_eq!(texts(["level=info msg=started", "level=info msg=stopped"]).len(), 2);
}

#[test]
fn a_word_with_a_digit_is_shown_while_it_never_varies() {
    assert_eq!(texts(["accepted by ssh2 port 5", "accepted by ssh2 port 6"]), ["accepted by ssh2 port <*>"]);
    assert_eq!(texts(["accepted by ssh2 port 5", "accepted by tls13 port 6"]), ["accepted by <*> port <*>"]);
}

#[test]
fn one_name_with_one_number_keeps_its_name() {
    assert_eq!(texts(["writing core.17", "writing core.18"]), ["writing core.<*>"]);
}

#[test]
fn a_unit_is_shown_while_it_is_the_only_one() {
    assert_eq!(texts(["sent 5 bytes to peer", "sent 7 bytes to peer"]), ["sent <*> bytes to peer"]);
    assert_eq!(texts(["sent 5 bytes to peer", "sent 7000 bytes (7 KB) to peer"]), ["sent <*> to peer"]);
}

#[test]
fn a_list_of_any_length_is_one_parameter() {
    assert_eq!(texts(["delete rows 1 2 3 4", "delete rows 1 2 3"]), ["delete rows <*>"]);
    assert_eq!(texts(["fans 1 2 3 4", "fans 5 6 7 8"]), ["fans <*> <*> <*> <*>"]);
}

#[test]
fn an_empty_pair_of_brackets_is_a_parameter_like_a_full_one() {
    assert_eq!(
        texts(["connection from 10.0.0.1 () closed", "connection from 10.0.0.2 (a1.example) closed"]),
        ["connection from <*> (<*>) closed"]
    );
}

#[test]
fn lines_of_a_stack_trace_are_one_parameter() {
    let t = texts([
        "request failed with error\n\tat a.b(C.java:1)\n\tat d.e(F.java:2)",
        "request failed with error\n\tat x.y(Z.java:9)",
    ]);
    assert_eq!(t, ["request failed with error<*>"]);
}

#[test]
fn a_pattern_keeps_its_id_when_others_join_and_their_ids_lead_to_it() {
    let mut m = Miner::new(Config::default());
    let ids: Vec<u64> =
        ["ann", "bob", "eve"].iter().map(|u| m.observe(&format!("session closed for user {u}")).template_id).collect();
    assert_eq!(m.pattern_id(ids[2]), Some(ids[2]));
    m.merge();
    for id in &ids {
        assert_eq!(m.pattern_id(*id), Some(ids[0]));
    }
    let new = m.observe("session closed for user never-seen").template_id;
    assert!(!ids.contains(&new));
    assert_eq!(m.pattern_id(new), Some(ids[0]));
    assert_eq!(m.template(new).expect("known").text(), "session closed for user <*>");
    let p = m.patterns();
    assert_eq!((p.len(), p[0].id, p[0].count), (1, ids[0], 4));
}

#[test]
fn a_widened_template_takes_over_from_the_words_it_covers() {
    let mut m = Miner::new(Config::default());
    for u in ["ann", "bob", "eve"] {
        m.observe(&format!("session closed for user {u}"));
    }
    m.merge();
    let (old, new) =
        (m.observe("session closed for user ann").template_id, m.observe("session closed for user zoe").template_id);
    assert_eq!(old, new);
}

#[test]
fn the_same_bodies_give_the_same_patterns() {
    let lines: Vec<String> = (0..3000)
        .map(|i| format!("worker w{} moved {} from {} to q{}", i % 7, i, ["a", "b", "c", "d"][i % 4], i % 3))
        .collect();
    assert_eq!(texts(&lines), texts(&lines));
}

#[test]
fn a_template_has_the_same_id_on_every_machine() {
    let mut m = Miner::new(Config::default());
    assert_eq!(m.observe("listening on port 80").template_id, 15580173188754156929);
}

#[test]
fn what_has_no_template_of_its_own_is_shown_as_a_parameter() {
    let mut m = Miner::new(Config { max_templates: 1, ..Config::default() });
    m.observe("any words");
    let p = m.patterns();
    assert_eq!((p.len(), p[0].text.as_str(), p[0].count), (1, "<*>", 1));
}
