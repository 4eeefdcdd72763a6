//! The command line: every option and command with its help, for `dfos-client` and for its shell alike.

use super::bench::plan::{Mix, Sizes, Span};
use super::failure::{Exit, Failure};
use super::known_servers::KnownServers;
use super::limits;
use super::transfer::jobs::Jobs;
use super::trash::options::{TrashChoice, TrashCommand};
use super::trust::Trusted;
use crate::net::Address;
use crate::net::tls::pin::Pin;
use crate::net::tls::verify::Authorities;
use clap::{ArgAction, Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// Where a server is when nobody says.
pub const DEFAULT_SERVER: &str = "tls://127.0.0.1:9000";

/// Put files on a DFOS server, get them back, list and organise them.
#[derive(Debug, Parser)]
#[command(name = "dfos-client", version, disable_help_subcommand = true)]
pub struct Cli {
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
    /// The server: tls://HOST:PORT, tcp://HOST:PORT (plain text) or unix:/PATH [default: $DFOS_SERVER, else
    /// tls://127.0.0.1:9000]
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["ip", "port"])]
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
}

/// Upload.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)] // the help texts say it
pub struct Put {
    /// Local files or directories; - is standard input and needs --to (`put - NAME` is short for it)
    #[arg(required = true, value_name = "LOCAL")]
    pub local: Vec<OsString>,
    /// Under this name; if it ends in / or is a directory, into it
    #[arg(long, value_name = "REMOTE")]
    pub to: Option<OsString>,
    /// Take directories with all that is in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Move files over N connections at once; auto is up to four, where many files or bytes are to be moved
    #[arg(short, long, value_name = "N", default_value = "auto")]
    pub jobs: Jobs,
}

/// Download.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Get {
    /// Remote files, directories or patterns (* and ?); a last - is short for `--to -`
    #[arg(required = true, value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Under this name; if it ends in / or is a directory, into it; - is standard output
    #[arg(long, value_name = "LOCAL")]
    pub to: Option<OsString>,
    /// Into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "to")]
    pub dir: Option<OsString>,
    /// Take directories with all that is in them
    #[arg(short, long)]
    pub recursive: bool,
    /// Move files over N connections at once; auto is up to four, where many files or bytes are to be moved
    #[arg(short, long, value_name = "N", default_value = "auto")]
    pub jobs: Jobs,
}

/// Preview.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct View {
    /// Remote files or patterns
    #[arg(required = true, value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Begin at byte N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub offset: u64,
    /// Show N bytes, at most 65536
    #[arg(long, value_name = "N", default_value_t = crate::proto::limits::VIEW_DEFAULT, value_parser = clap::value_parser!(u64).range(1..=crate::proto::limits::VIEW))]
    pub length: u64,
}

/// Listing.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Ls {
    /// Remote directories, files or patterns [default: the current directory]
    #[arg(value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Tell type, size and time (UTC) as well
    #[arg(short, long)]
    pub long: bool,
    /// List all that is below, too
    #[arg(short = 'R', long)]
    pub recursive: bool,
}

/// Deletion.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Rm {
    /// Remote files or patterns
    #[arg(required = true, value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Delete directories with all that is in them; asks first when a person is there to answer
    #[arg(short, long)]
    pub recursive: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub trash: TrashChoice,
}

/// Making directories.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Mkdir {
    /// Remote directories
    #[arg(required = true, value_name = "REMOTE")]
    pub remote: Vec<OsString>,
    /// Make missing parents too, and take a directory that exists for done
    #[arg(short, long)]
    pub parents: bool,
}

/// Renaming.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Mv {
    /// What it is called now
    #[arg(value_name = "FROM")]
    pub from: OsString,
    /// What it shall be called; if it ends in / or is a directory, it moves into it
    #[arg(value_name = "TO")]
    pub to: OsString,
    /// Replace a file that has the new name
    #[arg(short, long, conflicts_with = "no_clobber")]
    pub force: bool,
    /// Refuse if the new name is taken (this is the default)
    #[arg(short, long)]
    pub no_clobber: bool,
}

/// Names and nothing else.
#[derive(Debug, Clone, Args)]
#[allow(missing_docs)]
pub struct Names {
    /// Remote names or patterns
    #[arg(required = true, value_name = "REMOTE")]
    pub remote: Vec<OsString>,
}

