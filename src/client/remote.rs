//! A server, logged in: one method for each simple verb. Bodies of files are in [`super::transfer::upload`] and [`super::transfer::download`].

use super::connection::Connection;
use super::display::escape::escape;
use super::failure::Failure;
use super::limits;
use super::stop::Stop;
use super::target::Target;
use super::trust::Introduction;
use crate::auth::Change;
use crate::proto::answer::{BadAnswer, Entry};
use crate::proto::{Answer, Code, Digest, EntryKind, Fields, Mtime, RemotePath};
use std::time::{Duration, Instant};

/// Whether a verb goes into directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recursion {
    /// This one alone.
    Flat,
    /// All below it too.
    Recursive,
}

/// Whether a rename may take the name of something that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It fails with `exists`.
    Keep,
    /// The old one goes.
    Replace,
}

/// Whether MKDIR makes what leads to the directory too, and is content with one that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parents {
    /// Only the last component, which must be new.
    Existing,
    /// All that are missing.
    Make,
}

/// How a listing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Entries told.
    pub entries: u64,
    /// Directories that the server could not read.
    pub skipped: u64,
}

/// What STAT tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file.
    pub size: u64,
    /// When its content last changed.
    pub mtime: Mtime,
    /// The digest, where the server knows it without reading.
    pub digest: Option<Digest>,
}

/// What QUOTA tells, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Used by files, unfinished uploads included.
    pub used: u64,
    /// What may be used; `None` where there is no limit.
    pub limit: Option<u64>,
    /// What the server's disk has left.
    pub free: u64,
    /// Files and directories; `None` of a server that does not count them.
    pub files: Option<u64>,
    /// How many there may be; `None` where there is no limit.
    pub files_limit: Option<u64>,
}

/// What PING tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pong {
    /// The server's clock; `None` of a server that does not tell.
    pub time: Option<Mtime>,
    /// The server's version, as it writes it.
    pub version: Option<String>,
}

/// A connection, logged in.
pub struct Remote {
    pub(super) connection: Connection,
}

impl Remote {
    /// Connects and logs in.
    pub fn connect(target: &Target, stop: &Stop) -> Result<Self, Failure> {
        Connection::open(target, stop).map(|connection| Remote { connection })
    }

    /// The server, if its key has become known with this login; once.
    pub fn introduction(&mut self) -> Option<Introduction> {
        self.connection.introduction()
    }

    /// Whether a next request makes sense on this connection; if not, connect anew.
    pub fn usable(&self) -> bool {
        self.connection.usable()
    }

    /// Forgets a Ctrl+C that was meant for an earlier command.
    pub fn forget_stop(&mut self) {
        self.connection.forget_stop();
    }

    /// How long the server may be silent, and, where there is one, the moment at which it must be done.
    pub fn set_patience(&mut self, silence: Duration, deadline: Option<Instant>) {
        self.connection.set_patience(silence, deadline);
    }

    /// LIST: calls `each` for every entry, as they come; memory stays constant. An error of `each` ends the connection.
    pub fn list(
        &mut self,
        path: &RemotePath,
        recursion: Recursion,
        each: &mut dyn FnMut(Entry) -> Result<(), Failure>,
    ) -> Result<Listed, Failure> {
        let option = if recursion == Recursion::Recursive { " recursive" } else { "" };
        self.connection.queue(format_args!("LIST {path}{option}"));
        let mut entries = 0;
        loop {
            match self.connection.answer()? {
                Answer::Entry(entry) => {
                    self.check_asked(&entry, recursion)?;
                    entries += 1;
                    each(entry).inspect_err(|_| self.connection.abandon())?;
                }
                Answer::Ok(fields) => {
                    let told = self.field(fields.number("entries"))?;
                    let skipped = self.field(fields.number("skipped"))?;
                    if told != entries {
                        return Err(self.connection.broken("the server's listing is not complete"));
                    }
                    return Ok(Listed { entries, skipped });
                }
                Answer::Err(code, text) => return Err(self.connection.refused(path.as_bytes(), code, &text)),
                other => return Err(self.connection.unexpected(&other)),
            }
        }
    }

    /// That a path leads nowhere outside is checked when it is parsed; here, that it lies as deep as was asked.
    fn check_asked(&mut self, entry: &Entry, recursion: Recursion) -> Result<(), Failure> {
        let depth = entry.path.components().count();
        if depth == 1 || (depth > 1 && recursion == Recursion::Recursive) {
            return Ok(());
        }
        let name = escape(entry.path.as_bytes());
        Err(self.connection.broken(format_args!("the server lists '{name}', which was not asked for")))
    }

    /// STAT.
    pub fn stat(&mut self, path: &RemotePath) -> Result<Stat, Failure> {
        let fields = self.ok(format_args!("STAT {path}"), path)?;
        self.field(stat(&fields))
    }

