//! What the tabulator key completes: commands, options, local names, remote names.

use super::words::{self, Scan};
use crate::client::cli;
use crate::client::display::escape::escape;
use crate::client::glob::Name;

/// One way to complete a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the user is shown.
    pub shown: String,
    /// What takes the word's place.
    pub text: String,
}

/// What the word at the cursor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Command,
    Subfolder,
    Trash,
    Option,
    Local,
    Remote,
    RemoteDirectory,
    LocalDirectory,
    Nothing,
}

/// Completes `line`, which ends at the cursor: where the word begins that is to be replaced, and what may stand there.
/// `local` and `remote` tell the names in a directory (`""` for where one stands).
pub fn complete(
    line: &str,
    local: impl FnOnce(&[u8]) -> Vec<Name>,
    remote: impl FnOnce(&[u8]) -> Vec<Name>,
) -> (usize, Vec<Choice>) {
    let scan = words::scan(line.as_bytes());
    let (before, start, text) = at_cursor(&scan, line.len());
    let cut = text.iter().rposition(|&b| b == b'/').map_or(0, |slash| slash + 1);
    let (directory, prefix) = text.split_at(cut);
    let choices = match kind(&before, &text) {
        Kind::Nothing => Vec::new(),
        Kind::Command => plain(&text, command_names()),
        Kind::Subfolder => plain(&text, vec!["create".into(), "delete".into()]),
        Kind::Trash => plain(&text, vec!["empty".into(), "list".into(), "restore".into()]),
        Kind::Option => plain(&text, options_of(&before)),
        Kind::Local => names(directory, prefix, local(directory), false),
        Kind::LocalDirectory => names(directory, prefix, local(directory), true),
        Kind::Remote => names(directory, prefix, remote(directory), false),
        Kind::RemoteDirectory => names(directory, prefix, remote(directory), true),
    };
    (start, choices)
}

/// The words before the one at the cursor, where that one begins, and what it holds so far.
fn at_cursor(scan: &Scan, end: usize) -> (Vec<Vec<u8>>, usize, Vec<u8>) {
    let mut before: Vec<Vec<u8>> = scan.words.iter().map(|word| word.text()).collect();
    match scan.words.last() {
        Some(word) if scan.open => (before.drain(..before.len() - 1).collect(), word.start, word.text()),
        _ => (before, end, Vec::new()),
    }
}

fn kind(before: &[Vec<u8>], text: &[u8]) -> Kind {
    let Some(first) = before.first() else { return Kind::Command };
    let last = before.last().map(Vec::as_slice).unwrap_or_default();
    let command = cli::line_command();
    let name = command.find_subcommand(String::from_utf8_lossy(first).as_ref()).map(|found| found.get_name());
    let options_ended = before.iter().any(|word| word == b"--");
    match (name, last) {
        (Some("put" | "trash"), b"--to") => Kind::Remote,
        (Some("get"), b"--to") => Kind::Local,
        (Some("get"), b"--dir") => Kind::LocalDirectory,
        (Some("put" | "get"), b"-j" | b"--jobs") => Kind::Nothing,
        (Some(_), _) if text.starts_with(b"-") && !options_ended => Kind::Option,
        (Some("help"), _) => Kind::Command,
        (Some("put" | "lls"), _) => Kind::Local,
        (Some("lcd"), _) => Kind::LocalDirectory,
        (Some("cd" | "rmdir" | "mkdir"), _) => Kind::RemoteDirectory,
        (Some("subfolder"), _) if before.len() == 1 => Kind::Subfolder,
        (Some("subfolder"), _) => Kind::RemoteDirectory,
        (Some("trash"), _) if before.len() == 1 => Kind::Trash,
        (Some("get" | "view" | "ls" | "rm" | "mv" | "stat" | "digest"), _) => Kind::Remote,
        _ => Kind::Nothing,
    }
}

