//! The command line of `dfos-forkd`: a file for each command that takes many options.

mod serve;
mod user;

pub use serve::{ChannelOptions, LogTarget, ServeOptions};
pub use user::{UserAction, UserOptions, usual_limits_file};

use clap::{Parser, Subcommand};

/// What the options do not say.
const AFTER_HELP: &str = "\
Signals:
  INT, TERM  end: accept no more, give running operations the grace period; a second one ends at once
  HUP        read the users file, the limits file and --tls-cert again; the sessions of users that are gone or disabled end,
             others go on

Exit status: 0 after an orderly end, 1 when it cannot start or was made to end at once, 2 for a wrong command line.
On standard output it prints one line for each listener, 'listening URL', when it can serve; log lines go to --log-target.";

/// A multi-user file server: each user logs in and keeps files in a directory of their own.
///
/// Run it, then connect with dfos-client (or openssl s_client -alpn dfos/1). Ctrl+C ends it: uploads in hand are finished or kept to be resumed.
#[derive(Debug, Parser)]
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
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve files (what happens without a subcommand, too)
    Serve(ServeOptions),
    /// Tell what would be refused or is missing, and what confines sessions here; takes the options of serve
    Check(ServeOptions),
    /// Add, change, remove or list users
    User(UserOptions),
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
