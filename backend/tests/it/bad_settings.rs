//! What operators get wrong: rows K1 to K14 of the list of bad input (K11 stands with the certificates, which a running server
//! reads again). Wrong settings end the program with 2 before anything
//! is touched, and each line says where the mistake is.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::{Command, Output, Stdio},
};

use rcgen::{CertificateParams, KeyPair};

use crate::server::{Server, devmesh};

/// `devmesh serve` with these arguments, on a data directory that nothing may touch.
fn serve(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = devmesh();
    command.arg("serve").args(arguments).stdin(Stdio::null());
    if !arguments.contains(&"--data-dir") {
        command.arg("--data-dir").arg(dir.join("untouched"));
    }
    for door in ["--http", "--otlp-grpc", "--otlp-http", "--postgres"] {
        if !arguments.contains(&door) {
            command.args([door, "off"]);
        }
    }
    command
}

fn refused(row: &str, output: &Output, code: i32, parts: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{row}: {message}");
    for part in parts {
        assert!(message.contains(part), "{row}: {message} lacks {part}");
    }
    assert!(output.stdout.is_empty(), "{row}: {}", String::from_utf8_lossy(&output.stdout));
    assert!(!message.contains("panicked"), "{row}: {message}");
}

#[test]
fn k1_and_k2_files_that_are_none_and_keys_that_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let huge = write("huge.toml", b"");
    fs::File::options().write(true).open(&huge).unwrap().set_len(100 << 20).unwrap();
    let folder = dir.path().to_str().unwrap().to_owned();
    for (row, file, parts) in [
        ("K1 missing", "/nowhere/a.toml".to_owned(), &["/nowhere/a.toml", "No such file"][..]),
        ("K1 a directory", folder, &["directory"]),
        ("K1 a device without end", "/dev/zero".to_owned(), &["/dev/zero", "too many"]),
        ("K1 unreadable", "/proc/self/mem".to_owned(), &["/proc/self/mem"]),
        ("K1 binary", write("binary.toml", &[0x7f, b'E', b'L', b'F', 0, 0xff, 0xfe]), &["binary.toml", "UTF-8"]),
        ("K1 100 MiB", huge, &["huge.toml", "too many"]),
        ("K1 syntax", write("syntax.toml", b"[http]\nlisten = off\n"), &["syntax.toml:2"]),
        ("K1 cut", write("cut.toml", b"[http]\nlisten = \"127.0"), &["cut.toml:2"]),
        ("K2 unknown section", write("section.toml", b"[htpp]\n"), &["section.toml:1", "`htpp`", "`http`"]),
        (
            "K2 unknown key",
            write("key.toml", b"\n[http]\nlistne = \"off\"\n"),
            &["key.toml:3", "http.listne", "http.listen"],
        ),
        ("K2 no section", write("none.toml", b"listen = \"off\"\n"), &["none.toml:1", "`listen`"]),
        (
            "K2 wrong type",
            write("type.toml", b"[query]\nconcurrency = \"many\"\n"),
            &["type.toml:2", "query.concurrency"],
        ),
        ("K2 negative", write("minus.toml", b"[query]\nthreads = -1\n"), &["minus.toml:2", "query.threads"]),
        (
            "K2 twice",
            write("twice.toml", b"[http]\nlisten = \"off\"\nlisten = \"off\"\n"),
            &["twice.toml:3", "duplicate"],
        ),
        ("K2 all at once", write("many.toml", b"[http]\na = 1\n[query]\nb = 2\n"), &["many.toml:2", "many.toml:4"]),
    ] {
        refused(row, &serve(dir.path(), &["--config", &file]).output().unwrap(), 2, parts);
    }
    // Empty, with a byte order mark, with carriage returns: read.
    for (row, content, expected) in [
        ("K1 empty", "", "logs = \"90d\""),
        ("K1 byte order mark", "\u{feff}[retention]\nlogs = \"7d\"\n", "logs = \"7d\""),
        ("K1 carriage returns", "[retention]\r\nlogs = \"8d\"\r\n", "logs = \"8d\""),
        ("K9 no variables are put in", "[s3]\nregion = \"${HOME} $$\"\n", "region = \"${HOME} $$\""),
    ] {
        let file = write("good.toml", content.as_bytes());
        let output = devmesh().args(["config", "--config", &file]).env("HOME", "/root").output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && printed.contains(expected), "{row}: {printed}");
    }
    assert!(!dir.path().join("untouched").exists());
}

