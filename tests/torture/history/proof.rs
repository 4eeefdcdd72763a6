//! The checker is checked first: histories that are wrong, and histories that are right and look wrong.

use super::super::run::Account;
use super::checker::{History, Wrong};
use super::model::{TOP, Thing, Tree};
use super::record::{Answer, CODES, Path, Record, Request, Verb, understood};

/// A history as a person writes it: what lies there at the beginning, `SESSION FROM-UNTIL REQUEST -> ANSWER`, and what lies there at
/// the end (`?` where nobody looks). `#1` is the upload of that number.
struct Case {
    name: &'static str,
    begin: &'static str,
    records: &'static [&'static str],
    end: &'static str,
}

const fn case(name: &'static str, begin: &'static str, records: &'static [&'static str], end: &'static str) -> Case {
    Case { name, begin, records, end }
}

const WRONG: &[Case] = &[
    case("a stale read", "a=#1", &["0 10-20 UPLOAD a #2 -> OK", "1 21-30 DOWNLOAD a -> #1"], "?"),
    case("a lost update", "", &["0 10-20 UPLOAD a #1 -> OK", "1 21-30 UPLOAD a #2 -> OK"], "a=#1"),
    case("a lost upload", "", &["0 10-20 UPLOAD a #1 -> OK"], ""),
    case("a read of what was deleted before", "a=#1", &["0 10-20 DELETE a -> OK", "1 21-30 DOWNLOAD a -> #1"], "?"),
    case("a delete that comes later", "a=#1", &["0 10-20 DELETE a -> OK", "1 21-30 STAT a -> #1"], "?"),
    case(
        "the new content, then the old",
        "a=#1",
        &["0 10-90 UPLOAD a #2 -> OK", "1 20-30 DOWNLOAD a -> #2", "2 31-40 DIGEST a -> #1"],
        "?",
    ),
    case("a read of what nobody wrote there", "b=#1", &["0 10-20 DOWNLOAD a -> #1"], "?"),
    case(
        "a rename that leaves both names",
        "a=#1",
        &["0 10-20 RENAME a b -> OK", "1 21-30 STAT a -> #1", "1 31-40 STAT b -> #1"],
        "?",
    ),
    case(
        "a rename with neither name in between",
        "a=#1",
        &[
            "0 10-90 RENAME a b -> OK",
            "1 20-30 STAT b -> not-found",
            "1 31-40 STAT a -> not-found",
            "1 41-50 STAT b -> not-found",
        ],
        "b=#1",
    ),
    case(
        "a rename that replaces, with nothing there in between",
        "a=#1 b=#2",
        &["0 10-90 RENAME a b replace -> OK", "1 20-30 DOWNLOAD b -> not-found"],
        "b=#1",
    ),
    case(
        "an upload that replaces, with nothing there in between",
        "a=#1",
        &["0 10-90 UPLOAD a #2 -> OK", "1 20-30 DOWNLOAD a -> not-found"],
        "a=#2",
    ),
    case("two that were the only one", "", &["0 10-50 UPLOAD a #1 new -> OK", "1 20-60 UPLOAD a #2 new -> OK"], "?"),
    case("one file deleted twice", "a=#1", &["0 10-50 DELETE a -> OK", "1 20-60 DELETE a -> OK"], ""),
    case("one file renamed twice", "a=#1", &["0 10-50 RENAME a b -> OK", "1 20-60 RENAME a c -> OK"], "?"),
    case("taken by nothing", "", &["0 10-20 MKDIR a -> exists"], "?"),
    case("taken by a directory, and told of a file", "a=dir", &["0 10-20 UPLOAD a #1 new -> exists"], "?"),
    case("a directory that is there and was not found", "a=dir", &["0 10-20 RMDIR a recursive -> not-found"], "?"),
    case("an empty directory that was not empty", "a=dir", &["0 10-20 RMDIR a -> not-empty"], "?"),
    case("a full directory that was removed", "a=dir a/x=#1", &["0 10-20 RMDIR a -> removed=1"], "?"),
    case("a removal that counts too much", "a=dir a/x=#1", &["0 10-20 RMDIR a recursive -> removed=3"], ""),
    case(
        "a removal that leaves something",
        "a=dir a/x=#1",
        &["0 10-20 RMDIR a recursive -> removed=1"],
        "a=dir a/x=#1",
    ),
    case(
        "a listing without what was there all the time",
        "a=#1 b=#2",
        &["0 10-50 LIST . -> list a=#1", "1 20-30 UPLOAD c #3 -> OK"],
        "?",
    ),
    case(
        "a listing with what was deleted before",
        "a=#1",
        &["0 10-20 DELETE a -> OK", "1 21-30 LIST . recursive -> list a=#1"],
        "?",
    ),
    case(
        "requests of one session out of order",
        "",
        &["0 10-50 UPLOAD a #1 -> OK", "0 10-51 UPLOAD a #2 -> OK"],
        "a=#1",
    ),
    case(
        "an upload into what the path meant before",
        "a=dir",
        &["0 10-20 RENAME a b -> OK", "1 21-30 MKDIR a #9 -> OK", "2 31-40 UPLOAD a/x #1 -> OK"],
        "a=dir b=dir b/x=#1",
    ),
];

