//! `get` against a server that does as it is told.

use super::planner::listing;
use super::*;
use crate::client::failure::Exit;
use crate::client::fake::{Fake, Peer, Recorder, Script, digest_of, ready, stat};
use crate::client::transfer::folder::Folder;
use crate::client::transfer::part;
use crate::client::transfer::rules::Clobber;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

fn fetch(fake: &Fake, dir: &Path, source: &str, recursive: bool) -> (Result<Outcome, Failure>, Vec<String>) {
    let report = Recorder::default();
    let to = dir.join(if recursive { "tree" } else { "" });
    let plan = GetPlan {
        sources: vec![source.into()],
        to: Some(to),
        here: RemotePath::root(),
        recursive,
        jobs: Jobs::Just(1),
        rules: Rules::default(),
    };
    let result = get(&fake.target, &plan, &mut None, &Stop::deaf(), &report);
    (result, report.told())
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = walkdir::WalkDir::new(dir)
        .min_depth(1)
        .into_iter()
        .map(|entry| entry.unwrap().path().strip_prefix(dir).unwrap().display().to_string())
        .collect();
    names.sort();
    names
}

fn exit(result: &Result<Outcome, Failure>) -> Exit {
    result.as_ref().map_or_else(|failure| failure.exit, |outcome| outcome.exit)
}

/// A server that answers STAT for a file of `size` bytes, then does as told with the DOWNLOAD.
fn file(size: usize, then: impl FnOnce(&mut Peer, String) + Send + 'static) -> Script {
    Box::new(move |peer| {
        assert!(peer.line().starts_with("STAT"));
        peer.say(stat(size));
        let request = peer.line();
        then(peer, request);
    })
}

/// A server that is asked for a file in the first connection of an attempt that was cut before.
fn again(then: impl FnOnce(&mut Peer, String) + Send + 'static) -> Script {
    Box::new(move |peer| {
        let request = peer.line();
        then(peer, request);
    })
}

#[test]
fn a_file_arrives_whole_with_its_time_and_the_usual_mode() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start(0, vec![file(5, |peer, _| peer.send(b"hello", 0))]);
    let (result, told) = fetch(&fake, dir.path(), "a", false);
    assert_eq!(exit(&result), Exit::Ok);
    assert_eq!(told, ["finished 5"]);
    assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"hello");
    let found = fs::metadata(dir.path().join("a")).unwrap();
    assert_eq!((found.mtime(), found.mtime_nsec()), (1_700_000_000, 1));
    assert_eq!(names(dir.path()), ["a"]);
    fake.end();
}

#[test]
fn a_name_that_is_taken_meanwhile_is_left_alone_where_that_was_asked_for() {
    for (clobber, stays) in [(Clobber::Never, true), (Clobber::Always, false)] {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("a");
        let script = file(5, move |peer, _| {
            fs::write(own, "mine!").unwrap(); // after the look at what is there, before the file is whole
            peer.send(b"hello", 0);
        });
        let fake = Fake::start(0, vec![script]);
        let report = Recorder::default();
        let plan = GetPlan {
            sources: vec!["a".into()],
            to: Some(dir.path().join("")),
            here: RemotePath::root(),
            recursive: false,
            jobs: Jobs::Just(1),
            rules: Rules { clobber, ..Rules::default() },
        };
        let outcome = get(&fake.target, &plan, &mut None, &Stop::deaf(), &report).unwrap();
        assert_eq!((outcome.exit, outcome.kept), (Exit::Ok, u64::from(stays)), "{:?}", report.told());
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), if stays { b"mine!" } else { b"hello" });
        assert_eq!(names(dir.path()), ["a"], "nothing lies beside it");
        fake.end();
    }
}

