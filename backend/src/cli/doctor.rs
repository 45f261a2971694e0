//! `devmesh doctor`: looks at what a server needs from its machine, and says what to do about what is wrong.

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;
use devmesh_insight::model::MINILM;
use tokio::net::TcpListener;

use super::{Failure, print};
use crate::settings::{Listen, Settings};

/// How a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    Good,
    Warning,
    Bad,
}

/// A finding: what was looked at, what was found, what to do.
#[derive(Debug)]
struct Finding {
    weight: Weight,
    what: &'static str,
    found: String,
    advice: Option<String>,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { weight: Weight::Good, what, found: found.into(), advice: None }
    }

    fn warning(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { weight: Weight::Warning, what, found: found.into(), advice: Some(advice.into()) }
    }

    fn bad(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { weight: Weight::Bad, what, found: found.into(), advice: Some(advice.into()) }
    }
}

/// Looks and tells. Fails where something is wrong that keeps a server from starting or storing.
pub(super) async fn run(settings: Settings) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let server = running(&settings).await;
    ports(&settings, server, &mut findings).await;
    let dir = settings.local_dir();
    directory(&dir, &mut findings);
    disk(&dir, settings.store.min_free_disk.0, &mut findings);
    clock(&mut findings);
    store(&settings, server, &mut findings).await;
    model(&settings, &mut findings);
    defaults(&settings, &mut findings);
    let mut text = String::new();
    for finding in &findings {
        let word = match finding.weight {
            Weight::Good => "ok  ",
            Weight::Warning => "warn",
            Weight::Bad => "FAIL",
        };
        text.push_str(&format!("{word}  {:<15} {}\n", finding.what, finding.found));
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("      {:<15} → {advice}\n", ""));
        }
    }
    print(text.as_bytes())?;
    let bad = findings.iter().filter(|finding| finding.weight == Weight::Bad).count();
    if bad > 0 {
        Err(anyhow!("{bad} of {} checks failed; what to do stands above", findings.len()).into())
    } else {
        Ok(())
    }
}

/// Whether a devmesh answers at the address of the API.
async fn running(settings: &Settings) -> bool {
    let Listen::At(address) = settings.http.listen else { return false };
    let asked = tokio::time::timeout(Duration::from_secs(2), async {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.ok()?;
        let mut answer = Vec::new();
        let mut limited = tokio::io::AsyncReadExt::take(stream, 4096);
        tokio::io::AsyncReadExt::read_to_end(&mut limited, &mut answer).await.ok()?;
        let text = String::from_utf8_lossy(&answer);
        Some(text.contains("\"status\":\"ok\"") || (settings.tls.files().is_some() && text.contains("speaks TLS")))
    });
    asked.await.ok().flatten().unwrap_or(false)
}

async fn ports(settings: &Settings, running: bool, findings: &mut Vec<Finding>) {
    for (key, listen) in settings.doors() {
        let what = "ports";
        let Listen::At(address) = listen else {
            findings.push(Finding::good(what, format!("{key} is off")));
            continue;
        };
        match TcpListener::bind(address).await {
            Ok(_) => findings.push(Finding::good(what, format!("{key}: {address} is free"))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && running => {
                findings.push(Finding::good(what, format!("{key}: {address} is in use, and a devmesh runs here")));
            }
            Err(error) => findings.push(port_problem(key, address, &error)),
        }
    }
}

fn port_problem(key: &str, address: SocketAddr, error: &io::Error) -> Finding {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => format!("`ss -ltnp 'sport = :{}'` says by whom; or set {key}", address.port()),
        io::ErrorKind::PermissionDenied => format!("ports below 1024 need a privilege; set {key} to a higher one"),
        _ => format!("set {key} to an address of this machine"),
    };
    Finding::bad("ports", format!("{key}: cannot listen at {address}: {error}"), advice)
}

fn directory(dir: &Path, findings: &mut Vec<Finding>) {
    let what = "data directory";
    let shown = dir.display();
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            findings.push(Finding::good(what, format!("{shown} is made at the first start")));
            return;
        }
        Err(error) => {
            let advice = "make it readable for this user, or name another with --data-dir";
            findings.push(Finding::bad(what, format!("{shown}: {error}"), advice));
            return;
        }
    };
    if !metadata.is_dir() {
        let advice = "move it away, or name another directory with --data-dir";
        findings.push(Finding::bad(what, format!("{shown} is no directory"), advice));
        return;
    }
    let probe = dir.join(format!(".doctor-{}", std::process::id()));
    let written = fs::File::create(&probe).and_then(|mut file| file.write_all(b"x").and_then(|()| file.sync_all()));
    let removed = fs::remove_file(&probe);
    match written.and(removed) {
        Ok(()) => findings.push(Finding::good(what, format!("{shown} can be written"))),
        Err(error) => {
            let advice = format!("`ls -ld {shown}` shows its owner; run devmesh as that user, or change it");
            findings.push(Finding::bad(what, format!("{shown} cannot be written: {error}"), advice));
        }
    }
    if metadata.permissions().mode() & 0o002 != 0 {
        let advice = format!("chmod o-w {shown}");
        findings.push(Finding::warning(what, format!("{shown} can be written by everybody"), advice));
    }
}

