//! What the listener tells the scribe of its children: who is who, so that each line of the log has its sender's name. The scribe
//! believes nobody else.

use super::{Listener, REST};
use crate::server::record::Record;
use std::time::Instant;

impl Listener {
    /// Tells the scribe of a child. If that is lost, it is told of all of them again soon: a name that it has missed, or kept for too
    /// long, might come to stand for somebody else.
    pub(super) fn tell(&mut self, record: &Record) {
        if !self.log.send(record) {
            self.untold.get_or_insert(Instant::now() + REST);
        }
    }

    /// Tells the scribe of all children, if it has missed anything.
    pub(super) fn tell_anew(&mut self) {
        if self.untold.is_some_and(|due| due <= Instant::now()) {
            self.introduce_sessions();
            self.reopen_logs();
        }
    }

    /// Tells the scribe of all children: a new one, or one that has missed something.
    pub(super) fn introduce_sessions(&mut self) {
        let known = self.children.all().map(|(pid, child)| {
            Record::Known(super::telling::caller(pid, &child), child.user.map(|user| user.to_string()))
        });
        let told = std::iter::once(Record::Forget).chain(known).all(|record| self.log.send(&record));
        self.untold = (!told).then(|| Instant::now() + REST);
    }
}
