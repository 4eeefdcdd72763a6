//! The scoreboard: what each session has done so far and is doing now, in memory that it shares with the listener, one page a session.
//! For people only; nothing that decides anything is read from it.
//!
//! A session writes without a system call, and nobody waits for anybody. Words stand for themselves; verb and path, which take several, are
//! written between two steps of a sequence (as Linux's seqlock), so that a reader sees whether they belong together. A session that was taken
//! over can write what it likes: the reader believes no length and no text.

use super::places::Places;
use crate::auth::UserName;
use crate::proto::verb::TABLE;
use crate::proto::{Verb, limits, path};
use crate::sys::clock::monotonic;
use crate::sys::shared::{SharedPages, Slot, WORDS};
use crate::sys::title;
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};
use std::time::Duration;

/// What the pages hold, counted: one who takes a scoreboard over reads figures only where it means the same by them.
pub const LAYOUT: u32 = 1;

/// One figure of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Figure {
    /// Logins.
    Logins = 0,
    /// Files published.
    FilesIn = 1,
    /// Bytes of those.
    BytesIn = 2,
    /// Files sent whole to their end.
    FilesOut = 3,
    /// Bytes of bodies sent.
    BytesOut = 4,
    /// Records that the log did not take, and of which it has not been told.
    Unsaid = 5,
    /// Logins that were refused.
    Refusals = 6,
}

/// The words that are figures.
const FIGURES: usize = 16;
/// The [`State`].
const STATE: usize = 16;
/// Odd while verb and path are being written.
const SEQUENCE: usize = 17;
/// The verb's place in the table, and above it the bytes of the path.
const VERB: usize = 18;
/// When the request came: microseconds of the kernel's monotonic clock, as all times here.
const BEGAN: usize = 19;
/// When anything last happened.
const MOVED: usize = 20;
/// Where the transfer in hand began in its file.
const FROM: usize = 21;
/// How far it has come.
const DONE: usize = 22;
/// Where it ends, and one more; 0 if that is not known.
const END: usize = 23;
/// The path.
const PATH: usize = 24;
const PATH_WORDS: usize = limits::SHOWN_PATH.div_ceil(8);
const _: () = assert!(PATH + PATH_WORDS <= WORDS);

/// What a session is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum State {
    /// It has been forked, and shakes hands where that is due.
    Greeting = 0,
    /// It waits for a login.
    Login = 1,
    /// It waits for a request.
    Idle = 2,
    /// It carries out a request.
    Busy = 3,
    /// It waits for the disk, so that uploads become durable.
    Settling = 4,
}

impl State {
    const ALL: [State; 5] = [State::Greeting, State::Login, State::Idle, State::Busy, State::Settling];

    /// As it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Greeting => "greeting",
            State::Login => "login",
            State::Idle => "idle",
            State::Busy => "busy",
            State::Settling => "settling",
        }
    }
}

/// A request in hand, as its session tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What was asked for.
    pub verb: Verb,
    /// Of what: as it stood in the request, cut off in front where it is long. Not to be trusted.
    pub path: String,
    /// For how long.
    pub age: Duration,
    /// Where the transfer began in the file: 0 unless it was resumed.
    pub from: u64,
    /// How far it has come.
    pub done: u64,
    /// Where it will end, if that is known.
    pub end: Option<u64>,
}

/// A session at one moment, as it tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// What it is about.
    pub state: State,
    /// Since when nothing has happened.
    pub quiet: Duration,
    /// What it has in hand. `None` also where that could not be read.
    pub work: Option<Work>,
    /// Its figures.
    pub totals: Totals,
}

/// The sum of many sessions' figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals(pub [u64; FIGURES]);

impl Totals {
    /// One of the figures.
    pub fn get(&self, figure: Figure) -> u64 {
        self.0[figure as usize]
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Totals) {
        self.0.iter_mut().zip(other.0).for_each(|(total, more)| *total = total.saturating_add(more));
    }
}

