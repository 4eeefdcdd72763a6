//! `dfos-forkd user add`: the users file is the whole old or the whole new one, and the exit status says which.

use super::faults::{Failing, Faults, Whose};
use super::{Met, plausible};
use crate::common::{binary, scram::entry};
use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

/// One run.
pub fn meet(faults: &Faults, failing: Option<&Failing>) -> Met {
    let dir = tempfile::Builder::new().prefix("dfos-users-").tempdir().unwrap();
    let users = dir.path().join("users");
    let old = format!("# users\n{}", entry("alice", "secret"));
    fs::write(&users, &old).unwrap();
    fs::set_permissions(&users, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = Command::new(binary());
    command.args(["user", "add", "bob", "--password-stdin", "--config", "none", "--users"]).arg(&users);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    faults.preload_counting(&mut command);
    faults.arm(Whose::NextStarted, failing);
    let mut child = command.spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(b"builder\n");
    let output = child.wait_with_output().unwrap();
    let seen = faults.disarm();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let new = fs::read_to_string(&users).unwrap_or_default();
    let is_old = new == old;
    let is_new =
        new.strip_prefix(&old).is_some_and(|line| line.starts_with("bob:SCRAM-SHA-256$") && line.ends_with('\n'));
    let mut wrong = Vec::new();
    let is_true = match output.status.code() {
        Some(0) => is_new,
        Some(1..=100) if said.contains("was changed, but") => is_new,
        Some(1..=100) => is_old && !said.is_empty(),
        None if failing.is_some_and(|failing| plausible::may_kill(&failing.call)) => {
            said.contains(plausible::NO_STACK) && (is_old || is_new)
        }
        _ => false,
    };
    if !is_true {
        let which = if is_old {
            "old"
        } else if is_new {
            "new"
        } else {
            "neither old nor new"
        };
        wrong.push(format!("it ended with {}, the users file is {which}, and it said '{said}'", output.status));
    }
    if seen.hits == 0 && !output.status.success() {
        wrong.push(format!("nothing failed, and it ended with {}: {said}", output.status));
    }
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let may_stay = failing.is_some_and(|failing| failing.call.starts_with("unlink"));
    if names.len() > 1 && !may_stay {
        wrong.push(format!("beside the users file lies {names:?}"));
    }
    Met { seen, descriptors: None, wrong, said: Vec::new(), call: None }
}
