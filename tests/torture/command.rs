//! `dfos-client` as a user runs it, with a limit: one that does not end is a loss, and is killed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `dfos-client` as this user of the server at `url`, with `home` for what it remembers and nothing of this machine's own; from where the
/// server's program is taken.
pub fn client(user: &str, url: &str, home: &Path) -> Command {
    let mut command = Command::new(super::common::binary().with_file_name("dfos-client"));
    command.args(["--server", url]).stdin(Stdio::null());
    command.env("DFOS_USER", user).env("DFOS_PASSWORD", "secret").env("DFOS_CONFIG", "none");
    command.env("HOME", home).env("XDG_STATE_HOME", home.join("state"));
    command
}

/// Where a client works, and what it remembers.
pub struct Desk {
    dir: PathBuf,
}

/// A client that runs.
pub struct Running {
    child: Child,
    words: String,
    output: PathBuf,
    began: Instant,
}

/// How one ended.
#[derive(Debug)]
pub struct Ended {
    /// What was asked for.
    pub words: String,
    /// Its exit status; `None` if it did not end in time, or of a signal.
    pub status: Option<i32>,
    /// When.
    pub at: Instant,
    /// How long it ran.
    pub took: Duration,
    /// What it said, on both outputs.
    pub said: String,
}

impl Desk {
    /// A desk in this directory, which is there.
    pub fn new(dir: &Path) -> Desk {
        Desk { dir: dir.to_owned() }
    }

    /// A place on it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts a client as alice of the server at `url`, with these words, in the network of the calling thread.
    pub fn start(&self, url: &str, words: &[&str]) -> Running {
        let began = Instant::now();
        let output = tempfile::Builder::new().prefix("said-").tempfile_in(&self.dir).unwrap();
        let (file, output) = output.keep().unwrap();
        let mut command = client("alice", url, &self.dir);
        command.arg("--known-servers").arg(self.at("known")).args(words).current_dir(&self.dir);
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Running { child: command.spawn().unwrap(), words: words.join(" "), output, began }
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: &[u8]) {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap().write_all(content).unwrap();
    }
}

impl Running {
    /// Waits for its end, no longer than `limit` from its start.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code();
            }
            if self.began.elapsed() > limit {
                break None;
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        self.ended(status)
    }

    /// Kills it, as the kernel would.
    pub fn kill(mut self) -> Ended {
        let _ = self.child.kill();
        self.ended(None)
    }

    fn ended(&mut self, status: Option<i32>) -> Ended {
        let (at, took) = (Instant::now(), self.began.elapsed());
        self.end();
        let said = String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned();
        let _ = std::fs::remove_file(&self.output);
        Ended { words: std::mem::take(&mut self.words), status, at, took, said }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

impl Ended {
    /// For a sentence: what was asked, how it ended, and its last words.
    pub fn told(&self) -> String {
        let status = self.status.map_or("did not end".to_owned(), |status| format!("ended with status {status}"));
        let last: Vec<&str> = self.said.lines().rev().take(3).collect();
        format!("'{}' {status} after {:.1} s, saying {:?}", self.words, self.took.as_secs_f64(), last)
    }

    /// Whether something in it went wrong that must never go wrong.
    pub fn is_broken(&self) -> bool {
        self.status.is_none() || self.said.contains("panicked")
    }
}
