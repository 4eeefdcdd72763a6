//! What each account may do and take: its limits, as sessions look them up after login and the login itself heeds.
//!
//! They are read from the limits file ([`super::limits_file`]) by the helper that loads the users, and handed to the sessions as records
//! in memory without a name: first the rules that are heeded before a login ([`super::rules`]), then one line an account, its name and
//! its limits in JSON, the first line for all who have none of their own. Nothing in a record is secret from its own user.

use super::rules;
use crate::net::networks::Network;
use crate::proto::Access;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

/// The name of the first record: no user can have it.
pub(super) const EVERYBODY: &str = "*";

/// The limits of one account. `None` is no limit; 0 is nothing at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes that it may store.
    pub quota: Option<u64>,
    /// Files and directories that it may store.
    pub files: Option<u64>,
    /// Bytes of the largest file that it may store.
    pub largest_file: Option<u64>,
    /// Seconds that what it moves to the trash is kept; `None` where it has no trash.
    pub trash: Option<u64>,
    /// Its sessions at a time.
    pub sessions: Option<u32>,
    /// Bytes a second that all its sessions together may send to the server.
    pub rate_up: Option<u64>,
    /// Bytes a second that all its sessions together may fetch.
    pub rate_down: Option<u64>,
    /// What it may do.
    pub access: Access,
    /// Networks from which it may log in; empty for all.
    #[serde(with = "as_text")]
    pub allow: Vec<Network>,
    /// Networks from which it may not, whatever `allow` says.
    #[serde(with = "as_text")]
    pub deny: Vec<Network>,
    /// Whether it may log in at all.
    pub disabled: bool,
    /// Whether it may change its own password; where nothing is said, an account that may do everything else may.
    pub passwd: Option<bool>,
}

/// Why an account may not log in, for the operator. The client is told what it is told about a wrong password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Barred {
    /// It is disabled.
    Disabled,
    /// It may not log in from this address.
    Address(IpAddr),
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Barred::Disabled => f.write_str("the account is disabled"),
            Barred::Address(ip) => write!(f, "the account may not log in from {ip}"),
        }
    }
}

impl Limits {
    /// Whether the account may change its own password. One that may not do everything is often several people's.
    pub fn may_change_password(&self) -> bool {
        self.passwd.unwrap_or(self.access == Access::Full)
    }
}

/// Networks as they are written in the limits file.
mod as_text {
    use super::Network;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(networks: &[Network], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(networks.iter().map(Network::to_string))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Network>, D::Error> {
        let words = Vec::<String>::deserialize(from)?;
        words.iter().map(|word| word.parse().map_err(Error::custom)).collect()
    }
}

/// A new empty file of records, in memory.
pub fn create() -> io::Result<File> {
    crate::sys::sealed::create(c"dfos-limits")
}

/// Writes the records: the limits of everybody, then those of accounts that have their own.
pub fn write<'a>(
    everybody: &'a Limits,
    own: impl IntoIterator<Item = (&'a str, &'a Limits), IntoIter: Clone>,
    out: &mut File,
) -> io::Result<()> {
    let accounts = std::iter::once((EVERYBODY, everybody)).chain(own);
    let mut text = rules::encode(accounts.clone());
    for (name, limits) in accounts {
        write!(text, "{name} ")?;
        serde_json::to_writer(&mut text, limits)?;
        text.push(b'\n');
    }
    out.write_all(&text)
}

/// The limits of `name`, any text. For who has logged in: the time tells how much there is to say of the account. Reads at stated offsets
/// only, since a descriptor that was forked shares its position.
pub fn lookup(records: &File, name: &str) -> io::Result<Limits> {
    let (from, to) = (rules::length(records)?, records.metadata()?.len());
    let mut text = vec![0; usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?];
    records.read_exact_at(&mut text, from)?;
    let mut hit = None;
    for line in text.split(|&b| b == b'\n') {
        let Some(at) = line.iter().position(|&b| b == b' ') else { continue };
        let (of, limits) = line.split_at(at);
        if of == EVERYBODY.as_bytes() || of == name.as_bytes() {
            hit = Some(limits);
        }
    }
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the records of limits are damaged; reload them");
    Ok(serde_json::from_slice(hit.ok_or_else(damaged)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Vec<Network> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn each_account_finds_its_own_limits_and_all_others_those_of_everybody() {
        let everybody = Limits { quota: Some(7), ..Limits::default() };
        let share = Limits {
            sessions: Some(3),
            access: Access::UploadOnly,
            allow: networks(&["10.0.0.0/8"]),
            ..everybody.clone()
        };
        let secret = Limits { disabled: true, deny: networks(&["::1", "2001:db8::/32"]), ..Limits::default() };
        let mut records = create().unwrap();
        write(&everybody, [("share", &share), ("share-secret", &secret)], &mut records).unwrap();
        crate::sys::sealed::seal(&records).unwrap();
        let found = |name: &str| lookup(&records, name).unwrap();
        assert_eq!((found("share"), found("share-secret")), (share, secret));
        // No part of a name, and no text that a client makes up, reaches another's record.
        for name in
            ["shar", "share-", "share-secre", "share ", "share {", "*", "", "secret", "share\nshare-secret", ".", ".."]
        {
            assert_eq!(found(name), everybody, "{name:?}");
        }
        assert!(lookup(&create().unwrap(), "share").is_err(), "no limits known is not no limits");
    }
}
