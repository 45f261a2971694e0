//! Aggregates that the database makes, over the tables of records.
//!
//! The answer has to be the engine's own: a group is made here only of columns that hold the whole truth. Chunks in which
//! they do not are left out by their ids, and their rows given to the engine; so are the rows in whose microsecond the
//! time range begins or ends, where a table counts in microseconds. Chunks that the query does not see are left out too.
//! All of that is read in one snapshot of the database.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, RecordBatchOptions, StringViewArray, TimestampNanosecondArray,
};
use arrow_schema::{ArrowError, Field, Schema};
use devmesh_schema::Signal;
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, Row, mysql::MySqlRow, pool::PoolConnection};
use tokio::sync::mpsc;

use super::{
    connection::{Connections, Fault},
    predicate::{self, Kind},
    rows::{Cut, table},
    scan::{self, Chunk, RANGES, chunk_columns, ranges, time_range, unseen},
    sql,
};
use crate::{
    Error, Fragment, Key, Measure, Scan,
    database::Seen,
    scan::{GroupBy, Groups},
};

/// Groups of one batch.
const BATCH: usize = 8192;

/// A column of the answer.
#[derive(Clone, Debug)]
struct Output {
    name: String,
    sql: String,
    kind: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Text,
    /// The empty text stands for this one.
    TextOr(&'static str),
    Int,
    Double,
    /// What it is multiplied with gives ns.
    Time(i64),
    /// The number of a stretch of time, NULL for the one of the epoch: less `shift`, times `width`, and `origin`, is its start in the table's unit, of so
    /// many ns.
    Bucket {
        shift: i64,
        width: i64,
        origin: i64,
        unit: i64,
    },
    /// An integer that may be too large for 64 bits.
    Sum,
}

/// What is to be asked.
struct Question {
    keys: Vec<Output>,
    measures: Vec<Output>,
    conditions: Vec<String>,
    /// Bits that must not be set.
    cut: Cut,
}

/// The groups of the rows that `scan` asks for; `None` where the engine has to make them.
///
/// # Errors
/// As [`crate::database::Database::group`].
pub(super) async fn group(
    connections: &Arc<Connections>,
    scan: &Scan,
    group: &GroupBy,
    seen: &Seen,
) -> Result<Option<Groups>, Error> {
    let Some(question) = question(scan, group) else { return Ok(None) };
    let (inner, edges) = whole(scan);
    if inner.time.is_empty() {
        return Ok(None);
    }
    let begun = begin(connections, &inner, &question, seen).await.map_err(|fault| connections.error(fault))?;
    let Some(Begun { mut connection, left_out, to_read }) = begun else { return Ok(None) };
    let question = if group.keys.iter().any(|key| matches!(key, Key::Time { .. })) {
        let times = times(connections, &mut connection, scan.signal).await.map_err(|fault| connections.error(fault))?;
        // The same question, said in fewer steps.
        self::question(&within(&inner, times), group).unwrap_or(question)
    } else {
        question
    };
    let mut rest = Vec::new();
    for edge in edges {
        rest.extend(scan::scan(connections, &edge, seen).await?);
    }
    if !to_read.is_empty() {
        rest.push(Fragment::Rows(scan::read(Arc::clone(connections), without_limit(&inner), to_read).boxed()));
    }
    let groups = answer(Arc::clone(connections), connection, question, statement_parts(&inner, &left_out));
    Ok(Some(Groups { groups: groups.boxed(), rest }))
}

/// The least and the greatest time of the table, in its unit, by its index; `None` where it has none or one of them is no
/// date.
async fn times(
    connections: &Connections,
    connection: &mut MySqlConnection,
    signal: Signal,
) -> Result<Option<(i64, i64)>, Fault> {
    let (_, unit) = predicate::time(signal);
    let column = if unit == 1 { "l.time_ns" } else { "l.timestamp" };
    let [least, greatest] = ["MIN", "MAX"].map(|function| match unit {
        1 => format!("{function}({column})"),
        _ => format!("TIMESTAMPDIFF(MICROSECOND, {EPOCH}, {function}({column}))"),
    });
    let select = format!("SELECT CAST({least} AS SIGNED), CAST({greatest} AS SIGNED) FROM {} l", table(signal));
    let row = sqlx::raw_sql(AssertSqlSafe(select)).fetch_one(connection);
    let row = connections.in_time(row).await?;
    let times: (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(times.0.zip(times.1))
}

/// The scan with no more time than there is in the table.
fn within(scan: &Scan, times: Option<(i64, i64)>) -> Scan {
    let (_, unit) = predicate::time(scan.signal);
    let Some((least, greatest)) = times else { return scan.clone() };
    // A time that ns cannot say counts as the nearest that they can: of it nothing is known here.
    let (Some(least), Some(end)) =
        (least.checked_mul(unit), greatest.checked_add(1).and_then(|after| after.checked_mul(unit)))
    else {
        return scan.clone();
    };
    Scan { time: scan.time.start.max(least)..scan.time.end.min(end), ..scan.clone() }
}

/// The scan without what no aggregate has.
fn without_limit(scan: &Scan) -> Scan {
    Scan { limit: None, newest_first: false, ..scan.clone() }
}

/// The part of the scan whose microseconds it has wholly, and the edges besides.
fn whole(scan: &Scan) -> (Scan, Vec<Scan>) {
    let scan = without_limit(scan);
    if scan.signal == Signal::Traces {
        return (scan, Vec::new());
    }
    let up = |time: i64| {
        if time == i64::MIN { time } else { time.saturating_add(999).div_euclid(1000).saturating_mul(1000) }
    };
    let down = |time: i64| if time == i64::MAX { time } else { time.div_euclid(1000).saturating_mul(1000) };
    let inner = up(scan.time.start)..down(scan.time.end);
    let edges = [scan.time.start..inner.start, inner.end..scan.time.end];
    let edges = edges.into_iter().filter(|edge| !edge.is_empty()).map(|time| Scan { time, ..scan.clone() }).collect();
    (Scan { time: inner, ..scan }, edges)
}

fn question(scan: &Scan, group: &GroupBy) -> Option<Question> {
    let signal = scan.signal;
    let (mut conditions, mut cut) = (Vec::new(), 0);
    for filter in &scan.filters {
        let (condition, bits) = predicate::exact(signal, filter)?;
        conditions.push(condition);
        cut |= bits.0;
    }
    let mut output = |name: String, made: Option<(String, Answer, Cut)>| {
        let (sql, kind, bits) = made?;
        cut |= bits.0;
        Some(Output { name, sql, kind })
    };
    let keys = group.keys.iter().enumerate().map(|(at, key)| output(format!("k{at}"), self::key(scan, key)));
    let keys = keys.collect::<Option<Vec<_>>>()?;
    let measures = group.measures.iter().enumerate();
    let measures = measures.map(|(at, measure)| output(format!("m{at}"), self::measure(signal, measure)));
    let measures = measures.collect::<Option<Vec<_>>>()?;
    Some(Question { keys, measures, conditions, cut: Cut(cut) })
}

fn key(scan: &Scan, key: &Key) -> Option<(String, Answer, Cut)> {
    let signal = scan.signal;
    match key {
        Key::Column(name) => {
            let column = predicate::column(signal, name)?;
            // A long text is sorted by its beginning only; doubles are equal in more ways than one.
            match column.kind {
                Kind::Text if column.is_short() => Some(match predicate::key(signal, name) {
                    Some((sql, or)) => (sql.to_owned(), Answer::TextOr(or), column.cut),
                    None => (column.sql.to_owned(), Answer::Text, column.cut),
                }),
                Kind::Int => Some((column.sql.to_owned(), Answer::Int, column.cut)),
                Kind::Text | Kind::Double => None,
            }
        }
        Key::Attribute(_) => None,
        Key::Time { width, origin } => {
            let (time, unit) = predicate::time(signal);
            if *width <= 0 || width % unit != 0 || origin % unit != 0 {
                return None;
            }
            bucket(scan, time, unit, width / unit, origin / unit)
        }
    }
}

/// Times of the tables are counted from it.
const EPOCH: &str = "TIMESTAMP'1970-01-01 00:00:00'";

/// The number of the stretch of time that a row lies in, as cheap as it can be had: the database computes it for each row.
fn bucket(scan: &Scan, time: &str, unit: i64, width: i64, origin: i64) -> Option<(String, Answer, Cut)> {
    let answer = |shift| Answer::Bucket { shift, width, origin, unit };
    let start = scan.time.start.div_euclid(unit);
    // DIV rounds towards 0: what it divides must not be negative.
    if scan.time.start > i64::MIN && scan.time.end < i64::MAX && start >= origin {
        let coarse = [("MINUTE", 60_000_000), ("SECOND", 1_000_000)].into_iter();
        // So does the difference of times.
        let coarse = coarse.filter(|_| unit > 1 && start >= 0);
        let sql = match coarse.into_iter().find(|(_, micros)| width % micros == 0 && origin % micros == 0) {
            Some((name, micros)) => {
                let (width, origin) = (width / micros, origin / micros);
                format!("(TIMESTAMPDIFF({name}, {EPOCH}, l.timestamp) - ({origin})) DIV {width}")
            }
            None => format!("({time} - ({origin})) DIV {width}"),
        };
        return Some((sql.replace(" - (0)", ""), answer(0), Cut::NONE));
    }
    if unit == 1 {
        let sql = format!("{time} - MOD(MOD({time} - ({origin}), {width}) + {width}, {width})");
        return Some((sql, Answer::Time(unit), Cut::NONE));
    }
    // What ns cannot say counts as the nearest that they can, as in a scan.
    let (least, greatest) = (i64::MIN / unit, i64::MAX / unit);
    let shift = (greatest.checked_add(origin.checked_abs()?)? / width).checked_add(2)?;
    let added = shift.checked_mul(width)?.checked_sub(origin)?;
    greatest.checked_add(added)?;
    let sql = format!("(LEAST(GREATEST(COALESCE({time}, 0), {least}), {greatest}) + ({added})) DIV {width}");
    Some((sql, answer(shift), Cut::NONE))
}

fn measure(signal: Signal, measure: &Measure) -> Option<(String, Answer, Cut)> {
    let column = |name: &str| predicate::column(signal, name);
    match measure {
        Measure::CountAll => Some(("COUNT(*)".to_owned(), Answer::Int, Cut::NONE)),
        Measure::Count(name) if name == "time" => Some(("COUNT(*)".to_owned(), Answer::Int, Cut::NONE)),
        Measure::Count(name) => {
            let column = column(name)?;
            // Of a text that is cut it can still be told whether there is one.
            let cut = if column.kind == Kind::Text { Cut(column.cut.0 & Cut::NULL.0) } else { column.cut };
            Some((format!("COUNT({})", column.sql), Answer::Int, cut))
        }
        Measure::Sum(name) => {
            let column = column(name)?;
            match column.kind {
                Kind::Int => Some((format!("CAST(SUM({}) AS CHAR)", column.sql), Answer::Sum, column.cut)),
                Kind::Double => Some((format!("SUM({})", column.sql), Answer::Double, column.cut)),
                Kind::Text => None,
            }
        }
        Measure::Min(name) => extreme(signal, "MIN", name),
        Measure::Max(name) => extreme(signal, "MAX", name),
    }
}

fn extreme(signal: Signal, function: &str, name: &str) -> Option<(String, Answer, Cut)> {
    if name == "time" && signal == Signal::Traces {
        return Some((format!("{function}(l.time_ns)"), Answer::Time(1), Cut::NONE));
    }
    let column = predicate::column(signal, name)?;
    let kind = match column.kind {
        Kind::Text if column.is_short() => Answer::Text,
        Kind::Text => return None,
        Kind::Int => Answer::Int,
        Kind::Double => Answer::Double,
    };
    Some((format!("{function}({})", column.sql), kind, column.cut))
}

/// A snapshot of the database.
struct Begun {
    connection: PoolConnection<MySql>,
    /// Ids that are to be left out.
    left_out: Vec<(i64, i64)>,
    /// Chunks of these that are to be read.
    to_read: Vec<Chunk>,
}

/// Opens a snapshot and looks what is to be left out; `None` where that is too much.
async fn begin(
    connections: &Connections,
    scan: &Scan,
    question: &Question,
    seen: &Seen,
) -> Result<Option<Begun>, Fault> {
    let mut connection = connections.in_time(connections.pool().acquire()).await?;
    let begin = sqlx::raw_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").execute(&mut *connection);
    connections.in_time(begin).await?;
    let listed = left_out(connections, &mut connection, scan, question.cut, seen).await?;
    let left_out = ranges(&listed);
    if left_out.len() > RANGES {
        connections.in_time(sqlx::raw_sql("ROLLBACK").execute(&mut *connection)).await?;
        return Ok(None);
    }
    let to_read = listed.into_iter().filter(|chunk| chunk.is_seen).collect();
    Ok(Some(Begun { connection, left_out, to_read }))
}

/// The chunks that the query does not see, and those that lack something of its columns.
async fn left_out(
    connections: &Connections,
    connection: &mut MySqlConnection,
    scan: &Scan,
    cut: Cut,
    seen: &Seen,
) -> Result<Vec<Chunk>, Fault> {
    let (name, writer) = (scan.signal.table(), sql::text(&seen.writer));
    let [left_out, to_read] = ["1", "0"].map(chunk_columns);
    let time = format!("c.max_time >= {} AND c.min_time < {}", scan.time.start, scan.time.end);
    let mut select = format!(
        "SELECT {left_out} FROM devmesh_chunks c WHERE c.table_name = '{name}' AND c.writer = {writer} AND \
         c.last > {last} AND {time} UNION DISTINCT SELECT {left_out} FROM devmesh_blocks b JOIN \
         devmesh_chunks c USING (table_name, writer, last) WHERE b.table_name = '{name}' AND b.done = FALSE AND {time}",
        last = seen.last
    );
    if cut != Cut::NONE {
        select.push_str(&format!(
            " UNION DISTINCT SELECT {to_read} FROM devmesh_chunks c WHERE c.table_name = '{name}' AND \
             c.cut > 0 AND c.cut & {} <> 0 AND {time} AND NOT {}",
            cut.0,
            unseen(scan.signal, seen)
        ));
    }
    let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(connection);
    let rows = connections.rows(rows).await?;
    rows.iter().map(Chunk::read).collect()
}

/// Table and conditions of the statement.
fn statement_parts(scan: &Scan, left_out: &[(i64, i64)]) -> (&'static str, Vec<String>) {
    let mut conditions = vec![time_range(scan)];
    conditions.extend(left_out.iter().map(|(first, last)| format!("NOT (l.id BETWEEN {first} AND {last})")));
    (table(scan.signal), conditions)
}

/// Asks for the groups and gives them batch by batch. A reader that goes away ends the statement.
fn answer(
    connections: Arc<Connections>,
    connection: PoolConnection<MySql>,
    question: Question,
    (table, mut conditions): (&'static str, Vec<String>),
) -> impl stream::Stream<Item = Result<RecordBatch, Error>> + Send + 'static {
    conditions.extend(question.conditions.iter().cloned());
    let outputs: Vec<Output> = question.keys.iter().chain(&question.measures).cloned().collect();
    let selected: Vec<String> = outputs.iter().map(|output| format!("{} AS {}", output.sql, output.name)).collect();
    let mut select = format!("SELECT {} FROM {table} l WHERE {}", selected.join(", "), conditions.join(" AND "));
    if !question.keys.is_empty() {
        let keys: Vec<&str> = question.keys.iter().map(|key| key.name.as_str()).collect();
        select.push_str(&format!(" GROUP BY {} ORDER BY NULL", keys.join(", ")));
    }
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let outcome = run(&connections, connection, select, &outputs, &sender).await;
        if let Err(fault) = outcome {
            // Nobody is left to be told where this fails.
            drop(sender.send(Err(connections.error(fault))).await);
        }
    });
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|batch| (batch, receiver)) })
}

