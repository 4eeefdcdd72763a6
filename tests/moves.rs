//! What a person asks of the client besides moving files: to show first what it would do, to leave some alone, to go slowly, to take
//! its names from a list and its commands from a file. The true client against the true server.

mod common;

use common::{Server, give};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// What a run of the client printed, and how it ended.
struct Ran {
    status: i32,
    out: String,
    err: String,
}

struct Bench {
    server: Server,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let bench = Bench { server: Server::start(&[]), dir: tempfile::tempdir().unwrap() };
        assert_eq!(bench.run(&["ls"]).status, 0); // makes alice's directory
        bench
    }

    /// Where alice's files lie.
    fn there(&self, name: &str) -> PathBuf {
        self.server.home().join("storage/alice").join(name)
    }

    fn here(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.run_with(words, b"")
    }

    /// Runs the client in the local directory, fed with `input`.
    fn run_with(&self, words: &[&str], input: &[u8]) -> Ran {
        let mut client = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
        client.arg("--server").arg(format!("tcp://{}", self.server.address())).args(words).current_dir(self.dir.path());
        client.env("DFOS_USER", "alice").env("DFOS_PASSWORD", "secret").env("HOME", self.dir.path());
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input); // who does not read has enough
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { status: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn ok(&self, words: &[&str]) -> Ran {
        let ran = self.run(words);
        assert_eq!(ran.status, 0, "{words:?}: {}", ran.err);
        ran
    }
}

/// Everything below a directory: content and time of files, `None` for directories.
fn snapshot(top: &Path) -> BTreeMap<String, Option<(Vec<u8>, SystemTime)>> {
    let mut found = BTreeMap::new();
    let mut open = vec![top.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            if kind.is_dir() {
                found.insert(name, None);
                open.push(path);
            } else if kind.is_file() {
                found.insert(name, Some((fs::read(&path).unwrap(), entry.metadata().unwrap().modified().unwrap())));
            }
        }
    }
    found
}

/// Random numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len() as u64) as usize]
    }
}

const NAMES: &[&str] = &["a", "b.txt", "c.o", ".h", "d e", "x", "y.txt"];
const GLOBS: &[&str] =
    &["*.txt", "*.o", "a", "x/", "x/a", "**/c.o", "/b.txt", "*/", "*", "{a,b}*", ".*", "x/**/y.txt", "d e", "?"];

/// Grows a tree of few names, so that two trees have many in common.
fn grow(dice: &mut Dice, top: &Path, depth: u32) {
    fs::create_dir_all(top).unwrap();
    for _ in 0..2 + dice.roll(6) {
        let path = top.join(dice.one(NAMES));
        if fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match dice.roll(8) {
            0..3 if depth > 0 => grow(dice, &path, depth - 1),
            3 => symlink("nowhere", &path).unwrap(),
            _ => {
                fs::write(&path, vec![b'x'; dice.roll(3000) as usize]).unwrap();
                let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_000 + 500 * dice.roll(3));
                fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            }
        }
    }
}

/// The steps that a run has told, in their order.
fn steps(text: &str) -> Vec<String> {
    let verbs = ["put ", "get ", "mkdir ", "delete ", "rmdir ", "skip "];
    let lines = text.lines().map(|line| line.strip_prefix("dfos-client: ").unwrap_or(line));
    lines.filter(|line| verbs.iter().any(|verb| line.starts_with(verb))).map(str::to_owned).collect()
}