#[test]
fn a_server_that_lies_about_a_file_leaves_nothing_under_its_name() {
    let lies: Vec<(&str, Exit)> = vec![
        ("READY size=5 mtime=1 offset=0 length=5\nDATA 6\nhello!", Exit::Protocol),
        ("READY size=5 mtime=1 offset=0 length=5\nDATA 3\nhelEND sha256=X\n", Exit::Protocol),
        ("READY size=5 mtime=1 offset=0 length=9\n", Exit::Protocol),
        ("READY size=5 mtime=1 offset=3 length=2\n", Exit::Protocol),
        ("READY size=5 mtime=1\n", Exit::Protocol),
        ("READY size=5 mtime=1 offset=0 length=5 path=b\nDATA 5\nhello", Exit::Integrity),
        ("READY size=5 mtime=1 offset=0 length=5\nDATA 5\nhelloEND\n", Exit::Protocol),
        ("READY size=5 mtime=1 offset=0 length=5\nDATA 5\nhelloABORT io-error good=6 x\n", Exit::Protocol),
        ("READY size=5 mtime=1 offset=0 length=5\nDATA 5\nhelloABORT io-error good=2 x\n", Exit::Other),
        ("ENTRY file 1 1 ../../x\n", Exit::Protocol),
        ("OK\n", Exit::Protocol),
        ("\u{1b}[2J\n", Exit::Protocol),
    ];
    for (lie, expected) in lies {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::start(0, vec![file(5, move |peer, _| peer.say(lie))]);
        let (result, _) = fetch(&fake, dir.path(), "a", false);
        assert_eq!(exit(&result), expected, "{lie}: {result:?}");
        assert_eq!(names(dir.path()), Vec::<String>::new(), "{lie}");
        fake.end();
    }
}

#[test]
fn a_line_without_end_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let fake = Fake::start(0, vec![file(5, |peer, _| peer.say("x".repeat(1 << 20)))]);
    assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Protocol);
    fake.end();
}

#[test]
fn a_wrong_digest_is_asked_for_afresh_once_and_then_refused() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = format!("{}DATA 5\nhelloEND sha256={}\n", ready(5, 0), digest_of(b"other"));
    let fake = Fake::start(
        0,
        vec![file(5, move |peer, request| {
            assert_eq!(request, "DOWNLOAD a");
            peer.say(&wrong);
            assert_eq!(peer.line(), "DOWNLOAD a fresh");
            peer.say(&wrong);
        })],
    );
    let (result, told) = fetch(&fake, dir.path(), "a", false);
    assert_eq!((exit(&result), told), (Exit::Integrity, vec!["failed 11".to_owned()]));
    assert_eq!(names(dir.path()), Vec::<String>::new());
    fake.end();
}

/// A tree whose names or depth were not asked for, or that hides a link in the way.
#[test]
fn a_listing_cannot_lead_out_of_the_destination() {
    for entry in ["../x", "/etc/x", "a/../../x", "%2e%2e/x", "a%2Fb", ".", "", "a/./b", "x%00"] {
        let dir = tempfile::tempdir().unwrap();
        let listing = format!("ENTRY file 1 1 {entry}\nOK entries=1 skipped=0\n");
        let script: Script = Box::new(move |peer| {
            peer.line();
            peer.say("OK type=dir size=0 mtime=1\n");
            peer.line();
            peer.say(&listing);
        });
        let fake = Fake::start(0, vec![script]);
        assert_eq!(exit(&fetch(&fake, dir.path(), "t", true).0), Exit::Protocol, "{entry}");
        assert_eq!(names(dir.path()), Vec::<String>::new());
        fake.end();
    }
}

#[test]
fn a_link_in_the_destination_is_not_followed() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("tree")).unwrap();
    fs::create_dir(dir.path().join("tree/t")).unwrap();
    symlink(outside.path(), dir.path().join("tree/t/sub")).unwrap();
    let script: Script = Box::new(|peer| {
        peer.line();
        peer.say("OK type=dir size=0 mtime=1\n");
        peer.line();
        peer.say(
            "ENTRY dir 0 1 sub\nENTRY file 5 1 sub/f\nENTRY file 5 1 g\nENTRY link 1 1 l\nOK entries=4 skipped=0\n",
        );
        assert_eq!(peer.line(), "DOWNLOAD t/g");
        peer.send(b"hello", 0);
    });
    let fake = Fake::start(0, vec![script]);
    let (result, told) = fetch(&fake, dir.path(), "t", true);
    assert_eq!(exit(&result), Exit::Partial);
    assert!(told.contains(&"skipped t/l".to_owned()));
    assert_eq!(fs::read(dir.path().join("tree/t/g")).unwrap(), b"hello");
    assert_eq!(names(outside.path()), Vec::<String>::new());
    fake.end();
}

