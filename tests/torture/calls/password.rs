//! After a change of password: one of the two holds, the one that was said, and nothing lies about.

use super::Met;
use super::kinds::{ANOTHER, CHANGES};
use super::names::Names;
use super::visit::Visit;
use crate::common::Server;
use std::fs;

fn place(server: &Server) -> std::path::PathBuf {
    server.storage().join(".dfos/passwords")
}

/// All have the passwords of the users file again.
pub fn forget(server: &Server) {
    let _ = fs::remove_dir_all(place(server));
}

/// What is not as it was said to be.
pub fn wrong(server: &Server, met: &Met) -> Vec<String> {
    let mut wrong = Vec::new();
    let holds = |password: &str| {
        let visit = Visit::begin(server.address(), Names::default(), 0);
        visit.is_some_and(|mut visit| visit.log_in(CHANGES, password, true).is_some() && visit.refusals.is_empty())
    };
    let (old, new) = (holds("secret"), holds(ANOTHER));
    let changed = met.said.iter().any(|said| said == "OK changed");
    let is_certain =
        changed || met.said.iter().any(|said| said.starts_with("ERR ") && !said.starts_with("ERR uncertain"));
    if old == new || is_certain && new != changed {
        wrong.push(format!("after {:?} the old password holds: {old}, the new one: {new}", met.said));
    }
    let names: Vec<String> = fs::read_dir(place(server))
        .map(|entries| entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    if names.iter().any(|name| name != CHANGES && name != ".decoy") {
        wrong.push(format!("beside the passwords lies {names:?}"));
    }
    wrong
}
