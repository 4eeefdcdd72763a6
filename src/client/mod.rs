//! The client: what `dfos-client` does, on top of the protocol.
//!
//! From the bottom up: [`connection`] speaks lines over one connection, [`remote`] has a method for each simple verb,
//! [`transfer`] carries files, [`retry`] brings a lost connection back. They print nothing: what happens they tell a [`report`].
//!
//! From the top down: [`run`] reads the command line ([`cli`]) and what completes it ([`config`]), finds the [`password`], and has [`commands`] or the [`shell`]
//! do the work at a [`console`]; [`display`] is what a user sees of it.
#![forbid(unsafe_code)]

pub mod bench;
pub mod cli;
pub mod cli_config;
pub mod commands;
pub mod completions;
pub mod config;
pub mod connection;
pub mod consent;
pub mod console;
pub mod display;
pub mod doctor;
pub mod each;
pub mod failure;
pub mod filter;
pub mod glob;
pub mod jobs;
pub mod keys;
pub mod known_servers;
pub mod limits;
pub mod list;
pub mod local;
pub mod login;
pub mod moving;
pub mod names;
pub mod passwd;
pub mod password;
pub mod remote;
pub mod removing;
pub mod report;
pub mod retry;
pub mod run;
pub mod shell;
pub mod stop;
pub mod target;
pub mod throttle;
pub mod transfer;
pub mod trash;
pub mod trust;
pub mod whom;

#[cfg(test)]
mod fake;