/// The listener's view: all slots.
pub struct Scoreboard {
    pages: SharedPages,
    places: Places,
}

impl Scoreboard {
    /// A scoreboard for `count` sessions at a time.
    pub fn new(count: usize) -> io::Result<Self> {
        Ok(Scoreboard { pages: SharedPages::new(count)?, places: Places::new(count) })
    }

    /// A scoreboard that another program made: `taken` are the slots of the sessions that live. There are at least `count`.
    pub fn resume(file: File, count: usize, taken: &[usize]) -> io::Result<Self> {
        let count = taken.iter().map(|slot| slot + 1).chain([count]).max().unwrap_or(count);
        Ok(Scoreboard { pages: SharedPages::of(file, count)?, places: Places::with_taken(count, taken) })
    }

    /// The file, to be handed over.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pages.fd()
    }

    /// Takes a free slot, its figures zero.
    pub fn take(&mut self) -> Option<usize> {
        self.places.take()
    }

    /// Adds a slot's figures to `totals`, returns them, and frees it. Nobody else has it any more: it is set to zero here, not when it is taken, so that
    /// the listener touches no page of a session that lives.
    pub fn give_back(&mut self, slot: usize, totals: &mut Totals) -> Totals {
        let words = self.pages.slot(slot);
        let figures = figures(words);
        totals.add(&figures);
        words.iter().for_each(|word| word.store(0, Relaxed));
        self.places.give_back(slot);
        figures
    }

    /// What a session that lives tells of itself.
    pub fn look(&self, slot: usize) -> Look {
        look(self.pages.slot(slot), monotonic())
    }

    /// In a session: keeps its own slot and unmaps the others.
    pub fn keep_only(self, slot: usize) -> io::Result<Tally> {
        let tally = Tally { page: self.pages.keep_only(slot)?, user: None, titled: Cell::new(None) };
        tally.state(State::Greeting);
        Ok(tally)
    }
}

/// A session's own page, and its title in ps(1): the two places that tell what it is doing.
pub struct Tally {
    page: Slot,
    user: Option<UserName>,
    /// What the title says.
    titled: Cell<Option<(State, Option<Verb>)>>,
}

impl Tally {
    /// From now on this is the session of a user.
    pub fn has_user(&mut self, user: UserName) {
        self.user = Some(user);
    }

    /// Adds to a figure.
    pub fn add(&self, figure: Figure, n: u64) {
        self.page.words()[figure as usize].fetch_add(n, Relaxed);
    }

    /// Says what the session is about now.
    pub fn state(&self, state: State) {
        self.set(STATE, state as u64);
        self.set(MOVED, monotonic());
        match state {
            State::Busy | State::Settling => {} // the verb stands there already
            _ => self.title(state, None),
        }
    }

    /// Says that what is owed to the client waits for the disk, or no longer does.
    pub fn settles(&self, begins: bool) {
        self.set(STATE, if begins { State::Settling } else { State::Busy } as u64);
    }

    /// Says that it carries out a request. What it is about is said as it stands in the request.
    pub fn begin(&self, verb: Verb, path: &str) {
        // Decoded for people; a path that holds nothing to decode is not copied.
        let decoded = path.contains('%').then(|| path::decode(path).ok()).flatten();
        begin(self.page.words(), verb, decoded.as_deref().unwrap_or(path.as_bytes()), monotonic());
        self.title(State::Busy, Some(verb));
    }

    /// Says that a transfer goes from a place in a file to its end, if that is known.
    pub fn transfer(&self, from: u64, end: Option<u64>) {
        self.set(FROM, from);
        self.set(DONE, from);
        self.set(END, end.map_or(0, |end| end.saturating_add(1)));
    }

    /// Says that a transfer has come so far.
    pub fn reached(&self, done: u64) {
        self.set(DONE, done);
        self.set(MOVED, monotonic());
    }

    fn set(&self, at: usize, value: u64) {
        self.page.words()[at].store(value, Relaxed);
    }

