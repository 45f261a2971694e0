//! What a query sees: the three tables, the views, the functions on the list, and an `information_schema` of just those.

use std::{collections::HashSet, sync::Arc};

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use datafusion::{
    catalog::{MemorySchemaProvider, SchemaProvider, TableFunction},
    common::Result,
    datasource::{MemTable, TableProvider, ViewTable},
    execution::{SessionState, SessionStateBuilder, SessionStateDefaults, cache::cache_manager::FileMetadataCache},
    logical_expr::planner::ExprPlanner,
    prelude::{SessionConfig, SessionContext},
};
use devmesh_schema::{Signal, views::VIEWS};

use crate::{
    alerts,
    error::Error,
    functions, graph, guard, ids, incidents, join_filters,
    meaning::{self, Slot},
    patterns::{self, texts},
    pauses, planner,
    prometheus::function,
    table::SignalTable,
};

/// The catalog's name in `information_schema`.
pub(crate) const CATALOG: &str = "devmesh";
/// The schema that names without one are looked up in: the one that Postgres clients expect.
pub(crate) const SCHEMA: &str = "public";

/// What all queries have in common.
pub(crate) struct Base {
    pub(crate) state: SessionState,
    /// Names of tables and views, sorted.
    pub(crate) tables: Vec<String>,
    /// Column names with capitals, which the exporter's tables have.
    pub(crate) cased: HashSet<String>,
}

fn config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(true)
        .with_information_schema(false)
        .with_target_partitions(partitions);
    let options = config.options_mut();
    options.execution.time_zone = Some("UTC".into());
    options.execution.enable_recursive_ctes = false;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    config
}

/// The table functions. A name is looked up as it is written, in lower or upper case.
fn table_functions(meaning: &Slot) -> Vec<Arc<TableFunction>> {
    let semantic = Arc::new(meaning::function::Semantic(meaning.clone()));
    let names = [meaning::function::NAME.to_owned(), meaning::function::NAME.to_uppercase()];
    names.map(|name| Arc::new(TableFunction::new(name, semantic.clone()))).into()
}

fn state(partitions: usize, meaning: &Slot) -> SessionState {
    let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(planner::AttributePlanner)];
    planners.extend(SessionStateDefaults::default_expr_planners());
    SessionStateBuilder::new()
        .with_config(config(partitions))
        .with_scalar_functions(functions::scalar())
        .with_aggregate_functions(functions::aggregate())
        .with_window_functions(functions::window())
        .with_table_function_list(table_functions(meaning))
        .with_expr_planners(planners)
        .with_analyzer_rule(Arc::new(planner::NumericAttributes))
        .with_analyzer_rule(Arc::new(planner::BoundedJoins))
        .with_physical_optimizer_rules(join_filters::rules())
        .with_physical_optimizer_rule(Arc::new(pauses::JoinsPause))
        .with_optimizer_rule(Arc::new(ids::JoinsById))
        .with_optimizer_rule(Arc::new(ids::GroupsById))
        .build()
}

/// Builds it. Async only because planning a view is.
pub(crate) async fn base(
    metadata: Arc<FileMetadataCache>,
    partitions: usize,
    meaning: Slot,
    incidents: incidents::Slot,
    alerts: alerts::Slot,
    graph: &graph::Slot,
) -> Result<Base, Error> {
    let context = SessionContext::new_with_state(state(partitions, &meaning));
    let mut providers: Vec<(String, &str, Arc<dyn TableProvider>)> = Vec::new();
    for signal in Signal::ALL {
        let table = SignalTable { signal, metadata: Arc::clone(&metadata), newest: None };
        let table: Arc<dyn TableProvider> = Arc::new(table);
        context.register_table(signal.table(), Arc::clone(&table))?;
        providers.push((signal.table().into(), "BASE TABLE", table));
    }
    let embeddings = meaning::embeddings::table(meaning.clone())?;
    context.register_table(meaning::embeddings::NAME, Arc::clone(&embeddings))?;
    providers.push((meaning::embeddings::NAME.into(), "VIEW", embeddings));
    let table: Arc<dyn TableProvider> = Arc::new(incidents::Table(incidents));
    context.register_table(incidents::NAME, Arc::clone(&table))?;
    providers.push((incidents::NAME.into(), "VIEW", table));
    let table: Arc<dyn TableProvider> = Arc::new(alerts::Table(alerts));
    context.register_table(alerts::NAME, Arc::clone(&table))?;
    providers.push((alerts::NAME.into(), "VIEW", table));
    context.register_table(texts::NAME, Arc::new(texts::PatternTexts))?;
    for (name, function) in patterns::functions::ALL {
        // A name is looked up as it is written.
        context.register_udtf(name, Arc::new(function));
        context.register_udtf(&name.to_uppercase(), Arc::new(function));
    }
    for name in [function::FUNCTION.to_owned(), function::FUNCTION.to_uppercase()] {
        context.register_udtf(&name, Arc::new(function::PromqlFunction));
    }
    for function in graph::functions(graph) {
        context.register_udtf(function.name(), Arc::clone(function.function()));
    }
    for (name, sql) in VIEWS {
        let statement = guard::parse(sql, &HashSet::new())?;
        let plan = context.state().statement_to_plan(statement).await?;
        let view: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, Some((*sql).into())));
        context.register_table(*name, Arc::clone(&view))?;
        providers.push(((*name).into(), "VIEW", view));
    }
    if let Some(catalog) = context.catalog(CATALOG) {
        catalog.register_schema("information_schema", information_schema(&providers, &context.state())?)?;
    }
    let names = providers
        .iter()
        .flat_map(|(_, _, table)| table.schema().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>());
    let cased = names.filter(|name| name.bytes().any(|b| b.is_ascii_uppercase())).collect();
    let mut tables: Vec<String> = providers.into_iter().map(|(name, _, _)| name).collect();
    tables.sort();
    Ok(Base { state: context.state(), tables, cased })
}

