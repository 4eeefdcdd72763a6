//! Loading the users file, the limits file and the server's key, and after SIGHUP the configuration. A short-lived helper reads them, so that no password, no verifier
//! and no key is ever in the listener's memory, which every session inherits; what it leaves are sealed files in memory, from which
//! a session takes what it needs.

use super::certificate;
use super::config::Configuration;
use super::confine::service_user::ServiceUser;
use super::level::Level;
use super::options::{ServeOptions, usual_limits_file};
use crate::auth::limits_file::{self, LimitsFile};
use crate::auth::{Limits, ParsedUsers, UserName, limits as records, table, trust, users_file};
use crate::proto::limits;
use crate::store::beneath;
use crate::store::order::fsync_dir;
use crate::sys::fork::{Fork, exit_child, fork};
use crate::sys::sealed;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, UnlinkatFlags, linkat, unlinkat};
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The file in the storage's reserved directory from which the salts of unknown users come. It lies there so that all servers that
/// share a storage give the same.
const SECRET: &str = "login-secret";
/// How a helper begins the note that says by what clients know the server.
const PIN: &str = "the certificate's pin is sha256:";
/// How a helper begins the note that says that the server has a key of its own now.
const MADE: &str = "a key and a certificate were made in ";
/// Bytes that a helper may say about a file.
const NOTES: usize = 60 * 1024;

/// How much a note matters.
pub fn level_of(note: &str) -> Level {
    if note.starts_with(PIN) || note.starts_with(MADE) { Level::Info } else { Level::Warning }
}

/// The users, as the listener has them: a descriptor.
#[derive(Debug)]
pub struct Users {
    /// The sealed table.
    pub table: File,
    /// The sealed records of their limits.
    pub limits: File,
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
    limits: File,
    identity: File,
    configuration: File,
    gone: File,
    notes: File,
}

/// What a helper came to.
pub struct Loaded {
    /// The users; `None` if they could not be loaded.
    pub users: Option<Users>,
    /// The server's certificate and key, sealed; `None` if they were not asked for, or could not be loaded.
    pub identity: Option<File>,
    /// The configuration that was read again, for [`Configuration::take`].
    pub configuration: Vec<u8>,
    /// What the operator should read.
    pub notes: Vec<String>,
}

/// What to load.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The users file.
    pub users: PathBuf,
    /// The limits file, if there is one.
    pub limits: Option<PathBuf>,
    /// The limits that hold where the file says nothing.
    pub base: Limits,
    /// The server's certificate and key, where they are needed.
    pub certificate: Option<certificate::Source>,
    /// The configuration file, if there is one.
    pub configuration: Option<PathBuf>,
}

/// What [`begin`] returns in each of two processes.
pub enum Begun {
    /// The one that asked.
    Parent(Loading),
    /// The helper, which drops what it inherited and then does its work.
    Helper(Box<Load>),
}

/// A helper's work.
pub struct Load {
    sources: Sources,
    /// It holds the secret; by descriptor, since its path may lead through directories that the service user cannot enter.
    storage: OwnedFd,
    /// Whom the helper becomes once it has everything open; nobody, if the server is not root any more.
    service: Option<ServiceUser>,
    /// What to read again before all else, after SIGHUP.
    again: Option<Configuration>,
    table: File,
    limits: File,
    identity: File,
    configuration: File,
    asked: Vec<UserName>,
    gone: File,
    notes: File,
}

/// Starts a helper that loads `sources`, or what they are when the configuration has been read `again`. `asked` are those who are logged
/// in: it tells who of them is gone.
pub fn begin(
    sources: &Sources,
    storage: BorrowedFd,
    service: Option<&ServiceUser>,
    asked: Vec<UserName>,
    again: Option<&Configuration>,
) -> io::Result<Begun> {
    let (table, limits, identity) = (table::create()?, records::create()?, sealed::create(c"dfos-identity")?);
    // As long as they may be: a pipe that is full would stop the helper, for whose end the reader waits.
    let (gone, notes) = (sealed::create(c"dfos-gone")?, sealed::create(c"dfos-notes")?);
    let (configuration, again) = (sealed::create(c"dfos-configuration")?, again.cloned());
    // All that can fail is done before the fork: a helper that came back with an error would be a second listener.
    let (sources, storage, service) = (sources.clone(), storage.try_clone_to_owned()?, service.cloned());
    Ok(match fork()? {
        Fork::Parent(pid) => Begun::Parent(Loading { pid, asked, table, limits, identity, configuration, gone, notes }),
        Fork::Child => {
            let load =
                Load { sources, storage, service, again, table, limits, identity, configuration, asked, gone, notes };
            Begun::Helper(Box::new(load))
        }
    })
}

