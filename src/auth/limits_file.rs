//! The limits file, TOML: a table for each user, and `[default]` for all. A key of a user's own beats the default's.
//!
//! A file that decides who may do what is taken whole or not at all: a rule that was meant and not understood would guard nothing. So
//! everything doubtful is an error with its line, and all errors of a file are told at once.

use super::UserName;
use super::keep::Keep;
use super::limits::Limits;
use crate::net::networks::Network;
use crate::paper::toml::{line_of, trouble};
use crate::proto::{Access, limits as bounds};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The table for all users. A user of this name has no table of their own.
pub const DEFAULT: &str = "default";
/// The name of the file where none is given: beside the users file.
pub const USUAL_NAME: &str = "user_limits.toml";
/// Bytes of a limits file, at most: some 10,000 users. All of it passes by at each login.
const LARGEST: u64 = 4 << 20;
/// Errors of one file that are told.
const TOLD: usize = 50;

/// What a limits file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LimitsFile {
    /// For everybody without a table.
    pub everybody: Limits,
    /// Users with a table, in the order of their names, with the line of the table.
    pub users: Vec<(UserName, Limits, usize)>,
}

impl LimitsFile {
    /// The limits of a user.
    pub fn of(&self, user: &UserName) -> &Limits {
        self.users.iter().find(|(name, ..)| name == user).map_or(&self.everybody, |(_, limits, _)| limits)
    }
}

/// What is wrong with one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, from 1.
    pub line: usize,
    /// What it is, and what to write instead.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// What sets one limit from its value.
type Set = fn(&mut Limits, &DeValue) -> Result<(), String>;

/// Every key.
const KEYS: &[(&str, Set)] = &[
    ("quota", |limits, value| size(value, 0).map(|n| limits.quota = n)),
    ("files", |limits, value| number(value, 0).map(|n| limits.files = n)),
    ("largest_file", |limits, value| size(value, 0).map(|n| limits.largest_file = n)),
    ("trash", |limits, value| keep(value).map(|n| limits.trash = n)),
    ("sessions", sessions),
    ("rate_up", |limits, value| size(value, bounds::RATE_LEAST).map(|n| limits.rate_up = n)),
    ("rate_down", |limits, value| size(value, bounds::RATE_LEAST).map(|n| limits.rate_down = n)),
    ("access", |limits, value| access(value).map(|access| limits.access = access)),
    ("allow", |limits, value| networks(value).map(|list| limits.allow = list)),
    ("deny", |limits, value| networks(value).map(|list| limits.deny = list)),
    ("disabled", |limits, value| truth(value).map(|is| limits.disabled = is)),
    ("passwd", |limits, value| truth(value).map(|may| limits.passwd = Some(may))),
];

/// The names of all keys.
pub fn key_names() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(name, _)| *name)
}

