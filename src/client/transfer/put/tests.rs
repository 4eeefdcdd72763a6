//! `put` to a server that does as it is told.

use super::*;
use crate::client::failure::Exit;
use crate::client::fake::{Fake, Peer, Recorder, Script, digest_of};
use crate::client::limits;
use crate::client::transfer::rules::Clobber;
use std::fs;

/// Directories and all, by one connection, each source under its own name.
fn plan(sources: Vec<PathBuf>) -> PutPlan {
    PutPlan {
        sources,
        to: None,
        here: RemotePath::root(),
        recursive: true,
        jobs: Jobs::Just(1),
        rules: Rules::default(),
    }
}

fn send(fake: &Fake, sources: Vec<PathBuf>) -> (Result<Outcome, Failure>, Vec<String>) {
    let report = Recorder::default();
    let result = put(&fake.target, &plan(sources), &mut None, &Stop::deaf(), &report);
    (result, report.told())
}

fn exit(result: &Result<Outcome, Failure>) -> Exit {
    result.as_ref().map_or_else(|failure| failure.exit, |outcome| outcome.exit)
}

fn stored(peer: &mut Peer, content: &[u8]) {
    peer.say(format!("OK size={} sha256={}\n", content.len(), digest_of(content)));
}

#[test]
fn small_files_are_sent_ahead_and_one_that_fails_stops_no_other() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name.repeat(10)).unwrap();
    }
    let script: Script = Box::new(|peer| {
        assert_eq!(peer.line(), "MKDIR t parents");
        peer.say("OK created\n");
        // All three are read before the first answer: the client does not wait.
        let mut bodies = Vec::new();
        for name in ["a", "b", "c"] {
            assert!(peer.line().starts_with(&format!("UPLOAD t/{name} size=10 mtime=")));
            let (body, end) = peer.body();
            assert!(end.ends_with(&format!(" path=t/{name}")), "{end}");
            bodies.push(body);
        }
        peer.say("READY offset=0\n");
        stored(peer, &bodies[0]);
        peer.say("READY offset=0\nERR over-quota full\n");
        peer.say("READY offset=0\n");
        stored(peer, &bodies[2]);
    });
    let tree = dir.path().join("t");
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c"] {
        fs::rename(dir.path().join(name), tree.join(name)).unwrap();
    }
    std::os::unix::fs::symlink("a", tree.join("link")).unwrap();
    let fake = Fake::start(0, vec![script]);
    let (result, told) = send(&fake, vec![tree]);
    assert_eq!(exit(&result), Exit::Partial);
    assert_eq!(&told[1..], ["finished 10", "failed 9", "finished 10"]);
    assert!(told[0].ends_with("/link"), "{told:?}");
    fake.end();
}

#[test]
fn a_name_that_is_taken_meanwhile_is_left_alone_where_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("small"), "x").unwrap();
    fs::write(dir.path().join("large"), vec![0; limits::SMALL as usize]).unwrap();
    for clobber in [Clobber::Never, Clobber::Always] {
        let script: Script = Box::new(move |peer| {
            let never = clobber == Clobber::Never;
            for _ in 0..if never { 2 } else { 0 } {
                assert!(peer.line().starts_with("STAT"));
                peer.say("ERR not-found no such file\n");
            }
            for _ in 0..2 {
                let request = peer.line();
                assert_eq!(request.split(' ').any(|word| word == "new"), never, "{request}");
                if request.starts_with("UPLOAD small") {
                    peer.body();
                }
                peer.say("ERR exists somebody was faster\n");
            }
        });
        let fake = Fake::start(0, vec![script]);
        let report = Recorder::default();
        let sources = ["small", "large"].map(|name| dir.path().join(name)).into();
        let plan = PutPlan { rules: Rules { clobber, ..Rules::default() }, ..plan(sources) };
        let outcome = put(&fake.target, &plan, &mut None, &Stop::deaf(), &report).unwrap();
        let expected = if clobber == Clobber::Never { (Exit::Ok, 2, 0) } else { (Exit::Conflict, 0, 2) };
        assert_eq!((outcome.exit, outcome.kept, outcome.failed), expected, "{:?}", report.told());
        fake.end();
    }
}

