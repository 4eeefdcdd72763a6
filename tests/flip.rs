//! Files and directories that turn into links and back while sessions and clients work with them: at the last component and
//! in the middle of a path, for every verb that takes one. Not one foreign byte is read, written, listed or removed, and no
//! foreign mode or time changes.

mod common;

use common::tree::snapshot;
use common::{Raw, Server};
use dfos::proto::verb::{Row, TABLE, Verb};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long each group is raced: the everyday run is short, `--long` is not.
fn span() -> Duration {
    let long = std::env::var_os("DFOS_TEST_LONG").is_some_and(|word| !word.is_empty());
    Duration::from_millis(if long { 15_000 } else { 1_500 })
}

/// Content, and size, of every foreign file: neither may ever be seen.
const FOREIGN: &[u8] = &[b'F'; 4242];

/// A tree that nobody may touch, with the names that the races ask for.
struct Foreign {
    dir: PathBuf,
    before: Everything,
}

/// All of a tree: what it holds, and the times of its directories too.
type Everything = (BTreeMap<PathBuf, common::tree::Seen>, Vec<(PathBuf, i64, i64, u32)>);

impl Foreign {
    fn at(dir: PathBuf) -> Foreign {
        fs::create_dir_all(dir.join("sub/deep")).unwrap();
        fs::create_dir(dir.join("empty")).unwrap();
        for name in ["file", "victim", "sub/victim", "sub/deep/victim", "foreign-name", "sub/foreign-name"] {
            fs::write(dir.join(name), FOREIGN).unwrap();
        }
        let before = Foreign::look(&dir);
        Foreign { dir, before }
    }

    fn look(dir: &Path) -> Everything {
        let seen = snapshot(dir);
        let dirs = seen.iter().filter(|(_, seen)| seen.0 == 'd').map(|(path, _)| path.clone());
        let times = dirs.chain([dir.to_owned()]).map(|path| {
            let meta = fs::metadata(&path).unwrap();
            (path, meta.mtime(), meta.mtime_nsec(), meta.mode())
        });
        let times = times.collect();
        (seen, times)
    }

    #[track_caller]
    fn untouched(&self) {
        assert_eq!(Foreign::look(&self.dir), self.before);
    }
}

/// Swaps each pair of names in one step, many times; one of a pair is ours, the other a link to what is foreign.
fn flip(pairs: &[(PathBuf, PathBuf)], foreign: &Path, done: &AtomicBool) {
    while !done.load(Relaxed) {
        for (a, b) in pairs {
            mend(a, b, foreign);
            let _ = renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE);
        }
        std::thread::yield_now();
    }
}

/// Gives back what a verb took away: one of a pair is to be a link. Things are made beside and moved into their place, never
/// written there: this hand must not go through the link either.
fn mend(a: &Path, b: &Path, foreign: &Path) {
    let links = [a, b].map(|path| fs::symlink_metadata(path).ok().map(|meta| meta.is_symlink()));
    let (wrong, link) = match links {
        [Some(true), Some(false)] | [Some(false), Some(true)] => return,
        [None, other] => (a, other == Some(false)),
        [other, None] => (b, other == Some(false)),
        [Some(same), _] => (b, !same),
    };
    let fresh = a.with_file_name(format!("fresh-{}", a.file_name().unwrap().to_string_lossy()));
    clear(&fresh);
    let is_file = a.ends_with("file");
    match (link, is_file) {
        (true, true) => symlink(foreign.join("file"), &fresh).unwrap(),
        (true, false) => symlink(foreign, &fresh).unwrap(),
        (false, true) => fs::write(&fresh, "ours").unwrap(),
        (false, false) => {
            fs::create_dir_all(fresh.join("sub/deep")).unwrap();
            fs::write(fresh.join("victim"), "ours").unwrap();
            fs::write(fresh.join("sub/victim"), "ours").unwrap();
        }
    }
    clear(wrong);
    let _ = renameat2(AT_FDCWD, &fresh, AT_FDCWD, wrong, RenameFlags::RENAME_NOREPLACE);
}

/// Removes a name with what is in it; a link alone.
fn clear(path: &Path) {
    if fs::remove_file(path).is_err() {
        let _ = fs::remove_dir_all(path); // follows no link, raced or not
    }
}

/// Races `work` against `flipper` for the span; the work is repeated until then.
fn race(flipper: impl Fn(&AtomicBool) + Sync, workers: Vec<Box<dyn FnMut() + Send + '_>>) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| flipper(&done));
        let workers: Vec<_> = workers
            .into_iter()
            .map(|mut work| {
                scope.spawn(move || {
                    let began = Instant::now();
                    while began.elapsed() < span() {
                        work();
                    }
                })
            })
            .collect();
        let failed = workers.into_iter().filter_map(|worker| worker.join().err()).next();
        done.store(true, Relaxed);
        if let Some(why) = failed {
            std::panic::resume_unwind(why);
        }
    });
}

