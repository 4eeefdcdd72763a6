//! `dfos-forkd` from its command line to its exit status.

use super::certificate::Source;
use super::config::{self, Configuration, Trouble};
use super::confine::service_user::{self, ServiceUser};
use super::confine::{self, Layer, Layers, chroot, process};
use super::desk::{Desk, place};
use super::handover::{self, State, Taken};
use super::level::Level;
use super::listener::{self, Listener, Prepared, Role};
use super::manager::Manager;
use super::options::{Command, Options, ServeOptions};
use super::scribe::hooks;
use super::scribe::output::file;
use super::starter::Starter;
use super::users::{Loaded, Sources, Users};
use super::{capacity, check, report, session, status, user_command, users};
use crate::auth;
use crate::completion;
use crate::net::Address;
use crate::net::listen::{Listener as Socket, listen_on};
use crate::net::{activation, tls};
use crate::paper::wrap;
use crate::store::tree::Policy;
use crate::sys::fork::exit_child;
use crate::sys::heap;
use crate::sys::signals::{self, StopPipe};
use crate::sys::title;
use clap::CommandFactory;
use nix::fcntl::OFlag;
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Uid, geteuid, getuid};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// The program, as its command line begins.
const PROGRAM: &str = "dfos-forkd";

/// Runs `dfos-forkd`.
pub fn main() -> ExitCode {
    // Before anything else: it closes and changes what only this process's beginning can.
    let starter = Starter::hear();
    signals::sizes_are_errors();
    let gather = || config::gather(std::env::args_os().collect(), std::env::vars_os().collect());
    let gathered = match heap::elsewhere(gather) {
        Ok(gathered) => gathered,
        Err(Trouble::Line(why)) => {
            wrap::tell(&why);
            return ExitCode::from(u8::try_from(why.exit_code()).unwrap_or(2));
        }
        Err(Trouble::Configuration { why, checking: true }) => return check::refused(&why),
        Err(Trouble::Configuration { why, checking: false }) => return failed(&why),
    };
    for line in gathered.passed_over.iter().flat_map(|why| why.lines()) {
        let _ = writeln!(std::io::stderr(), "dfos-forkd: {line} (passed over)");
    }
    let options = gathered.options;
    let result = match options.command {
        Some(Command::User(command)) => user_command::run(&command),
        Some(Command::Report(command)) => report::run(&command),
        Some(Command::Check(command)) => Ok(check::run(&command, &gathered.configuration, &gathered.settings)),
        Some(Command::Serve(serve)) => starter.and_then(|starter| serve_files(serve, gathered.configuration, starter)),
        Some(Command::Completions { shell }) => print(shell.script(PROGRAM).as_bytes()),
        Some(Command::Complete { line }) => {
            let line = completion::line::split(&line, PROGRAM);
            print(&completion::complete(&Options::command(), &line).print(&line.kept))
        }
        Some(Command::Status(options)) => status::status(&options),
        Some(Command::Kick(options)) => status::kick(&options),
        Some(Command::Drain(options)) => status::drain(&options),
        Some(Command::Upgrade(options)) => status::upgrade(&options),
        None => starter.and_then(|starter| serve_files(options.serve, gathered.configuration, starter)),
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

/// Prints what was asked for.
fn print(text: &[u8]) -> Result<ExitCode, String> {
    let mut out = io::stdout();
    let printed = out.write_all(text).and_then(|()| out.flush());
    printed.map(|()| ExitCode::SUCCESS).map_err(|why| format!("cannot print: {why}"))
}

fn serve_files(options: ServeOptions, configuration: Configuration, starter: Starter) -> Result<ExitCode, String> {
    heap::one_for_all_threads();
    title::claim();
    let layers = confine::wanted(&options)?;
    let rehearsal = starter.invitation.is_some_and(|invitation| invitation.rehearsal);
    let prepared = match starter.invitation {
        Some(_) => take_over(options, configuration, starter, layers),
        None => start(options, configuration, starter, layers),
    }?;
    let listener = Listener::new(prepared).map_err(|why| format!("cannot start: {why}"))?;
    if rehearsal {
        println!("{}", handover::READY);
        return Ok(ExitCode::SUCCESS);
    }
    // They were blocked by the program that was here before, or by whoever started this one; from now on somebody hears them.
    signals::restore(&SigSet::empty()).map_err(|why| format!("cannot hear signals: {why}"))?;
    live(listener.run(announce).map_err(|why| format!("the listener failed: {why}"))?)
}

/// What each process does from here on.
fn live(role: Role) -> Result<ExitCode, String> {
    match role {
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
            title::set(format_args!("dfos-forkd: loader"));
            let _ = process::drop_capabilities(); // at most the right to chroot, which is nothing to load with
            exit_child(load.run())
        }
        Role::Passwords(change) => {
            let _ = process::drop_capabilities();
            exit_child(change.run())
        }
        Role::Scribe(scribe, mask) => {
            title::set(format_args!("dfos-forkd: scribe"));
            let _ = process::drop_capabilities();
            let _ = signals::restore(&mask);
            exit_child(u8::from(scribe.run().is_err()))
        }
    }
}

/// Everything from the beginning: opens, binds, loads, leaves root.
fn start(
    options: ServeOptions,
    configuration: Configuration,
    starter: Starter,
    layers: Layers,
) -> Result<Prepared, String> {
    let numbers: Vec<_> = starter.passed.iter().map(|(number, _)| *number).collect();
    let passed = inherit(&numbers, layers)?.into_iter().zip(&starter.passed);
    let passed = passed
        .map(|(socket, (number, name))| {
            activation::adopt(socket, name).map_err(|why| format!("descriptor {number} ('{name}') was passed: {why}"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mask = narrow_umask();
    if let Some(exposed) = options.addresses().iter().find(|at| at.is_exposed() && !options.channel.allow_plaintext) {
        return Err(format!("{exposed} {}", check::EXPOSED));
    }
    drop(users::open(&options.users)?); // before anything is made
    let (storage, owner) = open_storage(&options.dir)?;
    let service = service_user::choose(options.run_as.as_deref(), &options.dir, owner)?
        .filter(|_| layers.has(Layer::ServiceUser));
    if let (Some(service), None) = (&service, owner) {
        service.own(storage.as_fd())?;
    }
    let sockets = bind(&options, passed)?;
    let wants_tls = sockets.iter().any(Socket::speaks_tls);
    let certificate = if wants_tls { Some(options.channel.source()?) } else { None };
    let sources = sources(&options, &configuration, certificate);
    let loaded = users::load_now(&sources, storage.as_fd(), service.as_ref())
        .map_err(|why| format!("cannot load the users: {why}"))?;
    let Loaded { users: Some(users), identity, mut notes, .. } = loaded else { return Err(grave(loaded.notes)) };
    if wants_tls && identity.is_none() {
        return Err(grave(notes));
    }
    warm_up(wants_tls)?;
    if users.demonstration && !sockets.iter().all(Socket::is_local) {
        let text = "holds demonstration users whose passwords everybody knows: with it the server listens on this machine only";
        return Err(format!("{} {text}", options.users.display()));
    }
    let desk = open_desk(&options, &mut notes);
    leave_root(service.as_ref(), &sockets, layers)?;
    check_files(&options)?; // as whoever is to open them again
    hooks::program::check(&options.hooks, &options.dir)?; // and to run these
    let (walls, missing) = confine::raise(&options, storage.as_fd())?;
    notes.extend(missing);
    notes.extend(capacity::shortage(&options));
    let (manager, unheard) = starter.manager.map_or_else(|why| (Manager::default(), Some(why)), |found| (found, None));
    notes.extend(unheard);
    let mut notes: Vec<_> = notes.into_iter().map(|note| (users::level_of(&note), note)).collect();
    notes.extend(service.map(|service| (Level::Info, format!("running as {service}"))));
    let (policy, program) = (Policy::new(mask), starter.program);
    Ok(Prepared {
        options,
        configuration,
        sockets,
        storage,
        sources,
        users,
        identity,
        notes,
        policy,
        walls,
        manager,
        program,
        taken: None,
        desk,
    })
}

/// In the place of the program that was here before: what that had opened, bound and loaded goes on. The options are read anew; where to
/// listen and which directory to serve only a start decides.
fn take_over(
    options: ServeOptions,
    configuration: Configuration,
    starter: Starter,
    layers: Layers,
) -> Result<Prepared, String> {
    let Starter { invitation: Some(invitation), program, .. } = starter else { return Err("nobody asked".into()) };
    let state = State::read(invitation.file).map_err(|why| why.to_string())?;
    let mut numbers = state.descriptors();
    numbers.push(invitation.file);
    let mut owned = confine::descriptors::close_inherited(&numbers)
        .map_err(|why| format!("cannot take the descriptors of the running server over: {why}"))?;
    owned.truncate(state.descriptors().len()); // the file itself has been read
    let mut taken = Taken::new(invitation, state, owned).map_err(|why| why.to_string())?;
    let mask = narrow_umask();
    let sockets = std::mem::take(&mut taken.sockets);
    refuse_exposed(&sockets, &options)?;
    let wants_tls = sockets.iter().any(Socket::speaks_tls);
    warm_up(wants_tls)?;
    leave_root(None, &sockets, layers)?;
    check_files(&options)?;
    hooks::program::check(&options.hooks, &options.dir)?;
    let storage = taken.storage.try_clone().map_err(|why| format!("cannot take the storage over: {why}"))?;
    let (walls, missing) = confine::raise(&options, storage.as_fd())?;
    let notes = missing.into_iter().chain(capacity::shortage(&options)).map(|note| (Level::Warning, note)).collect();
    let certificate = if wants_tls { options.channel.source().ok() } else { None };
    let sources = sources(&options, &configuration, certificate);
    let clone = |file: &File| file.try_clone().map_err(|why| format!("cannot take the users over: {why}"));
    let [table, limits] = &taken.users;
    let (table, limits) = (clone(table)?, clone(limits)?);
    let users = Users { table, limits, demonstration: taken.state.demonstration, gone: Vec::new() };
    let identity = taken.identity.take();
    let (socket, watchdog) = taken.state.manager.clone().map_or((None, None), |(socket, limit)| (Some(socket), limit));
    let manager = Manager::new(socket.map(Into::into), watchdog.map(Duration::from_micros))?;
    let policy = Policy::new(mask);
    let desk = taken.desk.take().into();
    Ok(Prepared {
        options,
        configuration,
        sockets,
        storage,
        sources,
        users,
        identity,
        notes,
        policy,
        walls,
        manager,
        program,
        taken: Some(taken),
        desk,
    })
}

/// Takes the descriptors that were passed on purpose, and closes all others.
fn inherit(numbers: &[RawFd], layers: Layers) -> Result<Vec<OwnedFd>, String> {
    if !layers.has(Layer::Descriptors) {
        return Ok(Vec::new());
    }
    confine::descriptors::close_inherited(numbers).map_err(|why| format!("cannot close what was left open: {why}"))
}

/// What others may not do by the operator's umask, and nothing at all for strangers.
fn narrow_umask() -> Mode {
    let mask = umask(Mode::S_IRWXO) | Mode::S_IRWXO;
    umask(mask);
    mask
}

fn sources(options: &ServeOptions, configuration: &Configuration, certificate: Option<Source>) -> Sources {
    Sources {
        users: options.users.clone(),
        limits: options.limits_file(),
        base: options.base_limits(),
        certificate,
        configuration: configuration.file.clone(),
    }
}

/// What would otherwise be done in each session anew.
fn warm_up(with_tls: bool) -> Result<(), String> {
    if with_tls {
        tls::warm_up().map_err(|why| format!("TLS cannot be used: {why}"))?;
    }
    auth::warm_up().map_err(|why| format!("nobody can log in: {why}"))
}

fn refuse_exposed(sockets: &[Socket], options: &ServeOptions) -> Result<(), String> {
    match sockets.iter().find(|socket| socket.address.is_exposed() && !options.channel.allow_plaintext) {
        Some(exposed) => Err(format!("{} {}", exposed.address, check::EXPOSED)),
        None => Ok(()),
    }
}

/// Whether the audit and the log can be written.
fn check_files(options: &ServeOptions) -> Result<(), String> {
    let mut files = options.log.files().into_iter();
    files.try_for_each(|(what, path)| file::check(&path).map_err(|why| format!("{what}: {why}")))
}

/// The control socket. The server goes on without one where it cannot be had: files are more than figures.
fn open_desk(options: &ServeOptions, notes: &mut Vec<String>) -> Desk {
    let Some(path) = place::of(options.control.control.as_deref()) else { return Desk::default() };
    let door = place::open(&path, getuid());
    door.map(Some)
        .unwrap_or_else(|why| {
            notes.push(format!(
                "no control socket at {}: {why}; status, kick and drain cannot ask this server",
                path.display()
            ));
            None
        })
        .into()
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
        // Of what a service manager gave (AmbientCapabilities=) the right to chroot is kept, and nothing else.
        let kept = chroot::hand_on_right().and_then(|()| chroot::keep_right(chroot::has_right()));
        kept.map_err(|why| format!("cannot give up the capabilities that nobody needs: {why}"))?;
        return process::hide().map_err(|why| format!("cannot keep this process from being traced: {why}"));
    };
    for socket in sockets {
        if let (Address::Unix(path), true) = (&socket.address, socket.is_ours) {
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

/// Listens where the options say, beside the sockets that were `passed`; where some were and the options name no address, there alone.
fn bind(options: &ServeOptions, passed: Vec<Socket>) -> Result<Vec<Socket>, String> {
    let mut sockets = passed;
    refuse_exposed(&sockets, options)?;
    let asked = if sockets.is_empty() || options.names_addresses() { options.addresses() } else { Vec::new() };
    for address in asked {
        let more = listen_on(&address, &sockets).map_err(|why| cannot_listen(&address, &why))?;
        sockets.extend(more);
    }
    Ok(sockets)
}

/// Why nobody could be reached at an address, and what helps.
fn cannot_listen(address: &Address, why: &io::Error) -> String {
    let hint = match (why.kind(), address) {
        (io::ErrorKind::AddrInUse, _) => "; somebody listens there already: is the server running?",
        (io::ErrorKind::AddrNotAvailable, _) => "; it is no address of this machine",
        (io::ErrorKind::PermissionDenied, Address::Tls(_) | Address::Tcp(_)) => {
            "; a port below 1024 needs root, or the right CAP_NET_BIND_SERVICE"
        }
        _ => "",
    };
    format!("cannot listen on {address}: {why}{hint}")
}

/// Tells on standard output where the server can be reached, for scripts that wait for it.
fn announce(sockets: &[Socket]) {
    let mut out = std::io::stdout().lock();
    for socket in sockets {
        let _ = writeln!(out, "listening {}", socket.address);
    }
    let _ = out.flush();
}
