use super::*;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn flags_stand_above_the_environment_above_the_file_above_the_defaults() {
    let file = "[forward]\nto = \"http://file:1\"\n[journald]\nbatch_size = 7\nunits = [\"a\"]\n[queue]\nmax_bytes = 2000000\n";
    let env = env(&[
        ("DEVMESH_FORWARD_TO", "http://env:1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://old:1"),
        ("SHIPPER_BATCH_SIZE", "9"),
        ("SYSTEMD_UNITS", "ssh.service, cron.service"),
        ("DEVMESH_SERVICE_HOST", "10.0.0.1"),
    ]);
    let settings = load(&[], &env, Some(("a.toml", file))).unwrap();
    assert_eq!(settings.forward.to, "http://env:1");
    assert_eq!(settings.journald.batch_size, 9);
    assert_eq!(settings.journald.units, ["ssh.service", "cron.service"]);
    assert_eq!(settings.queue.max_bytes, 2_000_000);
    let settings = load(&[("forward.to", "http://flag:1".into())], &env, None).unwrap();
    assert_eq!(settings.forward.to, "http://flag:1");
    assert_eq!(settings.journald.lookback_hours, 24);
}

#[test]
fn every_problem_names_its_place() {
    let file = "[forward]\nto = \"http://a:1\"\ntoo = 1\n[journal]\n[queue]\nmax_bytes = \"much\"\n";
    let env = env(&[("DEVMESH_JOURNALD_BATCHSIZE", "3"), ("SHIPPER_LOOKBACK_HOURS", "long")]);
    let problems = load(&[], &env, Some(("a.toml", file))).unwrap_err().to_string();
    for part in [
        "a.toml:3: there is no setting `forward.too`; the nearest is `forward.to`",
        "a.toml:4: there is no setting `journal`; the nearest is `journald`",
        "a.toml:6: queue.max_bytes:",
        "DEVMESH_JOURNALD_BATCHSIZE: there is no setting `journald.batchsize`; the nearest is `journald.batch_size`",
        "SHIPPER_LOOKBACK_HOURS: journald.lookback_hours:",
    ] {
        assert!(problems.contains(part), "{part}\n---\n{problems}");
    }
}

#[test]
fn impossible_values_are_refused() {
    for (key, value, part) in [
        ("forward.to", "", "say where to send"),
        ("forward.to", "ftp://h", "https://HOST:PORT"),
        ("forward.compression", "zip", "forward.compression"),
        ("forward.ca", "/nowhere/ca.pem", "https://"),
        ("forward.cert", "/nowhere/cert.pem", "https://"),
        ("forward.cert", "/nowhere/cert.pem", "set both"),
        ("forward.token_file", "/nowhere/token", "forward.token_file: /nowhere/token: No such file"),
        ("forward.to", "h:4318", "http://HOST:PORT"),
        ("forward.token", "a\u{7f}b", "visible ASCII"),
        ("otlp.listen", "0.0.0.0:4318", "--insecure"),
        ("otlp.listen", "localhost", "neither"),
        ("queue.max_bytes", "5", "too little"),
        ("queue.max_bytes", "-5", "queue.max_bytes"),
        ("journald.batch_size", "0", "too little"),
        ("journald.redact", "(", "journald.redact"),
    ] {
        let flags = [("forward.to", "http://h:1".to_owned()), (key, value.to_owned())];
        let problems = load(&flags, &BTreeMap::new(), None).unwrap_err().to_string();
        assert!(problems.contains(part), "{key}={value}: {problems}");
    }
}

#[test]
fn k8_the_token_may_stand_in_a_file_but_not_in_two_places() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "secret-0123456789\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut flags = vec![("forward.to", "http://h:1".to_owned()), ("forward.token_file", path.display().to_string())];
    let settings = load(&flags, &BTreeMap::new(), None).unwrap();
    assert_eq!(settings.token().unwrap().unwrap(), "Bearer secret-0123456789");
    flags.push(("forward.token", "another".into()));
    let problems = load(&flags, &BTreeMap::new(), None).unwrap_err().to_string();
    assert!(problems.contains("both set") && !problems.contains("another"), "{problems}");
}

#[test]
fn urls_of_earlier_agents_name_their_server() {
    for url in ["http://h:8000/v1/ingest", "http://h:8000/", "http://h:8000", "http://h:8000/ingest/logs"] {
        let settings = load(&[("forward.to", url.into())], &BTreeMap::new(), None).unwrap();
        assert_eq!(settings.target().unwrap(), "http://h:8000", "{url}");
    }
}

#[test]
fn every_key_stands_on_the_page_of_the_agent() {
    let page = include_str!("../../../docs/agent.md");
    let values = Table::try_from(Settings::default()).unwrap();
    for (section, keys) in &values {
        for key in keys.as_table().unwrap().keys() {
            assert!(page.contains(&format!("`{section}.{key}`")), "docs/agent.md lacks {section}.{key}");
        }
    }
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    for name in rows.flat_map(|row| row.split(" | ").next().unwrap().split('`').skip(1).step_by(2)) {
        let (section, key) = name.split_once('.').unwrap();
        assert!(values.get(section).and_then(|keys| keys.get(key)).is_some(), "docs/agent.md has {name}");
    }
}
