//! What came of an audit: everything that is shown of it, whatever shows it.
//!
//! As JSON it is one object on one line, of the shape of [`Account`]: `"v":1,"event":"report"`, then the fields as they stand here;
//! docs/REPORT.md describes them. `v` grows when a field changes its meaning or goes, not when one is added, and a program must pass over
//! fields that it does not know.

use super::line::Odd;
use super::slowest::Slow;
use super::source::Source;
use super::spread::Quantiles;
use super::tally::{self, CLASSES, Hour, OfAddress, OfUser, Tally};
use super::top::{Count, Ranked, Top};
use super::when::{self, SECOND, Zone};
use serde::{Serialize, Serializer};

/// The version of the object.
const VERSION: u32 = 1;

/// The days of a week, as an audit's hours are told.
pub const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// A time in microseconds since 1970; as JSON as RFC 3339 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(pub i64);

impl Serialize for At {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&when::rfc3339(self.0))
    }
}

/// What came of an audit.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // docs/REPORT.md
pub struct Account {
    pub v: u32,
    pub event: &'static str,
    pub version: &'static str,
    pub made: At,
    pub files: Vec<String>,
    pub since: Option<At>,
    pub until: Option<At>,
    pub users: Vec<String>,
    pub clocks: String,
    pub lines: u64,
    pub counted: u64,
    pub lost: u64,
    pub passed_over: Vec<Passed>,
    pub unread: Vec<String>,
    pub unknown_events: Vec<Named>,
    pub first: Option<At>,
    pub last: Option<At>,
    pub seconds: f64,
    pub server_starts: u64,
    pub server_stops: u64,
    pub sessions: u64,
    pub distinct_users: u64,
    pub logins: u64,
    pub refused_logins: u64,
    pub turned_away: Vec<Named>,
    pub ends: Vec<Named>,
    pub session_seconds: Quantiles,
    pub up: Way,
    pub down: Way,
    pub verbs: Vec<Verb>,
    pub errors: Vec<Trouble>,
    pub other_errors: u64,
    pub per_user: Vec<User>,
    pub other_users: Option<User>,
    pub addresses: Vec<Address>,
    pub other_addresses: Option<Address>,
    pub lowest_rates: Vec<Transfer>,
    pub longest: Vec<Transfer>,
    pub hooks: u64,
    pub hook_failures: Vec<Trouble>,
    pub hours: Vec<HourOfWeek>,
    pub step_seconds: i64,
    pub course: Vec<Step>,
    /// The clocks that times are shown by.
    #[serde(skip)]
    pub zone: Zone,
}

/// Lines that were passed over.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Passed {
    pub kind: &'static str,
    pub count: u64,
    #[serde(rename = "where")]
    pub places: Vec<String>,
    #[serde(skip)]
    pub meaning: &'static str,
}

/// How often something was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Named {
    pub name: String,
    pub count: u64,
}

/// Transfers in one direction.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Way {
    pub files: u64,
    pub bytes: u64,
    pub resumed: u64,
    pub failed: u64,
    pub broken_off: u64,
    pub broken_off_bytes: u64,
    pub rates: Quantiles,
    pub seconds: Quantiles,
    pub sizes: Vec<Size>,
}

/// Transfers of one class.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Size {
    pub name: &'static str,
    pub to: Option<u64>,
    pub rates: Quantiles,
    pub seconds: Quantiles,
}

/// Requests of one verb.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Verb {
    pub verb: &'static str,
    pub requests: u64,
    pub failed: u64,
    pub seconds: Quantiles,
}

/// One kind of failure.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Trouble {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verb: String,
    pub result: String,
    pub count: u64,
    pub last: Option<At>,
    pub text: String,
}

/// What one user did.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct User {
    pub user: String,
    pub sessions: u64,
    pub requests: u64,
    pub files_up: u64,
    pub bytes_up: u64,
    pub files_down: u64,
    pub bytes_down: u64,
    pub errors: u64,
    pub refused_logins: u64,
    pub last: Option<At>,
}

/// What came from one address.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Address {
    pub address: String,
    pub refused_logins: u64,
    pub turned_away: u64,
    pub accounts: Vec<String>,
    pub more_accounts: bool,
    pub last: Option<At>,
}

/// A transfer that stands out.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Transfer {
    pub time: At,
    pub verb: &'static str,
    pub user: String,
    pub peer: String,
    pub path: String,
    pub bytes: u64,
    pub seconds: f64,
    pub rate: Option<u64>,
}

