//! Which accounts may log in, and from where. It is decided before a login, so neither the result for a wrong password nor the time may
//! tell whose account has rules: every question looks at every rule of every account, in the same way, whatever the name is.
//!
//! So the rules have a fixed form, each `RULE` bytes: the account's name filled up with zeros, what the rule says, and a network as
//! family, address and mask. They stand before the records of limits ([`super::limits`]), behind their number in eight bytes.

use super::limits::{Barred, EVERYBODY, Limits};
use super::name;
use crate::net::networks::Network;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileExt;

/// Bytes of a rule.
const RULE: usize = name::LONGEST + 2 + 2 * ADDRESS;
/// Bytes of an address; of IPv4 the last four count.
const ADDRESS: usize = 16;
/// Bytes of the number of rules.
const HEAD: usize = 8;

/// What a rule says: that the account has its own, that it is disabled, that it may log in from the network, that it may not.
const OWN: u8 = b'o';
const DISABLED: u8 = b'x';
const ALLOW: u8 = b'+';
const DENY: u8 = b'-';

/// The rules of these accounts.
pub(super) fn encode<'a>(accounts: impl Iterator<Item = (&'a str, &'a Limits)>) -> Vec<u8> {
    let mut rules = vec![0; HEAD];
    for (name, limits) in accounts {
        let key = key(name);
        let mut add = |says: u8, network: Option<&Network>| {
            let ends = network.map(Network::ends);
            let [address, mask] = ends.map_or([(0, 0); 2], |ends| ends.map(bits));
            rules.extend(key);
            rules.extend([says, address.0]);
            rules.extend([address.1, mask.1].map(u128::to_be_bytes).concat());
        };
        add(OWN, None);
        if limits.disabled {
            add(DISABLED, None);
        }
        limits.allow.iter().for_each(|network| add(ALLOW, Some(network)));
        limits.deny.iter().for_each(|network| add(DENY, Some(network)));
    }
    let count = ((rules.len() - HEAD) / RULE) as u64;
    rules.iter_mut().zip(count.to_be_bytes()).for_each(|(to, from)| *to = from);
    rules
}

/// Where the records behind the rules begin.
pub(super) fn length(records: &File) -> io::Result<u64> {
    let mut head = [0; HEAD];
    records.read_exact_at(&mut head, 0)?;
    let rules = u64::from_be_bytes(head).checked_mul(RULE as u64).and_then(|length| length.checked_add(HEAD as u64));
    rules.filter(|length| records.metadata().is_ok_and(|found| *length <= found.len())).ok_or_else(damaged)
}

/// What is known of an account after all rules.
#[derive(Default)]
struct Verdict {
    own: bool,
    disabled: bool,
    picky: bool,
    allowed: bool,
    denied: bool,
}

impl Verdict {
    /// Without a branch: what a rule says is weighed whoever it is for.
    fn weigh(&mut self, mine: bool, says: u8, inside: bool) {
        self.own |= mine & (says == OWN);
        self.disabled |= mine & (says == DISABLED);
        self.picky |= mine & (says == ALLOW);
        self.allowed |= mine & (says == ALLOW) & inside;
        self.denied |= mine & (says == DENY) & inside;
    }
}

/// Why the account of `name`, any text, may not log in from `peer`; one without rules of its own has those of everybody. A Unix socket has
/// no address and counts as 127.0.0.1. Reads at stated offsets only: a descriptor that was forked shares its position.
pub fn bar(records: &File, name: &str, peer: Option<IpAddr>) -> io::Result<Option<Barred>> {
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ip| ip.to_canonical());
    let (family, here) = bits(peer);
    let mut rules = vec![0; usize::try_from(length(records)?).map_err(io::Error::other)?];
    records.read_exact_at(&mut rules, 0)?;
    let (asked, all) = (key(name), key(EVERYBODY));
    let (mut of_name, mut of_all) = (Verdict::default(), Verdict::default());
    for rule in rules.get(HEAD..).unwrap_or_default().as_chunks::<RULE>().0 {
        let Some((owner, rest)) = rule.split_first_chunk::<{ name::LONGEST }>() else { return Err(damaged()) };
        let (&[says, of_family], rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let &[address, mask] = rest.as_chunks::<ADDRESS>().0 else { return Err(damaged()) };
        let inside = (of_family == family) & (here & u128::from_be_bytes(mask) == u128::from_be_bytes(address));
        of_name.weigh(*owner == asked, says, inside);
        of_all.weigh(*owner == all, says, inside);
    }
    if !of_all.own {
        return Err(damaged()); // no rules known is not no rules
    }
    let Verdict { disabled, picky, allowed, denied, .. } = if of_name.own { of_name } else { of_all };
    Ok(match (disabled, denied || (picky && !allowed)) {
        (true, _) => Some(Barred::Disabled),
        (false, true) => Some(Barred::Address(peer)),
        (false, false) => None,
    })
}