fn information_schema(
    providers: &[(String, &str, Arc<dyn TableProvider>)],
    state: &SessionState,
) -> Result<Arc<dyn SchemaProvider>> {
    let schema = MemorySchemaProvider::new();
    let tables = providers.iter().map(|(name, kind, _)| vec![CATALOG, SCHEMA, name.as_str(), *kind]).collect();
    let columns = ["table_catalog", "table_schema", "table_name", "table_type"];
    schema.register_table("tables".into(), texts(&columns, tables)?)?;
    schema.register_table("schemata".into(), texts(&["catalog_name", "schema_name"], vec![vec![CATALOG, SCHEMA]])?)?;
    let views = providers
        .iter()
        .filter_map(|(name, _, table)| Some(vec![CATALOG, SCHEMA, name.as_str(), table.get_table_definition()?]));
    let columns = ["table_catalog", "table_schema", "table_name", "view_definition"];
    schema.register_table("views".into(), texts(&columns, views.collect())?)?;
    let mut routines: Vec<(&str, &str)> = state.scalar_functions().keys().map(|n| (n.as_str(), "SCALAR")).collect();
    routines.extend(state.aggregate_functions().keys().map(|name| (name.as_str(), "AGGREGATE")));
    routines.extend(state.window_functions().keys().map(|name| (name.as_str(), "WINDOW")));
    let tables = state.table_functions().keys().map(String::as_str);
    routines.extend(tables.filter(|name| name.bytes().all(|b| !b.is_ascii_uppercase())).map(|name| (name, "TABLE")));
    routines.sort_unstable();
    let rows = routines.iter().map(|(name, kind)| vec![CATALOG, SCHEMA, *name, *kind]).collect();
    let columns = ["routine_catalog", "routine_schema", "routine_name", "function_type"];
    schema.register_table("routines".into(), texts(&columns, rows)?)?;
    schema.register_table("columns".into(), columns_table(providers)?)?;
    Ok(Arc::new(schema))
}

fn texts(columns: &[&str], rows: Vec<Vec<&str>>) -> Result<Arc<dyn TableProvider>> {
    let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, false)).collect();
    let column = |i: usize| Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row[i]))) as ArrayRef;
    table(fields, (0..columns.len()).map(column).collect())
}

fn columns_table(providers: &[(String, &str, Arc<dyn TableProvider>)]) -> Result<Arc<dyn TableProvider>> {
    let (mut tables, mut names, mut places, mut types, mut nullable) = (vec![], vec![], vec![], vec![], vec![]);
    for (table, _, provider) in providers {
        for (place, field) in provider.schema().fields().iter().enumerate() {
            tables.push(table.as_str());
            names.push(field.name().clone());
            places.push(place as u64 + 1);
            types.push(field.data_type().to_string());
            nullable.push(if field.is_nullable() { "YES" } else { "NO" });
        }
    }
    let all = |text: &str| Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, names.len()))) as ArrayRef;
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    let fields = vec![
        text("table_catalog"),
        text("table_schema"),
        text("table_name"),
        text("column_name"),
        Field::new("ordinal_position", DataType::UInt64, false),
        text("data_type"),
        text("is_nullable"),
    ];
    let arrays: Vec<ArrayRef> = vec![
        all(CATALOG),
        all(SCHEMA),
        Arc::new(StringArray::from_iter_values(tables)),
        Arc::new(StringArray::from_iter_values(&names)),
        Arc::new(UInt64Array::from(places)),
        Arc::new(StringArray::from_iter_values(types)),
        Arc::new(StringArray::from_iter_values(nullable)),
    ];
    table(fields, arrays)
}

fn table(fields: Vec<Field>, columns: Vec<ArrayRef>) -> Result<Arc<dyn TableProvider>> {
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))
}
