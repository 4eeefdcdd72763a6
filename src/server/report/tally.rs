//! What is counted of an audit, line by line, in memory that does not grow with their number.

use super::course::Course;
use super::line::{Line, Odd};
use super::slowest::{Slow, Slowest};
use super::spread::Spread;
use super::top::{Count, Counted, Top, clipped};
use super::when::Zone;
use crate::proto::limits;
use crate::proto::verb::TABLE;

/// Upper ends of the classes that transfers are sorted into by the bytes that they moved; the last has none.
pub const CLASSES: [(u64, &str); 5] = [
    (64 << 10, "to 64 KiB"),
    (1 << 20, "to 1 MiB"),
    (16 << 20, "to 16 MiB"),
    (256 << 20, "to 256 MiB"),
    (u64::MAX, "above 256 MiB"),
];

/// A transfer of fewer bytes says more of what stands around it than of its rate.
pub const WORTH_A_RATE: u64 = 1 << 20;

/// Results of a request that broke off, where no error code was sent.
const BROKE_OFF: [&str; 4] = ["aborted", "vanished", "shutting-down", "timeout"];

/// Accounts that are named beside an address.
const ACCOUNTS: usize = 3;

/// Which lines count.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// From then on, in microseconds.
    pub since: Option<i64>,
    /// Before then.
    pub until: Option<i64>,
    /// Only these, if any.
    pub users: Vec<String>,
}

impl Wanted {
    fn has(&self, line: &Line) -> bool {
        let in_time = self.since.is_none_or(|since| line.at >= since) && self.until.is_none_or(|until| line.at < until);
        let of_user = |name: &String| *name == line.user || *name == line.account;
        // Lines that are missing may have been anybody's.
        in_time && (self.users.is_empty() || line.event == "lost" || self.users.iter().any(of_user))
    }
}

/// Transfers of one class.
#[derive(Debug, Clone)]
pub struct Class {
    /// Bytes a second.
    pub rates: Spread,
    /// Microseconds.
    pub times: Spread,
}

/// Transfers in one direction.
#[derive(Debug, Clone)]
pub struct Way {
    /// Transfers that ended well.
    pub files: u64,
    /// Bytes that were moved, also by those that did not.
    pub bytes: u64,
    /// Transfers that broke off, and their bytes.
    pub broken_off: (u64, u64),
    /// Transfers that were answered with an error.
    pub failed: u64,
    /// Those that ended well and had begun where an earlier one broke off.
    pub resumed: u64,
    /// What those that ended well took, all together.
    pub all: Class,
    /// The same by size.
    pub classes: Vec<Class>,
}

/// Requests of one verb.
#[derive(Debug, Clone)]
pub struct OfVerb {
    /// Which; the last row has those that are unknown.
    pub name: &'static str,
    /// How many.
    pub requests: u64,
    /// Those that failed or broke off.
    pub failed: u64,
    /// Microseconds of those that did not.
    pub times: Spread,
}

/// What one user did.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct OfUser {
    pub sessions: u64,
    pub requests: u64,
    pub files_up: u64,
    pub files_down: u64,
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub errors: u64,
    pub refused: u64,
    pub last: Option<i64>,
}

/// What came from one address.
#[derive(Debug, Clone, Default)]
pub struct OfAddress {
    /// Refused logins.
    pub refused: u64,
    /// Connections that were turned away.
    pub turned: u64,
    /// Accounts that were asked for and exist, the first few.
    pub accounts: Vec<String>,
    /// Whether there were more of them.
    pub more_accounts: bool,
    /// The last time.
    pub last: Option<i64>,
}

/// One kind of error.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// How often.
    pub count: u64,
    /// The last time.
    pub last: Option<i64>,
    /// What the first one said.
    pub text: String,
}

/// What happened in one hour of the week.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hour {
    /// Bytes both ways.
    pub bytes: u64,
    /// Files both ways.
    pub files: u64,
    /// Sessions that began.
    pub sessions: u64,
    /// Refused logins.
    pub refused: u64,
}

