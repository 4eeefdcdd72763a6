//! Loading the users file and the limits file. A short-lived helper reads them, so that no password and no verifier is ever in the listener's
//! memory, which every session inherits; what it leaves is a sealed table in memory that a session looks one user up in.

use super::options::ServeOptions;
use crate::auth::limits_file::{self, LimitsFile};
use crate::auth::{Limits, ParsedUsers, limits as records, table, trust, users_file};
use crate::proto::limits;
use crate::sys::fork::{Fork, exit_child, fork};
use crate::sys::sealed;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The file in the storage's reserved directory from which the salts of unknown users come. It lies there so that all servers that
/// share a storage give the same.
const SECRET: &str = "login-secret";
/// Bytes that a helper may say about a users file.
const NOTES: usize = 60 * 1024;

/// The users, as the listener has them: a descriptor.
#[derive(Debug)]
pub struct Users {
    /// The sealed table.
    pub table: File,
    /// The sealed records of their limits.
    pub limits: File,
    /// Whether it holds users whose passwords everybody knows.
    pub demonstration: bool,
}

/// A helper at work.
pub struct Loading {
    /// The helper.
    pub pid: Pid,
    table: File,
    limits: File,
    notes: PipeReader,
}

/// What a helper came to: the users unless it failed, and what the operator should read.
pub type Loaded = (Option<Users>, Vec<String>);

/// What [`begin`] returns in each of two processes.
pub enum Begun {
    /// The one that asked.
    Parent(Loading),
    /// The helper, which drops what it inherited and then does its work.
    Helper(Box<Load>),
}

/// A helper's work.
pub struct Load {
    path: PathBuf,
    storage: PathBuf,
    table: File,
    limits_file: Option<PathBuf>,
    /// What holds where the limits file says nothing.
    base: Limits,
    limits: File,
    notes: PipeWriter,
}

/// Starts a helper that loads the users and their limits.
pub fn begin(options: &ServeOptions) -> io::Result<Begun> {
    let (table, limits) = (table::create()?, records::create()?);
    let (notes, pen) = io::pipe()?;
    Ok(match fork()? {
        Fork::Parent(pid) => Begun::Parent(Loading { pid, table, limits, notes }),
        Fork::Child => Begun::Helper(Box::new(Load {
            path: options.users.clone(),
            storage: options.dir.clone(),
            table,
            limits_file: options.limits_file(),
            base: Limits { quota: options.quota.map(|size| size.as_u64()), ..Limits::default() },
            limits,
            notes: pen,
        })),
    })
}

impl Load {
    /// Does the work; the helper's exit status.
    pub fn run(mut self) -> u8 {
        let loaded = self.load();
        if let Err(why) = &loaded {
            let _ = writeln!(self.notes, "{why}"); // the exit status says it too
        }
        u8::from(loaded.is_err())
    }

    fn load(&mut self) -> Result<(), String> {
        let file = trust::open(&self.path).map_err(|why| {
            let hint = if why.is_missing() { "; 'dfos-forkd user add NAME' makes it" } else { "" };
            format!("the users file cannot be used: {why}{hint}")
        })?;
        let bytes = users_file::contents(&file).map_err(|why| format!("cannot read the users file: {why}"))?;
        let users = users_file::parse(&bytes);
        let limits = load_limits(self.limits_file.as_deref(), std::mem::take(&mut self.base))?;
        let own = limits.users.iter().map(|(name, limits, _)| (name.as_str(), limits));
        records::write(&limits.everybody, own, &mut self.limits)
            .map_err(|why| format!("cannot load the limits: {why}"))?;
        let secret =
            secret(&self.storage).map_err(|why| format!("cannot keep the login secret in the storage: {why}"))?;
        table::write(&users, &secret, &mut self.table).map_err(|why| format!("cannot load the users: {why}"))?;
        let mut text = String::new();
        if users.demonstration {
            text += &format!("{}\n", users_file::MARKER);
        }
        let of_users = users.problems.iter().map(|problem| format!("{} {problem}", self.path.display()));
        let path = self.limits_file.as_deref().unwrap_or(Path::new("")).display();
        for note in of_users.chain(strangers(&users, &limits).map(|note| format!("{path} {note}"))) {
            if text.len() > NOTES {
                text += "(more such lines)\n";
                break;
            }
            text += &format!("{note}\n");
        }
        self.notes.write_all(text.as_bytes()).map_err(|why| why.to_string())
    }
}

