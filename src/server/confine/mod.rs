//! The walls: what the kernel holds around a session, whatever runs in it. The order stands here, each layer in a file of its own.
//!
//! ```text
//! start     descriptors  nothing that the starter left open is inherited
//!           service_user root is left for good, before any client is met
//! connect   descriptors  the client is standard input, there is no standard output
//!           process      no gain of privilege by exec, no core, no tracing, limits
//!           chroot       a start without root: a user namespace of its own, for the one right to chroot
//!           ruleset      files outside the storage are out of reach; no TCP, no signals to others
//!           seccomp      what is not on the list of system calls is refused
//! login     chroot       the user's root is the root directory; then no capability is left
//!           ruleset      files outside the user's root are out of reach
//!           seccomp      nothing of the above can be done again; and no change, where the user may only read
//! ```
//!
//! What this kernel has is found out at the start, by a child that does it all ([`Walls::probe`]). A layer that was there
//! then and fails in a session ends that session.

pub mod chroot;
pub mod descriptors;
#[cfg(test)]
mod golden;
pub mod process;
mod program;
pub mod ruleset;
pub mod seccomp;
pub mod service_user;

use super::options::ServeOptions;
use crate::sys::fork::{Fork, exit_child, fork};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, geteuid};
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;

/// How often the layers are tried if whoever tries them is killed.
const PROBES: u32 = 3;

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// No process of the server that meets a client is root.
    ServiceUser,
    /// Nothing that the starter left open is inherited.
    Descriptors,
    /// no_new_privs, resource limits, not dumpable.
    Process,
    /// The user's root is the root directory.
    Chroot,
    /// Landlock: files outside are out of reach.
    Landlock,
    /// System calls by a list.
    Seccomp,
}

impl Layer {
    /// All of them, in the order in which they are put on.
    pub const ALL: [Layer; 6] =
        [Layer::ServiceUser, Layer::Descriptors, Layer::Process, Layer::Chroot, Layer::Landlock, Layer::Seccomp];

    /// Its name, as an operator reads it.
    pub fn name(self) -> &'static str {
        match self {
            Layer::ServiceUser => "service-user",
            Layer::Descriptors => "descriptors",
            Layer::Process => "process",
            Layer::Chroot => "chroot",
            Layer::Landlock => "landlock",
            Layer::Seccomp => "seccomp",
        }
    }

    /// What it is, for `dfos-forkd check`.
    pub fn purpose(self) -> &'static str {
        match self {
            Layer::ServiceUser => "no process that meets a client is root",
            Layer::Descriptors => "a session holds no descriptor but its own",
            Layer::Process => "no privilege by exec, no core, no tracing, limits of memory and descriptors",
            Layer::Chroot => "the user's directory is the root directory after login",
            Layer::Landlock => "files outside the user's directory cannot be opened, made, renamed or removed",
            Layer::Seccomp => "system calls by a list: no sockets, no programs, no new processes",
        }
    }

    /// What is left to a session that has been taken over where this layer is missing.
    pub fn without(self) -> &'static str {
        match self {
            Layer::ServiceUser => "a session that is taken over has root's user id",
            Layer::Descriptors => "a session inherits what the starter had open",
            Layer::Process => "a session can use up memory and be traced by its own user",
            Layer::Chroot => "a session that is taken over can tell which files exist outside its user's directory",
            Layer::Landlock => {
                "a session that is taken over is held in its user's directory by chroot and seccomp alone"
            }
            Layer::Seccomp => "a session that is taken over can make sockets and processes, and meets the whole kernel",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layers(u8);

impl Layers {
    /// Whether `layer` is one of them.
    pub fn has(self, layer: Layer) -> bool {
        self.0 & layer.bit() != 0
    }

    /// The same without `layer`.
    pub fn without(self, layer: Layer) -> Layers {
        Layers(self.0 & !layer.bit())
    }
}

impl FromIterator<Layer> for Layers {
    fn from_iter<T: IntoIterator<Item = Layer>>(layers: T) -> Self {
        Layers(layers.into_iter().fold(0, |bits, layer| bits | layer.bit()))
    }
}

/// A layer that could not be put on.
#[derive(Debug, thiserror::Error)]
#[error("the session cannot be confined ({layer}): {why}")]
pub struct Breach {
    layer: Layer,
    #[source]
    why: io::Error,
}

/// What a user may do to the files in the user's own directory, as far as the kernel can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everything that DFOS does.
    Full,
    /// Reading alone.
    ReadOnly,
}

/// The layers that the operator wants: all.
#[cfg(not(feature = "hostile"))]
pub fn wanted(_: &ServeOptions) -> Result<Layers, String> {
    Ok(Layer::ALL.into_iter().collect())
}

/// The layers that a test wants; "second-filter" is a part of one, which goes missing where nobody but the probe can notice.
#[cfg(feature = "hostile")]
pub fn wanted(options: &ServeOptions) -> Result<Layers, String> {
    let mut layers: Layers = Layer::ALL.into_iter().collect();
    for name in &options.without_layer {
        if name == "second-filter" {
            seccomp::WITHOUT_SECOND.store(true, std::sync::atomic::Ordering::Relaxed);
            continue;
        }
        let layer = Layer::ALL.into_iter().find(|layer| layer.name() == name);
        layers = layers.without(layer.ok_or_else(|| format!("there is no layer '{name}'"))?);
    }
    Ok(layers)
}

