//! What a server reads: requests, and the lines of a body, which are never verbs.

use super::value::{self, BadNumber};
use super::verb::{self, Row};
use super::{Code, Digest, Mtime, RemotePath, Verb, limits, path};
use std::fmt;
use std::str::FromStr;

/// One line of a client.
#[derive(Debug)]
pub enum Incoming<'a> {
    /// A verb with its arguments.
    Request(Request<'a>),
    /// `DATA n`: this many bytes follow.
    Data(usize),
    /// `END`, with what it says of the upload.
    End(Claim),
    /// `ABORT code text`: the rest of the line.
    Abort(&'a str),
    /// `FROM n`: where the body of a resumed upload begins.
    From(u64),
    /// `WAIT`: the client is there and not ready yet.
    Wait,
}

/// What the end of an upload says of it, as far as it says anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// The digest of the whole file.
    pub digest: Option<Digest>,
    /// Its name once more.
    pub path: Option<RemotePath>,
}

/// Why a line is refused, and whether the stream can still be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of the `ERR`.
    pub code: Code,
    /// Its sentence.
    pub text: String,
    /// What follows cannot be told apart any more: answer and close.
    pub fatal: bool,
}

impl Refusal {
    /// A refusal after which the session goes on.
    pub fn new(code: Code, text: impl Into<String>) -> Self {
        Refusal { code, text: text.into(), fatal: false }
    }

    /// A refusal that ends the connection.
    pub fn fatal(code: Code, text: impl Into<String>) -> Self {
        Refusal { code, text: text.into(), fatal: true }
    }

    fn bad(text: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, text)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ERR {} {}", self.code, self.text)
    }
}

/// A verb with its arguments, checked against the verb's row. Values are parsed when they are asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is asked for.
    pub verb: Verb,
    positional: Vec<&'a str>,
    flags: Vec<&'a str>,
    options: Vec<(&'a str, &'a str)>,
}

/// Parses one line of a client, its ending removed.
pub fn parse(line: &str) -> Result<Incoming<'_>, Refusal> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    if line.ends_with(' ') && !matches!(word, "DATA" | "ABORT" | "WAIT") {
        return Err(Refusal::bad("a line does not end with a space"));
    }
    match word {
        "DATA" => data(rest).map(Incoming::Data),
        "END" => end(rest).map(Incoming::End),
        "ABORT" => Ok(Incoming::Abort(rest)),
        "WAIT" => Ok(Incoming::Wait),
        "FROM" => value::number(rest).map(Incoming::From).map_err(|why| Refusal::bad(format!("FROM: {why}"))),
        _ => request(line).map(Incoming::Request),
    }
}

fn data(count: &str) -> Result<usize, Refusal> {
    match value::number(count) {
        Ok(n) if (1..=limits::PIECE as u64).contains(&n) => Ok(n as usize),
        _ => Err(Refusal::fatal(Code::BadRequest, format!("DATA takes a count from 1 to {}", limits::PIECE))),
    }
}

fn end(rest: &str) -> Result<Claim, Refusal> {
    let mut claim = Claim::default();
    for word in rest.split(' ').filter(|_| !rest.is_empty()) {
        match word.split_once('=') {
            Some(("sha256", hex)) if claim.digest.is_none() => {
                claim.digest = Some(hex.parse().map_err(|why| Refusal::bad(format!("END: {why}")))?)
            }
            Some(("path", path)) if claim.path.is_none() => {
                claim.path = Some(path.parse().map_err(|why| Refusal::bad(format!("END: {why}")))?)
            }
            Some((key, _)) if !matches!(key, "sha256" | "path" | "") => {}
            _ => return Err(Refusal::bad("END takes nothing, or sha256=<digest> and path=<path>")),
        }
    }
    Ok(claim)
}

fn request(line: &str) -> Result<Request<'_>, Refusal> {
    let Some((row, rest, recursive)) = verb::find(line) else {
        return Err(Refusal::bad(if line.is_empty() {
            "the line is empty; HELP lists the verbs".to_owned()
        } else {
            "unknown verb; HELP lists the verbs".to_owned()
        }));
    };
    let mut request = Request { verb: row.verb, positional: Vec::new(), flags: Vec::new(), options: Vec::new() };
    if recursive {
        request.flags.push("recursive");
    }
    for word in rest.split(' ').filter(|_| !rest.is_empty()) {
        request.add(row, word)?;
    }
    if request.positional.len() < row.positional.0 {
        return Err(Refusal::bad(format!("usage: {} {}", row.name, row.usage)));
    }
    Ok(request)
}