/// Loads the users and waits for it, as at start-up.
pub fn load_now(options: &ServeOptions) -> io::Result<Loaded> {
    let loading = match begin(options)? {
        Begun::Parent(loading) => loading,
        Begun::Helper(load) => exit_child(load.run()),
    };
    let status = loop {
        match waitpid(loading.pid, None) {
            Err(nix::Error::EINTR) => {}
            other => break other?,
        }
    };
    loading.finish(status)
}

impl Loading {
    /// Takes what the helper left, once it has ended.
    pub fn finish(mut self, status: WaitStatus) -> io::Result<Loaded> {
        let mut text = String::new();
        self.notes.read_to_string(&mut text)?;
        let demonstration = text.lines().any(|line| line == users_file::MARKER);
        let notes = text.lines().filter(|line| *line != users_file::MARKER).map(str::to_owned).collect();
        if !matches!(status, WaitStatus::Exited(_, 0)) {
            return Ok((None, notes));
        }
        sealed::seal(&self.table)?;
        sealed::seal(&self.limits)?;
        Ok((Some(Users { table: self.table, limits: self.limits, demonstration }), notes))
    }
}

/// The limits file, parsed; an empty one where there is none. An error is a line for each thing that is wrong.
pub fn load_limits(path: Option<&Path>, base: Limits) -> Result<LimitsFile, String> {
    let Some(path) = path else { return Ok(LimitsFile { everybody: base, users: Vec::new() }) };
    let file = trust::open(path).map_err(|why| format!("the limits file cannot be used: {why}"))?;
    let text =
        limits_file::contents(&file).map_err(|why| format!("cannot read the limits file {}: {why}", path.display()))?;
    limits_file::parse(&text, base).map_err(|problems| {
        let lines = problems.iter().map(|problem| format!("{} {problem}", path.display()));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// Tables of the limits file for whom there is no user: most likely a name that is misspelt, and limits that do not hold.
fn strangers<'a>(users: &'a ParsedUsers, limits: &'a LimitsFile) -> impl Iterator<Item = String> + 'a {
    let known: HashSet<_> = users.entries.iter().map(|entry| entry.name.as_str()).collect();
    let strange = limits.users.iter().filter(move |(name, ..)| !known.contains(name.as_str()));
    strange.map(|(name, _, line)| format!("line {line}: [{name}] has limits and is no user"))
}

/// The secret behind the salts of unknown users, made at the first start. It must outlive restarts: a salt that changes tells
/// that there is no such user.
fn secret(storage: &Path) -> io::Result<Zeroizing<[u8; 32]>> {
    let dir = storage.join(limits::RESERVED);
    match DirBuilder::new().mode(0o700).create(&dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let path = dir.join(SECRET);
    let mut secret = Zeroizing::new([0; 32]);
    if let Ok(file) = File::open(&path) {
        file.read_exact_at(&mut *secret, 0)?;
        return Ok(secret);
    }
    getrandom::fill(&mut *secret).map_err(io::Error::other)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let draft = dir.join(format!("{SECRET}.{}", hex::encode(random)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(&*secret)?;
    file.sync_all()?;
    // Another server on the same storage may be making one too: the first link wins, and both read that.
    let linked = std::fs::hard_link(&draft, &path)
        .or_else(|_| if path.exists() { Ok(()) } else { std::fs::rename(&draft, &path) });
    let _ = std::fs::remove_file(&draft);
    linked?;
    File::open(&dir)?.sync_all()?;
    File::open(&path)?.read_exact_at(&mut *secret, 0)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let first = secret(dir.path()).unwrap();
        assert_ne!(*first, [0; 32]);
        assert_eq!(first, secret(dir.path()).unwrap());
        let left: Vec<_> = std::fs::read_dir(dir.path().join(".dfos")).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
