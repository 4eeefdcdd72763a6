//! A user who changes their own password again and again: what was acknowledged holds, what was not may, and never both or neither.

use super::super::common::scram::{change, salt_of};
use super::super::load::line;
use super::super::run::{Account, Chance};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A password with the salt of its verifier.
type Known = (String, Vec<u8>);

/// A user.
pub struct Changer {
    user: &'static str,
    holds: Known,
    /// What was asked for and not answered, or said to be uncertain.
    maybe: Option<Known>,
    chance: Chance,
    changed: u64,
    lies: Vec<String>,
}

impl Changer {
    /// Who has the password of all users of the tests.
    pub fn new(user: &'static str, chance: Chance) -> Changer {
        Changer { user, holds: ("secret".into(), salt_of(user)), maybe: None, chance, changed: 0, lies: Vec::new() }
    }

    /// Changes it until told to stop, or until something is in doubt.
    pub fn work(&mut self, address: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) && self.maybe.is_none() && self.step(address).is_some() {}
    }

    fn step(&mut self, address: &str) -> Option<()> {
        let mut wire = log_in(address, self.user, &self.holds.0)?;
        let salt = [self.chance.next().to_le_bytes(), self.chance.next().to_le_bytes()].concat();
        let new = (format!("secret-{}", self.chance.next()), salt);
        let words = change(self.user, (&self.holds.0, &self.holds.1), (&new.0, &new.1));
        self.maybe = Some(new);
        wire.get_mut().write_all(format!("PASSWD {words}\n").as_bytes()).ok()?;
        let said = line(&mut wire)?;
        match said.split(' ').take(2).collect::<Vec<_>>().as_slice() {
            ["OK", _] => {
                self.holds = self.maybe.take()?;
                self.changed += 1;
            }
            ["ERR", "uncertain"] => return None,
            // The last: the session ends, or is sent away since its login came while the users were loaded again.
            ["ERR", "busy" | "internal" | "timeout" | "shutting-down" | "login-refused"] => {
                // Not changed, as it says.
                let refused = self.maybe.take()?;
                if log_in(address, self.user, &refused.0).is_some() {
                    self.lies.push(format!("'{said}' was said, and the new password of {} holds", self.user));
                    self.holds = refused;
                }
            }
            _ => self.lies.push(format!("unexpected: '{said}'")),
        }
        Some(())
    }

    /// Which password holds now.
    pub fn check(&mut self, address: &str) -> Vec<String> {
        let mut wrong = std::mem::take(&mut self.lies);
        let old = logs_in(address, self.user, &self.holds.0);
        let Some(new) = self.maybe.take() else {
            if !old {
                wrong.push(format!("the acknowledged password of {} does not hold", self.user));
            }
            return wrong;
        };
        match (old, logs_in(address, self.user, &new.0)) {
            (true, false) => {}
            (false, true) => self.holds = new,
            both => wrong.push(format!("of the old and the new password of {} hold {both:?}", self.user)),
        }
        wrong
    }

    /// What lies beside the passwords after a change to its end.
    fn nothing_beside(&self, storage: &Path) -> Vec<String> {
        let names = fs::read_dir(storage.join(".dfos/passwords")).into_iter().flatten();
        let names = names.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let drafts: Vec<String> = names.filter(|name| name.starts_with(".draft")).collect();
        if drafts.is_empty() { Vec::new() } else { vec![format!("beside the passwords lie {drafts:?}")] }
    }

    /// A last change, to its end; what is left beside it.
    pub fn end(&mut self, address: &str, storage: &Path) -> Vec<String> {
        let before = self.changed;
        while self.changed == before && self.step(address).is_some() {}
        let mut wrong = self.check(address);
        wrong.extend(self.nothing_beside(storage));
        wrong
    }

    /// What was done.
    pub fn tell(&self, account: &mut Account) {
        account.count("passwords changed", self.changed);
    }
}

/// Whether a password holds. A server that cannot serve at the moment is asked again.
fn logs_in(address: &str, user: &str, password: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let said = try_log_in(address, user, password).map(|(said, _)| said);
        match said {
            Some(said) if said.starts_with("OK welcome") => return true,
            Some(said) if said.starts_with("ERR login-refused") => return false,
            other => assert!(Instant::now() < deadline, "{user} can neither log in nor not: {other:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn try_log_in(address: &str, user: &str, password: &str) -> Option<(String, BufReader<TcpStream>)> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(30))).ok()?;
    let mut wire = BufReader::new(stream);
    let mut greeting = String::new();
    wire.read_line(&mut greeting).ok()?;
    wire.get_mut().write_all(format!("LOGIN {user} {password}\n").as_bytes()).ok()?;
    Some((line(&mut wire)?, wire))
}

/// A connection that is logged in.
pub fn log_in(address: &str, user: &str, password: &str) -> Option<BufReader<TcpStream>> {
    let (said, wire) = try_log_in(address, user, password)?;
    said.starts_with("OK welcome").then_some(wire)
}
