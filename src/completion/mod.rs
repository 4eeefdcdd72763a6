//! Completions for bash, zsh and fish, of both programs. A script only hands the line up to the cursor to the program (`PROGRAM
//! complete LINE`), which knows its own command line best, and gives the shell what may stand there; quoting is left to the shell.
//!
//! The answer is lines of text: a word that says of what kind the rest is; the part of the word that readline keeps; then `TEXT` or
//! `TEXT<TAB>DESCRIPTION`, one a line.
#![forbid(unsafe_code)]

pub mod line;
pub mod slot;

use clap::ValueEnum;

/// A shell that there is a script for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash 4.4 and later.
    Bash,
    /// zsh 5 and later.
    Zsh,
    /// fish 3 and later.
    Fish,
}

impl Shell {
    /// The script for `program`.
    pub fn script(self, program: &str) -> String {
        let template = match self {
            Shell::Bash => include_str!("completion.bash"),
            Shell::Zsh => include_str!("completion.zsh"),
            Shell::Fish => include_str!("completion.fish"),
        };
        template.replace("PROGRAM", program).replace("FUNCTION", &program.replace('-', "_"))
    }
}

/// What may stand at the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Words, each with what it means.
    Words(Vec<(String, String)>),
    /// Names, of which those that end in `/` are not the end.
    Names(Vec<Vec<u8>>),
    /// Names of local files: the shell knows them better.
    Files,
    /// Names of local directories.
    Directories,
    /// Nothing that could be known.
    Nothing,
}

impl Answer {
    /// As the scripts read it. `kept` is what readline keeps of the word. What could not stand in a line, or would be shown as
    /// something else, is left out.
    pub fn print(&self, kept: &[u8]) -> Vec<u8> {
        let (kind, lines): (&str, Vec<Vec<u8>>) = match self {
            Answer::Files => ("files", Vec::new()),
            Answer::Directories => ("directories", Vec::new()),
            Answer::Nothing => ("nothing", Vec::new()),
            Answer::Words(words) => {
                ("words", words.iter().map(|(word, meaning)| format!("{word}\t{meaning}").into_bytes()).collect())
            }
            Answer::Names(names) => ("names", names.iter().filter(|name| can_be_shown(name)).cloned().collect()),
        };
        let mut text = Vec::new();
        for line in [kind.as_bytes(), kept].into_iter().chain(lines.iter().map(Vec::as_slice)) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        text
    }
}

/// Whether a shell can show and insert a name: it is text, and a terminal obeys no part of it.
fn can_be_shown(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|text| !text.chars().any(crate::proto::unseen::is_unsafe))
}

/// What a command line that is not the client's completes: no names on a server.
pub fn complete(command: &clap::Command, line: &line::Line) -> Answer {
    slot::answer(command, &slot::at_cursor(command, &line.words, &line.current), &line.current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_their_program() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = shell.script("dfos-client");
            assert!(script.contains("dfos-client complete"), "{script}");
            assert!(!script.contains("PROGRAM") && !script.contains("FUNCTION"), "{script}");
        }
    }

    #[test]
    fn a_name_that_a_terminal_would_obey_is_left_out() {
        let names = [
            &b"good name"[..],
            b"\x1b]0;title\x07",
            b"two\nlines",
            b"tab\tbed",
            b"\xff",
            "right\u{202e}left".as_bytes(),
        ];
        let answer = Answer::Names(names.iter().map(|name| name.to_vec()).collect());
        assert_eq!(answer.print(b"a:"), b"names\na:\ngood name\n");
    }
}
