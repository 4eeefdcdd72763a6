//! The gate's part of the command line.

use crate::net::Network;
use clap::Args;
use std::time::Duration;

/// Who may connect, and how many.
#[derive(Debug, Clone, Args)]
pub struct GateOptions {
    /// Let only these networks connect, as 192.0.2.0/24, 2001:db8::/32 or one address; may be given several times
    #[arg(long, value_name = "CIDR")]
    pub allow: Vec<Network>,
    /// Never let this network connect, whatever --allow says; may be given several times
    #[arg(long, value_name = "CIDR")]
    pub deny: Vec<Network>,
    /// Clients at a time from one network: an IPv4 /24 or an IPv6 /64
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients_per_net: u32,
    // By default half of it is as many as one address may have: whoever comes with all of them at once is not refused by the dice.
    /// Clients at a time that have not logged in yet; from half of it on newcomers take the place of who has waited longest
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_logins: u32,
    /// The longest that an address is refused after failed logins and broken protocol, 0 for never
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub max_penalty: u32,
    /// Never refuse this network for failed logins; may be given several times
    #[arg(long, value_name = "CIDR")]
    pub penalty_exempt: Vec<Network>,
}

impl GateOptions {
    /// The longest penalty; zero for none at all.
    pub fn max_penalty(&self) -> Duration {
        Duration::from_secs(self.max_penalty.into())
    }
}
