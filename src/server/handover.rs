//! What a listener hands to the program that takes its place (execve(2), the same process): its descriptors and what it knows, as text in a
//! sealed file in memory. A line `dfos-handover VERSION LENGTH`, then so many bytes of JSON.
//!
//! The same is handed to a rehearsal first: another process of the new program, which takes everything over as the true one will, says
//! so ([`READY`]) and ends.

use super::children::Child;
use super::desk;
use super::scoreboard::{LAYOUT, Totals};
use crate::auth::UserName;
use crate::net::{Peer, activation, listen};
use crate::sys::sealed;
use nix::unistd::{Pid, Uid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// The variable that invites a program to take over: `PID MODE DESCRIPTOR COUNT`.
pub const VARIABLE: &str = "DFOS_HANDOVER";
/// What a rehearsal says last when it could take over.
pub const READY: &str = "dfos-forkd is ready to take over";
/// The form of what is handed over. One who knows another takes nothing over: then the server has to be restarted.
const VERSION: u32 = 2;
/// Bytes of it: 100,000 sessions and as many penalties.
const LARGEST: u64 = 64 << 20;

/// Why nothing is taken over.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It is there and not to be read.
    #[error("cannot read what the running server hands over: {0}")]
    Io(#[from] io::Error),
    /// The running server is of another make.
    #[error("what the running server hands over is of another version: restart the server instead")]
    Version,
    /// It says what cannot be.
    #[error("what the running server hands over makes no sense ({0})")]
    Senseless(String),
}

/// An invitation to take over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invitation {
    /// Whether only to say whether it could be done.
    pub rehearsal: bool,
    /// How often this process has gone on as another program, this time included.
    pub count: u64,
    /// The file.
    pub file: RawFd,
}

impl Invitation {
    /// Reads the variable; `None` where it is meant for another process, which left it in the environment.
    pub fn parse(text: &str, this: Pid) -> Option<Self> {
        let [pid, mode, file, count]: [&str; 4] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let rehearsal = match mode {
            "rehearse" => true,
            "take-over" => false,
            _ => return None,
        };
        let own = pid.parse() == Ok(this.as_raw());
        Some(Invitation { rehearsal, count: count.parse().ok()?, file: file.parse().ok()? }).filter(|_| own)
    }

    /// As it stands in the variable, for the process `of`.
    pub fn encode(&self, of: Pid) -> String {
        format!("{of} {} {} {}", if self.rehearsal { "rehearse" } else { "take-over" }, self.file, self.count)
    }
}

/// All that is handed over. Times are microseconds before `at`, which is a time of `CLOCK_MONOTONIC`.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// When it was written, in microseconds of `CLOCK_MONOTONIC`.
    pub at: i64,
    /// Where the service manager listens, and how long it waits for a sign of life, in microseconds.
    pub manager: Option<(String, Option<u64>)>,
    /// The listening sockets.
    pub sockets: Vec<Listening>,
    /// The storage directory.
    pub storage: RawFd,
    /// The sealed users, and the sealed records of their limits.
    pub users: [RawFd; 2],
    /// Whether these are demonstration users.
    pub demonstration: bool,
    /// The sealed key and certificate.
    pub identity: Option<RawFd>,
    /// The sending ends of the ways to the scribe: the listener's and the sessions'.
    pub mouths: [RawFd; 2],
    /// The ends that a scribe reads.
    pub ends: [RawFd; 2],
    /// The socket over which sessions say who has logged in: their end, and the listener's.
    pub words: [RawFd; 2],
    /// What sessions heed where the audit must be written, if it must.
    pub notice: Option<RawFd>,
    /// The control socket, if there is one.
    pub desk: Option<Door>,
    /// The scoreboard.
    pub scoreboard: RawFd,
    /// What its pages hold.
    pub layout: u32,
    /// The sessions.
    pub children: Vec<Session>,
    /// Addresses that have to wait: until so many microseconds after `at`, and how their next offence is multiplied.
    pub penalties: Vec<(IpAddr, i64, u32)>,
    /// The sums of the figures of sessions that have ended.
    pub totals: Totals,
    /// When the server started, in Unix seconds.
    pub started: u64,
    /// Connections so far.
    pub connections: u64,
    /// The most sessions that there have been at a time.
    pub peak: usize,
    /// Sessions that the operator has ended.
    pub kicked: u64,
    /// Those turned away, by reason.
    pub turned_away: Vec<u64>,
    /// Sessions sent away.
    pub sent_away: u64,
    /// How often the users were loaded again.
    pub generation: u64,
    /// Connections that were turned away just now, whose clients still read why.
    pub lingering: Vec<RawFd>,
}