/// Where lines stand that were passed over.
#[derive(Debug, Clone, Default)]
pub struct Passed {
    /// How many.
    pub count: u64,
    /// File and line of the first ones.
    pub first: Vec<(usize, u64)>,
}

/// Everything that was counted.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Tally {
    pub wanted: Wanted,
    pub zone: Zone,
    pub lines: u64,
    pub counted: u64,
    pub odd: [Passed; 5],
    pub unknown_events: Top<Count>,
    pub first: Option<i64>,
    pub last: Option<i64>,
    pub starts: u64,
    pub stops: u64,
    pub connects: u64,
    pub logins: u64,
    pub refused_logins: u64,
    pub turned_away: Top<Count>,
    pub up: Way,
    pub down: Way,
    pub verbs: Vec<OfVerb>,
    pub errors: Top<Trouble>,
    pub users: Top<OfUser>,
    pub addresses: Top<OfAddress>,
    pub ends: Top<Count>,
    pub lengths: Spread,
    pub hooks: u64,
    pub hook_failures: Top<Trouble>,
    pub lost: u64,
    pub hours: [[Hour; 24]; 7],
    pub course: Course,
    pub lowest: Slowest,
    pub longest: Slowest,
}

impl Class {
    fn new() -> Result<Self, String> {
        Ok(Class { rates: Spread::new()?, times: Spread::new()? })
    }

    fn record(&mut self, line: &Line) {
        self.times.record(line.micros());
        if let Some(rate) = line.rate() {
            self.rates.record(rate);
        }
    }
}

impl Way {
    fn new() -> Result<Self, String> {
        let classes = CLASSES.iter().map(|_| Class::new()).collect::<Result<_, _>>()?;
        Ok(Way { files: 0, bytes: 0, broken_off: (0, 0), failed: 0, resumed: 0, all: Class::new()?, classes })
    }

    fn take(&mut self, line: &Line) {
        self.bytes = self.bytes.saturating_add(line.bytes);
        if line.result == "ok" {
            self.files += 1;
            self.resumed += u64::from(line.resumed);
            self.all.record(line);
            let class = CLASSES.iter().position(|(end, _)| line.bytes <= *end).unwrap_or(0);
            if let Some(class) = self.classes.get_mut(class) {
                class.record(line);
            }
        } else if BROKE_OFF.contains(&&*line.result) {
            self.broken_off.0 += 1;
            self.broken_off.1 = self.broken_off.1.saturating_add(line.bytes);
        } else {
            self.failed += 1;
        }
    }
}

impl Tally {
    /// Of nothing yet.
    pub fn new(wanted: Wanted, zone: Zone) -> Result<Self, String> {
        let kinds = || Top::new(limits::REPORT_KINDS, limits::REPORT_NAME);
        let names = TABLE.iter().map(|row| row.name).chain(["others"]);
        let verbs = names.map(|name| Ok(OfVerb { name, requests: 0, failed: 0, times: Spread::new()? }));
        Ok(Tally {
            wanted,
            zone,
            lines: 0,
            counted: 0,
            odd: Default::default(),
            unknown_events: kinds(),
            first: None,
            last: None,
            starts: 0,
            stops: 0,
            connects: 0,
            logins: 0,
            refused_logins: 0,
            turned_away: kinds(),
            up: Way::new()?,
            down: Way::new()?,
            verbs: verbs.collect::<Result<_, String>>()?,
            errors: Top::new(limits::REPORT_KINDS, limits::REPORT_NAME),
            users: Top::new(limits::REPORT_USERS, limits::REPORT_NAME),
            addresses: Top::new(limits::REPORT_ADDRESSES, limits::REPORT_NAME),
            ends: kinds(),
            lengths: Spread::new()?,
            hooks: 0,
            hook_failures: Top::new(limits::REPORT_KINDS, limits::REPORT_NAME),
            lost: 0,
            hours: Default::default(),
            course: Course::default(),
            lowest: Slowest::new(limits::REPORT_SLOWEST),
            longest: Slowest::new(limits::REPORT_SLOWEST),
        })
    }

