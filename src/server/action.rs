//! What a session did: one record for each request that was answered or broke off. The scribe makes both the line of the log and the
//! line of the audit of it.

use super::level::Level;
use crate::net::Cut;
use crate::proto::{Answer, Code, Digest, Fields, RemotePath, Request, Verb, limits, verb};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::str::FromStr;
use std::time::Duration;

/// Bytes that are held ready for a record; few need more.
pub const ENCODED: usize = 512;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Ok,
    /// It was refused or failed, and the client was told this.
    Failed(Code),
    /// It broke off in the middle, for this reason.
    Broke(Code),
    /// It broke off since the connection was lost.
    Vanished,
}

/// How a request ends whose connection cannot go on.
impl From<&Cut> for Outcome {
    fn from(cut: &Cut) -> Self {
        match cut {
            Cut::Closed | Cut::Io(_) => Outcome::Vanished,
            Cut::TimedOut => Outcome::Broke(Code::Timeout),
            Cut::Stopping => Outcome::Broke(Code::ShuttingDown),
            Cut::Line(_) | Cut::Protocol | Cut::Tls(_) => Outcome::Failed(Code::BadRequest),
        }
    }
}

impl Outcome {
    /// The word for it: `ok`, a code of the protocol, `vanished`.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed(code) | Outcome::Broke(code) => code.as_str(),
            Outcome::Vanished => "vanished",
        }
    }

    /// As it travels: what broke off has a `-` before it.
    fn parse(word: &str) -> Option<Outcome> {
        match word {
            "ok" => Some(Outcome::Ok),
            "-vanished" => Some(Outcome::Vanished),
            _ => match word.strip_prefix('-') {
                Some(code) => Some(Outcome::Broke(code.parse().ok()?)),
                None => Some(Outcome::Failed(word.parse().ok()?)),
            },
        }
    }
}

/// One request, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What was asked for; `None` where the line was no request.
    pub verb: Option<Verb>,
    /// The path of the request, percent-encoded as on the wire.
    pub path: Option<String>,
    /// The second path of a RENAME.
    pub to: Option<String>,
    /// Bytes of the whole file.
    pub size: Option<u64>,
    /// Bytes of content that were moved.
    pub bytes: Option<u64>,
    /// Entries that were told of, or removed.
    pub entries: Option<u64>,
    /// Whether a transfer went on where an earlier one had broken off.
    pub resumed: bool,
    /// The digest of the whole file.
    pub digest: Option<Digest>,
    /// How long it took.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
    /// The sentence that goes with an error; of what has to do with the trash, what was asked for or came of it.
    pub text: String,
}

impl Action {
    /// A request that has just come. Only what may be a path is kept of its words: others are passwords.
    pub fn of(request: &Request) -> Self {
        let row = request.verb.row();
        let paths = if row.needs_login && !row.secret { row.positional.1 } else { 0 };
        let word = |at| request.word(at).filter(|_| at < paths).map(str::to_owned);
        let root = || (row.verb == Verb::List).then(|| ".".to_owned());
        Action { verb: Some(row.verb), path: word(0).or_else(root), to: word(1), ..Action::unknown() }
    }

    /// A line that was no request.
    pub fn unknown() -> Self {
        Action {
            verb: None,
            path: None,
            to: None,
            size: None,
            bytes: None,
            entries: None,
            resumed: false,
            digest: None,
            took: Duration::ZERO,
            outcome: Outcome::Ok,
            text: String::new(),
        }
    }

    /// Ended, and so.
    pub fn end(&mut self, outcome: Outcome, text: &str) {
        self.outcome = outcome;
        self.text = text.chars().take(limits::ACTION_TEXT).collect();
    }

    /// Ended as its last answer tells.
    pub fn end_with(&mut self, answer: &Answer) {
        match answer {
            Answer::Err(code, text) => self.end(Outcome::Failed(*code), text),
            Answer::Abort(code, _, text) => self.end(Outcome::Broke(*code), text),
            _ => {}
        }
    }