#[test]
fn k3_k5_k6_k8_k10_and_k14_values_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let set = |key: &str, value: &str| format!("{key}={value}");
    for (row, key, value, parts) in [
        ("K3 port", "http.listen", "127.0.0.1:65536", &["http.listen", "65536"][..]),
        ("K3 port", "http.listen", "127.0.0.1:-1", &["http.listen", "-1"]),
        ("K3 no port", "http.listen", "127.0.0.1", &["http.listen", "127.0.0.1:8000"]),
        ("K3 address", "otlp.grpc", "300.1.1.1:4317", &["otlp.grpc", "300.1.1.1"]),
        ("K3 name", "otlp.http", "example.com:80", &["otlp.http", "example.com"]),
        ("K3 socket", "http.listen", "unix:/tmp/devmesh.sock", &["http.listen", "unix:"]),
        ("K5 no unit", "retention.logs", "5", &["retention.logs", "`5`", "90d"]),
        ("K5 words", "retention.logs", "5 sec", &["`5 sec`"]),
        ("K5 negative", "query.timeout", "-1s", &["query.timeout", "`-1s`"]),
        ("K5 exponent", "query.timeout", "1e9h", &["`1e9h`"]),
        ("K5 fraction", "query.memory", "1.5GiB", &["query.memory", "`1.5GiB`", "64MiB"]),
        ("K5 negative", "wal.max", "-1", &["wal.max", "`-1`"]),
        ("K5 exponent", "wal.max", "1e30", &["`1e30`"]),
        ("K5 case", "wal.max", "10mb", &["`10mb`"]),
        ("K6 nothing", "retention.logs", "0d", &["retention.logs", "1h"]),
        ("K6 too short", "retention.metrics", "59m", &["retention.metrics", "1h"]),
        ("K6 a century", "retention.traces", "101w", &[]),
        ("K6 a century", "retention.traces", "5300w", &["century"]),
        ("K6 contradiction", "limits.intake", "1MiB", &["limits.intake", "limits.request"]),
        ("K6 contradiction", "query.total_memory", "16MiB", &["query.total_memory", "query.memory"]),
        ("K6 nothing runs", "query.concurrency", "0", &["query.concurrency"]),
        ("K8 a short token", "auth.read_tokens", "secret", &["auth", "16 characters"]),
        ("K8 an empty token", "auth.read_tokens", "0123456789abcdef,,", &[]),
        ("K14 an empty element", "cors.origins", "https://a.example,", &[]),
        ("store", "store.url", "ftp://x", &["store.url", "ftp"]),
        ("K7 clients without TLS", "tls.client_ca", "/nowhere/ca.pem", &["tls.client_ca", "tls.cert"]),
        ("K7 names without a CA", "tls.client_names", "a.example", &["tls.client_names", "tls.client_ca"]),
        ("K7 a list without a CA", "tls.client_crl", "/nowhere/crl.pem", &["tls.client_crl", "tls.client_ca"]),
        ("B26 a negative rate", "rate.requests", "-1", &["rate.requests"]),
        ("log", "log.level", "loud,=", &["log.level"]),
        ("log", "log.format", "xml", &["log.format", "xml", "json"]),
    ] {
        let pair = set(key, value);
        if parts.is_empty() {
            // Fine: an element that is empty is none.
            assert!(devmesh().args(["config", "--set", &pair]).output().unwrap().status.success(), "{row} {pair}");
            continue;
        }
        let mut command = devmesh();
        command.args(["serve", "--set", &pair, "--data-dir"]).arg(dir.path().join("untouched"));
        let output = command.output().unwrap();
        refused(&format!("{row} {pair}"), &output, 2, parts);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("secret"), "{row}");
    }
    for (row, arguments, parts) in [
        (
            "K3 twice",
            &["--http", "127.0.0.1:4999", "--otlp-http", "127.0.0.1:4999"][..],
            &["http.listen", "otlp.http"][..],
        ),
        ("K3 all off", &[], &["http.listen"]),
        ("K10", &["--http", "0.0.0.0:0"], &["auth.read_tokens", "auth.ingest_tokens", "--insecure"]),
        ("K10", &["--otlp-grpc", "[::]:0"], &["otlp.grpc", "auth.ingest_tokens"]),
        ("K10", &["--postgres", "0.0.0.0:0"], &["postgres.listen", "auth.read_tokens"]),
    ] {
        refused(row, &serve(dir.path(), arguments).output().unwrap(), 2, parts);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused("K3 in use", &serve(dir.path(), &["--http", &address]).output().unwrap(), 1, &["in use", &address]);
    assert!(!dir.path().join("untouched").exists());
}