fn disk(dir: &Path, least: u64, findings: &mut Vec<Finding>) {
    let Some(existing) = dir.ancestors().find(|dir| dir.exists()).map(Path::to_path_buf) else { return };
    let existing = if existing.as_os_str().is_empty() { PathBuf::from(".") } else { existing };
    if let Some(concern) = crate::filesystem::concern(&existing) {
        let advice = "name a directory on a local disk with --data-dir";
        findings.push(Finding::warning("disk", format!("{}: {concern}", existing.display()), advice));
    }
    let stat = match rustix::fs::statvfs(&existing) {
        Ok(stat) => stat,
        Err(error) => {
            findings.push(Finding::warning("disk", format!("{}: {error}", existing.display()), "look with `df`"));
            return;
        }
    };
    let (free, all) = (stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize);
    let least = least.min(all / 20);
    let found = format!("{:.1} GiB of {:.1} GiB are free", gib(free), gib(all));
    if free < least {
        let advice = format!("writes are refused below {:.1} GiB: free some, or shorten retention", gib(least));
        findings.push(Finding::bad("disk", found, advice));
    } else if free < least * 4 {
        findings.push(Finding::warning("disk", found, "shorten retention, or give it a larger disk"));
    } else {
        findings.push(Finding::good("disk", found));
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn clock(findings: &mut Vec<Finding>) {
    let now = jiff::Timestamp::now();
    if now.as_second() < 1_767_225_600 {
        let advice = "set it, with NTP for example: records of senders lie in the future else";
        findings.push(Finding::bad("clock", format!("it is {now}, which cannot be"), advice));
        return;
    }
    // systemd-timesyncd and chrony leave a mark where the clock is in step.
    let synchronized = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid", "/run/ntpd.pid"];
    let found = format!("it is {}", now.strftime("%Y-%m-%dT%H:%M:%SZ"));
    if synchronized.iter().any(|path| Path::new(path).exists()) {
        findings.push(Finding::good("clock", format!("{found}, kept by NTP")));
    } else {
        findings.push(Finding::good("clock", format!("{found}; whether NTP keeps it is not known")));
    }
}

async fn store(settings: &Settings, running: bool, findings: &mut Vec<Finding>) {
    let url = devmesh_store::redacted(&settings.store_url());
    if running {
        findings.push(Finding::good("store", format!("{url} is open in the running server; see /ready")));
        return;
    }
    if url.starts_with("file://") && !settings.local_dir().join("wal").exists() {
        findings.push(Finding::good("store", format!("{url} is empty: it is made at the first start")));
        return;
    }
    match devmesh_store::open(&settings.for_store()).await {
        Ok(store) => {
            let ready = store.ready().await;
            let stats = store.stats();
            match ready {
                Ok(()) => findings.push(Finding::good("store", format!("{store} opens and takes writes"))),
                Err(error) => {
                    findings.push(Finding::bad("store", error.to_string(), "it resumes by itself after that"))
                }
            }
            if stats.quarantined.0 > 0 {
                let found =
                    format!("{} damaged pieces were set aside ({} bytes)", stats.quarantined.0, stats.quarantined.1);
                findings.push(Finding::warning("store", found, "they lie in quarantine/ of the data directory"));
            }
            if let Err(error) = store.close().await {
                findings.push(Finding::bad("store", format!("it cannot be closed: {error}"), "look at the disk"));
            }
        }
        Err(error) => findings.push(Finding::bad("store", error.to_string(), "see the message; nothing was changed")),
    }
}

fn model(settings: &Settings, findings: &mut Vec<Finding>) {
    let models = settings.models();
    let installed = MINILM.installed(&models);
    if !installed.is_complete() {
        let found =
            format!("{} is not in {}: search goes by words alone", installed.name, installed.directory.display());
        findings.push(Finding::warning("model", found, "devmesh model pull"));
        return;
    }
    match MINILM.verify(&models) {
        Ok(()) => {
            let found = format!("{} in {} is whole", installed.name, installed.directory.display());
            findings.push(Finding::good("model", found));
        }
        Err(error) => findings.push(Finding::warning("model", error.to_string(), "devmesh model pull")),
    }
}

fn defaults(settings: &Settings, findings: &mut Vec<Finding>) {
    if settings.auth.insecure {
        let advice = "set auth.ingest_tokens and auth.read_tokens, and leave --insecure out";
        findings.push(Finding::warning("security", "doors beyond loopback are open to everybody", advice));
    }
    for (key, address) in settings.in_the_clear() {
        let advice = "set tls.cert and tls.key, or stand a TLS proxy before it";
        let found = format!("{key}: {address} can be reached from other machines without TLS");
        findings.push(Finding::warning("security", found, advice));
    }
    match settings.tls.load() {
        Ok(None) => {}
        Ok(Some(tls)) if tls.concerns().is_empty() => {
            findings.push(Finding::good("tls", format!("{} is in order", settings.tls.cert.display())));
        }
        Ok(Some(tls)) => {
            let warn = |concern| Finding::warning("tls", concern, "see tls.cert and tls.key");
            findings.extend(tls.concerns().into_iter().map(warn));
        }
        Err(error) => findings.push(Finding::bad("tls", error.to_string(), "see [tls] in docs/configuration.md")),
    }
    if settings.wal.durability == devmesh_store::settings::Durability::Os {
        let advice = "set wal.durability = \"fsync\" unless this is a benchmark";
        findings.push(Finding::warning("durability", "acknowledged records may be lost in a power cut", advice));
    }
}
