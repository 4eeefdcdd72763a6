//! The configuration file: `default-server`, a table `[defaults]`, and a table `[servers.NAME]` for each server.
//!
//! It can make this program run a command and trust a server, so only its owner may be able to write to it; and it is taken whole
//! or not at all, since a key that was meant and not understood would do nothing.

use super::keys::{Key, Kind};
use super::place::{self, Place};
use crate::auth::limits_file::nearest;
use crate::client::failure::{Exit, Failure};
use crate::paper::toml::{line_of, trouble};
use clap::Command;
use nix::unistd::geteuid;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The table that holds for all servers.
pub const DEFAULTS: &str = "defaults";
/// The key at the top that names the server of who names none.
pub const DEFAULT_SERVER: &str = "default-server";
/// The table of servers.
const SERVERS: &str = "servers";
/// Where a server listens.
const URL: &str = "url";
/// Bytes of the file, at most: some thousand servers.
const LARGEST: u64 = 1 << 20;

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value, as an option would have it.
    pub value: String,
    /// Its line, from 1.
    pub line: usize,
}

/// A named server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Place,
    /// The line of its URL.
    pub line: usize,
    /// What holds for it.
    pub entries: Vec<Entry>,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// The server of who names none.
    pub default_server: Option<Entry>,
    /// What holds for all servers.
    pub defaults: Vec<Entry>,
    /// The servers, by name.
    pub servers: Vec<Server>,
}

impl Contents {
    /// The server of that name.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }
}

/// What is wrong with one line.
type Problem = (usize, String);

/// Reads the file at `path`; `None` if there is none.
pub fn read(path: &Path, keys: &[Key], command: &Command) -> Result<Option<Contents>, Failure> {
    let shown = path.display();
    let cannot = |why: String| Failure::new(Exit::Local, format!("cannot use {shown}: {why}"));
    let file = match File::open(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|why| cannot(why.to_string()))?,
    };
    let about = file.metadata().map_err(|why| cannot(why.to_string()))?;
    if !about.is_file() {
        return Err(cannot("it is no file".into()));
    }
    if about.uid() != 0 && about.uid() != geteuid().as_raw() {
        return Err(cannot("it belongs to another user, who could have this program run commands".into()));
    }
    if about.mode() & 0o022 != 0 {
        let text = format!(
            "others can write to it, and so have this program run commands; look at it, then: chmod go-w {shown}"
        );
        return Err(cannot(text));
    }
    let mut text = String::new();
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|why| cannot(why.to_string()))?;
    if text.len() as u64 > LARGEST {
        return Err(cannot("it is larger than 1 MiB: is it the right file?".into()));
    }
    parse(&text, keys, command).map(Some).map_err(|problems| told(path, &problems))
}