#[test]
fn k4_a_data_directory_is_made_for_its_owner_alone_or_the_error_says_which_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("file"), "no directory").unwrap();
    symlink(at("loop"), at("loop")).unwrap();
    for (row, path) in [
        ("K4 a file", at("file")),
        ("K4 below a file", at("file/data")),
        ("K4 links in a circle", at("loop")),
        ("K4 where nothing can be made", "/proc/devmesh".to_owned()),
        ("K4 a name that is too long", at(&"x".repeat(300))),
    ] {
        let output = serve(dir.path(), &["--http", "127.0.0.1:0", "--data-dir", &path]).output().unwrap();
        refused(row, &output, 1, &[path.as_str()]);
    }
    let refused_key = serve(dir.path(), &["--http", "127.0.0.1:0", "--data-dir", ""]).output().unwrap();
    refused("K4 empty", &refused_key, 2, &["store.data_dir"]);
    let server = Server::start(dir.path());
    let sent = server.post_json("otlp-http", "/v1/logs", &crate::server::logs("a", &["one"]));
    assert_eq!(sent.status, 200);
    assert!(server.stop().success());
    let mut look = vec![dir.path().join("data")];
    while let Some(path) = look.pop() {
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o027, 0, "{}", path.display());
        if metadata.is_dir() {
            look.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    fs::set_permissions(dir.path().join("data"), fs::Permissions::from_mode(0o777)).unwrap();
    let server = Server::start(dir.path());
    assert!(server.log().contains("every user of this machine can write"), "{}", server.log());
}

/// A directory that nobody changes, not even root. Undone when dropped.
struct Immutable(std::path::PathBuf);

impl Immutable {
    fn set(dir: &Path) -> Self {
        assert!(Command::new("chattr").arg("+i").arg(dir).status().unwrap().success(), "chattr +i {}", dir.display());
        Self(dir.to_owned())
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        drop(Command::new("chattr").arg("-i").arg(&self.0).status());
    }
}

/// A file system in memory. Unmounted when dropped.
struct Memory(std::path::PathBuf);

impl Memory {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "devmesh-test"]).arg(at);
        assert!(command.status().unwrap().success(), "{command:?}");
        Self(at.to_owned())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn k4_a_data_directory_that_cannot_be_written_ends_with_1_and_one_that_forgets_is_told() {
    // A file system on a disk, which `/tmp` need not be.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let end = |row: &str, path: &Path, command: &mut Command| {
        refused(row, &command.output().unwrap(), 1, &[path.to_str().unwrap()]);
    };
    let at = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let read_only = at("read-only");
    let held = Immutable::set(&read_only);
    let arguments = |path: &Path| ["--http", "127.0.0.1:0", "--data-dir", path.to_str().unwrap()].map(str::to_owned);
    let start = |path: &Path| {
        let arguments = arguments(path);
        serve(dir.path(), &arguments.each_ref().map(String::as_str))
    };
    end("K4 read-only", &read_only, &mut start(&read_only));
    drop(held);

    // Another owner's: root may write there all the same, unless it gives up that right.
    let foreign = at("foreign");
    std::os::unix::fs::chown(&foreign, Some(65_534), Some(65_534)).unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o755)).unwrap();
    let plain = start(&foreign);
    let mut bounded = Command::new("setpriv");
    bounded.args(["--bounding-set", "-dac_override,-dac_read_search,-fowner"]);
    bounded.arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    end("K4 another owner's", &foreign, &mut bounded);

    // In memory, which forgets: told, and served.
    let disk = Memory::mount(&dir.path().join("memory"), "64m");
    let server = Server::start_with(&disk.0, &["--set", "store.min_free_disk=1B"]);
    assert!(server.log().contains("it lies in memory"), "{}", server.log());
    assert!(server.stop().success());
    let on_disk = Server::start(dir.path());
    assert!(!on_disk.log().contains("it lies"), "{}", on_disk.log());

    // Full.
    let full = Memory::mount(&dir.path().join("full"), "1m");
    let mut hog = fs::File::create(full.0.join("hog")).unwrap();
    while std::io::Write::write_all(&mut hog, &[1; 512]).is_ok() {}
    let data = full.0.join("data");
    end("K4 full", &data, &mut start(&data));
}

