//! `--include` and `--exclude`: which names of a tree a command takes.
//!
//! Each name is asked about with the rules in the order in which they were given, and the first that fits decides; what no rule
//! fits is taken. A directory that is left out is not entered, so nothing below it can be taken.

use super::glob::{Way, alternatives};
use crate::proto::RemotePath;

/// One rule.
#[derive(Debug, Clone)]
struct Rule {
    take: bool,
    /// The pattern holds a slash: it is for the path below the directory that was named. Else it is for the name alone.
    whole: bool,
    only_directories: bool,
    /// Its pattern, and what its braces make of it.
    ways: Vec<Way>,
}

/// The rules of one command.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    rules: Vec<Rule>,
}

impl Filter {
    /// Adds a rule after the others: whether to take what fits `pattern`.
    pub fn add(&mut self, take: bool, pattern: &[u8]) {
        let (pattern, only_directories) = match pattern.strip_suffix(b"/") {
            Some(rest) => (rest, true),
            None => (pattern, false),
        };
        let ways = alternatives(pattern).iter().map(|pattern| Way::new(pattern)).collect();
        self.rules.push(Rule { take, whole: pattern.contains(&b'/'), only_directories, ways });
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether `path`, below the directory that was named, is taken, if all that leads to it is.
    pub fn takes(&self, path: &[&[u8]], is_directory: bool) -> bool {
        let Some(name) = path.last() else { return true }; // the directory itself
        let fits = |rule: &&Rule| {
            let asked = if rule.whole { path } else { std::slice::from_ref(name) };
            (is_directory || !rule.only_directories) && rule.ways.iter().any(|way| way.leads_to(asked))
        };
        self.rules.iter().find(fits).is_none_or(|rule| rule.take)
    }

    /// Whether `path` is taken with all that leads to it, as for what comes from a listing.
    pub fn reaches(&self, path: &RemotePath, is_directory: bool) -> bool {
        if self.is_empty() {
            return true;
        }
        let names: Vec<&[u8]> = path.components().collect();
        (1..=names.len()).all(|end| self.takes(names.get(..end).unwrap_or_default(), is_directory || end < names.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules as rsync writes them: `+ PATTERN` and `- PATTERN`.
    fn filter(rules: &[&str]) -> Filter {
        let mut filter = Filter::default();
        rules.iter().for_each(|rule| filter.add(rule.starts_with('+'), &rule.as_bytes()[2..]));
        filter
    }

    /// Which of these are taken; directories end with a slash.
    fn taken<'a>(rules: &[&str], names: &[&'a str]) -> Vec<&'a str> {
        let filter = filter(rules);
        let takes = |name: &&&str| filter.reaches(&name.trim_end_matches('/').parse().unwrap(), name.ends_with('/'));
        names.iter().filter(takes).copied().collect()
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let names = ["a.txt", "b.txt", "c.jpg"];
        assert_eq!(taken(&["+ a.*", "- *.txt"], &names), ["a.txt", "c.jpg"]);
        assert_eq!(taken(&["- *.txt", "+ a.*"], &names), ["c.jpg"]);
        assert_eq!(taken(&["+ *.txt", "- *"], &names), ["a.txt", "b.txt"]);
        assert_eq!(taken(&[], &names), names);
        assert_eq!(taken(&["- *.{txt,jpg}"], &names), [""; 0]);
    }

    #[test]
    fn a_pattern_without_a_slash_is_for_names_and_one_with_a_slash_for_the_way_from_the_top() {
        let names = ["x", "a/", "a/x", "a/b/", "a/b/x", ".x"];
        assert_eq!(taken(&["- x"], &names), ["a/", "a/b/", ".x"]);
        assert_eq!(taken(&["- /x"], &names), ["a/", "a/x", "a/b/", "a/b/x", ".x"]);
        assert_eq!(taken(&["- a/x"], &names), ["x", "a/", "a/b/", "a/b/x", ".x"]);
        assert_eq!(taken(&["- a/**/x"], &names), ["x", "a/", "a/b/", ".x"]);
        assert_eq!(taken(&["- *"], &names), [""; 0], "hidden names are names too");
    }

    #[test]
    fn nothing_is_taken_below_what_is_left_out() {
        let names = ["a/", "a/b/", "a/b/x", "b"];
        assert_eq!(taken(&["+ x", "- b"], &names), ["a/"]);
        assert_eq!(taken(&["- b/"], &names), ["a/", "b"], "a slash at the end: directories alone");
        assert_eq!(taken(&["+ */", "+ x", "- *"], &names), ["a/", "a/b/", "a/b/x"]);
    }
}