    /// STAT of many paths, the requests sent ahead. The failure of one does not stop the others.
    pub fn stat_all(&mut self, paths: &[RemotePath]) -> Result<Vec<Result<Stat, Failure>>, Failure> {
        let mut found = Vec::with_capacity(paths.len());
        for some in paths.chunks(limits::REQUESTS_AHEAD) {
            for path in some {
                self.connection.queue(format_args!("STAT {path}"));
            }
            for path in some {
                let stat = match self.connection.answer()? {
                    Answer::Ok(fields) => Ok(self.field(stat(&fields))?),
                    Answer::Err(code, text) => {
                        let failure = self.connection.refused(path.as_bytes(), code, &text);
                        if failure.retry {
                            return Err(failure);
                        }
                        Err(failure)
                    }
                    other => return Err(self.connection.unexpected(&other)),
                };
                found.push(stat);
            }
        }
        Ok(found)
    }

    /// VIEW: up to `length` bytes from `offset` on; the server sends 65,536 at most.
    pub fn view(&mut self, path: &RemotePath, offset: u64, length: u64) -> Result<Vec<u8>, Failure> {
        let expected = match self.connection.ask(format_args!("VIEW {path} offset={offset} length={length}"))? {
            Answer::Ready(fields) => self.field(fields.number("length"))?,
            Answer::Err(code, text) => return Err(self.connection.refused(path.as_bytes(), code, &text)),
            other => return Err(self.connection.unexpected(&other)),
        };
        if expected > length.min(crate::proto::limits::VIEW) {
            return Err(self.connection.broken("the server sends more than was asked for"));
        }
        let mut bytes = Vec::new();
        loop {
            match self.connection.answer()? {
                Answer::Data(n) if bytes.is_empty() && n as u64 == expected => {
                    bytes.resize(n, 0);
                    let mut at = 0;
                    while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
                        at += self.connection.read_some(rest)?;
                    }
                }
                Answer::End(_) if bytes.len() as u64 == expected => return Ok(bytes),
                Answer::Abort(code, _, text) => return Err(self.connection.refused(path.as_bytes(), code, &text)),
                other => return Err(self.connection.unexpected(&other)),
            }
        }
    }

    /// DELETE: a file, or a link; never a directory.
    pub fn delete(&mut self, path: &RemotePath) -> Result<(), Failure> {
        self.ok(format_args!("DELETE {path}"), path).map(drop)
    }

    /// RENAME.
    pub fn rename(&mut self, from: &RemotePath, to: &RemotePath, replace: Replace) -> Result<(), Failure> {
        let option = if replace == Replace::Replace { " replace" } else { "" };
        match self.ok(format_args!("RENAME {from} {to}{option}"), from) {
            Err(failure) if failure.code == Some(Code::NotFound) => Err(self.missing(from, to, failure)),
            other => other.map(drop),
        }
    }

    /// Which of the two names of a rename leads nowhere.
    fn missing(&mut self, from: &RemotePath, to: &RemotePath, failure: Failure) -> Failure {
        let missing = match self.stat(from) {
            Ok(_) => to.parent().unwrap_or_else(RemotePath::root),
            Err(why) if why.code == Some(Code::NotFound) => from.clone(),
            Err(_) => return failure,
        };
        let [from, to, missing] = [from, to, &missing].map(|path| escape(path.as_bytes()));
        let text = format!("cannot rename {from} to {to}: there is no {missing}");
        Failure { text, ..failure }
    }

    /// MKDIR.
    pub fn mkdir(&mut self, path: &RemotePath, parents: Parents) -> Result<(), Failure> {
        let option = if parents == Parents::Make { " parents" } else { "" };
        self.ok(format_args!("MKDIR {path}{option}"), path).map(drop)
    }

    /// RMDIR; how many things went.
    pub fn rmdir(&mut self, path: &RemotePath, recursion: Recursion) -> Result<u64, Failure> {
        let option = if recursion == Recursion::Recursive { " recursive" } else { "" };
        let fields = self.ok(format_args!("RMDIR {path}{option}"), path)?;
        self.field(fields.number("removed"))
    }

    /// DIGEST: the server reads the whole file; its size and digest.
    pub fn digest(&mut self, path: &RemotePath) -> Result<(u64, Digest), Failure> {
        let fields = self.ok(format_args!("DIGEST {path}"), path)?;
        Ok((self.field(fields.number("size"))?, self.field(fields.value("sha256"))?))
    }

    /// QUOTA.
    pub fn quota(&mut self) -> Result<Quota, Failure> {
        let fields = self.ok("QUOTA", &RemotePath::root())?;
        let (used, free) = (self.field(fields.number("used"))?, self.field(fields.number("free"))?);
        let limit = match fields.get("limit") {
            Some("none") => None,
            _ => Some(self.field(fields.number("limit"))?),
        };
        let mut maybe = |key| match fields.get(key) {
            None | Some("none") => Ok(None),
            _ => self.field(fields.number(key)).map(Some),
        };
        Ok(Quota { used, limit, free, files: maybe("files")?, files_limit: maybe("files-limit")? })
    }

    /// PASSWD: the server's helper takes the new verifier.
    pub fn passwd(&mut self, change: &Change) -> Result<(), Failure> {
        self.ok(format_args!("PASSWD {}", *change.words()), &RemotePath::root()).map(drop)
    }

    /// PING.
    pub fn ping(&mut self) -> Result<Pong, Failure> {
        let fields = self.ok("PING", &RemotePath::root())?;
        let time = fields.get("time").map(|_| fields.value("time")).transpose();
        Ok(Pong { time: self.field(time)?, version: fields.get("version").map(str::to_owned) })
    }

    /// HELP: the server's own words, a line each, or those about one verb.
    pub fn help(&mut self, verb: Option<&str>) -> Result<Vec<String>, Failure> {
        // What would break the line cannot be a verb either.
        let verb: String = verb.unwrap_or_default().chars().filter(char::is_ascii_alphabetic).collect();
        let space = if verb.is_empty() { "" } else { " " };
        self.connection.queue(format_args!("HELP{space}{verb}"));
        let mut rows = Vec::new();
        loop {
            match self.connection.answer()? {
                Answer::Info(text) if rows.len() < limits::INFO_ROWS => rows.push(text),
                Answer::Ok(_) => return Ok(rows),
                Answer::Err(code, text) => return Err(self.connection.refused(b"", code, &text)),
                other => return Err(self.connection.unexpected(&other)),
            }
        }
    }

    /// LOGOUT, and a graceful close.
    pub fn logout(mut self) -> Result<(), Failure> {
        // Nothing stands behind the answer: it is not worth a long wait.
        self.connection.set_patience(limits::GOODBYE, Some(Instant::now() + limits::GOODBYE));
        self.ok("LOGOUT", &RemotePath::root())?;
        self.connection.close();
        Ok(())
    }

    /// Asks for something that is answered by `OK` or `ERR` alone.
    pub(super) fn ok(&mut self, line: impl std::fmt::Display, about: &RemotePath) -> Result<Fields, Failure> {
        let what = if about.is_root() { b"" } else { about.as_bytes() };
        match self.connection.ask(line)? {
            Answer::Ok(fields) => Ok(fields),
            Answer::Err(code, text) => Err(self.connection.refused(what, code, &text)),
            other => Err(self.connection.unexpected(&other)),
        }
    }

    pub(super) fn field<T>(&mut self, value: Result<T, BadAnswer>) -> Result<T, Failure> {
        value.map_err(|why| self.connection.broken(why))
    }
}

