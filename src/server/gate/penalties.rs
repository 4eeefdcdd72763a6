//! Penalties by address, after OpenSSH's `PerSourcePenalties` (sshd_config(5)). Each offence adds seconds, and more while an
//! earlier penalty still runs; while more than [`limits::FORGIVEN`] is left, connections are refused. The list is bounded.
//!
//! A connection that is refused adds nothing, so a client that keeps trying is let in when its time is over. A login that
//! succeeds takes nothing away: else whoever has an account could guess at others' for ever.

use super::block::Block;
use crate::net::Network;
use crate::net::networks::any_contains;
use crate::proto::limits;
use crate::server::ending::{Ending, Fate};
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// What an address is penalised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offence {
    /// As many refused logins as a connection has.
    Refused,
    /// It left after a refused login, or logged in after one, or broke the protocol.
    Guess,
    /// No login in time.
    Silent,
    /// Its session crashed.
    Crash,
}

impl Offence {
    /// The offence in the end of a session. Connecting and closing is none: that is how monitoring looks whether a server is there.
    pub fn of(fate: Fate) -> Option<Offence> {
        match fate {
            Fate::Ended(Ending::LoginRefused) => Some(Offence::Refused),
            Fate::Ended(Ending::Guessed | Ending::GuessedFirst | Ending::Protocol) => Some(Offence::Guess),
            Fate::Ended(Ending::LoginTimedOut) => Some(Offence::Silent),
            Fate::Status(_) | Fate::Killed(_) => Some(Offence::Crash),
            Fate::Ended(
                Ending::LoggedOut
                | Ending::Vanished
                | Ending::TimedOut
                | Ending::ShutDown
                | Ending::SentAway
                | Ending::Turned
                | Ending::Kicked
                | Ending::Failed,
            ) => None,
        }
    }

    fn seconds(self) -> Duration {
        match self {
            Offence::Refused => limits::PENALTY_REFUSED,
            Offence::Guess => limits::PENALTY_GUESS,
            Offence::Silent => limits::PENALTY_SILENT,
            Offence::Crash => limits::PENALTY_CRASH,
        }
    }
}

/// What an address has to wait for.
#[derive(Debug, Clone, Copy)]
struct Penalty {
    until: Instant,
    /// What its next offence is multiplied by.
    growth: u32,
}

/// All penalties that run.
#[derive(Debug)]
pub struct Penalties {
    longest: Duration,
    exempt: Vec<Network>,
    by_block: HashMap<Block, Penalty>,
    /// The same by their end: those that are over, and those to forget first.
    by_end: BTreeSet<(Instant, Block)>,
}

impl Penalties {
    /// No penalties yet. Nobody is refused for longer than `longest`; zero switches them off. `exempt` networks have none.
    pub fn new(longest: Duration, exempt: Vec<Network>) -> Self {
        Penalties { longest, exempt, by_block: HashMap::new(), by_end: BTreeSet::new() }
    }

    /// Rules from now on. Of the penalties that run none is longer than one could be now.
    pub fn change(&mut self, longest: Duration, exempt: Vec<Network>, now: Instant) {
        (self.longest, self.exempt) = (longest, exempt);
        let latest = now + longest + limits::FORGIVEN;
        self.by_block.values_mut().for_each(|penalty| penalty.until = penalty.until.min(latest));
        self.by_end = self.by_block.iter().map(|(block, penalty)| (penalty.until, *block)).collect();
    }

    /// How long connections from `address` are refused still; `None` if they are not.
    pub fn banned(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let penalty = self.by_block.get(&Block::of_offender(address))?;
        let left = penalty.until.saturating_duration_since(now);
        let over = left.checked_sub(limits::FORGIVEN).filter(|over| !over.is_zero())?;
        // Who is exempt may have become so since.
        (!any_contains(&self.exempt, address)).then_some(over)
    }

    /// All that run: an address that it is for, until when, and what the next offence is multiplied by. To be handed over.
    pub fn all(&self) -> impl Iterator<Item = (IpAddr, Instant, u32)> {
        self.by_block.iter().map(|(block, penalty)| (block.first(), penalty.until, penalty.growth))
    }

    /// Takes a penalty over that another program kept.
    pub fn resume(&mut self, address: IpAddr, until: Instant, growth: u32) {
        if self.longest.is_zero() || any_contains(&self.exempt, address) || self.by_block.len() >= limits::PENALISED {
            return;
        }
        let block = Block::of_offender(address);
        let growth = growth.clamp(1, limits::PENALTY_GROWTH);
        if self.by_block.insert(block, Penalty { until, growth }).is_none() {
            self.by_end.insert((until, block));
        }
    }

