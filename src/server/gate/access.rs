//! Who may connect at all, by network.

use crate::net::Network;
use crate::net::networks::any_contains;
use std::net::IpAddr;

/// The operator's lists. Unix sockets have their file modes instead.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// If any network is named here, all else is denied.
    pub allow: Vec<Network>,
    /// Beats `allow`.
    pub deny: Vec<Network>,
}

impl Access {
    /// Whether `address` may connect.
    pub fn allows(&self, address: IpAddr) -> bool {
        !any_contains(&self.deny, address) && (self.allow.is_empty() || any_contains(&self.allow, address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn deny_beats_allow_and_one_allowed_network_denies_all_others() {
        for (allow, deny, address, allowed) in [
            (&[][..], &[][..], "192.0.2.1", true),
            (&[], &["192.0.2.0/24"], "192.0.2.1", false),
            (&[], &["192.0.2.0/24"], "::ffff:192.0.2.1", false),
            (&[], &["192.0.2.0/24"], "192.0.3.1", true),
            (&["192.0.2.0/24"], &[], "192.0.2.1", true),
            (&["192.0.2.0/24"], &[], "2001:db8::1", false),
            (&["192.0.2.0/24", "2001:db8::/32"], &[], "2001:db8::1", true),
            (&["192.0.2.0/24"], &["192.0.2.7"], "192.0.2.7", false),
            (&["192.0.2.7"], &["192.0.2.0/24"], "192.0.2.7", false),
        ] {
            let access = Access { allow: networks(allow), deny: networks(deny) };
            assert_eq!(access.allows(address.parse().unwrap()), allowed, "{allow:?} {deny:?} {address}");
        }
    }
}
