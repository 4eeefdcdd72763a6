//! The command line of `dfos-forkd`: a file for each command that takes many options.

mod check;
mod hooks;
mod log;
mod report;
mod serve;
mod status;
mod user;

pub use check::CheckOptions;
pub use hooks::HookOptions;
pub use log::{LogOptions, LogTarget};
pub use report::ReportOptions;
pub use serve::{ChannelOptions, ServeOptions};
pub use status::{ControlOption, DrainOptions, KickOptions, StatusOptions, UpgradeOptions};
pub use user::{UserAction, UserOptions, usual_limits_file};

use clap::{Parser, Subcommand};

/// What the options do not say.
const AFTER_HELP: &str = "\
Signals:
  INT, TERM  end: accept no more, give running operations the grace period; a second one ends at once
  HUP        read the configuration, the users file, the limits file and --tls-cert again; the sessions of users that are gone or
             disabled end, others go on; make --audit and --log-file anew where they have been put away
  USR2       go on as the program that now lies where this one was started from: a new version, in the same process, that has
             shown before that it can; sessions and sockets stay, and where anything fails the old one serves on

Configuration: each long option of 'serve' is at once a key of the file (max-clients = 100) and an environment variable
(DFOS_FORKD_MAX_CLIENTS=100). A flag comes before the environment, that before the file. 'dfos-forkd check' shows what holds.

A service manager is told how it goes (NOTIFY_SOCKET, WATCHDOG_USEC), and may pass sockets to listen on (LISTEN_FDS). Such a socket
speaks TLS, or plain text where its name is 'tcp' (FileDescriptorName=); of --listen that is bound which was not passed.

Exit status: 0 after an orderly end, 1 when it cannot start or was made to end at once, 2 for a wrong command line.
On standard output it prints one line for each listener, 'listening URL', when it can serve; log lines go to --log-target.";

/// A multi-user file server: each user logs in and keeps files in a directory of their own.
///
/// Run it, then connect with dfos-client (or openssl s_client -alpn dfos/1). Ctrl+C ends it: uploads in hand are finished or kept to be resumed.
#[derive(Debug, Clone, Parser)]
#[command(name = "dfos-forkd", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Options {
    #[command(flatten)]
    /// Without a subcommand: serve.
    pub serve: ServeOptions,
    #[command(subcommand)]
    /// What to do.
    pub command: Option<Command>,
}

/// What `dfos-forkd` can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve files (what happens without a subcommand, too)
    Serve(ServeOptions),
    /// Tell what would be refused or is missing, what confines sessions here, and which configuration holds; takes the options of serve
    Check(CheckOptions),
    /// Make tables, pages and figures of what --audit wrote
    Report(ReportOptions),
    /// Add, change, remove or list users
    User(UserOptions),
    /// Tell how a running server is: its figures, and a table of its sessions
    Status(StatusOptions),
    /// End sessions of a running server
    Kick(KickOptions),
    /// Have a running server take nobody new, and end when all sessions have
    Drain(DrainOptions),
    /// Have a running server go on as the program that now lies where it was started from, its sessions and sockets with it
    Upgrade(UpgradeOptions),
    /// Print what makes bash, zsh or fish complete commands, options and files
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: crate::completion::Shell,
    },
    /// Complete a command line as far as it is typed; what the scripts of `completions` call
    #[command(hide = true)]
    Complete {
        /// The line up to the cursor
        #[arg(value_name = "LINE", allow_hyphen_values = true)]
        line: std::ffi::OsString,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
        let bare = Options::parse_from(["dfos-forkd", "--port", "0"]);
        assert_eq!(bare.serve.addresses()[0].to_string(), "tls://127.0.0.1:0");
        let serve = Options::parse_from(["dfos-forkd", "serve", "--listen", "tcp://[::1]:0", "--listen", "unix:/x"]);
        assert!(matches!(serve.command, Some(Command::Serve(o)) if o.addresses().len() == 2));
    }
}