fn stat(fields: &Fields) -> Result<Stat, BadAnswer> {
    Ok(Stat {
        kind: fields.value("type")?,
        size: fields.number("size")?,
        mtime: fields.value("mtime")?,
        digest: fields.digest("sha256")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::failure::Exit;
    use crate::client::fake::{Fake, Script, stat};

    #[test]
    fn a_server_that_goes_on_talking_does_not_hold_up_a_goodbye() {
        let script: Script = Box::new(|peer| {
            assert_eq!(peer.line(), "LOGOUT");
            while peer.try_say("WAIT\n").is_ok() {}
        });
        let fake = Fake::start(0, vec![script]);
        let remote = Remote::connect(&fake.target, &Stop::deaf()).unwrap();
        assert_eq!(remote.logout().unwrap_err().exit, Exit::Timeout);
        fake.end();
    }

    #[test]
    fn a_rename_says_which_of_its_names_leads_nowhere() {
        for (there, expected) in [(true, "there is no d"), (false, "there is no a")] {
            let script: Script = Box::new(move |peer| {
                assert_eq!(peer.line(), "RENAME a d/b");
                peer.say("ERR not-found no such file or directory\n");
                assert_eq!(peer.line(), "STAT a");
                peer.say(if there { stat(1) } else { "ERR not-found no such file\n".into() });
            });
            let fake = Fake::start(0, vec![script]);
            let mut remote = Remote::connect(&fake.target, &Stop::deaf()).unwrap();
            let (from, to) = ("a".parse().unwrap(), "d/b".parse().unwrap());
            let failure = remote.rename(&from, &to, Replace::Keep).unwrap_err();
            assert_eq!(failure.exit, Exit::NotFound);
            assert_eq!(failure.text, format!("cannot rename a to d/b: {expected}"));
            drop(remote);
            fake.end();
        }
    }
}
