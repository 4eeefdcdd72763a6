//! Carrying files: [`upload`] and [`download`] one body, [`sender`] and [`receiver`] many of them over one connection,
//! [`put`] and [`get`] whole commands. They print nothing: what happens they tell a [`report`](super::report).

pub mod download;
pub mod folder;
pub mod get;
pub mod lost;
pub mod part;
pub mod put;
pub mod queue;
pub mod receiver;
pub mod rules;
pub mod sender;
pub mod source;
pub mod tally;
pub mod upload;
