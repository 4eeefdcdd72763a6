//! A run of the real client: what it is told to do, and what it says that it has done.

use super::super::command::client;
use super::super::common::eventually;
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

/// Whose files these are.
pub const USER: &str = "user0";

/// Which way files go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the server.
    Put,
    /// From it.
    Get,
}

/// A client that runs.
pub struct Carrier {
    process: Child,
    said: PathBuf,
    over: bool,
}

/// The client's process, for a blow that is prepared before there is one.
#[derive(Clone, Default)]
pub struct Target(Arc<AtomicI32>);

/// What became of a run.
pub struct Told {
    /// The exit status; `None` if it was killed.
    pub status: Option<i32>,
    /// Names that it said are whole now, with the bytes that it has moved for each.
    pub finished: Vec<(String, u64)>,
    /// All that it said.
    pub text: String,
}

impl Target {
    /// Kills it, if it is there.
    pub fn kill(&self) {
        let pid = self.0.load(Ordering::SeqCst);
        if pid > 0 {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
}

impl Carrier {
    /// Starts the client in `here`, with an empty place of its own for what it says in `scratch`.
    pub fn start(address: &str, here: &Path, scratch: &Path, words: &[String], target: &Target) -> Carrier {
        let said = scratch.join("said");
        let mut command = client(USER, &format!("tcp://{address}"), scratch);
        command.arg("--json").args(words).current_dir(here).stdout(File::create(&said).unwrap());
        command.stderr(File::create(said.with_extension("errors")).unwrap());
        let process = command.spawn().unwrap();
        target.0.store(process.id().cast_signed(), Ordering::SeqCst);
        Carrier { process, said, over: false }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.over = self.over || self.process.try_wait().unwrap().is_some();
        self.over
    }

    /// Its end, which comes.
    pub fn end(mut self, target: &Target) -> Told {
        eventually("the client ends", || self.has_ended());
        target.0.store(0, Ordering::SeqCst); // the number may be another's from now on
        let status = self.process.wait().unwrap();
        let mut text = fs::read_to_string(&self.said).unwrap_or_default();
        // Who was killed may have said half a line.
        let objects = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let finished = objects.filter(|object| object["event"] == "finished");
        let moved = |object: Value| (object["path"].as_str().unwrap().to_owned(), object["moved"].as_u64().unwrap());
        let finished = finished.map(moved).collect();
        text += &fs::read_to_string(self.said.with_extension("errors")).unwrap_or_default();
        Told { status: status.signal().is_none().then(|| status.code().unwrap()), finished, text }
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
