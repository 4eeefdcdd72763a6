//! The client goes on where an earlier run was killed, and believes nothing of what it finds: neither what lies here nor what lies there.

mod common;

use common::tree::noise;
use common::{Server, eventually, give};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Large enough that a run at [`SLOW`] can be killed half way.
const SIZE: usize = 3 << 20;
const SLOW: &str = "2MiB";

struct Place {
    server: Server,
    here: TempDir,
}

impl Place {
    fn new() -> Place {
        let place = Place { server: Server::start(&[]), here: tempfile::tempdir().unwrap() };
        drop(place.server.login("alice")); // makes alice's directory
        place
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut client = Command::new(env!("CARGO_BIN_EXE_dfos-client"));
        client
            .arg("--server")
            .arg(format!("tcp://{}", self.server.address()))
            .args(words)
            .current_dir(self.here.path());
        client.env("DFOS_USER", "alice").env("DFOS_PASSWORD", "secret").env("HOME", self.here.path());
        client.env("DFOS_CONFIG", "none").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        client
    }

    /// Runs the client, which must succeed; how many bytes it has moved.
    #[track_caller]
    fn moved(&self, words: &[&str]) -> u64 {
        let output = self.client(&[&["--json"], words].concat()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let objects = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        objects.filter_map(|object| object["moved"].as_u64()).next_back().expect("what was moved")
    }

    /// Begins slowly, and is killed once a part of at least `bytes` lies in `dir`; where that part is.
    fn killed(&self, words: &[&str], dir: &Path, bytes: u64) -> PathBuf {
        let mut client: Child = self.client(&[words, &["--bwlimit", SLOW]].concat()).spawn().unwrap();
        eventually("half of it has come", || part_in(dir).is_some_and(|part| size_of(&part) >= bytes));
        client.kill().unwrap();
        client.wait().unwrap();
        self.server.wait_idle();
        part_in(dir).unwrap()
    }

    fn there(&self) -> PathBuf {
        self.server.at("alice")
    }

    fn uploads(&self) -> PathBuf {
        self.there().join(".dfos/uploads")
    }
}

fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// The one file with something in it that is no whole download.
fn part_in(dir: &Path) -> Option<PathBuf> {
    let paths = fs::read_dir(dir).ok()?.map(|entry| entry.unwrap().path());
    let mut parts = paths.filter(|path| path.is_file() && path.file_name().is_some_and(|name| name != "f"));
    parts.find(|path| size_of(path) > 0)
}

/// What to make of a part: its size, and whether its content is the file's.
fn cases() -> Vec<(usize, bool)> {
    let sizes = [0, 1, 1024, 1 << 20, SIZE - 1, SIZE, SIZE + 1];
    sizes.into_iter().flat_map(|size| [(size, true), (size, false)]).collect()
}

/// Makes a part this long; one byte in its middle is another if it is not `honest`.
fn cut(part: &Path, whole: &[u8], size: usize, honest: bool) {
    let mut bytes = whole.to_vec();
    bytes.resize(size, b'+');
    if let (false, Some(byte)) = (honest, bytes.get_mut(size / 2)) {
        *byte ^= 1;
    }
    fs::write(part, bytes).unwrap();
}

/// How many bytes are to be moved: a part that is the file's beginning is gone on from, one that cannot be is not, and one that only
/// seems to be (`honest` is false) costs `more`.
fn due(size: usize, honest: bool, more: usize) -> u64 {
    let rest = if (1..=SIZE).contains(&size) { SIZE - size } else { SIZE };
    (if honest || rest == SIZE { rest } else { SIZE + more }) as u64
}

#[test]
fn an_upload_goes_on_from_a_leftover_of_any_size_that_is_the_files_beginning() {
    let place = Place::new();
    let whole = noise(1, SIZE);
    fs::write(place.here.path().join("f"), &whole).unwrap();
    for (size, honest) in cases() {
        let part = place.killed(&["put", "f"], &place.uploads(), 1000);
        cut(&part, &whole, size, honest);
        assert_eq!(place.moved(&["put", "f"]), due(size, honest, 0), "a leftover of {size} bytes, honest: {honest}");
        assert!(fs::read(place.there().join("f")).unwrap() == whole, "{size}, {honest}");
        assert_eq!(part_in(&place.uploads()), None, "nothing is left of it");
        fs::remove_file(place.there().join("f")).unwrap();
    }
    place.server.stop();
}

#[test]
fn a_download_goes_on_from_a_part_of_any_size_that_is_the_files_beginning() {
    let place = Place::new();
    let whole = noise(2, SIZE);
    fs::write(place.there().join("f"), &whole).unwrap();
    give(&place.there());
    for (size, honest) in cases() {
        let part = place.killed(&["get", "f"], place.here.path(), 1000);
        cut(&part, &whole, size, honest);
        // Only the digest at the end tells that a part was not the file's beginning.
        let more = SIZE.saturating_sub(size);
        assert_eq!(place.moved(&["get", "f"]), due(size, honest, more), "a part of {size} bytes, honest: {honest}");
        assert!(fs::read(place.here.path().join("f")).unwrap() == whole, "{size}, {honest}");
        assert_eq!(part_in(place.here.path()), None, "nothing is left of it");
        fs::remove_file(place.here.path().join("f")).unwrap();
    }
    place.server.stop();
}

#[test]
fn a_file_that_has_changed_since_is_sent_as_it_is_now() {
    let place = Place::new();
    let (before, now) = (noise(3, SIZE), noise(4, SIZE));
    fs::write(place.here.path().join("f"), &before).unwrap();
    place.killed(&["put", "f"], &place.uploads(), 1000);
    fs::write(place.here.path().join("f"), &now).unwrap();
    assert_eq!(place.moved(&["put", "f"]), SIZE as u64);
    assert!(fs::read(place.there().join("f")).unwrap() == now);
    assert_eq!(part_in(&place.uploads()), None);
    place.server.stop();
}

#[test]
fn a_file_that_has_changed_there_since_is_fetched_as_it_is_now() {
    let place = Place::new();
    let (before, now) = (noise(5, SIZE), noise(6, SIZE));
    fs::write(place.there().join("f"), &before).unwrap();
    give(&place.there());
    place.killed(&["get", "f"], place.here.path(), 1000);
    place.server.login("alice").put("f", &now);
    assert_eq!(place.moved(&["get", "f"]), SIZE as u64);
    assert!(fs::read(place.here.path().join("f")).unwrap() == now);
    assert_eq!(part_in(place.here.path()), None);
    place.server.stop();
}

#[test]
fn a_name_that_somebody_else_has_taken_meanwhile_is_whole_before_and_after() {
    let place = Place::new();
    let (mine, theirs) = (noise(7, SIZE), noise(8, 1000));
    fs::write(place.here.path().join("f"), &mine).unwrap();
    place.killed(&["put", "f"], &place.uploads(), 1000);
    place.server.login("alice").put("f", &theirs);
    let part = place.killed(&["put", "f"], &place.uploads(), SIZE as u64 / 2); // a second time
    assert!(fs::read(place.there().join("f")).unwrap() == theirs);
    let had = size_of(&part);
    assert_eq!(place.moved(&["put", "f"]), SIZE as u64 - had);
    assert!(fs::read(place.there().join("f")).unwrap() == mine, "the later one wins");
    place.server.stop();
}

#[test]
fn a_local_size_limit_is_an_error_that_says_so() {
    let place = Place::new();
    fs::write(place.there().join("f"), noise(9, SIZE)).unwrap();
    give(&place.there());
    let client = place.client(&["get", "f"]);
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -f 100; exec \"$0\" \"$@\""]).arg(client.get_program()).args(client.get_args());
    limited.current_dir(place.here.path()).envs(client.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = limited.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.contains("File too large"), "{said}");
    assert!(!place.here.path().join("f").exists());
    place.server.stop();
}
