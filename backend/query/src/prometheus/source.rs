//! Where the rows of a statement come from: an engine, or a query that runs already and asks for more under its own snapshot,
//! memory and time.

use std::{collections::HashSet, time::Duration};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use datafusion::{execution::SessionState, physical_plan::execute_stream};
use futures::{StreamExt, stream::BoxStream};

use crate::{Engine, Error, SqlOptions, guard, in_store, scope::Scope};

/// Rows that a statement may have: as many as a LIMIT can say. [`super::SAMPLES`] bounds what is kept of them.
const ROWS: usize = i64::MAX as usize - 1;

pub(super) type Batches = BoxStream<'static, Result<RecordBatch, Error>>;

/// Answers statements that the module itself wrote.
#[async_trait]
pub(super) trait Source: Send + Sync {
    /// All rows of a statement.
    async fn rows(&self, sql: &str) -> Result<Batches, Error>;

    /// All rows at once, of a statement that has few.
    async fn all(&self, sql: &str) -> Result<Vec<RecordBatch>, Error> {
        let mut rows = self.rows(sql).await?;
        let mut all = Vec::new();
        while let Some(batch) = rows.next().await {
            all.push(batch?);
        }
        Ok(all)
    }
}

/// Statements as queries of an engine, each with a time of its own.
pub(super) struct Asking<'e> {
    pub(super) engine: &'e Engine,
    /// `None`: the engine's limit.
    pub(super) timeout: Option<Duration>,
}

#[async_trait]
impl Source for Asking<'_> {
    async fn rows(&self, sql: &str) -> Result<Batches, Error> {
        let options = SqlOptions { limit: Some(ROWS), timeout: self.timeout };
        Ok(self.engine.sql(sql, options).await?.rows.boxed())
    }
}

/// Statements as parts of a query: it has its turn, its time and its memory already.
pub(super) struct Inside(pub(super) SessionState);

#[async_trait]
impl Source for Inside {
    async fn rows(&self, sql: &str) -> Result<Batches, Error> {
        let Self(state) = self;
        let scope = Scope::of(state)?;
        let plan = state.statement_to_plan(guard::parse(sql, &HashSet::new())?).await?;
        let plan = in_store::plan(state.optimize(&plan)?, &scope).await?;
        let plan = state.query_planner().create_physical_plan(&plan, state).await?;
        let rows = execute_stream(plan, state.task_ctx())?;
        Ok(rows.map(|batch| batch.map_err(Error::from)).boxed())
    }
}