/// The first of what is wrong, and how much more is.
fn told(path: &Path, problems: &[Problem]) -> Failure {
    let Some((line, text)) = problems.first() else {
        return Failure::new(Exit::Usage, format!("{} cannot be used", path.display()));
    };
    let more = match problems.len() {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Failure::new(Exit::Usage, format!("{} line {line}: {text}{more}", path.display()))
}

/// Parses the text of a file.
pub fn parse(text: &str, keys: &[Key], command: &Command) -> Result<Contents, Vec<Problem>> {
    let root = DeTable::parse(text).map_err(|why| vec![trouble(text, &why)])?;
    let mut reader = Reader { text, keys, command, problems: Vec::new() };
    let contents = reader.contents(root.get_ref());
    match reader.problems.is_empty() {
        true => Ok(contents),
        false => {
            reader.problems.sort();
            Err(reader.problems)
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    keys: &'a [Key],
    command: &'a Command,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn complain(&mut self, span: Range<usize>, text: impl Into<String>) {
        self.problems.push((line_of(self.text, span.start), text.into()));
    }

    fn contents(&mut self, root: &DeTable) -> Contents {
        let mut contents = Contents::default();
        for (name, value) in root {
            match (name.get_ref().as_ref(), value.get_ref()) {
                (DEFAULT_SERVER, DeValue::String(server)) => {
                    let line = line_of(self.text, name.span().start);
                    let key = DEFAULT_SERVER.to_owned();
                    contents.default_server = Some(Entry { key, value: server.to_string(), line });
                }
                (DEFAULT_SERVER, _) => {
                    self.complain(name.span(), "default-server: write the name of a server in quotes")
                }
                (DEFAULTS, DeValue::Table(table)) => contents.defaults = self.entries(table, false),
                (SERVERS, DeValue::Table(table)) => {
                    for (name, value) in table {
                        let server = self.server(name.get_ref(), name.span(), value);
                        contents.servers.extend(server);
                    }
                }
                (name_text, _) => {
                    let text = self.stray(name_text);
                    self.complain(name.span(), text);
                }
            }
        }
        contents
    }

    /// What stands at the top and has no business there.
    fn stray(&self, name: &str) -> String {
        let shown = name.escape_debug();
        if self.keys.iter().any(|key| key.name == name) {
            return format!("'{shown}' stands in no table: write [{DEFAULTS}] above it, or [{SERVERS}.NAME]");
        }
        match nearest(name, [DEFAULTS, SERVERS, DEFAULT_SERVER].into_iter()) {
            Some(word) => format!("there is no '{shown}'; did you mean '{word}'?"),
            None => {
                format!("there is no '{shown}' here; there are {DEFAULT_SERVER}, [{DEFAULTS}] and [{SERVERS}.NAME]")
            }
        }
    }

    fn server(&mut self, name: &str, span: Range<usize>, value: &Spanned<DeValue>) -> Option<Server> {
        let Some(table) = value.get_ref().as_table() else {
            self.complain(
                span,
                format!("'{}' is no table: write [{SERVERS}.NAME] and url = \"…\" below", name.escape_debug()),
            );
            return None;
        };
        let simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(simple) {
            self.complain(
                span.clone(),
                format!("'{}': a name has letters, digits, - _ and . only", name.escape_debug()),
            );
        }
        let entries = self.entries(table, true);
        let Some((url, value)) = table.iter().find(|(key, _)| key.get_ref() == URL) else {
            self.complain(span, format!("[{SERVERS}.{name}] has no url: write url = \"tls://HOST:PORT\""));
            return None;
        };
        match value.get_ref().as_str().map(place::parse) {
            Some(Ok(place)) => {
                let line = line_of(self.text, url.span().start);
                return Some(Server { name: name.to_owned(), place, line, entries });
            }
            Some(Err(failure)) => self.complain(url.span(), failure.text),
            None => self.complain(url.span(), "url: write the address in quotes, \"tls://HOST:PORT\""),
        }
        None
    }

    /// The keys of a table, `url` apart.
    fn entries(&mut self, table: &DeTable, of_server: bool) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if of_server && name == URL {
                continue;
            }
            match self.value(name, value.get_ref(), of_server) {
                Ok(value) => {
                    let line = line_of(self.text, key.span().start);
                    entries.push(Entry { key: name.to_owned(), value, line });
                }
                Err(why) => self.complain(key.span(), why),
            }
        }
        entries
    }

    fn value(&self, name: &str, value: &DeValue, of_server: bool) -> Result<String, String> {
        let Some(key) = self.keys.iter().find(|key| key.name == name) else {
            return Err(self.unknown(name, of_server));
        };
        let text = match (value, key.kind) {
            (DeValue::Boolean(yes), Kind::Switch(_)) => return Ok(yes.to_string()),
            (_, Kind::Switch(_)) => return Err(format!("{name}: write true or false, without quotes")),
            (DeValue::String(text), _) => text.to_string(),
            (DeValue::Integer(number), _) if number.radix() == 10 => number.as_str().to_owned(),
            _ => return Err(format!("{name}: write a text in quotes, or a number")),
        };
        let text = if key.kind == Kind::Path { absolute(name, &text)? } else { text };
        match key.complaint(self.command, &text) {
            Some(why) => Err(why),
            None => Ok(text),
        }
    }

    /// What to say of a key that there is not.
    fn unknown(&self, name: &str, of_server: bool) -> String {
        let shown = name.escape_debug();
        match name {
            "password" => {
                return "a password does not stand in this file, which is copied and shown to others: write password-command, or \
                        password-file with a file that nobody else may read; and change the password"
                    .into();
            }
            URL => return format!("url belongs into a table of a server, [{SERVERS}.NAME]"),
            _ => {}
        }
        if let Some(known) = self.command_option(name) {
            return format!("'{shown}' is said on the command line each time: {known} does not stand in a file");
        }
        let words = self.keys.iter().map(|key| key.name.as_str()).chain(of_server.then_some(URL));
        match nearest(name, words.clone()) {
            Some(word) => format!("there is no key '{shown}'; did you mean '{word}'?"),
            None => format!("there is no key '{shown}'; there are {}", words.collect::<Vec<_>>().join(", ")),
        }
    }

    fn command_option(&self, name: &str) -> Option<String> {
        let all = std::iter::once(self.command).chain(self.command.get_subcommands());
        all.flat_map(Command::get_arguments).any(|arg| arg.get_long() == Some(name)).then(|| format!("--{name}"))
    }
}

