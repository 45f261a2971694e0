//! `devmesh sql`: asks a server, or a data directory that no server holds, and writes the rows as asked.

use std::{
    io::{self, Cursor, IsTerminal, Read, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use arrow_array::RecordBatch;
use arrow_ipc::{reader::StreamReader, writer::StreamWriter};
use arrow_schema::SchemaRef;
use clap::{Args, ValueEnum};
use devmesh_query::{Engine, SqlOptions, Stats};
use futures::StreamExt;
use http::Method;
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use serde_json::json;

use super::{
    Failure,
    client::{self, ServerArgs},
    table,
};
use crate::{
    answer::{csv, json},
    meaning::Search,
    settings,
};

/// How long a query of a directory waits for patterns that have no vector yet.
const SETTLE: Duration = Duration::from_secs(60);
/// Bytes of a query that is read from stdin.
const QUERY_BYTES: u64 = 64 << 10;

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query; `-` reads it from stdin.
    query: String,
    #[command(flatten)]
    server: ServerArgs,
    /// Ask this data directory instead of a server; no server may be running on it.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data_dir: Option<String>,
    /// How the rows are written.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Rows at most [default: 10000].
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns side by side.
    Table,
    /// One object: columns, rows, elapsed_ms, rows_scanned, truncated.
    Json,
    /// With a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

/// Asks and writes.
pub(super) async fn run(args: SqlArgs) -> Result<(), Failure> {
    let binary = matches!(args.format, Format::Arrow | Format::Parquet);
    if binary && io::stdout().is_terminal() {
        return Err(Failure::Usage("arrow and parquet are no text; send them to a file: > rows.parquet".to_owned()));
    }
    let query = read_query(&args.query)?;
    match &args.data_dir {
        Some(dir) => local(&args, &query, dir).await,
        None => remote(&args, &query).await,
    }
}

fn read_query(query: &str) -> Result<String, Failure> {
    if query != "-" {
        return Ok(query.to_owned());
    }
    let mut text = String::new();
    io::stdin().take(QUERY_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

async fn remote(args: &SqlArgs, query: &str) -> Result<(), Failure> {
    let server = args.server.server()?;
    let (accept, format) = match args.format {
        Format::Json => ("application/json", "json"),
        Format::Csv => ("text/csv", "csv"),
        Format::Table | Format::Arrow | Format::Parquet => ("application/vnd.apache.arrow.stream", "arrow"),
    };
    let mut body = json!({ "sql": query, "format": format });
    if let (Some(limit), Some(fields)) = (args.limit, body.as_object_mut()) {
        fields.insert("limit".to_owned(), limit.into());
    }
    let answer = server.ask(Method::POST, "/query/sql", accept, Some(body)).await?;
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (elapsed, truncated) = (header("x-elapsed-ms"), header("x-truncated").as_deref() == Some("true"));
    let bytes = client::whole(answer).await?;
    if matches!(args.format, Format::Json | Format::Csv | Format::Arrow) {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&bytes)?;
        if args.format == Format::Json {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()?;
        return Ok(());
    }
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(anyhow::Error::from)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<RecordBatch>, _>>().map_err(anyhow::Error::from)?;
    write(args.format, &schema, &batches, elapsed.as_deref(), truncated)
}

async fn local(args: &SqlArgs, query: &str, dir: &str) -> Result<(), Failure> {
    if !std::path::Path::new(dir).is_dir() {
        return Err(Failure::Usage(format!("{dir}: there is no such data directory")));
    }
    let flags = [("store.data_dir".to_owned(), dir.to_owned())];
    let settings = settings::read(&flags, None).map_err(|problems| Failure::Usage(problems.to_string()))?;
    let store = devmesh_store::open(&settings.for_store()).await.map_err(anyhow::Error::from)?;
    let outcome = ask(args, query, &settings, &store).await;
    store.close().await.map_err(anyhow::Error::from).context("failed to close the store")?;
    outcome
}

/// Search by meaning, where the query asks for it: the model takes a second to load.
async fn search(
    query: &str,
    settings: &settings::Settings,
    store: &Arc<dyn devmesh_store::Store>,
) -> Result<Option<Search>, Failure> {
    let query = query.to_ascii_lowercase();
    let asked = ["semantic", "log_embeddings"].iter().any(|name| query.contains(name));
    let Some(patterns) = store.patterns().filter(|_| asked) else { return Ok(None) };
    let settings = settings.for_search();
    let started = tokio::task::spawn_blocking(move || {
        let search = Search::start(patterns, settings)?;
        if !search.wait_settled(SETTLE) {
            tracing::warn!("not all patterns of logs have a vector yet; those are found by words alone");
        }
        Ok::<_, io::Error>(search)
    });
    Ok(Some(started.await.map_err(anyhow::Error::from)??))
}

async fn ask(
    args: &SqlArgs,
    query: &str,
    settings: &settings::Settings,
    store: &Arc<dyn devmesh_store::Store>,
) -> Result<(), Failure> {
    let engine = Engine::new(Arc::clone(store), settings.for_queries()).map_err(anyhow::Error::from)?;
    let search = search(query, settings, store).await?;
    let engine = match &search {
        Some(search) => engine.with_meaning(Arc::new(search.clone())),
        None => engine,
    };
    let engine = engine.with_incidents(crate::anomalies::Anomalies::open(settings.for_anomalies()));
    let limit = args.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let mut answer = engine.sql(query, SqlOptions { limit, timeout: None }).await.map_err(anyhow::Error::from)?;
    let mut batches = Vec::new();
    while let Some(batch) = answer.rows.next().await {
        batches.push(batch.map_err(anyhow::Error::from)?);
    }
    let stats: &Stats = &answer.stats;
    let elapsed = format!("{:.3}", stats.elapsed().as_secs_f64() * 1000.0);
    match args.format {
        Format::Json => {
            let mut text = String::new();
            json::begin(&mut text, &answer.schema);
            for (index, batch) in batches.iter().enumerate() {
                json::arrays(&mut text, batch, index == 0);
            }
            json::end(&mut text, stats);
            text.push('\n');
            super::print(text.as_bytes())
        }
        format => write(format, &answer.schema, &batches, Some(&elapsed), stats.truncated()),
    }
}

fn write(
    format: Format,
    schema: &SchemaRef,
    batches: &[RecordBatch],
    elapsed: Option<&str>,
    truncated: bool,
) -> Result<(), Failure> {
    let mut out = Vec::new();
    match format {
        Format::Table | Format::Json => {
            let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
            let more = if truncated { ", there are more: raise --limit" } else { "" };
            let time = elapsed.map_or_else(String::new, |elapsed| format!(", {elapsed} ms"));
            out.extend_from_slice(table::render(schema, batches).as_bytes());
            let noun = if rows == 1 { "row" } else { "rows" };
            out.extend_from_slice(format!("({rows} {noun}{time}{more})\n").as_bytes());
        }
        Format::Csv => {
            let mut text = String::new();
            csv::header(&mut text, schema);
            batches.iter().for_each(|batch| csv::rows(&mut text, batch));
            out = text.into_bytes();
        }
        Format::Arrow => {
            let mut writer = StreamWriter::try_new(&mut out, schema).map_err(anyhow::Error::from)?;
            for batch in batches {
                writer.write(batch).map_err(anyhow::Error::from)?;
            }
            writer.finish().map_err(anyhow::Error::from)?;
        }
        Format::Parquet => {
            let compression = Compression::ZSTD(parquet::basic::ZstdLevel::default());
            let properties = WriterProperties::builder().set_compression(compression).build();
            let mut writer =
                ArrowWriter::try_new(&mut out, Arc::clone(schema), Some(properties)).map_err(anyhow::Error::from)?;
            for batch in batches {
                writer.write(batch).map_err(anyhow::Error::from)?;
            }
            writer.close().map_err(anyhow::Error::from)?;
        }
    }
    super::print(&out)
}
