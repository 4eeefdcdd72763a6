//! A server on a disk that can lose its power, and all that is around them.

use super::disk::{Disk, Luck, Without};
use super::fuse::{Mount, Shared};
use crate::common::{SERVICE, Server, command, eventually, give, home};
use crate::run::Chance;
use nix::sys::signal::{Signal, kill};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A load is waited for so long.
const LONGEST: Duration = Duration::from_secs(2);

/// A running server, whose storage is a disk of ours.
pub struct Machine {
    mount: Option<Mount>,
    server: Option<Server>,
    disk: Shared,
    without: Without,
    home: PathBuf,
}

impl Machine {
    /// A server with these limits of users, on an empty disk.
    pub fn new(limits: &str, chance: Chance, without: Without) -> Machine {
        let home = home();
        std::fs::write(home.path().join("user_limits.toml"), limits).unwrap();
        std::fs::create_dir(home.path().join("storage")).unwrap();
        give(home.path());
        let disk = empty_disk(chance);
        let mount = Mount::new(&disk, &home.path().join("storage")).unwrap();
        let place = home.path().to_owned();
        let mut machine = Machine { mount: Some(mount), server: None, disk, without, home: place };
        machine.start(home);
        machine
    }

    /// The server.
    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// The disk.
    pub fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes: first the disk's, and then, unless they have noticed, the processes'. How lucky names, content and attributes were.
    pub fn cut(&mut self) -> [Luck; 3] {
        self.disk().cut()
    }

    /// Waits until the disk hangs, though not for long: the users may have nothing to do any more.
    pub fn until_it_hangs(&self) {
        let until = Instant::now() + LONGEST;
        while !self.disk().hangs() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills the sessions; the listener goes on.
    pub fn kill_sessions(&mut self) {
        let server = self.server.as_ref().unwrap();
        for session in server.sessions() {
            let _ = kill(session.pid, Signal::SIGKILL);
        }
        self.disk().hang_no_more(false);
    }

    /// Kills all processes of the server.
    pub fn kill(&mut self) {
        let server = self.server.as_mut().unwrap();
        for process in server.processes() {
            let _ = kill(process.pid, Signal::SIGKILL);
        }
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).hang_no_more(false); // what waits for the disk cannot die
        server.kill_listener();
        eventually("all of them have gone", || server.processes().is_empty());
    }

    /// The power is back, after [`Machine::cut`] and [`Machine::kill`].
    pub fn restart(&mut self) {
        let home = self.server.take().unwrap().leave();
        drop(self.mount.take());
        self.disk().restart();
        self.mount = Some(Mount::new(&self.disk, &home.path().join("storage")).unwrap());
        self.start(home);
    }

    /// Starts the server again, after [`Machine::kill`] alone: the disk has lost nothing.
    pub fn start_again(&mut self) {
        let home = self.server.take().unwrap().leave();
        self.start(home);
    }

    /// Starts it with a new disk.
    pub fn replace_disk(&mut self, chance: Chance) {
        self.kill();
        let home = self.server.take().unwrap().leave();
        drop(self.mount.take());
        self.disk = empty_disk(chance);
        self.mount = Some(Mount::new(&self.disk, &home.path().join("storage")).unwrap());
        self.start(home);
    }

    fn start(&mut self, home: tempfile::TempDir) {
        let command = command(home.path(), &[]);
        self.server = Some(Server::spawn(command, home, &[]));
        self.disk().pretend(self.without); // the server's own things are kept: it is the users' that are to be missed
    }

    /// Ends it as Ctrl+C does.
    pub fn stop(mut self) {
        let mut server = self.server.take().unwrap();
        server.signal(Signal::SIGINT);
        assert_eq!(server.wait(), 0, "the exit status at the end");
        server.nobody_is_left();
        drop(self.mount.take());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.mount.take());
        drop(self.server.take());
        let _ = std::fs::remove_dir_all(&self.home); // after a panic: what was mounted there was in the way
    }
}

fn empty_disk(chance: Chance) -> Shared {
    Arc::new(Mutex::new(Disk::new(SERVICE, chance)))
}
