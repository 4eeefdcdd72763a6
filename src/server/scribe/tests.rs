//! The scribe in this process, which is its listener and its session as well: the ways tell them apart.

use super::waiting::HOLD;
use super::*;
use crate::server::record::Caller;

/// A scribe that keeps its lines, and the ways to it.
fn scribe() -> (Scribe, Ways) {
    let (ways, ends) = ways(Level::Info).unwrap();
    let mut scribe = Scribe::new(ends, Pid::this(), setup(None));
    scribe.books.keep_the_log();
    (scribe, ways)
}

fn lines(scribe: &mut Scribe) -> Vec<String> {
    scribe.turn(&mut vec![0; LARGEST]).unwrap();
    scribe.books.kept()
}

fn setup(audit: Option<PathBuf>) -> Setup {
    let houses = vec![House { address: "tls://here".into(), speaks_tls: true }];
    let (target, level) = (LogTarget::Stderr, Level::Info);
    let hooks = Orders::default();
    Setup { level, target, audit, notice: None, hooks, houses, started: 0x1234, occasion: "a test" }
}

fn caller(peer: &str) -> Caller {
    Caller { pid: Pid::this(), serial: 5, at: 0, peer: peer.into() }
}

fn opened(peer: &str) -> Record {
    Record::Opened(caller(peer), format!("{peer} came"))
}

fn user(name: &str) -> Record {
    Record::User(Pid::this(), name.into())
}

fn closed() -> Record {
    Record::Closed(Pid::this(), Level::Info, Parting::default(), "went".into())
}

#[test]
fn each_line_has_the_name_that_its_session_had_when_it_said_it() {
    for at_once in [false, true] {
        let (mut scribe, Ways { listener, sessions }) = scribe();
        let mut heard = Vec::new();
        let steps: [&dyn Fn(); 6] = [
            &|| sessions.line(Level::Info, "a"), // a child may be faster than its parent
            &|| assert!(listener.send(&opened("here"))),
            &|| assert!(listener.send(&user("alice"))),
            &|| sessions.has_user(),
            &|| sessions.line(Level::Info, "b"),
            &|| assert!(listener.send(&closed())),
        ];
        for step in steps {
            step();
            if !at_once {
                heard.extend(lines(&mut scribe));
            }
        }
        heard.extend(lines(&mut scribe));
        assert_eq!(heard, ["here came", "here a", "here login of alice", "alice@here b", "went"], "{at_once}");
    }
}

#[test]
fn a_users_line_waits_for_the_name_but_not_for_ever() {
    let (mut scribe, Ways { listener, sessions }) = scribe();
    listener.send(&opened("here"));
    sessions.has_user();
    sessions.line(Level::Info, "a");
    assert_eq!(lines(&mut scribe), ["here came"]);
    listener.send(&user("alice"));
    assert_eq!(lines(&mut scribe), ["here login of alice", "alice@here a"]);
    listener.send(&Record::Forget);
    lines(&mut scribe);
    sessions.line(Level::Info, "b");
    assert_eq!(lines(&mut scribe), [""; 0]);
    scribe.waiting.make_old();
    scribe.release(|_| false);
    assert_eq!(lines(&mut scribe), ["b"], "without a name, rather than with a wrong one");
}

#[test]
fn a_scribe_that_makes_room_ends_once_all_is_written_and_leaves_the_rest_to_the_next() {
    let (scribe, Ways { listener, sessions }) = scribe();
    sessions.line(Level::Info, "a"); // of whom nobody has spoken yet: it waits for that
    listener.send(&Record::Leave(Pid::this()));
    let began = Instant::now();
    scribe.run().unwrap();
    assert!(began.elapsed() > HOLD, "what was held back is written first");
    drop((listener, sessions));
}

#[test]
fn who_a_session_is_the_listener_says_alone() {
    let (mut scribe, Ways { listener, sessions }) = scribe();
    listener.send(&Record::Known(caller("here"), None));
    let away = Record::TurnedAway(0, "there".into(), Some(Level::Info), "full".into(), "x".into());
    let level = Record::Level(Level::Error);
    let orders = [Record::Reopen, Record::Forget, level, Record::End(Duration::ZERO), Record::Leave(Pid::this())];
    for claim in [opened("there"), user("mallory"), closed(), away].into_iter().chain(orders) {
        sessions.send(&claim);
        sessions.send(&Record::Line(Level::Info, "a".into()));
        assert_eq!(lines(&mut scribe), ["here a"], "{claim:?}");
        assert!(!scribe.leaving);
    }
    sessions.send(&Record::Known(caller("there"), Some("mallory".into())));
    listener.send(&Record::Known(caller("here"), Some("alice".into())));
    sessions.line(Level::Info, "b");
    assert_eq!(lines(&mut scribe), ["here b"]);
    sessions.line(Level::Info, "c");
    assert_eq!(lines(&mut scribe), ["alice@here c"]);
}

