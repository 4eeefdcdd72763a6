//! A user who changes the own password again and again. The last one that was acknowledged, or the one that was asked for when the power
//! went, is the only one that opens.

use super::machine::Machine;
use super::wire::Wire;
use crate::common::scram::{change, salt_of};
use crate::journal::Order;
use std::sync::atomic::{AtomicBool, Ordering};

/// Who does it.
const USER: &str = "bob";

#[derive(Debug, Clone)]
struct Password {
    text: String,
    salt: Vec<u8>,
}

/// What opens.
pub struct Passwords {
    current: Password,
    /// Asked for since, and never acknowledged: a power cut may still take them back.
    asked: Vec<Password>,
    next: u64,
    /// Requests that were answered OK.
    pub acknowledged: u64,
}

impl Passwords {
    /// The one of the users file.
    pub fn new() -> Passwords {
        let current = Password { text: "builder".into(), salt: salt_of(USER) };
        Passwords { current, asked: Vec::new(), next: 0, acknowledged: 0 }
    }

    /// Changes it until told to stop, or until the connection ends.
    pub fn work(&mut self, address: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) && self.change(address).is_some() {}
    }

    fn change(&mut self, address: &str) -> Option<()> {
        let mut wire = Wire::login(address, USER, &self.current.text)?;
        self.next += 1;
        let new = Password { text: format!("password{}", self.next), salt: format!("{:016}", self.next).into_bytes() };
        let words = change(USER, (&self.current.text, &self.current.salt), (&new.text, &new.salt));
        self.asked.push(new.clone());
        (wire.ask(&format!("PASSWD {words}"))? == "OK changed").then_some(())?;
        self.acknowledged += 1;
        self.current = new;
        self.asked.clear();
        Some(())
    }

    /// Whether what was acknowledged is lost.
    pub fn check(&mut self, machine: &Machine, order: Order) -> Option<String> {
        let opens = |password: &Password| Wire::login(machine.server().address(), USER, &password.text).is_some();
        let mut all = std::mem::take(&mut self.asked);
        all.push(self.current.clone());
        let open: Vec<Password> = all.iter().filter(|password| opens(password)).cloned().collect();
        if let [one] = &open[..] {
            all.retain(|password| password.text != one.text);
            self.current = one.clone();
            self.asked = if order == Order::AsAsked { all } else { Vec::new() };
            return None;
        }
        let lost = format!("of {all:?}, the last of which was acknowledged, {} open for {USER}", open.len());
        *self = Passwords { next: self.next, acknowledged: self.acknowledged, ..Passwords::new() };
        Some(lost)
    }
}
