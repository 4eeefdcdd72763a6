//! Somebody who stays logged in through all that happens to the disk, and tries everything in each of its states.

use super::super::common::raw::number;
use super::super::common::tree::noise;
use super::super::common::{Raw, Server};
use super::super::run::{Account, Chance};
use super::Trouble;

/// Whether it may have been done: the sentence says to look.
fn is_in_doubt(answer: &str) -> bool {
    super::code(answer) == "uncertain"
}

/// Whether this is a refusal of what goes well on every other disk: one that fails need not even show what it holds.
fn may_fail(matter: Option<Trouble>, answer: &str) -> bool {
    matter == Some(Trouble::Failing) && Trouble::Failing.explains(answer)
}

/// Bytes of the file that is there all the time.
const OLD: usize = 300_000;

/// The person, and what the one file holds.
pub struct Person {
    user: String,
    raw: Raw,
    /// The file that is there all the time.
    name: &'static str,
    old: Vec<u8>,
    /// Whether the directory that is made and removed may be there, since one of both failed.
    has_dir: bool,
    chance: Chance,
}

impl Person {
    /// Logs in, while all is well.
    pub fn new(user: &str, server: &Server, mut chance: Chance) -> Person {
        let (mut raw, old) = (server.login(user), noise(chance.next(), OLD));
        raw.put("old", &old);
        raw.put("spare", b"to be deleted");
        Person { user: user.to_owned(), raw, name: "old", old, has_dir: false, chance }
    }

    /// Tries all that there is, while this is the matter. What must work works; what cannot is refused in the right words.
    pub fn try_all(&mut self, server: &Server, matter: Option<Trouble>, account: &mut Account) {
        let new = noise(self.chance.next(), OLD);
        let answer = self.raw.upload(self.name, &new);
        if self.judge("UPLOAD", &answer, matter, account) || is_in_doubt(&answer) && self.holds(self.name, &new) {
            self.old = new;
        }
        let to = if self.name == "old" { "older" } else { "old" };
        let answer = self.raw.ask(format!("RENAME {} {to}", self.name));
        let old = self.old.clone();
        if self.judge("RENAME", &answer, matter, account) || is_in_doubt(&answer) && self.holds(to, &old) {
            self.name = to;
        }
        let answer = self.raw.ask("MKDIR d");
        let is_old = self.has_dir && answer.starts_with("ERR exists ");
        let is_made = is_old || self.judge("MKDIR", &answer, matter, account);
        self.has_dir = is_made || is_in_doubt(&answer);
        if is_made {
            let answer = self.raw.ask("RMDIR d");
            self.has_dir = !self.judge("RMDIR", &answer, matter, account);
        }
        let deleted = self.raw.ask("DELETE spare");
        let may_fail = matches!(matter, Some(Trouble::ReadOnly | Trouble::Failing));
        self.judge("DELETE", &deleted, matter.filter(|_| may_fail), account);
        if deleted.starts_with("OK") {
            let answer = self.raw.upload("spare", b"to be deleted");
            if !self.judge("UPLOAD", &answer, matter, account) {
                let answer = self.raw.ask("RENAME none spare"); // the session goes on
                self.expect(&answer, "ERR not-found ", matter, account);
            }
        }
        self.untouched(server, matter, account);
    }

    /// Whether it was done. If not, that must be told rightly.
    fn judge(&self, request: &str, answer: &str, matter: Option<Trouble>, account: &mut Account) -> bool {
        if answer.starts_with("OK") {
            return true;
        }
        match matter {
            Some(trouble) if trouble.explains(answer) => account.count(&format!("told {}", super::code(answer)), 1),
            // It could not be put back when the disk was full.
            _ if request == "DELETE" && answer.starts_with("ERR not-found ") => {}
            _ => account.lost(format!("{}: {request} while {matter:?} is answered '{answer}'", self.user)),
        }
        false
    }

    /// Whether this is what lies under the name.
    fn holds(&mut self, name: &str, bytes: &[u8]) -> bool {
        self.raw.fetch(&format!("DOWNLOAD {name}")).is_ok_and(|body| body.bytes == bytes)
    }

    fn expect(&self, answer: &str, due: &str, matter: Option<Trouble>, account: &mut Account) {
        if !answer.starts_with(due) && !may_fail(matter, answer) {
            account.lost(format!("{}: while {matter:?} '{due}' is due, and '{answer}' came", self.user));
        }
    }

    /// What is there can be read, listed and counted, in this session and in a new one.
    fn untouched(&mut self, server: &Server, matter: Option<Trouble>, account: &mut Account) {
        let mut again = server.client();
        let welcome = again.ask(format!("LOGIN {} secret", self.user));
        self.expect(&welcome, "OK welcome", matter, account);
        if !welcome.starts_with("OK") {
            return;
        }
        for raw in [&mut self.raw, &mut again] {
            let read = raw.fetch(&format!("DOWNLOAD {}", self.name)).map(|body| body.bytes);
            if read.as_ref() != Ok(&self.old) && !read.as_ref().is_err_and(|why| may_fail(matter, why)) {
                let why = read.err().unwrap_or("other bytes".into());
                account.lost(format!("{} cannot read what is there while {matter:?}: {why}", self.user));
            }
            let quota = raw.ask("QUOTA");
            let is_told = quota.starts_with("OK used=") && number(&quota, "used") as usize >= OLD;
            if !is_told && !may_fail(matter, &quota) {
                account.lost(format!("{}: QUOTA while {matter:?} is '{quota}'", self.user));
            }
            let list = raw.list(".").1;
            if !list.starts_with("OK entries=") && !may_fail(matter, &list) {
                account.lost(format!("{}: LIST while {matter:?} is '{list}'", self.user));
            }
        }
        account.count("looks at what is there, by an old and a new session", 1);
    }
}
