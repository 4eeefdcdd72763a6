//! What `dfos-forkd status`, `kick`, `drain` and `upgrade` take, and where they find the server.

use crate::auth::UserName;
use crate::server::desk::request::Whom;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Where the operator asks the server.
#[derive(Debug, Clone, Args)]
pub struct ControlOption {
    /// The control socket, over which status, kick, drain and upgrade ask the server; 'none' for none. Only root and who starts the server can
    /// open it [default: /run/dfos/control.sock for root, else $XDG_RUNTIME_DIR/dfos-forkd.sock, else none]
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
}

/// Which running server is meant.
#[derive(Debug, Clone, Args)]
pub struct WhichServer {
    #[command(flatten)]
    /// By its control socket.
    pub control: ControlOption,
    /// The configuration file that names the control socket, if --control does not; 'none' for none [default: /etc/dfos/forkd.toml for
    /// root, where it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Another program in the place of a running server.
#[derive(Debug, Clone, Args)]
pub struct UpgradeOptions {
    #[command(flatten)]
    /// Which server.
    pub server: WhichServer,
}

/// How a running server is to be told of.
#[derive(Debug, Clone, Args)]
pub struct StatusOptions {
    #[command(flatten)]
    /// Which server.
    pub server: WhichServer,
    /// Go on telling until q or Ctrl+C, and look again every so many seconds
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = interval, conflicts_with_all = ["json", "openmetrics"])]
    pub watch: Option<Duration>,
    /// As one object of JSON, version 1
    #[arg(long, conflicts_with = "openmetrics")]
    pub json: bool,
    /// As metrics for Prometheus; into FILE, for the node exporter's textfile collector, it is written at once or not at all
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub openmetrics: Option<Option<PathBuf>>,
}

/// Which sessions are to end.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "dfos-forkd kick [OPTIONS] SESSION\n       dfos-forkd kick [OPTIONS] --user NAME")]
pub struct KickOptions {
    #[command(flatten)]
    /// Of which server.
    pub server: WhichServer,
    /// The session, by its name or its process id as 'dfos-forkd status' shows them
    #[arg(value_name = "SESSION", required_unless_present = "user", conflicts_with = "user")]
    pub session: Option<Whom>,
    /// All sessions of this user
    #[arg(long, value_name = "NAME")]
    pub user: Option<UserName>,
}

/// How long a server may take to run empty.
#[derive(Debug, Clone, Args)]
pub struct DrainOptions {
    #[command(flatten)]
    /// Which server.
    pub server: WhichServer,
    /// After so many seconds, end the sessions that are still there, as Ctrl+C does [default: never]
    #[arg(long, value_name = "SECS")]
    pub timeout: Option<u32>,
}

/// Seconds between two looks, a tenth at least: who looks more often reads nothing more.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=86_400.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("a number of seconds from 0.1 on".into())
}