    /// Everybody on the machine can read a title: no path, and nobody's address.
    fn title(&self, state: State, verb: Option<Verb>) {
        if self.titled.replace(Some((state, verb))) == Some((state, verb)) {
            return;
        }
        let name = self.user.as_ref().map_or("", UserName::as_str);
        let gap = if name.is_empty() { "" } else { " " };
        let what = verb.map_or(state.as_str(), |verb| verb.row().name);
        title::set(format_args!("dfos-forkd: session {name}{gap}{what}"));
    }
}

type Words = [AtomicU64; WORDS];

fn figures(words: &Words) -> Totals {
    Totals(std::array::from_fn(|at| words[at].load(Relaxed)))
}

fn begin(words: &Words, verb: Verb, path: &[u8], now: u64) {
    let path = shown(path);
    let row = TABLE.iter().position(|row| row.verb == verb).unwrap_or(TABLE.len()) as u64;
    let sequence = words[SEQUENCE].load(Relaxed);
    words[SEQUENCE].store(sequence | 1, Relaxed);
    fence(Release);
    for (at, value) in [(VERB, row | (path.len() as u64) << 8), (BEGAN, now), (FROM, 0), (DONE, 0), (END, 0)] {
        words[at].store(value, Relaxed);
    }
    for (word, bytes) in words[PATH..].iter().zip(path.chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(whole), Relaxed);
    }
    words[SEQUENCE].store((sequence | 1).wrapping_add(1), Release);
    words[MOVED].store(now, Relaxed);
    words[STATE].store(State::Busy as u64, Relaxed);
}

/// The end of a path, as much as is shown of it.
fn shown(path: &[u8]) -> &[u8] {
    &path[path.len().saturating_sub(limits::SHOWN_PATH)..]
}

fn look(words: &Words, now: u64) -> Look {
    let since = |at: usize| Duration::from_micros(now.saturating_sub(words[at].load(Relaxed)));
    let state = State::ALL.into_iter().find(|state| *state as u64 == words[STATE].load(Relaxed));
    let state = state.unwrap_or(State::Busy); // what is none was written by a session gone mad
    let work = matches!(state, State::Busy | State::Settling).then(|| work(words, now)).flatten();
    Look { state, quiet: since(MOVED), work, totals: figures(words) }
}

/// Verb and path that belong together; `None` where they were written meanwhile, for whoever looks does not wait.
fn work(words: &Words, now: u64) -> Option<Work> {
    let load = |at: usize| words[at].load(Relaxed);
    (0..3).find_map(|_| {
        let sequence = words[SEQUENCE].load(Acquire);
        let (what, began, from, done, end) = (load(VERB), load(BEGAN), load(FROM), load(DONE), load(END));
        let path: [u64; PATH_WORDS] = std::array::from_fn(|at| load(PATH + at));
        fence(Acquire);
        if !sequence.is_multiple_of(2) || sequence != words[SEQUENCE].load(Relaxed) {
            return None;
        }
        let bytes: Vec<u8> = path.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let length = ((what >> 8) as usize).min(limits::SHOWN_PATH);
        Some(Work {
            verb: TABLE.get((what & 0xff) as usize)?.verb,
            path: ending(bytes.get(..length)?),
            age: Duration::from_micros(now.saturating_sub(began)),
            from,
            done,
            end: end.checked_sub(1),
        })
    })
}

