//! The server: one parent that listens, a child forked per client, and a scribe that writes down what they do.
//!
//! [`listener`] is the parent's life, [`session`] a child's, [`scribe`] the scribe's. The parent never reads a byte from a
//! client and never touches a user's file.
#![forbid(unsafe_code)]

pub mod action;
pub mod audit;
pub mod by_pid;
pub mod capacity;
pub mod certificate;
pub mod check;
pub mod children;
pub mod config;
pub mod confine;
pub mod control;
pub mod desk;
pub mod ending;
pub mod gate;
pub mod handover;
pub mod inlet;
pub mod level;
pub mod listener;
pub mod log;
pub mod login;
pub mod manager;
pub mod member;
pub mod new_password;
pub mod options;
pub mod own_passwords;
pub mod places;
pub mod program;
pub mod rate;
pub mod record;
pub mod report;
pub mod scoreboard;
pub mod scribe;
pub mod secure;
pub mod session;
pub mod starter;
pub mod status;
pub mod talk;
pub mod user_command;
pub mod users;
pub mod verbs;
pub mod words;
