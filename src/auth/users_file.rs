//! The users file, `id_passwd.txt`: one user a line, `name:password` or `name:SCRAM-SHA-256$...`, comments and blank lines.
//!
//! A damaged line costs its own user the login and nobody else. No text that leaves here holds a password, so nothing
//! of a damaged line is ever repeated.

use super::verifier::{BadVerifier, SCHEME};
use super::{Password, UserName, Verifier};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use zeroize::Zeroizing;

/// The comment that says: these users are known to everybody.
pub const MARKER: &str = "# dfos: demonstration users";
/// Bytes of a users file, at most: some 400,000 users. More is surely a wrong path.
pub const LARGEST: u64 = 64 << 20;
/// What some editors put before the first line of UTF-8.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What a users file says.
#[derive(Debug, Default)]
pub struct ParsedUsers {
    /// The users, in the order of the file, each once.
    pub entries: Vec<Entry>,
    /// What the operator should know, in the order of the file.
    pub problems: Vec<Problem>,
    /// Whether the marker of the demonstration users is there.
    pub demonstration: bool,
}

/// One user.
#[derive(Debug)]
pub struct Entry {
    /// Who.
    pub name: UserName,
    /// How the user is known.
    pub secret: Secret,
    /// The line of the file, from 1.
    pub line: usize,
}

/// What stands behind the name.
#[derive(Debug)]
pub enum Secret {
    /// The password itself, as old systems have it.
    Clear(Password),
    /// Its verifier.
    Scram(Verifier),
}

/// Something about one line that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, from 1.
    pub line: usize,
    /// What it is.
    pub kind: ProblemKind,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// The line counts, but shows its password to whoever can read the file.
    ClearText(UserName),
    /// Neither comment nor `name:...`; skipped.
    NoColon,
    /// What stands before the colon is no user name; skipped.
    BadName,
    /// Nothing behind the colon; skipped.
    EmptyPassword(UserName),
    /// A password that is too long; skipped.
    LongPassword(UserName),
    /// Begins like a verifier but is none; skipped.
    Damaged(UserName, BadVerifier),
    /// The user has an earlier line, which counts; skipped.
    Duplicate(UserName, usize),
}

impl Problem {
    /// Whether the line was skipped; else it counts, and this is a warning.
    pub fn skipped(&self) -> bool {
        !matches!(self.kind, ProblemKind::ClearText(_))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match &self.kind {
            ProblemKind::ClearText(name) => {
                write!(
                    f,
                    "the password of {name} stands in clear text; set a new one with 'dfos-forkd user passwd {name}'"
                )
            }
            ProblemKind::NoColon => f.write_str("skipped: neither a comment nor 'name:password'"),
            ProblemKind::BadName => write!(f, "skipped: {}", super::name::BadName),
            ProblemKind::EmptyPassword(name) => write!(f, "{name} cannot log in: the password is empty"),
            ProblemKind::LongPassword(name) => {
                write!(f, "{name} cannot log in: {}", super::password::BadPassword::TooLong)
            }
            ProblemKind::Damaged(name, why) => write!(f, "{name} cannot log in: {why}"),
            ProblemKind::Duplicate(name, first) => {
                write!(f, "skipped: {name} stands in line {first} already, which counts")
            }
        }
    }
}

