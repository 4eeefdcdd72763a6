//! What a user sees: lines, listings, bars, JSON, and names made harmless for a terminal.

mod bars;
pub mod hexdump;
pub mod json;
pub mod listing;
pub mod output;
pub mod progress;
pub mod steps;
pub mod summary;
pub mod terminal;

pub use crate::paper::escape;
