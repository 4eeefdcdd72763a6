//! Room: how many there are of each kind, and who has to go when somebody else wants in.
//!
//! Strangers, between connecting and login, have a room of their own, so that they cannot take the places of users. From half of
//! it on a newcomer may be refused at random (as OpenSSH's `MaxStartups`), so that an attacker cannot be sure to get
//! the last place. But before anybody is refused for want of room, the stranger who has waited longest in the busiest network is
//! sent away: a true client logs in within a second, so those who hold places in silence lose them to those who do not. Who
//! comes again and again is never old enough for that: a network with more than its share loses the young as well.

use super::block::Block;
use super::refusal::Refusal;
use crate::net::Peer;
use crate::net::peer::Origin;
use crate::proto::limits;
use crate::server::by_pid::ByPid;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::time::Instant;

/// How many there may be at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Clients.
    pub clients: u32,
    /// From one address.
    pub per_ip: u32,
    /// From one network; processes of this machine are in none.
    pub per_net: u32,
    /// Strangers.
    pub logins: u32,
}

#[derive(Debug, Clone, Copy)]
struct Guest {
    origin: Origin,
    block: Option<Block>,
    since: Instant,
    logged_in: bool,
    /// Since when it has been sent away. It takes no place any more, though its process still ends.
    leaving: Option<Instant>,
    /// It has been named as [overdue](Room::overdue).
    named: bool,
}

/// Numbers of guests, without zeros.
#[derive(Debug)]
struct Counts<K>(HashMap<K, u32>);

impl<K: Eq + Hash> Counts<K> {
    fn of(&self, key: &K) -> u32 {
        self.0.get(key).copied().unwrap_or(0)
    }

    fn add(&mut self, key: K) {
        *self.0.entry(key).or_default() += 1;
    }

    fn remove(&mut self, key: K) {
        if let Some(count) = self.0.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&key);
            }
        }
    }
}

/// All who are inside.
pub struct Room {
    limits: Limits,
    guests: ByPid<Guest>,
    by_origin: Counts<Origin>,
    by_block: Counts<Block>,
    /// In the order in which they came.
    strangers: Vec<Pid>,
    leaving: u32,
}

impl Room {
    /// An empty room.
    pub fn new(limits: Limits) -> io::Result<Self> {
        Room::with_places(limits, limits.clients as usize + limits.logins as usize)
    }

    /// An empty room with places for more processes than the limits let in: for those who were there before the limits were.
    pub fn with_places(limits: Limits, places: usize) -> io::Result<Self> {
        Ok(Room {
            limits,
            guests: ByPid::new(places.max(limits.clients as usize + limits.logins as usize))?,
            by_origin: Counts(HashMap::new()),
            by_block: Counts(HashMap::new()),
            strangers: Vec::new(),
            leaving: 0,
        })
    }