    /// Adds an offence.
    pub fn add(&mut self, address: IpAddr, offence: Offence, now: Instant) {
        if self.longest.is_zero() || any_contains(&self.exempt, address) {
            return;
        }
        self.forget_what_is_over(now);
        let block = Block::of_offender(address);
        let old = self.by_block.get(&block).copied();
        if let Some(old) = old {
            self.by_end.remove(&(old.until, block));
        } else if self.by_block.len() >= limits::PENALISED
            && let Some((_, soonest)) = self.by_end.pop_first()
        {
            self.by_block.remove(&soonest);
        }
        let penalty = self.grown(old.unwrap_or(Penalty { until: now, growth: 1 }), offence, now);
        self.by_end.insert((penalty.until, block));
        self.by_block.insert(block, penalty);
    }

    /// A penalty and one more offence.
    fn grown(&self, old: Penalty, offence: Offence, now: Instant) -> Penalty {
        let left = old.until.saturating_duration_since(now);
        if offence == Offence::Silent {
            let silence = (left + offence.seconds()).min(limits::FORGIVEN);
            return Penalty { until: now + left.max(silence), ..old };
        }
        let more = (left + offence.seconds() * old.growth).min(self.longest + limits::FORGIVEN);
        Penalty { until: now + more, growth: (old.growth * 2).min(limits::PENALTY_GROWTH) }
    }

