//! `dfos-forkd` from its command line to its exit status.

use super::listener::{self, Listener, Prepared, Role};
use super::options::{Command, Options, ServeOptions};
use super::{session, user_command, users};
use crate::net::listen::{Listener as Socket, listen_on};
use crate::store::tree::Policy;
use crate::sys::fork::exit_child;
use crate::sys::signals::{self, StopPipe};
use clap::Parser;
use nix::sys::stat::{Mode, umask};
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

/// Runs `dfos-forkd`.
pub fn main() -> ExitCode {
    let options = Options::parse();
    let result = match options.command {
        Some(Command::User(command)) => user_command::run(&command),
        Some(Command::Serve(serve)) => serve_files(serve),
        None => serve_files(options.serve),
    };
    match result {
        Ok(code) => code,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "dfos-forkd: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve_files(mut options: ServeOptions) -> Result<ExitCode, String> {
    // What others may not do by the operator's umask, and nothing at all for strangers.
    let mask = umask(Mode::S_IRWXO) | Mode::S_IRWXO;
    umask(mask);
    // From now on a limits file that was there must be there.
    options.user_limits = options.limits_file();
    let storage = open_storage(&options.dir)?;
    let (users, notes) = users::load_now(&options).map_err(|why| format!("cannot load the users: {why}"))?;
    let users = users.ok_or_else(|| notes.join("\n"))?;
    let sockets = bind(&options)?;
    if users.demonstration && !sockets.iter().all(Socket::is_local) {
        let text = "holds demonstration users whose passwords everybody knows: with it the server listens on this machine only";
        return Err(format!("{} {text}", options.users.display()));
    }
    let policy = Policy::new(mask);
    let prepared = Prepared { options, sockets, storage, users, notes, policy };
    let listener = Listener::new(prepared).map_err(|why| format!("cannot start: {why}"))?;
    match listener.run(announce).map_err(|why| format!("the listener failed: {why}"))? {
        Role::Listener(orderly) => Ok(if orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Role::Session(brief, mask) => {
            let run = || match StopPipe::new() {
                Ok(stop) => {
                    let _ = signals::restore(&mask);
                    session::run(*brief, stop)
                }
                Err(_) => super::ending::Ending::Failed,
            };
            exit_child(listener::ending_of(catch_unwind(AssertUnwindSafe(run))))
        }
        Role::Loader(load) => exit_child(load.run()),
        Role::Scribe(scribe, mask) => {
            let _ = signals::restore(&mask);
            exit_child(u8::from(scribe.run().is_err()))
        }
    }
}

/// Opens the storage directory, made if it is missing.
fn open_storage(path: &Path) -> Result<OwnedFd, String> {
    let why = |what: &str, error| format!("cannot {what} the storage directory {}: {error}", path.display());
    DirBuilder::new().recursive(true).mode(0o750).create(path).map_err(|error| why("make", error))?;
    File::open(path).map(OwnedFd::from).map_err(|error| why("open", error))
}

fn bind(options: &ServeOptions) -> Result<Vec<Socket>, String> {
    let mut sockets = Vec::new();
    for address in options.addresses() {
        sockets.extend(listen_on(&address).map_err(|error| format!("cannot listen on {address}: {error}"))?);
    }
    Ok(sockets)
}

/// Tells on standard output where the server can be reached, for scripts that wait for it.
fn announce(sockets: &[Socket]) {
    let mut out = std::io::stdout().lock();
    for socket in sockets {
        let _ = writeln!(out, "listening {}", socket.address);
    }
    let _ = out.flush();
}