/// The bytes of an open users file, wiped when dropped. Fails beyond [`LARGEST`].
pub fn contents(file: &File) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it beforehand: a buffer that grows leaves copies behind that nobody wipes.
    let room = file.metadata()?.len().min(LARGEST) as usize + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let why = format!("the users file is larger than {} MiB: is it the right path?", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// The byte order mark, if there is one, and the lines with their endings.
pub(super) fn lines(bytes: &[u8]) -> (&[u8], impl Iterator<Item = &[u8]>) {
    let (bom, rest) = bytes.split_at(if bytes.starts_with(BOM) { BOM.len() } else { 0 });
    (bom, rest.split_inclusive(|&b| b == b'\n'))
}

/// A line without its ending, LF or CRLF.
fn text(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whose line this is, sound or damaged; `None` for comments, blank lines and what has no user name.
pub(super) fn owner(line: &[u8]) -> Option<UserName> {
    let at = line.iter().position(|&b| b == b':')?;
    std::str::from_utf8(line.get(..at)?).ok()?.parse().ok()
}

/// One line: `None` if it says nothing, else a user or what is wrong.
fn parse_line(line: &[u8]) -> Option<Result<(UserName, Secret), ProblemKind>> {
    let line = text(line);
    let blank = line.trim_ascii_start();
    if blank.is_empty() || blank.starts_with(b"#") {
        return None;
    }
    let Some(at) = line.iter().position(|&b| b == b':') else { return Some(Err(ProblemKind::NoColon)) };
    let Some(name) = owner(line) else { return Some(Err(ProblemKind::BadName)) };
    let secret = line.get(at + 1..).unwrap_or_default();
    Some(parse_secret(&name, secret).map(|secret| (name, secret)))
}

fn parse_secret(name: &UserName, bytes: &[u8]) -> Result<Secret, ProblemKind> {
    if bytes.starts_with(SCHEME.as_bytes()) {
        let text = std::str::from_utf8(bytes.trim_ascii_end()).unwrap_or_default();
        return text.parse().map(Secret::Scram).map_err(|why| ProblemKind::Damaged(*name, why));
    }
    match Password::new(bytes) {
        Ok(password) => Ok(Secret::Clear(password)),
        Err(super::password::BadPassword::Empty) => Err(ProblemKind::EmptyPassword(*name)),
        Err(super::password::BadPassword::TooLong) => Err(ProblemKind::LongPassword(*name)),
    }
}

/// Parses a users file. Of several sound lines of one user the first counts.
pub fn parse(bytes: &[u8]) -> ParsedUsers {
    let mut users = ParsedUsers::default();
    let mut first: HashMap<UserName, usize> = HashMap::new();
    for (line, bytes) in (1..).zip(lines(bytes).1) {
        users.demonstration |= text(bytes) == MARKER.as_bytes();
        let mut problem = |kind| users.problems.push(Problem { line, kind });
        match parse_line(bytes) {
            None => {}
            Some(Err(kind)) => problem(kind),
            Some(Ok((name, secret))) => match first.get(&name) {
                Some(&before) => problem(ProblemKind::Duplicate(name, before)),
                None => {
                    if matches!(secret, Secret::Clear(_)) {
                        problem(ProblemKind::ClearText(name));
                    }
                    first.insert(name, line);
                    users.entries.push(Entry { name, secret, line });
                }
            },
        }
    }
    users
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYS: &str = "SCRAM-SHA-256$4096:AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:\
                        AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn names(users: &ParsedUsers) -> Vec<&str> {
        users.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    fn name(text: &str) -> UserName {
        text.parse().unwrap()
    }

    #[test]
    fn every_sound_line_is_a_user() {
        let file = format!("{MARKER}\n\n  # comment: no user\nalice:a:b c\nbob:{KEYS} \ncarol:x");
        let users = parse(file.as_bytes());
        assert_eq!(names(&users), ["alice", "bob", "carol"]);
        assert!(users.demonstration);
        assert!(users.problems.iter().all(|problem| !problem.skipped()));
        let Secret::Clear(password) = &users.entries[0].secret else { panic!("alice has a clear password") };
        assert_eq!(&**password.normalised(), b"a:b c");
        assert!(matches!(users.entries[1].secret, Secret::Scram(_)));
        assert_eq!(users.entries[2].line, 6);
    }

    #[test]
    fn a_byte_order_mark_and_carriage_returns_do_no_harm() {
        let users = parse(format!("\u{FEFF}{MARKER}\r\nalice:{KEYS}\r\n\r\nbob:x\r\n").as_bytes());
        assert_eq!(names(&users), ["alice", "bob"]);
        assert!(users.demonstration);
        let Secret::Clear(password) = &users.entries[1].secret else { panic!("bob has a clear password") };
        assert_eq!(&**password.normalised(), b"x");
    }

    #[test]
    fn a_damaged_line_costs_nobody_else_the_login() {
        let long = "x".repeat(1 << 20);
        let file = format!(
            "hunter2\nAlice:hunter2\n..:hunter2\n\u{E9}:hunter2\na:\nb:{long}\nc:{KEYS}x\nok:{KEYS}\nok:hunter2\n"
        );
        let users = parse(file.as_bytes());
        assert_eq!(names(&users), ["ok"]);
        let kinds: Vec<_> = users.problems.iter().map(|problem| (problem.line, problem.kind.clone())).collect();
        assert_eq!(
            kinds,
            [
                (1, ProblemKind::NoColon),
                (2, ProblemKind::BadName),
                (3, ProblemKind::BadName),
                (4, ProblemKind::BadName),
                (5, ProblemKind::EmptyPassword(name("a"))),
                (6, ProblemKind::LongPassword(name("b"))),
                (7, ProblemKind::Damaged(name("c"), BadVerifier::Key)),
                (9, ProblemKind::Duplicate(name("ok"), 8)),
            ]
        );
        assert!(users.problems.iter().all(|problem| problem.skipped() && !problem.to_string().contains("hunter2")));
    }

    #[test]
    fn the_marker_counts_only_as_a_whole_line() {
        assert!(!parse(format!("{MARKER}!\n {MARKER}\n").as_bytes()).demonstration);
        assert!(parse(MARKER.as_bytes()).demonstration);
    }

    #[test]
    fn files_without_users_are_empty_and_sound() {
        for file in ["", "\n", "# only a comment", "\u{FEFF}", "\r\n\r\n"] {
            let users = parse(file.as_bytes());
            assert!(users.entries.is_empty() && users.problems.is_empty(), "{file:?}");
        }
    }

    #[test]
    fn a_huge_file_is_refused_before_it_is_parsed() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LARGEST + 1).unwrap();
        assert_eq!(contents(&file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn the_shipped_file_holds_the_demonstration_users() {
        let users = parse(include_bytes!("../../id_passwd.txt"));
        assert!(users.demonstration);
        assert!(users.problems.iter().all(|problem| !problem.skipped()));
        assert_eq!(names(&users), ["alice", "bob", "carol"]);
        for (entry, word) in users.entries.iter().zip(["secret", "builder", "letmein"]) {
            let word = Password::new(word).unwrap();
            match &entry.secret {
                Secret::Clear(password) => assert_eq!(password.normalised(), word.normalised()),
                Secret::Scram(verifier) => assert!(verifier.matches(&word), "{}", entry.name),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_parse_and_no_name_counts_twice(bytes in proptest::collection::vec(prop_oneof![
            Just(b':'), Just(b'\n'), Just(b'\r'), Just(b'#'), Just(b'a'), any::<u8>()], 0..200)) {
            let users = parse(&bytes);
            let mut seen = names(&users);
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), users.entries.len());
        }
    }
}