const RIGHT: &[Case] = &[
    case("nothing at all", "a=#1", &[], "a=#1"),
    case(
        "the new content before the upload was answered",
        "a=#1",
        &["0 10-90 UPLOAD a #2 -> OK", "1 20-30 DOWNLOAD a -> #1", "2 31-40 DIGEST a -> #2"],
        "a=#2",
    ),
    case(
        "two uploads in the order that their answers do not have",
        "",
        &["0 10-50 UPLOAD a #1 -> OK", "1 20-40 UPLOAD a #2 -> OK", "2 60-70 STAT a -> #1"],
        "a=#1",
    ),
    case(
        "readers that see three contents while all are written",
        "",
        &[
            "0 10-90 UPLOAD a #1 -> OK",
            "1 10-90 UPLOAD a #2 -> OK",
            "2 10-90 UPLOAD a #3 -> OK",
            "3 20-30 DOWNLOAD a -> #3",
            "3 31-40 DOWNLOAD a -> #1",
            "4 41-50 DOWNLOAD a -> #2",
        ],
        "a=#2",
    ),
    case(
        "deleted and there again",
        "a=#1",
        &["0 10-90 DELETE a -> OK", "1 10-90 UPLOAD a #2 new -> OK", "2 20-30 STAT a -> not-found"],
        "a=#2",
    ),
    case(
        "a download that began before the delete was answered",
        "a=#1",
        &["0 10-40 DELETE a -> OK", "1 30-90 DOWNLOAD a -> #1"],
        "",
    ),
    case("a read that was answered long after", "a=#1", &["0 10-90 DOWNLOAD a -> #1", "1 20-30 DELETE a -> OK"], ""),
    case(
        "one file through three names",
        "a=#1",
        &[
            "0 10-90 RENAME a b -> OK",
            "1 10-90 RENAME b c -> OK",
            "2 10-90 RENAME c a -> OK",
            "3 20-30 STAT c -> #1",
            "3 31-40 STAT b -> not-found",
        ],
        "a=#1",
    ),
    case(
        "neither name in two looks",
        "a=#1",
        &["0 10-90 RENAME a b -> OK", "1 20-30 STAT b -> not-found", "1 31-40 STAT a -> not-found"],
        "b=#1",
    ),
    case(
        "an upload into a directory that has another name by then",
        "a=dir",
        &["0 10-90 UPLOAD a/x #1 -> OK", "1 20-30 RENAME a b -> OK", "2 31-40 MKDIR a #9 -> OK"],
        "a=dir b=dir b/x=#1",
    ),
    case(
        "an upload into a directory that was removed meanwhile, and made again",
        "a=dir",
        &["0 10-90 UPLOAD a/x #1 -> not-found", "1 20-30 RMDIR a -> removed=1", "2 31-40 MKDIR a #9 -> OK"],
        "a=dir",
    ),
    case(
        "a listing that misses what was renamed while it looked",
        "a=#1",
        &["0 10-90 LIST . -> list", "1 20-30 RENAME a b -> OK"],
        "b=#1",
    ),
    case(
        "a listing of a directory that went while it looked",
        "a=dir a/x=#1",
        &["0 10-90 LIST . recursive -> list a=dir", "1 20-30 RMDIR a recursive -> removed=2"],
        "",
    ),
    case(
        "a removal that meets another",
        "a=dir a/x=#1 a/y=#2",
        &[
            "0 10-90 RMDIR a recursive -> removed=2",
            "1 20-60 RMDIR a recursive -> not-found",
            "2 70-80 STAT a -> not-found",
        ],
        "",
    ),
    case(
        "a removal that fails half way",
        "a=dir a/x=#1",
        &["0 10-90 RMDIR a recursive -> not-empty", "1 20-30 UPLOAD a/y #2 -> OK"],
        "a=dir a/y=#2",
    ),
    case(
        "a removal that goes on in a directory that has another name by then",
        "a=dir a/x=#1",
        &["0 10-90 RMDIR a recursive -> not-found", "1 20-30 RENAME a b -> OK", "2 31-40 STAT b/x -> #1"],
        "b=dir",
    ),
    case(
        "requests of one session, answered together",
        "",
        &[
            "0 10-50 MKDIR a #9 -> OK",
            "0 10-50 UPLOAD a/x #1 -> OK",
            "0 10-50 DELETE a/x -> OK",
            "0 10-50 RMDIR a -> removed=1",
        ],
        "",
    ),
    case(
        "into itself, but only for a moment",
        "a=dir b=dir",
        &["0 10-90 RENAME a b/x -> bad-path", "1 20-40 RENAME b a/x -> OK", "1 41-50 RENAME a/x b -> OK"],
        "a=dir b=dir",
    ),
    case("a name onto itself", "a=#1", &["0 10-20 RENAME a a replace -> OK", "0 21-30 RENAME a a -> exists"], "a=#1"),
];

