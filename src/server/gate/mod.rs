//! The gate: whether a connection gets a session. All is decided before the fork, from the listener's own memory: nothing that a
//! session can write to, but for its exit status.
//!
//! In this order: the operator's lists ([`access`]), penalties for earlier offences ([`penalties`]), room ([`room`]). Time is
//! given by the caller, so that tests need not wait for it.

pub mod access;
pub mod block;
pub mod options;
pub mod penalties;
pub mod refusal;
pub mod room;

use super::ending::Fate;
use crate::net::Peer;
use crate::net::peer::Origin;
use access::Access;
use nix::unistd::Pid;
use options::GateOptions;
use penalties::{Offence, Penalties};
pub use refusal::Refusal;
use refusal::Tally;
use room::Room;
use std::io;
use std::time::Instant;

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It gets a session.
    Admit,
    /// It gets a session in place of a stranger, who has to be sent away.
    AdmitInsteadOf(Pid),
    /// It is turned away.
    Refuse(Refusal),
}

/// The gate.
pub struct Gate {
    access: Access,
    /// Who has to wait, for what was done before.
    pub penalties: Penalties,
    /// Who is inside.
    pub room: Room,
    /// Who was not let in.
    pub tally: Tally,
}

impl Gate {
    /// A gate kept as the operator wants it. `clients` and `per_ip` are the limits of all sessions and of one address.
    pub fn new(options: &GateOptions, clients: u32, per_ip: u32) -> io::Result<Self> {
        Ok(Gate {
            access: Access { allow: options.allow.clone(), deny: options.deny.clone() },
            penalties: Penalties::new(options.max_penalty(), options.penalty_exempt.clone()),
            room: Room::new(limits_of(options, clients, per_ip))?,
            tally: Tally::default(),
        })
    }

    /// Keeps the gate as the operator wants it from now on. Who is inside stays; `clients` and the option --max-logins must be as they were.
    pub fn change(&mut self, options: &GateOptions, clients: u32, per_ip: u32, now: Instant) {
        self.access = Access { allow: options.allow.clone(), deny: options.deny.clone() };
        self.penalties.change(options.max_penalty(), options.penalty_exempt.clone(), now);
        self.room.change(limits_of(options, clients, per_ip));
    }

    /// Whether `peer` gets a session now.
    pub fn admit(&mut self, peer: &Peer, now: Instant) -> Verdict {
        // The kernel's randomness, asked anew each time: what could be foreseen could be used.
        self.admit_with(peer, now, || getrandom::u32().unwrap_or(0))
    }

    fn admit_with(&mut self, peer: &Peer, now: Instant, dice: impl FnOnce() -> u32) -> Verdict {
        let verdict = self.judge(peer, now, dice);
        if let Verdict::Refuse(refusal) = verdict {
            self.tally.count(refusal);
        }
        verdict
    }

    fn judge(&self, peer: &Peer, now: Instant, dice: impl FnOnce() -> u32) -> Verdict {
        if let Origin::Ip(ip) = peer.origin() {
            if !self.access.allows(ip) {
                return Verdict::Refuse(Refusal::Denied);
            }
            if let Some(left) = self.penalties.banned(ip, now) {
                return Verdict::Refuse(Refusal::Banned(left));
            }
        }
        match self.room.ask(peer, now, dice) {
            Ok(None) => Verdict::Admit,
            Ok(Some(stranger)) => Verdict::AdmitInsteadOf(stranger),
            Err(refusal) => Verdict::Refuse(refusal),
        }
    }

    /// In a child, to which all of this is nothing: lets go of each table that is one piece of memory. What consists of many stays where it
    /// is: to free them would be to write to each page that they lie on, and so to have a copy of it.
    pub fn leave_behind(self) {
        let Gate { access, penalties, room, tally: _ } = self;
        drop(room);
        std::mem::forget((access, penalties));
    }

    /// Remembers what the end of a session says about the address that it came from.
    pub fn remember(&mut self, peer: &Peer, fate: Fate, now: Instant) {
        if let (Origin::Ip(ip), Some(offence)) = (peer.origin(), Offence::of(fate)) {
            self.penalties.add(ip, offence, now);
        }
    }
}

