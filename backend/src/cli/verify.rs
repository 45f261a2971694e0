//! `devmesh verify FILE`: asks the SQL of each piece of evidence again, and fails where it gives something else.

use std::{io::Read, path::PathBuf};

use anyhow::Context;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::{
    Failure,
    client::{self, Server, ServerArgs},
    print,
    table::inert,
};

/// Bytes of an explanation.
const FILE_BYTES: u64 = 64 << 20;
/// Pieces of evidence of one explanation.
const PIECES: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// An explanation, as `devmesh explain --format json` or `POST /explain/incident` gave it; `-` reads it from stdin.
    file: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// Asks all of it again.
pub(super) async fn run(args: VerifyArgs) -> Result<(), Failure> {
    let explanation = read(&args)?;
    let Some(evidence) = explanation.get("evidence").and_then(Value::as_array) else {
        return Err(Failure::Usage(format!(
            "{}: it is no explanation: it has no list `evidence`",
            args.file.display()
        )));
    };
    if evidence.len() > PIECES {
        return Err(Failure::Usage(format!("{}: it has more than {PIECES} pieces of evidence", args.file.display())));
    }
    let server = args.server.server()?;
    let mut wrong = 0;
    for proof in evidence {
        let id = inert(proof.get("id").and_then(Value::as_str).unwrap_or("?"));
        let line = match again(&server, proof).await {
            Ok(()) => format!("{id} ok\n"),
            Err(error) => {
                wrong += 1;
                format!("{id} MISMATCH: {}\n", inert(&format!("{error:#}")))
            }
        };
        print(line.as_bytes())?;
    }
    wrong += unfounded(&explanation, evidence)?;
    if wrong > 0 {
        return Err(Failure::Failed(anyhow::anyhow!(
            "{wrong} of {} pieces of evidence do not hold; the telemetry has changed, or the file has",
            evidence.len()
        )));
    }
    print(format!("all {} pieces of evidence hold\n", evidence.len()).as_bytes())
}

fn read(args: &VerifyArgs) -> Result<Value, Failure> {
    let mut text = String::new();
    let name = args.file.display();
    let read = |source: &mut dyn Read, text: &mut String| source.take(FILE_BYTES + 1).read_to_string(text);
    if args.file.as_os_str() == "-" {
        read(&mut std::io::stdin(), &mut text).context("stdin")?;
    } else {
        let mut file = std::fs::File::open(&args.file).with_context(|| format!("failed to open {name}"))?;
        read(&mut file, &mut text).with_context(|| format!("failed to read {name}"))?;
    }
    if text.len() as u64 > FILE_BYTES {
        return Err(Failure::Usage(format!("{name}: it is larger than 64 MiB")));
    }
    serde_json::from_str(&text).map_err(|error| Failure::Usage(format!("{name}: it is no explanation: {error}")))
}

/// Asks one piece again.
async fn again(server: &Server, proof: &Value) -> anyhow::Result<()> {
    let sql = proof.get("sql").and_then(Value::as_str).context("it has no SQL")?;
    let given = (proof.get("columns").context("it has no columns")?, proof.get("rows").context("it has no rows")?);
    let answer = server.ask(Method::POST, "/query/sql", "application/json", Some(json!({ "sql": sql }))).await?;
    let answer: Value = serde_json::from_slice(&client::whole(answer).await?)?;
    let columns: Vec<&Value> =
        answer.get("columns").and_then(Value::as_array).into_iter().flatten().filter_map(|c| c.get("name")).collect();
    anyhow::ensure!(json!(columns) == *given.0, "its SQL gives other columns");
    let rows = answer.get("rows").unwrap_or(&Value::Null);
    anyhow::ensure!(rows == given.1, "its SQL gives {rows}, the explanation has {}", given.1);
    cited(proof, &columns, rows)
}

/// What a piece cites beside its rows has to stand in them.
fn cited(proof: &Value, columns: &[&Value], rows: &Value) -> anyhow::Result<()> {
    for name in ["body", "trace_id", "span_id"] {
        let Some(said) = proof.get(name).filter(|said| !said.is_null()) else { continue };
        let at = columns.iter().position(|column| column.as_str() == Some(name));
        let shown = at.and_then(|at| rows.get(0)?.get(at));
        anyhow::ensure!(shown == Some(said), "its {name} {said} is not what its SQL gives");
    }
    Ok(())
}

/// Suspects and moments that cite what is not there.
fn unfounded(explanation: &Value, evidence: &[Value]) -> Result<usize, Failure> {
    let ids: Vec<&Value> = evidence.iter().filter_map(|proof| proof.get("id")).collect();
    let list = |name: &str| explanation.get(name).and_then(Value::as_array).into_iter().flatten();
    let suspects = list("suspects").flat_map(|suspect| match suspect.get("evidence").and_then(Value::as_array) {
        Some(cited) if !cited.is_empty() => cited.iter().collect(),
        _ => vec![&Value::Null],
    });
    let moments = list("timeline").map(|moment| moment.get("evidence").unwrap_or(&Value::Null));
    let mut wrong = 0;
    for cited in suspects.chain(moments).filter(|cited| !ids.contains(cited)) {
        wrong += 1;
        print(format!("{} MISMATCH: it is cited and is not there\n", inert(&cited.to_string())).as_bytes())?;
    }
    Ok(wrong)
}
