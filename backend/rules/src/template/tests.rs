use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Expands with the labels job=api, instance=a.b:90; a value of 1234.5678; and queries that answer `x`, `y` or nothing.
fn expand(text: &str) -> Result<String, String> {
    let own = labels(&[("job", "api"), ("instance", "a.b:90"), ("html", "<b>&\"x'")]);
    let external = labels(&[("region", "eu")]);
    let ask = |query: &str| match query {
        "two" => Ok(vec![
            Sample { labels: labels(&[("host", "y")]), value: 2.0 },
            Sample { labels: labels(&[("host", "x")]), value: 1.0 },
        ]),
        "none" => Ok(Vec::new()),
        _ => Err("no such query".to_owned()),
    };
    let data = Data {
        labels: &own,
        external_labels: &external,
        external_url: "https://mesh.example/base",
        value: 1234.5678,
        now: 1_435_774_251_781,
        ask: &ask,
    };
    Template::parse(text)?.expand(data)
}

#[test]
fn templates_expand_as_in_prometheus() {
    for (text, want) in [
        ("plain }} text", "plain }} text"),
        ("{{ $labels.job }}/{{ .Labels.instance }}", "api/a.b:90"),
        ("{{ $labels.none }}|{{ $externalLabels.region }}|{{ $externalURL }}", "|eu|https://mesh.example/base"),
        ("{{ $value }} {{ .Value | printf \"%.2f\" }}", "1234.5678 1234.57"),
        (
            "{{ printf \"%s %d %5.1f|%-4s|%04d %q %v %%\" \"a\" 7 2.25 \"b\" 42 \"c\" true }}",
            "a 7   2.2|b   |0042 \"c\" true %",
        ),
        ("{{ humanize $value }} {{ humanize 0.00012 }} {{ humanize 0 }}", "1.235k 120u 0"),
        ("{{ humanize1024 1048576 }} {{ humanize1024 0.5 }}", "1Mi 0.5"),
        ("{{ humanizeDuration 0.0123 }} {{ humanizeDuration 59 }} {{ humanizeDuration 3700 }}", "12.3ms 59s 1h 1m 40s"),
        ("{{ humanizeDuration 90061 }} {{ humanizeDuration -75.5 }}", "1d 1h 1m 1s -1m 15s"),
        ("{{ humanizePercentage 0.1234567 }}", "12.35%"),
        ("{{ humanizeTimestamp 1435065584.128 }}", "2015-06-23 13:19:44.128 +0000 UTC"),
        (
            "{{ (toTime 1435065584).Format \"2006-01-02T15:04:05Z07:00\" }} {{ toDuration 90.5 }}",
            "2015-06-23T13:19:44Z 1m30.5s",
        ),
        ("{{ now }}", "1.435774251781e+09"),
        ("{{ title \"hello wOrld\" }} {{ toUpper \"a\" }} {{ \"B\" | toLower }}", "Hello WOrld A b"),
        ("{{ reReplaceAll \"(.*):.*\" \"$1\" $labels.instance }} {{ match \"^a\" \"ab\" }}", "a.b true"),
        (
            "{{ stripPort $labels.instance }} {{ stripDomain $labels.instance }} {{ stripDomain \"10.0.0.1:9\" }}",
            "a.b a:90 10.0.0.1:9",
        ),
        (
            "{{ graphLink \"up > 1\" }} {{ tableLink \"up\" }}",
            "/graph?g0.expr=up+%3E+1&g0.tab=0 /graph?g0.expr=up&g0.tab=1",
        ),
        ("{{ externalURL }} {{ pathPrefix }}", "https://mesh.example/base /base"),
        ("{{ parseDuration \"1h30m\" }} {{ urlQueryEscape \"a b&c\" }}", "5400 a+b%26c"),
        ("{{ range query \"two\" }}{{ .Labels.host }}={{ .Value }} {{ end }}", "y=2 x=1 "),
        ("{{ range sortByLabel \"host\" (query \"two\") }}{{ label \"host\" . }}{{ end }}", "xy"),
        ("{{ query \"two\" | first | value }} {{ with query \"none\" }}some{{ else }}none{{ end }}", "2 none"),
        ("{{ range $i, $s := query \"two\" }}{{ $i }}{{ $s.Labels.host }}{{ end }}", "0y1x"),
        ("{{ if gt $value 1000.0 }}high{{ else if eq $labels.job \"x\" }}x{{ else }}low{{ end }}", "high"),
        ("{{ if and (eq $labels.job \"api\") (not false) }}a{{ end }}{{ if or \"\" 0 }}b{{ end }}", "a"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("a  {{- \" b \" -}}  c{{/* nothing */}}d", "a b cd"),
        ("{{ define \"t\" }}[{{ .arg0 }}:{{ .arg1 }}]{{ end }}{{ template \"t\" (args 1 \"z\") }}", "[1:z]"),
        ("{{ range $k, $v := $externalLabels }}{{ $k }}={{ $v }}{{ end }}", "region=eu"),
        ("{{ len $labels }} {{ index $labels \"job\" }} {{ slice \"hello\" 1 3 }}", "3 api el"),
        ("{{ html $labels.html }}{{ `raw }}` }}", "&lt;b&gt;&amp;&#34;x&#39;raw }}"),
        (
            "{{ range 4 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ("{{ $labels }}", "map[html:<b>&\"x' instance:a.b:90 job:api]"),
        ("{{ eq 1 2 1 }}{{ ne \"a\" \"b\" }}{{ le 1 1 }}{{ lt \"a\" \"b\" }}", "truetruetruetrue"),
    ] {
        assert_eq!(expand(text), Ok(want.to_owned()), "{text}");
    }
}

#[test]
fn what_is_no_template_is_told_when_it_is_parsed() {
    for (text, part) in [
        ("{{ $labels.x", "unclosed action"),
        ("{{ nofun }}", "function \"nofun\" not defined"),
        ("{{ $nothing }}", "undefined variable \"$nothing\""),
        ("{{ if true }}", "unexpected end"),
        ("{{ end }}", "unexpected {{end}}"),
        ("{{ else }}", "unexpected {{else}}"),
        ("{{ }}", "missing value"),
        ("{{ \"a }}", "unterminated"),
        ("{{ (1 }}", "unclosed left paren"),
        ("{{ 1) }}", "unexpected right paren"),
        ("{{ 1 | }}", "missing value"),
        ("{{ break }}", "outside {{range}}"),
        ("{{ ? }}", "unexpected"),
        ("{{ define x }}{{ end }}", "define takes a name"),
    ] {
        let error = Template::parse(text).map(|_| ()).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(Template::parse(&format!("{}1{}", "{{ ".to_owned() + &"(".repeat(60), ")".repeat(60) + " }}")).is_err());
    assert!(Template::parse(&"{{ if true }}".repeat(60)).is_err());
}

#[test]
fn what_fails_when_it_is_expanded_is_told_and_what_does_not_end_is_ended() {
    for (text, part) in [
        ("{{ query \"bad\" }}", "error calling query: no such query"),
        ("{{ first (query \"none\") }}", "no elements"),
        ("{{ toUpper 1 }}", "expected string; got int"),
        ("{{ humanize \"x\" }}", "is no number"),
        ("{{ lt 1 \"a\" }}", "incompatible types"),
        ("{{ template \"none\" }}", "not defined"),
        ("{{ index \"abc\" 9 }}", "out of range"),
        ("{{ match \"(\" \"a\" }}", "regex"),
        ("{{ 1 2 }}", "non-function"),
        ("{{ stripPort }}", "wrong number of args"),
        ("{{ define \"t\" }}{{ template \"t\" }}{{ end }}{{ template \"t\" }}", "deeper than"),
        ("{{ range 1000 }}{{ range 1000 }}x{{ end }}{{ end }}", "more than"),
        ("{{ range 190000 }}{{ end }}{{ range 190000 }}xxxxxxxxxxxxxxx{{ end }}", "more than"),
    ] {
        let error = expand(text).expect_err(text);
        assert!(error.contains(part), "{text}: {error}");
    }
}
