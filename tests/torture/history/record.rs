//! What was asked and what was answered, and which steps explain an answer.

use super::super::common::tree::{noise, sha256};
use super::model::{Act, Code, NAMES, Name, Sight, Step};
use std::fmt;

/// A path by its names; empty for the top.
pub type Path = Vec<Name>;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Upload { new: bool },
    Download,
    Digest,
    Stat,
    Delete,
    Rename { replace: bool },
    Mkdir,
    Rmdir { recursive: bool },
    List { recursive: bool },
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub verb: Verb,
    pub path: Path,
    /// The new path of a RENAME.
    pub to: Path,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Done,
    Removed(u64),
    /// A file with the content of this upload.
    File(u32),
    Dir,
    /// Each path with the upload that it holds, or none for a directory.
    Listed(Vec<(Path, Option<u32>)>),
    Refused(Code),
}

/// A request with its answer and its times, in nanoseconds of one clock.
#[derive(Debug, Clone)]
pub struct Record {
    /// Requests of one line are carried out one after the other.
    pub line: usize,
    /// The upload, or the directory, that it makes.
    pub number: u32,
    pub request: Request,
    pub invoked: u64,
    /// `None` if nobody heard of an answer: it may have been done at any time since, or not at all.
    pub answered: Option<u64>,
    pub answer: Answer,
    /// An upload that may have been looked at before those were done that its session sent before it.
    pub is_early: bool,
}

/// All codes that the model can explain.
pub const CODES: [Code; 6] = ["not-found", "exists", "is-directory", "not-directory", "not-empty", "bad-path"];

/// What an upload brings: no other brings the same, and its beginning names it.
pub fn content(number: u32) -> Vec<u8> {
    let length = if number.is_multiple_of(61) { 150_000 } else { number.wrapping_mul(7919) % 6000 };
    let mut bytes = format!("{number}\n").into_bytes();
    bytes.extend(noise(u64::from(number), length as usize));
    bytes
}

/// The digest of that.
pub fn digest(number: u32) -> String {
    sha256(&content(number))
}

/// A path as it is sent.
pub fn spelled(path: &[Name]) -> String {
    match path {
        [] => ".".into(),
        names => names.iter().map(|name| NAMES[usize::from(*name)]).collect::<Vec<_>>().join("/"),
    }
}

