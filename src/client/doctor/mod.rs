//! `dfos-client doctor`: walks from this machine to the server and back, one line for each step, and says what to do where something
//! is wrong. It goes on after a fault as far as that makes sense, and changes nothing: a new server's key is not remembered.

mod account;
mod finding;
mod here;
mod stranger;
mod tls;
mod way;

use super::cli::Options;
use super::config::Settings;
use super::connection;
use super::display::output::Output;
use super::failure::{Exit, Failure};
use super::login;
use super::remote::Remote;
use super::stop::Stop;
use super::target::Target;
use super::whom;
use super::{commands, limits};
use crate::net::{Address, Side, Wire};
use finding::{Chart, Step};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Instant;

/// The command. Its status is that of the first step that failed.
pub fn run(output: &Output, options: &Options, settings: Result<Settings, Failure>) -> Exit {
    let mut chart = Chart::new(output);
    let told = examine(&mut chart, options, settings).and_then(|()| chart.close());
    let result = told.and(match chart.first {
        // What is wrong stands on its line.
        Some(exit) => Err(Failure::new(exit, "")),
        None => Ok(()),
    });
    commands::ended(output, result, None)
}

/// All steps. An error is one of printing.
fn examine(chart: &mut Chart, options: &Options, settings: Result<Settings, Failure>) -> Result<(), Failure> {
    if !here::configuration(chart, options, settings)? {
        return Ok(());
    }
    here::terminal(chart)?;
    let secret = here::password(chart, options)?;
    let has_password = secret.is_some();
    let target = match whom::target(options, |_, _| Ok(secret.unwrap_or_else(|| b"none".to_vec().into()))) {
        Ok(target) => patient(target),
        Err(failure) => return chart.failed(Step::Configuration, &failure, "correct it and try again"),
    };
    here::known_servers(chart, &target)?;
    let Some((socket, peer)) = way::lead(chart, &target)? else { return Ok(()) };
    converse(chart, &target, socket, peer, has_password)
}

/// Nobody waits half a minute for each line.
fn patient(mut target: Target) -> Target {
    target.retries = 0;
    target.silence = target.silence.min(limits::DOCTOR);
    target.connect = target.connect.min(limits::DOCTOR);
    target
}

/// From the first byte to the last.
fn converse(
    chart: &mut Chart,
    target: &Target,
    socket: OwnedFd,
    peer: Option<SocketAddr>,
    has_password: bool,
) -> Result<(), Failure> {
    let stop = Stop::deaf();
    let wire = stop.waiter().and_then(|waiter| {
        Wire::new(socket, Side::Client, waiter).map_err(|cut| Failure::new(Exit::Connect, cut.to_string()))
    });
    let mut wire = match wire {
        Ok(wire) => wire,
        Err(failure) => return chart.failed(Step::Connect, &failure, "try again"),
    };
    let Some(verifier) = tls::shake_hands(chart, target, &mut wire, peer)? else { return Ok(()) };
    let mut connection = connection::Connection::over(wire, target);
    let began = Instant::now();
    let offered = match connection.greeting(target) {
        Ok(offered) => offered,
        Err(failure) => return stranger::explain(chart, Step::Greeting, target, peer, &failure),
    };
    chart.fine(Step::Greeting, &format!("dfos/1 after {}, logins by {offered}", finding::took(began)))?;
    if !has_password {
        return Ok(());
    }
    let trust = verifier.as_ref().and_then(|verifier| verifier.seen()).map(|(_, trust)| trust);
    let began = Instant::now();
    if let Err(failure) = login::log_in(&mut connection, target, &offered, trust) {
        return chart.failed(Step::Login, &failure, account::remedy(&failure));
    }
    let mechanism = if verifier.is_some() { "SCRAM-SHA-256-PLUS, bound to this channel" } else { "SCRAM-SHA-256" };
    chart.fine(Step::Login, &format!("{} by {mechanism}, in {}", target.user, finding::took(began)))?;
    let mut remote = Remote { connection };
    account::clock_and_versions(chart, &mut remote)?;
    account::space(chart, &mut remote)?;
    let _ = remote.logout(); // nothing stands behind this answer
    Ok(())
}

/// Where `address` is, for people: the host and port alone.
fn shown(address: &Address) -> String {
    match address {
        Address::Tls(at) | Address::Tcp(at) => at.to_string(),
        Address::Unix(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests;