/// One hour of the week.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct HourOfWeek {
    pub weekday: &'static str,
    pub hour: usize,
    pub bytes: u64,
    pub files: u64,
    pub sessions: u64,
    pub refused_logins: u64,
}

/// One step of the course.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)]
pub struct Step {
    pub time: At,
    pub up: u64,
    pub down: u64,
    pub files: u64,
    pub failed: u64,
    pub refused_logins: u64,
    pub turned_away: u64,
}

impl Account {
    /// What follows from a tally of these files, of which some could not be read to the end.
    pub fn new(tally: Tally, files: &[Source], unread: Vec<String>, now: i64) -> Self {
        let by_user = !tally.wanted.users.is_empty();
        let users = tally.users.ranked();
        let active = |user: &OfUser| user.sessions + user.requests > 0;
        let distinct_users = users.rows.iter().filter(|(_, user)| active(user)).count() as u64;
        let addresses = tally.addresses.ranked();
        let errors = tally.errors.ranked();
        let span = tally.last.unwrap_or(0).saturating_sub(tally.first.unwrap_or(0));
        let mut zone = tally.zone;
        Account {
            v: VERSION,
            event: "report",
            version: env!("CARGO_PKG_VERSION"),
            made: At(now),
            files: files.iter().map(|source| source.shown.clone()).collect(),
            since: tally.wanted.since.map(At),
            until: tally.wanted.until.map(At),
            users: tally.wanted.users,
            clocks: zone.name(tally.last.unwrap_or(now)),
            lines: tally.lines,
            counted: tally.counted,
            lost: tally.lost,
            passed_over: passed(&tally.odd, files),
            unread,
            unknown_events: named(tally.unknown_events),
            first: tally.first.map(At),
            last: tally.last.map(At),
            seconds: span as f64 / SECOND as f64,
            server_starts: tally.starts,
            server_stops: tally.stops,
            // A connection is nobody's before its login: of one user's sessions the logins tell.
            sessions: if by_user { tally.logins } else { tally.connects },
            distinct_users,
            logins: tally.logins,
            refused_logins: tally.refused_logins,
            turned_away: named(tally.turned_away),
            ends: named(tally.ends),
            session_seconds: tally.lengths.quantiles(1e-6),
            up: way(&tally.up),
            down: way(&tally.down),
            verbs: tally.verbs.iter().filter(|verb| verb.requests > 0).map(verb).collect(),
            other_errors: errors.others.as_ref().map_or(0, |others| others.count),
            errors: errors.rows.into_iter().map(|row| trouble(row, true)).collect(),
            other_users: users.others.map(|others| user((String::new(), others))),
            per_user: users.rows.into_iter().map(user).collect(),
            other_addresses: addresses.others.map(|others| address((String::new(), others))),
            addresses: addresses.rows.into_iter().map(address).collect(),
            lowest_rates: tally.lowest.rows().into_iter().map(transfer).collect(),
            longest: tally.longest.rows().into_iter().map(transfer).collect(),
            hooks: tally.hooks,
            hook_failures: tally.hook_failures.ranked().rows.into_iter().map(|row| trouble(row, false)).collect(),
            hours: hours(&tally.hours),
            step_seconds: tally.course.step(),
            course: tally.course.steps().map(|(at, step)| course(at, &step)).collect(),
            zone,
        }
    }

    /// The one line of JSON.
    pub fn line(&self) -> String {
        let text = serde_json::to_string(self).unwrap_or_default(); // it has no maps whose keys could fail
        // A terminal is to show it and to obey nothing in it; JSON itself escapes C0 alone.
        let spelled = |c: char| match crate::proto::unseen::is_unsafe(c) {
            true => format!("\\u{:04x}", c as u32),
            false => c.to_string(),
        };
        let mut text = text.chars().map(spelled).collect::<String>();
        text.push('\n');
        text
    }

    /// The sum of a list.
    pub fn sum(rows: &[Named]) -> u64 {
        rows.iter().map(|row| row.count).sum()
    }
}

fn passed(odd: &[tally::Passed], files: &[Source]) -> Vec<Passed> {
    let place = |(file, line): &(usize, u64)| {
        let name = files.get(*file).map_or("?", |source| &source.shown);
        format!("{name}:{line}")
    };
    let row = |(kind, passed): (Odd, &tally::Passed)| Passed {
        kind: kind.as_str(),
        count: passed.count,
        places: passed.first.iter().map(place).collect(),
        meaning: kind.meaning(),
    };
    Odd::ALL.into_iter().zip(odd).filter(|(_, passed)| passed.count > 0).map(row).collect()
}