/// Every request that a verb with a path can make of these paths: each flag alone, and none.
fn requests(row: &Row, paths: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for path in paths {
        if row.verb == Verb::Trash {
            let restore = format!("TRASH restore ID to={path}");
            all.extend(["TRASH list".to_owned(), format!("{restore} replace"), restore]);
            continue;
        }
        if row.verb == Verb::Rmdir {
            all.push(format!("RMDIR {path} recursive trash"));
        }
        for flag in [""].iter().chain(row.flags) {
            let both: &[String] = match row.positional.1 {
                1 => &[format!("{} {path} {flag}", row.name)],
                _ => &[format!("{} {path} taken {flag}", row.name), format!("{} own {path} {flag}", row.name)],
            };
            all.extend(both.iter().map(|request| request.trim_end().to_owned()));
        }
    }
    all
}

/// The verbs that take a path, from the table itself.
fn verbs() -> Vec<&'static Row> {
    let named: Vec<&Row> = TABLE.iter().filter(|row| row.needs_login && row.positional.1 > 0).collect();
    assert!(named.len() >= 9, "{}", named.len());
    named
}

/// Sends a request with all that belongs to it; everything that answers, bodies included.
fn exchange(raw: &mut Raw, request: &str) -> Vec<u8> {
    if request.starts_with("DOWNLOAD") || request.starts_with("VIEW") {
        return match raw.fetch(request) {
            Err(line) => line.into_bytes(),
            Ok(body) => [body.ready.as_bytes(), b"\n", &body.bytes, b"\n", body.end.as_bytes()].concat(),
        };
    }
    let mut text = match request.split_once(" ID ") {
        None => raw.ask(request),
        // Whatever lies in the trash: a file of our own where nothing else does.
        Some((verb, rest)) => {
            raw.send("UPLOAD given\nDATA 4\noursEND\nDELETE given trash\n");
            raw.expect("READY");
            raw.expect("OK size=4");
            let id = raw.expect("OK deleted id=");
            raw.ask(format!("{verb} {} {rest}", common::raw::field(&id, "id")))
        }
    };
    if request.starts_with("UPLOAD") && text.starts_with("READY") {
        if request.ends_with("resume") {
            raw.send("FROM 0\n");
        }
        raw.send(common::raw::body_bytes(b"of the session"));
        text = raw.line();
    }
    while text.lines().last().is_some_and(|line| line.starts_with("ENTRY ") || line.starts_with("TRASHED ")) {
        text = format!("{text}\n{}", raw.line());
    }
    text.into_bytes()
}

/// Whether an answer shows anything foreign: content, size, digest or a name that only stands outside.
fn shows_foreign(answer: &[u8]) -> bool {
    let digest = common::tree::sha256(FOREIGN);
    let signs: [&[u8]; 5] = [b"FFFF", b"size=4242", b" 4242 ", b"foreign-name", digest.as_bytes()];
    signs.iter().any(|sign| answer.windows(sign.len()).any(|part| part == *sign))
}

/// Races every verb over these paths, while the names of the pair are swapped.
fn race_verbs(paths: &[&str], pair: (&str, &str)) {
    let server = Server::start(&["--listen", "tcp://127.0.0.1:0", "--trash", "1d"]);
    drop(server.login("alice"));
    let foreign = Foreign::at(server.home().join("foreign"));
    let root = server.at("alice");
    let pairs = [(root.join(pair.0), root.join(pair.1))];
    // Which verbs met the file or directory, and which the link.
    let met = Mutex::new(BTreeMap::<&str, (u64, u64)>::new());
    let worker = |rows: Vec<&'static Row>| -> Box<dyn FnMut() + Send> {
        let (server, met) = (&server, &met);
        let mut raw = server.login("alice");
        let rounds: Vec<(&str, Vec<String>)> = rows.iter().map(|row| (row.name, requests(row, paths))).collect();
        Box::new(move || {
            for (verb, requests) in &rounds {
                for request in requests {
                    let answer = exchange(&mut raw, request);
                    assert!(!shows_foreign(&answer), "{request}: {}", String::from_utf8_lossy(&answer));
                    let mut met = met.lock().unwrap();
                    let counts = met.entry(verb).or_default();
                    if answer.starts_with(b"ERR bad-path") { counts.1 += 1 } else { counts.0 += 1 }
                }
            }
            exchange(&mut raw, "UPLOAD own");
            exchange(&mut raw, "DELETE taken");
            exchange(&mut raw, "RMDIR taken recursive");
            exchange(&mut raw, "TRASH empty");
        })
    };
    let rows = verbs();
    let (some, others) = rows.into_iter().partition(|row| row.writes);
    let workers = vec![worker(some), worker(others)];
    race(|done| flip(&pairs, &foreign.dir, done), workers);
    foreign.untouched();
    let met = met.into_inner().unwrap();
    eprintln!("answers to (what is ours, the link): {met:?}");
    assert_eq!(met.len(), verbs().len());
    let sum = |part: fn(&(u64, u64)) -> u64| met.values().map(part).sum::<u64>();
    assert!(sum(|counts| counts.0) > 30 && sum(|counts| counts.1) > 30, "both must have been met: {met:?}");
    server.wait_idle();
    server.stop();
}