fn limits_of(options: &GateOptions, clients: u32, per_ip: u32) -> room::Limits {
    room::Limits { clients, per_ip, per_net: options.max_clients_per_net, logins: options.max_logins }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::ending::Ending;
    use clap::Parser;
    use std::time::Duration;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        gate: GateOptions,
    }

    fn gate(options: &[&str]) -> Gate {
        let line = Line::parse_from(["test"].iter().chain(options));
        Gate::new(&line.gate, 3, 2).unwrap()
    }

    fn from(address: &str) -> Peer {
        Peer::Tcp(address.parse().unwrap())
    }

    #[test]
    fn lists_come_before_penalties_and_these_before_room_and_each_is_counted() {
        let mut gate = gate(&["--deny", "192.0.2.0/24"]);
        let now = Instant::now();
        let (denied, rude, other) = (from("192.0.2.1:1"), from("198.51.100.1:1"), from("203.0.113.1:1"));
        for _ in 0..2 {
            gate.remember(&rude, Fate::Ended(Ending::LoginRefused), now);
            gate.remember(&denied, Fate::Ended(Ending::LoginRefused), now);
        }
        assert_eq!(gate.admit(&denied, now), Verdict::Refuse(Refusal::Denied));
        assert!(matches!(gate.admit(&rude, now), Verdict::Refuse(Refusal::Banned(_))));
        for pid in 1..=2 {
            assert_eq!(gate.admit(&other, now), Verdict::Admit);
            gate.room.enter(Pid::from_raw(pid), &other, now);
        }
        assert_eq!(gate.admit(&other, now), Verdict::Refuse(Refusal::Address));
        let later = now + Duration::from_secs(2);
        assert_eq!(gate.admit(&other, later), Verdict::AdmitInsteadOf(Pid::from_raw(1)));
        assert_eq!(gate.tally.to_string(), "1 not on the list, 1 for failures, 1 over the limit of an address");
    }

    #[test]
    fn a_gate_that_is_changed_keeps_who_is_inside_and_forgives_what_is_forgiven_now() {
        let mut gate = gate(&["--deny", "192.0.2.0/24"]);
        let now = Instant::now();
        let (denied, rude, other) = (from("192.0.2.1:1"), from("198.51.100.1:1"), from("203.0.113.1:1"));
        (0..9).for_each(|_| gate.remember(&rude, Fate::Ended(Ending::LoginRefused), now));
        gate.room.enter(Pid::from_raw(1), &other, now);
        let mut change = |options: &[&str], per_ip| {
            let line = Line::parse_from(["test"].iter().chain(options));
            gate.change(&line.gate, 3, per_ip, now);
            [&denied, &rude, &other].map(|peer| gate.admit(peer, now))
        };
        let banned = |verdict| matches!(verdict, Verdict::Refuse(Refusal::Banned(_)));
        let [one, two, three] = change(&["--deny", "203.0.113.0/24"], 2);
        assert!(one == Verdict::Admit && banned(two) && three == Verdict::Refuse(Refusal::Denied));
        let [_, two, three] = change(&["--max-penalty", "20"], 1);
        assert!(matches!(two, Verdict::Refuse(Refusal::Banned(left)) if left <= Duration::from_secs(20)), "{two:?}");
        assert_eq!(three, Verdict::Refuse(Refusal::Address));
        assert_eq!(change(&["--penalty-exempt", "198.51.100.0/24"], 2)[1], Verdict::Admit);
        assert_eq!(change(&["--max-penalty", "0"], 2), [Verdict::Admit; 3]);
    }

    #[test]
    fn processes_of_this_machine_are_on_no_list_and_bear_no_penalty() {
        let mut gate = gate(&["--allow", "192.0.2.0/24"]);
        let now = Instant::now();
        for _ in 0..9 {
            gate.remember(&Peer::Unix(7), Fate::Status(101), now);
        }
        assert_eq!(gate.admit(&Peer::Unix(7), now), Verdict::Admit);
        assert_eq!(gate.admit(&from("127.0.0.1:1"), now), Verdict::Refuse(Refusal::Denied));
    }
}
