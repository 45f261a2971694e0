//! `GET /query/tables`: what there is to ask for.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, problem::Problem};
use crate::answer::{cell, tables};

/// A table or view.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Table {
    /// Its name in SQL.
    name: String,
    /// What it holds.
    doc: String,
    /// `table` or `view`.
    kind: &'static str,
    /// Its columns, in order.
    columns: Vec<Column>,
}

/// A column of a table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Column {
    /// Its name in SQL.
    name: String,
    /// Its type, in the words of `/query/sql`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Whether it may be NULL.
    nullable: bool,
    /// What it holds.
    doc: String,
}

impl From<&tables::Table> for Table {
    fn from(table: &tables::Table) -> Self {
        let column = |column: &tables::Column| Column {
            name: column.name.clone(),
            kind: cell::type_name(&column.data_type),
            nullable: column.nullable,
            doc: column.doc.clone(),
        };
        Self {
            name: table.name.clone(),
            doc: table.doc.clone(),
            kind: if table.view { "view" } else { "table" },
            columns: table.columns.iter().map(column).collect(),
        }
    }
}

/// The tables and views, with their columns.
#[utoipa::path(get, path = "/query/tables", tag = "query", responses((status = 200, body = Vec<Table>)))]
pub(super) async fn tables(State(api): State<Arc<Api>>) -> Result<Json<Vec<Table>>, Problem> {
    Ok(Json(api.queries.tables().await?.iter().map(Table::from).collect()))
}