#[test]
fn what_was_not_answered_is_sent_again_over_a_new_connection() {
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<PathBuf> = ["a", "b"].iter().map(|name| dir.path().join(name)).collect();
    sources.iter().for_each(|path| fs::write(path, "0123456789").unwrap());
    let first: Script = Box::new(|peer| {
        peer.line();
        let (body, _) = peer.body();
        peer.say("READY offset=0\n");
        stored(peer, &body);
        peer.line();
        peer.body();
    });
    let second: Script = Box::new(|peer| {
        assert!(peer.line().starts_with("UPLOAD b "));
        let (body, _) = peer.body();
        peer.say("READY offset=0\n");
        stored(peer, &body);
    });
    let fake = Fake::start(1, vec![first, second]);
    let (result, told) = send(&fake, sources);
    assert_eq!(exit(&result), Exit::Ok);
    assert_eq!(told, ["finished 10", "retrying 1/1", "reconnected", "finished 10"]);
    assert_eq!(fake.end(), 2);
}

#[test]
fn a_big_file_that_waits_for_answers_is_not_forgotten_with_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<PathBuf> = ["a", "b"].iter().map(|name| dir.path().join(name)).collect();
    fs::write(&sources[0], "0123456789").unwrap();
    fs::write(&sources[1], big()).unwrap();
    let cut: Script = Box::new(|peer| drop((peer.line(), peer.body())));
    let whole: Script = Box::new(|peer| {
        assert!(peer.line().starts_with("UPLOAD a "));
        let (body, _) = peer.body();
        peer.say("READY offset=0\n");
        stored(peer, &body);
        resuming(Vec::new(), 0)(peer);
    });
    let fake = Fake::start(1, vec![cut, whole]);
    let (result, told) = send(&fake, sources);
    assert_eq!((exit(&result), fake.end()), (Exit::Ok, 2));
    assert_eq!(told, ["retrying 1/1", "reconnected", "finished 10", "finished 1500000"]);
}

#[test]
fn three_retries_are_four_attempts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "x").unwrap();
    let scripts = (0..9)
        .map(|_| {
            Box::new(|peer: &mut Peer| {
                peer.line();
            }) as Script
        })
        .collect();
    let fake = Fake::start(3, scripts);
    let (result, told) = send(&fake, vec![path]);
    let failure = result.unwrap_err();
    assert_eq!(failure.exit, Exit::Interrupted, "{failure}");
    assert!(failure.text.ends_with("1 B of 1 file are left; run the same command again to go on"), "{failure}");
    assert_eq!(told.iter().filter(|word| word.starts_with("retrying")).count(), 3);
    assert_eq!(fake.end(), 4);
}

/// A server whose connection breaks whenever more than one file is on its way.
fn one_at_a_time() -> Script {
    Box::new(|peer| {
        while peer.line().starts_with("UPLOAD") {
            let (body, _) = peer.body();
            if peer.has_more() {
                return;
            }
            peer.say("READY offset=0\n");
            stored(peer, &body);
        }
    })
}

#[test]
fn over_a_link_that_breaks_under_many_files_they_go_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let sources: Vec<PathBuf> = ["a", "b", "c"].iter().map(|name| dir.path().join(name)).collect();
    sources.iter().for_each(|path| fs::write(path, "0123456789").unwrap());
    let fake = Fake::start(5, (0..20).map(|_| one_at_a_time()).collect());
    let (result, told) = send(&fake, sources);
    assert_eq!(exit(&result), Exit::Ok, "{result:?}");
    assert_eq!(told.iter().filter(|word| *word == "finished 10").count(), 3);
    fake.end();
}

#[test]
fn a_connection_that_is_lost_for_good_is_one_event_whatever_was_on_its_way() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&small, "x").unwrap();
    fs::write(&large, big()).unwrap();
    for (sources, jobs) in [(vec![small.clone()], 1), (vec![large.clone()], 1), (vec![small, large], 2)] {
        let gone = || Box::new(|peer: &mut Peer| drop(peer.line())) as Script;
        let fake = Fake::start(0, vec![gone(), gone()]);
        let report = Recorder::default();
        let plan = PutPlan { jobs: Jobs::Just(jobs), ..plan(sources) };
        let failure = put(&fake.target, &plan, &mut None, &Stop::deaf(), &report).unwrap_err();
        assert_eq!((failure.exit, report.told()), (Exit::Interrupted, vec![]), "{failure}");
        assert!(failure.text.contains("left; run the same command again to go on"), "{failure}");
        fake.end();
    }
}

