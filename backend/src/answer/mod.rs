//! Rows as people and programs take them: JSON, CSV, Arrow, text; and the tables there are.

pub(crate) mod cell;
pub(crate) mod csv;
pub(crate) mod event;
pub(crate) mod json;
pub(crate) mod tables;