fn big() -> Vec<u8> {
    (0..3_000_000u32).map(|n| (n * 7 / 3) as u8).collect()
}

/// Sends the first `n` bytes of the rest and cuts.
fn cut_after(content: Vec<u8>, offset: usize, n: usize) -> impl FnOnce(&mut Peer, String) + Send {
    move |peer, request| {
        let asked = if offset == 0 { "DOWNLOAD a".to_owned() } else { format!("DOWNLOAD a offset={offset}") };
        assert_eq!(request, asked);
        peer.say(ready(content.len(), offset));
        peer.say(format!("DATA {n}\n"));
        peer.say(&content[offset..offset + n]);
    }
}

#[test]
fn interrupted_attempts_leave_one_part_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let size = big().len();
    let fake = Fake::start(
        0,
        vec![
            file(size, cut_after(big(), 0, 500_000)),
            file(size, cut_after(big(), 500_000, 500_000)),
            file(size, |peer, _| peer.send(&big(), 1_000_000)),
        ],
    );
    for so_far in [500_000, 1_000_000] {
        assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Interrupted);
        let left = names(dir.path());
        assert_eq!(left.len(), 1, "{left:?}");
        let part = fs::metadata(dir.path().join(&left[0])).unwrap();
        assert_eq!((part.len(), part.mode() & 0o777), (so_far, 0o600));
    }
    let (result, told) = fetch(&fake, dir.path(), "a", false);
    assert_eq!(exit(&result), Exit::Ok);
    assert_eq!(told, ["resumed 1000000", "finished 2000000"]);
    assert!(fs::read(dir.path().join("a")).unwrap() == big());
    assert_eq!(names(dir.path()), ["a"]);
    fake.end();
}

#[test]
fn a_lost_connection_is_resumed_and_progress_renews_the_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let scripts = vec![
        file(big().len(), cut_after(big(), 0, 1 << 20)),
        again(cut_after(big(), 1 << 20, 1 << 20)),
        again(|peer, _| peer.send(&big(), 2 << 20)),
    ];
    let fake = Fake::start(1, scripts);
    let (result, told) = fetch(&fake, dir.path(), "a", false);
    assert_eq!(exit(&result), Exit::Ok, "{result:?}");
    assert_eq!(told.iter().filter(|word| *word == "retrying 1/1").count(), 2);
    assert!(told.contains(&"finished 3000000".to_owned()));
    assert!(fs::read(dir.path().join("a")).unwrap() == big());
    assert_eq!(fake.end(), 3);
}

#[test]
fn a_file_whose_part_waits_to_be_read_is_not_forgotten_with_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let size = big().len();
    let cut: Script = Box::new(move |peer| {
        for size in [5, size] {
            peer.line();
            peer.say(stat(size));
        }
        peer.line();
    });
    let whole: Script = Box::new(|peer| {
        assert_eq!(peer.line(), "DOWNLOAD 0");
        peer.send(b"hello", 0);
        assert_eq!(peer.line(), "DOWNLOAD a offset=500000");
        peer.send(&big(), 500_000);
    });
    let fake = Fake::start(1, vec![cut, whole]);
    let (folder, version) = (Arc::new(Folder::open(dir.path()).unwrap()), (size as u64, "1700000000.000000001"));
    let beginning = part::beginning(&fake.target, &"a".parse().unwrap());
    let version = (version.0, version.1.parse().unwrap());
    let begun = part::Part::create(&folder, &beginning, version, part::Unfinished::Stays).unwrap();
    std::io::Write::write_all(&mut begun.file(), &big()[..500_000]).unwrap();
    drop(begun);
    let plan = GetPlan {
        sources: vec!["0".into(), "a".into()],
        to: Some(dir.path().into()),
        here: RemotePath::root(),
        recursive: false,
        jobs: Jobs::Just(1),
        rules: Rules::default(),
    };
    let outcome = get(&fake.target, &plan, &mut None, &Stop::deaf(), &Recorder::default()).unwrap();
    assert_eq!((outcome.files, outcome.moved, outcome.exit, fake.end()), (2, size as u64 - 500_000 + 5, Exit::Ok, 2));
    assert_eq!(names(dir.path()), ["0", "a"]);
}