#[test]
fn while_attempts_remain_nobody_is_told_to_run_the_command_again() {
    struct Texts(std::sync::Mutex<Vec<String>>);
    impl Report for Texts {
        fn event(&self, event: Event<'_>) {
            if let Event::Retrying { why, .. } = event {
                self.0.lock().unwrap().push(why.text.clone());
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, big()).unwrap();
    let cut: Script = Box::new(|peer| drop(peer.line()));
    let fake = Fake::start(1, vec![cut, resuming(big()[..900_000].to_vec(), 900_000)]);
    let texts = Texts(std::sync::Mutex::default());
    put(&fake.target, &plan(vec![path]), &mut None, &Stop::deaf(), &texts).unwrap();
    let told = texts.0.into_inner().unwrap();
    assert!(told.len() == 1 && !told[0].contains("again"), "{told:?}");
    fake.end();
}

fn big() -> Vec<u8> {
    (0..1_500_000u32).map(|n| (n * 5 / 3) as u8).collect()
}

/// A server that holds `held` of an earlier attempt, and expects the client to go on from `from`.
fn resuming(held: Vec<u8>, from: usize) -> Script {
    Box::new(move |peer| {
        let request = peer.line();
        assert!(request.ends_with(" resume"), "{request}");
        let path = request.split(' ').nth(1).unwrap();
        peer.say(format!("READY offset={} sha256={}\n", held.len(), digest_of(&held)));
        assert_eq!(peer.line(), format!("FROM {from}"));
        let (rest, end) = peer.body();
        let whole = [&held[..from], &rest].concat();
        assert_eq!(end, format!("END sha256={} path={path}", digest_of(&whole)));
        stored(peer, &whole);
    })
}

#[test]
fn a_big_file_goes_on_where_the_server_has_its_bytes_and_only_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, big()).unwrap();
    for (held, from) in [(big()[..900_000].to_vec(), 900_000), (vec![0; 900_000], 0), ([big(), big()].concat(), 0)] {
        let fake = Fake::start(0, vec![resuming(held, from)]);
        let (result, told) = send(&fake, vec![path.clone()]);
        assert_eq!(exit(&result), Exit::Ok, "{result:?}");
        assert_eq!(told.last(), Some(&format!("finished {}", 1_500_000 - from)));
        assert_eq!(told.first() == Some(&"resumed 900000".to_owned()), from > 0);
        fake.end();
    }
}

#[test]
fn a_refusal_in_mid_body_is_heard_and_the_connection_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (path, small) = (dir.path().join("a"), dir.path().join("b"));
    fs::write(&path, vec![1; 64 << 20]).unwrap();
    fs::write(&small, "x").unwrap();
    let script: Script = Box::new(|peer| {
        peer.line();
        peer.say("READY offset=0\n");
        peer.line();
        peer.say("ERR no-space the disk is full\n");
        let (sent, next) = peer.body();
        assert!(sent.len() < 60 << 20, "{} bytes were sent after the refusal", sent.len());
        assert!(next.starts_with("UPLOAD b "), "{next}");
        let (body, _) = peer.body();
        peer.say("READY offset=0\n");
        stored(peer, &body);
    });
    let fake = Fake::start(0, vec![script]);
    let (result, told) = send(&fake, vec![path, small]);
    assert_eq!((exit(&result), told), (Exit::Partial, vec!["failed 9".to_owned(), "finished 1".to_owned()]));
    fake.end();
}

#[test]
fn a_server_that_stored_other_bytes_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    fs::write(&path, "x").unwrap();
    let script: Script = Box::new(|peer| {
        peer.line();
        peer.body();
        peer.say("READY offset=0\n");
        stored(peer, b"y");
    });
    let fake = Fake::start(0, vec![script]);
    assert_eq!(exit(&send(&fake, vec![path]).0), Exit::Integrity);
    fake.end();
}
