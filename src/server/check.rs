//! `dfos-forkd check`: what a start with the same options would refuse, what it would warn about, and what confines a session
//! here. One section a function; nothing is changed, nothing is bound.

use super::certificate::Source;
use super::config::keys::Keys;
use super::config::{Configuration, Setting, show};
use super::confine::service_user::{self, ServiceUser};
use super::confine::{self, Layer, ruleset};
use super::options::{CheckOptions, ServeOptions};
use super::scribe::hooks;
use super::scribe::output::opening;
use super::users::Sources;
use super::{capacity, certificate, users};
use crate::auth::{Limits, ParsedUsers, trust, users_file};
use crate::net::Address;
use crate::proto::limits::RESERVED;
use crate::sys::sealed;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, Uid, faccessat};
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

/// What is wrong with a listener that speaks plain text to other machines.
pub const EXPOSED: &str = "would be reachable from other machines in plain text: use tls://, or say --allow-plaintext";

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Ok,
    /// The server starts; the operator may want to change something.
    Warning,
    /// The server would not start.
    Refused,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Refused => "refused",
        })
    }
}

/// What has been found, in order.
#[derive(Debug, Default)]
pub struct Findings(Vec<(Grade, String)>);

impl Findings {
    /// Adds one.
    pub fn add(&mut self, grade: Grade, text: impl Into<String>) {
        self.0.push((grade, text.into()));
    }

