//! The kinds of sessions, and what each does.

use super::names::{Names, Thing};
use super::visit::{Visit, Went};
use crate::common::raw::{body_bytes, pieces, upload_bytes};
use crate::common::scram::{change, salt_of};
use crate::common::tree::noise;

/// Which process is made to fail, and from when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// A session after its login.
    Session,
    /// A session from its first moment to its login.
    Login,
    /// The listener, while it takes in a client.
    Listener,
    /// The scribe, while a session does something.
    Scribe,
    /// The helper that changes a password.
    Helper,
    /// `dfos-forkd user add`.
    Command,
}

/// A kind of session.
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Who is made to fail.
    pub scene: Scene,
    /// Whose session.
    pub user: &'static str,
    /// What lies in the user's directory before.
    pub before: fn(&mut Names),
    /// What a session of the user does before anything fails.
    pub first: fn(&mut Visit) -> Went,
    /// What it does when something does.
    pub act: fn(&mut Visit) -> Went,
}

/// No quota; a large quota; a quota that is nearly used up; a user who changes the password.
pub const LIMITS: &str = "[user1]\nquota = 50000000\nfiles = 1000\n[user3]\nquota = 100000\nfiles = 8\n";
const FREE: &str = "user0";
const COUNTED: &str = "user1";
const FULL: &str = "user3";
/// Who changes a password.
pub const CHANGES: &str = "user4";
/// The password that is asked for.
pub const ANOTHER: &str = "another";

/// All of them.
pub const KINDS: &[Kind] = &[
    Kind { name: "login", scene: Scene::Login, user: FREE, before: nothing, first: idle, act: login },
    Kind { name: "login-scram", scene: Scene::Login, user: COUNTED, before: some, first: leave_some, act: login_scram },
    Kind { name: "upload-first", scene: Scene::Session, user: FREE, before: nothing, first: idle, act: upload_new },
    Kind { name: "upload-new", scene: Scene::Session, user: COUNTED, before: some, first: warm, act: upload_new },
    Kind { name: "upload-over", scene: Scene::Session, user: COUNTED, before: some, first: warm, act: upload_over },
    Kind { name: "resume", scene: Scene::Session, user: COUNTED, before: some, first: leave_some, act: resume },
    Kind {
        name: "resume-anew",
        scene: Scene::Session,
        user: COUNTED,
        before: some,
        first: leave_less,
        act: resume_anew,
    },
    Kind { name: "pipeline", scene: Scene::Session, user: COUNTED, before: some, first: warm, act: pipeline },
    Kind { name: "download", scene: Scene::Session, user: COUNTED, before: some, first: warm, act: download },
    Kind { name: "rename", scene: Scene::Session, user: COUNTED, before: some, first: warm, act: rename },
    Kind { name: "rmtree", scene: Scene::Session, user: COUNTED, before: deep, first: warm, act: rmtree },
    Kind { name: "trash", scene: Scene::Session, user: COUNTED, before: some, first: warm, act: trash },
    Kind { name: "list", scene: Scene::Session, user: COUNTED, before: deep, first: warm, act: list },
    Kind { name: "quota", scene: Scene::Session, user: FULL, before: nearly_full, first: idle, act: quota },
    Kind { name: "passwd", scene: Scene::Session, user: CHANGES, before: nothing, first: warm, act: passwd },
    Kind { name: "passwd-helper", scene: Scene::Helper, user: CHANGES, before: nothing, first: warm, act: passwd },
    Kind { name: "accept", scene: Scene::Listener, user: FREE, before: some, first: idle, act: login },
    Kind { name: "audit", scene: Scene::Scribe, user: FREE, before: nothing, first: idle, act: audited },
    Kind { name: "audit-required", scene: Scene::Scribe, user: FREE, before: nothing, first: idle, act: audited },
    Kind { name: "user-add", scene: Scene::Command, user: FREE, before: nothing, first: idle, act: idle },
];

/// A file that is broken off by [`leave_some`].
pub const BROKEN: &str = "broken";

fn file(seed: u64, length: usize) -> Thing {
    Thing::File(noise(seed, length))
}