/// Whether the checker tells them apart, and finds the small piece in a large history.
pub fn checker_tells_right_from_wrong(account: &mut Account) -> bool {
    for case in WRONG {
        if history(case).check().is_ok() {
            account.lost(format!("the checker takes this for right: {}", case.name));
        }
    }
    for case in RIGHT {
        let history = history(case);
        if let Err(wrong) = history.check() {
            account.lost(format!("the checker takes this for wrong: {}: {}", case.name, history.piece(&wrong)));
        }
    }
    if let Err(why) = finds_the_piece() {
        account.lost(why);
    }
    account.count("histories judged beforehand", (WRONG.len() + RIGHT.len()) as u64);
    account.losses().is_empty()
}

/// Two records of a long history are enough to see what is wrong in it.
fn finds_the_piece() -> Result<(), String> {
    let mut records = vec!["0 10-20 UPLOAD a #1 -> OK".to_owned()];
    for n in 0..40 {
        let (at, name) = (30 + n * 10, ["b", "c"][n % 2]);
        records.push(format!("{} {at}-{} UPLOAD {name} #{} -> OK", 1 + n % 3, at + 9, n + 10));
        records.push(format!("{} {at}-{} STAT a -> #1", 4 + n % 3, at + 9));
    }
    records.push("7 500-510 DOWNLOAD a -> not-found".into());
    records.push("8 600-610 STAT c -> #49".into());
    let history =
        History { begin: Tree::default(), records: records.iter().map(|text| record(text)).collect(), end: None };
    let Err(wrong @ Wrong::Answer(_)) = history.check() else { return Err("the checker finds nothing wrong".into()) };
    let piece = history.piece(&wrong);
    let is_small = piece.lines().count() <= 5 && piece.contains("UPLOAD a") && piece.contains("DOWNLOAD a");
    if is_small { Ok(()) } else { Err(format!("this is no small piece: {piece}")) }
}

fn history(case: &Case) -> History {
    let end = (case.end != "?").then(|| tree(case.end));
    History { begin: tree(case.begin), records: case.records.iter().map(|text| record(text)).collect(), end }
}

/// `a=#1 b=dir b/x=#2`: directories before what lies in them.
fn tree(text: &str) -> Tree {
    let mut tree = Tree::default();
    let mut dirs: Vec<(Path, u32)> = vec![(Vec::new(), TOP)];
    for (at, (path, held)) in rows(text).into_iter().enumerate() {
        let (name, above) = path.split_last().unwrap();
        let dir = dirs.iter().find(|(known, _)| known == above).unwrap().1;
        let below = 1000 + at as u32;
        tree.set(dir, *name, Some(held.map_or(Thing::Dir(below), Thing::File)));
        dirs.push((path, below));
    }
    tree
}

fn rows(text: &str) -> Vec<(Path, Option<u32>)> {
    let row = |word: &str| {
        let (path, held) = word.split_once('=').unwrap();
        (understood(path).unwrap(), held.strip_prefix('#').map(|number| number.parse().unwrap()))
    };
    text.split_whitespace().map(row).collect()
}

fn record(text: &str) -> Record {
    let (asked, answer) = text.split_once(" -> ").unwrap();
    let words: Vec<&str> = asked.split(' ').collect();
    let [line, times, verb, rest @ ..] = &words[..] else { panic!("{text}") };
    let (from, until) = times.split_once('-').unwrap();
    let has = |word: &str| rest.contains(&word);
    let paths: Vec<Path> =
        rest.iter().map_while(|word| if *word == "." { Some(Vec::new()) } else { understood(word) }).collect();
    let number = rest.iter().find_map(|word| word.strip_prefix('#')).map_or(0, |number| number.parse().unwrap());
    let verb = match *verb {
        "UPLOAD" => Verb::Upload { new: has("new") },
        "DOWNLOAD" => Verb::Download,
        "DIGEST" => Verb::Digest,
        "STAT" => Verb::Stat,
        "DELETE" => Verb::Delete,
        "RENAME" => Verb::Rename { replace: has("replace") },
        "MKDIR" => Verb::Mkdir,
        "RMDIR" => Verb::Rmdir { recursive: has("recursive") },
        "LIST" => Verb::List { recursive: has("recursive") },
        other => panic!("{other}"),
    };
    let to = paths.get(1).cloned().unwrap_or_default();
    Record {
        line: line.parse().unwrap(),
        number,
        request: Request { verb, path: paths[0].clone(), to },
        invoked: from.parse().unwrap(),
        answered: Some(until.parse().unwrap()),
        answer: answered(answer),
        is_early: false,
    }
}

fn answered(text: &str) -> Answer {
    match text.split_once(['=', ' ']) {
        _ if text == "OK" => Answer::Done,
        _ if text == "dir" => Answer::Dir,
        _ if text.starts_with('#') => Answer::File(text[1..].parse().unwrap()),
        _ if text.starts_with("list") => Answer::Listed(rows(&text[4..])),
        Some(("removed", count)) => Answer::Removed(count.parse().unwrap()),
        _ => Answer::Refused(CODES.into_iter().find(|code| *code == text).unwrap()),
    }
}
