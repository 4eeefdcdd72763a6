//! From the command line to an exit status.

use super::cli::{self, Command, Options};
use super::cli_config::{About, ConfigAction};
use super::commands;
use super::completions;
use super::config::{self, Loaded, Settings};
use super::console::{Console, Place};
use super::display::output::{Output, Volume};
use super::doctor;
use super::failure::{Exit, Failure};
use super::keys;
use super::password;
use super::shell;
use super::stop::Stop;
use super::target::Target;
use super::whom;
use crate::paper::wrap;
use crate::sys::signals;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// The whole program.
pub fn main() -> ExitCode {
    signals::sizes_are_errors();
    let words: Vec<_> = std::env::args_os().collect();
    match config::load(&words, &config::of_process) {
        Ok(loaded) => ExitCode::from(run(loaded) as u8),
        Err(told) => {
            wrap::tell(&told);
            ExitCode::from(u8::try_from(told.exit_code()).unwrap_or(Exit::Usage as u8))
        }
    }
}

fn run(Loaded { cli, settings }: Loaded) -> Exit {
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
    // Help needs neither a server nor a password nor a file that can be read.
    if let Some(Command::Help { command }) = &cli.command {
        let told = commands::help(cli::command(), command.as_deref());
        return commands::ended(
            &output,
            told.and_then(|text| output.data(wrap::fit(&text, std::io::stdout().as_fd()).as_bytes())),
            None,
        );
    }
    if let Some(Command::About(about)) = cli.command {
        return run_about(output, &cli.options, settings, about);
    }
    let settings = match settings {
        Ok(settings) => settings,
        Err(failure) => return commands::ended(&output, Err(failure), None),
    };
    // What is said of keys needs only a file.
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
            console.settings = settings;
            console.password_from = password::kept_in(&cli.options);
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

/// The commands about the program itself: what connects does so in its own way.
fn run_about(output: Output, options: &Options, settings: Result<Settings, Failure>, about: About) -> Exit {
    let result = match about {
        About::Config { what } => {
            let what = what.unwrap_or(ConfigAction::Show);
            // Where the file is can be asked for all the more when something is wrong with it.
            let settings = match (settings, what) {
                (Err(failure), ConfigAction::Path) => {
                    output.error(&failure);
                    Ok(config::place_of_file(options))
                }
                (settings, _) => settings,
            };
            settings.and_then(|settings| config::show::run(&output, options, &settings, what))
        }
        About::Doctor => return doctor::run(&output, options, settings),
        About::Completions { shell } => output.data(shell.script("dfos-client").as_bytes()),
        About::Complete { line } => return completions::run(&line),
    };
    commands::ended(&output, result, None)
}

/// Whom to connect to. Ctrl+C is caught only from here on: before, it ends the program as it ends any other.
fn prepare(options: &Options) -> Result<(Target, Stop), Failure> {
    let target = whom::target(options, password::find)?;
    let stop = Stop::listen().map_err(|why| Failure::new(Exit::Other, format!("cannot listen for signals: {why}")))?;
    Ok((target, stop))
}