/// The text of an open limits file.
pub fn contents(file: &File) -> io::Result<String> {
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        let why = format!("it is larger than {} MiB: is it the right path?", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

/// Parses a limits file. `base` is what holds where the file says nothing.
pub fn parse(text: &str, base: Limits) -> Result<LimitsFile, Vec<Problem>> {
    let line = |at| line_of(text, at);
    let at = |span: Range<usize>, text: String| Problem { line: line(span.start), text };
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(why) => {
            let (line, text) = trouble(text, &why);
            return Err(vec![Problem { line, text }]);
        }
    };
    let mut problems = Vec::new();
    let mut tables: Vec<(&str, Range<usize>, &DeTable)> = Vec::new();
    for (name, value) in root.get_ref() {
        match value.get_ref() {
            DeValue::Table(table) => tables.push((name.get_ref(), name.span(), table)),
            _ => problems.push(at(name.span(), stray(name.get_ref()))),
        }
    }
    let mut read = |table: &DeTable, mut limits: Limits| {
        for (key, value) in table {
            if let Err(why) = set(&mut limits, key.get_ref(), value) {
                problems.push(at(key.span(), why));
            }
        }
        limits
    };
    let default = tables.iter().find(|(name, ..)| *name == DEFAULT);
    let everybody = default.map_or(base.clone(), |(_, _, table)| read(table, base));
    let mut users = Vec::new();
    for (name, span, table) in tables.iter().filter(|(name, ..)| *name != DEFAULT) {
        let limits = read(table, everybody.clone());
        users.push((name.parse::<UserName>(), limits, span.clone(), *name));
    }
    let mut named = Vec::new();
    for (parsed, limits, span, name) in users {
        match parsed {
            Ok(user) => named.push((user, limits, line(span.start))),
            Err(why) => problems.push(at(span, format!("[{}]: {why}", name.escape_debug()))),
        }
    }
    if problems.is_empty() {
        return Ok(LimitsFile { everybody, users: named });
    }
    problems.sort_by_key(|problem| problem.line);
    let more = problems.len().saturating_sub(TOLD);
    problems.truncate(TOLD);
    if let (Some(last), true) = (problems.last_mut(), more > 0) {
        last.text += &format!(" (and {more} more lines that are wrong)");
    }
    Err(problems)
}

/// A key that stands outside of every table.
fn stray(key: &str) -> String {
    let key = key.escape_debug();
    format!("'{key}' stands in no table: write [{DEFAULT}] above it for all users, or [NAME] for one")
}

fn set(limits: &mut Limits, key: &str, value: &Spanned<DeValue>) -> Result<(), String> {
    let Some((_, set)) = KEYS.iter().find(|(known, _)| *known == key) else {
        let key_shown = key.escape_debug();
        if value.get_ref().is_table() {
            return Err(format!(
                "'{key_shown}' is a table in a table; a name with a dot stands in quotes: [\"j.doe\"]"
            ));
        }
        let words = KEYS.iter().map(|(known, _)| *known);
        return Err(match nearest(key, words.clone()) {
            Some(word) => format!("there is no limit '{key_shown}'; did you mean '{word}'?"),
            None => format!("there is no limit '{key_shown}'; there are {}", words.collect::<Vec<_>>().join(", ")),
        });
    };
    set(limits, value.get_ref()).map_err(|why| format!("{key}: {why}"))
}

/// The word of `words` that is meant by one with at most two wrong letters.
pub fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distances = words.map(|known| (distance(word.as_bytes(), known.as_bytes()), known));
    distances.filter(|(distance, _)| *distance <= 2).min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
}

/// How many letters must be put in, taken out or changed (Levenshtein), for words of at most 64 letters.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len().max(b.len()) > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut before = i; // the cell above to the left
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b) {
            let change = before + usize::from(x != y);
            before = *cell;
            left = change.min(*cell + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// A whole number in any of the notations of TOML, from 0 on.
fn integer(value: &DeValue) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// `"none"`: no limit, where the default has one.
fn is_none(value: &DeValue) -> bool {
    value.as_str() == Some("none")
}

fn within(n: u64, least: u64) -> Result<Option<u64>, String> {
    match n {
        _ if n > bounds::NUMBER => Err("that is more than any disk holds; \"none\" is no limit".into()),
        _ if n < least => Err(format!("at least {least}, or nothing would move; 'access' says what is forbidden")),
        _ => Ok(Some(n)),
    }
}

/// A count: a number, or "none".
fn number(value: &DeValue, least: u64) -> Result<Option<u64>, String> {
    match integer(value) {
        _ if is_none(value) => Ok(None),
        Some(n) => within(n, least),
        None => Err("write a whole number from 0 on, without quotes, or \"none\"".into()),
    }
}

/// Bytes: a number, a text like "10GiB", or "none".
fn size(value: &DeValue, least: u64) -> Result<Option<u64>, String> {
    let from_text = |text: &str| text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64());
    match integer(value).or_else(|| value.as_str().and_then(from_text)) {
        _ if is_none(value) => Ok(None),
        Some(n) => within(n, least),
        None => Err("write a number of bytes, or a size like \"500MB\" or \"10GiB\", or \"none\"".into()),
    }
}

fn truth(value: &DeValue) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "write true or false, without quotes".into())
}