    /// Adds what is refused, if it is.
    fn take<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|why| why.lines().for_each(|line| self.add(Grade::Refused, line))).ok()
    }

    /// The gravest.
    pub fn worst(&self) -> Grade {
        self.0.iter().map(|(grade, _)| *grade).max().unwrap_or(Grade::Ok)
    }

    /// Prints those that are as grave as `least`; the exit status that all of them mean.
    fn print(&self, least: Grade) -> ExitCode {
        let mut out = std::io::stdout().lock();
        for (grade, text) in self.0.iter().filter(|(grade, _)| *grade >= least) {
            let _ = writeln!(out, "{grade:<8} {text}"); // nobody is left to tell
        }
        if self.worst() == Grade::Refused { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

/// What makes a start impossible before anything else is looked at.
pub fn refused(why: &str) -> ExitCode {
    let mut findings = Findings::default();
    why.lines().for_each(|line| findings.add(Grade::Refused, line));
    findings.print(Grade::Refused)
}

/// Prints what is found, one line each: its grade, and a sentence; and below, the configuration that holds. Fails if the server would not
/// start.
pub fn run(command: &CheckOptions, configuration: &Configuration, settings: &[Setting]) -> ExitCode {
    let options = &command.serve;
    let mut findings = Findings::default();
    listeners(options, &mut findings);
    let key_is_theirs = key_of_the_service_user(options);
    if !key_is_theirs {
        certificate(options, &mut findings);
    }
    let users = users_file(options, &mut findings);
    limits_file(options, users.as_ref(), &mut findings);
    let service = storage(options, &mut findings);
    layers(options, service, configuration, &mut findings); // it leaves root
    if key_is_theirs && !Uid::effective().is_root() {
        let state = options.channel.source().map(|source| source.to_string()).unwrap_or_default();
        let text = format!("a start by that user is told of here, to whom {state} belongs; one by root is refused");
        findings.add(Grade::Ok, text);
        certificate(options, &mut findings);
    }
    for (event, program) in options.hooks.programs() {
        if findings.take(hooks::program::check_one(event, program, &options.dir)).is_some() {
            findings.add(Grade::Ok, format!("on-{}: {} can be run", event.as_str(), program.display()));
        }
    }
    findings.0.extend(capacity::shortage(options).map(|text| (Grade::Warning, text)));
    if command.quiet {
        return findings.print(Grade::Refused);
    }
    let code = findings.print(Grade::Ok);
    let _ = write!(std::io::stdout(), "\n{}", show::show(&Keys::of_serve(), configuration, settings));
    code
}

/// Where it would listen, and who could listen in.
fn listeners(options: &ServeOptions, findings: &mut Findings) {
    for address in options.addresses() {
        match (address.is_exposed(), options.channel.allow_plaintext) {
            (true, false) => findings.add(Grade::Refused, format!("{address} {EXPOSED}")),
            (true, true) => {
                let text = "can be reached from other machines and speaks plain text: files travel readable";
                findings.add(Grade::Warning, format!("{address} {text}"));
            }
            (false, _) if lacks_directory(&address) => {
                findings.add(Grade::Refused, format!("{address}: the directory for this socket is missing"));
            }
            (false, _) if address.is_local() => findings.add(Grade::Ok, format!("{address}: this machine only")),
            (false, _) => findings.add(Grade::Ok, format!("{address}: encrypted")),
        }
    }
}

/// Whether a socket has no directory to be made in.
fn lacks_directory(address: &Address) -> bool {
    let Address::Unix(path) = address else { return false };
    path.parent().is_some_and(|dir| !dir.as_os_str().is_empty() && !dir.is_dir())
}

fn speaks_tls(options: &ServeOptions) -> bool {
    options.addresses().iter().any(|address| matches!(address, Address::Tls(_)))
}

/// Whether root is asked about a server that its own user starts, as the packaged unit does: then the key lies in that user's directory. Root
/// looks into it as that user, whose start this tells of; a start as root would refuse it.
fn key_of_the_service_user(options: &ServeOptions) -> bool {
    let Ok(Source::Own(directory)) = options.channel.source() else { return false };
    let owner = |path: &Path| fs::metadata(path).ok().map(|found| Uid::from_raw(found.uid()));
    let service = service_user::choose(options.run_as.as_deref(), &options.dir, owner(&options.dir));
    match (owner(&directory), service) {
        (Some(owner), Ok(Some(service))) => Uid::effective().is_root() && !owner.is_root() && owner == service.uid,
        _ => false,
    }
}

/// What clients would know the server by. Nothing is made: a server's own pair is, at its first start.
fn certificate(options: &ServeOptions, findings: &mut Findings) {
    if !speaks_tls(options) {
        return;
    }
    match findings.take(options.channel.source()) {
        Some(source) if source.is_there() => {
            let read = sealed::create(c"dfos-check").map_err(|why| why.to_string());
            let pin = read.and_then(|mut file| certificate::load(&source, &mut file));
            let pin = findings.take(pin.map_err(|why| format!("the certificate cannot be used: {why}")));
            findings.0.extend(pin.map(|pin| (Grade::Ok, format!("the certificate's pin is sha256:{pin}"))));
        }
        Some(source) => findings.add(Grade::Ok, format!("a certificate will be made: {source}")),
        None => {}
    }
}

/// Whether the users can be loaded, and what is wrong with single lines.
fn users_file(options: &ServeOptions, findings: &mut Findings) -> Option<ParsedUsers> {
    let path = options.users.display();
    let file = findings.take(users::open(&options.users))?;
    let read = users_file::contents(&file).map_err(|why| format!("cannot read the users file: {why}"));
    let bytes = findings.take(read)?;
    let users = users_file::parse(&bytes);
    findings.add(Grade::Ok, format!("{path}: users: {}", users.entries.len()));
    for problem in &users.problems {
        findings.add(Grade::Warning, format!("{path} {problem}"));
    }
    if users.demonstration && !options.addresses().iter().all(Address::is_local) {
        let text = "holds demonstration users whose passwords everybody knows: with it the server listens on this machine only";
        findings.add(Grade::Refused, format!("{path} {text}"));
    }
    if file.metadata().is_ok_and(|found| found.mode() & 0o007 != 0) {
        findings
            .add(Grade::Warning, format!("{path} can be read by every user of this machine: run 'chmod o-rwx' on it"));
    }
    Some(users)
}

/// Whether the limits of users can be understood, and whose they are.
fn limits_file(options: &ServeOptions, users: Option<&ParsedUsers>, findings: &mut Findings) {
    let Some(file) = options.limits_file() else { return };
    let Some(limits) = findings.take(users::load_limits(Some(&file), Limits::default())) else { return };
    let path = file.display();
    findings.add(Grade::Ok, format!("{path}: users with limits of their own: {}", limits.users.len()));
    for stranger in users.into_iter().flat_map(|users| users::strangers(users, &limits)) {
        findings.add(Grade::Warning, format!("{path} {stranger}"));
    }
}

/// Whose the storage is, who else could change it, and whom the server would run as.
fn storage(options: &ServeOptions, findings: &mut Findings) -> Option<ServiceUser> {
    let path = options.dir.display();
    let found = fs::metadata(&options.dir);
    match &found {
        Ok(found) if !found.is_dir() => findings.add(Grade::Refused, format!("{path} is not a directory")),
        Ok(found) if found.mode() & 0o002 != 0 => {
            let text = "can be changed by every user of this machine: run 'chmod o-w' on it";
            findings.add(Grade::Warning, format!("the storage directory {path} {text}"));
        }
        Ok(found) if found.mode() & 0o005 != 0 => {
            let text = "can be looked into by every user of this machine: 'chmod o-rwx' on it keeps them out";
            findings.add(Grade::Warning, format!("the storage directory {path} {text}"));
        }
        Ok(_) => findings.add(Grade::Ok, format!("the storage directory is {path}")),
        Err(_) => findings.add(Grade::Ok, format!("the storage directory {path} will be made")),
    }
    let owner = found.ok().map(|found| Uid::from_raw(found.uid()));
    let service = findings.take(service_user::choose(options.run_as.as_deref(), &options.dir, owner))?;
    if let (Some(service), Some(owner)) = (&service, owner)
        && service.uid != owner
    {
        let text = format!("the storage directory {path} belongs to user {owner}, the server would run as {service}");
        findings.add(Grade::Warning, text);
    }
    service
}

/// Whether the server, which this process is by now as far as rights go, can keep its secret and the users' files in the storage. By
/// descriptor, as the server does: the path may lead through directories that its user cannot enter.
fn writable(storage: BorrowedFd, findings: &mut Findings) {
    if faccessat(storage, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty()).is_ok() {
        return;
    }
    // Where there is a secret already the server starts, and fails those who have no directory yet.
    let begun = faccessat(storage, RESERVED, AccessFlags::F_OK, AtFlags::empty()).is_ok();
    let text =
        "the user that the server runs as cannot write to the storage directory: give it to that user with 'chown'";
    findings.add(if begun { Grade::Warning } else { Grade::Refused }, text);
}

/// Which files the user that the server runs as, which this process is by now, cannot read again on SIGHUP.
fn read_again(options: &ServeOptions, configuration: &Configuration, findings: &mut Findings) {
    let pair = options.channel.source().ok().filter(|_| speaks_tls(options));
    let (users, limits) = (options.users.clone(), options.limits_file());
    let configuration = configuration.file.clone();
    let sources = Sources { users, limits, base: Limits::default(), certificate: pair, configuration };
    for why in sources.read_again().filter_map(|path| trust::open(path).err()) {
        // What is missing is refused above.
        if !why.is_missing() {
            findings
                .add(Grade::Warning, format!("{why}: read at the start all the same, but SIGHUP cannot load it again"));
        }
    }
}

/// What confines a session here, tried as the user that the server would run as.
fn layers(
    options: &ServeOptions,
    service: Option<ServiceUser>,
    configuration: &Configuration,
    findings: &mut Findings,
) {
    // As the server does, it is opened before root is left. Where it will be made, any other will do to try them on, but not the root
    // directory: what is beneath that is everything, and nothing would be out of reach.
    let opened = File::open(&options.dir);
    let made_later = opened.as_ref().is_err_and(|why| why.kind() == ErrorKind::NotFound);
    let dir = if made_later { File::open(std::env::temp_dir()) } else { opened };
    let Some(dir) = findings.take(dir.map_err(|why| format!("cannot open {}: {why}", options.dir.display()))) else {
        return;
    };
    if let Some(service) = service {
        if findings.take(service.become_it()).is_none() {
            return;
        }
        findings.add(Grade::Ok, format!("the server would run as {service}"));
        read_again(options, configuration, findings);
    } else if Uid::effective().is_root() {
        return; // nobody to run as: refused above
    }
    if !made_later {
        writable(dir.as_fd(), findings);
    }
    for (what, path) in options.log.files() {
        findings.take(opening::foresee(&path).map_err(|why| format!("{what}: {why}")));
    }
    let walls = confine::wanted(options).and_then(|wanted| {
        confine::Walls::found(wanted, dir.as_fd()).map_err(|why| format!("cannot try what confines a session: {why}"))
    });
    let Some(walls) = findings.take(walls) else { return };
    let missing = if options.require_sandbox { Grade::Refused } else { Grade::Warning };
    for layer in Layer::ALL {
        if walls.layers().has(layer) {
            findings.add(Grade::Ok, format!("layer {layer}: {}", layer.purpose()));
        } else {
            findings.add(missing, format!("layer {layer} is missing: {}", layer.without()));
        }
    }
    match ruleset::version() {
        None => findings.add(Grade::Ok, "this kernel has no Landlock"),
        Some(version) => {
            let gaps: Vec<_> = ruleset::gaps(version).collect();
            let left = if gaps.is_empty() { String::new() } else { format!("; {} left to seccomp", gaps.join(", ")) };
            findings.add(Grade::Ok, format!("this kernel's Landlock has version {version}{left}"));
        }
    }
}