#[test]
fn k8_secrets_in_files_are_read_once_from_one_place_and_from_no_file_that_is_open_to_all() {
    const TOKEN: &str = "read-0123456789abcdef";
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str, mode: u32| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let good = write("good", &format!("{TOKEN}\n"), 0o600);
    let config = write("both.toml", &format!("[auth]\nread_tokens_file = \"{good}\"\n"), 0o644);
    let set = |key: &str, value: &str| ["--set".to_owned(), format!("{key}={value}")];
    for (row, arguments, parts) in [
        ("K8 missing", set("auth.read_tokens_file", "/nowhere/token"), ["auth.read_tokens_file", "No such file"]),
        ("K8 empty", set("auth.read_tokens_file", &write("empty", "\n", 0o600)), ["/empty", "is empty"]),
        ("K8 open to all", set("auth.read_tokens_file", &write("open", TOKEN, 0o644)), ["/open", "chmod 600"]),
        ("K8 short", set("auth.ingest_tokens_file", &write("short", "abc\n", 0o600)), ["auth", "16 characters"]),
        ("K8 a directory", set("store.url_file", dir.path().to_str().unwrap()), ["store.url_file", "directory"]),
        ("K8 no URL", set("store.url_file", &write("url", "ftp://u:hunter2@h\n", 0o600)), ["store.url", "ftp"]),
    ] {
        let arguments = arguments.each_ref().map(String::as_str);
        let output = serve(dir.path(), &[&["--http", "127.0.0.1:0"], &arguments[..]].concat()).output().unwrap();
        refused(row, &output, 2, &parts);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!message.contains(TOKEN) && !message.contains("hunter2"), "{row}: {message}");
    }
    // In two places, wherever each comes from.
    for (name, value) in [("DEVMESH_AUTH_READ_TOKENS", TOKEN), ("DEVMESH_AUTH_READ_TOKENS", "another-0123456789")] {
        let output =
            serve(dir.path(), &["--http", "127.0.0.1:0", "--config", &config]).env(name, value).output().unwrap();
        refused("K8 twice", &output, 2, &["auth.read_tokens", "auth.read_tokens_file", "both set"]);
    }
    assert!(!dir.path().join("untouched").exists());
    // The end of the line is none of the token's, and each line has one.
    let tokens = write("two", &format!("another-0123456789\r\n\n{TOKEN}\n"), 0o400);
    let server = Server::start_with(dir.path(), &["--set", &format!("auth.read_tokens_file={tokens}")]);
    for (token, status) in [(TOKEN, 200), ("another-0123456789", 200), ("read-0123456789abcde", 401)] {
        let header = format!("Bearer {token}");
        assert_eq!(server.get_with("/info", &[("authorization", &header)]).status, status, "{token}");
    }
    let shown = devmesh().args(["config", "--set", &format!("auth.read_tokens_file={tokens}")]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("<redacted>") && !shown.contains(TOKEN), "{shown}");
}