/// A listening socket.
#[derive(Debug, Serialize, Deserialize)]
pub struct Listening {
    /// Its descriptor.
    pub fd: RawFd,
    /// Where it listens; the scheme says what is spoken.
    pub address: String,
    /// Whether the server made it.
    pub is_ours: bool,
}

/// The control socket.
#[derive(Debug, Serialize, Deserialize)]
pub struct Door {
    /// Its descriptor.
    pub fd: RawFd,
    /// Where it lies.
    pub path: String,
    /// The user id of who started the server, who may ask beside root.
    pub operator: u32,
}

/// A session that lives.
#[derive(Debug, Serialize, Deserialize)]
pub struct Session {
    pid: i32,
    peer: String,
    slot: usize,
    group: i32,
    since: i64,
    generation: u64,
    serial: u64,
    at: u32,
    said: u8,
    user: Option<String>,
    /// When it was sent away.
    leaving: Option<i64>,
}

/// Times of one program as another can read them: [`Instant`] has no number.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    now: Instant,
    at: i64,
}

impl Clock {
    /// The clock of now.
    pub fn now() -> io::Result<Self> {
        let sd_notify::NotifyState::MonotonicUsec(at) = sd_notify::NotifyState::monotonic_usec_now()? else {
            return Err(io::Error::other("there is no clock"));
        };
        Ok(Clock { now: Instant::now(), at: at as i64 })
    }

    /// Microseconds from this clock's now to `then`.
    pub fn encode(&self, then: Instant) -> i64 {
        let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        match then.checked_duration_since(self.now) {
            Some(ahead) => micros(ahead),
            None => -micros(self.now.saturating_duration_since(then)),
        }
    }

    /// The time that was `micros` from the now of a clock that showed `at`.
    pub fn decode(&self, at: i64, micros: i64) -> Instant {
        let from_now = at.saturating_add(micros).saturating_sub(self.at);
        let span = Duration::from_micros(from_now.unsigned_abs());
        let then = if from_now < 0 { self.now.checked_sub(span) } else { self.now.checked_add(span) };
        then.unwrap_or(self.now)
    }

    /// What this clock shows.
    pub fn at(&self) -> i64 {
        self.at
    }
}

impl Session {
    /// A session, as it is handed over.
    pub fn new(pid: Pid, child: &Child, leaving: Option<Instant>, clock: &Clock) -> Self {
        Session {
            pid: pid.as_raw(),
            peer: child.peer.to_string(),
            slot: child.slot,
            group: child.group.as_raw(),
            since: clock.encode(child.since),
            generation: child.generation,
            serial: child.serial,
            at: child.at,
            said: child.said,
            user: child.user.map(|user| user.to_string()),
            leaving: leaving.map(|at| clock.encode(at)),
        }
    }

    /// The session; and when it was sent away, if it was.
    fn taken(&self, at: i64, clock: &Clock) -> Option<(Pid, Child, Option<Instant>)> {
        let child = Child {
            peer: peer(&self.peer)?,
            slot: self.slot,
            group: Pid::from_raw(self.group),
            since: clock.decode(at, self.since),
            generation: self.generation,
            serial: self.serial,
            at: self.at,
            said: self.said,
            user: match &self.user {
                Some(name) => Some(name.parse::<UserName>().ok()?),
                None => None,
            },
        };
        Some((Pid::from_raw(self.pid), child, self.leaving.map(|leaving| clock.decode(at, leaving))))
    }
}

