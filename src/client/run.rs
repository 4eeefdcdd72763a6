//! From the command line to an exit status.

use super::cli::{self, Cli, Command, Options};
use super::commands;
use super::console::{Console, Place};
use super::display::output::{Output, Volume};
use super::failure::{Exit, Failure};
use super::keys;
use super::password;
use super::shell;
use super::stop::Stop;
use super::target::Target;
use crate::auth::{Password, UserName};
use nix::unistd::{User, getuid};
use std::process::ExitCode;
use std::time::Duration;

/// The whole program.
pub fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(cli) => ExitCode::from(run(cli) as u8),
        Err(told) => {
            let _ = told.print(); // with nobody reading there is still the exit status
            ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(Exit::Usage as u8))
        }
    }
}

fn run(cli: Cli) -> Exit {
    let volume = match (cli.options.quiet, cli.options.verbose) {
        (true, _) => Volume::Quiet,
        (false, 0) => Volume::Normal,
        (false, _) => Volume::Verbose,
    };
    let output = Output::of_process(cli.options.objects(), volume);
    if cli.batch.is_some() && cli.command.is_some() {
        let failure = Failure::new(Exit::Usage, "--batch has the commands: say none beside it");
        return commands::ended(&output, Err(failure), None);
    }
    // Help needs neither a server nor a password, and what is said of keys needs only a file.
    if let Some(Command::Help { command }) = &cli.command {
        let told = commands::help(cli::command(), command.as_deref());
        return commands::ended(&output, told.and_then(|text| output.data(text.as_bytes())), None);
    }
    let known = cli.options.known_servers();
    match &cli.command {
        Some(Command::Known) => return commands::ended(&output, keys::list(&output, known.as_ref()), None),
        Some(Command::Forget { url }) => {
            return commands::ended(&output, keys::forget(&output, known.as_ref(), url), None);
        }
        _ => {}
    }
    match prepare(&cli.options) {
        Err(failure) => commands::ended(&output, Err(failure), None),
        Ok((target, stop)) => {
            let mut console = Console::new(output, target, stop, Place::CommandLine);
            console.tells_summary = cli.options.summary;
            if let Some(file) = &cli.batch {
                return shell::run_batch(console, file);
            }
            match cli.command {
                None | Some(Command::Shell) => shell::run(console),
                Some(command) => {
                    let exit = commands::perform(&mut console, command);
                    console.finish();
                    exit
                }
            }
        }
    }
}

/// Whom to connect to. Ctrl+C is caught only from here on: before, it ends the program as it ends any other.
fn prepare(options: &Options) -> Result<(Target, Stop), Failure> {
    let address = options.address(std::env::var("DFOS_SERVER").ok().filter(|url| !url.is_empty()).as_deref())?;
    let trusted = options.trusted()?;
    let user = user(options)?;
    let secret = password::find(options, &format!("{user} at {address}"))?;
    let password = Password::new(secret.as_slice()).map_err(|why| Failure::new(Exit::Login, why.to_string()))?;
    let mut target = Target::new(address, user, password);
    target.trusted = trusted;
    target.retries = options.retries;
    target.silence = Duration::from_secs(options.timeout);
    target.connect = target.connect.min(target.silence);
    let stop = Stop::listen().map_err(|why| Failure::new(Exit::Other, format!("cannot listen for signals: {why}")))?;
    Ok((target, stop))
}

/// Who logs in: as said, else `DFOS_USER`, else the login name on this machine if a server can know such a name.
fn user(options: &Options) -> Result<UserName, Failure> {
    let said = options.user.clone().or_else(|| std::env::var("DFOS_USER").ok());
    if let Some(name) = said {
        return name.parse().map_err(|why| Failure::new(Exit::Usage, format!("{why}")));
    }
    let login = User::from_uid(getuid()).ok().flatten().and_then(|user| user.name.parse().ok());
    login.ok_or_else(|| Failure::new(Exit::Usage, "name the user: --user NAME or DFOS_USER"))
}