    /// Counts the lines of a piece, the first of which has the number `first` in its file.
    pub fn lines(&mut self, file: usize, first: u64, bytes: &[u8]) {
        let (whole, unfinished) = match bytes.strip_suffix(b"\n") {
            Some(whole) => (whole, false),
            None => (bytes, true),
        };
        let mut lines = whole.split(|byte| *byte == b'\n').enumerate().peekable();
        while let Some((n, bytes)) = lines.next() {
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            match Line::parse(bytes) {
                Ok(line) => self.line(&line),
                Err(Odd::Broken) if unfinished && lines.peek().is_none() => {
                    self.odd(Odd::Unfinished, file, first + n as u64)
                }
                Err(odd) => self.odd(odd, file, first + n as u64),
            }
        }
    }

    /// Counts a line that is none.
    pub fn odd(&mut self, odd: Odd, file: usize, line: u64) {
        self.lines += 1;
        if let Some(passed) = self.odd.get_mut(odd as usize) {
            passed.count += 1;
            if passed.first.len() < limits::REPORT_ODD {
                passed.first.push((file, line));
            }
        }
    }

    /// Counts a line.
    pub fn line(&mut self, line: &Line) {
        self.lines += 1;
        if !self.wanted.has(line) {
            return;
        }
        self.counted += 1;
        self.first = Some(self.first.map_or(line.at, |first| first.min(line.at)));
        self.last = self.last.max(Some(line.at));
        match &*line.event {
            "request" => self.request(line),
            "connect" => {
                self.connects += 1;
                self.hour(line).sessions += 1;
            }
            "login" => self.login(line),
            "disconnect" => {
                self.ends.at(&line.result).0 += 1;
                self.lengths.record(line.micros());
                self.seen(line);
            }
            "turned-away" => {
                self.turned_away.at(&line.result).0 += 1;
                self.course.at(line.at).turned += 1;
                self.address(line).turned += 1;
            }
            "hook" => self.hook(line),
            "lost" => self.lost = self.lost.saturating_add(line.lines),
            "start" => self.starts += 1,
            "stop" => self.stops += 1,
            unknown => self.unknown_events.at(unknown).0 += 1,
        }
    }

    fn login(&mut self, line: &Line) {
        if line.result == "ok" {
            self.logins += 1;
            if let Some(user) = self.seen(line) {
                user.sessions += 1;
            }
            if !self.wanted.users.is_empty() {
                self.hour(line).sessions += 1; // a connection is nobody's yet
            }
            return;
        }
        self.refused_logins += 1;
        self.hour(line).refused += 1;
        self.course.at(line.at).refused += 1;
        if !line.account.is_empty() {
            self.users.at(&line.account).refused += 1;
        }
        let address = self.address(line);
        address.refused += 1;
        let account = clipped(&line.account, limits::REPORT_NAME);
        if !account.is_empty() && !address.accounts.iter().any(|known| known == account) {
            match address.accounts.len() < ACCOUNTS {
                true => address.accounts.push(account.to_owned()),
                false => address.more_accounts = true,
            }
        }
    }

    fn request(&mut self, line: &Line) {
        let ok = line.result == "ok";
        let micros = line.micros();
        let unknown = self.verbs.len().saturating_sub(1);
        let verb = self.verbs.iter().position(|row| row.name == line.verb).unwrap_or(unknown);
        if let Some(verb) = self.verbs.get_mut(verb) {
            verb.requests += 1;
            match ok {
                true => verb.times.record(micros),
                false => verb.failed += 1,
            }
        }
        if let Some(user) = self.seen(line) {
            user.requests += 1;
            user.errors += u64::from(!ok);
        }
        if !ok {
            self.course.at(line.at).failed += 1;
            let verb = if line.verb.is_empty() { "-" } else { clipped(&line.verb, limits::REPORT_NAME / 2) };
            trouble(&mut self.errors, &format!("{verb} {}", line.result), line);
        }
        match &*line.verb {
            "UPLOAD" => self.transfer(line, true),
            "DOWNLOAD" => self.transfer(line, false),
            _ => {}
        }
    }