fn nothing(_: &mut Names) {}

fn some(names: &mut Names) {
    names.is("old", file(1, 3000));
    names.is("other", file(2, 2000));
    names.is("large", file(3, 2_500_000));
    names.is("dir", Thing::Dir);
    names.is("dir/in", file(4, 100));
}

/// Deeper than a walk keeps directories open.
fn deep(names: &mut Names) {
    some(names);
    names.is("tree", Thing::Dir);
    for n in 0..4 {
        names.is(&format!("tree/{n}"), file(n, 500));
    }
    let mut path = String::from("tree/deep");
    for _ in 0..36 {
        names.is(&path, Thing::Dir);
        path += "/d";
    }
    names.is(&path, file(5, 10));
}

fn nearly_full(names: &mut Names) {
    names.is("big", file(6, 60_000));
    names.is("small", file(7, 10_000));
    names.is("dir", Thing::Dir);
    names.is("dir/in", file(8, 10_000));
    names.is("more", Thing::Dir);
}

fn idle(_: &mut Visit) -> Went {
    Some(())
}

/// What is made at its first use is there.
fn warm(visit: &mut Visit) -> Went {
    visit.upload("warm", b"warm")
}

/// Leaves an upload that is broken off.
fn leave_some(visit: &mut Visit) -> Went {
    leave(visit, 1_500_000)
}

fn leave_less(visit: &mut Visit) -> Went {
    leave(visit, 200_000)
}

fn leave(visit: &mut Visit, length: usize) -> Went {
    let body = pieces(&noise(9, 3_000_000)[..length]);
    visit.send([format!("UPLOAD {BROKEN}\n").as_bytes(), &body, b"ABORT later\n"].concat())?;
    visit.line()?;
    visit.line().map(drop)
}

fn login(visit: &mut Visit) -> Went {
    visit.log_in(FREE, "secret", false)
}

fn login_scram(visit: &mut Visit) -> Went {
    visit.log_in(COUNTED, "secret", true)
}

fn upload_new(visit: &mut Visit) -> Went {
    visit.upload("new", &noise(10, 2_200_000))?;
    let bytes = noise(11, 20);
    visit.send("UPLOAD newer size=20 new\n")?;
    visit.send(body_bytes(&bytes))?;
    visit.heard(&[("newer", &bytes)], &[])
}

fn upload_over(visit: &mut Visit) -> Went {
    visit.upload("old", &noise(12, 5000))?;
    let bytes = noise(13, 100);
    visit.send("UPLOAD other size=100 mtime=981173106.500000000\n")?;
    visit.send(body_bytes(&bytes))?;
    visit.heard(&[("other", &bytes)], &[])?;
    visit.send("UPLOAD old size=100 new\n")?;
    visit.send(body_bytes(&bytes))?;
    visit.heard(&[("old", &bytes)], &["exists"])?;
    let end = format!("END sha256={}\n", "0".repeat(64));
    visit.send([b"UPLOAD torn\n", &*pieces(&bytes), end.as_bytes()].concat())?;
    visit.heard(&[("torn", &bytes)], &["checksum-mismatch"])
}

fn resume(visit: &mut Visit) -> Went {
    visit.resume(BROKEN, &noise(9, 3_000_000))
}

/// The client has another content by now.
fn resume_anew(visit: &mut Visit) -> Went {
    visit.resume_from_nothing(BROKEN, &noise(14, 300_000))
}

/// Small files and directories in one stroke: their flushes are shared, and done by a thread.
fn pipeline(visit: &mut Visit) -> Went {
    visit.change("MKDIR stroke", vec![("stroke".into(), Thing::Dir)])?;
    let names: Vec<String> = (0..24).map(|n| format!("{}{n}", ["", "dir/", "dir/", "s"][n % 4])).collect();
    let contents: Vec<Vec<u8>> = (0..24).map(|n| noise(n + 100, (n as usize * 977) % 3000)).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
    visit.uploads(&files)?;
    visit
        .change_bit_by_bit("MKDIR a/b/c parents", ["a", "a/b", "a/b/c"].map(|name| (name.into(), Thing::Dir)).into())
        .map(drop)
}