/// The text of a path; one that fills its place has lost its beginning.
fn ending(bytes: &[u8]) -> String {
    if bytes.len() < limits::SHOWN_PATH {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    // The first character may be the rest of one.
    let whole = bytes.iter().position(|byte| byte & 0xc0 != 0x80).and_then(|at| bytes.get(at..)).unwrap_or_default();
    format!("…{}", String::from_utf8_lossy(whole))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn fresh() -> Scoreboard {
        Scoreboard::new(1).unwrap()
    }

    #[test]
    fn figures_are_summed_once_and_whoever_has_the_slot_next_begins_at_zero() {
        let (mut board, mut totals) = (fresh(), Totals::default());
        for round in 1..=3 {
            let slot = board.take().unwrap();
            assert_eq!(board.take(), None);
            assert!(board.pages.slot(slot).iter().all(|word| word.load(Relaxed) == 0));
            board.pages.slot(slot)[Figure::Logins as usize].store(7, Relaxed); // as the session does
            begin(board.pages.slot(slot), Verb::Upload, b"secret", 1);
            assert_eq!(board.give_back(slot, &mut totals).get(Figure::Logins), 7);
            assert_eq!(totals.get(Figure::Logins), 7 * round);
        }
    }

    #[test]
    fn what_a_session_says_it_does_can_be_read_and_an_idle_one_tells_of_nothing() {
        let board = fresh();
        let words = board.pages.slot(0);
        begin(words, Verb::Upload, b"a/b", 1_000_000);
        let expected =
            Work { verb: Verb::Upload, path: "a/b".into(), age: Duration::from_secs(2), from: 0, done: 0, end: None };
        let found = look(words, 3_000_000);
        assert_eq!((found.state, found.quiet, found.work), (State::Busy, Duration::from_secs(2), Some(expected)));
        begin(words, Verb::Stat, b"", 2_000_000);
        assert_eq!(look(words, 3_000_000).work.unwrap().path, "");
        words[STATE].store(State::Idle as u64, Relaxed);
        assert_eq!(look(words, 3_000_000).work, None);
    }

    #[test]
    fn a_long_path_keeps_its_end_and_no_half_character() {
        let board = fresh();
        let words = board.pages.slot(0);
        for (path, end) in [("x".repeat(4095) + "end", "xend"), ("ü".repeat(2000) + "e", "üe")] {
            begin(words, Verb::Stat, path.as_bytes(), 1);
            let shown = look(words, 1).work.unwrap().path;
            assert!(shown.starts_with('…') && shown.ends_with(end) && !shown.contains('\u{fffd}'), "{shown}");
            assert!(shown.len() <= limits::SHOWN_PATH + '…'.len_utf8() && shown.len() >= limits::SHOWN_PATH - 2);
        }
    }

    #[test]
    fn a_page_full_of_rubbish_is_read_without_harm_and_one_that_is_being_written_tells_of_nothing() {
        let board = fresh();
        let words = board.pages.slot(0);
        for value in [u64::MAX, u64::MAX - 1, 1 << 63, 0x1f1f_1f1f_1f1f_1f1f, 0x0303_0303_0303_0304] {
            words.iter().for_each(|word| word.store(value, Relaxed));
            words[STATE].store(State::Busy as u64, Relaxed);
            let _ = look(words, 5);
            words[STATE].store(value, Relaxed);
            let _ = look(words, u64::MAX);
        }
        begin(words, Verb::Upload, b"a", 1);
        assert!(look(words, 1).work.is_some());
        words[SEQUENCE].fetch_add(1, Relaxed);
        assert_eq!(look(words, 1).work, None);
    }

    #[test]
    fn verb_and_path_never_mix_however_fast_they_change() {
        let board = fresh();
        let words = board.pages.slot(0);
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    begin(words, Verb::Upload, &[b'u'; 180], 1);
                    begin(words, Verb::Download, &[b'd'; 180], 1);
                }
            });
            let (mut seen, mut mixed) = (0, None);
            // Who writes all the time may be stopped in the midst of it, for as long as another process has its processor.
            let until = Instant::now() + Duration::from_secs(60);
            while seen < 20_000 && mixed.is_none() && Instant::now() < until {
                let Some(work) = look(words, 1).work else { continue };
                let letter = if work.verb == Verb::Upload { 'u' } else { 'd' };
                seen += usize::from(!work.path.is_empty());
                mixed = mixed.or(work.path.chars().any(|c| c != letter).then_some(work));
            }
            over.store(true, Relaxed);
            assert!(seen > 0 && mixed.is_none(), "{mixed:?}");
        });
    }
}