/// How long the trash keeps things: a text like "30d", or "none" for no trash.
fn keep(value: &DeValue) -> Result<Option<u64>, String> {
    match value.as_str().map(str::parse::<Keep>) {
        _ if is_none(value) => Ok(None),
        Some(Ok(Keep(seconds))) => Ok(Some(seconds)),
        Some(Err(why)) => Err(format!("{why}; or \"none\"")),
        None => Err("write a time like \"30d\" or \"12h\", in quotes, or \"none\"".into()),
    }
}

fn sessions(limits: &mut Limits, value: &DeValue) -> Result<(), String> {
    let n = number(value, 0)?;
    if n == Some(0) {
        return Err("0 would keep the user out: write disabled = true".into());
    }
    let most = || format!("at most {} sessions can be counted", bounds::SEATS);
    let n = n.map(|n| u32::try_from(n).ok().filter(|n| *n <= bounds::SEATS).ok_or_else(most));
    limits.sessions = n.transpose()?;
    Ok(())
}

fn access(value: &DeValue) -> Result<Access, String> {
    let words = || Access::ALL.iter().map(|access| access.as_str());
    let list = || words().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let Some(word) = value.as_str() else { return Err(format!("write one of {}", list())) };
    word.parse().map_err(|_| match nearest(word, words()) {
        Some(known) => format!("'{}' is none of {}; did you mean \"{known}\"?", word.escape_debug(), list()),
        None => format!("'{}' is none of {}", word.escape_debug(), list()),
    })
}