#[test]
fn a_dry_run_lists_what_the_run_then_does_and_changes_nothing() {
    let bench = Bench::new();
    let mut told = BTreeMap::<String, usize>::new();
    for seed in 1..=200 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
        let (local, remote) = (bench.here("tree"), bench.there("tree"));
        for top in [&local, &remote] {
            let _ = fs::remove_dir_all(top);
            grow(&mut dice, top, 2);
        }
        give(&remote);
        let mut words = match dice.roll(5) {
            0 | 1 => vec!["put", "-r", "tree"],
            2 | 3 => vec!["get", "-r", "tree"],
            _ => vec!["rm", "-r", "--yes", "tree"],
        };
        for _ in 0..dice.roll(4) {
            words.extend([dice.one(&["--include", "--exclude", "--exclude"]), dice.one(GLOBS)]);
        }
        if words[0] != "rm" {
            words.extend(match dice.roll(3) {
                0 => vec![],
                1 => vec!["--no-clobber"],
                _ => vec!["--newer"],
            });
            if dice.roll(4) == 0 {
                words.extend(["--to", dice.one(&["new", "new/", "tree"])]);
            }
        }
        let before = (snapshot(&local), snapshot(&remote));
        let dry = bench.run(&[&words[..], &["-n"]].concat());
        assert!((snapshot(&local), snapshot(&remote)) == before, "{seed}: {words:?} changed something");
        assert!(!bench.here("new").exists() && !bench.there("new").exists(), "{seed}: {words:?} made something");
        let real = bench.run(&[&words[..], &["-v"]].concat());
        let (would, did) = (steps(&dry.out), steps(&real.err));
        assert_eq!(would, did, "{seed}: {words:?}: {} {}", dry.err, real.err);
        did.iter().for_each(|step| *told.entry(step.split(' ').next().unwrap().to_owned()).or_default() += 1);
        if real.status == 0 {
            assert_eq!(dry.status, 0, "{seed}: {words:?}: {}", dry.err);
        }
        for step in did.iter().filter(|step| step.starts_with("delete ") || step.starts_with("rmdir ")) {
            let name = step.split_once(' ').unwrap().1;
            assert!(fs::symlink_metadata(bench.there(name)).is_err(), "{seed}: {step}");
        }
        for step in did.iter().filter(|_| real.status == 0) {
            let Some((from, to)) = step.get(4..).and_then(|rest| rest.split_once(" -> ")) else { continue };
            let (from, to) = match step.starts_with("put ") {
                true => (bench.here(from), bench.there(to)),
                false => (bench.there(from), bench.here(to)),
            };
            assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap(), "{seed}: {step}");
        }
        let _ = fs::remove_dir_all(bench.here("new"));
        let _ = fs::remove_dir_all(bench.there("new"));
    }
    for verb in ["put", "get", "mkdir", "delete", "rmdir", "skip"] {
        assert!(told.get(verb).is_some_and(|times| *times > 20), "{verb}: {told:?}");
    }
}

