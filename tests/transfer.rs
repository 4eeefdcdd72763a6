//! The client's transfers against the true server.

use dfos::auth::Password;
use dfos::client::failure::Exit;
use dfos::client::jobs::Jobs;
use dfos::client::remote::{Parents, Recursion, Remote, Replace};
use dfos::client::report::{Event, Report, Silent};
use dfos::client::stop::Stop;
use dfos::client::target::Target;
use dfos::client::transfer::get::{GetPlan, get};
use dfos::client::transfer::put::{PutPlan, put};
use dfos::client::transfer::rules::Rules;
use dfos::net::Address;
use dfos::proto::RemotePath;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

struct Server {
    child: Child,
    dir: tempfile::TempDir,
    target: Target,
}

impl Server {
    fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let (socket, users, store) = (dir.path().join("sock"), dir.path().join("users"), dir.path().join("store"));
        fs::write(&users, "alice:secret\n").unwrap();
        fs::set_permissions(&users, PermissionsExt::from_mode(0o600)).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_dfos-forkd"))
            .env("DFOS_FORKD_CONFIG", "none")
            .arg("--listen")
            .arg(format!("unix:{}", socket.display()))
            .args([OsStr::new("--users"), users.as_os_str(), OsStr::new("--dir"), store.as_os_str()])
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (user, password) = ("alice".parse().unwrap(), Password::new("secret").unwrap());
        let target = Target::new(Address::Unix(socket.clone()), user, password);
        let until = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < until, "{}", fs::read_to_string(dir.path().join("log")).unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
        Server { child, dir, target }
    }

    fn session(&self) -> Option<Remote> {
        Some(Remote::connect(&self.target, &Stop::deaf()).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        let _ = kill(nix::unistd::Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn path(text: &str) -> RemotePath {
    text.parse().unwrap()
}

/// Every name below `dir` with the content and time of files.
fn tree(dir: &Path) -> BTreeMap<PathBuf, (Option<Vec<u8>>, i64, i64)> {
    let each = |entry: walkdir::Result<walkdir::DirEntry>| {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        let file = found.is_file();
        let times = if file { (found.mtime(), found.mtime_nsec()) } else { (0, 0) };
        let content = file.then(|| fs::read(entry.path()).unwrap());
        (entry.path().strip_prefix(dir).unwrap().to_owned(), (content, times.0, times.1))
    };
    walkdir::WalkDir::new(dir).min_depth(1).into_iter().map(each).collect()
}

fn make_tree(dir: &Path) {
    for n in 0..1500 {
        let sub = dir.join(format!("d{}/e{}", n % 7, n % 3));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(format!("file {n} %ü")), vec![n as u8; n]).unwrap();
    }
    fs::create_dir_all(dir.join("empty/below")).unwrap();
    for size in [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, 9_000_000u32] {
        let content: Vec<u8> = (0..size).map(|n| (n / 7) as u8).collect();
        fs::write(dir.join(format!("big-{size}")), content).unwrap();
    }
    fs::write(dir.join(OsStr::from_bytes(b"-odd \xff\n name")), "x").unwrap();
}

fn round_trip(jobs: usize) {
    let server = Server::start();
    let (local, back) = (server.dir.path().join("local"), server.dir.path().join("back"));
    make_tree(&local);
    let (mut session, stop, here) = (server.session(), Stop::deaf(), path("."));
    let plan = PutPlan {
        sources: vec![local.clone()],
        to: Some("up/".into()),
        here: here.clone(),
        recursive: true,
        jobs: Jobs::Just(jobs),
        rules: Rules::default(),
    };
    let outcome = put(&server.target, &plan, &mut session, &stop, &Silent).unwrap();
    assert_eq!((outcome.exit, outcome.failed, outcome.files), (Exit::Ok, 0, 1505));
    assert!(tree(&server.dir.path().join("store/alice/up/local")) == tree(&local));

    let plan = GetPlan {
        sources: vec!["up/local".into()],
        to: Some(back.clone()),
        here,
        recursive: true,
        jobs: Jobs::Just(jobs),
        rules: Rules::default(),
    };
    // The first makes the directory, the second finds it and goes below it.
    for at in [back.clone(), back.join("local")] {
        let outcome = get(&server.target, &plan, &mut session, &stop, &Silent).unwrap();
        assert_eq!((outcome.exit, outcome.failed, outcome.files), (Exit::Ok, 0, 1505));
        let mut found = tree(&at);
        found.retain(|name, _| !name.starts_with("local"));
        assert!(found == tree(&local));
    }
    session.unwrap().logout().unwrap();
}

#[test]
fn a_tree_goes_up_and_comes_back_over_one_connection() {
    round_trip(1);
}

#[test]
fn a_tree_goes_up_and_comes_back_over_four_connections() {
    round_trip(4);
}

#[test]
fn the_simple_verbs() {
    let server = Server::start();
    let mut remote = server.session().unwrap();
    remote.ping().unwrap();
    remote.mkdir(&path("a/b"), Parents::Make).unwrap();
    assert_eq!(remote.mkdir(&path("a"), Parents::Existing).unwrap_err().exit, Exit::Conflict);
    let file = server.dir.path().join("f");
    fs::write(&file, "hello").unwrap();
    let plan = PutPlan {
        sources: vec![file],
        to: Some("a/f".into()),
        here: path("."),
        recursive: false,
        jobs: Jobs::Just(1),
        rules: Rules::default(),
    };
    let mut session = Some(remote);
    assert_eq!(put(&server.target, &plan, &mut session, &Stop::deaf(), &Silent).unwrap().exit, Exit::Ok);
    let mut remote = session.unwrap();
    assert_eq!(remote.view(&path("a/f"), 1, 3).unwrap(), b"ell");
    assert_eq!(remote.view(&path("a/f"), 5, 3).unwrap(), b"");
    assert_eq!(remote.stat(&path("a/f")).unwrap().size, 5);
    let (size, digest) = remote.digest(&path("a/f")).unwrap();
    assert_eq!((size, &digest.to_string()[..8]), (5, "2cf24dba"));
    let mut names = Vec::new();
    let mut each = |entry: dfos::proto::answer::Entry| {
        names.push(entry.path.to_string());
        Ok(())
    };
    let listed = remote.list(&path("."), Recursion::Recursive, &mut each).unwrap();
    names.sort();
    assert_eq!((listed.entries, names.join(" ").as_str()), (3, "a a/b a/f"));
    remote.rename(&path("a/f"), &path("g"), Replace::Keep).unwrap();
    assert_eq!(remote.rename(&path("a/f"), &path("h"), Replace::Keep).unwrap_err().exit, Exit::NotFound);
    remote.delete(&path("g")).unwrap();
    assert_eq!(remote.rmdir(&path("a"), Recursion::Flat).unwrap_err().exit, Exit::Conflict);
    assert_eq!(remote.rmdir(&path("a"), Recursion::Recursive).unwrap(), 2);
    assert!(remote.help(None).unwrap().len() > 10);
    assert!(remote.help(Some("LIST")).is_ok());
    remote.quota().unwrap();
    remote.logout().unwrap();
    let wrong = Target { password: Password::new("wrong").unwrap(), ..server.target.clone() };
    assert_eq!(Remote::connect(&wrong, &Stop::deaf()).err().unwrap().exit, Exit::Login);
}

/// Asks to stop once enough has passed; remembers where transfers went on.
struct Watch<'a> {
    stop: &'a Stop,
    after: u64,
    passed: Mutex<u64>,
    resumed: Mutex<Vec<u64>>,
}

impl<'a> Watch<'a> {
    fn new(stop: &'a Stop, after: u64) -> Self {
        Watch { stop, after, passed: Mutex::default(), resumed: Mutex::default() }
    }
}

impl Report for Watch<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Advanced { bytes, .. } => {
                let mut passed = self.passed.lock().unwrap();
                *passed += bytes;
                if *passed > self.after {
                    self.stop.ask();
                }
            }
            Event::Resumed { at, .. } => self.resumed.lock().unwrap().push(at),
            _ => {}
        }
    }
}