/// A path as it was told; `None` for a name that nobody has given.
pub fn understood(path: &str) -> Option<Path> {
    let number = |name: &str| NAMES.iter().position(|known| *known == name).map(|at| at as Name);
    path.split('/').map(number).collect()
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let path = spelled(&self.path);
        let flag = |set: bool, word: &'static str| if set { word } else { "" };
        match self.verb {
            Verb::Upload { new } => write!(f, "UPLOAD {path}{}", flag(new, " new")),
            Verb::Download => write!(f, "DOWNLOAD {path}"),
            Verb::Digest => write!(f, "DIGEST {path}"),
            Verb::Stat => write!(f, "STAT {path}"),
            Verb::Delete => write!(f, "DELETE {path}"),
            Verb::Rename { replace } => write!(f, "RENAME {path} {}{}", spelled(&self.to), flag(replace, " replace")),
            Verb::Mkdir => write!(f, "MKDIR {path}"),
            Verb::Rmdir { recursive } => write!(f, "RMDIR {path}{}", flag(recursive, " recursive")),
            Verb::List { recursive } => write!(f, "LIST {path}{}", flag(recursive, " recursive")),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let held = |held: &Option<u32>| held.map_or("directory".into(), |number| format!("upload {number}"));
        match self {
            Answer::Done => write!(f, "OK"),
            Answer::Removed(count) => write!(f, "OK removed={count}"),
            Answer::File(number) => write!(f, "upload {number}"),
            Answer::Dir => write!(f, "a directory"),
            Answer::Listed(rows) => {
                let row = |(path, thing): &(Path, Option<u32>)| format!("{}: {}", spelled(path), held(thing));
                write!(f, "[{}]", rows.iter().map(row).collect::<Vec<_>>().join(", "))
            }
            Answer::Refused(code) => write!(f, "ERR {code}"),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        let until = self.answered.map_or("      never".into(), |at| format!("{:11.3}", ms(at)));
        write!(f, "{:11.3} to {until} ms  session {:2}  {}", ms(self.invoked), self.line, self.request)?;
        if matches!(self.request.verb, Verb::Upload { .. } | Verb::Mkdir) {
            write!(f, " (number {})", self.number)?;
        }
        write!(f, " -> {}", self.answer)
    }
}

/// Sequences of steps of which any one explains an answer.
pub type Ways = Vec<Vec<Step>>;

impl Record {
    /// What explains the answer: each of these parts by itself, within the time of the request. Nothing can explain an answer that has
    /// no ways.
    pub fn parts(&self) -> Vec<Ways> {
        let Request { verb, path, to } = &self.request;
        if let (Verb::List { recursive }, Answer::Listed(rows)) = (verb, &self.answer) {
            return listed(path, rows, *recursive);
        }
        let ways = match (verb, &self.answer) {
            (Verb::Rmdir { recursive: true }, answer) => emptied(path, answer),
            (Verb::List { .. }, Answer::Refused(code)) => refused(&[path], code, &[]),
            (Verb::Rename { .. }, Answer::Refused(code)) => refused(&[above(path), above(to)], code, &[self.act()]),
            (_, Answer::Refused(code)) => refused(&[above(path)], code, &[self.act()]),
            (Verb::Download | Verb::Digest | Verb::Stat, Answer::File(number)) => seen(path, Sight::File(*number)),
            (Verb::Stat, Answer::Dir) => seen(path, Sight::Dir),
            (Verb::Rename { .. }, Answer::Done) => {
                vec![[down(above(path)), vec![Step::Hold], down(above(to)), vec![Step::Do(self.act())]].concat()]
            }
            (Verb::Upload { .. } | Verb::Delete | Verb::Mkdir, Answer::Done)
            | (Verb::Rmdir { .. }, Answer::Removed(1)) => {
                vec![[down(above(path)), vec![Step::Do(self.act())]].concat()]
            }
            _ => Vec::new(),
        };
        vec![ways]
    }

    /// Whether those that its session sent before it are no reason for it to wait: a refusal of an upload, which may be decided when its
    /// line is read, or what was never answered.
    pub fn is_by_itself(&self) -> bool {
        self.answered.is_none() || (self.is_early && matches!(self.answer, Answer::Refused(_)))
    }

    /// Whether it was answered as done, and changes something.
    pub fn is_change(&self) -> bool {
        self.parts().iter().flatten().flatten().any(Step::is_change)
    }

    fn act(&self) -> Act {
        let Request { verb, path, to } = &self.request;
        let (name, number) = (last(path), self.number);
        match *verb {
            Verb::Upload { new } => Act::Put { name, version: number, new },
            Verb::Download | Verb::Digest => Act::Read { name },
            Verb::Stat | Verb::List { .. } => Act::Look { name },
            Verb::Delete => Act::Delete { name },
            Verb::Rename { replace } => Act::Rename { from: name, to: last(to), replace },
            Verb::Mkdir => Act::Make { name, dir: number },
            Verb::Rmdir { .. } => Act::Remove { name },
        }
    }
}

fn last(path: &[Name]) -> Name {
    path.last().copied().unwrap_or_default()
}

fn above(path: &[Name]) -> &[Name] {
    path.split_last().map_or(&[], |(_, above)| above)
}

fn down(path: &[Name]) -> Vec<Step> {
    path.iter().map(|name| Step::Enter(*name)).collect()
}

fn seen(path: &[Name], sight: Sight) -> Ways {
    vec![[down(above(path)), vec![Step::See(last(path), sight)]].concat()]
}

/// Refused on the way along one of the paths, or by the last step.
fn refused(paths: &[&[Name]], code: Code, acts: &[Act]) -> Ways {
    let mut ways = Vec::new();
    let mut so_far = Vec::new();
    for (count, path) in paths.iter().enumerate() {
        if count > 0 {
            so_far.push(Step::Hold);
        }
        for name in *path {
            ways.push([so_far.as_slice(), &[Step::Stuck(*name, code)]].concat());
            so_far.push(Step::Enter(*name));
        }
    }
    ways.extend(acts.iter().map(|act| [so_far.as_slice(), &[Step::Refuse(*act, code)]].concat()));
    ways
}

/// RMDIR recursive: finds the directory, empties it, then takes the name away. What stops it half way leaves what is left.
fn emptied(path: &[Name], answer: &Answer) -> Ways {
    let (name, act) = (last(path), Act::Remove { name: last(path) });
    let begun = [down(above(path)), vec![Step::Empty(name), Step::Clear]].concat();
    match answer {
        Answer::Removed(count) => vec![[begun, vec![Step::Removed(name, *count)]].concat()],
        Answer::Refused(code) => {
            let mut ways = refused(&[path], code, &[]);
            ways.push([begun.as_slice(), &[Step::Failed(act, code)]].concat());
            if *code == "not-empty" {
                ways.push([begun.as_slice(), &[Step::Refilled]].concat());
            }
            ways
        }
        _ => Vec::new(),
    }
}

/// LIST: what was told of one directory is one part; each directory below it is another, which may have gone if nothing was told of it.
fn listed(path: &[Name], rows: &[(Path, Option<u32>)], recursive: bool) -> Vec<Ways> {
    let mut parts = vec![vec![[down(path), vec![Step::List(sights(&[], rows))]].concat()]];
    for (below, _) in rows.iter().filter(|(_, held)| recursive && held.is_none()) {
        let whole = [path, below.as_slice()].concat();
        let inside = sights(below, rows);
        let mut ways = vec![[down(&whole), vec![Step::List(inside.clone())]].concat()];
        if inside.iter().all(|(_, sight)| *sight == Sight::Nothing) {
            ways.extend(seen(&whole, Sight::NoDir));
        }
        parts.push(ways);
    }
    parts
}

/// What was seen under every name of the directory `dir`.
fn sights(dir: &[Name], rows: &[(Path, Option<u32>)]) -> Vec<(Name, Sight)> {
    let sight = |name: Name| {
        let told = rows.iter().find(|(path, _)| above(path) == dir && last(path) == name);
        told.map_or(Sight::Nothing, |(_, held)| held.map_or(Sight::Dir, Sight::File))
    };
    (0..NAMES.len() as Name).map(|name| (name, sight(name))).collect()
}
