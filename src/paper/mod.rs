//! What people look at, whoever shows it: figures with their units, names made harmless, plots, and pages that stand alone.
//!
//! [`units`] are figures as people read them, [`escape`] text that a terminal only shows, [`columns`] and [`bars`] a table of it; [`plot`] makes
//! pictures, [`page`] what holds them, [`whole`] the file that it goes to; [`wrap`] fits long lines into a terminal; [`toml`]
//! is what was wrong with a file of theirs.
#![forbid(unsafe_code)]

pub mod bars;
pub mod columns;
pub mod escape;
pub mod page;
pub mod plot;
pub mod toml;
pub mod units;
pub mod whole;
pub mod wrap;
