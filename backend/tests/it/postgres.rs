//! The Postgres wire, with the real `psql` and a real driver.

use std::process::{Command, Output};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage, types::Type};

use crate::server::{PATIENCE, Server, logs};

fn psql(server: &Server, password: &str, args: &[&str]) -> Output {
    let (host, port) = server.door("postgres").rsplit_once(':').unwrap();
    Command::new("psql")
        .args(["-X", "-h", host, "-p", port, "-U", "anybody", "-d", "devmesh", "-v", "ON_ERROR_STOP=1"])
        .args(args)
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", PATIENCE.as_secs().to_string())
        .output()
        .expect("psql is missing: apt-get install postgresql-client")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn connect(server: &Server) -> Client {
    let (host, port) = server.door("postgres").rsplit_once(':').unwrap();
    let (client, connection) =
        tokio_postgres::connect(&format!("host={host} port={port} user=u dbname=d"), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn filled(dir: &tempfile::TempDir) -> Server {
    let server = Server::start(dir.path());
    assert_eq!(server.post_json("otlp-http", "/v1/logs", &logs("cart", &["one", "it's two"])).status, 200);
    server
}

#[test]
fn psql_reads_rows_with_nulls_and_quotes() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(&dir);
    let sql = "SELECT service, body, trace_id, severity_number, count(*) OVER () FROM logs ORDER BY body";
    assert_eq!(said(&psql(&server, "", &["-At", "-c", sql])), "cart|it's two||17|2\ncart|one||17|2\n");
    let several = "BEGIN; SET search_path = x; SELECT count(*) FROM logs; COMMIT;";
    assert!(said(&psql(&server, "", &["-At", "-c", several])).contains('2'));
}

#[test]
fn psqls_backslash_commands_show_the_tables() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(&dir);
    let tables = said(&psql(&server, "", &["-c", "\\dt"]));
    assert!(tables.contains(" logs ") && tables.contains(" spans ") && tables.contains(" metrics "), "{tables}");
    assert!(!tables.contains("log_events"), "{tables}");
    let views = said(&psql(&server, "", &["-c", "\\dv otel_*"]));
    assert!(views.contains("otel_traces") && !views.contains("log_events"), "{views}");
    let logs = said(&psql(&server, "", &["-c", "\\d logs"]));
    assert!(
        logs.contains("Table \"public.logs\"") && logs.contains("timestamptz") && logs.contains("not null"),
        "{logs}"
    );
    assert!(said(&psql(&server, "", &["-c", "\\d log_events"])).contains("View \"public.log_events\""));
    let detailed = said(&psql(&server, "", &["-c", "\\d+ spans"]));
    assert!(detailed.contains("Nanoseconds"), "{detailed}");
    for (command, part) in [
        ("SELECT version()", "devmesh"),
        ("SHOW server_version", "15"),
        ("SHOW timezone", "UTC"),
        ("SELECT current_schema()", "public"),
        ("SELECT table_name FROM information_schema.tables", "service_edges"),
    ] {
        let output = said(&psql(&server, "", &["-At", "-c", command]));
        assert!(output.contains(part), "{command}: {output}");
    }
}

#[test]
fn errors_have_a_code_and_a_position_and_nothing_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(&dir);
    for (sql, parts) in [
        ("SELECT * FROM lgs", &["42P01", "did you mean logs?", "LINE 1", "^"][..]),
        ("SELECT bdy FROM logs", &["42703", "did you mean body?", "^"]),
        ("SELEC 1", &["ERROR"]),
        ("DROP TABLE logs", &["ERROR"]),
        ("INSERT INTO logs VALUES (1)", &["ERROR"]),
        ("SELECT * FROM pg_catalog.pg_roles", &["42P01", "information_schema"]),
        ("SHOW wishes", &["42704"]),
    ] {
        let output = psql(&server, "", &["-v", "VERBOSITY=verbose", "-c", sql]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{sql}");
        for part in parts {
            assert!(message.contains(part), "{sql}: {message} lacks {part}");
        }
    }
    assert_eq!(server.value("SELECT count(*) FROM logs"), 2);
}

#[tokio::test]
async fn a_driver_prepares_binds_and_reads_binary_values() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(&dir);
    let client = connect(&server).await;
    let sql = "SELECT service, severity_number, time, count(*) OVER () AS n, 1.5e0 AS f, true AS b FROM logs \
               WHERE body = $1 AND severity_number > $2";
    let statement = client.prepare_typed(sql, &[Type::TEXT, Type::INT8]).await.unwrap();
    let types: Vec<Type> = statement.columns().iter().map(|column| column.type_().clone()).collect();
    assert_eq!(types, [Type::TEXT, Type::INT4, Type::TIMESTAMPTZ, Type::INT8, Type::FLOAT8, Type::BOOL]);
    let rows = client.query(&statement, &[&"it's two", &1i64]).await.unwrap();
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.get::<_, &str>(0), row.get::<_, i32>(1), row.get::<_, i64>(3)), ("cart", 17, 1));
    assert_eq!((row.get::<_, f64>(4), row.get::<_, bool>(5)), (1.5, true));
    let time: std::time::SystemTime = row.get(2);
    assert!(time.elapsed().unwrap() < PATIENCE);
    assert!(client.query(&statement, &[&"'; DROP TABLE logs; --", &1i64]).await.unwrap().is_empty());
    let failed = client.query("SELECT * FROM lgs", &[]).await.unwrap_err();
    assert_eq!(failed.code().unwrap().code(), "42P01");
    assert_eq!(client.query("SELECT 1::bigint AS one", &[]).await.unwrap()[0].get::<_, i64>(0), 1);
}

#[tokio::test]
async fn a_transaction_that_failed_waits_for_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = filled(&dir);
    let client = connect(&server).await;
    client.simple_query("BEGIN").await.unwrap();
    assert!(client.simple_query("SELECT * FROM lgs").await.is_err());
    let error = client.simple_query("SELECT 1").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25P02");
    client.simple_query("ROLLBACK").await.unwrap();
    let rows = client.simple_query("SELECT count(*) FROM logs").await.unwrap();
    let row = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    assert_eq!(row, Some("2"));
}

#[test]
fn the_password_is_a_read_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(dir.path(), &["--set", "auth.read_tokens=read-0123456789abcdef"]);
    assert_eq!(said(&psql(&server, "read-0123456789abcdef", &["-At", "-c", "SELECT 1"])), "1\n");
    let output = psql(&server, "wrong-0123456789abcdef", &["-At", "-c", "SELECT 1"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("read token"));
}