    fn forget_what_is_over(&mut self, now: Instant) {
        while let Some((_, block)) = self.by_end.first().copied().filter(|(until, _)| *until <= now) {
            self.by_end.pop_first();
            self.by_block.remove(&block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn penalties() -> Penalties {
        Penalties::new(Duration::from_secs(600), vec!["203.0.113.0/24".parse().unwrap()])
    }

    /// Seconds of a ban.
    fn ban(penalties: &Penalties, address: &str, now: Instant) -> u64 {
        penalties.banned(at(address), now).map_or(0, |left| left.as_secs())
    }

    #[test]
    fn three_typos_are_forgiven_and_three_more_are_not() {
        let (mut penalties, now) = (penalties(), Instant::now());
        penalties.add(at("192.0.2.1"), Offence::Refused, now);
        assert_eq!(penalties.banned(at("192.0.2.1"), now), None);
        penalties.add(at("192.0.2.1"), Offence::Refused, now);
        assert_eq!(ban(&penalties, "192.0.2.1", now), 15); // 10 and twice 10, less the 15 that are forgiven
        assert_eq!(penalties.banned(at("192.0.2.2"), now), None, "a neighbour");
    }

    #[test]
    fn a_penalty_grows_with_each_offence_up_to_the_limit_and_ends() {
        let (mut penalties, mut now) = (penalties(), Instant::now());
        let mut bans = Vec::new();
        for _ in 0..8 {
            penalties.add(at("192.0.2.1"), Offence::Refused, now);
            let left = penalties.banned(at("192.0.2.1"), now);
            bans.push(left.map_or(0, |left| left.as_secs()));
            // Refused connections meanwhile change nothing: it is let in when the time is over, and offends again.
            now += left.unwrap_or_default();
            assert_eq!(penalties.banned(at("192.0.2.1"), now), None);
        }
        assert_eq!(bans, [0, 15, 40, 80, 160, 320, 320, 320]);
        penalties.add(at("192.0.2.1"), Offence::Crash, now);
        assert_eq!(ban(&penalties, "192.0.2.1", now), 600, "the longest");
        // Nothing of it stays.
        now += HOUR;
        penalties.add(at("192.0.2.1"), Offence::Refused, now);
        assert_eq!(penalties.banned(at("192.0.2.1"), now), None);
        assert_eq!(penalties.by_block.len(), 1);
    }

    #[test]
    fn penalties_that_are_taken_over_go_on_as_they_were() {
        let (mut old, mut new, now) = (penalties(), penalties(), Instant::now());
        for _ in 0..4 {
            old.add(at("192.0.2.1"), Offence::Refused, now);
            old.add(at("2001:db8::1"), Offence::Crash, now);
        }
        old.all().for_each(|(address, until, growth)| new.resume(address, until, growth));
        for penalties in [&mut old, &mut new] {
            assert_eq!((ban(penalties, "192.0.2.1", now), ban(penalties, "2001:db8::2", now)), (135, 600));
            penalties.add(at("192.0.2.1"), Offence::Refused, now);
        }
        assert_eq!(ban(&old, "192.0.2.1", now), ban(&new, "192.0.2.1", now), "the next counts as much");
        new.forget_what_is_over(now + HOUR);
        assert_eq!((new.by_block.len(), new.by_end.len()), (0, 0));
    }

    #[test]
    fn one_guess_a_connection_is_no_way_around() {
        let (mut penalties, now) = (penalties(), Instant::now());
        let connections = (1..).find(|_| {
            penalties.add(at("192.0.2.1"), Offence::Guess, now);
            penalties.banned(at("192.0.2.1"), now).is_some()
        });
        assert_eq!(connections, Some(3));
    }

    #[test]
    fn a_crash_bans_at_once_and_silence_never() {
        let (mut penalties, now) = (penalties(), Instant::now());
        penalties.add(at("192.0.2.1"), Offence::Crash, now);
        assert_eq!(ban(&penalties, "192.0.2.1", now), 45);
        for _ in 0..5_000 {
            penalties.add(at("192.0.2.2"), Offence::Silent, now);
        }
        assert_eq!(penalties.banned(at("192.0.2.2"), now), None);
        penalties.add(at("192.0.2.2"), Offence::Guess, now);
        assert!(penalties.banned(at("192.0.2.2"), now).is_some(), "but it uses the credit up");
        let before = ban(&penalties, "192.0.2.1", now);
        penalties.add(at("192.0.2.1"), Offence::Silent, now);
        assert_eq!(ban(&penalties, "192.0.2.1", now), before, "nor does it shorten a ban");
    }

    #[test]
    fn what_costs_nothing_and_what_does() {
        use nix::sys::signal::Signal;
        for (fate, offence) in [
            (Fate::Ended(Ending::Vanished), None), // a health check
            (Fate::Ended(Ending::LoggedOut), None),
            (Fate::Ended(Ending::TimedOut), None),
            (Fate::Ended(Ending::ShutDown), None),
            (Fate::Ended(Ending::SentAway), None),
            (Fate::Ended(Ending::Failed), None),
            (Fate::Ended(Ending::LoginRefused), Some(Offence::Refused)),
            (Fate::Ended(Ending::Guessed), Some(Offence::Guess)),
            (Fate::Ended(Ending::GuessedFirst), Some(Offence::Guess)),
            (Fate::Ended(Ending::Protocol), Some(Offence::Guess)),
            (Fate::Ended(Ending::LoginTimedOut), Some(Offence::Silent)),
            (Fate::Status(101), Some(Offence::Crash)),
            (Fate::Killed(Signal::SIGSEGV), Some(Offence::Crash)),
        ] {
            assert_eq!(Offence::of(fate), offence, "{fate}");
        }
    }

    #[test]
    fn exempt_networks_have_none_and_zero_switches_them_off() {
        let now = Instant::now();
        let mut off = Penalties::new(Duration::ZERO, Vec::new());
        let mut on = penalties();
        for _ in 0..9 {
            off.add(at("192.0.2.1"), Offence::Crash, now);
            on.add(at("203.0.113.9"), Offence::Crash, now);
        }
        assert_eq!((off.banned(at("192.0.2.1"), now), on.banned(at("203.0.113.9"), now)), (None, None));
    }

    #[test]
    fn a_v6_network_answers_as_one_and_a_wide_one_cannot_fill_the_memory_or_free_the_banned() {
        let (mut penalties, now) = (penalties(), Instant::now());
        penalties.add(at("2001:db8::1"), Offence::Refused, now);
        penalties.add(at("2001:db8::2"), Offence::Refused, now);
        assert!(penalties.banned(at("2001:db8::3"), now).is_some());
        penalties.add(at("192.0.2.1"), Offence::Crash, now);
        for n in 0..3 * limits::PENALISED as u128 {
            let address = IpAddr::V6(((0x2001_0db8_u128 << 96) + ((n + 1) << 64) + 1).into());
            penalties.add(address, Offence::Guess, now);
        }
        assert_eq!((penalties.by_block.len(), penalties.by_end.len()), (limits::PENALISED, limits::PENALISED));
        assert!(penalties.banned(at("192.0.2.1"), now).is_some(), "the longest are kept");
    }
}
