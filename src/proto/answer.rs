//! What a server says: answers, rows, and the lines of a body that it sends. Printed by the server, parsed by the client.

use super::value::{self, Mtime};
use super::{Code, Digest, RemotePath, Trashed, limits};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// One line of a server (`DATA`, `END` and `ABORT` also of a client).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Ok(Fields),
    /// Not done.
    Err(Code, String),
    /// A body may begin, or follows.
    Ready(Fields),
    /// One row of a listing.
    Entry(Entry),
    /// One row of a listing of the trash.
    Trashed(Trashed),
    /// One row of text for people.
    Info(String),
    /// The server's message of a login exchange, in base64.
    Challenge(String),
    /// Still working.
    Wait,
    /// A piece of this many bytes follows.
    Data(usize),
    /// A body is complete.
    End(Fields),
    /// A body breaks off; of its last piece only this many bytes are good.
    Abort(Code, u64, String),
}

/// The words and `key=value` pairs of an `OK`, `READY` or `END`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(String);

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Words for people; they hold no `=`.
    pub fn words(text: impl Into<String>) -> Self {
        Fields(text.into())
    }

    /// Adds `key=value`.
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        use fmt::Write;
        let space = if self.0.is_empty() { "" } else { " " };
        let _ = write!(self.0, "{space}{key}={value}"); // writing to a String cannot fail
        self
    }

    /// Adds `key=value` where there is a value.
    pub fn maybe(self, key: &str, value: Option<impl fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// The text of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// A number that must be there.
    pub fn number(&self, key: &'static str) -> Result<u64, BadAnswer> {
        self.get(key).and_then(|text| value::number(text).ok()).ok_or(BadAnswer::Field(key))
    }

    /// A value that must be there.
    pub fn value<T: FromStr>(&self, key: &'static str) -> Result<T, BadAnswer> {
        self.get(key).and_then(|text| text.parse().ok()).ok_or(BadAnswer::Field(key))
    }

    /// A digest that may be there; a malformed one is an error, not a missing one.
    pub fn digest(&self, key: &'static str) -> Result<Option<Digest>, BadAnswer> {
        self.get(key).map(|text| text.parse().map_err(|_| BadAnswer::Field(key))).transpose()
    }

    /// All of it, as it stands on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntryKind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link; never followed.
    Link,
    /// A socket, pipe or device.
    Other,
}

impl EntryKind {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::File => "file",
            EntryKind::Dir => "dir",
            EntryKind::Link => "link",
            EntryKind::Other => "other",
        }
    }
}

impl FromStr for EntryKind {
    type Err = BadAnswer;
    fn from_str(word: &str) -> Result<Self, BadAnswer> {
        match word {
            "file" => Ok(EntryKind::File),
            "dir" => Ok(EntryKind::Dir),
            "link" => Ok(EntryKind::Link),
            "other" => Ok(EntryKind::Other),
            _ => Err(BadAnswer::Field("type")),
        }
    }
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file; what the file system says for the others.
    pub size: u64,
    /// When its content last changed.
    pub mtime: Mtime,
    /// Its path from the directory listed.
    pub path: RemotePath,
}

/// A line that no server of this protocol sends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadAnswer {
    /// The first word is unknown.
    #[error("the server sent a line that is not part of the protocol")]
    Unknown,
    /// A field is missing or malformed.
    #[error("the server's answer has no valid '{0}'")]
    Field(&'static str),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, word: &str, fields: &Fields| match fields.0.as_str() {
            "" => f.write_str(word),
            text => write!(f, "{word} {text}"),
        };
        match self {
            Answer::Ok(of) => fields(f, "OK", of),
            Answer::Err(code, text) => write!(f, "ERR {code} {text}"),
            Answer::Ready(of) => fields(f, "READY", of),
            Answer::Trashed(row) => write!(f, "TRASHED {row}"),
            Answer::Entry(e) => write!(f, "ENTRY {} {} {} {}", e.kind.as_str(), e.size, e.mtime, e.path),
            Answer::Info(text) => write!(f, "INFO {text}"),
            Answer::Challenge(text) => write!(f, "CHALLENGE {text}"),
            Answer::Wait => f.write_str("WAIT"),
            Answer::Data(n) => write!(f, "DATA {n}"),
            Answer::End(of) => fields(f, "END", of),
            Answer::Abort(code, good, text) => write!(f, "ABORT {code} good={good} {text}"),
        }
    }
}

