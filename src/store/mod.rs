//! A user's tree: plain files below one directory descriptor. What a user sees through DFOS is what `ls` shows the operator.
//!
//! Path names are never joined as strings and handed to the kernel: every open goes through [`beneath`], relative to the
//! user's own directory, and every change names one component relative to a directory that is held open.
#![forbid(unsafe_code)]

pub mod beneath;
pub mod digest;
pub mod flush;
pub mod leftover;
pub mod list;
pub mod meta;
pub mod names;
pub mod order;
pub mod pipeline;
pub mod publish;
pub mod pulse;
pub mod quota;
pub mod read;
pub mod remove;
pub mod reserved;
pub mod spool;
pub mod stage;
pub mod trash;
pub mod tree;
pub mod trouble;
pub mod walk;
pub mod weight;

pub use pulse::{Patient, Pulse};
pub use tree::Tree;
pub use trouble::Trouble;
pub use weight::Weight;

/// What every operation of the store returns.
pub type Result<T> = std::result::Result<T, Trouble>;
