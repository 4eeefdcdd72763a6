//! Loading the users file, and the server's key with it. A short-lived helper reads them, so that no password and no verifier is ever in the listener's
//! memory, which every session inherits; what it leaves is a sealed table in memory that a session looks one user up in.

use super::certificate;
use crate::auth::users_file::ParsedUsers;
use crate::auth::{UserName, table, trust, users_file};
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
/// How a helper begins the note that says by what clients know the server.
pub const PIN: &str = "the certificate's pin is sha256:";
/// Bytes that a helper may say about a users file.
const NOTES: usize = 60 * 1024;

/// The users, as the listener has them: a descriptor.
#[derive(Debug)]
pub struct Users {
    /// The sealed table.
    pub table: File,
    /// Whether it holds users whose passwords everybody knows.
    pub demonstration: bool,
    /// Of those that were asked about, the users who may no longer log in.
    pub gone: Vec<UserName>,
}

/// A helper at work.
pub struct Loading {
    /// The helper.
    pub pid: Pid,
    /// The users who were logged in when it began.
    pub asked: Vec<UserName>,
    table: File,
    identity: File,
    gone: File,
    notes: PipeReader,
}

/// What a helper came to.
pub struct Loaded {
    /// The users; `None` if they could not be loaded.
    pub users: Option<Users>,
    /// The server's certificate and key, sealed; `None` if they were not asked for, or could not be loaded.
    pub identity: Option<File>,
    /// What the operator should read.
    pub notes: Vec<String>,
}

/// What to load.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The users file.
    pub users: PathBuf,
    /// The storage directory, which holds the secret behind unknown users' salts.
    pub storage: PathBuf,
    /// The server's certificate and key, where they are needed.
    pub certificate: Option<certificate::Source>,
}

/// What [`begin`] returns in each of two processes.
pub enum Begun {
    /// The one that asked.
    Parent(Loading),
    /// The helper, which drops what it inherited and then does its work.
    Helper(Load),
}

/// A helper's work.
pub struct Load {
    sources: Sources,
    table: File,
    identity: File,
    asked: Vec<UserName>,
    gone: File,
    notes: PipeWriter,
}

/// Starts a helper that loads `sources`. `asked` are those who are logged in: it tells who of them is gone.
pub fn begin(sources: &Sources, asked: Vec<UserName>) -> io::Result<Begun> {
    let (table, identity) = (table::create()?, sealed::create(c"dfos-identity")?);
    let gone = sealed::create(c"dfos-gone")?; // as long as it may be: a pipe that is full would stop the helper
    let (notes, pen) = io::pipe()?;
    Ok(match fork()? {
        Fork::Parent(pid) => Begun::Parent(Loading { pid, asked, table, identity, gone, notes }),
        Fork::Child => Begun::Helper(Load { sources: sources.clone(), table, identity, asked, gone, notes: pen }),
    })
}

impl Load {
    /// Does the work; the helper's exit status.
    pub fn run(mut self) -> u8 {
        let loaded = load(&self.sources.users, &self.sources.storage, &mut self.table, &mut self.notes)
            .and_then(|users| tell_gone(&users, &self.asked, &mut self.gone));
        if let Err(why) = &loaded {
            let _ = writeln!(self.notes, "{why}"); // the exit status says it too
        }
        if let Some(source) = &self.sources.certificate {
            let _ = match certificate::load(source, &mut self.identity) {
                Ok(pin) => writeln!(self.notes, "{PIN}{pin}"),
                Err(why) => writeln!(self.notes, "the certificate cannot be used: {why}"),
            };
        }
        u8::from(loaded.is_err())
    }
}

/// Loads `sources` and waits for it, as at start-up.
pub fn load_now(sources: &Sources) -> io::Result<Loaded> {
    let loading = match begin(sources, Vec::new())? {
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
        let has_identity = text.lines().any(|line| line.starts_with(PIN));
        let notes = text.lines().filter(|line| *line != users_file::MARKER).map(str::to_owned).collect();
        sealed::seal(&self.table)?;
        sealed::seal(&self.identity)?;
        let mut names = vec![0; usize::try_from(self.gone.metadata()?.len()).map_err(io::Error::other)?];
        self.gone.read_exact_at(&mut names, 0)?;
        let gone = String::from_utf8_lossy(&names).lines().filter_map(|name| name.parse().ok()).collect();
        let sound = matches!(status, WaitStatus::Exited(_, 0));
        let users = sound.then_some(Users { table: self.table, demonstration, gone });
        Ok(Loaded { users, identity: has_identity.then_some(self.identity), notes })
    }
}

/// The helper's work.
fn load(path: &Path, storage: &Path, table: &mut File, notes: &mut PipeWriter) -> Result<ParsedUsers, String> {
    let file = trust::open(path).map_err(|why| {
        let hint = if why.is_missing() { "; 'dfos-forkd user add NAME' makes it" } else { "" };
        format!("the users file cannot be used: {why}{hint}")
    })?;
    let bytes = users_file::contents(&file).map_err(|why| format!("cannot read the users file: {why}"))?;
    let users = users_file::parse(&bytes);
    let secret = secret(storage).map_err(|why| format!("cannot keep the login secret in the storage: {why}"))?;
    table::write(&users, &secret, table).map_err(|why| format!("cannot load the users: {why}"))?;
    let mut text = String::new();
    if users.demonstration {
        text += &format!("{}\n", users_file::MARKER);
    }
    for problem in &users.problems {
        if text.len() > NOTES {
            text += "(more such lines)\n";
            break;
        }
        text += &format!("{} {problem}\n", path.display());
    }
    notes.write_all(text.as_bytes()).map_err(|why| why.to_string())?;
    Ok(users)
}

/// Writes down who of `asked` may no longer log in, a line each.
fn tell_gone(users: &ParsedUsers, asked: &[UserName], gone: &mut File) -> Result<(), String> {
    let may_log_in: HashSet<&UserName> = users.entries.iter().map(|entry| &entry.name).collect();
    let lines: String =
        asked.iter().filter(|name| !may_log_in.contains(name)).map(|name| format!("{name}\n")).collect();
    gone.write_all(lines.as_bytes()).map_err(|why| format!("cannot tell who is gone: {why}"))
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