    /// How much it matters to who reads the log.
    pub fn level(&self) -> Level {
        match (self.verb, self.outcome) {
            (None, _) => Level::Debug,
            (_, Outcome::Failed(code) | Outcome::Broke(code)) => Level::of(code),
            (Some(verb), Outcome::Ok) if verb != Verb::Download && !verb.row().writes => Level::Debug,
            _ => Level::Info,
        }
    }

    /// As it travels to the scribe: microseconds, outcome, verb, `key=value` words, and the text behind ` :`.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(ENCODED);
        self.encode_into(&mut out);
        out
    }

    /// The same, behind what stands there.
    pub fn encode_into(&self, out: &mut String) {
        let broke = if matches!(self.outcome, Outcome::Broke(_) | Outcome::Vanished) { "-" } else { "" };
        let verb = self.verb.map_or("-", |verb| verb.row().name);
        let _ = write!(out, "{} {broke}{} {verb}", self.took.as_micros(), self.outcome.word());
        let numbers = [("s", self.size), ("b", self.bytes), ("e", self.entries), ("r", self.resumed.then_some(1))];
        for (key, value) in numbers {
            let _ = value.map(|value| write!(out, " {key}={value}"));
        }
        let _ = self.digest.map(|digest| write!(out, " h={digest}"));
        for (key, path) in [("p", &self.path), ("t", &self.to)] {
            let _ = path.as_ref().map(|path| write!(out, " {key}={path}"));
        }
        out.push_str(" :");
        out.push_str(&self.text);
    }

    /// Reads what [`Action::encode`] wrote; `None` for what it never writes, since a session that was taken over can send anything.
    pub fn decode(record: &str) -> Option<Action> {
        let (head, text) = record.split_once(" :")?;
        let mut words = head.split(' ');
        let took = Duration::from_micros(words.next()?.parse().ok()?);
        let outcome = Outcome::parse(words.next()?)?;
        let verb = match words.next()? {
            "-" => None,
            name => Some(verb::TABLE.iter().find(|row| row.name == name)?.verb),
        };
        let mut action = Action { verb, took, ..Action::unknown() };
        for word in words {
            let (key, value) = word.split_once('=')?;
            match key {
                "s" => action.size = number(value)?,
                "b" => action.bytes = number(value)?,
                "e" => action.entries = number(value)?,
                "r" => action.resumed = true,
                "h" => action.digest = Some(Digest::from_str(value).ok()?),
                "p" => action.path = Some(value.to_owned()),
                "t" => action.to = Some(value.to_owned()),
                _ => return None,
            }
        }
        action.end(outcome, text);
        Some(action)
    }

    /// The line of the log.
    pub fn line(&self) -> String {
        let mut out = self.verb.map_or("a line that is no request", |verb| verb.row().name).to_owned();
        for word in [&self.path, &self.to].into_iter().flatten() {
            let _ = match word.parse::<RemotePath>() {
                Ok(path) => write!(out, " {path}"),
                Err(_) => write!(out, " {word}"),
            };
        }
        let fields = match (self.outcome, self.verb) {
            (Outcome::Failed(code), _) => Fields::words(format!("failed: {code} {}", self.text)),
            (Outcome::Broke(code), _) => Fields::words(format!("broke off: {code} {}", self.text)),
            (Outcome::Vanished, _) => Fields::words(format!("broke off: {}", self.text)),
            (Outcome::Ok, Some(Verb::Upload)) => Fields::new().maybe("size", self.size).maybe("sha256", self.digest),
            (Outcome::Ok, Some(Verb::Download)) => {
                Fields::new().maybe("bytes", self.bytes).maybe("sha256", self.digest)
            }
            (Outcome::Ok, _) if !self.text.is_empty() => Fields::words(&self.text).maybe("entries", self.entries),
            (Outcome::Ok, Some(Verb::Rmdir)) => Fields::new().maybe("removed", self.entries),
            (Outcome::Ok, _) => Fields::new().maybe("entries", self.entries),
        };
        if !fields.as_str().is_empty() {
            let _ = write!(out, " {}", fields.as_str());
        }
        let _ = write!(out, " {:.3}s", self.took.as_secs_f64());
        out
    }
}