impl Load {
    /// Does the work; the helper's exit status.
    pub fn run(mut self) -> u8 {
        let loaded = self.load();
        if let Err(why) = &loaded {
            let why = why.get(..why.floor_char_boundary(NOTES)).unwrap_or_default();
            let _ = writeln!(self.notes, "{why}"); // the exit status says it too
        }
        u8::from(loaded.is_err())
    }

    /// As root the certificate is read, or made, and the other files opened; nothing else.
    fn load(&mut self) -> Result<(), String> {
        self.read_configuration_again()?;
        self.load_certificate()?;
        let users = open(&self.sources.users)?;
        let limits = open_limits(self.sources.limits.as_deref())?;
        if let Some(service) = &self.service {
            service.become_it()?;
            self.tell_what_cannot_be_loaded_again(service)?;
        }
        let bytes = users_file::contents(&users).map_err(|why| format!("cannot read the users file: {why}"))?;
        let users = users_file::parse(&bytes);
        let limits = parse_limits(limits.as_ref(), self.sources.limits.as_deref(), self.sources.base.clone())?;
        let own = limits.users.iter().map(|(name, limits, _)| (name.as_str(), limits));
        records::write(&limits.everybody, own, &mut self.limits)
            .map_err(|why| format!("cannot load the limits: {why}"))?;
        let secret = secret(self.storage.as_fd()).map_err(|why| {
            format!(
                "cannot keep the login secret in the storage directory, which must be writable for the server: {why}"
            )
        })?;
        table::write(&users, &secret, &mut self.table).map_err(|why| format!("cannot load the users: {why}"))?;
        tell_gone(&users, &limits, &self.asked, &mut self.gone)?;
        self.tell_problems(&users, &limits)
    }

    /// After SIGHUP: what the configuration says now is what is loaded.
    fn read_configuration_again(&mut self) -> Result<(), String> {
        let Some(running) = &self.again else { return Ok(()) };
        let next = running.read_again()?;
        self.sources = self.sources.again(&next.options);
        // A certificate of the server's own changes with nobody's hand, and its key may be root's, whom this process has left.
        self.sources.certificate.take_if(|source| matches!(source, certificate::Source::Own(_)));
        self.configuration.write_all(&next.encode()).map_err(|why| why.to_string())?;
        for key in &next.waiting {
            let text = "changed in the configuration: takes effect at the next start";
            writeln!(self.notes, "{key} {text}").map_err(|why| why.to_string())?;
        }
        Ok(())
    }

    fn load_certificate(&mut self) -> Result<(), String> {
        let Some(source) = &self.sources.certificate else { return Ok(()) };
        let is_new = !source.is_there();
        let note = match certificate::load(source, &mut self.identity) {
            Ok(pin) if is_new => format!("{MADE}{source}\n{PIN}{pin}"),
            Ok(pin) => format!("{PIN}{pin}"),
            Err(why) => return Err(format!("the certificate cannot be used: {why}")),
        };
        writeln!(self.notes, "{note}").map_err(|why| why.to_string())
    }

    fn tell_what_cannot_be_loaded_again(&self, service: &ServiceUser) -> Result<(), String> {
        let (user, gid) = (&service.name, service.gid);
        for path in self.sources.read_again() {
            if let Err(why) = trust::open(path) {
                let path = path.display();
                let text = format!(
                    "{why}: SIGHUP cannot load it again, since {user} cannot read it; repair it with 'chgrp {gid} {path}' \
                     and 'chmod 0640 {path}', and let {user} enter its directory"
                );
                writeln!(&self.notes, "{text}").map_err(|why| why.to_string())?;
            }
        }
        Ok(())
    }

