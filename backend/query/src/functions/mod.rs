//! The functions a query may call: our own, and those of DataFusion that are on the list.
//!
//! A function that is not on the list does not exist (S11): nothing here reads a file, a clock other than `now()`, the
//! network or the settings, and nothing makes rows or text out of a number alone.

pub mod attribute;
pub(crate) mod id;
pub(crate) mod join;
mod list;
pub mod matches;
pub mod quantile;
mod record;
mod replace;
pub mod sketch;

use std::sync::Arc;

use datafusion::{
    execution::SessionStateDefaults,
    logical_expr::{AggregateUDF, ScalarUDF, WindowUDF},
};

/// The scalar functions.
pub(crate) fn scalar() -> Vec<Arc<ScalarUDF>> {
    let listed = |f: &Arc<ScalarUDF>| list::SCALAR.binary_search(&f.name()).is_ok();
    let mut functions: Vec<_> =
        SessionStateDefaults::default_scalar_functions().into_iter().filter(listed).map(replace::bounded).collect();
    functions.extend(attribute::functions());
    functions.push(matches::function());
    functions.extend(record::functions());
    functions
}

/// The aggregate functions.
pub(crate) fn aggregate() -> Vec<Arc<AggregateUDF>> {
    let listed = |f: &Arc<AggregateUDF>| list::AGGREGATE.binary_search(&f.name()).is_ok();
    let mut functions: Vec<_> =
        SessionStateDefaults::default_aggregate_functions().into_iter().filter(listed).collect();
    functions.extend(quantile::functions());
    functions
}

/// The window functions.
pub(crate) fn window() -> Vec<Arc<WindowUDF>> {
    let listed = |f: &Arc<WindowUDF>| list::WINDOW.binary_search(&f.name()).is_ok();
    SessionStateDefaults::default_window_functions().into_iter().filter(listed).collect()
}
