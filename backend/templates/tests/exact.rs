//! A template and its parameters are the body, byte for byte, whatever the body is.

use devmesh_templates::{Config, MARK, MAX_TOKENS, Miner};
use proptest::prelude::*;

fn round_trip(m: &mut Miner, body: &str) -> String {
    let found = m.observe(body);
    let params: Vec<String> = found.params.iter().map(|(a, b)| body[*a as usize..*b as usize].to_owned()).collect();
    let id = found.template_id;
    let t = m.template(id).expect("the template of a match is known");
    assert_eq!(t.params(), params.len(), "{body:?} as {:?}", t.text());
    t.fill(params.iter().map(String::as_str)).expect("as many parameters as marks")
}

/// Text of the characters that matter to the tokeniser, so that its borders are met often.
fn loglike() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,6}",
        "[0-9]{1,4}",
        "[ .:/,=\\-_<>*()\\[\\]'\"#@%~\\\\+\n\t]{1,3}",
        Just("<*>".to_owned()),
        Just("0x1f".to_owned()),
        Just("Sat Jul  9 12:16:49 2005".to_owned()),
        Just("403 bytes (1.2 KB)".to_owned()),
        Just("<1 sec".to_owned()),
        Just("2026-01-02 10:00:00".to_owned()),
        Just("()".to_owned()),
        Just("é🦀".to_owned()),
        Just("\u{0}\u{7f}".to_owned()),
        Just("FF:F2:9F:16".to_owned()),
        Just("http://a/b".to_owned()),
        Just("./x".to_owned()),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|p| p.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_text_comes_back(bodies in prop::collection::vec(any::<String>(), 1..40)) {
        let mut m = Miner::new(Config { merge_every: 8, ..Config::default() });
        for b in &bodies {
            prop_assert_eq!(&round_trip(&mut m, b), b);
        }
    }

    #[test]
    fn loglike_text_comes_back_with_merges_and_a_small_table(bodies in prop::collection::vec(loglike(), 1..60)) {
        let mut m = Miner::new(Config { merge_every: 4, max_templates: 24, max_memo: 4, ..Config::default() });
        for b in bodies.iter().chain(&bodies) {
            prop_assert_eq!(&round_trip(&mut m, b), b);
        }
        prop_assert!(m.templates().len() <= 24);
    }

    #[test]
    fn words_that_become_parameters_come_back(names in prop::collection::vec("[a-z]{1,9}", 1..80)) {
        let mut m = Miner::new(Config { merge_every: 4, ..Config::default() });
        for n in &names {
            let b = format!("session opened for user {n} by door");
            prop_assert_eq!(round_trip(&mut m, &b), b);
        }
    }
}

#[test]
fn a_long_body_has_a_bounded_template() {
    let mut m = Miner::new(Config::default());
    let body = "word 1 ".repeat(200_000);
    assert_eq!(round_trip(&mut m, &body), body);
    let id = m.observe(&body).template_id;
    let t = m.template(id).expect("known");
    assert!(t.params() <= MAX_TOKENS && t.text().len() < 2_000, "{}", t.text().len());
}

#[test]
fn a_long_chunk_is_a_parameter() {
    let mut m = Miner::new(Config::default());
    let body = format!("token {} refused by peer", "x".repeat(100_000));
    assert_eq!(round_trip(&mut m, &body), body);
    let id = m.observe(&body).template_id;
    assert_eq!(m.template(id).expect("known").text(), format!("token {MARK} refused by peer"));
}

#[test]
fn a_body_that_holds_the_marker_has_it_in_a_parameter() {
    let mut m = Miner::new(Config::default());
    for body in ["a <*> b", "<<*>*> <*", "<*><*>", "a <* b *> c", "<*>*>"] {
        assert_eq!(round_trip(&mut m, body), body);
        let id = m.observe(body).template_id;
        let t = m.template(id).expect("known");
        assert_eq!(t.text().matches(MARK).count(), t.params(), "{body}");
    }
}

#[test]
fn a_parameter_too_few_or_too_many_is_refused() {
    let mut m = Miner::new(Config::default());
    let id = m.observe("took 5 of 7 slots").template_id;
    let t = m.template(id).expect("known");
    assert_eq!(t.fill(["5"]), None);
    assert_eq!(t.fill(["5", "7", "9"]), None);
    assert_eq!(t.fill(["5", "7"]).as_deref(), Some("took 5 of 7 slots"));
}

#[test]
fn bodies_made_to_be_slow_are_cut_in_linear_time_and_have_small_templates() {
    let mut m = Miner::new(Config::default());
    for piece in [
        "\n", " ", "=", "a b c\n", "\"a ", " \"", "<1", " <1", "a:", "://", "(", "()", " ()", "-", "1-", "é", "=\"",
        "_", ".", "a=1&",
    ] {
        // with a time quadratic in 1 MB this test would take minutes
        let body = piece.repeat((1 << 20) / piece.len());
        assert!(round_trip(&mut m, &body) == body, "{piece:?}");
        let id = m.observe(&body).template_id;
        let t = m.template(id).expect("known");
        assert!(t.text().len() < devmesh_templates::MAX_TOKENS * 200, "{piece:?}: {}", t.text().len());
    }
}