/// Reads what [`Peer`] displays.
fn peer(text: &str) -> Option<Peer> {
    match text.strip_prefix("uid:") {
        Some(uid) => uid.parse().ok().map(Peer::Unix),
        None => text.parse().ok().map(Peer::Tcp),
    }
}

impl State {
    /// All descriptors that are handed over.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let single = [self.storage, self.scoreboard];
        let sockets = self.sockets.iter().map(|socket| socket.fd);
        let pairs = [self.users, self.mouths, self.ends, self.words];
        let rest = self
            .identity
            .into_iter()
            .chain(self.notice)
            .chain(self.desk.as_ref().map(|door| door.fd))
            .chain(self.lingering.iter().copied());
        single.into_iter().chain(sockets).chain(pairs.into_iter().flatten()).chain(rest).collect()
    }

    /// Writes it down, sealed.
    pub fn write(&self) -> io::Result<File> {
        let text = serde_json::to_vec(self)?;
        let mut file = sealed::create(c"dfos-handover")?;
        file.write_all(format!("dfos-handover {VERSION} {}\n", text.len()).as_bytes())?;
        file.write_all(&text)?;
        sealed::seal(&file)?;
        Ok(file)
    }

    /// Reads it from descriptor `number`, which is not owned yet, nor will be here.
    pub fn read(number: RawFd) -> Result<State, Unfit> {
        State::parse(File::open(format!("/proc/self/fd/{number}"))?)
    }

    fn parse(file: File) -> Result<State, Unfit> {
        let senseless = |what: &str| Unfit::Senseless(what.into());
        if !sealed::is_sealed(&file) {
            return Err(senseless("it is not sealed"));
        }
        let mut text = Vec::new();
        file.take(LARGEST).read_to_end(&mut text)?;
        let end = text.iter().position(|byte| *byte == b'\n').ok_or_else(|| senseless("it has no first line"))?;
        let (line, rest) = text.split_at(end);
        let line = std::str::from_utf8(line).map_err(|_| senseless("its first line is no text"))?;
        let [name, version, length]: [&str; 3] =
            line.split(' ').collect::<Vec<_>>().try_into().map_err(|_| senseless("its first line is another"))?;
        if name != "dfos-handover" {
            return Err(senseless("its first line is another"));
        }
        if version != VERSION.to_string() {
            return Err(Unfit::Version);
        }
        let json = rest.get(1..).unwrap_or_default();
        if length.parse() != Ok(json.len()) {
            return Err(senseless("it is not as long as it says"));
        }
        serde_json::from_slice(json).map_err(|why| Unfit::Senseless(why.to_string()))
    }
}

/// What has been taken over, each descriptor with its owner.
pub struct Taken {
    /// What the rest is about.
    pub invitation: Invitation,
    /// The listening sockets.
    pub sockets: Vec<listen::Listener>,
    /// The storage directory.
    pub storage: OwnedFd,
    /// The sealed users and limits.
    pub users: [File; 2],
    /// The sealed key and certificate.
    pub identity: Option<File>,
    /// See [`State::mouths`].
    pub mouths: [OwnedFd; 2],
    /// See [`State::ends`].
    pub ends: [OwnedFd; 2],
    /// See [`State::words`].
    pub words: [OwnedFd; 2],
    /// See [`State::notice`].
    pub notice: Option<File>,
    /// See [`State::desk`].
    pub desk: Option<desk::Door>,
    /// The scoreboard; `None` where its pages mean something else to this program.
    pub scoreboard: Option<File>,
    /// The sessions, those who came first at the front, and when they were sent away.
    pub children: Vec<(Pid, Child, Option<Instant>)>,
    /// Addresses that have to wait: until when, and how their next offence is multiplied.
    pub penalties: Vec<(IpAddr, Instant, u32)>,
    /// Connections that were turned away just now.
    pub lingering: Vec<OwnedFd>,
    /// What else was said.
    pub state: State,
}