impl<'a> Request<'a> {
    fn add(&mut self, row: &Row, word: &'a str) -> Result<(), Refusal> {
        if word.is_empty() {
            return Err(Refusal::bad("words are separated by exactly one space"));
        }
        if self.positional.len() < row.positional.1 {
            self.positional.push(word);
            return Ok(());
        }
        match word.split_once('=') {
            Some((key, _)) if self.options.iter().any(|(k, _)| *k == key) => {
                Err(Refusal::bad("an option is given twice"))
            }
            Some((key, text)) if !key.is_empty() => {
                self.options.push((key, text));
                Ok(())
            }
            None if self.flags.contains(&word) => Err(Refusal::bad("an option is given twice")),
            None if row.flags.contains(&word) => {
                self.flags.push(word);
                Ok(())
            }
            _ => {
                let usage = format!("{} {}", row.name, row.usage);
                let text = format!("{}: unexpected word; a space in a name is written %20", usage.trim_end());
                Err(Refusal::bad(text))
            }
        }
    }

    /// Whether a bare word was given.
    pub fn flag(&self, name: &str) -> bool {
        self.flags.contains(&name)
    }

    /// A positional argument as it stands, if it was given.
    pub fn word(&self, at: usize) -> Option<&'a str> {
        self.positional.get(at).copied()
    }

    /// A positional argument as a path. One that was left out is the user's own directory; the verb table sees to it
    /// that it is left out only where it may be.
    pub fn path(&self, at: usize) -> Result<RemotePath, Refusal> {
        let Some(word) = self.word(at) else { return Ok(RemotePath::root()) };
        word.parse().map_err(|why: path::BadPath| Refusal::new(why.into(), why.to_string()))
    }

    /// The value of an option, parsed, if it was given.
    fn option<T: FromStr>(&self, key: &str) -> Result<Option<T>, Refusal>
    where
        T::Err: fmt::Display,
    {
        let Some((_, text)) = self.options.iter().find(|(k, _)| *k == key) else { return Ok(None) };
        text.parse().map(Some).map_err(|why| Refusal::bad(format!("{key}: {why}")))
    }

    /// A number option, if it was given. One above 2^63-1 is `too-large`.
    pub fn number(&self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some((_, text)) = self.options.iter().find(|(k, _)| *k == key) else { return Ok(None) };
        value::number(text).map(Some).map_err(|why| match why {
            BadNumber::TooLarge => Refusal::new(Code::TooLarge, format!("{key}: {why}")),
            BadNumber::Malformed => Refusal::bad(format!("{key}: {why}")),
        })
    }

    /// A path option, if it was given.
    pub fn path_option(&self, key: &str) -> Result<Option<RemotePath>, Refusal> {
        let Some((_, text)) = self.options.iter().find(|(k, _)| *k == key) else { return Ok(None) };
        text.parse().map(Some).map_err(|why: path::BadPath| Refusal::new(why.into(), why.to_string()))
    }

    /// A digest option, if it was given.
    pub fn digest(&self, key: &str) -> Result<Option<Digest>, Refusal> {
        self.option(key)
    }

    /// A time option, if it was given.
    pub fn time(&self, key: &str) -> Result<Option<Mtime>, Refusal> {
        self.option(key)
    }
}

impl From<path::BadPath> for Code {
    fn from(why: path::BadPath) -> Code {
        match why {
            path::BadPath::NameTooLong | path::BadPath::TooLong => Code::NameTooLong,
            _ => Code::BadPath,
        }
    }
}