#[test]
fn k7_certificates_that_cannot_be_used_end_with_2_and_old_ones_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let cert = write("cert.pem", &params.self_signed(&own).unwrap().pem());
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(2000, 1, 1), rcgen::date_time_ymd(2001, 1, 1));
    let old = write("old.pem", &params.self_signed(&own).unwrap().pem());
    let key = write("key.pem", &own.serialize_pem());
    let other = write("other.pem", &other.serialize_pem());
    let encrypted = write("encrypted.pem", &own.serialize_pem().replace("PRIVATE", "ENCRYPTED PRIVATE"));
    let tls = |cert: &str, key: &str| {
        let (cert, key) = (format!("tls.cert={cert}"), format!("tls.key={key}"));
        serve(dir.path(), &["--http", "127.0.0.1:0", "--set", &cert, "--set", &key]).output().unwrap()
    };
    refused("K7 another key", &tls(&cert, &other), 2, &["other.pem", "is not the key", "cert.pem"]);
    refused("K7 encrypted", &tls(&cert, &encrypted), 2, &["encrypted.pem", "openssl pkey"]);
    refused("K7 missing", &tls("/nowhere.pem", &key), 2, &["/nowhere.pem", "No such file"]);
    refused("K7 no certificate", &tls(&key, &key), 2, &["key.pem", "BEGIN CERTIFICATE"]);
    refused("K7 no key", &tls(&cert, &cert), 2, &["cert.pem", "BEGIN PRIVATE KEY"]);
    refused("K7 half", &tls(&cert, ""), 2, &["tls.cert", "tls.key"]);
    refused("K7 half", &tls("", &key), 2, &["tls.cert", "tls.key"]);
    assert!(!dir.path().join("untouched").exists());
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (old, key) = (format!("tls.cert={old}"), format!("tls.key={key}"));
    let server = Server::start_with(dir.path(), &["--set", &old, "--set", &key]);
    for part in ["old.pem: the certificate has expired", "key.pem: every user of this machine can read"] {
        assert!(server.log().contains(part), "{}", server.log());
    }
}

#[test]
fn k12_and_k13_the_command_line_with_little_around_it() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.toml");
    fs::write(&broken, "[http\n").unwrap();
    let good = dir.path().join("good.toml");
    fs::write(&good, "[retention]\nlogs = \"3d\"\n").unwrap();
    let run = |arguments: &[&str]| devmesh().args(arguments).env("DEVMESH_CONFIG", &broken).output().unwrap();
    // What needs no settings looks at none.
    for arguments in
        [&["--version"][..], &["version"], &["--help"], &["completions", "bash"], &["config", "--reference"]]
    {
        assert!(run(arguments).status.success(), "K12 {arguments:?}");
    }
    refused("K12 broken settings", &run(&["config"]), 2, &["broken.toml:1"]);
    for (arguments, part) in [
        (&["serve", "--nonsense"][..], "--nonsense"),
        (&["serve", "--http"], "--http"),
        (&["sql"], "Usage"),
        (&["nothing"], "nothing"),
        (&["sql", "SELECT 1", "--format", "xml"], "xml"),
        (&["sql", "SELECT 1", "--limit", "-1"], "-1"),
        (&["sql", "SELECT 1", "--url", "no url"], "--url"),
    ] {
        refused("K12", &run(arguments), 2, &[part]);
    }
    // Of two files the last counts.
    let (broken, good) = (broken.to_str().unwrap(), good.to_str().unwrap());
    let output = run(&["config", "--config", broken, "--config", good]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("logs = \"3d\""), "{output:?}");
    // No home, no locale, no terminal, no standard streams; and looking at settings changes nothing.
    let mut bare = Command::new("sh");
    let script = "cd \"$1\" && exec \"$0\" config <&- 2>&-";
    let output = bare.env_clear().args(["-c", script, env!("CARGO_BIN_EXE_devmesh")]).arg(dir.path()).output().unwrap();
    assert!(output.status.success() && !output.stdout.is_empty(), "K12 {output:?}");
    let full = Command::new("sh")
        .args(["-c", "exec \"$0\" config > /dev/full", env!("CARGO_BIN_EXE_devmesh")])
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(1), "K12 {full:?}");
    assert!(!String::from_utf8_lossy(&full.stderr).contains("panicked"), "K12 {full:?}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "K13 {left:?}");
}
