//! What `--json` prints: one object a line, all of one shape. Fields that do not apply are left out; a program must pass over
//! fields and events that it does not know.

use crate::client::failure::Failure;
use crate::proto::Digest;
use crate::proto::answer::Entry;
use crate::proto::unseen::is_unsafe;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use std::fmt::{Display, Write};
use std::time::Duration;

/// The version of the objects; it grows when a field changes its meaning, not when one is added.
const VERSION: u32 = 1;

/// One object.
#[derive(Debug, Default, Serialize)]
#[allow(missing_docs)] // the setters say what the fields are
pub struct Object {
    v: u32,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to_b64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_up: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_down: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_b64: Option<String>,
}

impl Object {
    /// An object that tells of `event`.
    pub fn new(event: &'static str) -> Self {
        Object { v: VERSION, event, ..Object::default() }
    }

    /// With the name it is about: `path`, where bytes that are not UTF-8 are shown as U+FFFD, and then also the exact
    /// bytes as `path_b64`.
    pub fn path(mut self, name: &[u8]) -> Self {
        self.path = Some(String::from_utf8_lossy(name).into_owned());
        self.path_b64 = std::str::from_utf8(name).is_err().then(|| STANDARD.encode(name));
        self
    }

    /// With where something goes, as [`Object::path`] tells names: `to`, and `to_b64`.
    pub fn to(mut self, name: &[u8]) -> Self {
        self.to = Some(String::from_utf8_lossy(name).into_owned());
        self.to_b64 = std::str::from_utf8(name).is_err().then(|| STANDARD.encode(name));
        self
    }

    /// With a server and its key.
    pub fn server(mut self, server: impl Display, pin: impl Display) -> Self {
        (self.server, self.pin) = (Some(server.to_string()), Some(pin.to_string()));
        self
    }

    /// With a digest.
    pub fn digest(mut self, digest: Option<Digest>) -> Self {
        self.sha256 = digest.map(|digest| digest.to_string());
        self
    }

    /// With a time that something took; with `moved` bytes also their rate in bytes a second.
    pub fn took(mut self, took: Duration, moved: Option<u64>) -> Self {
        self.seconds = Some(took.as_secs_f64());
        self.rate = moved.map(|moved| rate(moved, took));
        self
    }

    /// With what went wrong.
    pub fn failure(mut self, failure: &Failure) -> Self {
        self.code = failure.code.map(|code| code.as_str());
        self.exit = Some(failure.exit as u8);
        self.text = Some(failure.text.clone());
        self
    }

    /// With content.
    pub fn data(mut self, data: &[u8]) -> Self {
        self.data_b64 = Some(STANDARD.encode(data));
        self
    }

    /// A row of a listing, under the name `path`.
    pub fn entry(entry: &Entry, path: &[u8]) -> Self {
        let mut object = Object::new("entry").path(path);
        object.kind = Some(entry.kind.as_str());
        object.bytes = Some(entry.size);
        object.mtime = Some(entry.mtime.to_string());
        object
    }

    /// The line, with its end. Somebody may look at it on a terminal: JSON itself would let DEL, C1 and the marks that turn text
    /// stand as they are.
    pub fn line(&self) -> String {
        // Strings and numbers only: this cannot fail.
        let text = serde_json::to_string(self).unwrap_or_default();
        let mut line = String::with_capacity(text.len() + 1);
        for c in text.chars() {
            match is_unsafe(c) {
                // All of these are below U+10000, and stand within strings; writing to a String cannot fail.
                true => drop(write!(line, "\\u{:04x}", c as u32)),
                false => line.push(c),
            }
        }
        line.push('\n');
        line
    }
}

/// Bytes a second; never infinite.
pub fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / took.max(Duration::from_micros(1)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::failure::Exit;
    use crate::proto::Code;

    #[test]
    fn names_that_are_not_utf8_are_there_exactly() {
        let value: serde_json::Value = serde_json::from_str(&Object::new("entry").path(b"caf\xe9\n").line()).unwrap();
        assert_eq!(value["v"], 1);
        assert_eq!(STANDARD.decode(value["path_b64"].as_str().unwrap()).unwrap(), b"caf\xe9\n");
        let name = "é\"\u{1b}\u{7f}\u{9b}\u{202e}";
        let plain = Object::new("entry").path(name.as_bytes()).line();
        assert!(!plain.contains("path_b64") && !plain.contains(['\u{1b}', '\u{7f}', '\u{9b}', '\u{202e}']));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap()["path"], name);
        assert_eq!(plain.matches('\n').count(), 1);
    }

    #[test]
    fn failures_carry_code_and_exit() {
        let failure = Failure::refused(Code::NotFound, "no such file");
        let value: serde_json::Value = serde_json::from_str(&Object::new("error").failure(&failure).line()).unwrap();
        assert_eq!(value["code"], "not-found");
        assert_eq!(value["exit"], Exit::NotFound as u8);
        assert!(value.get("path").is_none());
    }
}