/// Breaks a transfer of 12,000,000 bytes off after 6,000,000, then runs it again; where that went on.
fn broken_off_and_run_again(
    mut run: impl FnMut(
        &Stop,
        &dyn Report,
    ) -> Result<dfos::client::transfer::tally::Outcome, dfos::client::failure::Failure>,
) -> u64 {
    let stop = Stop::deaf();
    let failure = run(&stop, &Watch::new(&stop, 6_000_000)).unwrap_err();
    assert_eq!(failure.exit, Exit::Interrupted, "{failure}");
    stop.forget();
    let watch = Watch::new(&stop, u64::MAX);
    let outcome = run(&stop, &watch).unwrap();
    let resumed = watch.resumed.lock().unwrap().clone();
    assert_eq!((outcome.exit, resumed.len()), (Exit::Ok, 1));
    assert_eq!(outcome.moved, 12_000_000 - resumed[0]);
    resumed[0]
}

#[test]
fn what_was_broken_off_goes_on_up_and_down() {
    let server = Server::start();
    let (file, back) = (server.dir.path().join("f"), server.dir.path().join("back"));
    let content: Vec<u8> = (0..12_000_000u32).map(|n| (n / 11) as u8).collect();
    fs::write(&file, &content).unwrap();
    let plan = PutPlan {
        sources: vec![file],
        to: None,
        here: path("."),
        recursive: false,
        jobs: Jobs::Just(1),
        rules: Rules::default(),
    };
    let at = broken_off_and_run_again(|stop, report| put(&server.target, &plan, &mut None, stop, report));
    assert!(at > 1_000_000, "{at}");
    assert!(fs::read(server.dir.path().join("store/alice/f")).unwrap() == content);
    let plan = GetPlan {
        sources: vec!["f".into()],
        to: Some(back.clone()),
        here: path("."),
        recursive: false,
        jobs: Jobs::Just(1),
        rules: Rules::default(),
    };
    let at = broken_off_and_run_again(|stop, report| get(&server.target, &plan, &mut None, stop, report));
    assert!(at > 1_000_000, "{at}");
    assert!(fs::read(back).unwrap() == content);
}
