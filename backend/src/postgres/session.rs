//! What a client asks in a session: statements in the simple protocol, prepared ones in the extended.

use std::{fmt::Debug, sync::Arc};

use arrow_schema::SchemaRef;
use async_trait::async_trait;
use futures::{Sink, StreamExt, TryStreamExt, stream};
use pgwire::{
    api::{
        ClientInfo, ClientPortalStore, Type,
        portal::{Format, Portal},
        query::{ExtendedQueryHandler, SimpleQueryHandler},
        results::{DescribePortalResponse, DescribeStatementResponse, FieldInfo, QueryResponse, Response, Tag},
        stmt::{QueryParser, StoredStatement},
        store::PortalStore,
    },
    error::{PgWireError, PgWireResult},
    messages::{PgWireBackendMessage, response::TransactionStatus},
};

use super::{bind::Statement, catalog, encode, error, scan};
use crate::api::Queries;

/// Statements that set up or end something; all of it is as it is here, so they succeed and do nothing.
const WITHOUT_EFFECT: [(&str, &str); 9] = [
    ("set ", "SET"),
    ("reset ", "RESET"),
    ("discard ", "DISCARD"),
    ("deallocate ", "DEALLOCATE"),
    ("close ", "CLOSE CURSOR"),
    ("listen ", "LISTEN"),
    ("unlisten ", "UNLISTEN"),
    ("savepoint ", "SAVEPOINT"),
    ("release ", "RELEASE"),
];

/// Answers statements of all connections: a session keeps nothing.
#[derive(Debug)]
pub(super) struct Session {
    queries: Arc<Queries>,
    parser: Arc<Parser>,
}

impl Session {
    pub(super) fn new(queries: Arc<Queries>) -> Self {
        Self { queries, parser: Arc::new(Parser) }
    }

    /// Answers one statement.
    async fn answer(&self, sql: &str, format: &Format, failed: bool) -> PgWireResult<Response> {
        let words = scan::words(sql);
        if let Some(response) = transaction(&words) {
            return Ok(response);
        }
        if failed {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(error::wrong("25P02", text));
        }
        let spaced = format!("{words} ");
        if let Some((_, tag)) = WITHOUT_EFFECT.iter().find(|(start, _)| spaced.starts_with(start)) {
            return Ok(Response::Execution(Tag::new(tag)));
        }
        if let Some(batch) = self.catalogue(sql).await? {
            let fields = encode::fields(batch.schema_ref(), format)?;
            let rows = encode::rows(&batch, &fields)?;
            return Ok(Response::Query(QueryResponse::new(fields, stream::iter(rows.into_iter().map(Ok)))));
        }
        let answer = self.queries.sql(sql, Some(devmesh_query::limits::ROWS_MAX)).await;
        let answer = answer.map_err(|failure| error::query(&failure, sql))?;
        let fields = encode::fields(&answer.schema, format)?;
        let (columns, text) = (Arc::clone(&fields), sql.to_owned());
        let rows = answer.rows.map(move |batch| match batch {
            Ok(batch) => encode::rows(&batch, &columns).map(|rows| stream::iter(rows.into_iter().map(Ok))),
            Err(failure) => Err(error::query(&failure, &text)),
        });
        Ok(Response::Query(QueryResponse::new(fields, rows.try_flatten())))
    }

    /// What is no query on our data.
    async fn catalogue(&self, sql: &str) -> PgWireResult<Option<arrow_array::RecordBatch>> {
        let tables = self.queries.tables().await.map_err(|failure| error::query(&failure, sql))?;
        catalog::ask(sql, tables)
    }