/// The walls that this kernel has, and what the operator should read about those that it lacks; an error with `--require-sandbox`.
pub fn raise(options: &ServeOptions, storage: BorrowedFd) -> Result<(Walls, Vec<String>), String> {
    let wanted = wanted(options)?;
    let walls =
        Walls::found(wanted, storage).map_err(|why| format!("cannot find out what confines a session here: {why}"))?;
    let missing = Layer::ALL.into_iter().filter(|layer| wanted.has(*layer) && !walls.layers.has(*layer));
    let notes: Vec<String> =
        missing.map(|layer| format!("the layer '{layer}' is missing here: {}", layer.without())).collect();
    match notes.first() {
        Some(first) if options.require_sandbox => Err(format!("{first} (--require-sandbox)")),
        _ => Ok((walls, notes)),
    }
}

/// What the listener makes once and every session puts on.
pub struct Walls {
    layers: Layers,
    seccomp: seccomp::Filters,
}

impl Walls {
    /// The walls of these layers.
    pub fn new(layers: Layers) -> io::Result<Self> {
        Ok(Walls { layers, seccomp: seccomp::Filters::compile()? })
    }

    /// The walls that this kernel has, of those in `wanted`: as [`Walls::probe`] finds.
    pub fn found(wanted: Layers, storage: BorrowedFd) -> io::Result<Self> {
        let walls = Walls::new(wanted)?;
        let layers = walls.probe(storage)?;
        Ok(Walls { layers, ..walls })
    }

    /// The layers that a session has.
    pub fn layers(&self) -> Layers {
        self.layers
    }

    /// The first layer, before a byte of the client's is read. The client's connection is descriptor 0 by now.
    pub fn first(&self, storage: BorrowedFd, listener: Pid) -> Result<(), Breach> {
        self.layer(Layer::Process, process::confine)?;
        self.layer(Layer::Chroot, chroot::prepare)?;
        process::end_with(listener).map_err(|why| Breach { layer: Layer::Process, why })?;
        self.layer(Layer::Landlock, || ruleset::confine(storage, Access::Full))?;
        self.layer(Layer::Seccomp, || self.seccomp.first())
    }

    /// The second layer, at login, when `root` is the one directory that is still needed.
    pub fn second(&self, root: BorrowedFd, access: Access) -> Result<(), Breach> {
        self.layer(Layer::Chroot, || chroot::enter(root))?;
        process::drop_capabilities().map_err(|why| Breach { layer: Layer::ServiceUser, why })?;
        self.layer(Layer::Process, process::logged_in)?;
        self.layer(Layer::Landlock, || ruleset::confine(root, access))?;
        self.layer(Layer::Seccomp, || self.seccomp.second(access))
    }

    fn layer(&self, layer: Layer, put_on: impl FnOnce() -> io::Result<()>) -> Result<(), Breach> {
        if self.layers.has(layer) { put_on().map_err(|why| Breach { layer, why }) } else { Ok(()) }
    }

    /// Has a child put on every layer and try what each forbids. The layers that held, of those that these walls have. A child that is
    /// killed (for want of memory, say) tells nothing: after an upgrade in place the server must not end over that.
    pub fn probe(&self, storage: BorrowedFd) -> io::Result<Layers> {
        let mut ended = self.probe_once(storage)?;
        for _ in 1..PROBES {
            match ended {
                WaitStatus::Signaled(_, Signal::SIGKILL, _) => ended = self.probe_once(storage)?,
                _ => break,
            }
        }
        match ended {
            WaitStatus::Exited(_, bits) => Ok(Layers(self.layers.0 & bits as u8)),
            other => Err(io::Error::other(format!("the child that tried the layers ended by {other:?}"))),
        }
    }

    fn probe_once(&self, storage: BorrowedFd) -> io::Result<WaitStatus> {
        let pid = match fork()? {
            Fork::Child => exit_child(self.held(storage).0),
            Fork::Parent(pid) => pid,
        };
        loop {
            match waitpid(pid, None) {
                Err(nix::Error::EINTR) => {}
                other => return Ok(other?),
            }
        }
    }

    /// In a child: the order of a session's life, with `storage` as the user's root.
    fn held(&self, storage: BorrowedFd) -> Layers {
        let tried = |layer, put_on: &dyn Fn() -> io::Result<()>| !self.layers.has(layer) || put_on().is_ok();
        let mut held = Layers::from_iter([Layer::Descriptors]);
        let mut note = |layer: Layer, holds: bool| held.0 |= if holds { layer.bit() } else { 0 };
        note(Layer::ServiceUser, !geteuid().is_root());
        let process = tried(Layer::Process, &process::confine);
        let chroot = tried(Layer::Chroot, &chroot::prepare);
        let landlock = tried(Layer::Landlock, &|| ruleset::confine(storage, Access::Full)) && ruleset::holds();
        let seccomp = tried(Layer::Seccomp, &|| self.seccomp.first()) && seccomp::first_holds();
        note(Layer::Chroot, chroot && tried(Layer::Chroot, &|| chroot::enter(storage)) && chroot::holds(storage));
        note(Layer::Process, process && process::drop_capabilities().is_ok() && process::logged_in().is_ok());
        note(Layer::Landlock, landlock && tried(Layer::Landlock, &|| ruleset::confine(storage, Access::Full)));
        note(
            Layer::Seccomp,
            seccomp && tried(Layer::Seccomp, &|| self.seccomp.second(Access::Full)) && seccomp::second_holds(),
        );
        held
    }
}
