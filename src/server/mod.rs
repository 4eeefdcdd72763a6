//! The server: one parent that listens, a child forked per client, and a scribe that writes down what they do.
//!
//! [`listener`] is the parent's life, [`session`] a child's, [`scribe`] the scribe's. The parent never reads a byte from a
//! client and never touches a user's file.
#![forbid(unsafe_code)]

pub mod by_pid;
pub mod capacity;
pub mod certificate;
pub mod check;
pub mod children;
pub mod confine;
pub mod control;
pub mod desk;
pub mod ending;
pub mod gate;
pub mod inlet;
pub mod listener;
pub mod login;
pub mod member;
pub mod options;
pub mod places;
pub mod program;
pub mod rate;
pub mod record;
pub mod scoreboard;
pub mod scribe;
pub mod secure;
pub mod session;
pub mod status;
pub mod syslog_output;
pub mod talk;
pub mod user_command;
pub mod users;
pub mod verbs;
pub mod words;
