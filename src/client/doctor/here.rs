//! What can be seen without connecting: the configuration, the terminal, where the password comes from, the keys of known servers.

use super::finding::{Chart, Step};
use crate::client::cli::Options;
use crate::client::config::Settings;
use crate::client::failure::{Exit, Failure};
use crate::client::password::{self, Secret};
use crate::client::target::Target;
use crate::client::whom;
use crate::net::Address;
use nix::unistd::geteuid;
use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;

/// Whether it is known where to connect.
pub fn configuration(
    chart: &mut Chart,
    options: &Options,
    settings: Result<Settings, Failure>,
) -> Result<bool, Failure> {
    let settings = match settings {
        Ok(settings) => settings,
        Err(failure) => {
            let todo = "correct it; --config none goes without the file, 'dfos-client config --help' tells what can stand in it";
            chart.failed(Step::Configuration, &failure, todo)?;
            // Without a server's name there may still be somewhere to connect to.
            return Ok(options.address().is_ok() && options.server.is_some());
        }
    };
    let (address, user) = match options.address().and_then(|address| Ok((address, whom::user(options)?))) {
        Ok(both) => both,
        Err(failure) => {
            chart.failed(
                Step::Configuration,
                &failure,
                "say it by --server and --user, or in the configuration file",
            )?;
            return Ok(false);
        }
    };
    let file = match (&settings.path, &settings.contents) {
        (Some(path), Some(_)) => path.display().to_string(),
        (Some(path), None) => format!("no file at {}", path.display()),
        (None, _) => "no file".to_owned(),
    };
    let name = settings.server.map_or(String::new(), |name| format!("server {name}, "));
    let found = format!("{file}: {name}{user} at {address}");
    if address.is_exposed() {
        let todo = "use tls:// if the server has it: everybody on the way can read and change what is transferred";
        chart.warning(Step::Configuration, &found, todo)?;
    } else {
        chart.fine(Step::Configuration, &found)?;
    }
    Ok(true)
}

/// What this program may do on the terminal.
pub fn terminal(chart: &mut Chart) -> Result<(), Failure> {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let found = match (io::stdin().is_terminal(), io::stderr().is_terminal() && !dumb) {
        (true, true) => "there is one: questions can be asked, bars drawn",
        (false, true) => "output only: nothing is asked, bars are drawn",
        (true, false) => "input only: questions can be asked, progress comes in lines",
        (false, false) => "none: nothing is asked, progress comes in lines",
    };
    chart.fine(Step::Terminal, found)
}

/// The password, if there is one.
pub fn password(chart: &mut Chart, options: &Options) -> Result<Option<Secret>, Failure> {
    let source = password::source(options);
    match password::find(options, &whom::user(options).map_or("the user".into(), |user| user.to_string())) {
        Ok(secret) if secret.is_empty() => {
            let failure = Failure::new(Exit::Login, format!("what comes from {source} is empty"));
            chart.failed(Step::Password, &failure, "look what its first line is")?;
            Ok(None)
        }
        Ok(secret) => {
            chart.fine(Step::Password, &format!("from {source}"))?;
            Ok(Some(secret))
        }
        Err(failure) => {
            let todo = "mend that, or name another source: --password-command, --password-file, DFOS_PASSWORD";
            chart.failed(Step::Password, &failure, todo)?;
            Ok(None)
        }
    }
}

/// The file of known servers, where one counts.
pub fn known_servers(chart: &mut Chart, target: &Target) -> Result<(), Failure> {
    if !matches!(target.address, Address::Tls(_)) {
        return Ok(());
    }
    let Some(known) = target.trusted.known() else {
        let todo = "set HOME or name a file with --known-servers: else a changed server is not noticed";
        return chart.warning(Step::Known, "there is no home directory to keep keys in", todo);
    };
    let path = known.path().display();
    let all = match known.all() {
        Ok(all) => all,
        Err(failure) => return chart.failed(Step::Known, &failure, "until then no server is believed"),
    };
    match std::fs::metadata(known.path()) {
        Err(_) => chart.fine(Step::Known, &format!("none yet: {path} is made at the first login")),
        Ok(about) if about.uid() != geteuid().as_raw() || about.mode() & 0o022 != 0 => chart.warning(
            Step::Known,
            &format!("others can change {path}, and so whom you believe"),
            &format!("look at it, then: chown {} {path}; chmod 600 {path}", geteuid()),
        ),
        Ok(_) => chart.fine(Step::Known, &format!("{} in {path}", all.len())),
    }
}