#[test]
fn of_senders_without_a_name_no_more_is_held_than_fits() {
    let text = "x".repeat(1000);
    for record in [Record::Line(Level::Info, text.clone()), Record::OfUser(Level::Info, text)] {
        let (mut scribe, _ways) = scribe();
        for _ in 0..1000 {
            let (since, sender, record) = (Instant::now(), Pid::from_raw(7), record.clone());
            scribe.take(Held { since, place: 0, sender, record });
        }
        let held = scribe.waiting.count();
        assert!((100..=limits::LOG_HELD / 1512).contains(&held), "{held}");
        assert_eq!(lines(&mut scribe).len(), 1000 - held);
        scribe.release(|_| true);
        assert_eq!((scribe.waiting.bytes(), lines(&mut scribe).len()), (0, held));
    }
}

#[test]
fn sessions_that_fill_their_way_leave_the_listeners_free() {
    let (mut scribe, Ways { listener, sessions }) = scribe();
    while sessions.send(&Record::Line(Level::Info, "flood".into())) {}
    assert!(listener.send(&opened("here")) && listener.send(&user("alice")));
    assert!(lines(&mut scribe).ends_with(&["here login of alice".into()]));
}

#[test]
fn what_a_session_did_stands_under_the_name_that_the_listener_gives_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let (ways, ends) = ways(Level::Debug).unwrap();
    let mut scribe = Scribe::new(ends, Pid::this(), setup(Some(path.clone())));
    scribe.books.keep_the_log();
    let action = Action { path: Some("a%0Ab".into()), ..Action::unknown() };
    ways.sessions.send(&Record::Action(Box::new(action))); // a child may be faster than its parent
    ways.sessions.send(&Record::Refused(1, Some("bob".into()), "wrong password".into()));
    for word in [opened("there"), user("alice"), closed(), Record::End(Duration::ZERO)] {
        ways.listener.send(&word);
    }
    lines(&mut scribe);
    scribe.flush();
    let text = std::fs::read_to_string(&path).unwrap();
    let told: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = told.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["start", "connect", "login", "login", "request", "disconnect", "stop"], "{text}");
    let (refused, request) = (&told[2], &told[4]);
    assert_eq!((&refused["account"], &refused["tls"]), (&"bob".into(), &"1.3".into()));
    assert_eq!((&request["user"], &request["path"]), (&"alice".into(), &"a\nb".into()));
    for line in &told[1..6] {
        let is = |key: &str, value: &str| line[key] == value;
        assert!(is("session", "1234-5") && is("peer", "there") && is("listener", "tls://here"), "{line}");
    }
}

/// The paths of the requests that an audit tells of.
fn requests(path: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["event"] == "request").map(|line| line["path"].as_str().unwrap().into()).collect()
}

fn request(path: &str) -> Record {
    Record::Action(Box::new(Action { path: Some(path.into()), ..Action::unknown() }))
}

#[test]
fn what_waits_for_a_name_is_there_for_the_next_scribe_if_this_one_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    let (ways, ends) = ways(Level::Info).unwrap();
    let required = || {
        let notice = Some(crate::sys::notice::notice().unwrap().0);
        let mut scribe =
            Scribe::new(ends.try_clone().unwrap(), Pid::this(), Setup { notice, ..setup(Some(path.clone())) });
        scribe.books.keep_the_log();
        scribe
    };
    ways.listener.send(&opened("here"));
    ways.sessions.send(&request("a"));
    let mut killed = required();
    lines(&mut killed);
    killed.flush();
    assert_eq!(requests(&path), [""; 0], "the user's name has not come");
    drop(killed);
    let mut next = required();
    ways.listener.send(&Record::Known(caller("here"), Some("alice".into())));
    lines(&mut next);
    ways.sessions.send(&request("b"));
    lines(&mut next);
    next.flush();
    assert_eq!(requests(&path), ["a", "b"]);
    let mut last = required();
    lines(&mut last);
    last.flush();
    assert_eq!(requests(&path), ["a", "b"], "what is written has left");
}

#[test]
fn lines_that_wait_since_their_file_was_put_away_are_written_before_the_scribe_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit");
    for last in [None, Some(Record::Leave(Pid::this()))] {
        let (ways, ends) = ways(Level::Info).unwrap();
        let mut scribe = Scribe::new(ends, Pid::this(), setup(Some(path.clone())));
        scribe.books.keep_the_log();
        ways.listener.send(&Record::Known(caller("here"), Some("alice".into())));
        lines(&mut scribe);
        scribe.flush();
        std::fs::rename(&path, dir.path().join("audit.1")).unwrap();
        ways.sessions.send(&request("a"));
        let held = last.map(|last| (ways.listener.send(&last), ways));
        scribe.run().unwrap();
        assert_eq!(requests(&path), ["a"]);
        drop(held);
        std::fs::remove_file(&path).unwrap();
    }
}
