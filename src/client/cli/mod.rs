//! The command line: every option and command with its help, for `dfos-client` and for its shell alike.

mod account;
mod bench;
mod look;
mod organise;
mod transfer;
mod which;

use super::cli_config::{About, ConfigOptions};
use super::config::Settings;
use super::failure::{Exit, Failure};
use super::known_servers::KnownServers;
use super::limits;
use super::trash::options::TrashCommand;
use super::trust::Trusted;
use crate::net::Address;
use crate::net::tls::pin::Pin;
use crate::net::tls::verify::Authorities;
pub use account::Passwd;
pub use bench::Bench;
use clap::{ArgAction, Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
pub use look::{Ls, Names, View};
pub use organise::{Mkdir, Mv, Rm, Subfolder};
use std::ffi::OsString;
use std::path::PathBuf;
pub use transfer::{Get, Manner, Put};
pub use which::List;

/// Where a server is when nobody says.
pub const DEFAULT_SERVER: &str = "tls://127.0.0.1:9000";

/// Put files on a DFOS server, get them back, list and organise them.
#[derive(Debug, Clone, Parser)]
#[command(name = "dfos-client", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Run the commands of FILE, one a line as in the shell, up to the first that fails; - is standard input. A - before a
    /// command lets it fail, a @ keeps -v from showing it, # begins a comment
    #[arg(short, long, value_name = "FILE")]
    pub batch: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub options: Options,
    /// What to do; the shell when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server, login, output")]
pub struct Options {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub config: ConfigOptions,
    /// The server: its name in the configuration file, tls://HOST:PORT or in short USER@HOST:PORT (user and port may be left
    /// out), tcp://HOST:PORT (plain text) or unix:/PATH [default: $DFOS_SERVER, else the file's default-server, else tls://127.0.0.1:9000]
    #[arg(long, global = true, value_name = "SERVER", conflicts_with_all = ["ip", "port"])]
    pub server: Option<String>,
    /// The server's address, the short way [default: 127.0.0.1]
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// The server's port, the short way [default: 9000]
    #[arg(long, global = true, value_name = "N")]
    pub port: Option<u16>,
    /// Believe the server with this key and no other: the pin that its log and `dfos-forkd check` show
    #[arg(long, global = true, value_name = "SHA256")]
    pub pin: Option<Pin>,
    /// Ask these authorities (a PEM file) instead of the system's; a server that they do not vouch for is known by its key
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Where the keys of servers that were met are kept [default: $XDG_STATE_HOME/dfos/known_servers, else
    /// ~/.local/state/dfos/known_servers]
    #[arg(long, global = true, value_name = "FILE")]
    pub known_servers: Option<PathBuf>,
    /// Log in as NAME [default: $DFOS_USER, else your login name]
    #[arg(long, global = true, value_name = "NAME")]
    pub user: Option<String>,
    /// Read the password from the first line of FILE, which nobody else may be able to read; - is standard input
    #[arg(long, global = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Run CMD with /bin/sh and take the first line that it prints as the password
    #[arg(long, global = true, value_name = "CMD")]
    pub password_command: Option<OsString>,
    /// Print one JSON object a line on standard output, for programs
    // A path, because `bench` has an option of this name that takes one: both are the same to the parser.
    #[arg(long, global = true, num_args = 0, default_missing_value = "-")]
    pub json: Option<PathBuf>,
    /// Print nothing but errors, and the data that was asked for
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Tell more of what happens, on standard error
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// At the end tell what was moved: files, bytes, rates, connections
    #[arg(long, global = true)]
    pub summary: bool,
    /// After a lost connection try N more times, waiting longer each time
    #[arg(long, global = true, value_name = "N", default_value_t = limits::RETRIES, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub retries: u32,
    /// Take the server for dead when it keeps still for SECS seconds
    #[arg(long, global = true, value_name = "SECS", default_value_t = limits::SILENCE.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

/// What a user can ask for.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Upload files, or with -r whole directories
    #[command(visible_alias = "upload")]
    Put(Put),
    /// Download files, or with -r whole directories
    #[command(visible_alias = "download")]
    Get(Get),
    /// Show the beginning of files: text as it is, anything else as a hex dump (raw bytes in a pipe)
    #[command(visible_alias = "preview")]
    View(View),
    /// List a directory, one name a line, sorted unless there are 10,000 or more
    #[command(visible_aliases = ["list", "dir"])]
    Ls(Ls),
    /// Delete files, or with -r whole directories
    #[command(visible_alias = "delete")]
    Rm(Rm),
    /// Make directories
    Mkdir(Mkdir),
    /// Remove empty directories
    Rmdir(Names),
    /// Rename or move a file or directory
    #[command(visible_alias = "rename")]
    Mv(Mv),
    /// Tell type, size, time and, where the server knows it, the digest
    Stat(Names),
    /// List what `rm --trash` has moved to the trash, bring it back, or delete it for good
    #[command(disable_help_subcommand = true)]
    Trash {
        /// Which of these.
        #[command(subcommand)]
        what: TrashCommand,
    },
    /// Let the server read files and tell their SHA-256, as sha256sum prints it
    Digest(Names),
    /// Tell how much space is used, and how much is left
    Quota,
    /// Change your own password, where the operator lets you
    Passwd(Passwd),
    /// Measure the server with many clients at once, every byte verified (not in the shell)
    Bench(Bench),
    /// Ask the server for a sign of life, and time it
    Ping,
    /// List the servers whose keys are known, without connecting
    Known,
    /// Forget a server's key, so that its next one is believed after a login, without connecting
    Forget {
        /// The server
        #[arg(value_name = "URL")]
        url: Address,
    },
    /// Make or delete a directory: `subfolder create NAME`, `subfolder delete NAME` (with all that is in it)
    #[command(disable_help_subcommand = true)]
    Subfolder {
        /// Which of the two.
        #[command(subcommand)]
        what: Subfolder,
    },
    /// Log out; on the command line this only tries a login
    #[command(visible_aliases = ["exit", "quit"])]
    Logout,
    /// Tell how a command is used, or list all commands
    Help {
        /// The command
        command: Option<String>,
    },
    /// Work with the server line by line; the default when no command is given
    Shell,
    /// What is about the program itself.
    #[command(flatten)]
    About(About),
}

/// What can be typed in the shell: every command, and what concerns where one stands.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_help_subcommand = true, name = "")]
pub struct Line {
    /// The command of the line.
    #[command(subcommand)]
    pub command: LineCommand,
}

/// A command of the shell.
#[derive(Debug, Subcommand)]
pub enum LineCommand {
    /// Everything that the command line has, too.
    #[command(flatten)]
    Common(Command),
    /// Change the directory on the server; to your own without a name
    Cd {
        /// The directory
        #[arg(value_name = "REMOTE")]
        remote: Option<OsString>,
    },
    /// Tell the directory on the server
    Pwd,
    /// Change the local directory; to your home without a name
    Lcd {
        /// The directory
        #[arg(value_name = "LOCAL")]
        local: Option<OsString>,
    },
    /// List a local directory
    Lls {
        /// The directory
        #[arg(value_name = "LOCAL")]
        local: Option<OsString>,
        /// Tell type, size and time (UTC) as well
        #[arg(short, long)]
        long: bool,
    },
    /// Tell the local directory
    Lpwd,
    /// Tell what was moved since the shell began: files, bytes, rates, connections
    Summary,
}

impl Options {
    /// Where keys of servers are kept; `None` for a user without a home.
    pub fn known_servers(&self) -> Option<KnownServers> {
        self.known_servers.clone().map(KnownServers::at).or_else(KnownServers::usual)
    }

    /// Whether standard output carries objects: a load test may write its one object to a file instead.
    pub fn objects(&self) -> bool {
        self.json.as_ref().is_some_and(|to| to.as_os_str() == "-")
    }

    /// Which servers to believe.
    pub fn trusted(&self) -> Result<Trusted, Failure> {
        let authorities = match &self.ca {
            None => Authorities::of_system(),
            Some(path) => {
                let unusable =
                    |why: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("--ca {}: {why}", path.display()));
                let pem = std::fs::read(path).map_err(|why| unusable(&why))?;
                Authorities::from_pem(&pem).map_err(|why| unusable(&why))?
            }
        };
        Ok(Trusted::new(authorities, self.pin, self.known_servers()))
    }

    /// The server that the options name; the configuration has resolved names and short forms.
    pub fn address(&self) -> Result<Address, Failure> {
        let text = match (&self.server, &self.ip, self.port) {
            (None, None, None) => DEFAULT_SERVER.to_owned(),
            (Some(server), ..) => server.clone(),
            (None, ip, port) => {
                let host = ip.as_deref().unwrap_or("127.0.0.1");
                let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
                format!("tls://{host}:{}", port.unwrap_or(crate::net::address::DEFAULT_PORT))
            }
        };
        text.parse().map_err(|error| Failure::new(Exit::Usage, format!("{error}")))
    }
}

/// The parser of the command line, its help complete.
pub fn command() -> clap::Command {
    Cli::command().after_help(after_help()).color(ColorChoice::Never)
}

/// The parser of one line of the shell.
pub fn line_command() -> clap::Command {
    Line::command()
        .color(ColorChoice::Never)
        .mut_subcommand("bench", |bench| bench.hide(true))
        .mut_subcommand("config", |config| config.hide(true))
        .mut_subcommand("doctor", |doctor| doctor.hide(true))
        .mut_subcommand("completions", |completions| completions.hide(true))
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("Commands")
        .help_template("{subcommands}")
}

/// Parses the command line; the error prints itself and knows its exit status.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(words)?)
}

