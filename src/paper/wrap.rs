//! Lines that are no longer than a terminal is wide.

use crate::sys::window;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

/// `text`, fit for what stands behind `out`: wrapped at a terminal's width, as it is for all else.
pub fn fit(text: &str, out: BorrowedFd) -> String {
    window::size(out).map_or_else(|| text.to_owned(), |(columns, _)| wrap(text, columns))
}

/// Prints what a parser of command lines has to say: help and versions on standard output, complaints on standard error. With nobody
/// reading there is still the exit status.
pub fn tell(told: &clap::Error) {
    let text = told.render().to_string();
    let _ = match told.use_stderr() {
        true => io::stderr().write_all(fit(&text, io::stderr().as_fd()).as_bytes()),
        false => io::stdout().write_all(fit(&text, io::stdout().as_fd()).as_bytes()),
    };
}

/// `text` with its long lines broken at spaces. What follows is indented as the line is, so that columns of a help page stay what they are.
pub fn wrap(text: &str, columns: usize) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 16);
    for line in text.split_inclusive('\n') {
        wrap_line(line, columns, &mut out);
    }
    out
}

fn wrap_line(line: &str, columns: usize, out: &mut String) {
    let indent = line.len() - line.trim_start_matches(' ').len();
    let hang = explained_at(line, indent).filter(|at| *at <= columns / 2).unwrap_or(indent);
    // Too little room to break anything well.
    if line.trim_end().chars().count() <= columns || indent + 20 > columns {
        out.push_str(line);
        return;
    }
    let (spaces, text) = line.split_at(indent);
    let mut used = indent;
    out.push_str(spaces);
    for (n, word) in text.trim_end().split(' ').enumerate() {
        let length = word.chars().count();
        if n > 0 && used + 1 + length > columns {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', hang));
            used = hang;
        } else if n > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
    }
    out.push_str(&line[line.trim_end_matches('\n').len()..]);
}

/// Where the explanation begins in a line as `      --flag <X>  What it does`, or `  command  What it does`.
fn explained_at(line: &str, indent: usize) -> Option<usize> {
    let option = line.get(indent..)?;
    let gap = option.find("  ")?;
    let is_command = indent > 0 && !option.get(..gap)?.contains(' ');
    if !option.starts_with('-') && !is_command {
        return None;
    }
    let rest = option.get(gap..)?;
    Some(indent + gap + rest.len() - rest.trim_start_matches(' ').len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_at_spaces_and_keep_their_indent() {
        let text =
            "Short\n\n      -x  one two three four five six seven eight nine\n  a b c d e f g h i j k l m n o\nend";
        let wrapped = wrap(text, 28);
        let expected = "Short\n\n      -x  one two three four\n          five six seven\n          eight nine\n  a b c d e f g h i j k l m\n  n o\nend";
        assert_eq!(wrapped, expected);
        assert!(wrapped.lines().all(|line| line.chars().count() <= 28));
        assert_eq!(wrap("  put  one two three four five six\n", 28), "  put  one two three four\n       five six\n");
        assert_eq!(wrap(text, 200), text);
    }

    #[test]
    fn what_cannot_be_broken_stays() {
        let long = "x".repeat(50) + "\n";
        assert_eq!(wrap(&long, 40), long);
        assert_eq!(wrap(&format!("a {long}"), 40), format!("a\n{long}"));
        assert_eq!(wrap("      a b c d e f g h i j\n", 10), "      a b c d e f g h i j\n");
        assert_eq!(wrap("", 40), "");
    }
}
