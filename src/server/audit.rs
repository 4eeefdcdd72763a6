//! A line of the audit: one JSON object (RFC 8259), its fields as docs/AUDIT.md tells them.

use super::action::{Action, path_bytes};
use crate::proto::unseen::is_unsafe;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write as _;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// RFC 3339 in UTC, with microseconds.
pub const STAMP: &[BorrowedFormatItem] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// The version of the schema.
const VERSION: u64 = 1;

/// A line that is being written.
#[derive(Debug)]
pub struct Line(String);

impl Line {
    /// A line of now about an event.
    pub fn of(event: &str) -> Self {
        let mut line = Line(String::with_capacity(512));
        line.0.push('{');
        let stamp = OffsetDateTime::now_utc().format(STAMP).unwrap_or_default();
        line.number("v", VERSION).text("time", &stamp).text("event", event);
        line
    }

    /// A text. What could move a terminal is escaped, whoever wrote it.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        self.0.push('"');
        for c in value.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                _ if is_unsafe(c) || c.is_control() => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.0, "\\u{unit:04x}");
                    }
                }
                _ => self.0.push(c),
            }
        }
        self.0.push('"');
        self
    }

    /// A text, if there is any.
    pub fn maybe(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.text(key, value);
        }
        self
    }

    /// A whole number.
    pub fn number(&mut self, key: &str, value: u64) -> &mut Self {
        self.key(key);
        let _ = write!(self.0, "{value}");
        self
    }

    /// Seconds, with microseconds.
    pub fn seconds(&mut self, key: &str, value: Duration) -> &mut Self {
        self.key(key);
        let _ = write!(self.0, "{}.{:06}", value.as_secs(), value.subsec_micros());
        self
    }

    /// All that an action tells.
    pub fn action(&mut self, action: &Action) -> &mut Self {
        self.maybe("verb", action.verb.map(|verb| verb.row().name));
        self.path("path", "path_b64", action.path.as_deref()).path("to", "to_b64", action.to.as_deref());
        for (key, value) in [("size", action.size), ("bytes", action.bytes), ("entries", action.entries)] {
            if let Some(value) = value {
                self.number(key, value);
            }
        }
        self.seconds("seconds", action.took);
        let micros = action.took.as_micros();
        if let (Some(bytes), true) = (action.bytes, micros > 0) {
            let rate = u128::from(bytes) * 1_000_000 / micros;
            self.number("rate", u64::try_from(rate).unwrap_or(u64::MAX));
        }
        if action.resumed {
            self.key("resumed");
            self.0.push_str("true");
        }
        self.text("result", action.outcome.word()).maybe("text", Some(&action.text));
        let digest = action.digest.map(|digest| digest.to_string());
        self.maybe("sha256", digest.as_deref())
    }

    /// The line, with its end.
    pub fn finish(&mut self) -> String {
        self.0.push_str("}\n");
        std::mem::take(&mut self.0)
    }

    /// A path, and its exact bytes where they are no text.
    pub fn path(&mut self, key: &str, exact: &str, word: Option<&str>) -> &mut Self {
        let Some(word) = word else { return self };
        let bytes = path_bytes(word);
        let text = String::from_utf8_lossy(&bytes);
        self.text(key, &text);
        if std::str::from_utf8(&bytes).is_err() {
            self.text(exact, &STANDARD.encode(&bytes));
        }
        self
    }

    fn key(&mut self, key: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{key}\":");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::path::encode;
    use crate::proto::{Code, limits};
    use crate::server::action::Outcome;
    use serde_json::Value;

    /// The least that docs/AUDIT.md promises of the length.
    const LONGEST: usize = 64 * 1024;

    #[test]
    fn no_text_ends_its_string_or_its_line_and_all_of_it_comes_back() {
        for text in [
            "plain",
            "a\"b\\c",
            "a\nb\r\t\0",
            "\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{7f}",
            "gr\u{fc}n \u{1f600}",
            "\u{e0001}",
        ] {
            let line = Line::of("start").text("text", text).finish();
            assert!(line.ends_with("}\n") && line.trim_end().chars().all(|c| !is_unsafe(c)), "{line:?}");
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["text"], text);
        }
    }

    #[test]
    fn the_longest_action_is_a_line_as_short_as_promised() {
        for byte in [1, 0xff, b'x'] {
            let names = [vec![byte; limits::NAME], vec![b'/']].concat();
            let path: Vec<u8> = names.iter().copied().cycle().take(limits::PATH).collect();
            let word = encode(&path).to_string();
            assert!(word.parse::<crate::proto::RemotePath>().is_ok());
            let mut action = Action { path: Some(word.clone()), to: Some(word), ..Action::unknown() };
            action.end(Outcome::Failed(Code::ChecksumMismatch), &"\u{1}".repeat(1000));
            let record = action.encode();
            assert!(record.len() < crate::server::record::LARGEST, "{}", record.len());
            let line = Line::of("request").action(&action).finish();
            assert!(line.len() < LONGEST - 1024, "{}", line.len());
            let value: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["path_b64"].as_str().is_some(), byte == 0xff);
            if byte == 0xff {
                assert_eq!(STANDARD.decode(value["path_b64"].as_str().unwrap()).unwrap(), path);
            }
        }
    }
}
