//! `dfos-forkd` from its command line to its exit status.

use super::config::{self, Configuration, Trouble};
use super::confine::service_user::{self, ServiceUser};
use super::confine::{self, Layer, Layers, process};
use super::listener::{self, Listener, Prepared, Role};
use super::options::{Command, LogTarget, ServeOptions};
use super::record::Level;
use super::scribe::hooks;
use super::scribe::output::file;
use super::users::{Loaded, Sources};
use super::{capacity, check, session, user_command, users};
use crate::auth;
use crate::net::Address;
use crate::net::listen::{Listener as Socket, listen_on};
use crate::net::tls;
use crate::store::tree::Policy;
use crate::sys::fork::exit_child;
use crate::sys::heap;
use crate::sys::signals::{self, StopPipe};
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, geteuid};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

/// What is wrong with a listener that speaks plain text to other machines.
pub const EXPOSED: &str = "would be reachable from other machines in plain text: use tls://, or say --allow-plaintext";

/// Runs `dfos-forkd`.
pub fn main() -> ExitCode {
    let gathered = match config::gather(std::env::args_os().collect(), std::env::vars_os().collect()) {
        Ok(gathered) => gathered,
        Err(Trouble::Line(why)) => why.exit(),
        Err(Trouble::Configuration { why, checking: true }) => return check::refused(&why),
        Err(Trouble::Configuration { why, checking: false }) => return failed(&why),
    };
    let options = gathered.options;
    let result = match options.command {
        Some(Command::User(command)) => user_command::run(&command),
        Some(Command::Check(command)) => Ok(check::run(&command, &gathered.configuration, &gathered.settings)),
        Some(Command::Serve(serve)) => serve_files(serve, gathered.configuration),
        None => serve_files(options.serve, gathered.configuration),
    };
    match result {
        Ok(code) => code,
        Err(why) => failed(&why),
    }
}

fn failed(why: &str) -> ExitCode {
    for line in why.lines() {
        let _ = writeln!(std::io::stderr(), "dfos-forkd: {line}");
    }
    ExitCode::FAILURE
}