fn command_names() -> Vec<String> {
    let command = cli::line_command();
    let all = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    all.flat_map(|sub| {
        std::iter::once(sub.get_name()).chain(sub.get_visible_aliases()).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

fn options_of(before: &[Vec<u8>]) -> Vec<String> {
    let command = cli::line_command();
    let first = before.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    let Some(sub) = command.find_subcommand(first) else { return Vec::new() };
    let second = before.get(1).map(|word| String::from_utf8_lossy(word).into_owned());
    let sub = second.and_then(|word| sub.find_subcommand(word)).unwrap_or(sub);
    sub.get_arguments().filter_map(|argument| argument.get_long()).map(|long| format!("--{long}")).collect()
}

fn plain(prefix: &[u8], mut words: Vec<String>) -> Vec<Choice> {
    words.retain(|word| word.as_bytes().starts_with(prefix));
    words.sort();
    words.into_iter().map(|word| Choice { text: format!("{word} "), shown: word }).collect()
}

/// The names that begin with `prefix`, written so that the line reads them back. A directory stays open for more.
fn names(directory: &[u8], prefix: &[u8], mut names: Vec<Name>, directories_only: bool) -> Vec<Choice> {
    let hidden = |name: &[u8]| name.starts_with(b".") && !prefix.starts_with(b".");
    names.retain(|(name, is_dir)| name.starts_with(prefix) && !hidden(name) && (*is_dir || !directories_only));
    names.sort();
    let choice = |(name, is_dir): (Vec<u8>, bool)| {
        let whole = [directory, &name, if is_dir { &b"/"[..] } else { b"" }].concat();
        // A name like an option is named from where one stands.
        let safe = if whole.starts_with(b"-") { [b"./", whole.as_slice()].concat() } else { whole };
        let text = words::quote(&safe) + if is_dir { "" } else { " " };
        Choice { shown: escape(&name) + if is_dir { "/" } else { "" }, text }
    };
    names.into_iter().map(choice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> (usize, Vec<String>) {
        let local = |directory: &[u8]| match directory {
            b"" => vec![(b"local file".to_vec(), false), (b"locals".to_vec(), true), (b".hidden".to_vec(), false)],
            _ => vec![],
        };
        let remote = |directory: &[u8]| match directory {
            b"" => vec![(b"my dir".to_vec(), true), (b"notes.txt".to_vec(), false), (b"-r".to_vec(), false)],
            b"my dir/" => vec![(b"a\"\n\xff".to_vec(), false)],
            _ => vec![],
        };
        let (start, choices) = complete(line, local, remote);
        (start, choices.into_iter().map(|choice| choice.text).collect())
    }

    #[test]
    fn commands_options_and_names_complete() {
        assert_eq!(texts("pu"), (0, vec!["put ".into()]));
        assert!(texts("").1.contains(&"download ".into()));
        assert_eq!(texts("ls --l"), (3, vec!["--long ".into()]));
        assert_eq!(texts("put lo"), (4, vec![r"local\ file ".into(), "locals/".into()]));
        assert_eq!(texts("put .h"), (4, vec![".hidden ".into()]));
        assert_eq!(texts("put x --to n"), (11, vec!["notes.txt ".into()]));
        assert_eq!(texts("get no"), (4, vec!["notes.txt ".into()]));
        assert_eq!(texts("get a --to l").1.len(), 2);
        assert_eq!(texts("cd "), (3, vec![r"my\ dir/".into()]), "no files");
        assert_eq!(texts("lcd ").1, ["locals/"]);
        assert_eq!(texts("subfolder c").1, ["create "]);
        assert_eq!(texts("trash ").1, ["empty ", "list ", "restore "]);
        assert_eq!(texts("trash restore x --t").1, ["--to "]);
        assert_eq!(texts("trash restore x --to n").1, ["notes.txt "]);
        assert_eq!(texts("help me").1, [""; 0]);
        assert_eq!(texts("nonsense x").1, [""; 0]);
    }

    #[test]
    fn what_is_completed_reads_back_as_the_name() {
        for line in ["get \"my dir/", r"get my\ dir/", "get 'my dir/"] {
            let (start, choices) = texts(line);
            let full = format!("{}{}", &line[..start], choices[0]);
            assert_eq!(words::scan(full.as_bytes()).words[1].text(), b"my dir/a\"\n\xff", "{line}");
        }
        assert_eq!(texts("rm -- -").1, ["./-r "]);
    }
}
