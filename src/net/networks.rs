//! Networks in allow and deny lists, in CIDR notation (RFC 4632, RFC 4291). No names: a rule that a name server can change, or that
//! means nothing while the name server is away, guards nothing.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use thiserror::Error;

/// One network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpNet);

/// Why a text names no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{0}' is no network: write 192.0.2.0/24, 2001:db8::/32, or a single address")]
pub struct BadNetwork(String);

impl FromStr for Network {
    type Err = BadNetwork;
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        // 10.0.0.1/8 may mean 10.0.0.1 or 10.0.0.0/8: whoever wrote it must say which.
        // An IPv4 network written as IPv6 would hold nobody: addresses are compared as what they are.
        let is_mapped = |network: &IpNet| matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some());
        let sound = network.filter(|network| network.trunc() == *network && !is_mapped(network));
        sound.map(Network).ok_or_else(|| BadNetwork(text.into()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Network {
    /// Its first address, and its mask.
    pub fn ends(&self) -> [IpAddr; 2] {
        [self.0.network(), self.0.netmask()]
    }

    /// Whether `address` lies in it. An IPv4 address counts as such also where it arrives as IPv4-mapped IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

/// Whether any of `networks` holds `address`.
pub fn any_contains(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
        ] {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), inside, "{network} {address}");
        }
    }

    #[test]
    fn what_is_doubtful_is_no_network() {
        for text in [
            "",
            "all",
            "localhost",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0",
            "1.2.3.4 ",
            "2001:db8::1/32",
            "10.0.0.0/08x",
            "::ffff:192.0.2.1",
            "::ffff:192.0.2.0/120",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
