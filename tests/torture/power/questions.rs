//! What is asked of a server that has come back: whether it tells the truth of what lies there, and clears away what nobody needs.

use super::machine::Machine;
use crate::common::Raw;
use crate::common::raw::{field, number};
use crate::common::tree::sha256;
use crate::load::Worker;
use crate::run::Chance;
use base64::engine::{Engine, general_purpose::STANDARD};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// All questions about one worker's user, those about the account where the server has been started since; what is wrong, in sentences.
pub fn about(machine: &Machine, worker: &Worker, has_restarted: bool, chance: &mut Chance) -> Vec<String> {
    let mut wrong = Vec::new();
    age_leftovers(machine, &worker.user);
    let mut raw = machine.server().login(&worker.user);
    if let Some(left) = first_in(&uploads(machine, &worker.user)) {
        wrong.push(format!("{} is swept by no login", left.display()));
    }
    let dir = machine.server().at(&worker.user).join(&worker.dir);
    let mut files = Vec::new();
    each_below(&dir, &mut |path, meta| files.extend(meta.is_file().then(|| path.to_owned())));
    for _ in 0..files.len().min(2) {
        let file = chance.of(&files);
        let name = file.strip_prefix(machine.server().at(&worker.user)).unwrap().to_str().unwrap();
        wrong.extend(not_the_same(&mut raw, name, &fs::read(file).unwrap()));
    }
    if has_restarted {
        wrong.extend(quota(machine, &mut raw, &worker.user)); // until then a session that was killed has too much reserved
    }
    wrong
}

/// What the server tells of a file, and what lies there.
fn not_the_same(raw: &mut Raw, name: &str, bytes: &[u8]) -> Option<String> {
    let digest = sha256(bytes);
    let told = raw.ask(format!("DIGEST {name}"));
    if !told.ends_with(&format!("sha256={digest}")) {
        return Some(format!("the digest of {name} is {digest}, told is '{told}'"));
    }
    match raw.fetch(&format!("DOWNLOAD {name}")) {
        Ok(body) if body.bytes == bytes && body.end == format!("END sha256={digest}") => None,
        Ok(body) => Some(format!("{name} was downloaded as {} bytes, '{}'", body.bytes.len(), body.end)),
        Err(answer) => Some(format!("{name} cannot be downloaded: {answer}")),
    }
}

/// What QUOTA tells, and what lies there.
fn quota(machine: &Machine, raw: &mut Raw, user: &str) -> Option<String> {
    let told = raw.demand("QUOTA", "OK used=");
    let (mut bytes, mut files) = (0, 0);
    each_below(&machine.server().at(user), &mut |path, meta| {
        let name = path.file_name().unwrap_or_default();
        if name != ".dfos" {
            bytes += if meta.is_file() { meta.len() } else { 0 };
            files += 1;
        }
    });
    for left in fs::read_dir(uploads(machine, user)).into_iter().flatten() {
        bytes += left.unwrap().metadata().unwrap().len();
        files += 1;
    }
    let is_true = (number(&told, "used"), number(&told, "files")) == (bytes, files);
    (!is_true).then(|| format!("{user} has {bytes} bytes in {files} files, QUOTA tells '{told}'"))
}

/// The salt that a stranger is told, which must stay the same: otherwise it tells that there is no such user.
pub fn salt_of_a_stranger(machine: &Machine) -> String {
    let challenge = machine.server().client().ask(format!("AUTH SCRAM-SHA-256 {}", STANDARD.encode("n,,n=nobody,r=x")));
    let challenge = challenge.strip_prefix("CHALLENGE ").unwrap_or_else(|| panic!("no challenge: {challenge}"));
    let text = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
    field(&text.replace(',', " "), "s").to_owned()
}

fn uploads(machine: &Machine, user: &str) -> PathBuf {
    machine.server().at(user).join(".dfos/uploads")
}

/// Leftovers of uploads become old enough to be swept.
fn age_leftovers(machine: &Machine, user: &str) {
    let old = SystemTime::now() - Duration::from_secs(30 * 24 * 3600);
    for left in fs::read_dir(uploads(machine, user)).into_iter().flatten() {
        let file = fs::File::options().write(true).open(left.unwrap().path()).unwrap();
        file.set_times(fs::FileTimes::new().set_accessed(old).set_modified(old)).unwrap();
    }
}

fn first_in(dir: &Path) -> Option<PathBuf> {
    Some(fs::read_dir(dir).ok()?.next()?.ok()?.path())
}

/// Everything below a directory that a user can see, and the reserved directory itself.
fn each_below(dir: &Path, tell: &mut impl FnMut(&Path, &fs::Metadata)) {
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        tell(&path, &meta);
        if meta.is_dir() && path.file_name().is_some_and(|name| name != ".dfos") {
            each_below(&path, tell);
        }
    }
}
