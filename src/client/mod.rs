//! The client: what `dfos-client` does, on top of the protocol.
//!
//! From the bottom up: [`connection`] speaks lines over one connection, [`remote`] has a method for each simple verb,
//! [`upload`] and [`download`] carry bodies, [`sender`] and [`receiver`] many of them over one connection, [`put`] and
//! [`get`] whole commands. [`retry`] brings a lost connection back. They print nothing: what happens they tell a [`report`].
//!
//! From the top down: [`run`] reads the command line ([`cli`]), finds the [`password`], and has [`commands`] or the [`shell`]
//! do the work at a [`console`]; [`output`], [`progress`], [`listing`] and [`json`] are what a user sees of it.
#![forbid(unsafe_code)]

mod bars;
pub mod cli;
pub mod commands;
pub mod connection;
pub mod console;
pub mod download;
pub mod escape;
pub mod failure;
pub mod folder;
pub mod get;
pub mod glob;
pub mod hexdump;
pub mod json;
pub mod limits;
pub mod listing;
pub mod login;
pub mod names;
pub mod output;
pub mod part;
pub mod password;
pub mod progress;
pub mod put;
pub mod queue;
pub mod receiver;
pub mod remote;
pub mod report;
pub mod retry;
pub mod run;
pub mod sender;
pub mod shell;
pub mod source;
pub mod stop;
pub mod tally;
pub mod target;
mod terminal;
pub mod upload;

#[cfg(test)]
mod fake;