fn serve_files(options: ServeOptions, configuration: Configuration) -> Result<ExitCode, String> {
    heap::one_for_all_threads();
    let layers = confine::wanted(&options)?;
    if layers.has(Layer::Descriptors) {
        confine::descriptors::close_inherited().map_err(|why| format!("cannot close what was left open: {why}"))?;
    }
    // What others may not do by the operator's umask, and nothing at all for strangers.
    let mask = umask(Mode::S_IRWXO) | Mode::S_IRWXO;
    umask(mask);
    if let Some(exposed) = options.addresses().iter().find(|at| at.is_exposed() && !options.channel.allow_plaintext) {
        return Err(format!("{exposed} {EXPOSED}"));
    }
    drop(users::open(&options.users)?); // before anything is made
    let (storage, owner) = open_storage(&options.dir)?;
    let service = service_user::choose(options.run_as.as_deref(), &options.dir, owner)?
        .filter(|_| layers.has(Layer::ServiceUser));
    if let (Some(service), None) = (&service, owner) {
        service.own(storage.as_fd())?;
    }
    let sockets = bind(&options)?;
    let wants_tls = sockets.iter().any(Socket::speaks_tls);
    let certificate = if wants_tls { Some(options.channel.source()?) } else { None };
    let sources = Sources {
        users: options.users.clone(),
        limits: options.limits_file(),
        base: options.base_limits(),
        certificate,
        configuration: configuration.file.clone(),
    };
    let loaded = users::load_now(&sources, storage.as_fd(), service.as_ref())
        .map_err(|why| format!("cannot load the users: {why}"))?;
    let Loaded { users: Some(users), identity, mut notes, .. } = loaded else { return Err(grave(loaded.notes)) };
    if wants_tls {
        if identity.is_none() {
            return Err(grave(notes));
        }
        tls::warm_up().map_err(|why| format!("TLS cannot be used: {why}"))?;
    }
    auth::warm_up().map_err(|why| format!("nobody can log in: {why}"))?;
    if users.demonstration && !sockets.iter().all(Socket::is_local) {
        let text = "holds demonstration users whose passwords everybody knows: with it the server listens on this machine only";
        return Err(format!("{} {text}", options.users.display()));
    }
    leave_root(service.as_ref(), &sockets, layers)?;
    check_files(&options)?; // as whoever is to open them again
    hooks::program::check(&options.hooks, &options.dir)?; // and to run these
    let (walls, missing) = confine::raise(&options, storage.as_fd())?;
    notes.extend(missing);
    notes.extend(capacity::shortage(&options));
    let mut notes: Vec<_> = notes.into_iter().map(|note| (users::level_of(&note), note)).collect();
    notes.extend(service.map(|service| (Level::Info, format!("running as {service}"))));
    let policy = Policy::new(mask);
    let prepared =
        Prepared { options, configuration, sockets, storage, sources, users, identity, notes, policy, walls };
    let listener = Listener::new(prepared).map_err(|why| format!("cannot start: {why}"))?;
    match listener.run(announce).map_err(|why| format!("the listener failed: {why}"))? {
        Role::Listener(orderly) => Ok(if orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Role::Session(brief, mask) => {
            let run = || match StopPipe::of_session() {
                Ok(stop) => {
                    let _ = signals::restore(&mask);
                    session::run(*brief, stop)
                }
                Err(_) => super::ending::Ending::Failed,
            };
            exit_child(listener::ending_of(catch_unwind(AssertUnwindSafe(run))))
        }
        Role::Loader(load) => {
            let _ = process::drop_capabilities(); // at most the right to chroot, which is nothing to load with
            exit_child(load.run())
        }
        Role::Passwords(change) => {
            let _ = process::drop_capabilities();
            exit_child(change.run())
        }
        Role::Scribe(scribe, mask) => {
            let _ = process::drop_capabilities();
            let _ = signals::restore(&mask);
            exit_child(u8::from(scribe.run().is_err()))
        }
    }
}

/// Whether the audit and the log can be written.
fn check_files(options: &ServeOptions) -> Result<(), String> {
    let log = match options.log.target() {
        LogTarget::File(path) => Some(path),
        _ => None,
    };
    let files = [("the audit", &options.log.audit), ("the log", &log)];
    files.into_iter().try_for_each(|(what, path)| match path {
        Some(path) => file::check(path).map_err(|why| format!("{what}: {why}")),
        None => Ok(()),
    })
}

/// Of what a helper said, why there is no start.
fn grave(notes: Vec<String>) -> String {
    notes.into_iter().filter(|note| users::level_of(note) != Level::Info).collect::<Vec<_>>().join("\n")
}

/// The last thing that is done as root, if the server is root.
fn leave_root(service: Option<&ServiceUser>, sockets: &[Socket], layers: Layers) -> Result<(), String> {
    let Some(service) = service else {
        if !layers.has(Layer::Process) {
            return Ok(());
        }
        return process::hide().map_err(|why| format!("cannot keep this process from being traced: {why}"));
    };
    for socket in sockets {
        if let Address::Unix(path) = &socket.address {
            service.own_socket(path)?;
        }
    }
    service.become_it()
}

/// Opens the storage directory; with it, whose it is, or `None` if it was missing and has been made.
fn open_storage(path: &Path) -> Result<(OwnedFd, Option<Uid>), String> {
    let why = |what: &str, error| format!("cannot {what} the storage directory {}: {error}", path.display());
    let mut builder = DirBuilder::new();
    builder.mode(0o750);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        builder.recursive(true).create(parent).map_err(|error| why("make", error))?;
    }
    let made = match builder.recursive(false).create(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(why("make", error)),
    };
    // What was just made is given away below: it must be no link that somebody has put in its place meanwhile.
    let flags = if made { OFlag::O_NOFOLLOW } else { OFlag::empty() };
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let (found, dir) = opened.and_then(|dir| Ok((dir.metadata()?, dir))).map_err(|error| why("open", error))?;
    if made && found.uid() != geteuid().as_raw() {
        return Err(format!("{} was exchanged while it was made: name another storage directory", path.display()));
    }
    if !found.is_dir() {
        return Err(format!("{} is not a directory: name the storage directory with --dir", path.display()));
    }
    Ok((dir.into(), (!made).then(|| Uid::from_raw(found.uid()))))
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