/// Whether a line is of the kind that browsers, not clients of ours, send: it ends a connection before login, so that no
/// web page can smuggle requests in a form (ALPACA, CVE-2021-3618).
pub fn looks_like_http(line: &str) -> bool {
    let word = line.split(' ').next().unwrap_or("");
    const METHODS: &[&str] = &["GET", "POST", "PUT", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "PRI"];
    METHODS.contains(&word) || word.ends_with(':') || line.contains("HTTP/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(line: &str) -> Refusal {
        match parse(line) {
            Err(refusal) => refusal,
            Ok(got) => panic!("{line}: {got:?}"),
        }
    }

    fn accepted(line: &str) -> Request<'_> {
        match parse(line) {
            Ok(Incoming::Request(request)) => request,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn positionals_come_first_and_may_hold_an_equals_sign() {
        let request = accepted("UPLOAD size=5 size=6 resume future=1");
        assert_eq!(request.path(0).unwrap().to_string(), "size=5");
        assert_eq!(request.number("size"), Ok(Some(6)));
        assert!(request.flag("resume") && !request.flag("new"));
        assert_eq!(accepted("list recursive").path(0).unwrap().to_string(), "recursive");
        assert!(accepted("LIST . recursive").flag("recursive"));
    }

    #[test]
    fn aliases_mean_their_verbs() {
        assert_eq!(accepted("DIR").verb, Verb::List);
        assert_eq!(accepted("preview a").verb, Verb::View);
        assert_eq!(accepted("SUBFOLDER CREATE a").verb, Verb::Mkdir);
        let remove = accepted("subfolder delete a");
        assert!(remove.verb == Verb::Rmdir && remove.flag("recursive"));
        assert!(!accepted("RMDIR a").flag("recursive"));
        assert_eq!(accepted("QUIT").verb, Verb::Logout);
    }

    #[test]
    fn malformed_requests_are_refused_and_the_stream_goes_on() {
        for line in [
            "",
            " ",
            "UPLOAD",
            "RENAME a",
            "NOSUCH a",
            "LIST  a",
            "LIST a ",
            "PING ",
            "END ",
            "FROM 0 ",
            "UPLOAD my file",
            "UPLOAD a size=1 size=2",
            "UPLOAD a resume resume",
            "UPLOAD a =5",
            "SUBFOLDER RENAME a",
            "DELETE a b",
            "END sha256=00",
            "END x",
            "FROM -1",
        ] {
            let refusal = refused(line);
            assert_eq!((refusal.code, refusal.fatal), (Code::BadRequest, false), "{line}");
        }
        assert_eq!(accepted("UPLOAD a size=9223372036854775808").number("size").unwrap_err().code, Code::TooLarge);
        for bad in ["-1", "+5", "0x10", ""] {
            let line = format!("UPLOAD a size={bad}");
            assert_eq!(accepted(&line).number("size").unwrap_err().code, Code::BadRequest, "{bad}");
        }
    }

    #[test]
    fn an_end_says_what_it_ends() {
        let claim = |line: &'static str| match parse(line) {
            Ok(Incoming::End(claim)) => claim,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(claim("END"), Claim::default());
        assert_eq!(claim("END future=1 path=a%20b").path, Some("a%20b".parse().unwrap()));
        let digest = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let line: &'static str = format!("END sha256={digest} path=a").leak();
        assert_eq!(claim(line), Claim { digest: digest.parse().ok(), path: "a".parse().ok() });
        for line in ["END path=a path=a", "END path=/", "END path", "END sha256=1"] {
            assert_eq!(refused(line).code, Code::BadRequest, "{line}");
        }
    }

    #[test]
    fn a_piece_that_cannot_be_counted_is_fatal() {
        assert!(matches!(parse("DATA 1"), Ok(Incoming::Data(1))));
        assert!(matches!(parse("DATA 1048576"), Ok(Incoming::Data(limits::PIECE))));
        for line in ["DATA", "DATA 0", "DATA 1048577", "DATA 01", "DATA +1", "DATA x", "DATA 1 2", "DATA  1"] {
            assert!(refused(line).fatal, "{line}");
        }
    }

    #[test]
    fn http_is_recognised() {
        for line in ["GET / HTTP/1.1", "POST /x", "Host: a", "PRI * HTTP/2.0"] {
            assert!(looks_like_http(line), "{line}");
        }
        for line in ["LIST", "LOGIN a b", "DELETE x", "HELP"] {
            assert!(!looks_like_http(line), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC*") {
            let _ = parse(&line);
        }

        #[test]
        fn no_arguments_panic(verb in 0..verb::TABLE.len(), rest in "\\PC*") {
            if let Ok(Incoming::Request(request)) = parse(&format!("{} {rest}", verb::TABLE[verb].name)) {
                let _ = (request.path(0), request.path(1), request.number("size"), request.time("mtime"), request.digest("if"));
            }
        }
    }
}