/// A number of the protocol. A claim beyond what a file can have is none.
fn number(text: &str) -> Option<Option<u64>> {
    text.parse().ok().filter(|n| i64::try_from(*n).is_ok()).map(Some)
}

/// The bytes that a path on the wire stands for; the text itself where it is no path, as far as that is worth keeping.
pub fn path_bytes(word: &str) -> Cow<'_, [u8]> {
    match word.parse::<RemotePath>() {
        Ok(path) => Cow::Owned(path.as_bytes().to_vec()),
        Err(_) => {
            Cow::Borrowed(word.get(..word.floor_char_boundary(limits::ACTION_WORD)).unwrap_or_default().as_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Action {
        let mut action = Action {
            verb: Some(Verb::Rename),
            path: Some("a%0Ab".into()),
            to: Some("c".into()),
            size: Some(7),
            bytes: Some(5),
            entries: Some(3),
            resumed: true,
            digest: Some("ab".repeat(32).parse().unwrap()),
            took: Duration::from_micros(1500),
            ..Action::unknown()
        };
        action.end(Outcome::Broke(Code::ShuttingDown), "a text with spaces : and more");
        action
    }

    #[test]
    fn actions_survive_the_way() {
        let outcomes = [Outcome::Ok, Outcome::Vanished, Outcome::Failed(Code::NotFound), Outcome::Broke(Code::Timeout)];
        for outcome in outcomes {
            for action in [full(), Action::unknown()] {
                let action = Action { outcome, ..action };
                assert_eq!(Action::decode(&action.encode()), Some(action));
            }
        }
    }

    #[test]
    fn what_no_session_says_is_none() {
        let digest = "h=".to_owned() + &"x".repeat(64);
        for rubbish in [
            "",
            " :",
            "1 ok PING",
            "x ok PING :",
            "-1 ok PING :",
            "1 fine PING :",
            "1 -ok PING :",
            "1 ok NOTHING :",
            "1 ok ping :",
            "1 ok PING s=-1 :",
            "1 ok PING s=99999999999999999999 :",
            "1 ok PING s=18446744073709551615 :",
            "1 ok PING z=1 :",
            "1 ok PING s :",
            "1 ok PING h=abc :",
            &format!("1 ok PING {digest} :"),
        ] {
            assert_eq!(Action::decode(rubbish), None, "{rubbish:?}");
        }
        let long = format!("1 ok PING :{}", "x".repeat(30_000));
        assert_eq!(Action::decode(&long).unwrap().text.len(), limits::ACTION_TEXT);
    }

    #[test]
    fn the_log_has_the_words_that_operators_know() {
        let line = |verb, outcome, text: &str| {
            let mut action = Action { verb: Some(verb), to: None, ..full() };
            action.end(outcome, text);
            action.line()
        };
        let digest = "ab".repeat(32);
        assert_eq!(line(Verb::Upload, Outcome::Ok, ""), format!("UPLOAD a%0Ab size=7 sha256={digest} 0.002s"));
        assert_eq!(line(Verb::Download, Outcome::Ok, ""), format!("DOWNLOAD a%0Ab bytes=5 sha256={digest} 0.002s"));
        assert_eq!(line(Verb::Rmdir, Outcome::Ok, ""), "RMDIR a%0Ab removed=3 0.002s");
        assert_eq!(line(Verb::Trash, Outcome::Ok, "empty 1-2"), "TRASH a%0Ab empty 1-2 entries=3 0.002s");
        assert_eq!(line(Verb::Stat, Outcome::Failed(Code::NotFound), "x"), "STAT a%0Ab failed: not-found x 0.002s");
        assert_eq!(line(Verb::Upload, Outcome::Vanished, "gone"), "UPLOAD a%0Ab broke off: gone 0.002s");
    }
}