    /// The columns of a statement's answer; none where it has no rows.
    async fn columns(&self, statement: &Statement) -> PgWireResult<Option<SchemaRef>> {
        let words = format!("{} ", scan::words(&statement.sql));
        if transaction(words.trim()).is_some() || WITHOUT_EFFECT.iter().any(|(start, _)| words.starts_with(start)) {
            return Ok(None);
        }
        let sql = statement.described()?;
        if let Some(batch) = self.catalogue(&sql).await? {
            return Ok(Some(batch.schema()));
        }
        let answer = self.queries.sql(&sql, Some(0)).await.map_err(|failure| error::query(&failure, &sql))?;
        Ok(Some(answer.schema))
    }

    async fn fields(&self, statement: &Statement, format: &Format) -> PgWireResult<Vec<FieldInfo>> {
        match self.columns(statement).await? {
            Some(schema) => Ok(encode::fields(&schema, format)?.to_vec()),
            None => Ok(Vec::new()),
        }
    }
}

/// The statements that begin and end a transaction. There is nothing to commit.
fn transaction(words: &str) -> Option<Response> {
    let first = words.split([' ', ';']).next()?;
    match first {
        "begin" => Some(Response::TransactionStart(Tag::new("BEGIN"))),
        "start" => Some(Response::TransactionStart(Tag::new("START TRANSACTION"))),
        "commit" | "end" => Some(Response::TransactionEnd(Tag::new("COMMIT"))),
        "rollback" | "abort" => Some(Response::TransactionEnd(Tag::new("ROLLBACK"))),
        _ => None,
    }
}

fn failed<C: ClientInfo>(client: &C) -> bool {
    matches!(client.transaction_status(), TransactionStatus::Error)
}

#[async_trait]
impl SimpleQueryHandler for Session {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = scan::statements(query);
        if statements.is_empty() {
            return Ok(vec![Response::EmptyQuery]);
        }
        let mut failed = failed(client);
        let mut responses = Vec::with_capacity(statements.len());
        for statement in statements {
            let response = self.answer(statement, &Format::UnifiedText, failed).await;
            match response {
                Ok(response) => {
                    failed &= !matches!(response, Response::TransactionEnd(_));
                    responses.push(response);
                }
                // What came before is answered all the same.
                Err(PgWireError::UserError(info)) if !responses.is_empty() => {
                    responses.push(Response::Error(info));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(responses)
    }
}

/// Keeps the text; the engine parses it when it runs.
#[derive(Debug)]
pub(super) struct Parser;

#[async_trait]
impl QueryParser for Parser {
    type Statement = Statement;

    async fn parse_sql<C>(&self, _client: &C, sql: &str, types: &[Option<Type>]) -> PgWireResult<Option<Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        match scan::statements(sql).as_slice() {
            [] => Ok(None),
            [statement] => Statement::new(statement, types).map(Some),
            _ => Err(error::wrong("42601", "cannot insert multiple commands into a prepared statement")),
        }
    }

    fn get_parameter_types(&self, statement: &Statement) -> PgWireResult<Vec<Type>> {
        Ok(statement.types.clone())
    }

    fn get_result_schema(&self, _: &Statement, _: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        // The columns need the engine; `do_describe_statement` asks it.
        Ok(Vec::new())
    }
}

#[async_trait]
impl ExtendedQueryHandler for Session {
    type Statement = Statement;
    type QueryParser = Parser;

    fn query_parser(&self) -> Arc<Parser> {
        Arc::clone(&self.parser)
    }

    async fn do_describe_statement<C>(
        &self,
        _client: &mut C,
        target: &StoredStatement<Statement>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let fields = self.fields(&target.statement, &Format::UnifiedText).await?;
        Ok(DescribeStatementResponse::new(target.statement.types.clone(), fields))
    }

    async fn do_describe_portal<C>(
        &self,
        _client: &mut C,
        target: &Portal<Statement>,
    ) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let fields = self.fields(&target.statement.statement, &target.result_column_format).await?;
        Ok(DescribePortalResponse::new(fields))
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Statement>, _rows: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let sql = portal.statement.statement.bound(portal)?;
        self.answer(&sql, &portal.result_column_format, failed(client)).await
    }
}
