//! The servers whose keys this user has met, one a line: `tls://HOST:PORT sha256:KEY`. The file lies in the user's state directory,
//! is written whole or not at all, and never without need.

use super::failure::{Exit, Failure};
use crate::net::Address;
use crate::net::tls::pin::Pin;
use nix::fcntl::OFlag;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file of known servers.
#[derive(Debug, Clone)]
pub struct KnownServers {
    path: PathBuf,
}

/// One known server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Where it is.
    pub address: String,
    /// Its key.
    pub pin: Pin,
}

impl KnownServers {
    /// The file at `path`, which need not exist.
    pub fn at(path: PathBuf) -> Self {
        KnownServers { path }
    }

    /// The file in the XDG state directory; `None` for a user without a home.
    pub fn usual() -> Option<Self> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        Some(Self::at(state.join("dfos/known_servers")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All servers in it. A line that is none is an error: to pass over it could mean to forget a server that is known.
    pub fn all(&self) -> Result<Vec<Known>, Failure> {
        let text = match std::fs::read_to_string(&self.path) {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|why| self.failed("read", &why))?,
        };
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let known = lines.map(|(number, line)| {
            parse(line).ok_or_else(|| {
                let text = format!("{} line {number} is no known server: mend or remove it", self.path.display());
                Failure::new(Exit::Local, text)
            })
        });
        known.collect()
    }

    /// The key of the server at `address`, if it is known.
    pub fn find(&self, address: &Address) -> Result<Option<Pin>, Failure> {
        let address = name(address);
        Ok(self.all()?.into_iter().find(|known| known.address == address).map(|known| known.pin))
    }

    /// Remembers the server at `address`. One that was met by another process meanwhile, with another key, stays: two that answer
    /// at one address with different keys are not both what they claim.
    pub fn remember(&self, address: &Address, pin: Pin) -> Result<(), Failure> {
        self.change(|known| {
            let address = name(address);
            match known.iter().find(|old| old.address == address) {
                Some(old) if old.pin == pin => Ok(false),
                Some(_) => Err(Failure::new(Exit::Identity, format!("{address} answered with two different keys"))),
                None => {
                    known.push(Known { address, pin });
                    Ok(true)
                }
            }
        })
        .map(drop)
    }

    /// Forgets the server at `address`; whether it was known.
    pub fn forget(&self, address: &Address) -> Result<bool, Failure> {
        self.change(|known| {
            let (before, address) = (known.len(), name(address));
            known.retain(|old| old.address != address);
            Ok(known.len() < before)
        })
    }

    /// Changes the list while no other process does; `true` if there was something to change.
    fn change(&self, change: impl FnOnce(&mut Vec<Known>) -> Result<bool, Failure>) -> Result<bool, Failure> {
        let _lock = self.lock().map_err(|why| self.failed("lock", &why))?;
        let mut known = self.all()?;
        if !change(&mut known)? {
            return Ok(false);
        }
        self.write(&known).map_err(|why| self.failed("write", &why))?;
        Ok(true)
    }

    fn directory(&self) -> &Path {
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// A file beside this one. Its name is this one's and more: with another ending it could be a file of the user's, or this itself.
    fn beside(&self, more: &str) -> PathBuf {
        let mut path = self.path.as_os_str().to_owned();
        path.push(more);
        path.into()
    }

    /// A lock of its own beside the file, since the file itself is replaced. `--known-servers` may name a place where others can
    /// put links: none is followed.
    fn lock(&self) -> io::Result<File> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.directory())?;
        let mut lock = OpenOptions::new();
        lock.create(true).truncate(false).write(true).mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
        let lock = lock.open(self.beside(".lock"))?;
        lock.lock()?;
        Ok(lock)
    }

    fn write(&self, known: &[Known]) -> io::Result<()> {
        let draft = self.beside(".new"); // nobody else has the lock
        match std::fs::remove_file(&draft) {
            Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
            _ => {} // one that a killed client has left, or a link that somebody has put there
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft)?;
        writeln!(file, "# Keys of DFOS servers that dfos-client has met; 'dfos-client forget URL' takes one out.")?;
        for Known { address, pin } in known {
            writeln!(file, "{address} sha256:{pin}")?;
        }
        file.sync_all()?;
        std::fs::rename(&draft, &self.path)
    }

    fn failed(&self, what: &str, why: &io::Error) -> Failure {
        Failure::new(Exit::Local, format!("cannot {what} {}: {why}", self.path.display()))
    }
}

/// What stands for an address: names of hosts are the same in capitals.
fn name(address: &Address) -> String {
    address.to_string().to_ascii_lowercase()
}

