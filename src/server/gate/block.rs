//! Networks as the gate counts them: what one customer of a provider usually has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A neighbourhood: an IPv4 /24 or an IPv6 /64, by its first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block(IpAddr);

impl Block {
    /// The neighbourhood of `address`.
    pub fn of(address: IpAddr) -> Self {
        Block(match address.to_canonical() {
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !0xff).into(),
            IpAddr::V6(v6) => network_64(v6).into(),
        })
    }

    /// Its first address; it is the one of that alone.
    pub fn first(self) -> IpAddr {
        self.0
    }

    /// What answers for its offences: an IPv4 address alone, since many strangers share a /24; of IPv6 the /64, since one
    /// machine has all of its addresses.
    pub fn of_offender(address: IpAddr) -> Self {
        Block(match address.to_canonical() {
            IpAddr::V6(v6) => network_64(v6).into(),
            v4 => v4,
        })
    }
}

fn network_64(v6: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_a_v4_24_or_a_v6_64() {
        let block = |text: &str| Block::of(text.parse().unwrap());
        let offender = |text: &str| Block::of_offender(text.parse().unwrap());
        assert_eq!(block("192.0.2.1"), block("::ffff:192.0.2.254"));
        assert_ne!(block("192.0.2.1"), block("192.0.3.1"));
        assert_eq!(block("2001:db8:0:1::1"), block("2001:db8:0:1:ffff::2"));
        assert_ne!(block("2001:db8:0:1::1"), block("2001:db8:0:2::1"));
        assert_eq!(offender("2001:db8:0:1::1"), offender("2001:db8:0:1:ffff::2"));
        assert_eq!(offender("192.0.2.1"), offender("::ffff:192.0.2.1"));
        assert_ne!(offender("192.0.2.1"), offender("192.0.2.2"));
    }
}