#[test]
fn a_file_that_flips_with_a_link_is_ours_or_nothing_to_every_verb() {
    race_verbs(&["file"], ("file", "filelink"));
}

#[test]
fn a_directory_that_flips_with_a_link_is_ours_or_nothing_to_every_verb() {
    race_verbs(&["dir", "dir/victim"], ("dir", "dirlink"));
}

#[test]
fn a_middle_component_that_flips_with_a_link_leads_no_verb_astray() {
    let paths = ["dir/sub", "dir/sub/victim", "dir/sub/deep/victim", "dir/new"];
    race_verbs(&paths, ("dir", "dirlink"));
}

// --- the client's end ---

/// A server whose alice has a tree, and a place where a client works beside what is not its own.
struct Ground {
    server: Server,
    here: tempfile::TempDir,
    foreign: Foreign,
}

fn ground() -> Ground {
    let server = Server::start(&["--listen", "tcp://127.0.0.1:0"]);
    let mut raw = server.login("alice");
    raw.demand("MKDIR tree/sub/deep parents", "OK");
    for name in ["file", "victim", "sub/victim", "sub/deep/victim", "sub/one", "sub/two", "sub/deep/three"] {
        raw.put(&format!("tree/{name}"), b"ours");
    }
    let here = tempfile::Builder::new().prefix("dfos-test-").tempdir().unwrap();
    let foreign = Foreign::at(here.path().join("foreign"));
    Ground { server, here, foreign }
}

impl Ground {
    /// Runs the client; its exit status, and what it printed.
    fn client(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
        command.args(["--server", &format!("tcp://{}", self.server.address()), "--retries", "0"]).args(arguments);
        command.current_dir(self.here.path()).env("DFOS_USER", "alice").env("DFOS_PASSWORD", "secret");
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code().expect(&text), text)
    }

    /// Races a command against a hand that flips each pair, and looks after each run; how often it exited with what.
    fn race(&self, arguments: &[&str], pairs: &[(&str, &str)], look: impl Fn() + Sync) {
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (self.here.path().join(a), self.here.path().join(b))).collect();
        let statuses = Mutex::new(BTreeMap::<i32, u64>::new());
        let work = || {
            let (status, text) = self.client(arguments);
            assert!(!text.contains("panicked"), "{text}");
            *statuses.lock().unwrap().entry(status).or_default() += 1;
            look();
        };
        race(|done| flip(&pairs, &self.foreign.dir, done), vec![Box::new(work)]);
        let statuses = statuses.into_inner().unwrap();
        eprintln!("exit statuses: {statuses:?}");
        assert!(statuses.values().sum::<u64>() > 10, "{statuses:?}");
        self.foreign.untouched();
    }

    /// Nothing foreign has come to the server.
    fn nothing_foreign_arrived(&self) {
        for (path, seen) in snapshot(&self.server.at("alice")) {
            let name = path.to_string_lossy();
            assert!(
                !name.contains("foreign-name") && !seen.3.windows(4).any(|part| part == b"FFFF"),
                "{name} was sent"
            );
        }
    }
}

#[test]
fn a_download_into_a_subdirectory_that_flips_with_a_link_stays_in_the_destination() {
    let ground = ground();
    fs::create_dir_all(ground.here.path().join("out/tree")).unwrap();
    ground.race(&["get", "-r", "tree", "--dir", "out"], &[("out/tree/sub", "out/tree/dirlink")], || {});
    ground.server.stop();
}

#[test]
fn a_download_whose_top_directory_flips_with_a_link_stays_in_the_destination() {
    let ground = ground();
    fs::create_dir(ground.here.path().join("out")).unwrap();
    ground.race(&["get", "-r", "tree", "--dir", "out"], &[("out/tree", "out/dirlink")], || {});
    ground.server.stop();
}

#[test]
fn a_download_whose_name_flips_with_a_link_replaces_the_link_and_not_what_it_points_to() {
    let ground = ground();
    fs::create_dir(ground.here.path().join("out")).unwrap();
    ground.race(&["get", "tree/file", "--to", "out/file"], &[("out/file", "out/filelink")], || {});
    ground.server.stop();
}

#[test]
fn an_upload_of_a_tree_that_flips_with_links_sends_nothing_of_what_they_point_to() {
    let ground = ground();
    let local = ground.here.path().join("local");
    fs::create_dir_all(local.join("a/b")).unwrap();
    let pairs =
        [("local/file", "local/filelink"), ("local/dir", "local/dirlink"), ("local/a/b/dir", "local/a/b/dirlink")];
    ground.race(&["put", "-r", "local"], &pairs, || ground.nothing_foreign_arrived());
    ground.server.stop();
}