async fn run(
    connections: &Connections,
    mut connection: PoolConnection<MySql>,
    select: String,
    outputs: &[Output],
    sender: &mpsc::Sender<Result<RecordBatch, Error>>,
) -> Result<(), Fault> {
    let id = sqlx::raw_sql("SELECT CAST(CONNECTION_ID() AS SIGNED)").fetch_one(&mut *connection).await?;
    let id: i64 = id.try_get(0)?;
    let fetch = async {
        let mut rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch(&mut *connection);
        let mut batch = Vec::new();
        loop {
            let row = rows.try_next().await?;
            let is_over = row.is_none();
            batch.extend(row);
            if batch.len() == BATCH || is_over && !batch.is_empty() {
                let sent = sender.send(Ok(to_batch(&batch, outputs)?)).await;
                batch.clear();
                if sent.is_err() {
                    return Ok::<_, Fault>(false);
                }
            }
            if is_over {
                return Ok(true);
            }
        }
    };
    let is_whole = tokio::select! {
        biased;
        () = sender.closed() => false,
        whole = fetch => whole?,
    };
    if is_whole {
        connections.in_time(sqlx::raw_sql("ROLLBACK").execute(&mut *connection)).await?;
    } else {
        // The statement has to end, and what it has sent is not worth reading.
        connections.kill(id).await?;
        drop(connection.detach());
    }
    Ok(())
}