    /// Limits from now on. The room is no larger for that: `clients` and `logins` must be as they were.
    pub fn change(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether there is room for `peer`: as it is, or in place of a stranger. `dice` gives a random number; it is asked only when the
    /// strangers' room is more than half full.
    pub fn ask(&self, peer: &Peer, now: Instant, dice: impl FnOnce() -> u32) -> Result<Option<Pid>, Refusal> {
        let (origin, block) = (peer.origin(), block_of(peer));
        // The narrowest limit first: whoever goes for that one makes room under the others as well.
        let (refusal, stranger) = if self.by_origin.of(&origin) >= self.limits.per_ip {
            (Refusal::Address, self.ripe(block, now, |guest| guest.origin == origin))
        } else if block.is_some_and(|block| self.by_block.of(&block) >= self.limits.per_net) {
            (Refusal::Network, self.ripe(block, now, |guest| guest.block == block))
        } else if self.count() >= self.limits.clients {
            (Refusal::Full, self.ripe(block, now, |_| true))
        } else if self.loses(dice) {
            (Refusal::Logins, self.ripe(block, now, |_| true))
        } else {
            return Ok(None);
        };
        stranger.map(Some).ok_or(refusal)
    }

    /// Whether a newcomer loses the game of dice: never while the strangers' room is half empty, always when it is full.
    fn loses(&self, dice: impl FnOnce() -> u32) -> bool {
        let (strangers, full) = (self.strangers.len() as u64, u64::from(self.limits.logins));
        let half = full / 2;
        // The chance is (strangers - half) / (full - half), in parts of 2^32.
        strangers >= full || strangers > half && u64::from(dice()) * (full - half) < (strangers - half) << 32
    }

    /// Of the strangers who may go for somebody from `block`, the one who has waited longest in the network with most strangers. Who is
    /// too young stays, but where a network has more than its share and the newcomer's has not. `None` too while so many are
    /// leaving that their processes would become too many.
    fn ripe(&self, block: Option<Block>, now: Instant, may_go: impl Fn(&Guest) -> bool) -> Option<Pid> {
        if self.leaving >= self.limits.logins {
            return None;
        }
        let mut crowds: HashMap<Option<Block>, usize> = HashMap::new();
        let strangers = || self.strangers.iter().filter_map(|pid| Some((*pid, self.guests.get(*pid)?)));
        strangers().for_each(|(_, guest)| *crowds.entry(guest.block).or_default() += 1);
        let share = (self.limits.logins / limits::FAIR_SHARE).max(1) as usize;
        let is_greedy = |block| crowds.get(&block).is_some_and(|crowd| *crowd > share);
        let is_old = |guest: &Guest| now.saturating_duration_since(guest.since) > limits::STRANGER;
        let gives_way = |guest: &Guest| is_old(guest) || is_greedy(guest.block) && !is_greedy(block);
        let ripe = strangers().filter(|(_, guest)| gives_way(guest) && may_go(guest));
        // Of equals max_by_key gives the last: hence from the latest to the first.
        let ripe: Vec<_> = ripe.collect();
        ripe.into_iter().rev().max_by_key(|(_, guest)| crowds.get(&guest.block)).map(|(pid, _)| pid)
    }

    /// How many are served; those who are leaving are not.
    pub fn count(&self) -> u32 {
        self.guests.count() as u32 - self.leaving
    }

    /// Lets a stranger in.
    pub fn enter(&mut self, pid: Pid, peer: &Peer, now: Instant) {
        let guest = Guest {
            origin: peer.origin(),
            block: block_of(peer),
            since: now,
            logged_in: false,
            leaving: None,
            named: false,
        };
        self.seat(&guest);
        self.strangers.push(pid);
        self.guests.insert(pid, guest);
    }

    /// A stranger has logged in; one who was being sent away is back in time. `false` for anybody else.
    pub fn log_in(&mut self, pid: Pid) -> bool {
        let Some(mut guest) = self.guests.get(pid) else { return false };
        let first = !std::mem::replace(&mut guest.logged_in, true);
        if first && guest.leaving.take().is_some() {
            self.leaving -= 1;
            self.seat(&guest);
        }
        self.strangers.retain(|stranger| *stranger != pid);
        self.guests.insert(pid, guest);
        first
    }

    /// A guest is sent away: its place is free.
    pub fn send_away(&mut self, pid: Pid, now: Instant) {
        let Some(mut guest) = self.guests.get(pid) else { return };
        if guest.leaving.is_none() {
            self.unseat(&guest);
            self.strangers.retain(|stranger| *stranger != pid);
            self.leaving += 1;
            guest.leaving = Some(now);
        }
        self.guests.insert(pid, guest);
    }

    /// A guest has gone. `true` if it had been sent away.
    pub fn leave(&mut self, pid: Pid) -> bool {
        let Some(guest) = self.guests.remove(pid) else { return false };
        if guest.leaving.is_some() {
            self.leaving -= 1;
        } else {
            self.unseat(&guest);
            self.strangers.retain(|stranger| *stranger != pid);
        }
        guest.leaving.is_some()
    }

    /// All who have not logged in.
    pub fn strangers(&self) -> &[Pid] {
        &self.strangers
    }

    /// Those who were sent away before `then` and are still here. Each is named once: who is killed may take long to die.
    pub fn overdue(&mut self, then: Instant) -> Vec<Pid> {
        if self.leaving == 0 {
            return Vec::new(); // the usual case, and asked at each turn
        }
        let is_late = |guest: &Guest| !guest.named && guest.leaving.is_some_and(|at| at <= then);
        let late: Vec<_> = self.guests.iter().filter(|(_, guest)| is_late(guest)).collect();
        late.iter().for_each(|(pid, guest)| self.guests.insert(*pid, Guest { named: true, ..*guest }));
        late.into_iter().map(|(pid, _)| pid).collect()
    }

    /// The limits that hold.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Since when a guest has been sent away; `None` of one who has not.
    pub fn leaving_since(&self, pid: Pid) -> Option<Instant> {
        self.guests.get(pid)?.leaving
    }

    /// Whether anybody who was sent away is still here.
    pub fn has_leaving(&self) -> bool {
        self.leaving > 0
    }

    fn seat(&mut self, guest: &Guest) {
        self.by_origin.add(guest.origin);
        guest.block.into_iter().for_each(|block| self.by_block.add(block));
    }

    fn unseat(&mut self, guest: &Guest) {
        self.by_origin.remove(guest.origin);
        guest.block.into_iter().for_each(|block| self.by_block.remove(block));
    }
}

fn block_of(peer: &Peer) -> Option<Block> {
    match peer.origin() {
        Origin::Ip(ip) => Some(Block::of(ip)),
        Origin::Uid(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);
    /// A dice that never refuses before the room is full.
    const LUCKY: u32 = u32::MAX;

    struct Party {
        room: Room,
        start: Instant,
        next: i32,
    }

    impl Party {
        fn new(clients: u32, per_ip: u32, per_net: u32, logins: u32) -> Party {
            let room = Room::new(Limits { clients, per_ip, per_net, logins }).unwrap();
            Party { room, start: Instant::now(), next: 0 }
        }

        fn ask(&self, address: &str, ms: u64, dice: u32) -> Result<Option<i32>, Refusal> {
            let now = self.start + Duration::from_millis(ms);
            self.room.ask(&peer(address), now, || dice).map(|pid| pid.map(Pid::as_raw))
        }

        /// Lets one in, in place of whomever the room names; its number.
        fn enter(&mut self, address: &str, ms: u64) -> Result<i32, Refusal> {
            let now = self.start + Duration::from_millis(ms);
            if let Some(pid) = self.ask(address, ms, LUCKY)? {
                self.room.send_away(Pid::from_raw(pid), now);
            }
            self.next += 1;
            self.room.enter(Pid::from_raw(self.next), &peer(address), now);
            Ok(self.next)
        }

        fn log_in(&mut self, pid: i32) {
            assert!(self.room.log_in(Pid::from_raw(pid)));
        }
    }

    fn peer(address: &str) -> Peer {
        match address.strip_prefix("uid:") {
            Some(uid) => Peer::Unix(uid.parse().unwrap()),
            None => Peer::Tcp((address.parse::<std::net::IpAddr>().unwrap(), 1).into()),
        }
    }

    #[test]
    fn each_limit_refuses_with_its_own_reason_where_nobody_can_be_sent_away() {
        for (limits, addresses, next, refusal) in [
            ((3, 9, 9, 9), ["192.0.2.1", "192.0.2.2", "uid:1"], "198.51.100.1", Refusal::Full),
            ((9, 3, 9, 9), ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], "192.0.2.1", Refusal::Address),
            ((9, 9, 3, 9), ["192.0.2.1", "192.0.2.2", "192.0.2.3"], "192.0.2.4", Refusal::Network),
            ((9, 9, 3, 9), ["2001:db8::1", "2001:db8::2", "2001:db8::3"], "2001:db8::4", Refusal::Network),
            ((9, 3, 1, 9), ["uid:1", "uid:1", "uid:1"], "uid:1", Refusal::Address), // in no network
        ] {
            let (clients, per_ip, per_net, logins) = limits;
            let mut party = Party::new(clients, per_ip, per_net, logins);
            for address in addresses {
                let pid = party.enter(address, 0).unwrap();
                party.log_in(pid);
            }
            assert_eq!(party.ask(next, 60_000, LUCKY), Err(refusal));
            assert_eq!(
                party.ask("203.0.113.1", 0, LUCKY).is_ok(),
                refusal != Refusal::Full,
                "others are not concerned"
            );
            party.room.leave(Pid::from_raw(2));
            assert_eq!(party.ask(next, 0, LUCKY), Ok(None), "a place is free again");
        }
        let mut party = Party::new(9, 9, 9, 3);
        for _ in 0..3 {
            party.enter("192.0.2.1", 0).unwrap();
        }
        assert_eq!(party.ask("192.0.2.2", 0, LUCKY), Err(Refusal::Logins));
        party.log_in(2);
        assert_eq!(party.ask("198.51.100.1", 0, LUCKY), Ok(None), "a user takes no place among the strangers");
    }

    #[test]
    fn the_dice_refuses_the_more_the_fuller_the_room_is() {
        // A generator with a known seed (Knuth's MMIX): the same numbers each time.
        let mut seed = 1u64;
        let mut dice = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 32) as u32
        };
        for (strangers, due) in [(0, 0.0), (50, 0.0), (60, 0.2), (75, 0.5), (90, 0.8), (99, 0.98), (100, 1.0)] {
            let mut party = Party::new(1000, 1000, 1000, 100);
            for _ in 0..strangers {
                party.enter("192.0.2.1", 0).unwrap();
            }
            let refused = (0..10_000).filter(|_| party.ask("192.0.2.2", 0, dice()).is_err()).count();
            let share = refused as f64 / 10_000.0;
            assert!((share - due).abs() < 0.02, "{strangers} strangers: {share}");
        }
    }

    #[test]
    fn the_stranger_who_has_waited_longest_in_the_busiest_network_goes() {
        let mut party = Party::new(100, 100, 100, 4);
        party.enter("198.51.100.1", 0).unwrap(); // waits longest, but alone
        let busy: Vec<i32> = (1..=3).map(|n| party.enter(&format!("192.0.2.{n}"), n).unwrap()).collect();
        assert_eq!(party.ask("192.0.2.9", 1000, LUCKY), Err(Refusal::Logins), "all are young");
        assert_eq!(party.ask("203.0.113.1", 1002, LUCKY), Ok(Some(busy[0])));
        party.log_in(busy[0]);
        party.enter("203.0.113.1", 1002).unwrap();
        assert_eq!(party.ask("203.0.113.2", 1003, LUCKY), Ok(Some(busy[1])), "users stay");
        // Lucky or not: whoever can be sent away is, before the dice refuses anybody.
        party.room.leave(Pid::from_raw(1));
        assert_eq!(party.ask("203.0.113.2", 1005, 0), Ok(Some(busy[1])));
        assert_eq!(party.ask("203.0.113.2", 1005, LUCKY), Ok(None));
    }

    #[test]
    fn a_network_with_more_than_its_share_loses_even_the_young_to_another() {
        let mut party = Party::new(100, 100, 100, 12);
        let busy: Vec<i32> = (0..9).map(|_| party.enter("192.0.2.1", 0).unwrap()).collect();
        for _ in 0..3 {
            party.enter("198.51.100.1", 0).unwrap(); // just its share
        }
        assert_eq!(party.ask("192.0.2.1", 0, LUCKY), Err(Refusal::Logins), "not to its own");
        assert_eq!(party.ask("203.0.113.1", 0, LUCKY), Ok(Some(busy[0])));
        assert_eq!(party.ask("uid:1", 0, LUCKY), Ok(Some(busy[0])));
        for pid in &busy[..7] {
            party.room.leave(Pid::from_raw(*pid));
        }
        for n in 1..=7 {
            party.enter(&format!("203.0.{n}.1"), 0).unwrap();
        }
        assert_eq!(party.ask("203.0.113.1", 0, LUCKY), Err(Refusal::Logins), "nobody has more");
    }

    #[test]
    fn for_its_own_limit_an_address_loses_its_own_stranger_and_nobody_elses() {
        let mut party = Party::new(100, 2, 3, 50);
        for n in 10..30 {
            party.enter(&format!("192.0.{n}.1"), 0).unwrap();
        }
        let first = party.enter("198.51.100.1", 10).unwrap();
        let second = party.enter("198.51.100.1", 20).unwrap();
        assert_eq!(party.ask("198.51.100.1", 5000, LUCKY), Ok(Some(first)));
        party.log_in(first);
        assert_eq!(party.ask("198.51.100.1", 5000, LUCKY), Ok(Some(second)));
        party.log_in(second);
        assert_eq!(party.ask("198.51.100.1", 5000, LUCKY), Err(Refusal::Address));
        let third = party.enter("198.51.100.2", 30).unwrap();
        assert_eq!(party.ask("198.51.100.3", 5000, LUCKY), Ok(Some(third)), "its network's");
    }

    #[test]
    fn whoever_is_sent_away_takes_no_place_and_who_logs_in_meanwhile_stays() {
        let mut party = Party::new(100, 1, 100, 2);
        let first = party.enter("192.0.2.1", 0).unwrap();
        let second = party.enter("192.0.2.1", 2000).unwrap();
        assert_eq!((party.room.count(), party.room.strangers().len()), (1, 1));
        assert!(party.room.overdue(party.start + SECOND).is_empty());
        assert_eq!(party.room.overdue(party.start + 2 * SECOND), [Pid::from_raw(first)]);
        assert_eq!(party.room.overdue(party.start + 9 * SECOND), [], "named once, though it still dies");
        party.log_in(first);
        assert_eq!((party.room.count(), party.room.has_leaving()), (2, false));
        assert!(!party.room.log_in(Pid::from_raw(first)), "only once");
        assert!(!party.room.log_in(Pid::from_raw(99)), "nobody");
        assert!(!party.room.leave(Pid::from_raw(first)));
        party.room.send_away(Pid::from_raw(second), party.start);
        assert!(party.room.log_in(Pid::from_raw(second)), "back in time, once");
        party.room.send_away(Pid::from_raw(second), party.start);
        assert!(!party.room.log_in(Pid::from_raw(second)), "a user who is sent away cannot come back by saying so");
        assert!(party.room.leave(Pid::from_raw(second)));
        assert_eq!((party.room.count(), party.room.has_leaving()), (0, false));
        assert!(party.room.by_origin.0.is_empty() && party.room.by_block.0.is_empty(), "nothing is left behind");
    }

    #[test]
    fn while_too_many_are_leaving_nobody_else_is_sent_away() {
        let mut party = Party::new(100, 100, 100, 2);
        for ms in [0, 0, 2000, 2000] {
            party.enter("192.0.2.1", ms).unwrap();
        }
        assert_eq!(party.ask("192.0.2.1", 9000, LUCKY), Err(Refusal::Logins));
        party.room.leave(Pid::from_raw(1));
        assert_eq!(party.ask("192.0.2.1", 9000, LUCKY), Ok(Some(3)));
    }
}
