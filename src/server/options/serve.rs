//! What `dfos-forkd serve` and `check` take.

use super::hooks::HookOptions;
use super::log::LogOptions;
use super::status::ControlOption;
use super::user::usual_limits_file;
use crate::auth::Limits;
use crate::auth::keep::Keep;
use crate::net::Address;
use crate::net::address::{DEFAULT_PORT, HostPort};
use crate::server::certificate::Source;
use crate::server::gate::options::GateOptions;
use clap::Args;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How to serve.
#[derive(Debug, Clone, Args)]
pub struct ServeOptions {
    /// The configuration file, TOML; 'none' for none [default: /etc/dfos/forkd.toml, for root and if it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen on tls://HOST:PORT, tcp://HOST:PORT (plain text) or unix:/PATH; may be given several times [default:
    /// tls://127.0.0.1:9000]
    #[arg(long, value_name = "URL")]
    pub listen: Vec<Address>,
    /// Listen on this address: the short way for one listener
    #[arg(long, value_name = "ADDRESS", conflicts_with = "listen")]
    pub ip: Option<IpAddr>,
    /// Listen on this port, 0 for any free one: the short way for one listener
    #[arg(long, value_name = "N", conflicts_with = "listen")]
    pub port: Option<u16>,
    /// The storage directory; each user's files lie in a directory of their name in it
    #[arg(long, value_name = "PATH", default_value = "./server_storage")]
    pub dir: PathBuf,
    /// The users file
    #[arg(long, value_name = "FILE", default_value = "./id_passwd.txt")]
    pub users: PathBuf,
    /// The file of users' limits, TOML [default: user_limits.toml beside the users file, if it is there]
    #[arg(long, value_name = "FILE")]
    pub user_limits: Option<PathBuf>,
    #[command(flatten)]
    /// How the channel is secured.
    pub channel: ChannelOptions,
    /// Started as root: run as this user, by name or number [default: the owner of the storage directory]
    #[arg(long, value_name = "USER")]
    pub run_as: Option<String>,
    /// Refuse to start where this kernel lacks a layer of what confines sessions ('dfos-forkd check' lists them)
    #[arg(long)]
    pub require_sandbox: bool,
    /// Leave out a layer of what confines sessions: for tests of the others
    #[cfg(feature = "hostile")]
    #[arg(long, value_name = "LAYER")]
    pub without_layer: Vec<String>,
    /// Clients at a time; more are told to try again
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_clients: u32,
    /// Clients at a time from one address
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_clients_per_ip: u32,
    #[command(flatten)]
    /// Who may connect, and how many.
    pub gate: GateOptions,
    /// How long running operations may go on after Ctrl+C
    #[arg(long, value_name = "SECS", default_value = "10", value_parser = seconds)]
    pub grace: Duration,
    /// How long a client may take from connecting to being logged in
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds)]
    pub login_timeout: Duration,
    /// How long a client that is logged in may send nothing
    #[arg(long, value_name = "SECS", default_value = "900", value_parser = seconds)]
    pub idle_timeout: Duration,
    /// Bytes that each user may store whose limits do not say, as 500MB or 20GiB [default: no limit but the disk]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub quota: Option<bytesize::ByteSize>,
    /// Let each user whose limits do not say move what is deleted to a trash of their own, and keep it there for TIME, as 30d or 12h
    /// [default: there is no trash]
    #[arg(long, value_name = "TIME")]
    pub trash: Option<Keep>,
    #[command(flatten)]
    /// The log and the audit.
    pub log: LogOptions,
    #[command(flatten)]
    /// Programs that are run after what happens.
    pub hooks: HookOptions,
    #[command(flatten)]
    /// Where the operator asks.
    pub control: ControlOption,
}

/// How the channel is secured.
#[derive(Debug, Clone, Args)]
pub struct ChannelOptions {
    /// The certificate that tls:// listeners show, with its chain, as PEM; read again on HUP [default: one of the server's own,
    /// made at its first start, which clients pin]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Where the server keeps its own certificate and key [default: /var/lib/dfos for root, else
    /// $XDG_STATE_HOME/dfos-forkd, else ~/.local/state/dfos-forkd]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Let tcp:// listeners be reached from other machines: files, names and what they hold travel readable
    #[arg(long)]
    pub allow_plaintext: bool,
}

impl ChannelOptions {
    /// Where the certificate comes from.
    pub fn source(&self) -> Result<Source, String> {
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            return Ok(Source::Files { certificate: certificate.clone(), key: key.clone() });
        }
        let usual = || {
            if nix::unistd::geteuid().is_root() {
                return Some(PathBuf::from("/var/lib/dfos"));
            }
            let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
            let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
            Some(state.join("dfos-forkd"))
        };
        let directory = self.state_dir.clone().or_else(usual);
        directory.map(Source::Own).ok_or("there is no place for a certificate: name one with --state-dir".into())
    }
}

impl ServeOptions {
    /// The limits file: the one that was named, or the usual one if something is there.
    pub fn limits_file(&self) -> Option<PathBuf> {
        self.user_limits.clone().or_else(|| usual_limits_file(&self.users))
    }

    /// The limits of users of whom the limits file says nothing.
    pub fn base_limits(&self) -> Limits {
        let trash = self.trash.map(|Keep(seconds)| seconds);
        Limits { quota: self.quota.map(|size| size.as_u64()), trash, ..Limits::default() }
    }

    /// Whether they say where to listen.
    pub fn names_addresses(&self) -> bool {
        !self.listen.is_empty() || self.ip.is_some() || self.port.is_some()
    }

    /// Where to listen.
    pub fn addresses(&self) -> Vec<Address> {
        if !self.listen.is_empty() {
            return self.listen.clone();
        }
        let host = self.ip.map_or("127.0.0.1".into(), |ip| ip.to_string());
        vec![Address::Tls(HostPort { host, port: self.port.unwrap_or(DEFAULT_PORT) })]
    }
}

/// Bytes, as a number or a size.
fn size(text: &str) -> Result<bytesize::ByteSize, String> {
    text.parse().map_err(|_| "write a number of bytes, or a size like 500MB or 20GiB".into())
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(n) if n > 0 => Ok(Duration::from_secs(n.into())),
        _ => Err("a number of seconds from 1 on".into()),
    }
}