#[test]
fn a_dry_run_tells_objects_and_totals() {
    let bench = Bench::new();
    fs::write(bench.here("f"), "hello").unwrap();
    let ran = bench.ok(&["put", "f", "--to", "d/", "-n", "--json"]);
    let first: Vec<&str> = ran.out.lines().take(2).collect();
    assert!(first[0].contains(r#""event":"mkdir","path":"d","dry_run":true"#), "{}", ran.out);
    assert!(first[1].contains(r#""event":"put","path":"f","to":"d/f","dry_run":true,"bytes":5"#), "{}", ran.out);
    let ran = bench.ok(&["put", "f", "-n"]);
    assert_eq!(ran.out, "put f -> f\n");
    assert!(ran.err.contains("1 file (5 B), 0 directories: a dry run, nothing was changed"), "{}", ran.err);
    assert!(!bench.there("f").exists() && !bench.there("d").exists());
    assert_eq!(bench.run(&["get", "missing", "-n"]).status, 7, "what fails then fails now");
}

#[test]
fn what_is_there_stays_where_that_is_asked_for() {
    let bench = Bench::new();
    for (name, content) in [("old", "here"), ("new", "here")] {
        fs::write(bench.here(name), content).unwrap();
    }
    fs::write(bench.there("old"), "there").unwrap();
    give(&bench.there("old"));
    let ran = bench.ok(&["put", "old", "new", "--no-clobber", "-v"]);
    assert_eq!(steps(&ran.err), ["skip old: the name is taken", "put new -> new"]);
    assert_eq!(fs::read(bench.there("old")).unwrap(), b"there");
    assert_eq!(fs::read(bench.there("new")).unwrap(), b"here");
    let ran = bench.ok(&["get", "old", "--no-clobber", "--json"]);
    assert!(ran.out.contains(r#""skipped":1"#), "{}", ran.out);
    assert_eq!(fs::read(bench.here("old")).unwrap(), b"here");
    assert_eq!(bench.run_with(&["put", "-", "old", "--no-clobber"], b"piped").status, 0);
    assert_eq!(fs::read(bench.there("old")).unwrap(), b"there", "standard input as well");
    // Newer: only what changed here after the one there.
    let at = |path: &Path, seconds: u64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    };
    at(&bench.here("old"), 1000);
    at(&bench.there("old"), 2000);
    bench.ok(&["put", "old", "-u"]);
    assert_eq!(fs::read(bench.there("old")).unwrap(), b"there");
    at(&bench.here("old"), 3000);
    bench.ok(&["put", "old", "-u"]);
    assert_eq!(fs::read(bench.there("old")).unwrap(), b"here");
    let ran = bench.ok(&["put", "old", "-u", "-v"]);
    assert_eq!(steps(&ran.err), ["skip old: the one there is not older"], "what was put is not newer than itself");
    let ran = bench.ok(&["get", "old", "-u", "-v"]);
    assert_eq!(steps(&ran.err), ["skip old: the one there is not older"]);
}

#[test]
fn names_come_from_a_list_and_keep_their_directories() {
    let bench = Bench::new();
    for name in ["a/b/c", "a/d", "e", "a/star*"] {
        fs::create_dir_all(bench.here(name).parent().unwrap()).unwrap();
        fs::write(bench.here(name), name).unwrap();
    }
    fs::write(bench.here("list"), "a/b/c\na/star*\n\n./e\ne\n").unwrap();
    bench.ok(&["put", "--files-from", "list", "--to", "up"]);
    let there: Vec<String> = snapshot(&bench.there("up")).into_keys().collect();
    assert_eq!(there, ["a", "a/b", "a/b/c", "a/star*", "e"]);
    fs::create_dir(bench.here("back")).unwrap();
    let ran = bench.run_with(&["get", "--files-from", "-", "-0", "--dir", "back"], b"up/a/b/c\0up/a/star*\0up/e\0");
    assert_eq!(ran.status, 0, "{}", ran.err);
    let here: Vec<String> = snapshot(&bench.here("back")).into_keys().collect();
    assert_eq!(here, ["up", "up/a", "up/a/b", "up/a/b/c", "up/a/star*", "up/e"]);
    let ran = bench.run_with(&["rm", "--files-from", "-"], b"up/a/star*\nup/e\n");
    assert_eq!(ran.status, 0, "{}", ran.err);
    let there: Vec<String> = snapshot(&bench.there("up")).into_keys().collect();
    assert_eq!(there, ["a", "a/b", "a/b/c"]);
    assert_eq!(bench.run_with(&["put", "--files-from", "-"], b"").status, 0, "an empty list is done");
    assert_eq!(bench.run_with(&["put", "--files-from", "-"], b"a\n").status, 2, "a directory needs -r");
    assert_eq!(bench.run(&["put", "--files-from", "nowhere"]).status, 10);
    assert_eq!(bench.run(&["put", "e", "--files-from", "list"]).status, 2);
    assert_eq!(bench.run(&["put", "e", "-0"]).status, 2, "there is no list");
}

#[test]
fn a_list_leads_nowhere_but_below() {
    let bench = Bench::new();
    fs::write(bench.here("f"), "x").unwrap();
    fs::create_dir(bench.here("in")).unwrap();
    bench.ok(&["put", "f"]);
    for name in ["../f", "/etc/hostname", "in/../f", "/f"] {
        let list = format!("{name}\n");
        for command in [vec!["put"], vec!["get", "--dir", "in"], vec!["rm"]] {
            let ran = bench.run_with(&[&command[..], &["--files-from", "-"]].concat(), list.as_bytes());
            assert_eq!(ran.status, 2, "{command:?} {name}: {}", ran.err);
        }
    }
    assert!(bench.there("f").exists());
    assert_eq!(snapshot(&bench.here("in")).len(), 0);
    let ran = bench.run_with(&["put", "--files-from", "-", "--to", "d"], b"../x\nf\n");
    assert_eq!(ran.status, 14, "the others are moved: {}", ran.err);
    assert!(bench.there("d/f").exists());
}

#[test]
fn filters_choose_what_a_listing_and_a_removal_take() {
    let bench = Bench::new();
    for name in ["t/keep/a.txt", "t/keep/b.o", "t/gone/c.o", "t/d.o"] {
        fs::create_dir_all(bench.here(name).parent().unwrap()).unwrap();
        fs::write(bench.here(name), name).unwrap();
    }
    bench.ok(&["put", "-r", "t"]);
    let mut listed: Vec<String> =
        bench.ok(&["ls", "-R", "t", "--exclude", "*.o"]).out.lines().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(listed, ["gone", "keep", "keep/a.txt"]);
    bench.ok(&["rm", "-r", "--yes", "t", "--exclude", "*.txt"]);
    let there: Vec<String> = snapshot(&bench.there("t")).into_keys().collect();
    assert_eq!(there, ["keep", "keep/a.txt"], "a directory in which something stays, stays");
    bench.ok(&["rm", "-r", "--yes", "t", "--exclude", "t"]);
    assert!(bench.there("t").exists(), "a name that is left out stays though it was named");
}

#[test]
fn what_is_deleted_with_all_that_is_in_it_is_agreed_to_first() {
    let bench = Bench::new();
    fs::create_dir(bench.here("d")).unwrap();
    bench.ok(&["put", "-r", "d"]);
    for words in [vec!["rm", "-r", "d"], vec!["subfolder", "delete", "d"]] {
        let ran = bench.run(&words);
        assert_eq!(ran.status, 2, "{}", ran.err);
        assert!(ran.err.contains("say --yes"), "{}", ran.err);
        assert_eq!(bench.run_with(&["shell"], words.join(" ").as_bytes()).status, 2, "in the shell too");
    }
    assert!(bench.there("d").exists());
    bench.ok(&["rm", "-r", "-n", "d"]);
    bench.ok(&["rm", "-r", "--yes", "d"]);
    assert!(!bench.there("d").exists());
}

#[test]
fn a_batch_ends_at_the_first_line_that_fails() {
    let bench = Bench::new();
    let batch = |text: &str, words: &[&str]| {
        fs::write(bench.here("batch"), text).unwrap();
        bench.run(&[&["-b", "batch"], words].concat())
    };
    let ran = batch("# a comment\n\n  mkdir one\n-rm missing\n-@rm missing\n@ - rm missing\nmkdir two\n", &[]);
    assert_eq!((ran.status, ran.out.as_str()), (0, ""), "{}", ran.err);
    assert!(bench.there("one").exists() && bench.there("two").exists());
    let ran = batch("mkdir three\nrm missing\nmkdir four\n", &[]);
    assert_eq!(ran.status, 7);
    assert!(ran.err.contains("stopped at line 2 of batch"), "{}", ran.err);
    assert!(bench.there("three").exists() && !bench.there("four").exists());
    let ran = batch("pwd\n@lpwd\n", &["-v"]);
    assert!(ran.err.contains("> pwd\n") && !ran.err.contains("> lpwd"), "{}", ran.err);
    assert_eq!(batch("rm -r one\n", &[]).status, 2, "nobody is asked");
    assert_eq!(batch("nonsense\n", &[]).status, 2);
    assert_eq!(batch("ls\n", &["ls"]).status, 2, "a batch and a command");
    assert_eq!(bench.run(&["-b", "nowhere"]).status, 10);
    let ran = bench.run_with(&["-b", "-"], b"put - piped\nthe rest is content\n");
    assert_eq!(
        (ran.status, fs::read(bench.there("piped")).unwrap()),
        (0, b"the rest is content\n".to_vec()),
        "{}",
        ran.err
    );
}

/// A lower bound cannot be missed for a busy machine's sake.
#[test]
fn a_limited_rate_is_not_exceeded() {
    let bench = Bench::new();
    fs::create_dir(bench.here("many")).unwrap();
    for n in 0..64 {
        fs::write(bench.here("many").join(n.to_string()), vec![n; 32 << 10]).unwrap();
    }
    let content: Vec<u8> = (0..2u32 << 20).map(|n| (n % 251) as u8).collect();
    fs::write(bench.here("big"), &content).unwrap();
    let least = |words: &[&str], input: &[u8]| {
        let begun = Instant::now();
        let ran = bench.run_with(&[words, &["--bwlimit", "1MiB"]].concat(), input);
        assert_eq!(ran.status, 0, "{words:?}: {}", ran.err);
        assert!(begun.elapsed() >= Duration::from_millis(1800), "{words:?}: {:?}", begun.elapsed());
    };
    least(&["put", "big"], b"");
    least(&["put", "-", "--to", "piped"], &content);
    least(&["put", "-r", "many", "-j", "4"], b"");
    least(&["get", "big", "--to", "back"], b"");
    least(&["get", "-r", "many", "-j", "4", "--to", "again"], b"");
    assert!(fs::read(bench.here("back")).unwrap() == content && fs::read(bench.there("piped")).unwrap() == content);
    assert_eq!(bench.run(&["put", "big", "--bwlimit", "1k"]).status, 2);
}

#[test]
fn a_summary_counts_the_whole_session() {
    let bench = Bench::new();
    fs::write(bench.here("f"), "hello").unwrap();
    let batch = "put f\nput f --no-clobber\nget f --to g\n-get missing\nrm f\n-rm f\nsummary\n";
    let ran = bench.run_with(&["--summary", "-b", "-"], batch.as_bytes());
    assert_eq!(ran.status, 0, "{}", ran.err);
    for text in [&ran.out, &ran.err] {
        assert!(text.contains("up       1 file  5 B") && text.contains("down     1 file  5 B"), "{text}");
        assert!(text.contains("besides  1 deleted, 1 skipped, 2 failed"), "{text}");
        assert!(text.contains("connections made: 1\n"), "{text}");
    }
    let ran = bench.ok(&["--json", "--summary", "put", "f"]);
    let last = ran.out.lines().last().unwrap();
    assert!(last.contains(r#""event":"summary""#) && last.contains(r#""files":1"#), "{last}");
    assert!(last.contains(r#""connections":1"#) && last.contains(r#""rate_up":"#), "{last}");
}