/// A name as it stands in a rule; what can be none is nobody's.
fn key(name: &str) -> [u8; name::LONGEST] {
    let mut key = [0; name::LONGEST];
    if let Some(place) = key.get_mut(..name.len()).filter(|_| !name.contains('\0')) {
        place.copy_from_slice(name.as_bytes());
    }
    key
}

/// The family of an address, and its bits.
fn bits(address: IpAddr) -> (u8, u128) {
    match address {
        IpAddr::V4(v4) => (4, v4.to_bits().into()),
        IpAddr::V6(v6) => (6, v6.to_bits()),
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the records of limits are damaged; reload them")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::limits::{create, write};
    use crate::net::networks::any_contains;
    use proptest::prelude::*;

    fn networks(list: &[&str]) -> Vec<Network> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn records(everybody: &Limits, own: &[(&str, &Limits)]) -> File {
        let mut records = create().unwrap();
        write(everybody, own.iter().copied(), &mut records).unwrap();
        records
    }

    fn at(records: &File, name: &str, ip: &str) -> Option<Barred> {
        bar(records, name, Some(ip.parse().unwrap())).unwrap()
    }

    #[test]
    fn deny_beats_allow_and_an_empty_allow_is_everywhere() {
        let home = Limits { allow: networks(&["192.0.2.0/24"]), deny: networks(&["192.0.2.66"]), ..Limits::default() };
        let local = Limits { allow: networks(&["127.0.0.0/8"]), ..Limits::default() };
        let shut = Limits { disabled: true, ..local.clone() };
        let table = records(&Limits::default(), &[("home", &home), ("local", &local), ("shut", &shut)]);
        assert_eq!(at(&table, "home", "192.0.2.1"), None);
        assert_eq!(at(&table, "home", "::ffff:192.0.2.1"), None);
        assert!(matches!(at(&table, "home", "192.0.2.66"), Some(Barred::Address(_))));
        assert!(matches!(at(&table, "home", "::ffff:192.0.2.66"), Some(Barred::Address(_))));
        assert!(matches!(at(&table, "home", "198.51.100.1"), Some(Barred::Address(_))));
        let unix = |name| bar(&table, name, None).unwrap();
        assert!(unix("home").is_some(), "a Unix socket is this machine, which is not in the list");
        assert_eq!((unix("local"), unix("shut")), (None, Some(Barred::Disabled)));
        assert_eq!(at(&table, "nobody", "198.51.100.1"), None);
    }

    #[test]
    fn rules_are_their_accounts_own_and_all_others_have_those_of_everybody() {
        let everybody = Limits { deny: networks(&["0.0.0.0/0", "::/0"]), ..Limits::default() };
        let free = Limits::default();
        let longest = "a".repeat(32);
        let table = records(&everybody, &[("share", &free), (&longest, &free)]);
        for (name, enters) in
            [("share", true), (&longest, true), ("shar", false), ("share-", false), ("share\0", false)]
        {
            assert_eq!(at(&table, name, "192.0.2.1").is_none(), enters, "{name:?}");
        }
        for name in ["", "*", "nobody", &"a".repeat(31), &"a".repeat(33), &"a".repeat(5000)] {
            assert!(at(&table, name, "2001:db8::1").is_some(), "{name:?}");
        }
        assert!(bar(&create().unwrap(), "share", None).is_err(), "no rules known is not no rules");
        let all = std::fs::read(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&table))).unwrap();
        for cut in [0, 7, 8, 50] {
            let mut less = create().unwrap();
            std::io::Write::write_all(&mut less, &all[..cut]).unwrap();
            assert!(bar(&less, "share", None).is_err(), "{cut} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_network_holds_what_it_holds_elsewhere(text in "(10\\.0\\.0\\.0/8|192\\.0\\.2\\.(0/2[4-9]|7)|0\\.0\\.0\\.0/0|::/0|::1|2001:db8::/(32|64))",
                                                   peer in "(10\\.[0-9]\\.0\\.1|192\\.0\\.2\\.[1-9][0-9]?|::1|2001:db8:[01]::[0-9]|::ffff:10\\.0\\.0\\.1)") {
            let list = networks(&[&text]);
            let peer: IpAddr = peer.parse().unwrap();
            let inside = any_contains(&list, peer.to_canonical());
            let (allow, deny) = (Limits { allow: list.clone(), ..Limits::default() }, Limits { deny: list, ..Limits::default() });
            let table = records(&Limits::default(), &[("a", &allow), ("b", &deny)]);
            prop_assert_eq!(bar(&table, "a", Some(peer)).unwrap().is_none(), inside);
            prop_assert_eq!(bar(&table, "b", Some(peer)).unwrap().is_some(), inside);
        }
    }
}