fn to_batch(rows: &[MySqlRow], outputs: &[Output]) -> Result<RecordBatch, Fault> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (at, output) in outputs.iter().enumerate() {
        let array = array(rows, at, output.kind)?;
        fields.push(Field::new(&output.name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options);
    batch.map_err(|error: ArrowError| Fault::Refused(error.to_string()))
}

fn array(rows: &[MySqlRow], at: usize, kind: Answer) -> Result<ArrayRef, Fault> {
    let ints = || rows.iter().map(|row| row.try_get::<Option<i64>, _>(at)).collect::<Result<Vec<_>, _>>();
    Ok(match kind {
        Answer::Text => {
            let texts = rows.iter().map(|row| row.try_get::<Option<String>, _>(at));
            Arc::new(texts.collect::<Result<StringViewArray, _>>()?)
        }
        Answer::TextOr(or) => {
            let text = |row: &MySqlRow| {
                let text: Option<String> = row.try_get(at)?;
                Ok::<_, Fault>(text.map(|text| if text.is_empty() { or.to_owned() } else { text }))
            };
            Arc::new(rows.iter().map(text).collect::<Result<StringViewArray, _>>()?)
        }
        Answer::Int => Arc::new(Int64Array::from(ints()?)),
        Answer::Double => {
            let doubles = rows.iter().map(|row| row.try_get::<Option<f64>, _>(at));
            Arc::new(doubles.collect::<Result<Float64Array, _>>()?)
        }
        Answer::Time(unit) => {
            let times = ints()?.into_iter().map(|time| time.map(|time| time.saturating_mul(unit)));
            Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
        }
        Answer::Bucket { shift, width, origin, unit } => {
            let start = |bucket: i64| {
                let start = (i128::from(bucket - shift) * i128::from(width) + i128::from(origin)) * i128::from(unit);
                i64::try_from(start.clamp(i128::from(i64::MIN), i128::from(i64::MAX))).unwrap_or_default()
            };
            // What is no date counts as the epoch, as in a scan.
            let epoch = (-origin).div_euclid(width) + shift;
            let times = ints()?.into_iter().map(|bucket| Some(start(bucket.unwrap_or(epoch))));
            Arc::new(times.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
        }
        Answer::Sum => {
            let sum = |row: &MySqlRow| {
                let text: Option<String> = row.try_get(at)?;
                let sum = text.map(|text| text.parse::<i64>()).transpose();
                sum.map_err(|_overflow| Fault::Refused("a sum is beyond 64 bits".to_owned()))
            };
            Arc::new(rows.iter().map(sum).collect::<Result<Int64Array, Fault>>()?)
        }
    })
}
