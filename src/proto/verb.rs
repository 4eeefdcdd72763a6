//! The verbs, in one table: names, arguments, who may use them, and the line that HELP prints.

use std::fmt;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each is described by its row below
pub enum Verb {
    Help,
    Auth,
    Login,
    List,
    Stat,
    Upload,
    Download,
    View,
    Delete,
    Rename,
    Mkdir,
    Rmdir,
    Trash,
    Digest,
    Quota,
    Passwd,
    Ping,
    Logout,
    #[cfg(feature = "hostile")]
    Hostile,
}

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// The verb of this row.
    pub verb: Verb,
    /// Its name on the wire.
    pub name: &'static str,
    /// Other names, as people of similar systems type them; two words for `SUBFOLDER CREATE`.
    pub aliases: &'static [&'static str],
    /// Fewest and most positional arguments.
    pub positional: (usize, usize),
    /// Options that are bare words.
    pub flags: &'static [&'static str],
    /// Options that carry a value.
    pub keys: &'static [&'static str],
    /// Whether it is refused before login.
    pub needs_login: bool,
    /// Whether it changes the user's tree.
    pub writes: bool,
    /// Whether it only adds what is new or tells nothing of what is there, and so is left to upload-only accounts.
    pub adds: bool,
    /// Whether its arguments are kept out of the log.
    pub secret: bool,
    /// Its arguments as a person writes them.
    pub usage: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// All verbs.
pub const TABLE: &[Row] = &[
    row(Verb::Help, "HELP", (0, 1)).says("[verb]", "list the verbs, or explain one"),
    row(Verb::Auth, "AUTH", (2, 2)).says("mechanism base64", "log in without sending the password (SCRAM-SHA-256)"),
    row(Verb::Login, "LOGIN", (2, 2)).says("user password", "log in by hand; the password is percent-encoded"),
    row(Verb::List, "LIST", (0, 1))
        .also(&["DIR"])
        .flags(&["recursive"])
        .login()
        .says("[path] [recursive]", "list a directory"),
    row(Verb::Stat, "STAT", (1, 1)).login().says("path", "tell type, size, time and, if known, digest"),
    row(Verb::Upload, "UPLOAD", (1, 1))
        .flags(&["resume", "new"])
        .keys(&["size", "mtime"])
        .login()
        .writes()
        .adds()
        .says("path [size=n] [mtime=t] [resume] [new]", "store a file; OK when it is durable and verified"),
    row(Verb::Download, "DOWNLOAD", (1, 1))
        .flags(&["fresh"])
        .keys(&["offset", "length", "if"])
        .login()
        .says("path [offset=n] [length=n] [if=digest] [fresh]", "fetch a file with its digest"),
    row(Verb::View, "VIEW", (1, 1))
        .also(&["PREVIEW"])
        .keys(&["offset", "length"])
        .login()
        .says("path [offset=n] [length=n]", "show the first 1024 bytes"),
    row(Verb::Delete, "DELETE", (1, 1)).flags(&["trash"]).login().writes().says("path [trash]", "delete a file"),
    row(Verb::Rename, "RENAME", (2, 2))
        .flags(&["replace"])
        .login()
        .writes()
        .says("from to [replace]", "move or rename"),
    row(Verb::Mkdir, "MKDIR", (1, 1))
        .also(&["SUBFOLDER CREATE"])
        .flags(&["parents"])
        .login()
        .writes()
        .adds()
        .says("path [parents]", "make a directory"),
    row(Verb::Rmdir, "RMDIR", (1, 1))
        .also(&["SUBFOLDER DELETE"])
        .flags(&["recursive", "trash"])
        .login()
        .writes()
        .says("path [recursive] [trash]", "remove a directory; SUBFOLDER DELETE is recursive"),
    row(Verb::Trash, "TRASH", (1, 2)).flags(&["replace"]).keys(&["to"]).login().writes().says(
        "list | restore id [to=path] [replace] | empty [id]",
        "see what lies in the trash, get it back, be rid of it",
    ),
    row(Verb::Digest, "DIGEST", (1, 1)).login().says("path", "read a file and tell its SHA-256"),
    row(Verb::Quota, "QUOTA", (0, 0)).login().adds().says("", "tell what is used and what is left"),
    row(Verb::Passwd, "PASSWD", (2, 2))
        .login()
        .secret()
        .says("verifier proof", "change your own password (dfos-client passwd does it)"),
    row(Verb::Ping, "PING", (0, 0)).says("", "ask for a sign of life"),
    row(Verb::Logout, "LOGOUT", (0, 0)).also(&["EXIT", "QUIT"]).says("", "say goodbye"),
    #[cfg(feature = "hostile")]
    row(Verb::Hostile, "HOSTILE", (1, 3)).says("attempt [argument] [argument]", "play a session that was taken over"),
];