fn download(visit: &mut Visit) -> Went {
    visit.download("large")?;
    visit.download("large")?; // its digest is known now
    visit.download("old")?;
    visit.ask("DIGEST other")?;
    visit.view("dir/in")
}

fn rename(visit: &mut Visit) -> Went {
    let [old, other] = ["old", "other"].map(|name| Thing::File(visit.names.content(name)));
    visit.change("RENAME old moved", vec![("moved".into(), old), ("old".into(), Thing::Nothing)])?;
    let effect = vec![("dir/in".into(), other), ("other".into(), Thing::Nothing)];
    visit.change("RENAME other dir/in replace", effect)?;
    visit.change("DELETE large", vec![("large".into(), Thing::Nothing)]).map(drop)
}

fn rmtree(visit: &mut Visit) -> Went {
    let effect = visit.names.below("tree").into_iter().map(|name| (name, Thing::Nothing)).collect();
    visit.change_bit_by_bit("RMDIR tree recursive", effect).map(drop)
}

fn trash(visit: &mut Visit) -> Went {
    let old = visit.names.content("old");
    let gone = |name: &str| vec![(name.to_owned(), Thing::Nothing)];
    let said = visit.change("DELETE old trash", gone("old"))?;
    if let Some(id) = said.as_deref().and_then(|said| said.split("id=").nth(1)) {
        visit.change(&format!("TRASH restore {id}"), vec![("old".into(), Thing::File(old))])?;
    }
    let dir = vec![("dir".into(), Thing::Nothing), ("dir/in".into(), Thing::Nothing)];
    let said = visit.change("RMDIR dir recursive trash", dir)?;
    visit.send("TRASH list\n")?;
    visit.rows("TRASHED")?;
    if let Some(id) = said.as_deref().and_then(|said| said.split("id=").nth(1)) {
        visit.ask(&format!("TRASH empty {id}"))?;
    }
    let said = visit.change("DELETE other trash", gone("other"))?;
    if let Some(id) = said.as_deref().and_then(|said| said.split("id=").nth(1)) {
        visit.ask(&format!("TRASH empty {id}"))?;
    }
    Some(())
}

fn list(visit: &mut Visit) -> Went {
    visit.list_all()?;
    visit.ask("STAT old")?;
    visit.ask("QUOTA").map(drop)
}

/// Up to the last byte and the last name, and one beyond.
fn quota(visit: &mut Visit) -> Went {
    let (fits, beyond) = (noise(20, 20_000), noise(21, 60_001));
    visit.upload("fits", &fits)?;
    visit.send(upload_bytes("beyond", &beyond))?;
    visit.heard(&[("beyond", &beyond)], &["over-quota"])?;
    visit.change("DELETE big", vec![("big".into(), Thing::Nothing)])?;
    visit.upload("small", &noise(22, 50_000))?;
    visit.uploads(&[("x", &noise(23, 1)), ("y", &noise(24, 2))])?;
    visit.send("UPLOAD y\n")?; // of no announced size
    visit.send(body_bytes(&noise(25, 1000)))?;
    visit.heard(&[("y", &noise(25, 1000))], &[])
}

fn passwd(visit: &mut Visit) -> Went {
    let salt = salt_of(CHANGES);
    let words = change(CHANGES, ("secret", &salt), (ANOTHER, b"0123456789abcdef"));
    visit.ask(&format!("PASSWD {words}")).map(drop)
}

/// A name that no run has had before, so that its lines in the audit are known.
fn audited(visit: &mut Visit) -> Went {
    visit.log_in(FREE, "secret", false)?;
    let name = format!("f{}", visit.serial);
    visit.upload(&name, b"to be told")?;
    visit.change(
        &format!("RENAME {name} {name}-moved"),
        vec![(name.clone(), Thing::Nothing), (format!("{name}-moved"), Thing::File(b"to be told".to_vec()))],
    )?;
    visit.log_out();
    Some(())
}