    /// What is wrong with single lines of the files.
    fn tell_problems(&mut self, users: &ParsedUsers, limits: &LimitsFile) -> Result<(), String> {
        let mut text = String::new();
        if users.demonstration {
            text += &format!("{}\n", users_file::MARKER);
        }
        let of_users = users.problems.iter().map(|problem| format!("{} {problem}", self.sources.users.display()));
        let path = self.sources.limits.as_deref().unwrap_or(Path::new("")).display();
        for note in of_users.chain(strangers(users, limits).map(|note| format!("{path} {note}"))) {
            if text.len() > NOTES {
                text += "(more such lines)\n";
                break;
            }
            text += &format!("{note}\n");
        }
        self.notes.write_all(text.as_bytes()).map_err(|why| why.to_string())
    }
}

impl Sources {
    /// The same as the options say it now. A limits file that was there must be there; one that was not may have come. The server's own
    /// certificate is exchanged for the operator's, but never the other way: its key may be root's.
    pub fn again(&self, options: &ServeOptions) -> Sources {
        let usual = options.users.with_file_name(limits_file::USUAL_NAME);
        let was_there = self.limits.as_ref() == Some(&usual);
        let beside = || if was_there { Some(usual) } else { usual_limits_file(&options.users) };
        let certificate = self.certificate.as_ref().map(|old| match options.channel.source() {
            Ok(new @ certificate::Source::Files { .. }) => new,
            _ => old.clone(),
        });
        Sources {
            users: options.users.clone(),
            limits: options.user_limits.clone().or_else(beside),
            base: options.base_limits(),
            certificate,
            configuration: self.configuration.clone(),
        }
    }

    /// The files that are read again on SIGHUP.
    pub fn read_again(&self) -> impl Iterator<Item = &Path> {
        let pair = match &self.certificate {
            Some(certificate::Source::Files { certificate, key }) => vec![certificate.as_path(), key.as_path()],
            _ => Vec::new(),
        };
        let sources = [Some(self.users.as_path()), self.limits.as_deref(), self.configuration.as_deref()];
        sources.into_iter().flatten().chain(pair)
    }
}

/// Loads `sources` and waits for it, as at start-up. The helper becomes `service`, if it is root.
pub fn load_now(sources: &Sources, storage: BorrowedFd, service: Option<&ServiceUser>) -> io::Result<Loaded> {
    let loading = match begin(sources, storage, service, Vec::new(), None)? {
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
    pub fn finish(self, status: WaitStatus) -> io::Result<Loaded> {
        let text = text_of(&self.notes)?;
        let demonstration = text.lines().any(|line| line == users_file::MARKER);
        let has_identity = text.lines().any(|line| line.starts_with(PIN));
        let notes = text.lines().filter(|line| *line != users_file::MARKER).map(str::to_owned).collect();
        sealed::seal(&self.table)?;
        sealed::seal(&self.limits)?;
        sealed::seal(&self.identity)?;
        let gone = text_of(&self.gone)?.lines().filter_map(|name| name.parse().ok()).collect();
        let sound = matches!(status, WaitStatus::Exited(_, 0));
        let users = sound.then_some(Users { table: self.table, limits: self.limits, demonstration, gone });
        let configuration = bytes_of(&self.configuration)?;
        Ok(Loaded { users, identity: has_identity.then_some(self.identity), configuration, notes })
    }
}

impl Loaded {
    /// Nothing but the reason.
    pub fn failed(why: String) -> Self {
        Loaded { users: None, identity: None, configuration: Vec::new(), notes: vec![why] }
    }
}

/// All that a helper has written to a file. Read at a stated offset: the position is the writer's too, and at the end.
fn text_of(file: &File) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&bytes_of(file)?).into_owned())
}