/// Parses one line of the shell, split into words. What `settings` say holds for its options, too.
pub fn parse_line(words: impl IntoIterator<Item = OsString>, settings: &Settings) -> Result<LineCommand, clap::Error> {
    Ok(Line::from_arg_matches(&settings.apply(line_command()).try_get_matches_from(words)?)?.command)
}

/// What stands below the options in `--help`: examples, environment, and what each exit status means.
fn after_help() -> String {
    let mut text = String::from(
        "Examples:
  dfos-client --server tls://files.example --user alice put report.pdf --to reports/
  dfos-client get -r -j 4 photos --dir backup
  tar c project | dfos-client put - project.tar
  dfos-client get notes.txt - | wc -l
  dfos-client ls -l '*.txt'
  dfos-client get -r photos --exclude '*.raw' --newer --dry-run
  find . -newer stamp -type f -print0 | dfos-client put -0 --files-from - --to backup

A name that holds * or ? is a pattern, which the client looks up in a listing: ** between slashes stands for any
directories, {a,b} for both; a backslash makes the next character a letter. A transfer that was interrupted goes on where it ended when the command is run again.

A server is believed if an authority vouches for its name, or if its key is known, or at a first meeting if the login
proves it; then its key is known from that time on. A key that has changed ends the command (status 4).

The password comes from --password-command, --password-file, DFOS_PASSWORD, or is asked for: in this order.
Environment: DFOS_SERVER, DFOS_USER, DFOS_PASSWORD, DFOS_TRASH, DFOS_CONFIG, DFOS_RETRIES and so on for each option that all commands
have, NO_COLOR (there are no colours anyway). 'config --help' tells of the configuration file, 'config show' what holds.

Exit status:
",
    );
    for (exit, meaning) in Exit::TABLE {
        text.push_str(&format!("  {:>2}  {meaning}\n", *exit as u8));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cli(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    fn command_of(line: &str) -> Command {
        cli(&format!("dfos-client {line}")).unwrap().command.unwrap()
    }

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
        line_command().debug_assert();
    }

    #[test]
    fn words_of_other_systems_mean_the_same() {
        for (line, alias) in [
            ("put a b --to c", "upload a b --to c"),
            ("get a -r -j 3", "download a -r -j 3"),
            ("view a", "preview a"),
            ("ls -l a", "list -l a"),
            ("ls -R", "dir -R"),
            ("rm a", "delete a"),
            ("mv a b", "rename a b"),
            ("logout", "exit"),
            ("logout", "quit"),
        ] {
            assert_eq!(format!("{:?}", command_of(line)), format!("{:?}", command_of(alias)), "{alias}");
        }
        assert!(matches!(command_of("subfolder create a"), Command::Subfolder { what: Subfolder::Create { .. } }));
        assert!(matches!(command_of("subfolder delete a"), Command::Subfolder { what: Subfolder::Delete { .. } }));
        assert!(matches!(command_of("download a --dir d"), Command::Get(Get { dir: Some(_), .. })));
        assert!(matches!(command_of("help put"), Command::Help { command: Some(_) }));
        assert!(cli("dfos-client").unwrap().command.is_none());
    }

    #[test]
    fn one_option_says_where_objects_go_whatever_the_command() {
        let json =
            |line: &str| cli(&format!("dfos-client {line}")).map(|cli| (cli.options.objects(), cli.options.json));
        assert_eq!(json("ls").unwrap(), (false, None));
        for line in ["--json ls", "ls --json", "ls --json a", "--json bench", "bench --json -", "--json"] {
            assert_eq!(json(line).unwrap(), (true, Some("-".into())), "{line}");
        }
        for line in ["bench --json file", "--json bench --json file", "bench --json=file --html page"] {
            assert_eq!(json(line).unwrap(), (false, Some("file".into())), "{line}");
        }
        assert!(json("bench --json").is_err() && json("ls --json=file").is_err());
        let of_command = |line: &str| match command_of(line) {
            Command::Bench(bench) => bench.json,
            _ => None,
        };
        assert_eq!(of_command("--json bench"), Some("-".into()));
        assert_eq!(of_command("bench --json file"), Some("file".into()));
    }

    #[test]
    fn the_help_of_bench_tells_what_mixed_is() {
        assert!(bench::BENCH_HELP.contains(crate::client::bench::plan::MIXED));
        assert!(bench::BENCH_HELP.lines().all(|line| line.len() <= 120));
    }

    #[test]
    fn rules_keep_the_order_in_which_they_were_given() {
        let takes = |line: &str| match command_of(line) {
            Command::Put(put) => put.filters.0.takes(&[b"a.txt"], false),
            _ => panic!("{line}"),
        };
        assert!(takes("put d --include a.* --exclude *.txt"));
        assert!(!takes("put d --exclude *.txt --include a.*"));
        assert!(takes("put d --exclude b --include a.* --exclude *"));
        assert!(!takes("put --exclude=b --exclude=* d --include a.*"));
    }

    #[test]
    fn every_command_works_in_the_shell_too() {
        for command in command().get_subcommands() {
            for name in std::iter::once(command.get_name()).chain(command.get_all_aliases()) {
                assert!(line_command().find_subcommand(name).is_some(), "{name}");
            }
        }
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(matches!(parse_line(words("cd a"), &Settings::default()), Ok(LineCommand::Cd { remote: Some(_) })));
        assert!(matches!(parse_line(words("put a"), &Settings::default()), Ok(LineCommand::Common(Command::Put(_)))));
        assert!(parse_line(words("nonsense"), &Settings::default()).is_err());
    }

    #[test]
    fn help_tells_every_exit_status_and_describes_every_option() {
        let help = command().render_long_help().to_string();
        for (exit, meaning) in Exit::TABLE {
            assert!(help.contains(&format!("{:>2}  {meaning}", *exit as u8)), "{exit:?}");
        }
        for command in std::iter::once(&command()).chain(command().get_subcommands()) {
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{}: {}", command.get_name(), argument.get_id());
            }
        }
    }

    #[test]
    fn a_wrong_command_line_is_usage() {
        for line in [
            "dfos-client put",
            "dfos-client --password secret ls",
            "dfos-client -q -v ls",
            "dfos-client get a -j 0",
            "dfos-client view a --length 65537",
            "dfos-client --server tcp://a --port 1 ls",
            "dfos-client get a --to b --dir c",
            "dfos-client --timeout 0 ls",
            "dfos-client nonsense",
            "dfos-client bench --size huge",
            "dfos-client bench --size 2KiB..1KiB",
            "dfos-client bench --mix put/fly",
            "dfos-client bench --duration never",
            "dfos-client bench --clients 0",
            "dfos-client bench --files 0",
            "dfos-client put a --files-from b",
            "dfos-client put a --no-clobber --newer",
            "dfos-client get a --bwlimit 1",
            "dfos-client get --dry-run",
            "dfos-client put a --exclude",
        ] {
            assert_eq!(cli(line).unwrap_err().exit_code(), Exit::Usage as i32, "{line}");
        }
    }

    #[test]
    fn the_server_comes_from_options_or_is_the_default() {
        let address = |line: &str| cli(line).unwrap().options.address().map(|a| a.to_string());
        assert_eq!(address("c ls").unwrap(), "tls://127.0.0.1:9000");
        assert_eq!(address("c ls --server tcp://a:1").unwrap(), "tcp://a:1");
        assert_eq!(address("c --port 7 ls").unwrap(), "tls://127.0.0.1:7");
        assert_eq!(address("c --ip ::1 ls").unwrap(), "tls://[::1]:9000");
        assert_eq!(address("c --server http://x ls").unwrap_err().exit, Exit::Usage);
    }
}
