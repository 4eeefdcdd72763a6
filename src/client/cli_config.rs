//! The part of the command line that is about the program itself: its configuration, its doctor, its completions.

use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Which configuration file holds.
#[derive(Debug, Clone, Default, Args)]
#[allow(missing_docs)]
pub struct ConfigOptions {
    /// Take named servers and defaults from FILE; none is no file [default: $DFOS_CONFIG, else
    /// $XDG_CONFIG_HOME/dfos/client.toml, else ~/.config/dfos/client.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Commands about the program itself. They belong to the command line: in the shell one server has been chosen already.
#[derive(Debug, Clone, Subcommand)]
pub enum About {
    /// Tell what holds, and which file, variable or option says so (not in the shell)
    #[command(after_help = CONFIG_HELP)]
    Config {
        /// What to tell.
        #[command(subcommand)]
        what: Option<ConfigAction>,
    },
    /// Try everything between here and the server, and say what to do where something is wrong (not in the shell)
    Doctor,
    /// Print what makes bash, zsh or fish complete commands, options, local and remote names (not in the shell)
    #[command(after_help = COMPLETIONS_HELP)]
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
        line: OsString,
    },
}

/// What `config` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum ConfigAction {
    /// Each value and where it comes from; this is the default
    Show,
    /// Where the configuration file is looked for
    Path,
    /// The servers that the file names, each with its URL and user
    Servers,
}

/// What stands below the options of `config`.
const CONFIG_HELP: &str = "\
The file is TOML. A key is an option without its two dashes; a table for each server, and one for all:

  default-server = \"work\"

  [defaults]
  retries = 10

  [servers.work]
  url = \"tls://files.example:9000\"
  user = \"anna\"
  password-command = \"pass show work/files\"

  dfos-client --server work ls

An option beats a variable of the environment (DFOS_RETRIES), that beats the table of the server, and that [defaults].
Nobody but its owner may be able to write to the file. It holds no password, only where one is to be had from.";

/// What stands below the options of `completions`.
const COMPLETIONS_HELP: &str = "\
  bash:  dfos-client completions bash > ~/.local/share/bash-completion/completions/dfos-client
  zsh:   dfos-client completions zsh > DIRECTORY/_dfos-client, where DIRECTORY is one of $fpath
  fish:  dfos-client completions fish > ~/.config/fish/completions/dfos-client.fish

Remote names are completed where that takes no question: the password comes from a file, a command or the environment,
and the server is known. After two seconds without an answer there is none.";