impl Taken {
    /// Gives each of the `owned` descriptors, which are those that the state names in that order, its place. All must have one.
    pub fn new(invitation: Invitation, state: State, owned: Vec<OwnedFd>) -> Result<Self, Unfit> {
        let clock = Clock::now()?;
        let mut owned: BTreeMap<RawFd, OwnedFd> = owned.into_iter().map(|fd| (fd.as_raw_fd(), fd)).collect();
        let mut claim = |number: RawFd| {
            let missing = || Unfit::Senseless(format!("descriptor {number} is missing"));
            owned.remove(&number).ok_or_else(missing)
        };
        let mut sockets = Vec::new();
        for Listening { fd, address, is_ours } in &state.sockets {
            let name = address.split(':').next().unwrap_or_default();
            let mut socket = activation::adopt(claim(*fd)?, name)
                .map_err(|why| Unfit::Senseless(format!("{address} is no listening socket: {why}")))?;
            socket.is_ours = *is_ours;
            if socket.address.to_string() != *address {
                return Err(Unfit::Senseless(format!("{address} is {}", socket.address)));
            }
            sockets.push(socket);
        }
        let mut pair = |of: [RawFd; 2]| Ok::<_, Unfit>([claim(of[0])?, claim(of[1])?]);
        let (users, mouths, ends, words) =
            (pair(state.users)?, pair(state.mouths)?, pair(state.ends)?, pair(state.words)?);
        let storage = claim(state.storage)?;
        let identity = state.identity.map(&mut claim).transpose()?.map(File::from);
        let notice = state.notice.map(&mut claim).transpose()?.map(File::from);
        let desk = match &state.desk {
            Some(door) => Some(desk::Door::resume(claim(door.fd)?, &door.path, Uid::from_raw(door.operator))),
            None => None,
        };
        let scoreboard = Some(File::from(claim(state.scoreboard)?)).filter(|_| state.layout == LAYOUT);
        let lingering = state.lingering.iter().map(|number| claim(*number)).collect::<Result<Vec<_>, _>>()?;
        if let Some(number) = owned.keys().next() {
            return Err(Unfit::Senseless(format!("descriptor {number} is nothing")));
        }
        let taken = state.children.iter().map(|session| session.taken(state.at, &clock)).collect::<Option<Vec<_>>>();
        let mut children = taken.ok_or_else(|| Unfit::Senseless("a session is none".into()))?;
        children.sort_by_key(|(_, child, _)| child.since);
        let penalties = state.penalties.iter();
        let penalties = penalties.map(|(at, until, growth)| (*at, clock.decode(state.at, *until), *growth)).collect();
        let users = users.map(File::from);
        Ok(Taken {
            invitation,
            sockets,
            storage,
            users,
            identity,
            mouths,
            ends,
            words,
            notice,
            desk,
            scoreboard,
            children,
            penalties,
            lingering,
            state,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, sealed: bool) -> File {
        let mut file = sealed::create(c"dfos-test").unwrap();
        file.write_all(text.as_bytes()).unwrap();
        if sealed {
            sealed::seal(&file).unwrap();
        }
        file
    }

    fn parsed(text: &str) -> Result<State, String> {
        let file = file(text, true);
        State::read(file.as_raw_fd()).map_err(|why| why.to_string())
    }

    fn session(user: Option<&str>, peer: Peer, clock: &Clock) -> Session {
        let child = Child {
            peer,
            slot: 7,
            group: Pid::from_raw(8),
            since: clock.now,
            generation: 9,
            serial: 10,
            at: 1,
            said: 2,
            user: user.map(|user| user.parse().unwrap()),
        };
        Session::new(Pid::from_raw(6), &child, None, clock)
    }

    fn state(children: Vec<Session>) -> State {
        State {
            at: 0,
            manager: None,
            sockets: Vec::new(),
            storage: 0,
            users: [0; 2],
            demonstration: false,
            identity: None,
            mouths: [0; 2],
            ends: [0; 2],
            words: [0; 2],
            notice: None,
            desk: None,
            scoreboard: 0,
            layout: LAYOUT,
            children,
            penalties: vec![("192.0.2.1".parse().unwrap(), 5, 2)],
            totals: Totals::default(),
            started: 4,
            connections: 3,
            peak: 5,
            kicked: 6,
            turned_away: Vec::new(),
            sent_away: 0,
            generation: 0,
            lingering: Vec::new(),
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_that_is_cut_changed_or_of_another_version() {
        let clock = Clock::now().unwrap();
        let written = state(vec![session(Some("alice"), Peer::Unix(5), &clock)]).write().unwrap();
        let read = State::read(written.as_raw_fd()).unwrap();
        assert_eq!((read.connections, read.penalties.len(), read.children.len()), (3, 1, 1));
        let text = std::fs::read_to_string(format!("/proc/self/fd/{}", written.as_raw_fd())).unwrap();
        assert!(parsed(&text).is_ok());
        assert!(parsed(&text[..text.len() - 1]).is_err_and(|why| why.contains("not as long as it says")));
        assert!(parsed(&format!("{text} ")).is_err_and(|why| why.contains("not as long as it says")));
        let other = text.replace("dfos-handover 2 ", "dfos-handover 1 ");
        assert!(parsed(&other).is_err_and(|why| why.contains("restart the server instead")));
        for rubbish in ["", "\n", "dfos-handover", "dfos-handover 2 2\n{}", "dfos-handover 2 -2\n{}", "a b c\n"] {
            assert!(parsed(rubbish).is_err(), "{rubbish:?}");
        }
        let open = file(&text, false);
        assert!(State::read(open.as_raw_fd()).is_err_and(|why| why.to_string().contains("not sealed")));
    }

    #[test]
    fn times_are_the_same_in_the_other_program() {
        let (before, minute) = (Clock::now().unwrap(), Duration::from_secs(60));
        let times = [before.now - minute, before.now, before.now + minute];
        let written = times.map(|time| before.encode(time));
        std::thread::sleep(Duration::from_millis(20)); // what the exec takes is no part of them
        let after = Clock::now().unwrap();
        for (time, written) in times.into_iter().zip(written) {
            let read = after.decode(before.at(), written);
            let off = read.max(time).duration_since(read.min(time));
            assert!(off < Duration::from_millis(10), "{off:?}");
        }
    }

    #[test]
    fn a_session_is_who_it_was() {
        let clock = Clock::now().unwrap();
        for peer in
            [Peer::Unix(5), Peer::Tcp("192.0.2.1:7".parse().unwrap()), Peer::Tcp("[2001:db8::1]:7".parse().unwrap())]
        {
            for user in [None, Some("alice")] {
                let (pid, child, leaving) = session(user, peer, &clock).taken(clock.at(), &clock).unwrap();
                assert_eq!((pid, child.peer, child.slot, leaving), (Pid::from_raw(6), peer, 7, None));
                assert_eq!(child.user.map(|user| user.to_string()), user.map(str::to_owned));
            }
        }
    }

    #[test]
    fn a_descriptor_that_is_missing_or_nobodys_is_not_passed_over() {
        let invitation = Invitation { rehearsal: true, count: 1, file: 9 };
        let none = Taken::new(invitation, state(Vec::new()), Vec::new());
        assert!(none.is_err_and(|why| why.to_string().contains("is missing")));
    }

    #[test]
    fn an_invitation_is_for_one_process() {
        let this = Pid::this();
        let invitation = Invitation { rehearsal: true, count: 4, file: 9 };
        let text = invitation.encode(this);
        assert_eq!(Invitation::parse(&text, this), Some(invitation));
        assert_eq!(Invitation::parse(&text, Pid::from_raw(this.as_raw() + 1)), None);
        for rubbish in ["", "1 2 3 4", &format!("{this} rehearse 9"), &format!("{this} rehearse x 1")] {
            assert_eq!(Invitation::parse(rubbish, this), None, "{rubbish}");
        }
    }
}
