//! `devmesh tail`: the log records of a running server as they arrive, one a line.

use anyhow::{Result, anyhow};
use clap::Args;
use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use super::{
    Failure,
    client::{self, ServerArgs},
    print,
    table::{inert, moment},
};

/// Bytes of one event; the server cuts bodies long before.
const EVENT_BYTES: usize = 16 << 20;

#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only this service.
    #[arg(long)]
    service: Option<String>,
    /// Only this level.
    #[arg(long)]
    level: Option<String>,
    /// Only messages in which every word stands.
    #[arg(long, value_name = "WORDS")]
    q: Option<String>,
    /// Write each record as JSON.
    #[arg(long)]
    json: bool,
}

/// Follows until the server ends or the reader goes away.
pub(super) async fn run(args: TailArgs) -> Result<(), Failure> {
    let server = args.server.server()?;
    let query = client::encoded(&[
        ("service", args.service.as_deref()),
        ("level", args.level.as_deref()),
        ("q", args.q.as_deref()),
    ]);
    let answer = server.ask(Method::GET, &format!("/tail/logs?{query}"), "text/event-stream", None).await?;
    let mut body = answer.into_body();
    let mut buffer = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| anyhow!("the server went away: {error}"))?;
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let event: Vec<u8> = buffer.drain(..end + 2).collect();
            show(&String::from_utf8_lossy(&event), args.json)?;
        }
        if buffer.len() > EVENT_BYTES {
            return Err(anyhow!("an event is longer than {EVENT_BYTES} bytes").into());
        }
    }
    Ok(())
}

fn show(event: &str, json: bool) -> Result<(), Failure> {
    let name = event.lines().find_map(|line| line.strip_prefix("event: ")).unwrap_or("message");
    let Some(data) = event.lines().find_map(|line| line.strip_prefix("data: ")) else { return Ok(()) };
    if name == "dropped" {
        tracing::warn!("too slow: records were left out");
        return Ok(());
    }
    let line = if json { data.to_owned() } else { line(data)? };
    print(format!("{line}\n").as_bytes())
}

fn line(data: &str) -> Result<String> {
    let record: Value = serde_json::from_str(data)?;
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or_default();
    let service = match text("service") {
        "" => "-",
        service => service,
    };
    Ok(format!(
        "{} {:8} {} {}",
        moment(text("timestamp")),
        inert(text("level")),
        inert(service),
        inert(text("message"))
    ))
}