/// With what found no room as a last row.
fn named(top: Top<Count>) -> Vec<Named> {
    let Ranked { rows, others } = top.ranked();
    let others = others.map(|count| ("(others)".to_owned(), count));
    rows.into_iter().chain(others).map(|(name, count)| Named { name, count: count.0 }).collect()
}

fn way(way: &tally::Way) -> Way {
    let size = |((to, name), class): (&(u64, &'static str), &tally::Class)| Size {
        name,
        to: (*to < u64::MAX).then_some(*to),
        rates: class.rates.quantiles(1.0),
        seconds: class.times.quantiles(1e-6),
    };
    Way {
        files: way.files,
        bytes: way.bytes,
        resumed: way.resumed,
        failed: way.failed,
        broken_off: way.broken_off.0,
        broken_off_bytes: way.broken_off.1,
        rates: way.all.rates.quantiles(1.0),
        seconds: way.all.times.quantiles(1e-6),
        sizes: CLASSES.iter().zip(&way.classes).map(size).collect(),
    }
}

fn verb(verb: &tally::OfVerb) -> Verb {
    Verb { verb: verb.name, requests: verb.requests, failed: verb.failed, seconds: verb.times.quantiles(1e-6) }
}

fn trouble((name, row): (String, tally::Trouble), of_verb: bool) -> Trouble {
    let (verb, result) = name.split_once(' ').filter(|_| of_verb).unwrap_or(("", &name));
    Trouble { verb: verb.into(), result: result.into(), count: row.count, last: row.last.map(At), text: row.text }
}

fn user((name, row): (String, OfUser)) -> User {
    User {
        user: name,
        sessions: row.sessions,
        requests: row.requests,
        files_up: row.files_up,
        bytes_up: row.bytes_up,
        files_down: row.files_down,
        bytes_down: row.bytes_down,
        errors: row.errors,
        refused_logins: row.refused,
        last: row.last.map(At),
    }
}

fn address((name, row): (String, OfAddress)) -> Address {
    Address {
        address: name,
        refused_logins: row.refused,
        turned_away: row.turned,
        accounts: row.accounts,
        more_accounts: row.more_accounts,
        last: row.last.map(At),
    }
}

fn transfer(slow: Slow) -> Transfer {
    Transfer {
        time: At(slow.at),
        verb: if slow.up { "UPLOAD" } else { "DOWNLOAD" },
        user: slow.user,
        peer: slow.peer,
        path: slow.path,
        bytes: slow.bytes,
        seconds: slow.micros as f64 / 1e6,
        rate: slow.rate,
    }
}

fn hours(hours: &[[Hour; 24]; 7]) -> Vec<HourOfWeek> {
    let mut rows = Vec::new();
    for (weekday, day) in WEEKDAYS.into_iter().zip(hours) {
        for (hour, of) in day.iter().enumerate() {
            rows.push(HourOfWeek {
                weekday,
                hour,
                bytes: of.bytes,
                files: of.files,
                sessions: of.sessions,
                refused_logins: of.refused,
            });
        }
    }
    rows
}

fn course(at: i64, step: &super::course::Step) -> Step {
    Step {
        time: At(at.saturating_mul(SECOND)),
        up: step.up,
        down: step.down,
        files: step.files,
        failed: step.failed,
        refused_logins: step.refused,
        turned_away: step.turned,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::server::report::tally::Wanted;
    use proptest::prelude::*;

    /// The account of these lines.
    pub fn account(lines: String) -> Account {
        let wanted = Wanted { since: None, until: None, users: Vec::new() };
        let mut tally = Tally::new(wanted, Zone::new(true)).unwrap();
        tally.lines(0, 1, lines.as_bytes());
        Account::new(tally, &[], Vec::new(), 0)
    }

    /// Lines of all kinds, with names that somebody chose badly.
    pub fn busy() -> String {
        let hostile = r"<script>alert(1)</script>\u001b[2J\u009b31m\u202egpj\n";
        let of = format!(
            r#""v":1,"session":"1-1","pid":1,"peer":"192.0.2.7:1","listener":"tls://x:1","user":"al<b>{hostile}""#
        );
        let mut text = String::new();
        for minute in 10..40 {
            let stamp = format!(r#""time":"2026-11-20T10:{minute}:00.000000Z""#);
            for (event, rest) in [
                ("connect", String::new()),
                ("login", r#","result":"ok""#.into()),
                (
                    "request",
                    format!(r#","verb":"UPLOAD","path":"{hostile}","bytes":5000000,"seconds":90.5,"result":"ok""#),
                ),
                (
                    "request",
                    format!(
                        r#","verb":"DOWNLOAD","path":"b","bytes":{minute},"seconds":0.5,"result":"ok","resumed":true"#
                    ),
                ),
                ("request", format!(r#","verb":"{hostile}","path":"b","result":"{hostile}","text":"{hostile}""#)),
                ("turned-away", format!(r#","result":"{hostile}","text":"{hostile}""#)),
                ("hook", format!(r#","result":"failed","text":"{hostile}""#)),
                ("disconnect", format!(r#","seconds":100,"result":"{hostile}""#)),
                (hostile, String::new()),
            ] {
                text += &format!("{{{of},{stamp},\"event\":\"{event}\"{rest}}}\n");
            }
            let account = format!(r#""event":"login","result":"login-refused","account":"{hostile}{minute}""#);
            text += &format!("{{\"v\":1,{stamp},\"peer\":\"{hostile}\",{account}}}\n");
        }
        text
    }

    #[test]
    fn json_is_one_line_that_a_terminal_only_shows() {
        let line = account(busy()).line();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!((value["v"].as_u64(), value["event"].as_str()), (Some(1), Some("report")));
        assert_eq!(value["up"]["files"], 30);
        assert!(line.ends_with('\n') && !line.trim_end().chars().any(crate::proto::unseen::is_unsafe));
        assert!(value["per_user"][0]["user"].as_str().unwrap().contains("\u{202e}gpj"), "the name itself is kept");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn no_change_of_lines_makes_anything_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..6usize, any::<[u8; 3]>()), 1..60)) {
            let mut bytes = busy().into_bytes();
            for (at, cut, put) in changes {
                let at = at.index(bytes.len());
                let end = (at + cut).min(bytes.len());
                bytes.splice(at..end, put);
            }
            let wanted = Wanted { since: None, until: None, users: Vec::new() };
            let mut tally = Tally::new(wanted, Zone::new(false)).unwrap();
            tally.lines(0, 1, &bytes);
            let account = Account::new(tally, &[], Vec::new(), 0);
            let page = crate::server::report::page::page(&account);
            let table = crate::server::report::table::table(&account, false);
            prop_assert!(!page.contains("NaN") && serde_json::from_str::<serde_json::Value>(&account.line()).is_ok());
            prop_assert!(!(page + &table).chars().any(|c| crate::proto::unseen::is_unsafe(c) && c != '\n'));
        }

        #[test]
        fn no_figure_is_too_large(time in "[0-9]{4}-0[1-9]-[12][0-9]T00:00:00Z", bytes in any::<u64>(), seconds in any::<f64>(), size in any::<u32>()) {
            let mut text = busy();
            for rest in ["\"verb\":\"UPLOAD\"", "\"verb\":\"DOWNLOAD\",\"user\":\"a\""] {
                let figures = format!("\"bytes\":{bytes},\"seconds\":{},\"lines\":{bytes}", seconds.abs());
                for event in ["request", "lost", "disconnect"] {
                    text += &format!("{{\"v\":1,\"time\":\"{time}\",\"event\":\"{event}\",{rest},{figures},\"size\":{size},\"result\":\"ok\"}}\n").repeat(2);
                }
            }
            let account = account(text);
            let page = crate::server::report::page::page(&account);
            prop_assert!(page.len() < 2_000_000 && !page.contains("NaN"));
            let _ = (account.line(), crate::server::report::table::table(&account, true));
        }
    }

    #[test]
    fn every_field_of_the_object_is_described() {
        let page = include_str!("../../../docs/REPORT.md");
        let value = serde_json::to_value(account(busy())).unwrap();
        let mut names: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        for list in
            ["errors", "per_user", "addresses", "longest", "hours", "course", "verbs", "turned_away", "hook_failures"]
        {
            names.extend(value[list][0].as_object().unwrap_or_else(|| panic!("{list}")).keys().cloned());
        }
        for object in ["up", "session_seconds"] {
            names.extend(value[object].as_object().unwrap().keys().cloned());
        }
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
