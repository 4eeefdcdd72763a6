//! What the service manager is told (sd_notify(3)): that the server serves, loads its users again or ends, how many it serves, and that it
//! is alive. Where no manager asked for it, all of this is nothing.

use sd_notify::NotifyState;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// How often the manager is told how many are served, at most.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Manager(Option<Notified>);

/// One that wants to be told. Its socket is opened for each message: no session inherits it, and a manager that was started again is found.
#[derive(Debug)]
struct Notified {
    socket: OsString,
    address: SocketAddr,
    /// How often it wants a sign of life; nothing where it does not.
    watchdog: Option<Duration>,
    next_sign: Option<Instant>,
    served: Served,
    /// What it was told last.
    told: Option<Served>,
    next_status: Instant,
}

/// How many are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Served {
    /// Sessions.
    pub sessions: usize,
    /// Those of them that have not logged in.
    pub strangers: usize,
}

impl Manager {
    /// The manager that listens on `socket` (`NOTIFY_SOCKET`) and takes the server for dead after `watchdog` without a sign of life.
    pub fn new(socket: Option<OsString>, watchdog: Option<Duration>) -> Result<Self, String> {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else { return Ok(Manager(None)) };
        let address = address_of(&socket)
            .map_err(|error| format!("the service manager cannot be told anything at {}: {error}", socket.display()))?;
        let watchdog = watchdog.filter(|limit| !limit.is_zero());
        let (now, served) = (Instant::now(), Served::default());
        let next_sign = watchdog.map(|_| now);
        Ok(Manager(Some(Notified { socket, address, watchdog, next_sign, served, told: None, next_status: now })))
    }

    /// What [`Manager::new`] made it from.
    pub fn origin(&self) -> (Option<OsString>, Option<Duration>) {
        self.0.as_ref().map_or((None, None), |told| (Some(told.socket.clone()), told.watchdog))
    }

    /// The server serves: for the first time, or again after [`Manager::reloading`].
    pub fn ready(&self) {
        self.tell(|served| vec![NotifyState::Ready.to_string(), status(&served.to_string())]);
    }

    /// The server loads its users again, and will be ready soon.
    pub fn reloading(&self) {
        let since = NotifyState::monotonic_usec_now().map(|since| since.to_string()).unwrap_or_default();
        self.tell(|_| vec![NotifyState::Reloading.to_string(), since, status("loading the users again")]);
    }

    /// The server ends, and needs so long for it.
    pub fn stopping(&self, longest: Duration) {
        let microseconds = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        let extend = NotifyState::ExtendTimeoutUsec(microseconds).to_string();
        self.tell(|served| vec![NotifyState::Stopping.to_string(), extend, status(&format!("ending: {served}"))]);
    }

    /// Something else that people should read.
    pub fn says(&self, text: &str) {
        self.tell(|_| vec![status(text)]);
    }

    /// To be called at each turn of the listener's loop: gives a sign of life when one is due, and tells how many are served.
    pub fn turn(&mut self, now: Instant, served: Served) {
        let Some(told) = &mut self.0 else { return };
        told.served = served;
        if let (Some(due), Some(limit)) = (told.next_sign, told.watchdog)
            && due <= now
        {
            told.next_sign = Some(now + limit / 2);
            told.send(&NotifyState::Watchdog.to_string());
        }
        if told.told != Some(served) && told.next_status <= now {
            (told.told, told.next_status) = (Some(served), now + STATUS_EVERY);
            told.send(&status(&served.to_string()));
        }
    }

    /// When [`Manager::turn`] has something to do, though nothing else happens.
    pub fn due(&self) -> Option<Instant> {
        let told = self.0.as_ref()?;
        let status = (told.told != Some(told.served)).then_some(told.next_status);
        told.next_sign.into_iter().chain(status).min()
    }

    fn tell(&self, lines: impl FnOnce(Served) -> Vec<String>) {
        if let Some(told) = &self.0 {
            told.send(&lines(told.served).join("\n"));
        }
    }
}

impl Notified {
    /// Says it once. A manager that does not listen is no reason to wait, nor to fail.
    fn send(&self, text: &str) {
        let sent = || -> io::Result<usize> {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to_addr(text.as_bytes(), &self.address)
        };
        let _ = sent();
    }
}

impl std::fmt::Display for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Served { sessions: 1, strangers: 0 } => f.write_str("1 session"),
            Served { sessions: 1, .. } => f.write_str("1 session, logging in"),
            Served { sessions, strangers: 0 } => write!(f, "{sessions} sessions"),
            Served { sessions, strangers } => write!(f, "{sessions} sessions, {strangers} of them logging in"),
        }
    }
}

fn status(text: &str) -> String {
    NotifyState::Status(text).to_string()
}

/// A path, or an abstract name after `@`.
fn address_of(socket: &OsStr) -> io::Result<SocketAddr> {
    match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(socket),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither a path nor an abstract name")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 1000];
        let said = std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec()));
        said.map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    fn manager(watchdog: Option<Duration>) -> (tempfile::TempDir, UnixDatagram, Manager) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        (dir, socket, Manager::new(Some(path.into()), watchdog).unwrap())
    }

    #[test]
    fn a_sign_of_life_comes_twice_in_the_time_that_the_manager_waits_for_one() {
        let (_dir, socket, mut manager) = manager(Some(Duration::from_secs(10)));
        let start = Instant::now();
        for second in 0..=10 {
            manager.turn(start + Duration::from_secs(second), Served::default());
        }
        let signs = heard(&socket).iter().filter(|text| *text == "WATCHDOG=1").count();
        assert_eq!(signs, 3, "at 0, 5 and 10");
        assert_eq!(manager.due(), Some(start + Duration::from_secs(15)));
    }

    #[test]
    fn how_many_are_served_is_told_when_it_changes_and_not_more_often_than_every_few_seconds() {
        let (_dir, socket, mut manager) = manager(None);
        let start = Instant::now();
        for ms in 0..20_000 {
            manager.turn(start + Duration::from_millis(ms), Served { sessions: ms as usize, strangers: 2 });
        }
        let said = heard(&socket);
        assert_eq!(said.len(), 4, "{said:?}");
        assert_eq!(said[1], "STATUS=5000 sessions, 2 of them logging in");
        assert!(manager.due().is_some());
        for ms in 20_000..40_000 {
            manager.turn(start + Duration::from_millis(ms), Served { sessions: 1, strangers: 0 });
        }
        assert_eq!(heard(&socket), ["STATUS=1 session"]);
        assert_eq!(manager.due(), None, "nothing wakes a listener with nothing to tell");
    }

    #[test]
    fn without_a_manager_nothing_is_due() {
        for none in [None, Some(OsString::new())] {
            let mut manager = Manager::new(none, Some(Duration::from_secs(1))).unwrap();
            manager.turn(Instant::now(), Served { sessions: 1, strangers: 1 });
            assert_eq!(manager.due(), None);
        }
        assert!(Manager::new(Some("vsock:2:1".into()), None).is_err());
    }
}