fn networks(value: &DeValue) -> Result<Vec<Network>, String> {
    let Some(list) = value.as_array() else { return Err("write a list: [\"192.0.2.0/24\", \"2001:db8::/32\"]".into()) };
    if list.iter().next().is_none() {
        return Err("the list is empty; leave it out, or write [\"0.0.0.0/0\", \"::/0\"] for everywhere".into());
    }
    let one = |value: &Spanned<DeValue>| {
        let Some(text) = value.get_ref().as_str() else { return Err("a network stands in quotes".to_owned()) };
        text.parse().map_err(|_| {
            format!("'{}' is no network: write 192.0.2.0/24, 2001:db8::/32, or a single address", text.escape_debug())
        })
    };
    list.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        parse(text, Limits::default()).unwrap_err().iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_user_s_own_key_beats_the_default_s_and_that_the_command_line_s() {
        let base = Limits { quota: Some(99), ..Limits::default() };
        let text = "[default]\nsessions = 8\nquota = \"10GiB\"\ntrash = \"30d\"\n[\"j.doe\"]\nquota = \"none\"\naccess = \"read-only\"\n\
                    [bob]\nfiles = 1_000\nrate_up = \"5MB\"\nrate_down = 0x1000\nlargest_file = 0\ntrash = \"none\"\n\
                    allow = [\"192.0.2.0/24\"]\ndeny = [\"::1\"]\ndisabled = true\n";
        let file = parse(text, base.clone()).unwrap();
        let everybody =
            Limits { sessions: Some(8), quota: Some(10 << 30), trash: Some(30 * 86_400), ..Limits::default() };
        assert_eq!(file.everybody, everybody);
        let (bob, doe) = (&file.users[0], &file.users[1]);
        assert_eq!((bob.0.as_str(), bob.2, doe.0.as_str(), doe.2), ("bob", 8, "j.doe", 5));
        assert_eq!(doe.1, Limits { quota: None, access: Access::ReadOnly, ..everybody.clone() });
        let bobs = Limits {
            files: Some(1000),
            rate_up: Some(5_000_000),
            rate_down: Some(4096),
            largest_file: Some(0),
            trash: None,
            allow: vec!["192.0.2.0/24".parse().unwrap()],
            deny: vec!["::1".parse().unwrap()],
            disabled: true,
            ..everybody
        };
        assert_eq!(bob.1, bobs);
        assert_eq!(parse("# nothing\n", base.clone()).unwrap(), LimitsFile { everybody: base, users: Vec::new() });
    }

    #[test]
    fn what_is_doubtful_is_an_error_with_its_line_and_the_nearest_word() {
        for (text, line) in [
            ("quota = 1", "line 1: 'quota' stands in no table"),
            ("[alice]\n\nquotta = 1", "line 3: there is no limit 'quotta'; did you mean 'quota'?"),
            ("[alice]\nfruit = 1", "line 2: there is no limit 'fruit'; there are quota, files"),
            ("[alice]\nquota = -1", "line 2: quota: write a number of bytes"),
            ("[alice]\nquota = \"ten\"", "line 2: quota: write a number of bytes"),
            ("[alice]\nquota = \"\"", "line 2: quota: write a number of bytes"),
            ("[alice]\nquota = 1.5", "line 2: quota: write a number of bytes"),
            ("[alice]\nquota = 9223372036854775808", "line "),
            ("[alice]\nquota = \"99999999999GiB\"", "line 2: quota: that is more"),
            ("[alice]\nfiles = \"10GiB\"", "line 2: files: write a whole number"),
            ("[alice]\ntrash = 30", "line 2: trash: write a time like"),
            ("[alice]\ntrash = \"30\"", "line 2: trash: write a whole number with a unit"),
            ("[alice]\ntrash = \"1h30m\"", "line 2: trash: write a whole number with a unit"),
            ("[alice]\ntrash = \"0d\"", "line 2: trash: from 1h to 3650d"),
            ("[alice]\nsessions = 0", "line 2: sessions: 0 would keep the user out"),
            ("[alice]\nsessions = 4294967297", "line 2: sessions: at most 10000"),
            ("[alice]\nrate_up = 0", "line 2: rate_up: at least 1024"),
            (
                "[alice]\naccess = \"readonly\"",
                "line 2: access: 'readonly' is none of \"full\", \"read-only\", \"upload-only\"; did you mean \"read-only\"?",
            ),
            ("[alice]\naccess = true", "line 2: access: write one of"),
            ("[alice]\ndisabled = \"true\"", "line 2: disabled: write true or false"),
            ("[alice]\nallow = \"10.0.0.0/8\"", "line 2: allow: write a list"),
            ("[alice]\nallow = []", "line 2: allow: the list is empty"),
            ("[alice]\ndeny = [\"::1\", \"10.0.0.1/8\"]", "line 2: deny: '10.0.0.1/8' is no network"),
            ("[alice]\ndeny = [10]", "line 2: deny: a network stands in quotes"),
            ("[alice]\n[alice]", "line 2: 'alice' stands there a second time"),
            ("[j.doe]\nquota = 1", "line 1: 'doe' is a table in a table; a name with a dot stands in quotes"),
            ("[alice\n", "line 1: "),
        ] {
            let told = wrong(text);
            assert!(told.len() == 1 && told[0].starts_with(line), "{text:?}: {told:?}");
        }
        assert_eq!(wrong("[a]\nx = 1\n[b]\nfiles = 1\ny = 2\n").len(), 2, "all errors are told at once");
    }

    #[test]
    fn names_that_are_no_users_are_refused_whatever_they_hold() {
        let long = "a".repeat(256);
        for name in ["", ".", "..", "a/b", "a:b", "a\\nb", "a\\u0000", "Alice", " a", "-a", &long] {
            let told = wrong(&format!("[default]\nquota = 1\n[\"{name}\"]\nquota = 2\n"));
            assert!(told.len() == 1 && told[0].starts_with("line 3: [") && !told[0].contains('\n'), "{name}: {told:?}");
        }
    }

    #[test]
    fn many_errors_are_counted_and_a_huge_file_is_not_read() {
        let text: String = (0..500).map(|n| format!("[u{n}]\nx = 1\n")).collect();
        let told = wrong(&text);
        assert_eq!(told.len(), TOLD);
        assert!(told[TOLD - 1].ends_with("(and 450 more lines that are wrong)"), "{told:?}");
        let file = tempfile::tempfile().unwrap();
        file.set_len(LARGEST + 1).unwrap();
        assert_eq!(contents(&file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