#[test]
fn a_part_that_was_tampered_with_is_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let afresh = file(big().len(), |peer, request| {
        assert_eq!(request, "DOWNLOAD a offset=500000");
        peer.send(&big(), 500_000);
        assert_eq!(peer.line(), "DOWNLOAD a fresh");
        peer.send(&big(), 0);
    });
    let fake = Fake::start(0, vec![file(big().len(), cut_after(big(), 0, 500_000)), afresh]);
    assert!(fetch(&fake, dir.path(), "a", false).0.is_err());
    fs::write(dir.path().join(&names(dir.path())[0]), vec![1; 500_000]).unwrap();
    assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Ok);
    assert!(fs::read(dir.path().join("a")).unwrap() == big());
    assert_eq!(names(dir.path()), ["a"]);
    fake.end();
}

#[test]
fn what_was_good_of_an_aborted_piece_stays() {
    let dir = tempfile::tempdir().unwrap();
    let script = file(big().len(), |peer, _| {
        peer.say(ready(big().len(), 0));
        peer.say("DATA 500000\n");
        peer.say(vec![0; 500_000]);
        peer.say("ABORT io-error good=123 the disk failed\n");
    });
    let fake = Fake::start(0, vec![script]);
    assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Other);
    let left = names(dir.path());
    assert_eq!(fs::metadata(dir.path().join(&left[0])).unwrap().len(), 123);
    fake.end();
}

#[test]
fn a_server_that_ends_in_the_middle_is_gone_on_with_when_it_is_back() {
    for good in [500_000, 123_000] {
        let dir = tempfile::tempdir().unwrap();
        let ends = file(big().len(), move |peer, _| {
            peer.say(ready(big().len(), 0));
            peer.say("DATA 500000\n");
            peer.say([&big()[..good], &vec![0; 500_000 - good]].concat());
            peer.say(format!("ABORT shutting-down good={good} the session is ending; resume later\n"));
        });
        let fake = Fake::start(
            1,
            vec![
                ends,
                again(move |peer, request| {
                    assert_eq!(request, format!("DOWNLOAD a offset={good}"));
                    peer.send(&big(), good)
                }),
            ],
        );
        let (result, told) = fetch(&fake, dir.path(), "a", false);
        assert_eq!(exit(&result), Exit::Ok, "{result:?} {told:?}");
        assert!(fs::read(dir.path().join("a")).unwrap() == big());
        assert!(told.contains(&format!("resumed {good}")), "{told:?}");
        assert_eq!((names(dir.path()), fake.end()), (vec!["a".to_owned()], 2));
    }
}

#[test]
fn a_directory_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    let fake = Fake::start(0, vec![file(5, |_, _| {})]);
    assert_eq!(exit(&fetch(&fake, dir.path(), "a", false).0), Exit::Conflict);
    fake.end();
}

#[test]
fn a_file_that_is_not_there_is_not_asked_for_twice() {
    let dir = tempfile::tempdir().unwrap();
    let script: Script = Box::new(|peer| {
        peer.line();
        peer.say("ERR not-found no such file\n");
    });
    let fake = Fake::start(5, vec![script]);
    let (result, told) = fetch(&fake, dir.path(), "a", false);
    assert_eq!((exit(&result), told), (Exit::NotFound, vec!["failed 7".to_owned()]));
    assert_eq!(fake.end(), 1);
}

#[test]
fn an_endless_listing_ends_at_the_limit() {
    let script: Script = Box::new(|peer| {
        peer.line();
        while peer.try_say("ENTRY file 1 1 a\n").is_ok() {}
    });
    let fake = Fake::start(0, vec![script]);
    let mut remote = Remote::connect(&fake.target, &Stop::deaf()).unwrap();
    let failure = listing(&mut remote, &"t".parse().unwrap(), 1000).unwrap_err();
    assert!(failure.exit == Exit::Other && failure.text.contains("more than"), "{failure}");
    drop(remote);
    fake.end();
}