/// Load test.
#[derive(Debug, Clone, Args)]
#[command(after_help = BENCH_HELP)]
#[allow(missing_docs)]
pub struct Bench {
    /// Clients at the same time, each with a connection and a login of its own
    #[arg(short, long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=limits::BENCH_CLIENTS))]
    pub clients: u16,
    /// End each client after M operations
    #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
    pub files: Option<u64>,
    /// Sizes of files: 4KiB, 1KiB..1MiB, mixed, or a list with weights, 4KiB:90,1MiB..16MiB:10
    #[arg(long, value_name = "DIST", default_value = "mixed")]
    pub size: Sizes,
    /// What the clients do: put/get/list (in equal shares), put:50,get:40,list:10
    #[arg(long, value_name = "MIX", default_value = "put/get/list")]
    pub mix: Mix,
    /// Begin no operation after this time: 30s, 2m, 1h [default: 10s, none with --files]
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Span>,
    /// Write the result to FILE as one JSON object; - is standard output, instead of the table
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the result to FILE as a web page with plots, which needs nothing besides
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What stands below the options of `bench`.
const BENCH_HELP: &str = "\
Each client does one operation after the other and waits for its answer. It works in a directory of its own below
bench-RANDOM, which is removed at the end, also after Ctrl+C; nothing else of the user's is touched. Together the
clients keep about 1 GiB there, and at most 256 files each: then the oldest are replaced.

A range of sizes is uniform in the logarithm. mixed is 1KiB..16KiB:80,16KiB..1MiB:18,1MiB..16MiB:2. What is got was put
before, by the same client; where the mix has get or list, each puts up to 16 files before the time begins.

The content of every file is known beforehand: what the server stores, sends and lists is compared with it to the
last byte, and any difference ends the command with status 11.";

/// The words that other systems have for directories.
#[derive(Debug, Clone, Subcommand)]
pub enum Subfolder {
    /// Make a directory
    Create {
        /// Its name
        #[arg(value_name = "NAME")]
        name: OsString,
    },
    /// Delete a directory with all that is in it; asks first when a person is there to answer
    Delete {
        /// Its name
        #[arg(value_name = "NAME")]
        name: OsString,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
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

    /// The server that the options, else the environment (`DFOS_SERVER`), name.
    pub fn address(&self, environment: Option<&str>) -> Result<Address, Failure> {
        let text = match (&self.server, &self.ip, self.port) {
            (None, None, None) => environment.unwrap_or(DEFAULT_SERVER).to_owned(),
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
        .subcommand_value_name("COMMAND")
        .subcommand_help_heading("Commands")
        .help_template("{subcommands}")
}

/// Parses the command line; the error prints itself and knows its exit status.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::from_arg_matches(&command().try_get_matches_from(words)?)
}

/// Parses one line of the shell, split into words.
pub fn parse_line(words: impl IntoIterator<Item = OsString>) -> Result<LineCommand, clap::Error> {
    Ok(Line::from_arg_matches(&line_command().try_get_matches_from(words)?)?.command)
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

A name that holds * or ? is a pattern, which the client looks up in a listing; a backslash makes the next
character a letter. A transfer that was interrupted goes on where it ended when the command is run again.

A server is believed if an authority vouches for its name, or if its key is known, or at a first meeting if the login
proves it; then its key is known from that time on. A key that has changed ends the command (status 4).

The password comes from --password-command, --password-file, DFOS_PASSWORD, or is asked for: in this order.
Environment: DFOS_SERVER, DFOS_USER, DFOS_PASSWORD, DFOS_TRASH, NO_COLOR (there are no colours anyway).

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
        assert!(BENCH_HELP.contains(crate::client::bench::plan::MIXED));
        assert!(BENCH_HELP.lines().all(|line| line.len() <= 120));
    }

    #[test]
    fn every_command_works_in_the_shell_too() {
        for command in command().get_subcommands() {
            for name in std::iter::once(command.get_name()).chain(command.get_all_aliases()) {
                assert!(line_command().find_subcommand(name).is_some(), "{name}");
            }
        }
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert!(matches!(parse_line(words("cd a")), Ok(LineCommand::Cd { remote: Some(_) })));
        assert!(matches!(parse_line(words("put a")), Ok(LineCommand::Common(Command::Put(_)))));
        assert!(parse_line(words("nonsense")).is_err());
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
        ] {
            assert_eq!(cli(line).unwrap_err().exit_code(), Exit::Usage as i32, "{line}");
        }
    }

    #[test]
    fn the_server_comes_from_options_then_environment_then_the_default() {
        let address = |line: &str, environment| cli(line).unwrap().options.address(environment).map(|a| a.to_string());
        assert_eq!(address("c ls", None).unwrap(), "tls://127.0.0.1:9000");
        assert_eq!(address("c ls", Some("unix:/s")).unwrap(), "unix:/s");
        assert_eq!(address("c ls --server tcp://a:1", Some("unix:/s")).unwrap(), "tcp://a:1");
        assert_eq!(address("c --port 7 ls", Some("unix:/s")).unwrap(), "tls://127.0.0.1:7");
        assert_eq!(address("c --ip ::1 ls", None).unwrap(), "tls://[::1]:9000");
        assert_eq!(address("c --server http://x ls", None).unwrap_err().exit, Exit::Usage);
    }
}