fn parse(line: &str) -> Option<Known> {
    let (address, pin) = line.trim().split_once(' ')?;
    Some(Known { address: name(&address.parse().ok()?), pin: pin.trim().strip_prefix("sha256:")?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn pin(byte: u8) -> Pin {
        hex::encode([byte; 32]).parse().unwrap()
    }

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn a_server_is_known_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let servers = KnownServers::at(dir.path().join("state/dfos/known_servers"));
        let (a, b) = (address("tls://Files.example"), address("tls://[::1]:7"));
        assert_eq!(servers.find(&a).unwrap(), None);
        servers.remember(&a, pin(1)).unwrap();
        servers.remember(&b, pin(2)).unwrap();
        servers.remember(&a, pin(1)).unwrap();
        assert_eq!(servers.all().unwrap().len(), 2);
        assert_eq!(servers.find(&address("tls://files.EXAMPLE:9000")).unwrap(), Some(pin(1)));
        assert_eq!(servers.remember(&a, pin(3)).unwrap_err().exit, Exit::Identity);
        assert_eq!(std::fs::metadata(servers.path()).unwrap().mode() & 0o777, 0o600);
        assert_eq!((servers.forget(&a).unwrap(), servers.forget(&a).unwrap()), (true, false));
        assert_eq!((servers.find(&a).unwrap(), servers.find(&b).unwrap()), (None, Some(pin(2))));
    }

    #[test]
    fn no_other_file_of_the_user_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        for other in ["servers.new", "servers.lock"] {
            std::fs::write(dir.path().join(other), "dear to me").unwrap();
        }
        let servers = KnownServers::at(dir.path().join("servers.txt"));
        servers.remember(&address("tls://a"), pin(1)).unwrap();
        for other in ["servers.new", "servers.lock"] {
            assert_eq!(std::fs::read_to_string(dir.path().join(other)).unwrap(), "dear to me");
        }
    }

    #[test]
    fn what_many_learn_at_the_same_instant_stays_and_the_file_is_whole_at_any_moment() {
        let dir = tempfile::tempdir().unwrap();
        let servers = KnownServers::at(dir.path().join("known_servers"));
        servers.remember(&address("tls://first"), pin(0)).unwrap();
        // What a client leaves that was killed while it wrote.
        std::fs::write(servers.beside(".new"), "tls://half sha2").unwrap();
        std::thread::scope(|scope| {
            let learn = |client: u8| {
                let servers = &servers;
                move || {
                    for n in 0..8 {
                        servers.remember(&address(&format!("tls://s{n}.c{client}")), pin(1 + client * 8 + n)).unwrap();
                    }
                }
            };
            let clients: Vec<_> = (0..8).map(|client| scope.spawn(learn(client))).collect();
            // Killed at whatever moment, a client leaves what another sees then.
            let mut least = 1;
            while !clients.iter().all(|client| client.is_finished()) {
                let known = servers.all().unwrap().len();
                assert!(known >= least, "{known} after {least}");
                least = known;
            }
        });
        assert_eq!(servers.all().unwrap().len(), 1 + 8 * 8);
    }

    #[test]
    fn planted_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let servers = KnownServers::at(dir.path().join("known_servers"));
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "dear to me").unwrap();
        std::os::unix::fs::symlink(&victim, servers.beside(".new")).unwrap();
        servers.remember(&address("tls://a"), pin(1)).unwrap();
        assert_eq!(servers.find(&address("tls://a")).unwrap(), Some(pin(1)));
        assert!(std::fs::symlink_metadata(servers.path()).unwrap().is_file());
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "dear to me");
        let elsewhere = dir.path().join("elsewhere");
        std::fs::remove_file(servers.beside(".lock")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, servers.beside(".lock")).unwrap();
        let failure = servers.remember(&address("tls://b"), pin(2)).unwrap_err();
        assert!(failure.text.starts_with("cannot lock ") && !elsewhere.exists(), "{failure}");
    }

    #[test]
    fn a_damaged_line_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let servers = KnownServers::at(dir.path().join("known_servers"));
        for damaged in ["tls://a sha256:00", "tls://a", "nonsense", "ftp://a sha256:00", "tls://a sha1:00"] {
            std::fs::write(servers.path(), format!("# comment\n\n{damaged}\n")).unwrap();
            let failure = servers.find(&address("tls://b")).unwrap_err();
            assert!(failure.exit == Exit::Local && failure.text.contains("line 3"), "{damaged}: {failure}");
            assert!(servers.remember(&address("tls://b"), pin(1)).is_err());
        }
    }
}