/// A path in a file means the same wherever one stands: `~/` is the home directory, and what is relative is refused.
fn absolute(name: &str, text: &str) -> Result<String, String> {
    if let Some(rest) = text.strip_prefix("~/") {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
        let home = home.ok_or_else(|| format!("{name}: there is no HOME that ~ could stand for"))?;
        return home.join(rest).into_os_string().into_string().map_err(|_| format!("{name}: HOME is not UTF-8"));
    }
    match text.starts_with('/') || (name == "password-file" && text == "-") {
        true => Ok(text.to_owned()),
        false => Err(format!("{name}: write a path that begins with / or ~/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::cli;
    use crate::client::config::keys;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    fn parsed(text: &str) -> Result<Contents, Vec<Problem>> {
        let command = cli::command();
        parse(text, &keys::of(&command), &command)
    }

    #[test]
    fn servers_and_defaults_are_read_with_their_lines() {
        let text = "default-server = \"work\"\n\n[defaults]\nretries = 10\nquiet = true\n\n[servers.work]\nurl = \"anna@files.example\"\n\
                    jobs = \"4\"\nca = \"/etc/ca.pem\"\n[servers.\"at.home\"]\nurl = \"unix:/s\"\n";
        let contents = parsed(text).unwrap();
        let entry = |key: &str, value: &str, line| Entry { key: key.into(), value: value.into(), line };
        assert_eq!(contents.default_server, Some(entry("default-server", "work", 1)));
        assert_eq!(contents.defaults, [entry("quiet", "true", 5), entry("retries", "10", 4)]);
        let work = contents.server("work").unwrap();
        assert_eq!((work.place.user.as_deref(), work.line), (Some("anna"), 8));
        assert_eq!(work.entries, [entry("ca", "/etc/ca.pem", 10), entry("jobs", "4", 9)]);
        assert!(contents.server("at.home").is_some() && contents.server("none").is_none());
        assert_eq!(parsed("").unwrap(), Contents::default());
    }

    #[test]
    fn what_is_not_understood_is_an_error_with_its_line_and_the_right_word() {
        for (text, line, words) in [
            ("\n[defaults]\nretires = 3\n", 3, "did you mean 'retries'"),
            ("[defaults]\npasword-file = \"/x\"\n", 2, "did you mean 'password-file'"),
            ("[server.a]\nurl = \"tls://a\"\n", 1, "did you mean 'servers'"),
            ("retries = 3\n", 1, "[defaults] above it"),
            ("[defaults]\nretries = \"many\"\n", 2, "invalid value 'many' for '--retries"),
            ("[defaults]\nretries = true\n", 2, "a number"),
            ("[defaults]\nquiet = 1\n", 2, "true or false"),
            ("[defaults]\nyes = true\n", 2, "on the command line each time"),
            ("[defaults]\nurl = \"tls://a\"\n", 2, "[servers.NAME]"),
            ("[defaults]\nca = \"ca.pem\"\n", 2, "begins with / or ~/"),
            ("[servers.a]\nuser = \"anna\"\n", 1, "has no url"),
            ("[servers.a]\nurl = \"http://a\"\n", 2, "tls://HOST:PORT"),
            ("[servers.\"a b\"]\nurl = \"tls://a\"\n", 1, "letters, digits"),
            ("default-server = 3\n", 1, "in quotes"),
            ("[defaults\n", 1, ""),
        ] {
            let problems = parsed(text).unwrap_err();
            assert_eq!(problems[0].0, line, "{text}: {problems:?}");
            assert!(problems[0].1.contains(words), "{text}: {problems:?}");
        }
    }

    #[test]
    fn a_password_in_the_file_is_refused_and_not_repeated() {
        for text in ["[defaults]\npassword = \"hunter2\"\n", "[servers.a]\nurl = \"tls://anna:hunter2@host\"\n"] {
            let problems = parsed(text).unwrap_err();
            assert!(problems[0].1.contains("password-command") && !problems[0].1.contains("hunter2"), "{problems:?}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_to_is_refused_with_its_repair() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        let command = cli::command();
        let keys = keys::of(&command);
        assert_eq!(read(&path, &keys, &command), Ok(None));
        std::fs::write(&path, "[defaults]\nretries = 1\n").unwrap();
        for (mode, fine) in [(0o644, true), (0o600, true), (0o664, false), (0o602, false)] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let result = read(&path, &keys, &command);
            assert_eq!(result.is_ok(), fine, "{mode:o}");
            if let Err(failure) = result {
                assert!(failure.text.contains("chmod go-w") && failure.exit == Exit::Local, "{failure}");
            }
        }
        assert_eq!(read(dir.path(), &keys, &command).unwrap_err().exit, Exit::Local);
    }
}