fn bytes_of(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Opens the users file.
pub fn open(path: &Path) -> Result<File, String> {
    trust::open(path).map_err(|why| {
        let hint = if why.is_missing() { "; 'dfos-forkd user add NAME' makes it" } else { "" };
        format!("the users file cannot be used: {why}{hint}")
    })
}

/// Opens the limits file, where there is one.
fn open_limits(path: Option<&Path>) -> Result<Option<File>, String> {
    path.map(trust::open).transpose().map_err(|why| format!("the limits file cannot be used: {why}"))
}

/// The limits file, parsed; `base` alone where there is none. An error is a line for each thing that is wrong.
fn parse_limits(file: Option<&File>, path: Option<&Path>, base: Limits) -> Result<LimitsFile, String> {
    let (Some(file), Some(path)) = (file, path) else { return Ok(LimitsFile { everybody: base, users: Vec::new() }) };
    let text =
        limits_file::contents(file).map_err(|why| format!("cannot read the limits file {}: {why}", path.display()))?;
    limits_file::parse(&text, base).map_err(|problems| {
        let lines = problems.iter().map(|problem| format!("{} {problem}", path.display()));
        lines.collect::<Vec<_>>().join("\n")
    })
}

/// Opens and parses the limits file.
pub fn load_limits(path: Option<&Path>, base: Limits) -> Result<LimitsFile, String> {
    parse_limits(open_limits(path)?.as_ref(), path, base)
}

/// Tables of the limits file for whom there is no user: most likely a name that is misspelt, and limits that do not hold.
pub fn strangers<'a>(users: &'a ParsedUsers, limits: &'a LimitsFile) -> impl Iterator<Item = String> + 'a {
    let known: HashSet<_> = users.entries.iter().map(|entry| entry.name.as_str()).collect();
    let strange = limits.users.iter().filter(move |(name, ..)| !known.contains(name.as_str()));
    strange.map(|(name, _, line)| format!("line {line}: [{name}] has limits and is no user"))
}

/// Writes down who of `asked` may no longer log in, a line each.
fn tell_gone(users: &ParsedUsers, limits: &LimitsFile, asked: &[UserName], gone: &mut File) -> Result<(), String> {
    let known: HashSet<&UserName> = users.entries.iter().map(|entry| &entry.name).collect();
    let may_log_in = |name: &UserName| known.contains(name) && !limits.of(name).disabled;
    let lines: String = asked.iter().filter(|name| !may_log_in(name)).map(|name| format!("{name}\n")).collect();
    gone.write_all(lines.as_bytes()).map_err(|why| format!("cannot tell who is gone: {why}"))
}

/// The secret behind the salts of unknown users, made at the first start. It must outlive restarts: a salt that changes tells
/// that there is no such user.
fn secret(storage: BorrowedFd) -> io::Result<Zeroizing<[u8; 32]>> {
    match mkdirat(storage, limits::RESERVED, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let dir = beneath::open_dir(storage, limits::RESERVED.as_bytes())?;
    let mut secret = Zeroizing::new([0; 32]);
    match read_secret(dir.as_fd(), &mut secret) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make_secret(&dir)?,
        other => other?,
    }
    read_secret(dir.as_fd(), &mut secret)?;
    // Also where both were found: who made them may have been killed before the flush. The users' own passwords lie there too.
    for changed in [dir.as_fd(), storage] {
        match fsync_dir(changed) {
            Ok(()) | Err(Errno::EROFS) => {} // nothing changes there
            Err(error) => return Err(error.into()),
        }
    }
    Ok(secret)
}

fn make_secret(dir: &OwnedFd) -> io::Result<()> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *secret).map_err(io::Error::other)?;
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let draft = format!("{SECRET}.{}", hex::encode(random));
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let mut file = File::from(beneath::open(dir, draft.as_bytes(), flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
    file.write_all(&*secret)?;
    file.sync_all()?;
    // Another server on the same storage may be making one too: the first link wins, and both read that.
    let linked = match linkat(dir, draft.as_str(), dir, SECRET, AtFlags::empty()) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(_) => renameat(dir, draft.as_str(), dir, SECRET), // a file system without links
    };
    let _ = unlinkat(dir, draft.as_str(), UnlinkatFlags::NoRemoveDir);
    Ok(linked?)
}

fn read_secret(dir: BorrowedFd, secret: &mut [u8; 32]) -> io::Result<()> {
    let file = beneath::open(dir, SECRET.as_bytes(), OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty())?;
    File::from(file).read_exact_at(secret, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_made_once_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let storage = File::open(dir.path()).unwrap();
        let first = secret(storage.as_fd()).unwrap();
        assert_ne!(*first, [0; 32]);
        assert_eq!(first, secret(storage.as_fd()).unwrap());
        let left: Vec<_> = std::fs::read_dir(dir.path().join(".dfos")).unwrap().collect();
        assert_eq!(left.len(), 1);
    }
}
