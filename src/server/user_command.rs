//! `dfos-forkd user …`: the users file from the command line.

use super::options::{UserAction, UserOptions, usual_limits_file};
use super::users;
use crate::auth::limits_file::LimitsFile;
use crate::auth::users_file::Secret;
use crate::auth::{Limits, Password, UserName, edit};
use crate::proto::limits;
use std::io::{BufRead, Read, Write};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// Carries out one change.
pub fn run(options: &UserOptions) -> Result<ExitCode, String> {
    let path = &options.users;
    let done = match &options.action {
        UserAction::Add { name } => {
            let name = user_name(name)?;
            edit::foresee(path, &name, true).map_err(|why| why.to_string())?;
            edit::add(path, &name, &password(options)?).map(|()| format!("added {name}"))
        }
        UserAction::Passwd { name } => {
            let name = user_name(name)?;
            edit::foresee(path, &name, false).map_err(|why| why.to_string())?;
            edit::passwd(path, &name, &password(options)?).map(|()| format!("{name} has a new password"))
        }
        UserAction::Remove { name } => {
            let name = user_name(name)?;
            edit::remove(path, &name).map(|()| format!("removed {name}; the files of {name} are still there"))
        }
        UserAction::List => return list(options),
    };
    let text = done.map_err(|why| why.to_string())?;
    say(&format!("{text} (a running server takes it over on SIGHUP: systemctl reload dfos-forkd, or kill -HUP)"));
    Ok(ExitCode::SUCCESS)
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}"); // nobody is left to tell
}

fn user_name(text: &str) -> Result<UserName, String> {
    text.parse().map_err(|why| format!("'{}': {why}", text.escape_debug()))
}

/// One name a line on standard output, with what is kept of the password and what the account may do, what is wrong with the file on standard error.
fn list(options: &UserOptions) -> Result<ExitCode, String> {
    let users = edit::list(&options.users).map_err(|why| why.to_string())?;
    let limits = limits(options)?;
    for entry in &users.entries {
        let kind = if matches!(entry.secret, Secret::Clear(_)) { "clear text" } else { "scram" };
        let own = limits.users.iter().find(|(name, ..)| *name == entry.name).map(|(_, own, _)| own);
        let own = own.unwrap_or(&limits.everybody);
        let access = if own.disabled { "disabled" } else { own.access.as_str() };
        say(&format!("{:<32} {kind:<10} {access}", entry.name.as_str()));
    }
    for problem in &users.problems {
        let _ = writeln!(std::io::stderr(), "{} {problem}", options.users.display());
    }
    let damaged = users.problems.iter().any(|problem| problem.skipped());
    Ok(if damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The limits, where there is a file of them.
fn limits(options: &UserOptions) -> Result<LimitsFile, String> {
    let path = options.user_limits.clone().or_else(|| usual_limits_file(&options.users));
    users::load_limits(path.as_deref(), Limits::default())
}

/// Asks for a password twice, or reads it from standard input.
fn password(options: &UserOptions) -> Result<Password, String> {
    let text = if options.password_stdin {
        let mut line = Zeroizing::new(String::with_capacity(limits::PASSWORD + 2));
        let mut input = std::io::stdin().lock().take(limits::PASSWORD as u64 + 2);
        input.read_line(&mut line).map_err(|why| format!("cannot read the password: {why}"))?;
        Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())
    } else {
        let ask = |prompt| rpassword::prompt_password(prompt).map(Zeroizing::new);
        let why = |error| format!("cannot ask for the password: {error}; use --password-stdin");
        let first = ask("Password: ").map_err(why)?;
        if first != ask("Again: ").map_err(why)? {
            return Err("the two passwords differ; nothing was changed".into());
        }
        first
    };
    Password::new(text.as_bytes()).map_err(|why| why.to_string())
}
