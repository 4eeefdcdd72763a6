//! What the listener does with what SIGHUP has brought: all of it holds from now on, or nothing does.

use super::Listener;
use crate::auth::UserName;
use crate::net::listen::Listener as Socket;
use crate::server::config::running::Changed;
use crate::server::level::Level;
use crate::server::record::{Log, Record};
use crate::server::users::{self, Loaded, Users};
use nix::sys::wait::WaitStatus;
use std::time::Instant;

impl Listener {
    /// The helper that loads everything again has ended.
    pub(super) fn reloaded(&mut self, status: WaitStatus) {
        let Some(mut loading) = self.loading.take() else { return };
        self.manager.ready(); // whatever came of it, it is over
        let asked = std::mem::take(&mut loading.asked);
        let loaded = loading.finish(status).unwrap_or_else(|error| Loaded::failed(error.to_string()));
        let Loaded { users, identity, configuration, notes } = loaded;
        tell(&self.log, notes);
        let Some(users) = users else { return self.refuse_reload("") };
        if users.demonstration && !self.sockets.iter().all(Socket::is_local) {
            return self.refuse_reload(": demonstration users, and the server listens beyond this machine");
        }
        if let Err(why) = self.reconfigure(&configuration) {
            return self.refuse_reload(&format!(": {why}"));
        }
        if identity.is_some() {
            self.identity = identity;
            self.log.line(Level::Info, "certificate reloaded");
        }
        self.replace_users(users, &asked);
    }

    fn refuse_reload(&self, why: &str) {
        let text = "reload failed: users, limits, certificate and configuration stay as they are";
        self.log.line(Level::Error, format!("{text}{why}"));
    }

    fn replace_users(&mut self, users: Users, asked: &[UserName]) {
        self.dismiss(asked, &users.gone);
        self.users = users;
        self.log.line(Level::Info, "users reloaded");
    }

    /// Takes over the options that a running server can change; the helper has left out all others.
    fn reconfigure(&mut self, words: &[u8]) -> Result<(), String> {
        let changed = self.configuration.take(words)?;
        let options = changed.as_ref().map_or(&self.options, |changed| &changed.options);
        self.sources = self.sources.again(options);
        let Some(Changed { options, keys }) = changed else { return Ok(()) };
        self.gate.change(&options.gate, options.max_clients, options.max_clients_per_ip, Instant::now());
        let level = options.log.level();
        self.log.set_level(level);
        self.session_log.set_level(level);
        self.tell(&Record::Level(level));
        self.options = options;
        self.log.line(Level::Info, format!("configuration reloaded, changed: {}", keys.join(", ")));
        Ok(())
    }
}

/// Tells what a loader had to say.
fn tell(log: &Log, notes: Vec<String>) {
    for note in notes {
        log.line(users::level_of(&note), note);
    }
}