    fn transfer(&mut self, line: &Line, up: bool) {
        let files = u64::from(line.result == "ok");
        let way = if up { &mut self.up } else { &mut self.down };
        way.take(line);
        if let Some(user) = self.seen(line) {
            let (count, bytes) = match up {
                true => (&mut user.files_up, &mut user.bytes_up),
                false => (&mut user.files_down, &mut user.bytes_down),
            };
            *count += files;
            *bytes = bytes.saturating_add(line.bytes);
        }
        let hour = self.hour(line);
        hour.files += files;
        hour.bytes = hour.bytes.saturating_add(line.bytes);
        self.course.spread(
            line.at,
            line.micros(),
            line.bytes,
            if up { |step| &mut step.up } else { |step| &mut step.down },
        );
        if files == 0 {
            return;
        }
        self.course.at(line.at).files += 1;
        if line.bytes > WORTH_A_RATE
            && let Some(rate) = line.rate()
        {
            self.lowest.offer(rate, || Slow::new(line));
        }
        self.longest.offer(u64::MAX - line.micros(), || Slow::new(line));
    }

    fn hook(&mut self, line: &Line) {
        self.hooks += u64::from(line.result != "dropped"); // of those that were not run one line tells
        if line.result != "ok" {
            let what = if line.text.is_empty() { &line.result } else { &line.text };
            trouble(&mut self.hook_failures, what, line);
        }
    }

    /// The row of who did it, who was there then.
    fn seen(&mut self, line: &Line) -> Option<&mut OfUser> {
        if line.user.is_empty() {
            return None;
        }
        let user = self.users.at(&line.user);
        user.last = user.last.max(Some(line.at));
        Some(user)
    }

    fn address(&mut self, line: &Line) -> &mut OfAddress {
        let address = self.addresses.at(&line.origin());
        address.last = address.last.max(Some(line.at));
        address
    }

    fn hour(&mut self, line: &Line) -> &mut Hour {
        let clock = self.zone.clock(line.at);
        &mut self.hours[clock.weekday.min(6)][clock.hour.min(23)]
    }
}

fn trouble(top: &mut Top<Trouble>, name: &str, line: &Line) {
    let row = top.at(name);
    if row.count == 0 {
        row.text = clipped(&line.text, limits::REPORT_PATH).to_owned();
    }
    row.count += 1;
    row.last = row.last.max(Some(line.at));
}

impl Counted for OfUser {
    fn weight(&self) -> u64 {
        // Bytes first; who moved none is there by what else was done.
        self.bytes_up
            .saturating_add(self.bytes_down)
            .saturating_add(self.requests)
            .saturating_add(self.sessions + self.refused)
    }

    fn absorb(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.requests += other.requests;
        self.files_up += other.files_up;
        self.files_down += other.files_down;
        self.bytes_up = self.bytes_up.saturating_add(other.bytes_up);
        self.bytes_down = self.bytes_down.saturating_add(other.bytes_down);
        self.errors += other.errors;
        self.refused += other.refused;
        self.last = self.last.max(other.last);
    }
}

impl Counted for OfAddress {
    fn weight(&self) -> u64 {
        self.refused + self.turned
    }

    fn absorb(&mut self, other: Self) {
        self.refused += other.refused;
        self.turned += other.turned;
        self.last = self.last.max(other.last);
    }
}

impl Counted for Trouble {
    fn weight(&self) -> u64 {
        self.count
    }

    fn absorb(&mut self, other: Self) {
        self.count += other.count;
        self.last = self.last.max(other.last);
    }
}