impl FromStr for Answer {
    type Err = BadAnswer;
    fn from_str(line: &str) -> Result<Self, BadAnswer> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Ok(match word {
            "OK" => Answer::Ok(Fields(rest.to_owned())),
            "ERR" => {
                let (code, text) = rest.split_once(' ').unwrap_or((rest, ""));
                Answer::Err(code.parse().unwrap_or(Code::Internal), text.to_owned())
            }
            "READY" => Answer::Ready(Fields(rest.to_owned())),
            "ENTRY" => Answer::Entry(entry(rest)?),
            "TRASHED" => Answer::Trashed(rest.parse()?),
            "INFO" => Answer::Info(rest.to_owned()),
            "CHALLENGE" => Answer::Challenge(rest.to_owned()),
            "WAIT" => Answer::Wait,
            "DATA" => match value::number(rest) {
                Ok(n) if (1..=limits::PIECE as u64).contains(&n) => Answer::Data(n as usize),
                _ => return Err(BadAnswer::Field("count of DATA")),
            },
            "END" => Answer::End(Fields(rest.to_owned())),
            "ABORT" => abort(rest)?,
            _ => return Err(BadAnswer::Unknown),
        })
    }
}

fn entry(rest: &str) -> Result<Entry, BadAnswer> {
    let mut words = rest.split(' ');
    let mut next = |what| words.next().ok_or(BadAnswer::Field(what));
    let entry = Entry {
        kind: next("type")?.parse()?,
        size: value::number(next("size")?).map_err(|_| BadAnswer::Field("size"))?,
        mtime: next("time")?.parse().map_err(|_| BadAnswer::Field("time"))?,
        path: next("path")?.parse().map_err(|_| BadAnswer::Field("path"))?,
    };
    match words.next() {
        None => Ok(entry),
        Some(_) => Err(BadAnswer::Field("path")),
    }
}

fn abort(rest: &str) -> Result<Answer, BadAnswer> {
    let (code, text) = rest.split_once(' ').unwrap_or((rest, ""));
    let (good, text) = match text.strip_prefix("good=") {
        Some(tail) => {
            let (good, text) = tail.split_once(' ').unwrap_or((tail, ""));
            (value::number(good).map_err(|_| BadAnswer::Field("good"))?, text)
        }
        None => (0, text),
    };
    Ok(Answer::Abort(code.parse().unwrap_or(Code::Internal), good, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_found_by_whole_key() {
        let fields = Fields::words("welcome alice").with("size", 5).with("sha256", "x");
        assert_eq!(fields.as_str(), "welcome alice size=5 sha256=x");
        assert_eq!(fields.number("size"), Ok(5));
        assert_eq!(fields.get("siz"), None);
        assert_eq!(fields.get("ize"), None);
        assert!(fields.number("sha256").is_err());
    }

    #[test]
    fn an_entry_with_the_wrong_words_is_refused() {
        for line in [
            "ENTRY",
            "ENTRY file 1 1.000000000",
            "ENTRY file 1 1 a b",
            "ENTRY link x 1 a",
            "ENTRY file 1 1 ../a",
            "ENTRY x 1 1 a",
        ] {
            assert!(line.parse::<Answer>().is_err(), "{line}");
        }
    }

    fn any_answer() -> impl Strategy<Value = Answer> {
        let fields = "[a-z0-9]{1,9}".prop_map(|v| Fields::words("word").with("key", v));
        let code = (0..Code::ALL.len()).prop_map(|at| Code::ALL[at]);
        let path = proptest::collection::vec(1u8..=255, 1..50)
            .prop_filter_map("a legal name", |name| RemotePath::root().join(&name).ok());
        prop_oneof![
            fields.clone().prop_map(Answer::Ok),
            fields.clone().prop_map(Answer::Ready),
            fields.prop_map(Answer::End),
            (code.clone(), "\\PC*").prop_map(|(c, t)| Answer::Err(c, t)),
            (code, 0..=limits::NUMBER, "\\PC*").prop_map(|(c, g, t)| Answer::Abort(c, g, t)),
            (1..=limits::PIECE).prop_map(Answer::Data),
            "\\PC*".prop_map(Answer::Info),
            Just(Answer::Wait),
            (any::<i64>().prop_filter("a time", |s| *s > i64::MIN), 0..=limits::NUMBER, path).prop_map(
                |(seconds, size, path)| {
                    Answer::Entry(Entry { kind: EntryKind::Link, size, mtime: Mtime { seconds, nanos: 7 }, path })
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn answers_survive_the_wire(answer in any_answer()) {
            prop_assert_eq!(answer.to_string().parse::<Answer>(), Ok(answer));
        }

        #[test]
        fn no_line_panics(line in "\\PC*") {
            let _ = line.parse::<Answer>();
        }
    }
}
