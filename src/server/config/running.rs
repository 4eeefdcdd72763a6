//! The configuration of a running server: read again after SIGHUP by the helper that loads the users, and handed to the listener as words
//! of a command line. What can change does; what cannot waits for the next start, and is named.

use super::keys::{Keys, key_of};
use super::{Setting, file, layers};
use crate::server::options::ServeOptions;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Keys that a running server takes over. All others belong to sockets, to the storage, to tables of a fixed size, or to what was given up with
/// root: they hold from the next start on.
pub const LIVE: &[&str] = &[
    "users",
    "user-limits",
    "tls-cert",
    "tls-key",
    "max-clients-per-ip",
    "max-clients-per-net",
    "allow",
    "deny",
    "max-penalty",
    "penalty-exempt",
    "grace",
    "login-timeout",
    "idle-timeout",
    "quota",
    "trash",
    "verbose",
];
/// Of those, what can be changed but not taken away: a pair of the server's own in its place may be root's.
const STAY: &[&str] = &["tls-cert", "tls-key"];

/// What a server runs with, and where to read it again.
#[derive(Debug, Clone, Default)]
pub struct Configuration {
    /// The file, if one was read.
    pub file: Option<PathBuf>,
    /// What flags and variables say, which does not change, the strongest first.
    strong: Vec<Vec<Setting>>,
    /// All that holds, as words of a command line.
    words: Vec<OsString>,
}

/// What a file that was read again comes to.
#[derive(Debug)]
pub struct Next {
    /// The options that are to hold now.
    pub options: ServeOptions,
    /// The same as words, for the listener.
    pub words: Vec<OsString>,
    /// Keys whose new value has to wait for the next start.
    pub waiting: Vec<String>,
}

impl Configuration {
    /// What was gathered at the start.
    pub(super) fn new(file: Option<PathBuf>, strong: Vec<Vec<Setting>>, words: Vec<OsString>) -> Self {
        Configuration { file, strong, words }
    }

    /// Reads the file again. An error is a line for each thing that is wrong.
    pub fn read_again(&self) -> Result<Next, String> {
        let keys = Keys::of_serve();
        let from_file = match &self.file {
            Some(path) => file::read(path, &keys)?,
            None => Vec::new(),
        };
        let layers = self.strong.iter().map(Vec::as_slice).chain([from_file.as_slice()]);
        let wanted = keys.words(&layers::merge(&keys, layers));
        let unsound = |why| match &self.file {
            Some(path) => format!("{}: {why}", path.display()),
            None => why,
        };
        keys.options(&wanted).map_err(unsound)?; // or the next start would be refused
        let (words, waiting) = blend(&self.words, &wanted);
        let options = keys.options(&words).map_err(unsound)?;
        Ok(Next { options, words, waiting })
    }

    /// Takes over the words of a [`Next`], which follow each other with a zero byte after each; `None` if nothing has changed.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<Changed>, String> {
        let words = bytes.split_inclusive(|byte| *byte == 0).filter_map(|word| word.strip_suffix(b"\0"));
        let words: Vec<_> = words.map(|word| OsStr::from_bytes(word).to_owned()).collect();
        let keys = changed(&self.words, &words);
        if keys.is_empty() {
            return Ok(None);
        }
        let options = Keys::of_serve().options(&words)?;
        self.words = words;
        Ok(Some(Changed { options, keys }))
    }
}

/// What has changed while the server runs.
#[derive(Debug)]
pub struct Changed {
    /// The options that hold now.
    pub options: ServeOptions,
    /// The keys that are not what they were.
    pub keys: Vec<String>,
}

impl Next {
    /// The words, with a zero byte after each: no word of a command line holds one.
    pub fn encode(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect()
    }
}

/// Words by their key.
fn by_key(words: &[OsString]) -> BTreeMap<&str, Vec<&OsString>> {
    let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
    words.iter().for_each(|word| by_key.entry(key_of(word)).or_default().push(word));
    by_key
}

/// The keys of which two command lines say something else.
fn changed(old: &[OsString], new: &[OsString]) -> Vec<String> {
    let (old, new) = (by_key(old), by_key(new));
    let mut keys: Vec<_> = old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().map(ToString::to_string).collect()
}

/// The words that can hold now, and the keys of which the new ones have to wait.
fn blend(old: &[OsString], new: &[OsString]) -> (Vec<OsString>, Vec<String>) {
    let mut waiting = changed(old, new);
    let is_said = |key: &str| new.iter().any(|word| key_of(word) == key);
    waiting.retain(|key| !LIVE.contains(&key.as_str()) || STAY.contains(&key.as_str()) && !is_said(key));
    let waits = |word: &&OsString| waiting.iter().any(|key| key == key_of(word));
    let words = old.iter().filter(waits).chain(new.iter().filter(|word| !waits(word))).cloned().collect();
    (words, waiting)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn every_key_that_is_taken_over_is_one() {
        let keys = Keys::of_serve();
        assert!(LIVE.iter().chain(STAY).all(|key| keys.get(key).is_some()));
    }

    #[test]
    fn what_cannot_change_waits_and_the_rest_does_not() {
        let old =
            words(&["--listen=unix:/x", "--listen=unix:/y", "--grace=1", "--tls-cert=/c", "--tls-key=/k", "--quota=5"]);
        let new = words(&["--listen=unix:/x", "--grace=2", "--verbose", "--verbose", "--max-clients=7"]);
        let (held, waiting) = blend(&old, &new);
        assert_eq!(waiting, ["listen", "max-clients", "tls-cert", "tls-key"]);
        let now = [
            "--listen=unix:/x",
            "--listen=unix:/y",
            "--tls-cert=/c",
            "--tls-key=/k",
            "--grace=2",
            "--verbose",
            "--verbose",
        ];
        assert_eq!(held, words(&now));
        assert_eq!(changed(&old, &held), ["grace", "quota", "verbose"]);
        assert_eq!(blend(&held, &held).1, [""; 0]);
    }

    #[test]
    fn the_listener_takes_what_the_helper_hands_it() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("forkd.toml");
        let mut running = Configuration::new(Some(file.clone()), vec![], words(&["--grace=1"]));
        std::fs::write(&file, "grace = 2\nallow = ['::1', '10.0.0.0/8']\ndir = 'x'\n").unwrap();
        let next = running.read_again().unwrap();
        assert_eq!((next.options.grace.as_secs(), &next.waiting[..]), (2, &["dir".to_owned()][..]));
        let changed = running.take(&next.encode()).unwrap().unwrap();
        assert_eq!((changed.options.gate.allow.len(), &running.words), (2, &next.words));
        assert_eq!(changed.keys, ["allow", "grace"]);
        assert!(running.take(&next.encode()).unwrap().is_none());
        std::fs::write(&file, "grace = 2\n\ngrave = 3\n").unwrap();
        assert!(
            running
                .read_again()
                .unwrap_err()
                .ends_with("forkd.toml line 3: there is no key 'grave'; did you mean 'grace'?")
        );
        std::fs::write(&file, "tls-key = '/k'\n").unwrap();
        assert!(running.read_again().unwrap_err().contains("--tls-cert"));
    }
}