const fn row(verb: Verb, name: &'static str, positional: (usize, usize)) -> Row {
    Row {
        verb,
        name,
        aliases: &[],
        positional,
        flags: &[],
        keys: &[],
        needs_login: false,
        writes: false,
        adds: false,
        secret: false,
        usage: "",
        help: "",
    }
}

impl Row {
    const fn also(mut self, aliases: &'static [&'static str]) -> Row {
        self.aliases = aliases;
        self
    }
    const fn flags(mut self, flags: &'static [&'static str]) -> Row {
        self.flags = flags;
        self
    }
    const fn keys(mut self, keys: &'static [&'static str]) -> Row {
        self.keys = keys;
        self
    }
    const fn login(mut self) -> Row {
        self.needs_login = true;
        self
    }
    const fn writes(mut self) -> Row {
        self.writes = true;
        self
    }
    const fn secret(mut self) -> Row {
        self.secret = true;
        self
    }
    const fn adds(mut self) -> Row {
        self.adds = true;
        self
    }
    const fn says(mut self, usage: &'static str, help: &'static str) -> Row {
        self.usage = usage;
        self.help = help;
        self
    }
}

impl Verb {
    /// The verb's row. Every verb has one; a test holds the order.
    pub fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

/// Finds the verb that a line begins with, in any case, under any of its names. Returns its row, the words that follow,
/// and whether it was called by the alias that implies `recursive`.
pub fn find(line: &str) -> Option<(&'static Row, &str, bool)> {
    for row in TABLE {
        for name in std::iter::once(&row.name).chain(row.aliases) {
            if let Some(rest) = after(line, name) {
                return Some((row, rest, *name == "SUBFOLDER DELETE"));
            }
        }
    }
    None
}

/// What follows `name` in `line`, without the space between them.
fn after<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let head = line.get(..name.len())?;
    let rest = &line[name.len()..];
    if !head.eq_ignore_ascii_case(name) {
        return None;
    }
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(' ') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_finds_its_own_row() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.verb as usize, at, "{}", row.name);
            for name in std::iter::once(&row.name).chain(row.aliases) {
                assert_eq!(find(name).unwrap().0.verb, row.verb);
                assert_eq!(find(&name.to_lowercase()).unwrap().0.verb, row.verb);
                assert!(find(&format!("{name}X")).is_none());
            }
        }
        assert!(find("DATA 5").is_none());
        assert!(find("SUBFOLDER").is_none());
        assert!(find("").is_none());
    }

    #[test]
    fn the_manual_has_every_verb() {
        let manual = include_str!("../../docs/PROTOCOL.md");
        for row in TABLE.iter().filter(|row| row.name != "HOSTILE") {
            let line = manual
                .lines()
                .find(|line| line.starts_with(&format!("| `{}` |", row.name)))
                .unwrap_or_else(|| panic!("{} is not in docs/PROTOCOL.md", row.name));
            for option in row.flags.iter().chain(row.keys) {
                assert!(line.contains(option), "{}: {option}", row.name);
            }
        }
    }
}
